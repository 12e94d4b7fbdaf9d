"""What a file of weights is, told from its first bytes; nothing of it is loaded."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it
PICKLE = tuple(bytes((0x80, protocol)) for protocol in (2, 3, 4, 5))


def found(path: Path) -> str:
    """What is at `path`, to end "… and the file is": "a PyTorch checkpoint (torch.save)"."""
    try:
        if path.is_dir():
            named = " with a Hugging Face model" if (path / "config.json").is_file() else ""
            return f"a folder{named}"
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            header = file.read(size) if len(start) == 8 and size < LONGEST_HEADER else b""
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return f"not readable ({error.strerror or error})"
    if not start:
        return "empty"
    if header.startswith(b"{") and len(header) == size:
        return _whose(header)
    if start.startswith(b"PK"):
        return _archive(path)
    if start.startswith(PICKLE):
        return "a pickle, as old versions of torch.save wrote them"
    return "no checkpoint of a known format"


def _whose(header: bytes) -> str:
    try:
        metadata = json.loads(header).get("__metadata__") or {}
        mark = metadata.get("format", "")
    except (ValueError, AttributeError, RecursionError):
        return "a damaged safetensors file"
    ours = isinstance(mark, str) and mark.startswith("barlow_speech/")
    return f"a safetensors file of {'barlow_speech' if ours else 'another program'}"


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return "a truncated archive"
    if "constants.pkl" in names:
        return "a TorchScript archive"
    return "a PyTorch checkpoint (torch.save)" if "data.pkl" in names else "a zip archive"
