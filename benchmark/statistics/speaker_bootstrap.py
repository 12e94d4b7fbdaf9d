"""Intervals over recordings that come in groups: a bootstrap that draws whole speakers.

Recordings of one speaker are alike, so that drawing them one by one would make intervals too short.
A draw takes as many speakers as there are, with replacement, each with all its recordings.

Shapes: N recordings, G groups, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from barlow_speech.upstream.common.errors import BarlowSpeechError

MIN_GROUPS = 5  # of fewer, a spread says nothing
ATTEMPTS = 200  # draws of which one must be usable
REACH = float(ndtri(0.975))  # standard errors on either side of the value


@dataclass(frozen=True)
class Estimate:
    """A value and its spread over the draws: `error` is None where there is no spread to speak of.

    The interval is the normal one, value ± 1.96 standard errors (Efron & Tibshirani 1993, chapters
    6 and 13), which a few dozen draws are enough for. It stays around the value, where quantiles of
    the draws would not: drawing speakers twice leaves fewer different ones, which raises every
    estimate of information, and that is no uncertainty.
    """

    value: float
    error: float | None

    def interval(self, low: float = -np.inf, high: float = np.inf) -> list[float] | None:
        """The 95 % interval, cut at the smallest and the largest value that there can be."""
        if self.reach is None:
            return None
        return [max(low, self.value - self.reach), min(high, self.value + self.reach)]

    @property
    def reach(self) -> float | None:
        """Half the width of the 95 % interval."""
        return None if self.error is None else REACH * self.error


def group_weights(
    groups_N: Sequence[str] | np.ndarray,
    draws: int,
    seed: int = 0,
    usable: Callable[[np.ndarray], bool] = lambda weights_N: True,
) -> np.ndarray:
    """How often each recording is in each draw [R, N]: as often as its group was drawn.

    Draw r depends on the seed, r and the groups alone, so that codes of the same recordings get the
    same draws and can be compared draw by draw. A draw that is not `usable` (a factor keeps one
    class, say) is drawn again. With fewer than 5 groups, or `draws` of 0, there are none.

    Raises:
        BarlowSpeechError: 200 draws in a row are not usable.
    """
    names, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
    count = len(names)
    if count < MIN_GROUPS:
        draws = 0
    result = np.zeros((draws, len(group_N)))
    for number in range(draws):
        generator = np.random.default_rng([seed, number])
        for _ in range(ATTEMPTS):
            times_G = np.bincount(generator.integers(0, count, size=count), minlength=count)
            if usable(times_G[group_N]):
                break
        else:
            raise BarlowSpeechError(
                f"{ATTEMPTS} draws from {count} speakers left a factor without two classes to "
                "learn and two to judge; give the corpus more speakers, or ask for --resamples 0."
            )
        result[number] = times_G[group_N]
    return result


def estimate(value: float, draws_R: Sequence[float] | np.ndarray) -> Estimate:
    """A value with the standard deviation of its draws (ddof = 1) as its standard error."""
    sample = np.asarray(draws_R, dtype=np.float64)
    return Estimate(float(value), float(sample.std(ddof=1)) if len(sample) > 1 else None)
