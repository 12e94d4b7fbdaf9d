"""Which factor of speech the embedding holds where: DCI, MIG, SAP, modularity, explicitness.

And linear probes: which factor can be read from which layer, and from how few dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from barlow_speech.benchmark.analyses._factors import probed_factors
from barlow_speech.benchmark.analyses._requests import (
    Measurement,
    Results,
    Sources,
    Study,
    corpora,
    corpus_name,
    labels,
)
from barlow_speech.benchmark.analyses._tables import NO_INTERVAL, matrix_picture, percents
from barlow_speech.benchmark.reporting.document import Picture, Section, Table

if TYPE_CHECKING:
    from barlow_speech.benchmark.disentanglement.factors import Factors

NOTES = (
    "Metrics of the utterance embedding for the factors that the corpus has labels of; of the "
    "embedding's own dimensions, and of its PCA and ICA. Intervals (95 %) are over draws of "
    "speakers. A difference is taken as found where its interval does not hold zero; those of many "
    "metrics are not corrected for their number.",
    "Probes: balanced accuracy of a logistic regression on the mean over time of a layer.",
)
HEADLINES = (
    "disentanglement", "completeness", "informativeness", "mig", "sap", "modularity",
    "explicitness",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Of which upstreams, on which corpora (default: all of the study)."""

    upstreams: tuple[str, ...]
    corpora: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    dimensions: Annotated[int, Field(ge=2)] = 64
    resamples: Annotated[int, Field(ge=0)] = 50
    recordings: Annotated[int, Field(ge=8)] = 5000


def requests(settings: Settings, study: Study) -> list[Measurement]:
    """The metrics on each corpus."""
    upstreams = tuple(labels(study, settings.upstreams, "disentanglement"))
    untrained = {
        other.untrained: label
        for label, other in study.upstreams.items()
        if other.untrained and label in upstreams
    }
    decisive = (settings.factors, settings.dimensions, settings.resamples, settings.recordings)
    return [
        Measurement(
            upstreams,
            partial(_measured, settings, upstreams, untrained, corpus),
            corpus,
            f"disentanglement on {corpus_name(corpus)}",
            lambda names, content: ["disentanglement", names, untrained, content, *decisive],
            seconds=3.0 + 0.25 * len(upstreams) * (settings.resamples + 20),
            check=partial(_factors, settings, corpus),
        )
        for corpus in corpora(study, settings.corpora, "disentanglement")
    ]


def _factors(settings: Settings, corpus: str, sources: Sources) -> Factors:
    """The factors of a corpus, of which every metric and probe can be made."""
    from barlow_speech.benchmark.disentanglement.measure import check_factors

    factors = probed_factors(sources, corpus, settings.factors, settings.recordings)
    check_factors(sources.corpus(corpus).name, factors)
    return factors


def _measured(
    settings: Settings,
    upstreams: Sequence[str],
    untrained: Mapping[str, str],
    corpus: str,
    sources: Sources,
) -> dict[str, Any]:
    """Every number, as `json_study` has them; `untrained` are compared with their trained ones."""
    # Only this analysis pays for scikit-learn, which takes a second or two to import.
    from barlow_speech.benchmark.disentanglement.measure import study
    from barlow_speech.benchmark.disentanglement.record import json_study

    read = sources.corpus(corpus)
    factors = _factors(settings, corpus, sources)
    recordings = [read.recordings[row] for row in factors.rows_N]
    measured = study(
        read.name,
        factors,
        [sources.represent(label, read, recordings) for label in upstreams],
        baselines={label: other for label, other in untrained.items() if label in upstreams},
        dimensions=settings.dimensions,
        resamples=settings.resamples,
        workers=os.cpu_count() or 1,
    )
    return json_study(measured)


def section(title: str, settings: Settings, results: Results) -> Section:
    """Tables of metrics and differences, and a matrix of probes, for each corpus."""
    findings: list[str] = []
    parts: list[Picture | Table] = []
    notes = list(NOTES)
    for _, measured in results.requested(Measurement):
        corpus, differences = measured["corpus"], measured["differences"]
        notes += [f"{corpus}: {note}." for note in measured["notes"]]
        keys = [key for key in HEADLINES if any(key in row["metrics"] for row in measured["rows"])]
        parts.append(
            Table(
                f"{title} {corpus} metrics",
                f"{corpus}: metrics in percent with the ends of their intervals. The rows of noise "
                "and of the labels themselves say what the metrics make of those.",
                ("upstream", "basis", *_with_ends(keys)),
                tuple(
                    (row["upstream"], row["basis"], *_values(row["metrics"], keys))
                    for row in measured["rows"]
                ),
                texts=2,
            )
        )
        parts.append(
            Table(
                f"{title} {corpus} differences",
                f"{corpus}: differences in points, draw by draw over the same speakers.",
                ("first", "basis", "less", "its basis", *_with_ends(keys)),
                tuple(
                    (
                        pair["upstream"], pair["basis"], pair["less_upstream"], pair["less_basis"],
                        *_values(pair["metrics"], keys),
                    )
                    for pair in differences
                ),
                texts=4,
            )
        )  # fmt: skip
        findings += _findings(corpus, differences, keys)
        for label, matrix in measured["probes"].items():
            parts += _probes(f"{title} {corpus} {label}", f"{label} on {corpus}", matrix["probes"])
    return Section(title, tuple(findings), tuple(notes), tuple(parts))


def _with_ends(keys: list[str]) -> list[str]:
    return [name for key in keys for name in (key, "from", "to")]


def _values(metrics: dict[str, Any], keys: list[str]) -> list[float | None]:
    values: list[float | None] = []
    for key in keys:
        metric = metrics.get(key) or {"value": None, "ci95": None}
        values += percents(metric["value"], *(metric["ci95"] or NO_INTERVAL))
    return values


def _findings(corpus: str, differences: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """Where an upstream's own dimensions differ from the random ones or from its ICA or PCA."""
    sentences = []
    for pair in differences:
        more, less = [], []
        for key in keys:
            ends = (pair["metrics"].get(key) or {}).get("ci95")
            if ends and ends[0] > 0:
                more.append(key)
            elif ends and ends[1] < 0:
                less.append(key)
        other = pair["less_upstream"]
        whose = f"its {pair['less_basis']}" if other == pair["upstream"] else other
        parts = [
            f"{way} {', '.join(which)}" for way, which in (("more", more), ("less", less)) if which
        ]
        if parts or other != pair["upstream"]:
            difference = " and ".join(parts) or "no difference that the intervals show"
            sentences.append(
                f"{corpus}: {pair['upstream']} ({pair['basis']}) against {whose}: {difference}."
            )
    return sentences


def _probes(name: str, where: str, probes: list[dict[str, Any]]) -> list[Picture | Table]:
    return [
        matrix_picture(
            f"{name} probes",
            f"{where}: what a linear probe reads, balanced accuracy in percent; bold: the best "
            "layer of a factor.",
            "A matrix of accuracies by layer and factor; the numbers are in the table.",
            {(row["layer"], row["factor"]): 100 * row["accuracy"]["value"] for row in probes},
        ),
        Table(
            f"{name} few dimensions",
            f"{where}: the same, and how many principal components, or of the layer's own "
            "dimensions, reach 90 % of what all gain over chance.",
            ("layer", "factor", "accuracy", "chance", "components", "dimensions"),
            tuple(
                (row["layer"], row["factor"], *percents(row["accuracy"]["value"], row["chance"]),
                 row["enough"].get("components"), row["enough"].get("dimensions"))
                for row in probes
            ),
            texts=2,
        ),
    ]  # fmt: skip
