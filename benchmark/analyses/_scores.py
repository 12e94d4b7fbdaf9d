"""The scores of runs as tables: mean and spread, every metric, and every pair of upstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from barlow_speech.benchmark.reporting.document import Entry, Section, Table
from barlow_speech.benchmark.reporting.numbers import (
    ABSENT,
    interval,
    p_value,
    percent,
    signed,
    spread,
)
from barlow_speech.benchmark.reporting.tables import MARK
from barlow_speech.benchmark.statistics.comparison import compare_all, leaders
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import TaskResult, shares_levels
from barlow_speech.benchmark.statistics.summaries import DEPENDENT, cell_summary

Groups = Mapping[tuple[str, str], Sequence[TaskResult]]  # the results of each (task, corpus)

COLUMNS = ("mean ± std", "95 % CI", "median", "quartiles", "n")
SCORES_NOTE = (
    "Percent over the runs; 95 % CI: BCa bootstrap interval of the mean over the head's runs, "
    "not over test sets or pretraining runs."
)
MARK_NOTE = (
    f"{MARK}: the best mean of the task and every upstream that the paired sign-flip test "
    "(5 %, Holm-corrected within the task) does not separate from it."
)
METRICS_NOTE = (
    "Percent, means over the runs. Macro recall (unweighted average recall) and macro F1 are means "
    "over the classes, so that a rare class weighs as much as a frequent one."
)
PAIRS_NOTE = (
    "Points are percentage points, with the 95 % BCa bootstrap interval of the mean difference of "
    "runs with one seed. p: two-sided sign-flip test, Holm-corrected over the pairs of the task "
    "(Wilcoxon's signed-rank p, corrected likewise, beside it). A12: how often a run of the first "
    "is better than a run of the other, ties counting half; 0.5 is no effect."
)


def scores(groups: Groups) -> Section:
    """A row for each upstream; the best and what cannot be separated from it are marked.

    None is where it is alone, or where runs are not independent and so were not tested.
    """
    rows = []
    for (task, corpus), group in groups.items():
        best = leaders(group) if _tested(group) else []
        for result in group:
            numbers = cell_summary(result)
            rows.append(
                (
                    task,
                    corpus,
                    Entry(result.upstream, marked=result.upstream in best),
                    spread(numbers["mean"], numbers["std"]),
                    interval(numbers["ci95"]),
                    percent(numbers["median"]),
                    interval([numbers["q1"], numbers["q3"]]),
                    numbers["n"],
                )
            )
    on_dev = [
        task
        for (task, _), group in groups.items()
        if any(result.setup.eval_split == "dev" for result in group)
    ]
    names = ", ".join(dict.fromkeys(on_dev))
    of_dev = f"Scores of {names} are of dev, on which choices are made, and not of test."
    dependent = any(shares_levels(result) for group in groups.values() for result in group)
    notes = [
        *([MARK_NOTE] if any(map(_tested, groups.values())) else []),
        SCORES_NOTE,
        *([of_dev] if on_dev else []),
        *([DEPENDENT] if dependent else []),
    ]
    columns = ("task", "corpus", "upstream", *COLUMNS)
    table = Table("results", "", columns, tuple(rows), texts=3, groups=2)
    return Section("Results", (), (" ".join(notes),), (table,))


def _tested(group: Sequence[TaskResult]) -> bool:
    return len(group) > 1 and not any(map(shares_levels, group))


def metrics(groups: Groups) -> Section | None:
    """The mean of every metric; None where none is recorded."""
    rows = tuple(
        (task, corpus, result.upstream, *(percent(result.metrics.get(name)) for name in METRICS))
        for (task, corpus), group in groups.items()
        for result in group
        if result.metrics
    )
    columns = ("task", "corpus", "upstream", *METRICS.values())
    table = Table("metrics", "", columns, rows, texts=3, groups=2)
    return Section("All metrics", (), (METRICS_NOTE,), (table,)) if rows else None


def pairs(groups: Groups) -> Section | None:
    """Every test of two upstreams; None where no task has two."""
    rows = []
    for (task, corpus), group in groups.items():
        for pair in compare_all(group):
            ends = pair["a12_ci95"]
            rows.append(
                (
                    task,
                    corpus,
                    Entry(pair["a"], beside=f"against {pair['b']}"),
                    signed(pair["difference"]),
                    interval(pair["ci95"]),
                    p_value(pair["p_holm"]),
                    p_value(pair["p_wilcoxon_holm"]),
                    ABSENT if pair["a12"] is None else f"{pair['a12']:.2f}",
                    ABSENT if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]",
                    pair["n"],
                )
            )
    columns = ("task", "corpus", "pair", "points", "95 % interval", "p (Holm)", "Wilcoxon p", "A12",
               "95 % interval of A12", "seeds")  # fmt: skip
    table = Table("pairs", "", columns, tuple(rows), texts=3, groups=2)
    return Section("Pairs of upstreams", (), (PAIRS_NOTE,), (table,)) if rows else None
