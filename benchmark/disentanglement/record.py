"""A disentanglement study as it is stored: every number, JSON-able."""

from __future__ import annotations

import dataclasses
from typing import Any

from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate


def json_study(found: Study) -> dict[str, Any]:
    """Every number of the study, JSON-able; fractions, and None where there is no interval."""
    return {
        "corpus": found.corpus,
        "settings": found.settings,
        "classes": found.classes,
        "associations": [
            {"of": a, "given": b, "share": share} for (a, b), share in found.associations.items()
        ],
        "notes": list(found.notes),
        "rows": [
            {
                "upstream": row.upstream,
                "basis": row.basis,
                **row.facts,
                "metrics": {key: _estimate(one) for key, one in row.estimates.items()},
            }
            for row in found.rows
        ],
        "differences": [
            {
                "upstream": one.upstream,
                "basis": one.basis,
                "less_upstream": one.less_upstream,
                "less_basis": one.less_basis,
                "metrics": {key: _estimate(value, -1.0) for key, value in one.estimates.items()},
            }
            for one in found.differences
        ],
        "codes": {
            name: {
                "source": found.sources[name],
                **_spectrum(one),
                "variances": one.variances.tolist(),
            }
            for name, one in found.spectra.items()
        },
        "probes": {
            name: {
                "layers": {layer: _spectrum(one) for layer, one in matrix.spectra.items()},
                "probes": [
                    {**dataclasses.asdict(one), "accuracy": _estimate(one.accuracy)}
                    for one in matrix.probes
                ],
            }
            for name, matrix in found.probes.items()
        },
    }


def _estimate(one: Estimate, low: float = 0.0) -> dict[str, Any]:
    return {"value": one.value, "error": one.error, "ci95": one.interval(low, 1.0)}


def _spectrum(one: Any) -> dict[str, Any]:
    return {
        "dimensions": one.dimensions,
        "effective_rank": one.effective_rank,
        "participation": one.participation,
        "components": {f"{share:g}": count for share, count in one.components.items()},
    }
