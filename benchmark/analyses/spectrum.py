"""The spectrum of the embedding and its effective rank, beside every accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from barlow_speech.benchmark.disentanglement.representations import represent
from barlow_speech.benchmark.disentanglement.spectrum import spectrum
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.figures.curves import STYLES
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Evaluate, Measure, Stage
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.upstream.common.text import printable, shortened

NOTES = (
    "Of the utterance embeddings of the corpus (the mean over time of the last layer, where an "
    "upstream has no embedding). Effective rank: exp of the entropy of the singular values (Roy "
    "and Vetterli 2007), of the codes less their mean: the number of directions that are in use.",
)


@dataclass(frozen=True)
class Settings:
    """Of which upstreams, over which corpora and beside which tasks (default: all)."""

    upstreams: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def stages(settings: Settings, planner: Planner) -> list[Stage]:
    """The cells that the ranks stand beside, and a measurement for each upstream and corpus."""
    labels = planner.upstreams(settings.upstreams, "spectrum")
    measures = [
        _measure(label, corpus, planner)
        for corpus in _corpora(settings, planner)
        for label in labels
    ]
    return [*_cells(settings, planner), *measures]


def _cells(settings: Settings, planner: Planner) -> list[Evaluate]:
    return [
        planner.cell(label, task, corpus)
        for label in planner.upstreams(settings.upstreams, "spectrum")
        for task, corpus in _columns(settings, planner)
    ]


def _corpora(settings: Settings, planner: Planner) -> tuple[str, ...]:
    return settings.corpora or tuple(planner.study.corpora)


def _columns(settings: Settings, planner: Planner) -> list[tuple[str, str]]:
    wanted = _corpora(settings, planner)
    return [one for one in planner.study.columns(settings.tasks) if one[1] in wanted]


def _measure(label: str, corpus: str, planner: Planner) -> Measure:
    name = planner.name(label)

    def compute(workspace: Workspace) -> dict[str, Any]:
        read = workspace.evaluator.corpus(workspace.corpus(corpus))
        upstream = load_upstream(name, None, workspace.device)
        cache = workspace.evaluator.settings.cache
        code = represent(label, upstream, read.recordings, cache, read.manifest.file)
        found = spectrum(code.x_NE)
        return {
            "source": code.source,
            "effective_rank": found.effective_rank,
            "participation": found.participation,
            "dimensions": found.dimensions,
            "most": found.most,
            "variances": found.variances.tolist(),
        }

    identity = ["spectrum", name, planner.workspace.corpus_digest(corpus)]
    return Measure(
        f"spectrum of {label} on {planner.workspace.corpus_name(corpus)}",
        identity,
        compute,
        planner.pretrainings(label)[:1],
        2.0,
    )


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """Spectra, and a table of ranks and scores."""
    labels = planner.upstreams(settings.upstreams, "spectrum")
    cells = planner.cells(_cells(settings, planner))
    means = {
        (cell.upstream, task, corpus): 100 * cell_summary(cell)["mean"]
        for cell, (task, corpus) in zip(
            cells, [one for _ in labels for one in _columns(settings, planner)]
        )
    }
    parts: list[Picture | Table] = []
    for corpus in _corpora(settings, planner):
        name = planner.workspace.corpus_name(corpus)
        found = {
            label: _measure(label, corpus, planner).outcome(planner.workspace) for label in labels
        }
        tasks = [task for task, other in _columns(settings, planner) if other == corpus]
        parts.append(
            Picture(
                f"{title} {name}",
                f"Spectrum of the embedding over {name}: variance along each principal "
                "component, as a share of the largest.",
                "Curves of variance against the number of the component; effective ranks are in "
                "the table.",
                _drawn({label: one["variances"] for label, one in found.items()}),
            )
        )
        parts.append(
            Table(
                f"{title} {name} ranks",
                "Effective rank beside the mean scores in percent.",
                ("upstream", "code", "dimensions", "effective rank", "participation", *tasks),
                tuple(
                    (
                        label, one["source"], one["dimensions"], one["effective_rank"],
                        one["participation"], *(means[label, task, corpus] for task in tasks),
                    )
                    for label, one in found.items()
                ),
                texts=2,
            )
        )  # fmt: skip
    return Section(title, (), NOTES, tuple(parts))


def _drawn(spectra: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (label, variances), (color, _, dashes) in zip(
        spectra.items(), STYLES * (1 + len(spectra) // len(STYLES))
    ):
        share = np.array(variances) / max(variances[0], 1e-30)
        # What rounding leaves is no variance.
        share = share[share > 1e-9]
        axes.plot(
            np.arange(1, len(share) + 1), share, color=color, linestyle=dashes, linewidth=1.3,
            label=shortened(printable(label), 30),
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("principal component", fontsize=8.5)
    axes.set_ylabel("variance, of the largest", fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
