"""The spectrum of the embedding and its effective rank, beside every accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from barlow_speech.benchmark.analyses._requests import (
    Measurement,
    Request,
    ResultRequest,
    Results,
    Sources,
    Study,
    corpora,
    corpus_name,
    labels,
)
from barlow_speech.benchmark.disentanglement.spectrum import spectrum
from barlow_speech.benchmark.figures.curves import spectrum_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.summaries import cell_summary

NOTES = (
    "Of the utterance embeddings of the corpus (the mean over time of the last layer, where an "
    "upstream has no embedding). Effective rank: exp of the entropy of the singular values (Roy "
    "and Vetterli 2007), of the embeddings less their mean: the number of directions in use.",
)


@dataclass(frozen=True)
class Settings:
    """Of which upstreams, over which corpora and beside which tasks (default: all)."""

    upstreams: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def requests(settings: Settings, study: Study) -> list[Request]:
    """The results that the ranks stand beside, and the spectrum of each upstream and corpus."""
    upstreams = labels(study, settings.upstreams, "spectrum")
    wanted = corpora(study, settings.corpora, "spectrum")
    columns = [column for column in study.columns(settings.tasks) if column[1] in wanted]
    return [
        *(ResultRequest(label, *column) for label in upstreams for column in columns),
        *(_measurement(label, corpus) for corpus in wanted for label in upstreams),
    ]


def _measurement(label: str, corpus: str) -> Measurement:
    return Measurement(
        (label,),
        partial(_spectrum, label, corpus),
        corpus,
        f"spectrum of {label} on {corpus_name(corpus)}",
        lambda names, content: ["spectrum", names[label], content],
        seconds=2.0,
        check=lambda sources: sources.corpus(corpus),
    )


def _spectrum(label: str, corpus: str, sources: Sources) -> dict[str, Any]:
    """The variances of the principal components, and what they amount to."""
    read = sources.corpus(corpus)
    represented = sources.represent(label, read, read.recordings)
    measured = spectrum(represented.x_NE)
    return {
        "source": represented.source,
        "effective_rank": measured.effective_rank,
        "participation": measured.participation,
        "dimensions": measured.dimensions,
        "most": measured.most,
        "variances": measured.variances.tolist(),
    }


def section(title: str, settings: Settings, results: Results) -> Section:
    """Spectra, and a table of ranks and scores."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for request, result in results.requested(ResultRequest):
        scores = means.setdefault(request.corpus, {}).setdefault(request.label, {})
        scores[request.task] = 100 * cell_summary(result)["mean"]
    spectra: dict[str, dict[str, Any]] = {}
    for measurement, outcome in results.requested(Measurement):
        spectra.setdefault(measurement.corpus, {})[measurement.upstreams[0]] = outcome
    parts: list[Picture | Table] = []
    for corpus, by_label in spectra.items():
        name = corpus_name(corpus)
        tasks = list(next(iter(means.get(corpus, {"": {}}).values())))
        parts.append(
            Picture(
                f"{title} {name}",
                f"Spectrum of the embedding over {name}: variance along each principal "
                "component, as a share of the largest.",
                "Curves of variance against the number of the component; effective ranks are in "
                "the table.",
                spectrum_figure(
                    {
                        label: np.divide(row["variances"], max(row["variances"][0], 1e-30))
                        for label, row in by_label.items()
                    },
                    "variance, of the largest",
                ),
            )
        )
        parts.append(
            Table(
                f"{title} {name} ranks",
                "Effective rank beside the mean scores in percent.",
                ("upstream", "representation", "dimensions", "effective rank", "participation",
                 *tasks),
                tuple(
                    (
                        label, row["source"], row["dimensions"], row["effective_rank"],
                        row["participation"], *(means[corpus][label][task] for task in tasks),
                    )
                    for label, row in by_label.items()
                ),
                texts=2,
            )
        )  # fmt: skip
    return Section(title, (), NOTES, tuple(parts))
