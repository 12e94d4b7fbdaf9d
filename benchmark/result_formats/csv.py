"""A table of one's own: CSV or TSV with a header, a score a row.

Columns: `system` (or `upstream`, `model`), `task`, `score` (or the one that `--metric` names), and
`seed` (or `run`), `item` (or `recording`, with its `fold`), or both. Runs of one seed pair, and so
do scores of one item. `speaker` groups items; `corpus`, `protocol`, `head`, `selection` and
`eval_split` keep apart what is not alike; with a column `metric`, rows of one metric are taken. So
both tables of `barlow-speech runs` are read as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from barlow_speech.benchmark.result_formats._table import Asked, Cell, Table, files_of
from barlow_speech.benchmark.statistics.results import Setup
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import read_text
from barlow_speech.upstream.common.text import listed

TITLE = "a table (CSV, TSV)"
# Ours, and what others call it.
NAMES = {
    "system": ("system", "upstream", "model"),
    "task": ("task",),
    "seed": ("seed", "run"),
    "item": ("item", "recording"),
    "speaker": ("speaker",),
    "corpus": ("corpus",),
    "metric": ("metric",),
}
SETUP = ("protocol", "head", "selection", "eval_split")
WORDS = {"true": 1.0, "false": 0.0}


def read(paths: Sequence[Path], asked: Asked) -> Table:
    """The cells of all tables.

    Raises:
        BarlowSpeechError: a column is missing or there twice, a row has no value where one is
            needed, a score is no number, or rows are of several metrics.
    """
    cells: dict[tuple[str, str, str, Setup], Cell] = {}
    remarks: list[str] = []
    whole = True
    for path in files_of(paths, "*.csv", TITLE):
        columns, rows = _rows(path)
        known, score = _columns(path, columns, asked)
        ignored = [name for name in columns if name not in {*known.values(), score, *SETUP}]
        if ignored:
            remarks.append(f"Columns of {path.name} that were not read: {listed(ignored, most=8)}.")
        whole = whole and "item" not in known
        fold = known["item"] == "recording" and "fold" in columns if "item" in known else False
        for line, row in _of_metric(path, rows, known, asked):
            where = f"{path}, line {line}"
            said = {ours: _said(row[theirs], ours, where) for ours, theirs in known.items()}
            setup = Setup(
                protocol=row.get("protocol", ""),
                head=row.get("head", ""),
                selection=row.get("selection", ""),
                eval_split=row.get("eval_split", ""),
            )
            item = said.get("item", "")
            item = f"{row['fold']}:{item}" if fold else item
            system, task, corpus = said["system"], said["task"], said.get("corpus", "")
            metric = said.get("metric") or score
            new = Cell(system, task, metric, path, corpus=corpus, setup=setup)
            cell = cells.setdefault((system, task, corpus, setup), new)
            cell.add(_number(row[score], score, where), where, said.get("seed", ""), item)
            speaker = said.get("speaker", "")
            if cell.speakers.setdefault(item, speaker) != speaker:
                raise BarlowSpeechError(
                    f"{where}: item '{item}' is of speaker '{speaker}', and before of "
                    f"'{cell.speakers[item]}'; give it one."
                )
    if whole:
        remarks.append(
            "Scores are of whole runs: nothing here is said about other test items than theirs."
        )
    return Table(list(cells.values()), tuple(dict.fromkeys(remarks)))


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The names of the columns, and every row with its line."""
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        for values in reader:
            if not any(values):
                continue
            if len(values) != len(columns):
                raise BarlowSpeechError(
                    f"{path}, line {reader.line_num} has {len(values)} values, and the header "
                    f"{len(columns)} columns; quote what holds a '{separator}'."
                )
            rows.append((reader.line_num, dict(zip(columns, map(str.strip, values)))))
    except csv.Error as error:
        raise BarlowSpeechError(
            f"{path}, line {reader.line_num} is no row of a table ({error}); mend it."
        ) from error
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise BarlowSpeechError(f"{path} has the column '{twice[0]}' twice; leave one out.")
    if not rows:
        raise BarlowSpeechError(f"{path} has no rows; give it a header and a score a row.")
    return columns, rows


def _columns(path: Path, columns: Sequence[str], asked: Asked) -> tuple[dict[str, str], str]:
    """What our columns are called there, and which holds the scores."""
    known = {}
    for ours, theirs in NAMES.items():
        there = [name for name in theirs if name in columns]
        if len(there) > 1:
            raise BarlowSpeechError(
                f"{path} has the columns {listed(there)}, which both say the {ours}; leave one out."
            )
        if there:
            known[ours] = there[0]
    if "metric" in known and "score" not in columns:
        del known["metric"]
    score = asked.metric if asked.metric and "metric" not in known else "score"
    for ours in ("system", "task"):
        if ours not in known:
            raise BarlowSpeechError(
                f"{path} has no column '{ours}' among {listed(columns, most=12)}; call one "
                f"{listed(NAMES[ours], 'or')}."
            )
    if score not in columns:
        raise BarlowSpeechError(
            f"{path} has no column '{score}' among {listed(columns, most=12)}; name that of the "
            "scores by --metric."
        )
    return known, score


def _of_metric(
    path: Path, rows: Sequence[tuple[int, dict[str, str]]], known: dict[str, str], asked: Asked
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of one metric."""
    if "metric" not in known:
        yield from rows
        return
    names = list(dict.fromkeys(row["metric"] for _, row in rows))
    if (asked.metric or len(names) > 1) and asked.metric not in names:
        raise BarlowSpeechError(
            f"{path} has scores of the metrics {listed(names, most=8)}; choose one of them by "
            "--metric."
        )
    yield from ((line, row) for line, row in rows if row["metric"] == (asked.metric or names[0]))


def _said(value: str, ours: str, where: str) -> str:
    if not value and ours not in ("speaker", "corpus"):
        raise BarlowSpeechError(f"{where} has no {ours}; give it one, or leave the row out.")
    return value


def _number(text: str, column: str, where: str) -> float:
    try:
        return WORDS[text.lower()] if text.lower() in WORDS else float(text)
    except ValueError as error:
        raise BarlowSpeechError(
            f"{where}: the {column} '{text}' is no number; write it as 0.83, or leave the row out."
        ) from error
