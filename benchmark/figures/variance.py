"""Where the variance of scores comes from: a bar a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from barlow_speech.benchmark.figures.style import EDGE, styled
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# One hue from dark to light, as in all figures; neighbours are told apart by their lightness.
SHADES = ("#1b3a57", "#4d83b3", "#a9c8e3", "#e4eef7", "#2f6690", "#7ba7cf", "#c3d9ec", "#f3f7fb")
MAX_LABEL = 40  # letters
WIDTH = 8.0


@styled({"axes.spines.left": False})
def variance_figure(bars: Sequence[tuple[str, float, Mapping[str, float]]]) -> Figure:
    """Draw bars of (label, standard error in points, variance by source): shares of 100 %.

    Sources have their colours in the order in which they turn up. The standard error stands at the
    end of its bar. The same bars give the same figure.
    """
    from matplotlib.figure import Figure

    sources = list(dict.fromkeys(name for _, _, parts in bars for name in parts))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.3 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    for row, (_, error, parts) in enumerate(bars):
        total, left = sum(parts.values()), 0.0
        for name, variance in parts.items():
            share = 100 * variance / total if total else 0.0
            colour = SHADES[sources.index(name) % len(SHADES)]
            axes.barh(row, share, left=left, height=0.7, color=colour, edgecolor=EDGE,
                      linewidth=0.5)  # fmt: skip
            left += share
        axes.text(101, row, f"± {error:.1f}", va="center", fontsize=9, color=EDGE)
    labels = [shortened(printable(label), MAX_LABEL) for label, _, _ in bars]
    axes.set_yticks(range(len(bars)), labels, fontsize=9)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the variance of the score (%); ±: its standard error in points")
    for i, name in enumerate(sources):
        axes.barh(0, 0, color=SHADES[i % len(SHADES)], label=printable(name))
    figure.legend(loc="outside upper center", ncols=min(4, len(sources)), fontsize=9, frameon=False)
    return figure
