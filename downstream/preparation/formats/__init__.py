"""How people list the recordings of a corpus: a file each, recognised by what is in it.

Such a file has a docstring (the format, whose it is, how its own library cuts a recording), a
`TITLE`, `recognises(path)` for a file or folder, and `entries(path, asked)`. Optional are
`chosen(paths)`, which of a folder's recognised paths count, `NAMES`, what columns of others are
called here (default: `_entry.OURS`), and `NOTE`, which goes into the card.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from barlow_speech.downstream.corpora._scan import listing
from barlow_speech.downstream.preparation.formats._entry import json_of
from barlow_speech.downstream.preparation.formats.table import DELIMITERS
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import BarlowSpeechError

DEEPEST = 3  # folders below the one that was given: NAME/data/train-….parquet, NAME/data/train
LISTS = (".json", ".jsonl", ".gz", ".csv", ".parquet", ".tar", ".tgz")  # that a folder may hold
TEXTS = (".csv", ".tsv", ".txt", ".tab")  # which may be in UTF-16, and are told so
# How people call the splits; other names are refused when a task reads them.
SPLIT_NAMES = {
    "train": "train",
    "dev": "dev",
    "test": "test",
    "training": "train",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "development": "dev",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


class Part(NamedTuple):
    """A file or folder that lists recordings, and the split that its name says; "" where none."""

    path: Path
    split: str = ""


class Found(NamedTuple):
    """A format, and the parts that are in it."""

    format: Any
    parts: list[Part]


def names() -> list[str]:
    """The formats there are."""
    return module_names(__path__)


def titles() -> str:
    """What they are called, for messages and help."""
    return ", ".join(_module(name).TITLE for name in names())


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


def find(source: Path) -> Found:
    """What the file or folder `source` is.

    Raises:
        BarlowSpeechError: none of the formats, several of them, or it is not clear which split one
            of its parts is.
    """
    formats = [_module(name) for name in names()]
    here = [one for one in formats if one.recognises(source)]
    if here:
        return Found(here[0], [Part(source)])
    if not source.is_dir():
        if not source.exists():
            raise BarlowSpeechError(f"{source} is not there; check the path.")
        if source.is_file() and source.stat().st_size == 0:
            raise BarlowSpeechError(f"{source} is empty; write or download it again.")
        if source.suffix.lower() not in TEXTS and not json_of(source) and not _has_cells(source):
            raise BarlowSpeechError(
                f"{source} is none of what is known here ({titles()}); give the file or folder "
                "that lists the recordings."
            )
        # What names no recording is refused by what reads its like.
        return Found(_module("jsonl" if json_of(source) else "table"), [Part(source)])
    found: dict[Any, list[Path]] = {}
    for path in _lists(source):
        known = next((one for one in formats if one.recognises(path)), None)
        if known:
            found.setdefault(known, []).append(path)
    if not found:
        raise BarlowSpeechError(
            f"{source} holds none of what is known here ({titles()}); give the file or folder that "
            "lists its recordings."
        )
    if len(found) > 1:
        said = ", ".join(f"{paths[0]} ({one.TITLE})" for one, paths in found.items())
        raise BarlowSpeechError(f"{source} lists recordings in several ways: {said}; give one.")
    ((known, paths),) = found.items()
    chosen = known.chosen(paths) if hasattr(known, "chosen") else paths
    return Found(known, _with_splits(source, chosen))


def _has_cells(file: Path) -> bool:
    """Whether the first line of a file is text that something separates."""
    try:
        with file.open("rb") as raw:
            line = raw.readline(1 << 16)
    except OSError:
        return False
    return b"\0" not in line and any(one.encode() in line for one in DELIMITERS)


def _lists(folder: Path, deep: int = 0) -> Iterator[Path]:
    """What in a folder may list recordings: files by their ending, and folders."""
    for name in listing(folder):
        path = folder / name
        if name.startswith("."):
            continue
        if path.suffix.lower() in LISTS and path.is_file():
            yield path
        elif deep < DEEPEST and path.is_dir():
            if any(_module(one).recognises(path) for one in names()):
                yield path
            else:
                yield from _lists(path, deep + 1)


def _with_splits(source: Path, paths: list[Path]) -> list[Part]:
    """The paths with the splits in their names, which all of them have or none."""
    parts = []
    for path in paths:
        inner = str(path.relative_to(source)).lower()
        said = {SPLIT_NAMES[one] for one in re.split("[^a-z]+", inner) if one in SPLIT_NAMES}
        if len(said) > 1:
            raise BarlowSpeechError(
                f"the name of {path} says {' and '.join(sorted(said))}; rename it after one of "
                "train, dev and test, or give it alone."
            )
        parts.append(Part(path, "".join(said)))
    bare = [part.path for part in parts if not part.split]
    if bare and len(bare) < len(parts):
        raise BarlowSpeechError(
            f"{source}: the names of others say which split they are, and that of {bare[0]} does "
            "not; rename it after train, dev or test, move it away, or give one alone."
        )
    return parts
