"""write the runs of stored results as one table, for your own statistics

A row a run, or with --predictions a row a test recording of each run. Nothing is computed anew; the
records stay as they are.

examples:
  barlow-speech runs results -o runs.csv
  barlow-speech runs results/mine results/theirs -o runs.parquet
  barlow-speech runs results --predictions -o predictions.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError

SUFFIXES = (".csv", ".parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="folders that run_downstream.py wrote (-p)")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
                        help="a .csv, or a .parquet (needs pyarrow)")  # fmt: skip
    parser.add_argument("--predictions", action="store_true",
                        help="a row for each test recording of each run")  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Write the table, and say how many rows it has.

    Raises:
        BarlowSpeechError: another suffix, no pyarrow for a .parquet, or a folder without records.
    """
    if given.out.suffix not in SUFFIXES:
        raise BarlowSpeechError(
            f"{given.out} does not say its format; end it in {' or '.join(SUFFIXES)}."
        )
    from barlow_speech.benchmark.evaluation.records import read_records
    from barlow_speech.benchmark.reporting import runs

    records = [(folder, one) for folder in given.results for one in read_records(folder)]
    table = runs.predictions(records) if given.predictions else runs.scores(records)
    rows = runs.write_rows(table, given.out)
    print(f"{given.out}: {rows} rows of {len(records)} results")
