"""Figures of a disentanglement study: metrics, probes by layer and by dimensions, spectra."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from barlow_speech.benchmark.disentanglement.bases import INDEPENDENT, LABELS, NOISE, OWN, PRINCIPAL
from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.disentanglement.metrics import HEADLINES
from barlow_speech.benchmark.disentanglement.probes import COMPONENTS, DIMENSIONS, ProbeMatrix
from barlow_speech.benchmark.figures.style import CHANCE, EDGE, write_figure
from barlow_speech.upstream.common.text import printable, shortened

WIDTH = 8.0  # inches
MAX_NAME = 30  # letters
GRID = "#dddddd"
# Told apart by marker and line as well as by colour (Okabe & Ito 2008), so also in greyscale.
STYLES = (
    {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    {"color": "#d55e00", "marker": "s", "linestyle": "--"},
    {"color": "#009e73", "marker": "^", "linestyle": "-."},
    {"color": "#cc79a7", "marker": "D", "linestyle": ":"},
    {"color": "#555555", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    {"color": "#e69f00", "marker": "P", "linestyle": (0, (1, 1))},
)
MARKERS = {OWN: "o", PRINCIPAL: "s", INDEPENDENT: "^"}


def draw_study(found: Study, folder: Path, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write every figure of a study, each in all kinds; the paths, in the order of writing.

    Equal studies give equal files.

    Raises:
        BarlowSpeechError: the folder cannot be written.
    """
    figures = {
        "metrics": metrics_figure(found),
        "layers": layers_figure(found),
        "few_dimensions": few_dimensions_figure(found),
        "spectrum": spectrum_figure(found),
    }
    return [
        write_figure(figure, folder / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in kinds
    ]


def metrics_figure(found: Study) -> Figure:
    """A panel per metric, a line per code in it, with what noise and the labels get."""
    shown = [row for row in found.rows if row.upstream]
    across = 4
    down = -(-len(HEADLINES) // across)
    figure = Figure(
        figsize=(WIDTH + 1.5, 0.9 + down * (0.75 + 0.19 * len(shown))), layout="constrained"
    )
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    references = {row.basis: row for row in found.rows if not row.upstream}
    names = list(dict.fromkeys(row.upstream for row in shown))
    labels = [
        shortened(printable(row.upstream), MAX_NAME) if row.basis == OWN else row.basis
        for row in shown
    ]
    for place, (key, title) in enumerate(HEADLINES.items()):
        axes = panels[place // across][place % across]
        for level, row in enumerate(shown):
            one = row.estimates[key]
            color = STYLES[names.index(row.upstream) % len(STYLES)]["color"]
            ends = one.interval(0.0, 1.0) or [one.value, one.value]
            axes.errorbar(
                100 * one.value, level,
                xerr=[[100 * (one.value - ends[0])], [100 * (ends[1] - one.value)]],
                fmt=MARKERS[row.basis], color=color, markersize=4.5, elinewidth=1.1, capsize=2,
            )  # fmt: skip
        for basis, line in ((NOISE, ":"), (LABELS, "--")):
            known = references[basis].estimates.get(key)
            if known is not None:
                axes.axvline(
                    100 * known.value, color=CHANCE, linestyle=line, linewidth=1.1, zorder=0
                )
        axes.set_title(title, fontsize=10)
        axes.set_yticks(range(len(shown)), labels, fontsize=8.5)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        for label, row in zip(axes.get_yticklabels(), shown):
            label.set_parse_math(False)
            label.set_fontweight("bold" if row.basis == OWN else "normal")
        _plain(axes, "x")
    for place in range(len(HEADLINES), down * across):
        panels[place // across][place % across].set_axis_off()
    within = found.settings["within"]
    _headed(
        figure,
        f"disentanglement – {found.corpus}" + (f", within each {within}" if within else ""),
        "dotted: noise; dashed: the labels themselves, one dimension for each factor; "
        "bars: 95 % intervals over draws of speakers; × 100",
    )
    return figure


def layers_figure(found: Study) -> Figure:
    """Balanced accuracy of the probe of every layer, a panel per factor, a line per upstream."""
    figure, panels = _panels(found)
    # The layers of the deepest upstream, and embeddings at the end, below each other.
    names = sorted(
        {name for matrix in found.probes.values() for name in matrix.spectra}, key=_order
    )
    for axes, factor in zip(panels, found.classes):
        for place, (name, matrix) in enumerate(found.probes.items()):
            probes = [matrix.at(layer, factor) for layer in matrix.spectra]
            at = np.array([names.index(layer) for layer in matrix.spectra]) + 0.06 * place
            style = STYLES[place % len(STYLES)]
            accuracies = [100 * one.accuracy.value for one in probes]
            reach = [100 * (one.accuracy.reach or 0.0) for one in probes]
            axes.errorbar(
                at, accuracies, yerr=reach if any(reach) else None, markersize=5, linewidth=1.3,
                elinewidth=0.9, capsize=2, label=shortened(printable(name), MAX_NAME), **style,
            )  # fmt: skip
        axes.set_xticks(range(len(names)), [_short(layer) for layer in names], fontsize=8.5)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.axhline(100 * probes[0].chance, color=CHANCE, linestyle=(0, (5, 3)), linewidth=1.1)
        axes.set_xlabel("layer", fontsize=9)
        _factor_panel(axes, factor, probes[0].recordings)
    _legend(
        figure,
        panels[0],
        "balanced accuracy of a linear probe on test; dashed: chance; e: embedding; bars: 95 % "
        "intervals over draws of the test speakers, where there are five",
    )
    _headed(figure, f"what is read from which layer – {found.corpus}")
    return figure


def few_dimensions_figure(found: Study) -> Figure:
    """Balanced accuracy by the number of dimensions of the code, a panel per factor."""
    figure, panels = _panels(found)
    for axes, factor in zip(panels, found.classes):
        sizes: set[int] = set()
        for place, (name, matrix) in enumerate(found.probes.items()):
            one = matrix.at(_last(matrix), factor)
            style = STYLES[place % len(STYLES)]
            for kind in (COMPONENTS, DIMENSIONS):
                curve = one.curves[kind]
                sizes |= set(curve)
                axes.plot(
                    list(curve), [100 * value for value in curve.values()], color=style["color"],
                    marker=style["marker"], markersize=4.5, linewidth=1.3,
                    linestyle="-" if kind == COMPONENTS else ":",
                    markerfacecolor=style["color"] if kind == COMPONENTS else "white",
                    label=shortened(printable(name), MAX_NAME) if kind == COMPONENTS else None,
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(sorted(sizes)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axhline(100 * one.chance, color=CHANCE, linestyle=(0, (5, 3)), linewidth=1.1)
        axes.set_xlabel("dimensions", fontsize=9)
        _factor_panel(axes, factor, one.recordings)
    _legend(
        figure,
        panels[0],
        "balanced accuracy on test; solid, filled: leading principal components; dotted, hollow: "
        "own dimensions, the most telling on train first; of the embedding or the last layer; "
        "dashed: chance",
    )
    _headed(figure, f"from how few dimensions – {found.corpus}")
    return figure


def spectrum_figure(found: Study) -> Figure:
    """The share of the variance of each principal component, both axes logarithmic."""
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    lowest = 1.0
    for place, (name, one) in enumerate(found.spectra.items()):
        style = STYLES[place % len(STYLES)]
        total = one.variances.sum()
        share = one.variances / (total if total > 0 else 1.0)
        # Below this a component is rounding.
        share = share[share > 1e-9]
        lowest = min(lowest, share.min(initial=1.0))
        axes.plot(
            np.arange(1, len(share) + 1), share, color=style["color"], linewidth=1.6,
            linestyle=style["linestyle"],
            label=f"{shortened(printable(name), MAX_NAME)}: effective rank "
            f"{one.effective_rank:.0f} of {one.most}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(lowest / 2, 1e-8), 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("principal component")
    axes.set_ylabel("share of the variance")
    legend = axes.legend(fontsize=8, frameon=False, loc="lower left")
    for text in legend.get_texts():
        text.set_parse_math(False)
    _plain(axes, "both")
    _headed(figure, f"spectrum of the codes – {found.corpus}")
    return figure


def _panels(found: Study) -> tuple[Figure, list[Any]]:
    """A panel for each factor, two in a row."""
    count = len(found.classes)
    down = -(-count // 2)
    lines = -(-len(found.probes) // 2)
    figure = Figure(figsize=(WIDTH, 1.4 + 0.2 * lines + 2.4 * down), layout="constrained")
    panels = figure.subplots(down, 2, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _factor_panel(axes: Any, factor: str, recordings: int) -> None:
    axes.set_title(f"{printable(factor)} ({recordings} recordings)", fontsize=10, parse_math=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    _plain(axes, "y")


def _plain(axes: Any, grid: str) -> None:
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
        axes.spines["left"].set_color(EDGE)


def _legend(figure: Figure, axes: Any, note: str) -> None:
    """The upstreams under all panels, and over their names what lines and bars are."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False,
        title=_in_lines(figure, note), title_fontsize=8,
    )  # fmt: skip
    legend.get_title().set_color(CHANCE)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _headed(figure: Figure, title: str, note: str = "") -> None:
    figure.suptitle(printable(title), fontsize=12, fontweight="bold", parse_math=False)
    if note:
        figure.supxlabel(_in_lines(figure, note), fontsize=8, color=CHANCE)


def _in_lines(figure: Figure, note: str) -> str:
    return "\n".join(textwrap.wrap(note, int(15 * figure.get_figwidth())))


def _order(layer: str) -> tuple[bool, int]:
    """Layers by their number, then what has none."""
    number = layer.removeprefix("layer ")
    return not number.isdigit(), int(number) if number.isdigit() else 0


def _short(layer: str) -> str:
    """ "layer 3" as "3", "embedding" as "e": there may be two dozen of them."""
    return layer.removeprefix("layer ") if layer.startswith("layer ") else layer[:1]


def _last(matrix: ProbeMatrix) -> str:
    """The embedding, which comes last, or the last layer."""
    return list(matrix.spectra)[-1]
