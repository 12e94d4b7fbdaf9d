"""A corpus manifest: a TSV file with one recording (or part of one) a line.

Columns: `path` (relative to the manifest's folder, and inside it unless audio_folders.py allows
more), optionally `start_s` and `end_s` (a part of the
file, in seconds) and `gain_db` (by which it is amplified when it is read), one column per label,
one or more split columns. Tab-separated, UTF-8, no quoting, empty = unknown.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import read_text, written_whole
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.allowed_folders import VARIABLE, AllowedFolders

# Tabs, line ends, and what stands in a str for the bytes of a file name that is not UTF-8.
UNWRITABLE = re.compile("[\t\n\r\ud800-\udfff]")
# As `float` reads them, without what else it takes for a number: 1_5, nan, inf.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MAX_GAIN_DB = 120  # more is a mistake: it turns the noise of 16 bits into full scale and back


@dataclass(frozen=True)
class Recording:
    """A file, or the part of it from `start_s` to `end_s` (None: its end), in seconds.

    It is read `gain_db` louder than it is stored.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    gain_db: float = 0.0

    def overlaps(self, other: Recording) -> bool:
        """Whether the two share a moment of one file."""
        if self.path != other.path and self.path.resolve() != other.path.resolve():
            return False
        return self.start_s < _end(other) and other.start_s < _end(self)

    def __str__(self) -> str:
        if self.start_s == 0 and self.end_s is None:
            return str(self.path)
        end = "end" if self.end_s is None else f"{self.end_s:g}"
        return f"{self.path} [{self.start_s:g}-{end} s]"


