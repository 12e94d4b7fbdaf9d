"""Tars of WebDataset: files that are called alike up to the first dot are one sample.

One of them is audio, whole; `.json` has labels, `.txt` is the text, `.cls` the class, and any other
short text a label that is called as its ending.
"""

from __future__ import annotations

import functools
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from barlow_speech.downstream.preparation.formats._entry import Asked, Entry, cells
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import parsed_json

TITLE = "WebDataset (tar)"
AUDIO = ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "sph", "aiff", "webm", "wma")
NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # as webdataset takes names apart
MOST = 1 << 20  # bytes of a label


def recognises(path: Path) -> bool:
    """Whether a file is a tar, packed or not."""
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return False
        with path.open("rb") as file:
            head = file.read(262)
        if head[257:262] == b"ustar":
            return True
        return head[:2] == b"\x1f\x8b" and path.name.endswith((".tar.gz", ".tgz"))
    except OSError:
        return False


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The samples of a tar.

    Raises:
        BarlowSpeechError: it is damaged or cut off, or a sample has no audio or several.
    """
    try:
        with tarfile.open(path, "r|*") as tar:
            key = ""
            parts: dict[str, bytes] = {}
            for member in tar:
                found = NAME.fullmatch(member.name)
                hidden = member.name.rpartition("/")[2].startswith(".")
                if not member.isfile() or found is None or hidden:
                    continue
                if parts and found[1] != key:
                    yield _entry(path, key, parts)
                    parts = {}
                key, ending = found[1], found[2].lower()
                file = tar.extractfile(member)
                if file is not None and (_is_audio(ending) or member.size <= MOST):
                    parts[ending] = file.read()
                    if len(parts[ending]) < member.size:
                        raise tarfile.ReadError(f"{member.name} is cut off")
            if parts:
                yield _entry(path, key, parts)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BarlowSpeechError(
            f"{path} is damaged or cut off ({error}); write or download it again."
        ) from error


def _is_audio(ending: str) -> bool:
    return ending.rpartition(".")[2] in AUDIO


def _entry(path: Path, key: str, parts: dict[str, bytes]) -> Entry:
    where = f"sample {key}"
    audio = [one for one in parts if _is_audio(one)]
    if len(audio) != 1:
        raise BarlowSpeechError(
            f"{path}, {where}: it has {'no audio' if not audio else ' and '.join(audio)} (of "
            f"{', '.join(parts)}), and each sample needs one; write it anew, or unpack the tar."
        )
    labels = {"id": key}
    for ending, data in parts.items():
        if ending in audio:
            continue
        try:
            text = data.decode("utf-8")
            value = parsed_json(text) if ending.rpartition(".")[2] == "json" else text
        except UnicodeDecodeError:
            continue  # an array, or a picture
        except ValueError as error:
            raise BarlowSpeechError(
                f"{path}, {where}: its .{ending} is no JSON ({error}); write it anew, or unpack "
                "the tar."
            ) from error
        named = value if isinstance(value, dict) else {_LABELS.get(ending, ending): value}
        labels |= cells(named)
    return Entry(
        where, f"{key}.{audio[0]}", labels, None, functools.partial(bytes, parts[audio[0]])
    )


_LABELS = {"txt": "text", "cls": "class"}
