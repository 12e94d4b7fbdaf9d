"""Curves, a panel for each task or factor: scores against labels, steps or layers, and spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.figures.style import CHANCE, draw_grid, styled, with_unit, wrapped
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart, from dark to light; in greyscale
# the marker and the dashes tell.
STYLES = (
    ("#000000", "o", "-"), ("#0072b2", "s", "--"), ("#d55e00", "^", "-."), ("#009e73", "D", ":"),
    ("#cc79a7", "v", "-"), ("#56b4e9", "P", "--"), ("#e69f00", "X", "-."), ("#777777", "*", ":"),
)  # fmt: skip
PANEL = (3.6, 2.7)  # inches
MAX_MARKED = 12  # points of a curve that each have a marker
SMALLEST_SHARE = 1e-9  # of the variance: what is below is rounding


@dataclass(frozen=True)
class Curve:
    """Points of one upstream: x, mean score, and the ends of its interval, as fractions.

    `beside` is a second course of it, drawn dotted and hollow in the same colour.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    beside: Curve | None = field(default=None, kw_only=True)


@styled()
def lines_figure(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    *,
    logarithmic: bool = False,
    chance: Mapping[str, float] | None = None,
    percent_x: bool = False,
    x_names: Mapping[float, str] | None = None,
    heading: str = "",
    note: str = "",
) -> Figure:
    """A panel for each title; a curve for each label, with its interval as a band.

    `chance` maps titles to a score that a dashed line marks. A curve of one point is a marker.
    `x_names` are the ticks, where they are no numbers. The heading stands over all panels, the
    note beneath, over the labels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator

    across = 1 if len(panels) == 1 else 2
    down = math.ceil(len(panels) / across)
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    width = max(PANEL[0] * across, 4.6)
    note = wrapped(note, int(15 * width))
    words = math.ceil(len(labels) / 2) * 0.2 + 0.15 + 0.15 * len(note.splitlines())
    size = (width, PANEL[1] * down + words + (0.3 if heading else 0.0))
    figure = Figure(figsize=size, layout="constrained")
    handles = {}
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(down, across, number)
        for label, curve in curves.items():
            most = MAX_MARKED if x_names is None else len(x_names)
            handles[label] = _draw(axes, curve, labels.index(label), most)
        if chance and title in chance:
            axes.axhline(100 * chance[title], color=CHANCE, linestyle=(0, (2, 2)), linewidth=0.9)
        if logarithmic:
            every = sorted({x for curve in curves.values() for x in curve.x})
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            if len(every) <= 8:
                tick = with_unit(" %", 100.0) if percent_x else with_unit("")
                axes.set_xticks(every, [tick(x) for x in every])
        elif percent_x:
            axes.xaxis.set_major_formatter(with_unit(" %", 100.0))
        elif x_names is not None:
            axes.set_xticks(list(x_names), list(x_names.values()))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(with_unit())
        axes.tick_params(labelsize=8)
        draw_grid(axes, linewidth=0.6)
        axes.set_xlabel(x_label, fontsize=8.5)
        axes.set_title(wrapped(title, 40), fontsize=9)
    _write_around(figure, handles, heading, note)
    return figure


@styled()
def spectrum_figure(
    spectra: Mapping[str, np.ndarray | Sequence[float]], y_label: str, heading: str = ""
) -> Figure:
    """What each principal component holds, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    handles = {}
    for place, (label, values) in enumerate(spectra.items()):
        shares = np.asarray(values)
        shares = shares[shares > SMALLEST_SHARE]
        color, _, dashes = _style(place)
        (handles[label],) = axes.plot(
            np.arange(1, len(shares) + 1), shares, color=color, linestyle=dashes, linewidth=1.3
        )
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("principal component", fontsize=8.5)
    axes.set_ylabel(y_label, fontsize=8.5)
    axes.xaxis.set_major_formatter(with_unit(""))
    axes.tick_params(which="both", labelsize=8)
    draw_grid(axes, linewidth=0.6)
    _write_around(figure, handles, heading, columns=1 if heading else 2)
    return figure


def _style(place: int) -> tuple[str, str, str]:
    """Colour, marker and dashes; a colour that comes again has other ones of the two."""
    color, _, _ = STYLES[place % len(STYLES)]
    _, marker, dashes = STYLES[(place + place // len(STYLES)) % len(STYLES)]
    return color, marker, dashes


def _draw(axes: Any, curve: Curve, place: int, most: int) -> Any:
    """The curve, its band, and what is beside it, with up to `most` markers; returns the line."""
    color, marker, dashes = _style(place)
    courses = [(curve, dashes, color)]
    if curve.beside is not None:
        courses.append((curve.beside, ":", "white"))
    drawn = [
        axes.plot(
            course.x, [100 * value for value in course.mean], color=color, linestyle=line,
            marker=marker if len(course.x) <= most else None, markersize=4, linewidth=1.3,
            markerfacecolor=fill,
        )
        for course, line, fill in courses
    ]  # fmt: skip
    ends = [(x, a, b) for x, a, b in zip(curve.x, curve.low, curve.high) if a is not None]
    if ends:
        axes.fill_between(
            [x for x, _, _ in ends],
            [100 * a for _, a, _ in ends],
            [100 * (b or 0.0) for _, _, b in ends],
            color=color, alpha=0.13, linewidth=0,
        )  # fmt: skip
    return drawn[0][0]


def _write_around(
    figure: Figure, handles: Mapping[str, Any], heading: str, note: str = "", columns: int = 2
) -> None:
    """The heading above all panels, and the labels beneath them under the note."""
    if heading:
        figure.suptitle(printable(heading), fontsize=11, fontweight="bold")
    names = [shortened(printable(label), 68 // columns) for label in handles]
    legend = figure.legend(
        list(handles.values()), names, loc="outside lower center", ncols=columns, fontsize=8,
        frameon=False, title=note or None, title_fontsize=8,
    )  # fmt: skip
    legend.get_title().set_color(CHANCE)


def panel_title(task: str, corpus: str) -> str:
    """How a task of a corpus is called above its panel."""
    return f"{task} – {corpus}"


def ends(interval: Sequence[float] | None) -> tuple[float | None, float | None]:
    """The ends of an interval, or two None where there is none."""
    return (None, None) if interval is None else (interval[0], interval[1])
