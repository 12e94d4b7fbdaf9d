"""What a format gives of each recording, and what formats share."""

from __future__ import annotations

import functools
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import parsed_json
from barlow_speech.upstream.data.audio import Size

# The names of the key that holds a path, in the order in which they are looked for.
PATHS = (
    "audio_filepath", "wav", "audio", "path", "file", "file_name", "filename", "audio_path",
    "wav_path",
)  # fmt: skip
# By others' names, where a list has no column of ours.
OURS = {
    "spk": "speaker", "spk_id": "speaker", "speaker_id": "speaker", "emo": "emotion",
    "sex": "gender", "command": "keyword", "ID": "id", "key": "id", "utt_id": "id",
}  # fmt: skip
# What may be a part of a recording, and in what unit nobody knows.
PERHAPS_TIMES = (
    "start", "end", "stop", "begin", "onset", "offset", "offset_s", "start_time", "end_time",
)  # fmt: skip
# What a file's header says better.
TECHNICAL = {
    "sample_rate", "sampling_rate", "num_samples", "num_frame", "num_frames", "channel", "channels",
    "length", "duration", "dur",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the user said: our names of columns to theirs, and the folder of relative paths."""

    columns: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None


# The first sample and the one behind the last, as the format's own library would read them. It
# raises BarlowSpeechError, without the place, on what the recording does not have.
Samples = Callable[[Size], tuple[int, int]]


class Entry(NamedTuple):
    """A recording, or a part of one.

    `where` is its place in the list, for messages. The audio is at `path`, or `audio` gives the
    bytes of a file, which is called `path`: a file of its own, or with `of` one for all entries of
    the list that are parts of that recording. In the list it takes `lines`.
    """

    where: str
    path: str
    cells: Mapping[str, str]
    samples: Samples | None = None
    audio: Callable[[], bytes] | None = None
    lines: int = 1
    of: str = ""


def cell(value: Any) -> str | None:
    """What a manifest says for a value; None of lists, tables and bytes, which it cannot hold.

    A number that is none (NaN) is what pandas, Arrow and Python's JSON have for a missing one.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    return str(value) if isinstance(value, bool | int | float) else None


def cells(row: Mapping[str, Any], *without: str) -> dict[str, str]:
    """Those of a row that a manifest can hold, but for some and what a file's header says."""
    made = ((name, cell(value)) for name, value in row.items() if name not in without)
    return {name: said for name, said in made if said is not None and name not in TECHNICAL}


def within(size: Size, first: int, last: int, slack_s: float) -> tuple[int, int]:
    """The samples of a part whose end may be `slack_s` behind that of the recording.

    Raises:
        BarlowSpeechError: it has none, or is longer than the recording.
    """
    if last > size.frames + slack_s * size.rate or not 0 <= first < min(last, size.frames):
        raise BarlowSpeechError(
            f"it asks for the samples {first:,} to {last:,} of a recording of {size.frames:,} at "
            f"{size.rate} Hz; fix its times or remove it."
        )
    return first, min(last, size.frames)


def seconds(row: Mapping[str, Any], name: str, where: str) -> float | None:
    """A time of a row; None where there is none.

    Raises:
        BarlowSpeechError: it is no number of seconds.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, bool) and abs(found := float(value)) < 1e9:
            return found
    except (TypeError, ValueError):
        pass
    raise BarlowSpeechError(f"{where}: {name} must be seconds, not {value!r}; fix it.")


# JSON


class Json(NamedTuple):
    """How a file holds objects: `kind` is lines, list or named; and the first of them."""

    kind: str
    first: dict[str, Any]


def json_of(path: Path) -> Json | None:
    """What JSON a file holds, packed by gzip or not; None where it is none."""
    try:
        stat = path.stat()
        return _json_of(path, stat.st_size, stat.st_mtime_ns) if path.is_file() else None
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _json_of(path: Path, *state: int) -> Json | None:
    with path.open("rb") as raw:
        if not raw.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[", b"\x1f\x8b")):
            return None
    kind = _kind(path)
    return Json(kind, next((row for _, row in json_rows(path, kind)), {})) if kind else None


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    opened: Callable[..., IO[str]] = gzip.open if packed else open
    return opened(path, "rt", encoding="utf-8-sig")


def _kind(path: Path) -> str:
    try:
        with _opened(path) as file:
            line = next((line for line in file if line.strip()), "")
            more = any(line.strip() for line in file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError | gzip.BadGzipFile):
            return ""  # a tar, or what is no text
        raise _broken(path, error) from error
    if not line.lstrip().startswith(("{", "[")):
        return ""
    try:
        first = parsed_json(line)
    except ValueError:
        # A row that is damaged, or the first line of one value that has many.
        if line.lstrip().startswith("{") and line.rstrip().endswith("}"):
            return "lines"
        return "list" if line.lstrip().startswith("[") else "named"
    if isinstance(first, list):
        return "list"
    named = not more and first and all(isinstance(one, dict) for one in first.values())
    return "named" if named else "lines"


def _broken(path: Path, error: Exception, where: str = "") -> BarlowSpeechError:
    reason = getattr(error, "strerror", None) or str(error)
    return BarlowSpeechError(
        f"{path}{where} is damaged or cut off ({reason}); write or download it again."
    )


def json_rows(path: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of that kind, with their places; of a named one, its name is `id`.

    Raises:
        BarlowSpeechError: it is damaged, or holds something else.
    """
    where = ""
    try:
        with _opened(path) as file:
            if kind == "lines":
                for number, line in enumerate(file, start=1):
                    where = f", line {number}"
                    if line.strip():
                        yield f"line {number}", _object(parsed_json(line))
                return
            whole = parsed_json(file.read())
        if isinstance(whole, dict):
            for name, one in whole.items():
                where = f", entry '{name}'"
                yield f"entry '{name}'", {"id": name, **_object(one)}
        else:
            for number, one in enumerate(whole, start=1):
                where = f", entry {number}"
                yield f"entry {number}", _object(one)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _broken(path, error, where) from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"an object {{…}} is expected, not {json.dumps(value)[:40]}")
    return value
