"""Readers that fail, each in a way that the fuzzing campaign must notice."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable
from pathlib import Path

from damage import flipped
from fuzz_readers import Files, Reader, Wrong

from barlow_speech.upstream.common.errors import BarlowSpeechError

log = logging.getLogger("barlow_speech.faulty_readers")
WHOLE = b"a whole file"


def examples(folder: Path) -> list[Files]:
    """One whole file, which every reader below accepts."""
    return [{"a.txt": WHOLE, "b.txt": b""}]


def damaged_only(fault: Callable[[Path], None]) -> Callable[[Path], None]:
    """A reader that accepts the example and does `fault` to anything else."""

    def read(folder: Path) -> None:
        file = folder / "a.txt"
        if not file.exists() or file.read_bytes() != WHOLE:
            fault(file)

    return read


def refuse(file: Path) -> None:
    raise BarlowSpeechError(f"{file} is not a whole file; write it again.")


def warn(file: Path) -> None:
    log.warning("%s is not a whole file and is left out", file)


def raise_(file: Path) -> None:
    raise ZeroDivisionError


def name_nothing(file: Path) -> None:
    raise BarlowSpeechError("something is not as it should be.")


def warn_in_lines(file: Path) -> None:
    log.warning("%s is not\na whole file", file)


def talk(file: Path) -> None:
    log.warning("%s is %s", file, "broken " * 1000)


def be_wrong(file: Path) -> None:
    raise Wrong("two and two are five")


def compute(file: Path) -> None:
    while True:
        pass


def wait(file: Path) -> None:
    time.sleep(1000)


def crash(file: Path) -> None:
    ctypes.string_at(0)


def eat(file: Path) -> None:
    bytearray(1 << 40)


def leave(file: Path) -> None:
    raise SystemExit(0)


def only_z(folder: Path) -> None:
    """A reader that fails on a z."""
    if b"z" in (folder / "a.txt").read_bytes():
        raise ZeroDivisionError


def unwhole(folder: Path) -> None:
    """A reader that refuses everything."""
    refuse(folder / "a.txt")


FAULTS = (
    refuse, warn, raise_, name_nothing, warn_in_lines, talk, be_wrong, compute, wait, crash, eat,
    leave,
)  # fmt: skip
READERS = tuple(
    Reader(fault.__name__, examples, (("a.txt", (flipped,)),), damaged_only(fault))
    for fault in FAULTS
)
READERS += (Reader("unwhole", examples, (("a.txt", (flipped,)),), unwhole),)
