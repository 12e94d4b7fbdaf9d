"""Intervals of a mean over runs: the BCa bootstrap (Efron 1987)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from barlow_speech.benchmark.statistics.results import DIGITS, LEVEL
from barlow_speech.upstream.common.errors import BarlowSpeechError

RESAMPLES = 10_000  # bootstrap resamples behind every interval


def summary(values: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Location and spread of the runs' values, as fractions.

    Keys: n, mean, std (ddof = 1), sem, median, q1, q3 (linear interpolation, NumPy's default), min,
    max, and ci95: the BCa bootstrap interval [low, high] of the mean (Efron 1987), reproducible
    through `seed`. Equal values give the interval [v, v]. A single run has no spread: its std, sem
    and ci95 are None, never 0 and never NaN. The interval is over the runs, which it takes to be
    independent: not so where they share levels of a source (`variance.py`). Of few runs it is too
    short, as every bootstrap interval of a mean is: `tests/statistics/test_simulation.py` finds
    that about 94 of 100 cover with 50 runs and 90 with 10.

    Raises:
        BarlowSpeechError: there is no value, or one of them is not finite.
    """
    if len(values) == 0:
        raise BarlowSpeechError("there are no runs to summarise; run the task first.")
    if not np.isfinite(values).all():
        raise BarlowSpeechError("a run's value is NaN or infinite; look at the runs that made it.")
    sample = np.asarray(values, dtype=np.float64)
    q1, median, q3 = np.quantile(sample, [0.25, 0.5, 0.75])
    low, high = sample.min(), sample.max()
    several = len(sample) > 1
    # Clipped, since summing equal values may leave their mean a bit outside of them.
    mean = float(np.clip(sample.mean(), low, high))
    std = (float(sample.std(ddof=1)) if low < high else 0.0) if several else None
    return {
        "n": len(sample),
        "mean": mean,
        "std": std,
        "sem": None if std is None else std / math.sqrt(len(sample)),
        "median": float(median),
        "q1": float(q1),
        "q3": float(q3),
        "min": float(low),
        "max": float(high),
        "ci95": list(mean_interval(tuple(sample.tolist()), seed)) if several else None,
    }


# Tables, figures and the page ask for the same numbers: each is worked out once per process.
@lru_cache(maxsize=4096)
def mean_interval(values: tuple[float, ...], seed: int) -> tuple[float, float]:
    """The BCa interval of the mean of two or more values."""
    sample = np.asarray(values)
    if np.ptp(sample) < 10.0**-DIGITS:
        value = float(sample[0])
        return value, value
    count = len(sample)
    # What SciPy's `stats.bootstrap` gives with the same draws (see
    # tests/statistics/test_statistics.py), some ten times faster since a mean is linear, and always
    # finite: the share below is kept off 0 and 1, and an acceleration is never over 1/6.
    means = _drawn_counts(count, seed) @ sample / count
    mean = sample.mean()
    # Resampled scores often have the observed mean; summed in another order it may differ in its
    # last bits, which must not decide on which side it is counted.
    ties = 1e-12
    below = (np.count_nonzero(means < mean - ties) + np.count_nonzero(means <= mean + ties)) / 2.0
    bias = ndtri(min(max(below, 0.5), RESAMPLES - 0.5) / RESAMPLES)
    deviations = sample - mean  # of the jackknife's means, but for a factor that cancels
    acceleration = (deviations**3).sum() / (6.0 * (deviations**2).sum() ** 1.5)
    ends = bias + ndtri([LEVEL / 2.0, 1.0 - LEVEL / 2.0])
    low, high = np.quantile(means, ndtr(bias + ends / (1.0 - acceleration * ends)))
    return float(max(low, sample.min())), float(min(high, sample.max()))


# The same draws for every result and pair of as many runs. 500 runs take 20 MB and 10 MB.
@lru_cache(maxsize=4)
def _drawn_counts(count: int, seed: int) -> np.ndarray:
    """How often each of `count` runs is in each bootstrap resample [RESAMPLES, count]."""
    runs = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))
    rows = np.arange(RESAMPLES)[:, None] * count
    counts = np.bincount((rows + runs).ravel(), minlength=RESAMPLES * count)
    return counts.astype(np.float32).reshape(RESAMPLES, count)
