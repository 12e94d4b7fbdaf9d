"""Which factor of speech the embedding holds where: DCI, MIG, SAP, modularity, explicitness.

And linear probes: which factor can be read from which layer, and from how few dimensions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from barlow_speech.benchmark.disentanglement.representations import represent
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Measure
from barlow_speech.benchmark.study.workspace import Workspace

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
    dimensions: int = 64
    resamples: int = 50
    recordings: int = 5000


def stages(settings: Settings, planner: Planner) -> list[Measure]:
    """One measurement for each corpus."""
    return [
        _measure(settings, planner, corpus)
        for corpus in settings.corpora or tuple(planner.study.corpora)
    ]


def _measure(settings: Settings, planner: Planner, corpus: str) -> Measure:
    labels = planner.upstreams(settings.upstreams, "disentanglement")
    names = {label: planner.name(label) for label in labels}
    untrained = {
        other.untrained: label
        for label, other in planner.study.upstreams.items()
        if other.untrained and label in labels
    }

    def compute(workspace: Workspace) -> dict[str, Any]:
        # Only this analysis pays for scikit-learn, which takes a second or two to import.
        from barlow_speech.benchmark.disentanglement.factors import read_factors
        from barlow_speech.benchmark.disentanglement.measure import study
        from barlow_speech.benchmark.disentanglement.record import json_study

        read = workspace.evaluator.corpus(workspace.corpus(corpus))
        factors = read_factors(read, settings.factors, settings.recordings, workspace.allow_leakage)
        recordings = [read.recordings[row] for row in factors.rows_N]
        cache = workspace.evaluator.settings.cache
        codes = [
            represent(
                label, load_upstream(name, None, workspace.device), recordings, cache,
                read.manifest.file,
            )
            for label, name in names.items()
        ]  # fmt: skip
        found = study(
            read.name,
            factors,
            codes,
            baselines={label: other for label, other in untrained.items() if label in labels},
            dimensions=settings.dimensions,
            resamples=settings.resamples,
            workers=os.cpu_count() or 1,
        )
        return json_study(found)

    identity = [
        "disentanglement", names, untrained, planner.workspace.corpus_digest(corpus),
        settings.factors, settings.dimensions, settings.resamples, settings.recordings,
    ]  # fmt: skip
    needs = tuple(one for label in labels for one in planner.pretrainings(label)[:1])
    estimate = 3.0 + 0.25 * len(labels) * (settings.resamples + 20)
    return Measure(
        f"disentanglement on {planner.workspace.corpus_name(corpus)}",
        identity,
        compute,
        needs,
        estimate,
    )


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """Tables of metrics and differences, and a matrix of probes, for each corpus."""
    findings: list[str] = []
    parts: list[Picture | Table] = []
    for stage in stages(settings, planner):
        found = stage.outcome(planner.workspace)
        corpus = found["corpus"]
        keys = [key for key in HEADLINES if any(key in row["metrics"] for row in found["rows"])]
        parts.append(
            Table(
                f"{title} {corpus} metrics",
                f"{corpus}: metrics in percent with the ends of their intervals. The rows of noise "
                "and of the labels themselves say what the metrics make of those.",
                ("upstream", "basis", *_with_ends(keys)),
                tuple(
                    (row["upstream"], row["basis"], *_values(row["metrics"], keys))
                    for row in found["rows"]
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
                        one["upstream"], one["basis"], one["less_upstream"], one["less_basis"],
                        *_values(one["metrics"], keys),
                    )
                    for one in found["differences"]
                ),
                texts=4,
            )
        )  # fmt: skip
        findings += _findings(corpus, found["differences"], keys)
        for label, matrix in found["probes"].items():
            parts += _probes(f"{title} {corpus} {label}", f"{label} on {corpus}", matrix["probes"])
    return Section(title, tuple(findings), NOTES, tuple(parts))


def _with_ends(keys: list[str]) -> list[str]:
    return [name for key in keys for name in (key, "from", "to")]


def _values(metrics: dict[str, Any], keys: list[str]) -> list[float | None]:
    values: list[float | None] = []
    for key in keys:
        one = metrics.get(key)
        low, high = (one and one["ci95"]) or (None, None)
        values += [None if x is None else 100 * x for x in (one and one["value"], low, high)]
    return values


def _findings(corpus: str, differences: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """Where an upstream's own dimensions differ from the random ones or from its ICA or PCA."""
    sentences = []
    for one in differences:
        more, less = [], []
        for key in keys:
            ends = (one["metrics"].get(key) or {}).get("ci95")
            if ends and ends[0] > 0:
                more.append(key)
            elif ends and ends[1] < 0:
                less.append(key)
        other = one["less_upstream"]
        whose = f"its {one['less_basis']}" if other == one["upstream"] else other
        parts = [
            f"{way} {', '.join(which)}" for way, which in (("more", more), ("less", less)) if which
        ]
        if parts or other != one["upstream"]:
            said = " and ".join(parts) if parts else "no difference that the intervals show"
            sentences.append(
                f"{corpus}: {one['upstream']} ({one['basis']}) against {whose}: {said}."
            )
    return sentences


def _probes(name: str, where: str, probes: list[dict[str, Any]]) -> list[Picture | Table]:
    layers = list(dict.fromkeys(one["layer"] for one in probes))
    factors = list(dict.fromkeys(one["factor"] for one in probes))
    values = np.full((len(layers), len(factors)), np.nan)
    rows = []
    for one in probes:
        accuracy = 100 * one["accuracy"]["value"]
        values[layers.index(one["layer"]), factors.index(one["factor"])] = accuracy
        few = one["enough"]
        rows.append(
            (one["layer"], one["factor"], accuracy, 100 * one["chance"], few.get("components"),
             few.get("dimensions"))
        )  # fmt: skip
    return [
        Picture(
            f"{name} probes",
            f"{where}: what a linear probe reads, balanced accuracy in percent; bold: the best "
            "layer of a factor.",
            "A matrix of accuracies by layer and factor; the numbers are in the table.",
            matrix_figure(
                values, layers, factors, bold=values == np.nanmax(values, axis=0), by_column=True
            ),
        ),
        Table(
            f"{name} few dimensions",
            f"{where}: the same, and how many principal components, or of the layer's own "
            "dimensions, reach 90 % of what all gain over chance.",
            ("layer", "factor", "accuracy", "chance", "components", "dimensions"),
            tuple(rows),
            texts=2,
        ),
    ]
