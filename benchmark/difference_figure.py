"""A matrix of differences between upstreams for every task, as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from barlow_speech.benchmark.table import printable, shortened

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
            for pair in found:
                i = rows.index(pair["a"])
                points[i, j], bold[i, j] = 100 * pair["difference"], pair["separable"]
        panels = [(f"against {printable(reference)}", rows, columns, points, bold)]
    else:
        panels = []
        for (task, corpus), found in pairs.items():
            points = np.full((len(labels), len(labels)), np.nan)
            bold = np.zeros_like(points, dtype=bool)
            for pair in found:
                i, j = labels.index(pair["a"]), labels.index(pair["b"])
                points[i, j], points[j, i] = 100 * pair["difference"], -100 * pair["difference"]
                bold[i, j] = bold[j, i] = pair["separable"]
            title = f"{task} – {printable(corpus)}"
            panels.append((title, list(labels), list(labels), points, bold))
    return _drawn(panels)


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
