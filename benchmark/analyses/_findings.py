"""What the statistics of one task support, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from barlow_speech.benchmark.reporting.numbers import interval_text, percent, points
from barlow_speech.benchmark.statistics.comparison import compare_all, leaders
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.results import LEVEL, TaskResult
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.text import listed, p_text


def findings(group: Sequence[TaskResult]) -> str:
    """What the statistics of one task support, in a paragraph.

    The best mean is set against every other upstream: as above it where the corrected test
    separates the two, as inseparable otherwise. Then come upstreams that cannot be told from
    chance, and how far the size of the test set alone reaches.
    """
    first = group[0]
    best_name = leaders(group)[0]
    best = next(result for result in group if result.upstream == best_name)
    sentences = [f"{_level(first)}. Nothing was compared with it."] if len(group) == 1 else []
    sentences += [
        _against(best_name, pair)
        for pair in compare_all(group)
        if best_name in (pair["a"], pair["b"])
    ]
    at_chance = [result.upstream for result in group if _at_chance(result)]
    if at_chance:
        sentences.append(f"The mean of {listed(at_chance)} is not above chance.")
    margin = sampling_margin(best)
    if margin is not None:
        sentences.append(
            f"With {best.setup.test_recordings} {best.setup.eval_split} recordings, an accuracy of "
            f"{percent(summary(best.values)['mean'])} % may well shift by "
            f"{points(margin)} on another {best.setup.eval_split} set of that size."
        )
    return " ".join([f"On {first.task} ({first.corpus}), {sentences[0]}", *sentences[1:]])


def sampling_margin(result: TaskResult) -> float | None:
    """Half the 95 % Wilson interval (1927) of the mean accuracy, for the size of the test set.

    As a fraction; it is what drawing as many other test recordings could do, were they
    independent; recordings of shared speakers reach further. None where the size is not recorded,
    and for a metric that is no share of the recordings (macro recall, macro F1).
    """
    size = result.setup.test_recordings
    if result.metric != "top1" or not size:
        return None
    mean, z = summary(result.values)["mean"], 1.96
    return z / (1 + z**2 / size) * math.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))


def _against(best: str, pair: dict[str, Any]) -> str:
    """The best mean of a task against another upstream."""
    sign = 1 if pair["a"] == best else -1
    other = pair["b"] if sign == 1 else pair["a"]
    if pair["untested"]:
        return (
            f"{best} has the best mean; it was not tested against {other}, since "
            f"{pair['untested']}."
        )
    difference = sign * pair["difference"]
    numbers = f"{interval_text(pair['ci95'], sign)}, Holm-corrected {p_text(pair['p_holm'])}"
    # The best mean over all runs may be the lower one over the shared seeds.
    if pair["separable"] and difference > 0:
        return f"{best} is above {other} by {points(difference)} ({numbers})."
    if pair["separable"]:
        return (
            f"{best} has the higher mean of all runs, but over the {pair['n']} shared seeds it is "
            f"{points(-difference)} under {other} ({numbers})."
        )
    text = f"{best} and {other} cannot be separated (difference {points(difference)}; {numbers})."
    if 2 * 0.5 ** pair["n"] >= LEVEL:
        text += f" {_runs_text(pair['n'])} cannot reach p < {LEVEL} whatever they show."
    return text


def _level(result: TaskResult) -> str:
    numbers = cell_summary(result)
    where = f"{result.upstream} reaches {percent(numbers['mean'])} %"
    text = f"{where} in {_runs_text(numbers['n']).lower()}"
    return text if numbers["ci95"] is None else f"{text} ({interval_text(numbers['ci95'])} %)"


def _runs_text(count: int) -> str:
    return "One run" if count == 1 else f"{count} runs"


def _at_chance(result: TaskResult) -> bool:
    """Whether the interval of the mean reaches down to chance; False where chance is not known."""
    chance, ends = result.setup.chance, cell_summary(result)["ci95"]
    return chance is not None and ends is not None and ends[0] <= chance
