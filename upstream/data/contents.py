"""What is in a file: its SHA-256, remembered so that a file that did not change is not read again.

`contents.sqlite` in the folder of the cache holds, by path, the state of a file (its size, time of
change, ctime and inode) and the digest of its bytes, sealed by a checksum of the row. Size and time
of change stay when one corpus is unpacked over another; ctime is the system's own. The memory only
saves time: a row that is lost or damaged, another process that holds it, or a folder that cannot be
written, costs a reading and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir
from barlow_speech.upstream.common.progress import progress

log = logging.getLogger(__name__)

TABLE = "CREATE TABLE IF NOT EXISTS contents (path BLOB PRIMARY KEY, state TEXT, digest TEXT)"
# A clock that ticks every few milliseconds (of old file systems, every second or two) does not tell
# a file from what is written into it within the same tick: what is that new is not remembered.
SETTLED_NS = 2_000_000_000
BATCH = 500  # rows of a query, and files that wait for the readers
WAIT_S = 60  # for another process that writes
# Of a file that is no memory, or another one: it is made anew.
BROKEN = (
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG,
)  # fmt: skip
UNKNOWN = ("", "")
Found = TypeVar("Found")


def contents(
    paths: Iterable[Path], anew: bool = False, listed_in: Path | str = "the manifest"
) -> dict[Path, str]:
    """The SHA-256 (hex) of each file; `anew` reads all of them, whatever is remembered.

    A file that looks as it did when it was remembered and is another is then named in a warning.
    `listed_in` is for messages.

    Raises:
        BarlowSpeechError: a file does not exist or cannot be read.
    """
    names = {path: os.fsencode(path.absolute()) for path in paths}
    known = _recall(list(names.values()))
    result, unread = {}, []
    for path, name in names.items():
        state, digest = known.get(name, UNKNOWN)
        if _state(path, listed_in) == state and not anew:
            result[path] = digest
        else:
            unread.append(path)
    learnt = []
    for path, state, digest in _read(unread, listed_in):
        result[path] = digest
        before = known.get(names[path], UNKNOWN)
        if state and before != (state, digest):
            learnt.append((names[path], state, _sealed(names[path], state, digest)))
        if state and before[0] == state and before[1] != digest:
            log.warning("%s is another file than it was, though size and times are the same", path)
    if learnt:
        insert = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)"
        _with_memory(lambda memory: memory.executemany(insert, learnt), None)
    return result


def verify() -> tuple[int, list[Path]]:
    """Read all files that look as they are remembered: how many, and those that are others now.

    Files that are gone, or have changed as files do, are forgotten.
    """
    there, gone = {}, []
    for name, state, digest in _rows([("", ())]):
        path = Path(os.fsdecode(name))
        with contextlib.suppress(BarlowSpeechError):
            if _state(path) == state:
                there[path] = digest
                continue
        gone.append((name,))
    if gone:
        delete = "DELETE FROM contents WHERE path = ?"
        _with_memory(lambda memory: memory.executemany(delete, gone), None)
    now = contents(there, anew=True)
    return len(there), [path for path, digest in there.items() if now[path] != digest]


def _with_memory(work: Callable[[sqlite3.Connection], Found], otherwise: Found) -> Found:
    """What `work` finds in the memory, in one transaction; `otherwise` where there is none."""
    file = cache_dir() / "contents.sqlite"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(file, timeout=WAIT_S)) as memory, memory:
            memory.text_factory = lambda text: text.decode(errors="replace")
            memory.execute(TABLE)
            return work(memory)
    except sqlite3.Error as error:
        log.warning("%s cannot be used (%s); recordings are read again", file, error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in BROKEN:
            with contextlib.suppress(OSError):
                file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
                file.unlink()
    except OSError:  # whoever must write there says so
        pass
    return otherwise


def _sealed(name: bytes, state: str, digest: str) -> str:
    """A digest as it is remembered: a changed bit of the row is no other file's digest."""
    text = f"{state}\0{digest}".encode(errors="replace")
    return f"{digest} {hashlib.blake2b(name + text, digest_size=8).hexdigest()}"


def _rows(queries: Iterable[tuple[str, Sequence[bytes]]]) -> list[tuple[bytes, str, str]]:
    """Path, state and digest of the whole rows under some conditions; none without a memory."""

    def select(memory: sqlite3.Connection) -> list[tuple[bytes, str, str]]:
        found = []
        for condition, values in queries:
            query = f"SELECT path, state, digest FROM contents {condition}"
            for name, state, sealed in memory.execute(query, values):
                digest = str(sealed).partition(" ")[0]
                if isinstance(name, bytes) and sealed == _sealed(name, state, digest):
                    found.append((name, state, digest))
        return found

    return _with_memory(select, [])


def _recall(names: Sequence[bytes]) -> dict[bytes, tuple[str, str]]:
    parts = (names[first : first + BATCH] for first in range(0, len(names), BATCH))
    rows = _rows((f"WHERE path IN ({','.join('?' * len(part))})", part) for part in parts)
    return {name: (state, digest) for name, state, digest in rows}


def _state(path: Path, listed_in: Path | str = "the manifest") -> str:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise BarlowSpeechError(
            f"recording {path} does not exist; check the path column of {listed_in}."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise BarlowSpeechError(
            f"recording {path} is no file; check the path column of {listed_in}."
        )
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _read(paths: Sequence[Path], listed_in: Path | str) -> Iterator[tuple[Path, str, str]]:
    """Each file with its state, "" where that may not last, and its digest."""

    def read(path: Path) -> tuple[Path, str, str]:
        state, now_ns = _state(path, listed_in), time.time_ns()
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BarlowSpeechError(
                f"recording {path} cannot be read ({error.strerror or error}); replace the file "
                "or drop its manifest row."
            ) from error
        settled = now_ns - int(state.split()[2]) > SETTLED_NS
        return path, state if settled and state == _state(path, listed_in) else "", digest

    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as readers,
        progress(len(paths), "look into recordings", "rec") as bar,
    ):
        for first in range(0, len(paths), BATCH):
            for one in readers.map(read, paths[first : first + BATCH]):
                yield one
                bar.update()
