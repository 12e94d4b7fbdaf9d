"""Figures of a disentanglement study: metrics, probes by layer and by dimensions, spectra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech.benchmark.disentanglement.bases import INDEPENDENT, LABELS, NOISE, OWN, PRINCIPAL
from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.disentanglement.metrics import HEADLINES
from barlow_speech.benchmark.disentanglement.probes import COMPONENTS, DIMENSIONS, ProbeMatrix
from barlow_speech.benchmark.figures.curves import (
    STYLES,
    Curve,
    ends,
    lines_figure,
    spectrum_figure,
)
from barlow_speech.benchmark.figures.style import (
    CHANCE,
    EDGE,
    draw_grid,
    styled,
    wrapped,
    write_figure,
)
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 9.5  # inches
MAX_NAME = 30  # letters
MARKERS = {OWN: "o", PRINCIPAL: "s", INDEPENDENT: "^"}


def draw_study(study: Study, folder: Path, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write every figure of a study, each in all kinds; the paths, in the order of writing.

    Equal studies give equal files.

    Raises:
        BarlowSpeechError: the folder cannot be written.
    """
    figures = {
        "metrics": metrics_figure(study),
        "layers": layers_figure(study),
        "few_dimensions": few_dimensions_figure(study),
        "spectrum": spectra_figure(study),
    }
    return [
        write_figure(figure, folder / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in kinds
    ]


@styled()
def metrics_figure(study: Study) -> Figure:
    """A panel per metric, a line per representation, with what noise and the labels get."""
    from matplotlib.figure import Figure

    shown = [row for row in study.rows if row.upstream]
    across = 4
    down = -(-len(HEADLINES) // across)
    height = 0.9 + down * (0.75 + 0.19 * len(shown))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    references = {row.basis: row for row in study.rows if not row.upstream}
    names = list(dict.fromkeys(row.upstream for row in shown))
    labels = [
        shortened(printable(row.upstream), MAX_NAME) if row.basis == OWN else row.basis
        for row in shown
    ]
    for axes, (key, title) in zip(panels, HEADLINES.items()):
        for level, row in enumerate(shown):
            metric = row.estimates[key]
            low, high = metric.interval(0.0, 1.0) or (metric.value, metric.value)
            axes.errorbar(
                100 * metric.value, level,
                xerr=[[100 * (metric.value - low)], [100 * (high - metric.value)]],
                fmt=MARKERS[row.basis], color=STYLES[names.index(row.upstream) % len(STYLES)][0],
                markersize=4.5, elinewidth=1.1, capsize=2,
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
            label.set_fontweight("bold" if row.basis == OWN else "normal")
        axes.tick_params(labelsize=8.5)
        axes.spines["left"].set_color(EDGE)
        draw_grid(axes, "x")
    for axes in panels[len(HEADLINES) :]:
        axes.set_axis_off()
    within = study.settings["within"]
    heading = f"disentanglement – {study.corpus}" + (f", within each {within}" if within else "")
    figure.suptitle(printable(heading), fontsize=12, fontweight="bold")
    note = (
        "dotted: noise; dashed: the labels themselves, one dimension for each factor; "
        "bars: 95 % intervals over draws of speakers; × 100"
    )
    figure.supxlabel(wrapped(note, int(15 * WIDTH)), fontsize=8, color=CHANCE)
    return figure


def layers_figure(study: Study) -> Figure:
    """Balanced accuracy of the probe of every layer, a panel per factor, a line per upstream."""
    # The layers of the deepest upstream, and embeddings at the end, below each other.
    names = sorted(
        {name for matrix in study.probes.values() for name in matrix.spectra}, key=_order
    )

    def curve(matrix: ProbeMatrix, factor: str) -> Curve:
        probes = [matrix.at(layer, factor).accuracy for layer in matrix.spectra]
        low, high = zip(*(ends(accuracy.interval()) for accuracy in probes))
        at = tuple(float(names.index(layer)) for layer in matrix.spectra)
        return Curve(at, tuple(accuracy.value for accuracy in probes), low, high)

    return _factors_figure(
        study, curve, "layer", f"what is read from which layer – {study.corpus}",
        "balanced accuracy of a linear probe on test; dashed: chance; e: embedding; bands: 95 % "
        "intervals over draws of the test speakers, where there are five",
        x_names={float(place): _short(layer) for place, layer in enumerate(names)},
    )  # fmt: skip


def few_dimensions_figure(study: Study) -> Figure:
    """Balanced accuracy by the number of dimensions of the representation, a panel per factor."""

    def curve(matrix: ProbeMatrix, factor: str) -> Curve:
        courses = matrix.at(_last(matrix), factor).curves
        components, dimensions = (
            (tuple(map(float, courses[kind])), tuple(courses[kind].values()))
            for kind in (COMPONENTS, DIMENSIONS)
        )
        return Curve(*components, beside=Curve(*dimensions))

    return _factors_figure(
        study, curve, "dimensions", f"from how few dimensions – {study.corpus}",
        "balanced accuracy on test; filled: leading principal components; dotted, hollow: "
        "own dimensions, the most telling on train first; of the embedding or the last layer; "
        "dashed, grey: chance",
        logarithmic=True,
    )  # fmt: skip


def spectra_figure(study: Study) -> Figure:
    """The share of the variance of each principal component, both axes logarithmic."""
    shares = {
        f"{shortened(printable(name), MAX_NAME)}: effective rank {spectrum.effective_rank:.0f} of "
        f"{spectrum.most}": spectrum.variances / (spectrum.variances.sum() or 1.0)
        for name, spectrum in study.spectra.items()
    }  # fmt: skip
    heading = f"spectrum of the representations – {study.corpus}"
    return spectrum_figure(shares, "share of the variance", heading)


def _factors_figure(
    study: Study,
    curve: Callable[[ProbeMatrix, str], Curve],
    x_label: str,
    heading: str,
    note: str,
    *,
    logarithmic: bool = False,
    x_names: dict[float, str] | None = None,
) -> Figure:
    """A panel for each factor, a curve for each upstream, and chance."""
    panels, chance = {}, {}
    for factor in study.classes:
        some = next(probe for matrix in study.probes.values() for probe in matrix.probes
                    if probe.factor == factor)  # fmt: skip
        title = f"{factor} ({some.recordings} recordings)"
        panels[title] = {name: curve(matrix, factor) for name, matrix in study.probes.items()}
        chance[title] = some.chance
    return lines_figure(
        panels, x_label, logarithmic=logarithmic, chance=chance, x_names=x_names,
        heading=heading, note=note,
    )  # fmt: skip


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
