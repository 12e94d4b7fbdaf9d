"""The numbers of a result as tables, pages and JSON show them."""

from __future__ import annotations

from typing import Any

from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.results import TaskResult, by_task, shares_levels
from barlow_speech.benchmark.statistics.sources import of_result, scope
from barlow_speech.benchmark.statistics.variance import split_variance

DEPENDENT = (
    "Runs that share a level of what varied are not independent: their interval is that of the "
    "split variance, and no upstreams are tested or marked."
)


def cell_summary(result: TaskResult) -> dict[str, Any]:
    """`summary` of the result's runs, with the interval over the sources that are known.

    `over` names these (`sources.scope`), `ci95` is the interval over them, `runs_ci95` that over
    the runs alone; where runs share levels that of the split of their variance, None where that
    cannot be split.

    Raises:
        BarlowSpeechError: as `summary` and `split_variance`.
    """
    numbers = summary(result.values)
    if shares_levels(result):
        split = split_variance(result)
        if split.mean_ci95 is not None:
            numbers |= {"sem": split.sem, "ci95": list(split.mean_ci95)}
        elif numbers["min"] < numbers["max"]:  # those of independent runs, which these are not
            numbers |= {"sem": None, "ci95": None}
    found, of = of_result(result), scope(result)
    numbers |= {"runs_ci95": numbers["ci95"], "over": of.over}
    if found is not None:
        numbers["ci95"] = found.interval(*result.bounds)
    elif of.clusters is not None:  # whose runs cannot be told apart: it is over them alone
        numbers["over"] = of.over.partition(" × ")[0]
    return numbers


def result_json(result: TaskResult) -> dict[str, Any]:
    """The result as it stands in `cells.json`: who, what, the values, and their summary.

    Raises:
        BarlowSpeechError: the result's values are no scores; it is named.
    """
    by_task([result])
    return {
        "upstream": result.upstream,
        "task": result.task,
        "corpus": result.corpus,
        "metric": result.metric,
        "values": list(result.values),
        **cell_summary(result),
    }
