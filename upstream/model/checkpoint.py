"""Weights on disk: one safetensors file that alone rebuilds its model. Nothing is unpickled.

The header of the file holds `format`, `model` (the settings, as JSON), `facts` (how it was trained,
as JSON) and `sha256` (of all the rest), so that what a disk has changed is noticed.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.files import (
    FILE_OF_FOLDER,
    checkpoint_file,
    is_pointer,
    missing_checkpoint,
    parsed_json,
    written_whole,
)
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.encoders import build_encoder
from barlow_speech.upstream.model.speech_encoder import ModelSettings, SpeechEncoder, random_model

FORMAT, CHECKSUM = "barlow_speech/1", "sha256"

UNREADABLE = (safetensors.SafetensorError, OSError, ValueError)

# int64 counts batches; float64 is what a training in double precision leaves.
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)

VARIANCES = ("running_var", "exp_avg_sq")


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON-able header as one safetensors file, whole or not at all."""
    strings = {"format": FORMAT, **{key: json.dumps(value) for key, value in header.items()}}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(path, contiguous, strings)


def write_tensors(path: Path, tensors: dict[str, Tensor], strings: Mapping[str, str]) -> None:
    """Write contiguous tensors and a header with its checksum, whole or not at all.

    Raises:
        BarlowSpeechError: the folder cannot be written, or the disk is full.
    """
    metadata = {**strings, CHECKSUM: checksum(tensors, strings)}
    with written_whole(path) as part:
        try:
            safetensors.torch.save_file(tensors, part, metadata=metadata)
        except safetensors.SafetensorError as error:  # of a full disk; it is no OSError
            raise OSError(str(error)) from error


def checksum(tensors: Mapping[str, Tensor], strings: Mapping[str, str]) -> str:
    """SHA-256 over the names, shapes, types and bytes of tensors, and over a header's strings."""
    result = hashlib.sha256(json.dumps(strings, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name]
        result.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        result.update(values.contiguous().view(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header that `save_tensors` wrote, of a file or of a card's folder.

    Raises:
        BarlowSpeechError: the file is missing, truncated, corrupt, no safetensors file or not ours.
    """
    path = checkpoint_file(path)
    if path.is_dir():
        raise BarlowSpeechError(
            f"checkpoint {path} is a folder without {FILE_OF_FOLDER}; name a file, or a folder "
            "that `barlow-speech card` wrote."
        )
    if not path.is_file():
        raise missing_checkpoint(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            strings = file.metadata() or {}
            if strings.get("format") != FORMAT:
                raise BarlowSpeechError(
                    f"checkpoint {path} was not written by barlow_speech (format "
                    f"{strings.get('format')!r}, expected {FORMAT!r}); give one of ours."
                )
            stored = strings.pop(CHECKSUM, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if checksum(tensors, strings) != stored:
                raise BarlowSpeechError(
                    f"checkpoint {path} was changed since it was written, or is corrupt: its "
                    "checksum does not match; copy or train it again."
                )
            header = {key: parsed_json(text) for key, text in strings.items() if key != "format"}
    except UNREADABLE as error:
        raise BarlowSpeechError(
            f"checkpoint {path} is no whole safetensors file but {describe(path)} ({error}); "
            "give a file that `barlow-speech pretrain` wrote."
        ) from error
    for name, tensor in tensors.items():
        _check_values(path, name, tensor)
    return tensors, header


def _check_values(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse what would turn every feature into NaN."""
    whole = tensor.dtype in DTYPES and bool(torch.isfinite(tensor).all())
    if not whole or (name.endswith(VARIANCES) and bool((tensor < 0).any())):
        raise BarlowSpeechError(
            f"checkpoint {path} is broken: '{name}' holds what are no weights (NaN, infinity, a "
            f"negative variance, or {tensor.dtype}); train it again."
        )


def save_model(path: Path, model: SpeechEncoder, facts: dict[str, Any]) -> None:
    """Write a model's weights, its settings and the facts of its training."""
    save_tensors(path, model.state_dict(), {"model": model.settings.as_dict(), "facts": facts})


def load_settings(path: Path) -> ModelSettings:
    """The settings of the model in a checkpoint, without its weights."""
    _, header = load_tensors(path)
    return _settings(path, header)


def load_model(path: Path) -> SpeechEncoder:
    """The model of a checkpoint, in evaluation mode, on the CPU.

    Raises:
        BarlowSpeechError: as `load_tensors`, and when weights and settings do not fit.
    """
    tensors, header = load_tensors(path)
    settings = _settings(path, header)
    try:
        _check_sizes(settings, tensors)
        model = random_model(settings, seed=0)
        model.load_state_dict(tensors)
    except (BarlowSpeechError, RuntimeError) as error:
        raise BarlowSpeechError(
            f"the weights in {path} do not fit its own settings ({one_line(error)}); train it "
            "again."
        ) from error
    return model.eval()


def _check_sizes(settings: ModelSettings, tensors: dict[str, Tensor]) -> None:
    """Compare the encoder's sizes with the weights before any memory is taken for it.

    Raises:
        BarlowSpeechError: they do not fit.
    """
    layers = settings.encoder.get("layers", 0)
    if type(layers) is int and layers > len(tensors):  # each has weights of its own
        raise BarlowSpeechError(f"{layers} layers, but only {len(tensors)} tensors")
    with torch.device("meta"):  # shapes without numbers
        encoder = build_encoder(settings.encoder, settings.frontend.n_mels)
    for name, wanted in encoder.state_dict().items():
        here = tensors.get(f"encoder.{name}")
        if here is None or here.shape != wanted.shape:
            what = "missing" if here is None else f"{list(here.shape)}, not {list(wanted.shape)}"
            raise BarlowSpeechError(f"'encoder.{name}' is {what}")


def _settings(path: Path, header: dict[str, Any]) -> ModelSettings:
    if "model" not in header:
        raise BarlowSpeechError(
            f"checkpoint {path} holds no encoder; give the encoder.safetensors of a pretraining."
        )
    return build(ModelSettings, header["model"], f"checkpoint {path}")


MAX_HEADER = 100_000_000  # bytes, as the safetensors library has it

PICKLE = tuple(bytes((0x80, protocol)) for protocol in (2, 3, 4, 5))


def describe(path: Path) -> str:
    """What is at `path`, to end "… and the file is": "a PyTorch checkpoint (torch.save)"."""
    try:
        if path.is_dir():
            named = " with a Hugging Face model" if (path / "config.json").is_file() else ""
            return f"a folder{named}"
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            header = file.read(size) if len(start) == 8 and size < MAX_HEADER else b""
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return f"not readable ({error.strerror or error})"
    if not start:
        return "empty"
    if is_pointer(path):
        return "a pointer of Git LFS (run `git lfs pull` there)"
    if header.startswith(b"{") and len(header) == size:
        return _whose(header)
    if start.startswith(b"PK"):
        return _archive(path)
    if start.startswith(PICKLE):
        return "a pickle, as old versions of torch.save wrote them"
    return "a file of an unknown format"


def _whose(header: bytes) -> str:
    try:
        metadata = parsed_json(header).get("__metadata__") or {}
        mark = metadata.get("format", "")
    except (ValueError, AttributeError):
        return "a corrupt safetensors file"
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
