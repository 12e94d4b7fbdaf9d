"""A matrix of numbers, written into shaded fields."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from barlow_speech.upstream.common.text import printable, shortened

FIELD = (0.72, 0.34)  # inches

SHADES = "Blues"  # lightness alone: the same in greyscale


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
    names = [shortened(printable(name), 30) for name in rows]
    heads = ["\n".join(textwrap.wrap(printable(name), 22)) for name in columns]
    left = 0.075 * max(map(len, names)) + 0.2
    above = 0.075 * max(len(line) for head in heads for line in head.split("\n")) * 0.8 + 0.35
    width, height = left + FIELD[0] * len(heads) + 0.4, above + FIELD[1] * len(names) + 0.2
    figure = Figure(figsize=(max(4.0, width), height), layout="constrained")
    axes = figure.add_subplot()
    low = np.nanmin(values, axis=0 if by_column else None, keepdims=True)
    high = np.nanmax(values, axis=0 if by_column else None, keepdims=True)
    shade = (values - low) / np.where(high > low, high - low, 1.0)
    axes.imshow(shade, cmap=SHADES, vmin=-0.05, vmax=1.6, aspect="auto")
    for i, j in zip(*np.nonzero(~np.isnan(values))):
        weight = "bold" if bold is not None and bold[i, j] else "normal"
        axes.text(j, i, f"{values[i, j]:.{digits}f}", ha="center", va="center", fontsize=8,
                  fontweight=weight)  # fmt: skip
        if framed is not None and framed[i, j]:
            axes.add_patch(
                Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor="black")
            )
    axes.set_xticks(range(len(heads)), heads, fontsize=8)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


CELL = 0.5  # inches

DIVERGING = "PuOr_r"  # dark at both ends, told apart by colour-blind readers; signs are written


def differences_figure(
    pairs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    reference: str = "",
) -> Figure:
    """Row minus column in percentage points, bold where the runs separate the two.

    A panel for each (task, corpus); with a `reference`, one panel in which the columns are tasks
    and the rows the other upstreams against it. `pairs` are those of `compare_all` or alike.
    """
    if reference:
        rows = [label for label in labels if label != reference]
        columns = [f"{task}\n{shortened(printable(corpus), 14)}" for task, corpus in pairs]
        points = np.full((len(rows), len(columns)), np.nan)
        bold = np.zeros_like(points, dtype=bool)
        for j, found in enumerate(pairs.values()):
            for pair in _known(found):
                i = rows.index(pair["a"])
                points[i, j], bold[i, j] = 100 * pair["difference"], pair["separable"]
        panels = [(f"against {printable(reference)}", rows, columns, points, bold)]
    else:
        panels = []
        for (task, corpus), found in pairs.items():
            points = np.full((len(labels), len(labels)), np.nan)
            bold = np.zeros_like(points, dtype=bool)
            for pair in _known(found):
                i, j = labels.index(pair["a"]), labels.index(pair["b"])
                points[i, j], points[j, i] = 100 * pair["difference"], -100 * pair["difference"]
                bold[i, j] = bold[j, i] = pair["separable"]
            title = f"{task} – {printable(corpus)}"
            panels.append((title, list(labels), list(labels), points, bold))
    return _drawn(panels)


def _known(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that share a seed; without one there is no difference to show."""
    return [pair for pair in pairs if pair["difference"] is not None]


def _drawn(panels: Sequence[tuple[str, list[str], list[str], np.ndarray, np.ndarray]]) -> Figure:
    _, rows, columns, _, _ = panels[0]
    wide, high = 1.7 + CELL * len(columns), 1.5 + CELL * 0.62 * len(rows)
    figure = Figure(figsize=(max(4.0, wide), high * len(panels)), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(h_pad=0.12, w_pad=0.08)  # slanted labels reach a bit beyond what it reckons
    most = max(
        (float(np.nanmax(np.abs(one[3]))) for one in panels if not np.isnan(one[3]).all()),
        default=1.0,
    )
    most = max(most, 1e-9)
    for number, (title, rows, columns, points, bold) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, number)
        axes.imshow(points, cmap=DIVERGING, vmin=-1.6 * most, vmax=1.6 * most, aspect="auto")
        axes.set_facecolor("#eeeeee")
        for i, j in zip(*np.nonzero(~np.isnan(points))):
            axes.text(
                j, i, f"{points[i, j]:+.1f}".replace("-", "−"), ha="center", va="center",
                fontsize=7.5,
                fontweight="bold" if bold[i, j] else "normal",
                color="#000000" if bold[i, j] else "#333333",
            )  # fmt: skip
        axes.set_xticks(range(len(columns)), [_short(one) for one in columns], fontsize=7.5)
        axes.tick_params(axis="x", labelrotation=60, length=0)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [_short(one) for one in rows], fontsize=7.5)
        axes.tick_params(axis="y", length=0)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_parse_math(False)
        axes.set_title("\n".join(textwrap.wrap(title, 44)), fontsize=9, parse_math=False)
        for side in axes.spines.values():
            side.set_visible(False)
    return figure


def _short(name: str) -> str:
    return name if "\n" in name else shortened(printable(name), 22)
