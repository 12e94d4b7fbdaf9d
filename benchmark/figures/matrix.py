"""Matrices of numbers, written into shaded fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.figures.style import NO_FRAME, styled, wrapped
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIELD = (0.72, 0.34)  # inches

SHADES = "Blues"  # lightness alone: the same in greyscale

SMALL_FIELD = (0.5, 0.31)  # inches, of a matrix of differences

DIVERGING = "PuOr_r"  # dark at both ends, told apart by colour-blind readers; signs are written

FAINT = "#333333"  # a difference that the runs do not separate from none


@styled(NO_FRAME)
def matrix_figure(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    bold: np.ndarray | None = None,
    framed: np.ndarray | None = None,
    by_column: bool = False,
    digits: int = 1,
) -> Figure:
    """Darker is more, over all fields or, `by_column`, within each column; NaN stays empty."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = [shortened(printable(name), 30) for name in rows]
    heads = [wrapped(name, 22) for name in columns]
    left = 0.075 * max(map(len, names)) + 0.2
    above = 0.075 * max(len(line) for head in heads for line in head.split("\n")) * 0.8 + 0.35
    width, height = left + FIELD[0] * len(heads) + 0.4, above + FIELD[1] * len(names) + 0.2
    figure = Figure(figsize=(max(4.0, width), height), layout="constrained")
    axes = figure.add_subplot()
    low = np.nanmin(values, axis=0 if by_column else None, keepdims=True)
    high = np.nanmax(values, axis=0 if by_column else None, keepdims=True)
    shade = (values - low) / np.where(high > low, high - low, 1.0)
    axes.imshow(shade, cmap=SHADES, vmin=-0.05, vmax=1.6, aspect="auto")
    nowhere = np.zeros_like(values, dtype=bool)
    bold = nowhere if bold is None else bold
    _write(axes, values, f".{digits}f", bold, names, heads, fontsize=8)
    for i, j in zip(*np.nonzero(nowhere if framed is None else framed & ~np.isnan(values))):
        axes.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor="black"))
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="left", rotation_mode="anchor")
    return figure


@styled(NO_FRAME)
def differences_figure(
    pairs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    reference: str = "",
) -> Figure:
    """Row minus column in percentage points, bold where the two are separated.

    A panel for each (task, corpus); with a `reference`, one panel in which the columns are tasks
    and the rows the other upstreams against it. `pairs` are those of `compare_all` or alike; two
    that share no seed have no difference to show.
    """
    from matplotlib.figure import Figure

    rows = [label for label in labels if label != reference]
    columns = rows
    titles = [f"{task} – {corpus}" for task, corpus in pairs]
    if reference:
        columns = [f"{task}\n{shortened(printable(corpus), 14)}" for task, corpus in pairs]
        titles = [f"against {reference}"]
    points = np.full((len(titles), len(rows), len(columns)), np.nan)
    bold = np.zeros_like(points, dtype=bool)
    for number, family in enumerate(pairs.values()):
        for pair in family:
            if pair["difference"] is None:
                continue
            i, difference = rows.index(pair["a"]), 100 * pair["difference"]
            fields = [((0, i, number), difference)]
            if not reference:
                j = rows.index(pair["b"])
                fields = [((number, i, j), difference), ((number, j, i), -difference)]
            for place, value in fields:
                points[place], bold[place] = value, pair["separable"]

    wide, high = 1.7 + SMALL_FIELD[0] * len(columns), 1.5 + SMALL_FIELD[1] * len(rows)
    figure = Figure(figsize=(max(4.0, wide), high * len(titles)), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(h_pad=0.12, w_pad=0.08)  # slanted labels reach a bit beyond what it reckons
    known = np.abs(points[~np.isnan(points)])
    most = max(float(known.max()) if len(known) else 1.0, 1e-9)
    for number, title in enumerate(titles):
        axes = figure.add_subplot(len(titles), 1, number + 1)
        axes.imshow(points[number], cmap=DIVERGING, vmin=-1.6 * most, vmax=1.6 * most,
                    aspect="auto")  # fmt: skip
        axes.set_facecolor("#eeeeee")
        _write(axes, points[number], "+.1f", bold[number], map(_short, rows),
               map(_short, columns), fontsize=7.5, faint=FAINT)  # fmt: skip
        for label in axes.get_xticklabels():
            label.set(rotation=60, ha="right", rotation_mode="anchor")
        axes.set_title(wrapped(title, 44), fontsize=9)
    return figure


def _write(
    axes: Any,
    values: np.ndarray,
    digits: str,
    bold: np.ndarray,
    rows: Iterable[str],
    columns: Iterable[str],
    *,
    fontsize: float,
    faint: str = "black",
) -> None:
    """The numbers into their fields, a zero without its sign, and the names beside them."""
    for i, j in zip(*np.nonzero(~np.isnan(values))):
        axes.text(
            j, i, f"{values[i, j] + 0.0:{digits}}".replace("-", "−"), ha="center", va="center",
            fontsize=fontsize, fontweight="bold" if bold[i, j] else "normal",
            color="black" if bold[i, j] else faint,
        )  # fmt: skip
    axes.set_xticks(range(values.shape[1]), list(columns), fontsize=fontsize)
    axes.set_yticks(range(values.shape[0]), list(rows), fontsize=fontsize)
    axes.tick_params(length=0)


def _short(name: str) -> str:
    return name if "\n" in name else shortened(printable(name), 22)
