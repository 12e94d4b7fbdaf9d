"""How many dimensions a representation uses: the spectrum of its covariance and its effective rank.

All of it depends on the number of recordings (a rank is at most their number less one), so that
only spectra of the same recordings can be compared.

Shapes: N recordings, E dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr

SHARES = (0.9, 0.99)  # of the variance, for which the principal components are counted


@dataclass(frozen=True)
class Spectrum:
    """Variances along the principal components, largest first, and what they come to.

    `effective_rank` is exp of the entropy of the normalised singular values (Roy & Vetterli 2007)
    of vectors without their mean; that of pretraining's log (RankMe, Garrido et al. 2023) leaves
    the mean in. `participation` is (Σλ)² / Σλ², in which the largest variances weigh more. Both are
    1 for what has collapsed to a line. `components` counts those that hold each of `SHARES`
    of the variance; `dimensions` is E, and `most` the largest rank that there could be.
    """

    variances: np.ndarray
    effective_rank: float
    participation: float
    components: dict[float, int]
    dimensions: int
    most: int


def spectrum(x_NE: np.ndarray) -> Spectrum:
    """The spectrum of vectors; a change of their mean or scale changes none of the counts."""
    centred_NE = np.asarray(x_NE, dtype=np.float64)
    centred_NE = centred_NE - centred_NE.mean(axis=0)
    count, dimensions = centred_NE.shape
    # The smaller of the two products has all the values that are not nothing.
    product = centred_NE.T @ centred_NE if count > dimensions else centred_NE @ centred_NE.T
    values = np.maximum(np.linalg.eigvalsh(product)[::-1], 0.0) / max(1, count - 1)
    most = max(1, min(count - 1, dimensions))
    values = values[:most]
    total = values.sum()
    if total == 0:
        return Spectrum(values, 1.0, 1.0, dict.fromkeys(SHARES, 1), dimensions, most)
    singular = np.sqrt(values)
    gathered = np.cumsum(values) / total
    return Spectrum(
        variances=values,
        effective_rank=float(np.exp(entr(singular / singular.sum()).sum())),
        participation=float(total**2 / (values**2).sum()),
        # A share may be missed by rounding alone.
        components={share: int(np.argmax(gathered >= share - 1e-12)) + 1 for share in SHARES},
        dimensions=dimensions,
        most=most,
    )
