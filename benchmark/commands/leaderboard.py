"""rank the upstreams of stored results

Reads the records of one results folder or several, prints the table, and writes leaderboard.md,
leaderboard.tex, leaderboard.csv and leaderboard.html.

examples:
  barlow-speech leaderboard results
  barlow-speech leaderboard results/mine results/theirs -o results/both --metric uar
  barlow-speech leaderboard results --over pretrainings,speakers
  barlow-speech leaderboard results --published superb my_numbers.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.benchmark.arguments import add_over
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.over import read_over
from barlow_speech.upstream.common.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="folders that run_downstream.py wrote (-p)")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="DIR",
                        help="where the files go (default: the first folder)")  # fmt: skip
    parser.add_argument("--metric", choices=list(METRICS), default="top1",
                        help="what to rank by (default: top1)")  # fmt: skip
    add_over(parser)
    parser.add_argument("--published", nargs="+", action="extend", default=[], metavar="TABLE",
                        help="superb, or YAML files of published scores, shown apart")  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Print the table and write the files."""
    over = read_over(given.over)
    from barlow_speech.benchmark.evaluation.records import read_results
    from barlow_speech.benchmark.reporting.html import page
    from barlow_speech.benchmark.reporting.latex import latex_document
    from barlow_speech.benchmark.reporting.leaderboard import (
        document,
        every_score,
        leaderboard,
        merged,
        terminal,
    )
    from barlow_speech.benchmark.reporting.published import read_published
    from barlow_speech.benchmark.reporting.tables import (
        comma_separated,
        markdown_document,
        text_document,
    )

    published = [read_published(name) for name in dict.fromkeys(given.published)]
    results = merged({folder: read_results(folder, given.metric, over) for folder in given.results})
    board = leaderboard(results, published, given.metric)
    shown = document(board)
    # All of them are made before the first is written.
    texts = {
        "md": markdown_document(shown),
        "tex": latex_document(document(board, intervals=False)),
        "csv": comma_separated(every_score(board)),
        "html": page(shown),
    }
    out = given.out or given.results[0]
    for kind, text in texts.items():
        write_text(out / f"leaderboard.{kind}", text)
    print(text_document(terminal(board)))
    print(f"written: {out / 'leaderboard'}.{{{','.join(texts)}}}")
