"""The runs of one task as boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.figures.style import (
    BOX,
    CHANCE,
    DOT,
    EDGE,
    WIDTH,
    draw_grid,
    styled,
    with_unit,
    wrapped,
)
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_FOR_BOX = 5  # quartiles of fewer runs would look like more than they are

MAX_LABEL = 3  # lines of an upstream's name, about


@styled({"axes.spines.left": False})
def boxplot_figure(results: Sequence[TaskResult]) -> Figure:
    """Draw one task: a box per upstream, from the top in the given order, over its runs.

    The box spans the quartiles, its line is the median, the diamond the mean, the whiskers reach
    the extremes, each dot is a run; under five runs only the dots and the mean are drawn. The bar
    beneath is the 95 % interval of the mean over its sources (`cell_summary`). Chance
    (`Setup.chance`) is a dashed line, or a note at the edge of the axis where it lies so far
    off that it would take more than three quarters of the width. The same results give the same
    figure.

    Raises:
        BarlowSpeechError: the results are of several tasks or none, or one is refused by `by_task`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups = by_task(results)
    if len(groups) != 1:
        raise BarlowSpeechError(
            f"a boxplot shows one task of one corpus, not {len(groups)}; "
            "give it the results of one."
        )
    ((task, corpus),) = groups

    labels = [_wrapped(printable(result.upstream)) for result in results]
    lines = sum(max(2, label.count("\n") + 1) for label in labels)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.26 * lines), layout="constrained")
    axes = figure.add_subplot()
    for row, result in enumerate(results):
        _draw_runs(axes, row, result.values)
        if (ends := cell_summary(result)["ci95"]) is not None:
            low, high = (100 * end for end in ends)
            axes.hlines(row + 0.38, low, high, color=DOT, linewidth=2.6, zorder=3)

    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_yticks(range(len(results)), labels, fontsize=10)
    axes.tick_params(axis="y", length=0)
    _draw_chance(axes, results)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(with_unit())
    draw_grid(axes, "x")
    metric = METRICS.get(results[0].metric, results[0].metric)
    axes.set_xlabel(f"{results[0].setup.eval_split} {printable(metric)}")
    # Over the whole figure, not the axes, which long names push to the right.
    figure.suptitle(wrapped(f"{task} – {corpus}", 44), fontsize=12, fontweight="bold")
    return figure


def _draw_runs(axes: Any, row: int, values: Sequence[float]) -> None:
    numbers = summary(values)
    points = 100 * np.asarray(values)
    if len(points) >= MIN_FOR_BOX:
        q1, median, q3, low, high = (
            100 * numbers[name] for name in ("q1", "median", "q3", "min", "max")
        )
        axes.hlines(row, low, high, color=EDGE, linewidth=1.0, zorder=2)
        axes.vlines([low, high], row - 0.12, row + 0.12, color=EDGE, linewidth=1.0, zorder=2)
        axes.barh(
            row, q3 - q1, left=q1, height=0.56, color=BOX, edgecolor=EDGE, linewidth=1.0, zorder=3
        )
        axes.vlines(median, row - 0.28, row + 0.28, color=EDGE, linewidth=2.4, zorder=5)
    # A shift of its own for each run, the same in every figure, since accuracies k/N coincide.
    shift = np.random.default_rng(0).uniform(-0.22, 0.22, size=len(points))
    axes.scatter(points, row + shift, s=9, color=DOT, alpha=0.55, linewidths=0, zorder=4)
    axes.scatter(
        100 * numbers["mean"], row, s=34, marker="D", color="white", edgecolors=EDGE, zorder=6
    )


def _draw_chance(axes: Any, results: Sequence[TaskResult]) -> None:
    """Set the limits of the accuracy axis, with a line at chance where it is near enough."""
    values = [
        100 * value
        for result in results
        for value in (*result.values, *(cell_summary(result)["ci95"] or ()))
    ]
    low, high = min(values), max(values)
    chances = {result.setup.chance for result in results}
    known = sorted(100 * chance for chance in chances if chance is not None)
    near = [level for level in known if high - level <= 4 * (high - low)] if high > low else known
    far = [level for level in known if level not in near]
    low, high = min([low, *near]), max([high, *near])
    margin = max(0.04 * (high - low), 0.25) if high > low else 1.0
    # Nothing lies outside 0 and 100 %, but a dot on the edge still needs room to be seen.
    axes.set_xlim(max(low - margin, -1.0), min(high + margin, 101.0))
    for level in near:
        axes.axvline(level, color=CHANCE, linestyle=(0, (5, 3)), linewidth=1.2, zorder=1)
        side = "left" if level <= (low + high) / 2 else "right"
        _note_above(axes, f"chance {level:.3g} %", (level, 1.0), ("data", "axes fraction"), side)
    if far:
        levels = ", ".join(f"{level:.3g} %" for level in far)
        _note_above(axes, f"← chance {levels}", (0.0, 1.0), "axes fraction")


def _note_above(axes: Any, text: str, place: Any, coordinates: Any, side: str = "left") -> None:
    axes.annotate(
        text, place, xycoords=coordinates, xytext=(0, 3), textcoords="offset points", ha=side,
        va="bottom", fontsize=9, color=CHANCE,
    )  # fmt: skip


def _wrapped(name: str, columns: int = 22) -> str:
    """The name on a few lines, broken after an underscore, hyphen, dot or slash where it can be."""
    name = shortened(name, MAX_LABEL * (columns - 5))  # leaves room for ragged lines
    lines = [""]
    for piece in re.split(r"(?<=[_\-./ …])", name):
        for start in range(0, len(piece), columns):
            part = piece[start : start + columns]
            if len(lines[-1]) + len(part) > columns:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.strip() for line in lines if line.strip())
