"""Upstreams side by side: boxplots of the runs, ranks, and which of them the runs separate.

With `against`, each upstream is tested against that one alone (an ablation against the full
method); else all pairs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from barlow_speech.benchmark.analyses._details import variance_picture
from barlow_speech.benchmark.analyses._requests import ResultRequest, Results, Study, grid, labels
from barlow_speech.benchmark.analyses._tables import NO_INTERVAL, have_the_best, percents
from barlow_speech.benchmark.figures.boxplot import boxplot_figure
from barlow_speech.benchmark.figures.critical_difference import (
    critical_difference_figure,
    critical_difference_text,
)
from barlow_speech.benchmark.figures.matrix import differences_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.reporting.numbers import p_value, percent, signed
from barlow_speech.benchmark.statistics.comparison import (
    best_of,
    compare_against,
    compare_all,
    leaders,
    why_untested,
)
from barlow_speech.benchmark.statistics.planning import plan_text
from barlow_speech.benchmark.statistics.ranking import rank_intervals, ranking, verdict
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.sources import limits
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import counted, listed

NOTES = (
    "Percent. Box: quartiles; line: median; diamond: mean; whiskers: lowest and highest run; dots: "
    "the runs; bar beneath: 95 % interval of the mean; dashed: always saying the most frequent "
    "class.",
    "Tests and intervals say over what they generalise; tests are Holm-corrected within a task of "
    "a corpus. Those over the heads' runs alone, on these very recordings, stand beside them. None "
    "is over another corpus, or another pretraining unless it is named.",
)


@dataclass(frozen=True)
class Settings:
    """Which upstreams (default: all), on which tasks (default: all), against which one."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    against: str = ""


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The result of every upstream on every task."""
    upstreams = labels(study, settings.upstreams, "compare")
    if settings.against and settings.against not in upstreams:
        upstreams = [*labels(study, (settings.against,), "compare: against"), *upstreams]
    if settings.against and len(upstreams) < 2:
        raise BarlowSpeechError(
            f"compare: nothing is compared against '{settings.against}'; name another upstream."
        )
    return grid(study, upstreams, settings.tasks)


def section(title: str, settings: Settings, results: Results) -> Section:
    """Boxplots, the table of scores, ranks over the tasks, and every test."""
    measured = results.tasks
    groups = by_task(measured)
    parts: list[Table | Picture] = []
    findings: list[str] = []
    if settings.against:
        pairs = {key: compare_against(settings.against, group) for key, group in groups.items()}
        findings += _findings_against(settings.against, pairs)
    else:
        pairs = {key: compare_all(group) for key, group in groups.items()}
        findings += [_finding(group) for group in groups.values()]
    parts.append(_scores(title, groups))
    notes = (*NOTES, *limits(measured), *filter(None, map(plan_text, groups.values())))
    for (task, corpus), group in groups.items():
        best = have_the_best(_means(group))
        parts.append(
            Picture(
                f"{title} {task} {corpus}",
                "",  # its title says it
                f"Boxplot of {counted(len(group), 'upstream')}; {best}.",
                boxplot_figure(group),
            )
        )
    upstreams = list(dict.fromkeys(result.upstream for result in measured))
    if len(upstreams) > 2 and len(groups) > 1:
        ranked = ranking(measured)
        findings.append(verdict(ranked))
        parts.append(
            Picture(
                f"{title} ranks",
                "Average ranks over the tasks; what a bar joins is not separated.",
                critical_difference_text(ranked),
                critical_difference_figure(ranked),
            )
        )
    parts.append(
        Picture(
            f"{title} differences",
            "Differences in percentage points, row minus column; bold where the two are separated.",
            "A matrix of differences between upstreams for each task; the numbers are in the table "
            "of tests.",
            differences_figure(pairs, upstreams, settings.against),
        )
    )
    parts.append(_tests(title, pairs))
    if (picture := variance_picture(f"{title} variance", measured)) is not None:
        parts.append(picture)
    parts.append(_costs(title, measured))
    return Section(title, tuple(findings), notes, tuple(parts))


def _scores(title: str, groups: dict[tuple[str, str], list[TaskResult]]) -> Table:
    rows = []
    for (task, corpus), group in groups.items():
        ranks = {} if why_untested(group) else rank_intervals(group)
        for result in group:
            numbers = cell_summary(result)
            shares = percents(
                numbers["mean"], numbers["std"], *(numbers["ci95"] or NO_INTERVAL),
                *(numbers["runs_ci95"] or NO_INTERVAL),
                numbers["median"], numbers["q1"], numbers["q3"],
            )  # fmt: skip
            rank = ranks.get(result.upstream, NO_INTERVAL)
            names = (task, corpus, result.upstream, numbers["over"])
            rows.append((*names, *rank, *shares, numbers["n"]))
    return Table(
        f"{title} scores",
        "Scores in percent, with the interval of the mean over what is named, and over the runs "
        "alone (BCa bootstrap). A rank is one more than the number of upstreams that are separably "
        "better; it may be as low as the second number, above those that are separably worse.",
        ("task", "corpus", "upstream", "over", "rank", "or down to", "mean", "std", "95 % from",
         "to", "runs alone from", "runs alone to", "median", "q1", "q3", "runs"),
        tuple(rows),
        texts=4,
    )  # fmt: skip


def _tests(title: str, pairs: dict[tuple[str, str], list[dict[str, Any]]]) -> Table:
    rows = [
        (
            task, corpus, pair["a"], pair["b"], pair["over"],
            *percents(pair["difference"], *(pair["ci95"] or NO_INTERVAL)),
            pair["p_holm"], pair["speakers_better"],
            *percents(*(pair["runs_ci95"] or NO_INTERVAL)),
            pair["p_runs_holm"], pair["p_wilcoxon_holm"], pair["a12"],
            pair["untested"] or ("yes" if pair["separable"] else "no"),
        )
        for (task, corpus), family in pairs.items()
        for pair in family
    ]  # fmt: skip
    return Table(
        f"{title} tests",
        "Every test: the mean paired difference in points with its interval and corrected p over "
        "what is named; the share of the test speakers of whom the first recognises more; over the "
        "runs alone the interval, corrected p of the sign-flip and of Wilcoxon's test, and A12, "
        "how often a run of the first is better than one of the second.",
        ("task", "corpus", "first", "second", "over", "points", "95 % from", "to", "p",
         "new speaker", "runs alone from", "runs alone to", "p (runs)", "p (Wilcoxon)", "A12",
         "separated"),
        tuple(rows),
        texts=5,
        formats={"p": p_value, "p (runs)": p_value, "p (Wilcoxon)": p_value},
    )  # fmt: skip


def _costs(title: str, results: Sequence[TaskResult]) -> Table:
    """What each upstream takes, whatever the task."""
    costs = {result.upstream: result.cost for result in results}
    rows = tuple(
        (
            label, cost.parameters,
            None if cost.macs_per_second is None else cost.macs_per_second / 1e6,
            cost.real_time_factor,
        )
        for label, cost in costs.items()
    )  # fmt: skip
    return Table(
        f"{title} costs",
        "What an upstream takes: parameters, millions of multiply-accumulates for a second of "
        "speech (matrix products and convolutions), and seconds of computing for one of speech.",
        ("upstream", "parameters", "MMAC per second", "real-time factor"),
        rows,
    )


def _finding(group: Sequence[TaskResult]) -> str:
    """What the runs say of one task."""
    leading, means = leaders(group), _means(group)
    best = best_of(means)
    tied = [name for name in leading if name not in best]
    result = next(result for result in group if result.upstream == leading[0])
    where = f"On {result.task} of {result.corpus}"
    mean = f"{percent(cell_summary(result)['mean'])} %"
    beaten = len(group) - len(leading)
    if len(group) == 1:
        return f"{where}, {leading[0]} has {mean}."
    untested = why_untested(group)
    if untested:
        return f"{where}, {have_the_best(means)} ({mean}); not tested, since {untested}."
    over = f" (over {cell_summary(result)['over']})"
    if len(leading) == 1:
        return (
            f"{where}, {leading[0]} is the best ({mean}), separated from all {beaten} others{over}."
        )
    but = f", but from the {beaten} others" if beaten else ""
    if len(best) == 1:
        return (
            f"{where}, {best[0]} has the best mean ({mean}); it is not separated from "
            f"{listed(tied)}{but}{over}."
        )
    from_whom = f", nor all of them from {listed(tied)}" if tied else ""
    return (
        f"{where}, {have_the_best(means)} ({mean}); they are not separated from each other"
        f"{from_whom}{but}{over}."
    )


def _means(group: Sequence[TaskResult]) -> dict[str, float]:
    return {result.upstream: fmean(result.values) for result in group}


def _findings_against(
    reference: str, pairs: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[str]:
    """For each upstream: where it is above the reference, where below, where neither."""
    by_label: dict[str, dict[str, list[str]]] = {}
    for (task, corpus), family in pairs.items():
        for pair in family:
            text = f"{task} of {corpus}"
            side = "untested" if pair["untested"] else "no"
            if pair["separable"]:
                side = "above" if pair["difference"] > 0 else "below"
                text += f" ({signed(pair['difference'])})"
            by_label.setdefault(pair["a"], {}).setdefault(side, []).append(text)
    sentences = []
    for label, sides in by_label.items():
        parts = [
            f"{word} {listed(sides[side])}"
            for side, word in (
                ("above", "better on"),
                ("below", "worse on"),
                ("no", "not separated on"),
                ("untested", "not tested on"),
            )
            if side in sides
        ]
        sentences.append(f"Against {reference}, {label} is {'; '.join(parts)}.")
    return sentences
