"""A table with a header: separated by tabs, commas, semicolons or bars; its times are seconds."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from barlow_speech.downstream.preparation.formats._entry import Asked, Entry
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import read_text

TITLE = "table"
DELIMITERS = ("\t", ",", ";", "|")
NAMES: dict[str, str] = {}  # a table's columns are called as they are, or by --column
FILES = ("path", "file_name")  # columns of paths: ours, and that of Hugging Face's audio folders


def recognises(path: Path) -> bool:
    """Whether a file is a CSV with a column of paths; others are read as one if nothing else."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline(1 << 16)
    except (OSError, ValueError):
        return False
    return bool({*FILES} & {one.strip() for one in head.split(max(DELIMITERS, key=head.count))})


class Row(NamedTuple):
    """A row of a table: its cells, the line that it begins in, and those lines that follow it."""

    cells: list[str]
    line: int
    others: list[str]


def _rows(file: Path, text: str, delimiter: str) -> list[Row]:
    lines = text.split("\n")
    # In a tab-separated file a quotation mark is a character, unless it is around each name too.
    quoted = delimiter != "\t" or text.startswith('"')
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    rows, first = [], 1
    try:
        for cells in reader:
            if cells:
                rows.append(Row(cells, first, lines[first : reader.line_num]))
            first = reader.line_num + 1
    except csv.Error as error:
        raise BarlowSpeechError(
            f"the table {file}, line {first}: it is no row of a CSV ({error}); close the quotation "
            "mark there, or double it if it belongs to the text."
        ) from error
    return rows


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The rows of a table.

    Raises:
        BarlowSpeechError: it cannot be read, has no row, no column of paths or not those asked for,
            or a row is malformed.
    """
    text = read_text(path, f"the table {path}", "save it as CSV in UTF-8 and check the path")
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    rows = _rows(path, text, delimiter)
    if len(rows) < 2:
        raise BarlowSpeechError(f"the table {path} has no row below its header; fill it.")
    header = [cell.strip() for cell in rows.pop(0).cells]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise BarlowSpeechError(f"the table {path} has two columns '{twice[0]}'; rename one.")
    mapping = asked.columns
    for theirs in mapping.values():
        if theirs not in header:
            raise unknown("column", theirs, header, str(path))
    key = mapping.get("path") or next((one for one in FILES if one in header), None)
    if key is None:
        raise BarlowSpeechError(
            f"the table {path} has no column 'path'; say which of {', '.join(header)} holds the "
            "paths by --column path=…"
        )
    place = header.index(key)
    root = asked.root or path.parent
    for row in rows:
        where = f"the table {path}, line {row.line}"
        if len(row.cells) != len(header):
            raise BarlowSpeechError(
                f"{where}: {len(row.cells)} cells where the header has {len(header)} (separated by "
                f"{delimiter!r}); fix the row."
            )
        # A quotation mark that nothing closes takes in all lines up to the next one. It shows where
        # one of these is a row itself: it has as many cells, and names a file.
        for line in row.others:
            cells = line.split(delimiter)
            if len(cells) == len(header) and is_file(root / cells[place].strip('"')):
                raise BarlowSpeechError(
                    f"{where}: a quoted cell takes in the row of {cells[place]}; close "
                    "the quotation mark, or double it if it belongs to the text."
                )
        # Line ends and tabs inside a cell are for the eye only; a manifest cannot hold them.
        labels = {name: " ".join(cell.split()) for name, cell in zip(header, row.cells)}
        yield Entry(f"line {row.line}", row.cells[place], labels, lines=1 + len(row.others))


def is_file(path: Path) -> bool:
    """Whether there is such a file."""
    try:
        return path.is_file()
    except OSError:  # no file has so long a name
        return False
