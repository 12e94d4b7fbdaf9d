"""Codes of utterances in other bases, to hold an upstream's own dimensions against.

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

MAX_DIMENSIONS = 64  # that a code keeps, unless asked for otherwise
RECORDINGS_EACH = 4  # that each of them needs at least; of fewer, a basis is made of chance
BASES = OWN, PRINCIPAL, INDEPENDENT = "own dimensions", "PCA", "ICA"
NOISE, LABELS = "noise", "labels"


@dataclass(frozen=True)
class Code:
    """Codes [N, E] in one basis, standardised, with facts for the reader.

    `upstream` is the name that its recordings were coded by; "" for noise and labels.
    """

    upstream: str
    basis: str
    codes_NE: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def in_every_basis(upstream: str, x_NE: np.ndarray, most: int = MAX_DIMENSIONS) -> list[Code]:
    """The codes of an upstream in its own dimensions, in principal and in independent components.

    At most `most` dimensions are kept of each, and at most one for four recordings. `facts` has
    their number, the share of the variance that they hold, and for ICA (FastICA, Hyvärinen 1999)
    whether it converged. Equal codes give equal results.

    Raises:
        BarlowSpeechError: the codes do not vary, or are of fewer than eight recordings.
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
            f"the codes of upstream '{upstream}' vary in fewer than two dimensions, or are of "
            f"fewer than eight recordings ({len(x_NE)}); take a larger corpus."
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
        Code(upstream, OWN, _standardised(x_NE[:, chosen]), own),
        Code(upstream, PRINCIPAL, _standardised(principal_NE), turned),
        Code(upstream, INDEPENDENT, _standardised(independent_NE),
             {**turned, "converged": converged}),
    ]  # fmt: skip


def noise(count: int, dimensions: int, seed: int = 0) -> Code:
    """Codes that know nothing: what a metric gives them is what it gives for nothing."""
    codes_NE = np.random.default_rng(seed).standard_normal((count, dimensions))
    return Code("", NOISE, _standardised(codes_NE), {"dimensions": dimensions, "of": dimensions})


def label_numbers(labels: Mapping[str, np.ndarray]) -> Code:
    """One dimension for each factor, the number of its class: as factored as factors allow.

    Classes are numbered at random, since names in order may say something of another factor. An
    unknown label has the number 0.
    """
    columns = []
    for place, column in enumerate(labels.values()):
        classes, number_N = np.unique(np.asarray(column), return_inverse=True)
        columns.append(np.random.default_rng(place).permutation(len(classes))[number_N])
    codes_NE = np.stack(columns, axis=1).astype(np.float64)
    size = codes_NE.shape[1]
    return Code("", LABELS, _standardised(codes_NE), {"dimensions": size, "of": size})


def _standardised(x_NE: np.ndarray) -> np.ndarray:
    return (x_NE - x_NE.mean(axis=0)) / x_NE.std(axis=0)