class Spans:
    """Parts of one file, sorted: which others overlap them takes no comparison with each."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        spans = sorted((one.start_s, _end(one)) for one in recordings)
        self._starts = [start for start, _ in spans]
        self._latest_ends = list(itertools.accumulate((end for _, end in spans), max))

    def overlap(self, one: Recording) -> bool:
        """Whether a part of the same file shares a moment with any of these."""
        before = bisect.bisect_left(self._starts, _end(one))
        return before > 0 and one.start_s < self._latest_ends[before - 1]


def _end(one: Recording) -> float:
    return math.inf if one.end_s is None else one.end_s


@dataclass(frozen=True)
class Manifest:
    """The columns of a manifest file, all of one length, and the recordings they describe.

    `lines` are those of the file that the rows stand in.
    """

    file: Path
    columns: dict[str, list[str]]
    recordings: Sequence[Recording]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.recordings)

    def column(self, name: str) -> list[str]:
        """The values of one column.

        Raises:
            BarlowSpeechError: there is no such column (those that are there are named).
        """
        if name not in self.columns:
            raise unknown("column", name, self.columns, str(self.file))
        return self.columns[name]


def read_manifest(file: Path) -> Manifest:
    """Read and check a manifest; the audio files themselves are not touched.

    Raises:
        BarlowSpeechError: the file is missing, empty, not TSV with a `path` column, or a line is
            malformed or leads out of the folder (its number is named).
    """
    text = read_text(file, f"manifest {file}")
    return parse_manifest(text, file)


def parse_manifest(text: str, file: Path) -> Manifest:
    """The manifest whose text is `text` and whose place is (or will be) `file`.

    Raises:
        BarlowSpeechError: as `read_manifest`.
    """
    lines = text.split("\n")  # read_text made \r\n and \r into \n; a label may hold U+2028
    header = lines[0].split("\t")
    if "path" not in header:
        raise BarlowSpeechError(
            f"manifest {file} has no 'path' column in its first line; "
            "a manifest is a tab-separated table with a header "
            "(downstream/README.md, 'Your own corpus')."
        )
    if len(set(header)) != len(header):
        raise BarlowSpeechError(
            f"manifest {file} names a column twice in its first line; rename one."
        )
    columns: dict[str, list[str]] = {name: [] for name in header}
    recordings, lines_of = [], []
    allowed = AllowedFolders(file.parent)
    with progress(len(lines) - 1, f"read {file.name}", "line") as bar:
        for number, line in enumerate(lines[1:], start=2):
            bar.update()
            if not line.strip():
                continue
            cells = line.split("\t")
            if len(cells) != len(header):
                raise BarlowSpeechError(
                    f"manifest {file}, line {number}: {len(cells)} cells where the header has "
                    f"{len(header)}; fix the line."
                )
            row = dict(zip(header, cells))
            for name, cell in row.items():
                columns[name].append(cell)
            where = f"manifest {file}, line {number}"
            recordings.append(recording_of(row, file.parent, where))
            lines_of.append(number)
            if not allowed.holds(row["path"]):
                raise _outside(file, number, recordings[-1].path)
    if not recordings:
        raise BarlowSpeechError(f"manifest {file} lists no recording; add a line for each.")
    return Manifest(file, columns, recordings, lines_of)


def _outside(file: Path, number: int, path: Path) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"manifest {file}, line {number}: {path} is outside of the manifest's folder; if you trust "
        f"the manifest, set {VARIABLE} to the folder that holds its recordings."
    )


def recording_of(row: Mapping[str, str], folder: Path, where: str) -> Recording:
    """The recording of a row, whose `path` is relative to `folder`; `where` is for messages.

    Raises:
        BarlowSpeechError: there is no path, or a number is none or out of its bounds.
    """
    if not row["path"] or "\0" in row["path"]:
        raise BarlowSpeechError(f"{where}: the path is empty or no path; fill it in.")
    numbers = {name: row.get(name) or "" for name in ("start_s", "end_s", "gain_db")}
    for name, cell in numbers.items():
        if cell and not NUMBER.fullmatch(cell.strip()):
            remedy = "write a point for the comma" if "," in cell else "write it as 1.5"
            raise BarlowSpeechError(
                f"{where}: {name} must be {'decibels' if name == 'gain_db' else 'seconds'}, not "
                f"{cell!r}; {remedy}."
            )
    start_s, gain_db = float(numbers["start_s"] or 0), float(numbers["gain_db"] or 0)
    end_s = float(numbers["end_s"]) if numbers["end_s"] else None
    if not 0 <= start_s < (math.inf if end_s is None else end_s) or end_s == math.inf:
        raise BarlowSpeechError(f"{where}: start_s must be 0 or more, and end_s above it.")
    if not abs(gain_db) <= MAX_GAIN_DB:
        raise BarlowSpeechError(f"{where}: gain_db must be from -{MAX_GAIN_DB} to {MAX_GAIN_DB}.")
    return Recording(folder / row["path"], start_s, end_s, gain_db)


def manifest_of(columns: dict[str, list[str]], file: Path) -> Manifest:
    """The manifest that `columns`, whose values are right, will be when it is written to `file`.

    Its recordings are made when they are asked for.

    Raises:
        BarlowSpeechError: a path leads out of the folder.
    """
    allowed = AllowedFolders(file.parent)
    for number, path in enumerate(columns["path"], start=2):
        if not allowed.holds(path):
            raise _outside(file, number, file.parent / path)
    lines = range(2, len(columns["path"]) + 2)
    return Manifest(file, columns, _Recordings(file, columns), lines)


class _Recordings(Sequence[Recording]):
    """Those of a manifest's columns; a million of them take half a gigabyte when all are made."""

    def __init__(self, file: Path, columns: dict[str, list[str]]) -> None:
        self._file, self._columns = file, columns

    def __len__(self) -> int:
        return len(self._columns["path"])

    @overload
    def __getitem__(self, row: int) -> Recording: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Recording]: ...
    def __getitem__(self, row: int | slice) -> Recording | Sequence[Recording]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        cells = {name: column[row] for name, column in self._columns.items()}
        where = f"manifest {self._file}, line {row + 2}"
        return recording_of(cells, self._file.parent, where)


def manifest_text(columns: Mapping[str, Sequence[str]]) -> str:
    """The text of a manifest with these columns, which are all of one length.

    Raises:
        BarlowSpeechError: a cell holds a tab, the end of a line or what is no text (a file name
            in an old encoding), which a manifest cannot hold.
    """
    check_cells(columns)
    return "".join(_lines(columns))


def check_cells(columns: Mapping[str, Iterable[str]]) -> None:
    """Refuse what a manifest cannot hold.

    Raises:
        BarlowSpeechError: as `manifest_text`.
    """
    for name, cells in columns.items():
        for cell in cells:
            if UNWRITABLE.search(cell):
                raise BarlowSpeechError(
                    f"the {name} {cell!r} holds a tab, a line's end or what is no UTF-8 text, "
                    "which a manifest cannot hold; rename it."
                )


def _lines(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield "\t".join(columns) + "\n"
    for row in zip(*columns.values()):
        yield "\t".join(row) + "\n"


def write_manifest(file: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Write a manifest, whole or not at all; `read_manifest` gives the same columns back.

    Raises:
        BarlowSpeechError: as `manifest_text`, or the folder cannot be written.
    """
    check_cells(columns)
    with written_whole(file) as part, part.open("w", encoding="utf-8", newline="") as out:
        out.writelines(_lines(columns))
