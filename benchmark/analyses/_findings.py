"""What the statistics of one task support, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from barlow_speech.benchmark.reporting.numbers import interval_text, percent, points
from barlow_speech.benchmark.statistics.comparison import compare_all, leaders
from barlow_speech.benchmark.statistics.results import LEVEL, TaskResult
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.text import listed, p_text


def findings(group: Sequence[TaskResult]) -> str:
    """What the statistics of one task support, in a paragraph.

    The best mean is set against every other upstream: as above it where the corrected test
    separates the two, as inseparable otherwise. Then come upstreams that cannot be told from
    chance.
    """
    first = group[0]
    best_name = leaders(group)[0]
    sentences = [f"{_level(first)}. Nothing was compared with it."] if len(group) == 1 else []
    sentences += [
        _against(best_name, pair)
        for pair in compare_all(group)
        if best_name in (pair["a"], pair["b"])
    ]
    at_chance = [result.upstream for result in group if _at_chance(result)]
    if at_chance:
        sentences.append(f"The mean of {listed(at_chance)} is not above chance.")
    return " ".join([f"On {first.task} ({first.corpus}), {sentences[0]}", *sentences[1:]])


def _against(best: str, pair: dict[str, Any]) -> str:
    """The best mean of a task against another upstream."""
    sign = 1 if pair["a"] == best else -1
    other = pair["b"] if sign == 1 else pair["a"]
    if pair["untested"]:
        return (
            f"{best} has the best mean; it was not tested against {other}, since "
            f"{pair['untested']}.{_over_runs(pair, sign)}"
        )
    difference = sign * pair["difference"]
    numbers = (
        f"{interval_text(pair['ci95'], sign)} of this pair alone, Holm-corrected "
        f"{p_text(pair['p_holm'])}, over {pair['over']}"
    )
    # The best mean over all runs may be the lower one over the shared seeds.
    if pair["separable"] and difference > 0:
        return f"{best} is above {other} by {points(difference)} ({numbers})."
    if pair["separable"]:
        return (
            f"{best} has the higher mean of all runs, but over the {pair['n']} shared seeds it is "
            f"{points(-difference)} under {other} ({numbers})."
        )
    text = f"{best} and {other} cannot be separated (difference {points(difference)}; {numbers})."
    if pair["over"] == "runs" and 2 * 0.5 ** pair["n"] >= LEVEL:
        text += f" {_runs_text(pair['n'])} cannot reach p < {LEVEL} whatever they show."
    return text + (_over_runs(pair, sign) if pair["separable_runs"] else "")


def _over_runs(pair: dict[str, Any], sign: int) -> str:
    """What the runs alone say where that is not what was said; nothing where it is."""
    if pair["p_runs_holm"] is None or pair["over"] == "runs":
        return ""
    ends = "" if pair["runs_ci95"] is None else f"{interval_text(pair['runs_ci95'], sign)}, "
    return (
        f" Over the runs alone, on these very recordings, the difference is "
        f"{points(sign * pair['difference'])} ({ends}Holm-corrected {p_text(pair['p_runs_holm'])})."
    )


def _level(result: TaskResult) -> str:
    numbers = cell_summary(result)
    where = f"{result.upstream} reaches {percent(numbers['mean'])} %"
    text = f"{where} in {_runs_text(numbers['n']).lower()}"
    if numbers["ci95"] is None:
        return text
    return f"{text} ({interval_text(numbers['ci95'])} %, over {numbers['over']})"


def _runs_text(count: int) -> str:
    return "One run" if count == 1 else f"{count} runs"


def _at_chance(result: TaskResult) -> bool:
    """Whether the interval of the mean reaches down to chance; False where chance is not known."""
    chance, ends = result.setup.chance, cell_summary(result)["ci95"]
    return chance is not None and ends is not None and ends[0] <= chance
