"""Curves of scores, a panel for each task: against labels, steps, hours or a weight."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from barlow_speech.upstream.common.text import printable, shortened

# Okabe and Ito's colours, which colour-blind readers tell apart, from dark to light; in greyscale
# the marker and the dashes tell.
STYLES = (
    ("#000000", "o", "-"), ("#0072b2", "s", "--"), ("#d55e00", "^", "-."), ("#009e73", "D", ":"),
    ("#cc79a7", "v", "-"), ("#56b4e9", "P", "--"), ("#e69f00", "X", "-."), ("#777777", "*", ":"),
)  # fmt: skip
PANEL = (3.6, 2.7)  # inches


@dataclass(frozen=True)
class Curve:
    """Points of one upstream: x, mean score, and the ends of its interval, as fractions."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def lines_figure(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    *,
    logarithmic: bool = False,
    chance: Mapping[str, float] | None = None,
    percent_x: bool = False,
) -> Figure:
    """A panel for each title; a curve for each label, with its interval as a band.

    `chance` maps titles to a score that a dashed line marks. A curve of one point is a marker.
    """
    across = 1 if len(panels) == 1 else 2
    down = math.ceil(len(panels) / across)
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    legend = math.ceil(len(labels) / 2) * 0.2 + 0.15
    size = (max(PANEL[0] * across, 4.6), PANEL[1] * down + legend)
    figure = Figure(figsize=size, layout="constrained")
    handles = {}
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(down, across, number)
        for label, curve in curves.items():
            color, marker, dashes = STYLES[labels.index(label) % len(STYLES)]
            mean = [100 * value for value in curve.mean]
            few = len(curve.x) <= 12
            (handles[label],) = axes.plot(
                curve.x, mean, color=color, linestyle=dashes, marker=marker if few else None,
                markersize=4, linewidth=1.3,
            )  # fmt: skip
            ends = [(x, a, b) for x, a, b in zip(curve.x, curve.low, curve.high) if a is not None]
            if ends:
                axes.fill_between(
                    [x for x, _, _ in ends],
                    [100 * a for _, a, _ in ends],
                    [100 * (b or 0.0) for _, _, b in ends],
                    color=color, alpha=0.13, linewidth=0,
                )  # fmt: skip
        if chance and title in chance:
            axes.axhline(100 * chance[title], color="#555555", linestyle=(0, (2, 2)), linewidth=0.9)
        if logarithmic:
            every = sorted({x for curve in curves.values() for x in curve.x})
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            if len(every) <= 8:
                axes.set_xticks(every, [_number(x, percent_x) for x in every])
        elif percent_x:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.tick_params(labelsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_xlabel(x_label, fontsize=8.5)
        axes.set_title("\n".join(textwrap.wrap(printable(title), 40)), fontsize=9, parse_math=False)
    names = [shortened(printable(label), 34) for label in handles]
    shown = figure.legend(
        list(handles.values()), names, loc="outside lower center", ncols=2, fontsize=8,
        frameon=False,
    )  # fmt: skip
    for text in shown.get_texts():
        text.set_parse_math(False)
    return figure


def _number(x: float, percent: bool) -> str:
    return f"{100 * x:g} %" if percent else f"{x:g}"


def panel_title(task: str, corpus: str) -> str:
    """How a task of a corpus is called above its panel."""
    return f"{task} – {corpus}"


def ends(interval: Sequence[float] | None) -> tuple[float | None, float | None]:
    """The ends of an interval, or two None where there is none."""
    return (None, None) if interval is None else (interval[0], interval[1])
