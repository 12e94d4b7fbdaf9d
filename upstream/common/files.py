"""Files written whole or not at all, and where the project keeps what it makes."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError

log = logging.getLogger(__name__)

LFS_POINTER = b"version https://git-lfs"
FILE_OF_FOLDER = "model.safetensors"  # as model hubs have it
WEIGHTS = Path(__file__).parents[1] / "weights"  # the checkpoints that come with the package


def cache_dir() -> Path:
    """Of features and the toy corpus: `$BARLOW_SPEECH_CACHE`, else `~/.cache/barlow_speech`."""
    set_by_user = os.environ.get("BARLOW_SPEECH_CACHE")
    if set_by_user:
        return Path(set_by_user)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "barlow_speech"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is flushed to disk and renamed to `path`.

    On any exception the temporary file is removed and `path` is as it was.

    Raises:
        BarlowSpeechError: the folder cannot be written, or the disk is full.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        unmask(part, 0o666)
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if part:
            part.unlink(missing_ok=True)


def made_folder(folder: Path) -> Path:
    """The folder, made with its parents where it is missing, whoever else makes it meanwhile.

    Raises:
        BarlowSpeechError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that could not be written, before what takes long; nothing is made.

    Raises:
        BarlowSpeechError: it cannot be written, or cannot be made where it would be.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"cannot write {path}: {error.strerror or error}; "
        "choose a folder that can be written, or free some space."
    )


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Inside, no other process of this machine is; a dead one holds no lock.

    If one is, a warning says what it is `doing`, and it is waited for. Where the file system knows
    no locks, both go on.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with contextlib.suppress(OSError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("another process %s; waiting for it", doing)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def unmask(path: Path, mode: int) -> None:
    """Give what `tempfile` made private to the user the mode that an ordinary file would have."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def read_text(path: Path, called: str = "", remedy: str = "check the path") -> str:
    """A text in UTF-8, with a byte-order mark or without; every line ends in "\\n".

    `called` is what a message calls the file, `remedy` ends one about a file that is not there.

    Raises:
        BarlowSpeechError: it cannot be read, or is in another encoding, a device or a pointer of
            Git LFS.
    """
    called = called or str(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError("it may have no end, as a device has")
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text.partition("\n")[0]:  # UTF-16 without its mark
            raise ValueError("it is no UTF-8 text but UTF-16, or no text")
        if text.startswith(LFS_POINTER.decode()):
            remedy = "run `git lfs pull` there"
            raise ValueError("it is a pointer of Git LFS in place of the file")
        return text
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnicodeDecodeError):
            wide = error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            line = error.object[: error.start].count(b"\n") + 1
            reason = f"it is {'UTF-16, not UTF-8' if wide else f'not UTF-8 text in line {line}'}"
        if "UTF-" in reason:
            remedy = "save it as UTF-8"
        raise BarlowSpeechError(f"cannot read {called}: {reason}; {remedy}.") from error


def parsed_json(text: str | bytes) -> Any:
    """What JSON that anybody may have written says.

    Raises:
        ValueError: it is none, or nested deeper than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def checkpoint_file(path: Path) -> Path:
    """The file of a checkpoint.

    It is `path` itself, that of a folder which `barlow-speech card` wrote, or where nothing is
    there the one that comes with the package under this name.
    """
    inside, packaged = path / FILE_OF_FOLDER, WEIGHTS / f"{path}.safetensors"
    if inside.is_file():
        return inside
    return packaged if packaged.is_file() and not path.exists() else path


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a file to be written that is a folder, or that would replace one that is read.

    Raises:
        BarlowSpeechError: it is one.
    """
    if out.is_dir():
        raise BarlowSpeechError(f"-o {out} is a folder; name a file in it.")
    for one in inputs:
        if out.exists() and one.exists() and out.samefile(one):
            raise BarlowSpeechError(
                f"{out} is read, and what is written would replace it; give another -o."
            )


def missing_checkpoint(path: Path) -> BarlowSpeechError:
    """The error for a checkpoint that is not there."""
    names = ", ".join(sorted(one.stem for one in WEIGHTS.glob("*.safetensors")))
    return BarlowSpeechError(
        f"checkpoint {path} does not exist; check the path, or name one of the package's ({names})."
    )


def is_pointer(path: Path) -> bool:
    """Whether a clone has a pointer of Git LFS there in place of a large file."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as readable JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, the same for equal values whatever their key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
