"""A disentanglement study as it is stored: every number, JSON-able."""

from __future__ import annotations

import dataclasses
from typing import Any

from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.disentanglement.spectrum import Spectrum
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate


def json_study(study: Study) -> dict[str, Any]:
    """Every number of the study, JSON-able; fractions, and None where there is no interval."""
    return {
        "corpus": study.corpus,
        "settings": study.settings,
        "classes": study.classes,
        "associations": [
            {"of": a, "given": b, "share": share} for (a, b), share in study.associations.items()
        ],
        "notes": list(study.notes),
        "rows": [
            {
                "upstream": row.upstream,
                "basis": row.basis,
                **row.facts,
                "metrics": {key: _estimate(one) for key, one in row.estimates.items()},
            }
            for row in study.rows
        ],
        "differences": [
            {
                **{key: value for key, value in vars(one).items() if key != "estimates"},
                "metrics": {key: _estimate(value, -1.0) for key, value in one.estimates.items()},
            }
            for one in study.differences
        ],
        "codes": {
            name: {
                "source": study.sources[name],
                **_spectrum(one),
                "variances": one.variances.tolist(),
            }
            for name, one in study.spectra.items()
        },
        "probes": {
            name: {
                "layers": {layer: _spectrum(one) for layer, one in matrix.spectra.items()},
                "probes": [
                    {**dataclasses.asdict(one), "accuracy": _estimate(one.accuracy)}
                    for one in matrix.probes
                ],
            }
            for name, matrix in study.probes.items()
        },
    }


def _estimate(one: Estimate, low: float = 0.0) -> dict[str, Any]:
    return {"value": one.value, "error": one.error, "ci95": one.interval(low, 1.0)}


def _spectrum(one: Spectrum) -> dict[str, Any]:
    names = ("dimensions", "effective_rank", "participation")
    components = {f"{share:g}": count for share, count in one.components.items()}
    return {**{name: getattr(one, name) for name in names}, "components": components}
