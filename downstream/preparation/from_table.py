"""Anyone's table of recordings (CSV, TSV, …) into a manifest and a card."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from barlow_speech.downstream.corpora._known_faults import correct, named_as
from barlow_speech.downstream.corpora._scan import Table
from barlow_speech.downstream.corpora._splits import split_shares
from barlow_speech.downstream.corpus import SPLITS, Card, derived_tasks
from barlow_speech.downstream.preparation.prepare import Prepared, check_writable, write_corpora
from barlow_speech.downstream.task import names as task_names
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import read_text
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.manifest import manifest_text, parse_manifest, recording_of

DELIMITERS = ("\t", ",", ";", "|")
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
BY_SPEAKER, BY_RECORDING = "split_speaker_disjoint", "split"


@dataclass(frozen=True)
class TableOptions:
    """How to read a table: its name as a corpus, what its columns are called (ours to theirs), the
    folder of its paths, and how to split it (`split_by` speaker, recording, or both) into shares.
    """

    name: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    root: Path | None = None
    split_by: tuple[str, ...] = ()
    dev: float = 0.15
    test: float = 0.15
    seed: int = 0
    partial: bool = False


def prepare_table(
    file: Path, out: Path | None = None, options: TableOptions | None = None
) -> Prepared:
    """Write `<name>.tsv` and `<name>.yaml` for a table, into `out` (default: the table's folder).

    The card serves each task whose label and split the table has (downstream/README.md, 'Your own
    corpus').

    Raises:
        BarlowSpeechError: the table cannot be read, has no column of paths or not the columns that
            the options name, lists files that are not there (unless `partial`), or `out` cannot be
            written.
    """
    options = options or TableOptions()
    name, out = options.name or file.stem, out or file.parent
    if "/" in name or not name.strip():
        raise BarlowSpeechError(f"--corpus-name {name!r} must be a file's name; choose another.")
    if not (options.dev > 0 and options.test > 0 and options.dev + options.test < 1):
        raise BarlowSpeechError(
            f"--shares {options.dev:g} {options.test:g} must be above 0, and below 1 together."
        )
    check_writable(out)
    manifest = out / f"{name}.tsv"
    if manifest.resolve() == file.resolve():
        raise BarlowSpeechError(
            f"the manifest would replace the table {file} itself; choose another --corpus-name, or "
            "another folder by -o."
        )
    columns, counted = _read(file, options)
    root = options.root or file.parent
    notes = _drop_absent(file, columns, root, options.partial)
    columns, faults = correct(named_as(columns["path"]), columns)
    for column in columns:
        if column.startswith("split"):
            columns[column] = [SPLIT_NAMES.get(one.lower(), one) for one in columns[column]]
    for how in options.split_by:
        if how == "speaker":
            columns |= _by_speaker(file, columns, options)
        else:
            columns |= _by_recording(columns, options)
    table = Table(tuple(columns), list(zip(*columns.values())))
    try:
        text = manifest_text(columns)
    except BarlowSpeechError as error:
        raise BarlowSpeechError(f"the table {file}: {error}") from error
    draft = parse_manifest(text, root / manifest.name)
    tasks = derived_tasks(draft)
    if not tasks:
        notes.append(_why_no_task(columns))
    card = Card(name, manifest.name, tasks)
    prepared = write_corpora({name: table}, [card], root, out, notes=[*notes, *faults])
    own = [note for note in prepared.notes if note not in faults]
    rows = f"{counted}, {len(table.rows):,} written"
    return dataclasses.replace(prepared, notes=own, faults=faults, rows=rows)


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


def _read(file: Path, options: TableOptions) -> tuple[dict[str, list[str]], str]:
    """The columns by our names, and a sentence on how many rows there are."""
    text = read_text(file, f"the table {file}", "save it as CSV in UTF-8 and check the path")
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    rows = _rows(file, text, delimiter)
    if len(rows) < 2:
        raise BarlowSpeechError(f"the table {file} has no row below its header; fill it.")
    header = [cell.strip() for cell in rows.pop(0).cells]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise BarlowSpeechError(f"the table {file} has two columns '{twice[0]}'; rename one.")
    mapping = options.columns
    for theirs in mapping.values():
        if theirs not in header:
            raise unknown("column", theirs, header, str(file))
    places = {
        name: header.index(name) for name in header if name not in {*mapping, *mapping.values()}
    }
    places |= {ours: header.index(theirs) for ours, theirs in mapping.items()}
    if "path" not in places:
        raise BarlowSpeechError(
            f"the table {file} has no column 'path'; say which of {', '.join(header)} holds the "
            "paths by --column path=…"
        )
    root = options.root or file.parent
    for row in rows:
        where = f"the table {file}, line {row.line}"
        if len(row.cells) != len(header):
            raise BarlowSpeechError(
                f"{where}: {len(row.cells)} cells where the header has {len(header)} (separated by "
                f"{delimiter!r}); fix the row."
            )
        # A quotation mark that nothing closes takes in all lines up to the next one. It shows where
        # one of these is a row itself: it has as many cells, and names a file.
        for line in row.others:
            cells = line.split(delimiter)
            if len(cells) == len(header) and _is_file(root / cells[places["path"]].strip('"')):
                raise BarlowSpeechError(
                    f"{where}: a quoted cell takes in the row of {cells[places['path']]}; close "
                    "the quotation mark, or double it if it belongs to the text."
                )
        if row.cells[places["path"]]:
            recording_of({name: row.cells[at] for name, at in places.items()}, root, where)
    # Line ends and tabs inside a cell are for the eye only; a manifest cannot hold them.
    columns = {
        name: [row.cells[at] if name == "path" else " ".join(row.cells[at].split()) for row in rows]
        for name, at in sorted(places.items(), key=lambda item: item[1])
    }
    several = sum(bool(row.others) for row in rows)
    also = f", {several} of them over several lines" if several else ""
    return columns, f"{len(rows):,} read{also}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file has so long a name
        return False


def _drop_absent(file: Path, columns: dict[str, list[str]], root: Path, partial: bool) -> list[str]:
    here = []
    with progress(len(columns["path"]), "look for files", "file") as bar:
        for path in columns["path"]:
            here.append(bool(path) and _is_file(root / path))
            bar.update()
    absent = [path for path, there in zip(columns["path"], here) if not there]
    if not absent:
        return []
    sentence = f"{len(absent)} of {len(here)} files of {file}, such as {root / absent[0]}"
    if not partial or not any(here):
        raise BarlowSpeechError(
            f"{sentence}, are not there; say by --audio-root what the paths are relative to, or "
            "add --partial to leave them out."
        )
    for name, column in columns.items():
        columns[name] = [cell for cell, there in zip(column, here) if there]
    return [f"Partial: {sentence}, were not there."]


def _by_speaker(
    file: Path, columns: dict[str, list[str]], options: TableOptions
) -> dict[str, list[str]]:
    """Whole speakers in each split, of every gender alike where it is known."""
    if not any(columns.get("speaker", ())):
        raise BarlowSpeechError(
            f"the table {file} has no speaker: --split-by speaker needs the column 'speaker'; "
            "say which it is by --column speaker=…"
        )
    speakers = columns["speaker"]
    genders = dict(zip(speakers, columns.get("gender", [""] * len(speakers))))
    splits: dict[str, str] = {"": ""}
    for gender in sorted(set(genders.values())):
        group = [one for one in genders if one and genders[one] == gender]
        splits |= split_shares(group, options.dev, options.test, f"{options.seed} ")
    return {BY_SPEAKER: [splits[one] for one in speakers]}


def _by_recording(columns: dict[str, list[str]], options: TableOptions) -> dict[str, list[str]]:
    """Equal shares of every speaker; where there are none, of every class of all labels at once."""
    with_speakers = any(columns.get("speaker", ()))
    labels = ["speaker"] if with_speakers else _labels()
    cells = [columns[label] for label in labels if label in columns]
    groups: dict[tuple[str, ...], list[str]] = {}
    for path, *group in zip(columns["path"], *cells):
        groups.setdefault(tuple(group), []).append(path)
    splits: dict[str, str] = {}
    for paths in groups.values():
        splits |= split_shares(paths, options.dev, options.test, f"{options.seed} ")
    name = "split_speaker_id" if with_speakers else BY_RECORDING
    return {name: [splits[path] for path in columns["path"]]}


def _labels() -> list[str]:
    """The columns that tasks read their labels from."""
    return sorted({read_task(task).label for task in task_names()})


def _why_no_task(columns: dict[str, list[str]]) -> str:
    labels = _labels()
    if not any(any(columns.get(label, ())) for label in labels):
        wanted = ", ".join(labels)
        return f"Serves no task: none of the columns {wanted} is there (--column OURS=THEIRS)."
    return (
        f"Serves no task: no column of splits ({', '.join(SPLITS)}) is there; add one, or "
        "--split-by speaker or recording."
    )
