"""A matrix of numbers, written into shaded fields."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from barlow_speech.benchmark.table import printable, shortened

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
