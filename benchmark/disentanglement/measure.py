"""The disentanglement of several upstreams on one corpus: every metric, basis, draw and probe.

Shapes: N recordings, L layers, D width of a layer, E dimensions of a representation, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from barlow_speech.benchmark.disentanglement.bases import (
    BASES,
    LABELS,
    MAX_DIMENSIONS,
    OWN,
    in_every_basis,
    label_numbers,
    noise,
)
from barlow_speech.benchmark.disentanglement.factors import Factors, associations
from barlow_speech.benchmark.disentanglement.metrics import (
    BINS,
    HEADLINES,
    TREES,
    measurable,
    scores,
)
from barlow_speech.benchmark.disentanglement.probes import SIZES, ProbeMatrix, probe_matrix
from barlow_speech.benchmark.disentanglement.representations import Representations
from barlow_speech.benchmark.disentanglement.spectrum import Spectrum, spectrum
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate, estimate, group_weights
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.progress import progress

RESAMPLES = 50  # draws; of a standard error about a tenth is then chance


@dataclass(frozen=True)
class Row:
    """The metrics of a representation in one basis; `draws` has those of each draw of speakers."""

    upstream: str
    basis: str
    facts: dict[str, Any]
    estimates: dict[str, Estimate]
    draws: dict[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Difference:
    """The headline metrics of one representation less those of another of the same recordings."""

    upstream: str
    basis: str
    less_upstream: str
    less_basis: str
    estimates: dict[str, Estimate]


@dataclass(frozen=True)
class Study:
    """Everything that was measured; `settings` says how."""

    corpus: str
    settings: dict[str, Any]
    classes: dict[str, int]
    associations: dict[tuple[str, str], float]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    sources: dict[str, str]
    spectra: dict[str, Spectrum]
    probes: dict[str, ProbeMatrix]


def study(
    corpus: str,
    factors: Factors,
    represent: Sequence[Representations],
    *,
    baselines: Mapping[str, str],
    within: str = "",
    dimensions: int = MAX_DIMENSIONS,
    resamples: int = RESAMPLES,
    sizes: Sequence[int] = SIZES,
    workers: int = 1,
) -> Study:
    """Measure representations of the same recordings; the rows are as `Study` has them.

    Every upstream has three rows, of its own dimensions, PCA and ICA; noise and the labels come
    last, without intervals. `baselines` names for an upstream the one of random weights that it is
    compared with. Differences are taken draw by draw, on the same speakers. Nothing depends on
    `workers`, the number of processes.

    Raises:
        BarlowSpeechError: there are fewer than two factors, or as `scores` and `probe_matrix`.
    """
    check_factors(corpus, factors, within)
    labels, splits = factors.labels, factors.splits
    wanted = measurable(labels, splits, within=within)
    weights_RN = group_weights(
        factors.groups_N,
        resamples,
        usable=lambda weights_N: measurable(labels, splits, weights_N, within) == wanted,
    )
    measured = [
        turned for one in represent for turned in in_every_basis(one.upstream, one.x_NE, dimensions)
    ]
    most = max(one.x_NE.shape[1] for one in measured)
    references = [noise(len(factors.rows_N), most), label_numbers(labels)]

    jobs = [(one, None) for one in [*measured, *references]]
    jobs += [(one, weights_N) for one in measured for weights_N in weights_RN]
    with progress(len(jobs), "metrics", "fit") as bar:
        results = []
        tasks = (
            delayed(scores)(one.x_NE, labels, splits, weights_N, within=within)
            for one, weights_N in jobs
        )
        for result in Parallel(workers, return_as="generator")(tasks):
            results.append(result)
            bar.update()
    rows = []
    for place, one in enumerate([*measured, *references]):
        first = len(measured) + len(references) + place * len(weights_RN)
        draws = results[first : first + len(weights_RN)]
        sample = {key: np.array([draw[key] for draw in draws]) for key in results[place]}
        estimates = {
            key: estimate(value, sample[key])
            for key, value in results[place].items()
            # Nothing linear can read the numbers of classes.
            if one.basis != LABELS or not key.startswith("explicitness")
        }
        rows.append(Row(one.upstream, one.basis, one.facts, estimates, sample))

    return Study(
        corpus=corpus,
        settings={
            "recordings": len(factors.rows_N),
            "speakers": len(np.unique(factors.groups_N)),
            "dimensions": dimensions,
            "bins": BINS,
            "trees": TREES,
            "resamples": len(weights_RN),
            "within": within,
        },
        classes={name: len(set(column.tolist()) - {""}) for name, column in labels.items()},
        associations=associations(labels),
        notes=factors.notes,
        rows=tuple(rows),
        differences=tuple(_differences(rows, baselines)),
        sources={one.upstream: one.source for one in represent},
        spectra={one.upstream: spectrum(one.x_NE) for one in represent},
        probes={
            one.upstream: probe_matrix(one.layers, labels, splits, factors.groups_N, sizes, workers)
            for one in represent
        },
    )


def check_factors(corpus: str, factors: Factors, within: str = "") -> None:
    """Refuse factors that no study can be made of, before anything is computed.

    Raises:
        BarlowSpeechError: there are fewer than two (within each class of `within`), or `within` is
            none of them.
    """
    labels = factors.labels
    if within and within not in labels:
        raise unknown("factor", within, labels, f"corpus '{corpus}'")
    if len(labels) < 2:
        raise BarlowSpeechError(
            f"corpus '{corpus}' has one factor only ({', '.join(labels)}), and disentanglement "
            "needs two or more; choose a corpus with more labels."
        )
    if not measurable(labels, factors.splits, within=within):
        raise BarlowSpeechError(
            f"corpus '{corpus}' has no class of '{within}' within which two other factors vary; "
            "choose another factor for --within, or none."
        )


def _differences(rows: Sequence[Row], baselines: Mapping[str, str]) -> list[Difference]:
    """Of each upstream: less the random weights, in every basis; and less its own other bases."""
    at = {(row.upstream, row.basis): row for row in rows if row.upstream}
    pairs = []
    for upstream in dict.fromkeys(upstream for upstream, _ in at):
        random = baselines.get(upstream)
        if random is not None:
            pairs += [((upstream, basis), (random, basis)) for basis in BASES]
        pairs += [((upstream, OWN), (upstream, basis)) for basis in BASES if basis != OWN]
    return [Difference(*a, *b, _difference(at[a], at[b])) for a, b in pairs]


def _difference(a: Row, b: Row) -> dict[str, Estimate]:
    return {
        key: estimate(a.estimates[key].value - b.estimates[key].value, a.draws[key] - b.draws[key])
        for key in HEADLINES
    }
