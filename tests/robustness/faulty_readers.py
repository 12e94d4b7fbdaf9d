"""Readers that fail, each in a way that the fuzzing campaign must notice."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable
from pathlib import Path

from damage import Files, spliced
from fuzz_readers import Reader, Wrong

from barlow_speech.upstream.common.errors import BarlowSpeechError

log = logging.getLogger("barlow_speech.faulty_readers")
WHOLE: Files = {"a.txt": b"a whole file", "b.txt": b""}


def raised(error: Callable[[Path], BaseException]) -> Callable[[Path], None]:
    """A reader that raises an error."""

    def read(file: Path) -> None:
        raise error(file)

    return read


def letters(file: Path) -> None:
    """A reader that fails in two ways: on what is from z on, and on less than five letters."""
    text = file.read_bytes()
    if max(text, default=0) >= ord("z"):
        raise ZeroDivisionError
    if len(text) < 5:
        raise KeyError


FAULTY: dict[str, tuple[Callable[[Path], object], str]] = {
    # What is done to a file that is not whole, and what the campaign must call it.
    "refuse": (raised(lambda file: BarlowSpeechError(f"{file} is not whole.")), "refused"),
    "warn": (lambda file: log.warning("%s is not whole", file), "refused"),
    "raise": (raised(lambda file: ZeroDivisionError()), "ZeroDivisionError"),
    "name_nothing": (
        raised(lambda file: BarlowSpeechError("it is not whole.")), "a message that names no file",
    ),
    "warn_in_lines": (
        lambda file: log.warning("%s is not\nwhole", file), "a message of several lines",
    ),
    "talk": (
        lambda file: log.warning("%s is %s", file, "broken " * 1000), "a message that is too long",
    ),
    "be_wrong": (raised(lambda file: Wrong("two and two are five")), "wrong: two and two are five"),
    "compute": (lambda file: [0 for _ in iter(int, 1)], "hang"),
    "wait": (lambda file: time.sleep(1000), "hang"),
    "crash": (lambda file: ctypes.string_at(0), "died of signal 11"),
    "eat": (lambda file: bytearray(1 << 40), "MemoryError"),
    "leave": (raised(lambda file: SystemExit(0)), "SystemExit"),
    "letters": (letters, "ZeroDivisionError"),
}  # fmt: skip
FAULTS = {name: called for name, (_, called) in FAULTY.items()}


def reader(name: str, whole: bool = True) -> Reader:
    """A reader that accepts the whole example and does that to anything else."""

    def read(folder: Path) -> None:
        file = folder / "a.txt"
        if not file.exists() or file.read_bytes() != WHOLE["a.txt"] or not whole:
            FAULTY[name][0](file)

    kinds = (("a.txt", (spliced,)),)
    return Reader(name if whole else "unwhole", lambda folder: [WHOLE], kinds, read)


READERS = {**{name: reader(name) for name in FAULTY}, "unwhole": reader("refuse", whole=False)}
