"""Files are written whole or not at all, and a command ends with a status and one line."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command, unknown
from barlow_speech.upstream.common.files import (
    cache_dir,
    check_folder,
    digest,
    file_digest,
    write_json,
    write_text,
    written_whole,
)


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "one ä\n")
    write_text(path, "two\n")
    assert path.read_text() == "two\n"
    assert list(path.parent.iterdir()) == [path]


def test_it_has_the_mode_of_an_ordinary_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
    finally:
        assert os.umask(before) == 0o027  # left as it was
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("old", ["old", None])
def test_an_exception_leaves_what_was_there(
    tmp_path: Path, error: BaseException, old: str | None
) -> None:
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(type(error)), written_whole(path) as part:
        part.write_text("half of the n")
        raise error
    assert [one.read_text() for one in tmp_path.iterdir()] == ([old] if old else [])


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(BarlowSpeechError, match=r"cannot write .*a\.txt"), written_whole(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for path in (
        tmp_path / "file" / "below",
        tmp_path / "file" / "far" / "below",
        tmp_path / "folder",
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(BarlowSpeechError, match="cannot write") as caught:
            write_text(path, "new")
        assert str(path) in str(caught.value)
    assert {one.name for one in tmp_path.iterdir()} == {"file", "folder"}
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_is_tried_before_it_is_needed(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("old")
    with pytest.raises(BarlowSpeechError, match=r"cannot write .*file/below"):
        check_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("value", [float("nan"), {"a": [1, float("inf")]}, {1, 2}, "\ud800"])
def test_json_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 0.1})
    if isinstance(value, str):  # escaped, so it can be written
        write_json(path, value)
        return
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    assert path.read_text() == '{\n "old": 0.1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_digest_knows_no_order_of_keys() -> None:
    assert digest({"a": 1, "b": {"c": [1, 2], "d": None}}) == digest(
        {"b": {"d": None, "c": (1, 2)}, "a": 1}
    )
    values: list[Any] = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, [1, 2], [2, 1], None]
    assert len({digest(value) for value in values}) == len(values)


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180-2
    assert file_digest(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "a").write_bytes(b"a" * 1_000_000 * 2)  # more than one block
    assert len(file_digest(tmp_path / "a")) == 64


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "barlow_speech"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "barlow_speech"


# Commands


def fails(error: BaseException) -> Any:
    def main(arguments: Sequence[str]) -> None:
        raise error

    return main


def test_a_command_that_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda arguments: print(*arguments), ["a", "b"]) == 0
    assert capsys.readouterr() == ("a b\n", "")


def test_an_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    class Special(BarlowSpeechError):
        pass

    for error in (BarlowSpeechError("it is so"), Special("it is so")):
        assert run_command(fails(error), ["a"]) == 2
        assert capsys.readouterr() == ("", "error: it is so\n")


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(BarlowSpeechError, match="it is so"):
        run_command(fails(BarlowSpeechError("it is so")), ["a", "--debug"])


def test_an_error_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(fails(ZeroDivisionError()), [])


def test_an_interrupt_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fails(KeyboardInterrupt()), []) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_tidies_up_as_an_interrupt_does(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    program = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from barlow_speech.upstream.common.errors import run_command\n"
        "from barlow_speech.upstream.common.files import written_whole\n"
        "def main(arguments):\n"
        "    with written_whole(Path(sys.argv[1])):\n"
        "        child = os.fork()\n"
        "        print(os.waitpid(child, 0)[1] if child else os.getpid(), flush=True)\n"
        "        time.sleep(900)\n"
        "sys.exit(run_command(main, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), number)
    assert int(process.stdout.readline()) == number  # the forked one ended without a word
    assert [one.suffix for one in tmp_path.iterdir()] == [".part"]  # which its parent writes
    process.send_signal(number)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 128 + number
    assert errors.startswith(b"interrupted") and errors.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert run_command(lambda arguments: os.kill(os.getpid(), signal.SIGHUP), []) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def called(body: str, **pipes: Any) -> subprocess.Popen[bytes]:
    """A process whose output is buffered, as an ordinary one's is, in which `body` is a command."""
    program = (
        "import argparse, sys\nfrom barlow_speech.upstream.common.errors import *\n"
        f"def main(arguments):\n    {body}\nsys.exit(run_command(main, []))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, **pipes)


PRINTS = [f"for n in range({lines}): print(n)" for lines in (3, 30_000)]
HELPS = "argparse.ArgumentParser().parse_args(['-h'])"


@pytest.mark.parametrize("body", [*PRINTS, HELPS], ids=["few", "many", "help"])
def test_a_reader_that_leaves_is_no_error(body: str) -> None:
    process = called(f"sys.stdin.read()\n    {body}", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None  # communicate must not read it; closing stdin starts the printing
    _, errors = process.communicate(timeout=900)
    assert (process.returncode, errors) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("body", [*PRINTS, HELPS], ids=["few", "many", "help"])
def test_output_that_finds_no_place_is_one_line(body: str) -> None:
    with Path("/dev/full").open("wb") as full:
        process = called(body, stdout=full)
        _, errors = process.communicate(timeout=900)
    assert process.returncode == 2
    (line,) = errors.decode().splitlines()
    assert line.startswith("error: cannot write the output: No space left on device; ")


@pytest.mark.parametrize(
    ("body", "status"),
    [("print(1)", 0), ("raise BarlowSpeechError('no.')", 2), ("raise KeyboardInterrupt", 130)],
)
def test_a_command_whose_streams_are_closed_ends_as_others_do(body: str, status: int) -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    process = called(body, preexec_fn=close)
    process.communicate(timeout=900)
    assert process.returncode == status


def test_leaving_by_sys_exit_keeps_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    for code, status in [(None, 0), (0, 0), (3, 3), ("it is so", 1)]:
        assert run_command(fails(SystemExit(code)), []) == status
    assert capsys.readouterr() == ("", "it is so\n")


def test_an_unknown_name_comes_with_the_nearest_one() -> None:
    assert str(unknown("task", "emotoin", ["emotion", "gender"])) == (
        "unknown task 'emotoin'; did you mean 'emotion'?"
    )
    assert "in x.yaml; choose one of: emotion, gender." in str(
        unknown("task", "zzz", ["gender", "emotion"], "x.yaml")
    )
    assert "(there is none)" in str(unknown("task", "zzz", []))
