"""The runs of stored results as rows of a table, which other programs read.

Columns keep their names and their order; new ones come at the end.
"""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.evaluation.records import Record
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.predictions import unpack
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, written_whole
from barlow_speech.upstream.common.progress import progress

Row = dict[str, Any]
Named = Sequence[tuple[Path, Record]]
TOGETHER = 1 << 16  # rows that are in memory at once


def scores(records: Named) -> Iterator[Row]:
    """A row for each run: what it is of, its seeds, its learning rate and every metric.

    A source that some records have and others do not, as `split`, is empty in these.
    """
    sources = dict.fromkeys(
        name for _, record in records for run in record.runs.values() for name in run["sources"]
    )
    for folder, record in _watched(records):
        seeds = sorted(record.runs)
        for seed, metrics in zip(seeds, record.scores(seeds)):
            yield {
                **_result(folder, record),
                "head": record.identity["protocol"]["head"]["name"],
                "learning_rate": float(record.facts["learning_rate"]["chosen"]),
                "seed": seed,
                **sources,
                **record.runs[seed]["sources"],
                **{name: metrics[name] for name in METRICS},
                "eval_split": record.eval_split,
            }


def predictions(records: Named) -> Iterator[Row]:
    """A row for each test recording of each run: the class it is of and the one it was given.

    A recording is known by its number in the fold's test set, and its speaker by a number, empty
    where it is unknown; both are the same in all results whose `examples` are.
    """
    for folder, record in _watched(records):
        classes = record.facts["classes"]
        truth = [unpack(one) for one in record.facts["truth"]]
        speakers = [unpack(one) for one in record.facts.get("speakers") or ()]
        for seed in sorted(record.runs):
            for fold, stored in enumerate(record.runs[seed]["folds"]):
                predicted_N = unpack(stored["predicted"])
                for number, (right, said) in enumerate(zip(truth[fold], predicted_N)):
                    speaker = int(speakers[fold][number]) if speakers else 0
                    yield {
                        **_result(folder, record),
                        "examples": record.identity["examples"],
                        "seed": seed,
                        "fold": fold,
                        "recording": number,
                        "speaker": speaker or None,
                        "truth": classes[right],
                        "predicted": classes[said],
                        "correct": bool(right == said),
                        "eval_split": record.eval_split,
                    }


def _watched(records: Named) -> Iterator[tuple[Path, Record]]:
    with progress(len(records), "results as rows", "result") as bar:
        for one in records:
            yield one
            bar.update()


def _result(folder: Path, record: Record) -> Row:
    return {
        "results": str(folder),
        "upstream": record.upstream,
        "task": record.task,
        "corpus": record.corpus,
        "protocol": record.facts["protocol"],
        "selection": record.identity["selection"],
        "record": digest(record.identity)[:12],
    }


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write rows of one kind as CSV or Parquet, by the suffix, whole or not at all; their number.

    Raises:
        BarlowSpeechError: pyarrow is missing for a Parquet file, or the folder cannot be written.
    """
    write = _write_parquet if path.suffix == ".parquet" else _write_csv
    iterator = iter(rows)
    with written_whole(path) as part:
        return write(iter(lambda: list(itertools.islice(iterator, TOGETHER)), []), part)


def _write_csv(parts: Iterable[list[Row]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for rows in parts:
            if writer is None:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
            writer.writerows(rows)
            count += len(rows)
    return count


def _write_parquet(parts: Iterable[list[Row]], path: Path) -> int:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise BarlowSpeechError(
            "a .parquet needs pyarrow, which is missing; pip install pyarrow, or write a .csv."
        ) from error
    count, writer = 0, None
    try:
        for rows in parts:
            if writer is None:
                kinds = {bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64()}
                fields = [
                    # What may be empty is a seed or a speaker.
                    (
                        name,
                        arrow.int64() if value is None else kinds.get(type(value), arrow.string()),
                    )
                    for name, value in rows[0].items()
                ]
                writer = parquet.ParquetWriter(path, arrow.schema(fields))
            writer.write_table(arrow.Table.from_pylist(rows, schema=writer.schema))
            count += len(rows)
    finally:
        if writer is not None:
            writer.close()
    return count
