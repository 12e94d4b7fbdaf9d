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
from barlow_speech.benchmark.statistics.comparison import compare_all, leaders, why_untested
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.sources import (
    WILD,
    beside,
    dependent_runs,
    limits,
    over_text,
)
from barlow_speech.benchmark.statistics.summaries import DEPENDENT, cell_summary

Groups = Mapping[tuple[str, str], Sequence[TaskResult]]  # the results of each (task, corpus)

COLUMNS = ("mean ± std", "95 % CI", "runs alone", "median", "quartiles", "n")
SCORES_NOTE = (
    "Percent over the runs; 95 % CI: how far the mean would move with others of what it is over, "
    "here {over}. Runs alone: BCa bootstrap interval of the mean over the head's runs, on these "
    "recordings. Neither is over other corpora{or_pretrainings}."
)
MARK_NOTE = (
    f"{MARK}: the best mean of the task and every upstream that the paired test "
    "over the same (5 %, Holm-corrected within the task) does not separate from it."
)
METRICS_NOTE = (
    "Percent, means over the runs. Macro recall (unweighted average recall) and macro F1 are means "
    "over the classes, so that a rare class weighs as much as a frequent one."
)
PAIRS_NOTE = (
    "Points are percentage points. Interval and p: of the mean difference over what is named, by "
    "crossed variance components (t, two-sided), p Holm-corrected over the pairs of the task. "
    "Bootstrap: the same interval by drawing runs and speakers (or recordings) anew, each apart; "
    "with few it is too short. Wild: the same p, uncorrected, by the wild cluster bootstrap, for "
    f"{WILD} speakers or fewer. New speaker: the share of the test speakers of whom the first "
    "recognises more, ties counting half, with Wilson's interval. Runs alone: BCa interval and "
    "sign-flip test of the runs with one seed, Holm-corrected (Wilcoxon's signed-rank p, corrected "
    "likewise, beside it). A12: how often a run of the first is better than a run of the other, "
    "ties counting half; 0.5 is no effect."
)


def scores(groups: Groups) -> Section:
    """A row for each upstream; the best and what cannot be separated from it are marked.

    None is where it is alone, or where runs are not independent and so were not tested.
    """
    rows = []
    for (task, corpus), group in groups.items():
        best = leaders(group) if why_untested(group) is None else []
        for result in group:
            numbers = cell_summary(result)
            rows.append(
                (
                    task,
                    corpus,
                    Entry(result.upstream, marked=result.upstream in best),
                    spread(numbers["mean"], numbers["std"]),
                    interval(numbers["ci95"]),
                    interval(numbers["runs_ci95"]),
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
    every = [result for group in groups.values() for result in group]
    over = over_text(every)
    dependent = any(map(dependent_runs, every))
    tested = any(why_untested(group) is None for group in groups.values())
    notes = [
        *([MARK_NOTE] if tested else []),
        SCORES_NOTE.format(
            over=over, or_pretrainings="" if "pretrainings" in over else " or pretrainings"
        ),
        *limits(every),
        *([of_dev] if on_dev else []),
        *([DEPENDENT] if dependent else []),
    ]
    columns = ("task", "corpus", "upstream", *COLUMNS)
    table = Table("results", "", columns, tuple(rows), texts=3, groups=2)
    return Section("Results", (), (" ".join(notes),), (table,))


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
        named = {result.upstream: result for result in group}
        for pair in compare_all(group):
            bootstrap, wild = beside(named[pair["a"]], named[pair["b"]])
            rows.append(
                (
                    task,
                    corpus,
                    Entry(pair["a"], beside=f"against {pair['b']}"),
                    signed(pair["difference"]),
                    pair["over"],
                    interval(pair["ci95"]),
                    p_value(pair["p_holm"]),
                    interval(None if pair["ci95"] is None else bootstrap),
                    p_value(None if pair["untested"] else wild),
                    _effect(pair["speakers_better"], pair["speakers_better_ci95"]),
                    interval(pair["runs_ci95"]),
                    p_value(pair["p_runs_holm"]),
                    p_value(pair["p_wilcoxon_holm"]),
                    _effect(pair["a12"], pair["a12_ci95"]),
                    pair["n"],
                )
            )
    columns = ("task", "corpus", "pair", "points", "over", "95 % interval", "p (Holm)", "bootstrap",
               "p (wild)", "new speaker", "runs alone", "p (runs)", "Wilcoxon p", "A12", "seeds",
               )  # fmt: skip
    table = Table("pairs", "", columns, tuple(rows), texts=3, groups=2)
    return Section("Pairs of upstreams", (), (PAIRS_NOTE,), (table,)) if rows else None


def _effect(share: float | None, ends: Sequence[float] | None) -> str:
    """A probability with its interval: "0.71 [0.55, 0.83]"."""
    if share is None:
        return ABSENT
    return f"{share:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")
