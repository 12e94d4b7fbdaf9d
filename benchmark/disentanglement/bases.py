"""Representations of utterances in other bases, to hold an upstream's own dimensions against.

Every basis keeps the same number of dimensions by the same rule, those of the largest variance, and
sees no label: an upstream's own dimensions as they are, its principal components, and independent
components made of these. What a metric gives to noise and to the labels themselves says how low and
how high it goes on these recordings.

Shapes: N recordings, E dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning

from barlow_speech.upstream.common.errors import BarlowSpeechError

MAX_DIMENSIONS = 64  # that a representation keeps, unless asked for otherwise
RECORDINGS_EACH = 4  # that each of them needs at least; of fewer, a basis is made of chance
BASES = OWN, PRINCIPAL, INDEPENDENT = "own dimensions", "PCA", "ICA"
NOISE, LABELS = "noise", "labels"


@dataclass(frozen=True)
class Representation:
    """Vectors [N, E] in one basis, standardised, with facts for the reader.

    `upstream` is the name of what made them; "" for noise and labels.
    """

    upstream: str
    basis: str
    x_NE: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def in_every_basis(
    upstream: str, x_NE: np.ndarray, most: int = MAX_DIMENSIONS
) -> list[Representation]:
    """Vectors of an upstream in its own dimensions, in principal and in independent components.

    At most `most` dimensions are kept of each, and at most one for four recordings. `facts` has
    their number, the share of the variance that they hold, and for ICA (FastICA, Hyvärinen 1999)
    whether it converged. Equal vectors give equal results.

    Raises:
        BarlowSpeechError: the vectors do not vary, or are of fewer than eight recordings.
    """
    x_NE = np.asarray(x_NE, dtype=np.float64)
    variance_E = x_NE.var(axis=0)
    # What is left of a constant, or of a copy, by rounding is no dimension.
    least = max(1e-12 * variance_E.max(), 1e-20 * float((x_NE**2).mean()))
    kept = min(most, int((variance_E > least).sum()), len(x_NE) // RECORDINGS_EACH)
    if kept >= 2:
        pca = PCA(min(x_NE.shape), svd_solver="covariance_eigh").fit(x_NE)
        kept = min(kept, int((pca.explained_variance_ > 1e-10 * pca.explained_variance_[0]).sum()))
    if kept < 2:
        raise BarlowSpeechError(
            f"the representations of upstream '{upstream}' vary in fewer than two dimensions, or "
            f"are of fewer than eight recordings ({len(x_NE)}); take a larger corpus."
        )
    # In their own order, so that a picture shows them as the upstream has them.
    chosen = np.sort(np.argsort(-variance_E, kind="stable")[:kept])
    principal_NE = pca.transform(x_NE)[:, :kept]
    ica = FastICA(whiten="unit-variance", max_iter=1000, random_state=0)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", ConvergenceWarning)
        independent_NE = ica.fit_transform(principal_NE)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in raised)
    total = float(variance_E.sum())
    size = {"dimensions": kept, "of": x_NE.shape[1]}
    own = {**size, "variance": float(variance_E[chosen].sum()) / total}
    turned = {**size, "variance": float(pca.explained_variance_ratio_[:kept].sum())}
    return [
        Representation(upstream, basis, _standardised(x), facts)
        for basis, x, facts in (
            (OWN, x_NE[:, chosen], own),
            (PRINCIPAL, principal_NE, turned),
            (INDEPENDENT, independent_NE, {**turned, "converged": converged}),
        )
    ]


def noise(count: int, dimensions: int, seed: int = 0) -> Representation:
    """What knows nothing: what a metric gives it is what it gives for nothing."""
    return _reference(NOISE, np.random.default_rng(seed).standard_normal((count, dimensions)))


def label_numbers(labels: Mapping[str, np.ndarray]) -> Representation:
    """One dimension for each factor, the number of its class: as factored as factors allow.

    Classes are numbered at random, since names in order may say something of another factor. An
    unknown label has the number 0.
    """
    columns = []
    for place, column in enumerate(labels.values()):
        classes, number_N = np.unique(np.asarray(column), return_inverse=True)
        columns.append(np.random.default_rng(place).permutation(len(classes))[number_N])
    return _reference(LABELS, np.stack(columns, axis=1).astype(np.float64))


def _reference(basis: str, x_NE: np.ndarray) -> Representation:
    size = x_NE.shape[1]
    return Representation("", basis, _standardised(x_NE), {"dimensions": size, "of": size})


def _standardised(x_NE: np.ndarray) -> np.ndarray:
    return (x_NE - x_NE.mean(axis=0)) / x_NE.std(axis=0)
