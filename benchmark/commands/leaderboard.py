"""rank the upstreams of stored results, or the systems of anyone's

Reads the records of one results folder or several, prints the table, and writes leaderboard.md,
leaderboard.tex, leaderboard.csv and leaderboard.html. With --from it reads what other programs
wrote: result files of MTEB, samples that lm-eval logged, or a table of your own.

examples:
  barlow-speech leaderboard results
  barlow-speech leaderboard results/mine results/theirs -o results/both --metric uar
  barlow-speech leaderboard results --over pretrainings,speakers
  barlow-speech leaderboard results --published superb my_numbers.yaml
  barlow-speech leaderboard --from mteb results/*/*/{ESC50,CREMA_D}.json -o boards/audio
  barlow-speech leaderboard --from lm-eval output --metric acc_norm
  barlow-speech leaderboard --from csv scores.csv      # system, task, seed or item, score
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech.benchmark import result_formats
from barlow_speech.benchmark.arguments import add_over
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.over import Over, read_over
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import check_output, write_text

if TYPE_CHECKING:
    from barlow_speech.benchmark.reporting.leaderboard import Leaderboard

OF_OTHERS = ("split", "subset", "percent", "lower_is_better", "unbounded")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="folders that run_downstream.py wrote (-p); with --from, files or "
                             "folders of that format")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="DIR",
                        help="where the files go (default: the first folder)")  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", default="",
                        help=f"what to rank by: {', '.join(METRICS)} (default: top1); with --from, "
                             "one that the files have (default: MTEB's main score, the only one of "
                             "lm-eval, the column score)")  # fmt: skip
    add_over(parser)
    parser.add_argument("--published", nargs="+", action="extend", default=[], metavar="TABLE",
                        help="superb, or YAML files of published scores, shown apart")  # fmt: skip
    others = parser.add_argument_group("results of other programs")
    others.add_argument("--from", dest="source", metavar="FORMAT",
                        help=f"{', '.join(result_formats.names())}")  # fmt: skip
    others.add_argument("--split", default="", metavar="NAME",
                        help="of mteb: a split, where a task has it (default: test)")  # fmt: skip
    others.add_argument("--subset", default="", metavar="NAME",
                        help="of mteb: a subset of the tasks (default: the mean)")  # fmt: skip
    others.add_argument("--percent", action="store_true", help="scores are 0 to 100")
    others.add_argument("--lower-is-better", action="store_true",
                        help="scores are errors: rank by 1 − score")  # fmt: skip
    others.add_argument("--unbounded", action="store_true",
                        help="scores have a unit of their own, as perplexity: nothing is percent, "
                             "and the lower is −score")  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Print the table and write the files.

    Raises:
        BarlowSpeechError: on anything that the user can fix; no file is written then.
    """
    over = read_over(given.over)
    board = _of_others(given, over) if given.source is not None else _of_ours(given, over)
    from barlow_speech.benchmark.reporting.html import page
    from barlow_speech.benchmark.reporting.latex import latex_document
    from barlow_speech.benchmark.reporting.leaderboard import document, every_score, terminal
    from barlow_speech.benchmark.reporting.tables import (
        comma_separated,
        markdown_document,
        text_document,
    )

    shown = document(board)
    # All of them are made before the first is written.
    texts = {
        "md": markdown_document(shown),
        "tex": latex_document(document(board, intervals=False)),
        "csv": comma_separated(every_score(board)),
        "html": page(shown),
    }
    first = given.results[0]
    out = given.out or (first.parent if first.is_file() else first)
    for kind in texts:
        check_output(out / f"leaderboard.{kind}", given.results)
    for kind, text in texts.items():
        write_text(out / f"leaderboard.{kind}", text)
    print(text_document(terminal(board)))
    print(f"written: {out / 'leaderboard'}.{{{','.join(texts)}}}")


def _of_ours(given: argparse.Namespace, over: Over) -> Leaderboard:
    for name in OF_OTHERS:
        if getattr(given, name):
            raise BarlowSpeechError(
                f"--{name.replace('_', '-')} is for results of other programs (--from); leave it "
                "out."
            )
    metric = given.metric or "top1"
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, "--metric")
    from barlow_speech.benchmark.evaluation.records import read_results
    from barlow_speech.benchmark.reporting.leaderboard import leaderboard, merged
    from barlow_speech.benchmark.reporting.published import read_published

    published = [read_published(name) for name in dict.fromkeys(given.published)]
    results = merged({folder: read_results(folder, metric, over) for folder in given.results})
    return leaderboard(results, published, metric)


def _of_others(given: argparse.Namespace, over: Over) -> Leaderboard:
    if given.source not in result_formats.names():
        raise unknown("format", given.source, result_formats.names(), "--from")
    if given.published:
        raise BarlowSpeechError("--published is for boards of our own tasks; leave it out.")
    for name in ("split", "subset"):
        if getattr(given, name) and given.source != "mteb":
            raise BarlowSpeechError(f"--{name} is for --from mteb; leave it out.")
    from barlow_speech.benchmark.reporting.leaderboard import leaderboard
    from barlow_speech.benchmark.result_formats._table import Asked, results_of

    if given.percent and given.unbounded:
        raise BarlowSpeechError("--percent and --unbounded exclude each other; leave one out.")
    asked = Asked(
        given.metric, given.split, given.subset, given.percent, given.lower_is_better,
        given.unbounded,
    )  # fmt: skip
    table = result_formats.read_table(given.source, given.results, asked)
    results, remarks = results_of(table, over, asked)
    metrics = {result.metric for result in results}
    metric = metrics.pop() if len(metrics) == 1 else "main score"
    return leaderboard(results, (), metric, "system", remarks)
