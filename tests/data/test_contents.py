"""What is in a file is read once, and again whenever the file may be another."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir
from barlow_speech.upstream.data import contents as module
from barlow_speech.upstream.data.contents import contents, verify


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.wav" for n in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that are read; a file counts as settled at once."""
    names: list[str] = []
    monkeypatch.setattr(module, "SETTLED_NS", -(1 << 62))
    digest = hashlib.file_digest

    def watch(file, kind):
        names.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", watch)
    return names


def expected(paths: list[Path]) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def with_same_times(path: Path, data: bytes) -> None:
    times = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_file_is_read_once(files: list[Path], read: list[str]) -> None:
    assert contents([*files, files[0]]) == expected(files)
    assert sorted(read) == ["0.wav", "1.wav", "2.wav"]
    read.clear()
    assert contents(files[::-1]) == expected(files) and read == []
    assert contents(files, anew=True) == expected(files) and len(read) == 3


def replaced(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"other")
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: with_same_times(path, b"other"),
        replaced,
        lambda path: (path.unlink(), path.symlink_to(path.with_name("2.wav"))),
    ],
    ids=["size", "size and times are the same", "renamed to it", "a link"],
)
def test_a_file_that_changed_is_read_again(
    files: list[Path], read: list[str], change: Callable[[Path], object]
) -> None:
    contents(files)
    read.clear()
    change(files[1])
    assert contents(files) == expected(files) and read == ["1.wav"]


def test_a_file_that_changed_just_now_is_not_remembered(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Within a tick of the file system's clock it may change again."""
    monkeypatch.setattr(module, "SETTLED_NS", 1 << 62)
    contents(files)
    read.clear()
    assert contents(files) == expected(files) and len(read) == 3 and not caplog.text


def remember(path: Path, digest: str) -> None:
    with sqlite3.connect(cache_dir() / "contents.sqlite") as memory:
        name = os.fsencode(path)
        query = "SELECT state FROM contents WHERE path = ?"
        (state,) = memory.execute(query, (name,)).fetchone()
        sealed = module._sealed(name, state, digest)
        memory.execute("UPDATE contents SET digest = ? WHERE path = ?", (sealed, name))
    memory.close()


def test_what_is_remembered_is_verified_by_reading(
    files: list[Path], read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that gives other bytes under the same times, played by another digest."""
    assert verify() == (0, [])
    right = contents(files)
    files[2].unlink()
    remember(files[0], "0" * 64)
    read.clear()
    assert contents(files[:2])[files[0]] == "0" * 64
    assert verify() == (2, [files[0]]) and sorted(read) == ["0.wav", "1.wav"]
    assert str(files[0]) in caplog.text and str(files[1]) not in caplog.text
    assert contents(files[:2])[files[0]] == right[files[0]]
    assert verify() == (2, [])


@pytest.mark.parametrize("damage", [b"", b"no database" * 999, None])
def test_a_damaged_memory_costs_a_reading(
    files: list[Path], read: list[str], damage: bytes | None
) -> None:
    contents(files)
    file = cache_dir() / "contents.sqlite"
    if damage is None:
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    else:
        file.write_bytes(damage)
    assert contents(files) == expected(files)
    contents(files)
    read.clear()
    assert contents(files) == expected(files) and read == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE contents SET digest = replace(digest, substr(digest, 1, 1), '~')",
        "UPDATE contents SET digest = (SELECT max(digest) FROM contents)",
        "UPDATE contents SET digest = NULL, state = x'ff00'",
        "UPDATE contents SET state = 7, digest = x'ff', path = 'text' || path",
        "UPDATE contents SET digest = CAST(x'ff' AS TEXT)",
        "DROP TABLE contents; CREATE TABLE contents (path, digest)",
        "DROP TABLE contents; CREATE VIEW contents AS SELECT 1 AS path, 2 AS state, 3 AS digest",
    ],
)
def test_rows_that_are_damaged_are_read_again(
    files: list[Path], read: list[str], change: str
) -> None:
    contents(files)
    memory = sqlite3.connect(cache_dir() / "contents.sqlite")
    memory.executescript(change)
    memory.close()
    assert contents(files) == expected(files)
    verify()
    contents(files)
    read.clear()
    assert contents(files) == expected(files) and read == []


@pytest.mark.parametrize("held", ["EXCLUSIVE", "IMMEDIATE"])
def test_what_another_process_holds_costs_a_reading(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    contents(files[:2])
    other = sqlite3.connect(cache_dir() / "contents.sqlite")
    other.execute(f"BEGIN {held}")
    assert contents(files) == expected(files)
    other.rollback()
    other.close()
    assert contents(files) == expected(files)  # it was no damage, and is there still
    read.clear()
    assert contents(files) == expected(files) and read == []


def test_what_cannot_be_written_is_read_from(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents(files[:2])
    connect = sqlite3.connect

    def read_only(file: Path, timeout: float) -> sqlite3.Connection:
        return connect(f"{file.as_uri()}?mode=ro", timeout=timeout, uri=True)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    for _ in range(2):
        read.clear()
        assert contents(files) == expected(files) and read == ["2.wav"]


def test_processes_that_start_together(files: list[Path]) -> None:
    program = (
        "import sys; from pathlib import Path; from barlow_speech.upstream.data import contents\n"
        "contents.SETTLED_NS = -(1 << 62)\n"
        "for _ in range(20): found = contents.contents(map(Path, sys.argv[1:]), anew=True)\n"
        "print(*found.values(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *map(str, files)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for one in started:
        assert one.communicate()[1].splitlines() == [" ".join(expected(files).values())]


def test_without_a_memory_it_works(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path / "file"))
    assert contents(files) == expected(files)


def test_names_may_be_of_any_bytes(tmp_path: Path, read: list[str]) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe'.wav"))
    path.write_bytes(b"x")
    assert contents([path]) == contents([path]) == expected([path]) and len(read) == 1


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.wav", "does not exist"), (tmp_path, "is no file")):
        with pytest.raises(BarlowSpeechError, match=f"{path} {words}; .* column of m.tsv"):
            contents([path], listed_in=Path("m.tsv"))
