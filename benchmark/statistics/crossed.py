"""How far a score, or a difference of two, would move with other runs and other speakers at once.

Every run is evaluated on every test recording: runs are crossed with speakers, and recordings lie
within them. The mean then varies with both, and with how the two go together; an interval over the
runs alone is right about the runs, and silent about who was recorded.

Its variance is the sum of a part of the runs and one of the speakers, less what both count twice,
as the mean squares of the crossed random model say (Searle, Casella & McCulloch, "Variance
Components", 1992, chapter 4; Cameron, Gelbach & Miller, JBES 29, 2011, for clusters of any size).
Tests and intervals take Student's t with Satterthwaite's degrees of freedom ("An approximate
distribution of estimates of variance components", Biometrics Bulletin 2, 1946). Speakers have
unlike numbers of recordings: their part and its degrees of freedom are those of Bell & McCaffrey
(Survey Methodology 28, 2002; Imbens & Kolesár, REStat 98, 2016) under a model in which recordings
of one speaker are as alike as they are found to be. With a recording each and one run, that is the
t of a mean. Beside it stand the crossed ("pigeonhole") bootstrap, and for few speakers the wild
cluster bootstrap.

Shapes: R runs, N recordings, K clusters (speakers or recordings), B draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from barlow_speech.benchmark.statistics.results import LEVEL

DRAWS = 4_000  # of the pigeonhole bootstrap
MOST_CLUSTERS = 5_000  # of the pigeonhole bootstrap; with more, both intervals are the same

WILD_DRAWS = 9_999  # of the wild bootstrap, where not all are enumerated
WEBB = np.array([-math.sqrt(1.5), -1.0, -math.sqrt(0.5), math.sqrt(0.5), 1.0, math.sqrt(1.5)])
ENUMERABLE = 5  # clusters, of which 6^5 combinations of Webb's weights are enumerated


@dataclass(frozen=True)
class Crossed:
    """A mean over runs and clusters, and the variance that each of the two gives it.

    `runs_variance` holds what is random from run to run, `clusters_variance` what is from cluster
    to cluster, either with the part of both together (`both_variance`), which counts once.
    """

    mean: float
    runs: int
    clusters: int
    runs_variance: float  # of the mean; so are the other two
    runs_df: float
    clusters_variance: float
    clusters_df: float
    both_variance: float
    correlation: float  # between recordings of a cluster, 0..1
    part_K: np.ndarray  # influence of each cluster on the mean
    weight_K: np.ndarray  # its share of the mean

    @property
    def variance(self) -> float:
        """Of the mean; never less than that of its runs or its clusters alone."""
        return max(
            self.runs_variance + self.clusters_variance - self.both_variance,
            self.runs_variance,
            self.clusters_variance,
        )

    @property
    def df(self) -> float:
        """Satterthwaite's, of the sum."""
        below = self.runs_variance**2 / self.runs_df if self.runs_variance else 0.0
        below += self.clusters_variance**2 / self.clusters_df if self.clusters_variance else 0.0
        if below == 0.0:
            return self.clusters_df
        below += self.both_variance**2 / (self.runs_df * self.clusters_df)
        return max(self.variance**2 / below, min(self.runs_df, self.clusters_df))

    @property
    def p(self) -> float:
        """Two-sided, of a mean of 0.

        Where nothing varies, what as many signs as there are clusters can show.
        """
        if abs(self.mean) < 1e-12:
            return 1.0
        if self.variance < 1e-24:
            return min(1.0, 2.0 * 0.5**self.clusters)
        return float(2.0 * stats.t.sf(abs(self.mean) / math.sqrt(self.variance), self.df))

    def interval(self, low: float = -1.0, high: float = 1.0) -> list[float]:
        """The 95 % interval of the mean, cut at the smallest and the largest that there can be."""
        reach = float(stats.t.isf(LEVEL / 2, self.df)) * math.sqrt(self.variance)
        return [max(low, self.mean - reach), min(high, self.mean + reach)]


def crossed(
    score_R: np.ndarray,
    parts: Iterable[np.ndarray],
    mean_N: np.ndarray,
    cluster_N: np.ndarray,
    weight_K: np.ndarray,
    size_K: np.ndarray,
    runs: tuple[float, float] | None = None,
) -> Crossed:
    """The variance of the mean of `score_R` over runs and clusters.

    `parts` are the influences [K] of the clusters on each run's score, `mean_N` those of the
    recordings on the mean; `weight_K` and `size_K` are each cluster's share of the score and its
    recordings. `runs` are variance and degrees of freedom of the mean over the runs where they are
    not independent. One run gives no variance of the runs, which are then taken as they are.
    """
    count, clusters = len(score_R), len(weight_K)
    total_K, squares = np.zeros(clusters), 0.0
    for part_K in parts:
        total_K += part_K
        squares += float(np.dot(part_K, part_K))
    part_K = total_K / count
    several = count > 1
    own = (float(score_R.var(ddof=1)) / count, count - 1.0) if several else (0.0, 1.0)
    runs_variance, runs_df = own if runs is None else runs
    both = 0.0
    if several and clusters > 1:
        rest = max(squares - count * float(np.dot(part_K, part_K)), 0.0)
        both = rest * clusters / ((clusters - 1) * count * (count - 1))
    alike = _correlation(mean_N, cluster_N, weight_K, size_K)
    variance, df = _of_clusters(part_K, weight_K, alike + (1 - alike) / size_K)
    return Crossed(
        float(score_R.mean()), count, clusters, runs_variance, runs_df, variance, df, both,
        alike, part_K, weight_K,
    )  # fmt: skip


def _correlation(
    mean_N: np.ndarray, cluster_N: np.ndarray, weight_K: np.ndarray, size_K: np.ndarray
) -> float:
    """Between recordings of one cluster, by one-way analysis of variance, within 0..1."""
    count, clusters = len(mean_N), len(size_K)
    if clusters == count or clusters < 2:
        return 0.0
    # Where a class is rare its recordings weigh more: what each is worth by itself is compared.
    value_N = mean_N * (size_K / weight_K)[cluster_N]
    mean_K = np.bincount(cluster_N, value_N) / size_K
    between = float(np.dot(size_K, (mean_K - value_N.mean()) ** 2)) / (clusters - 1)
    within = float(np.sum((value_N - mean_K[cluster_N]) ** 2)) / (count - clusters)
    size = (count - float(np.dot(size_K, size_K)) / count) / (clusters - 1)
    below = between + (size - 1) * within
    return min(max((between - within) / below, 0.0), 1.0) if below > 0 else 0.0


def _of_clusters(
    part_K: np.ndarray, weight_K: np.ndarray, variance_K: np.ndarray
) -> tuple[float, float]:
    """The variance of a weighted mean of clusters, and its degrees of freedom.

    `variance_K` are those of the clusters' means under the working model, but for a factor. The
    estimate is unbiased under it, and consistent whatever the model (Bell & McCaffrey 2002).
    """
    if len(part_K) < 2:
        return 0.0, 1.0
    # A cluster's mean less the whole mean has the covariance v_s δ_st − a_s − a_t + k.
    a_K = weight_K * variance_K
    k = float(np.dot(weight_K, a_K))
    left_K = variance_K - 2 * a_K + k
    c_K = a_K * weight_K / np.where(left_K > 0, left_K, 1.0)
    estimate = float(np.dot(c_K, (part_K / weight_K) ** 2))
    zero, one, two = (float(np.dot(c_K, a_K**power)) for power in (0, 1, 2))
    trace = k**2 * zero**2 + 2 * two * zero + 2 * one**2 - 4 * k * zero * one
    trace += float(np.dot(c_K**2, left_K**2 - (k - 2 * a_K) ** 2))
    return estimate, float(np.dot(c_K, left_K)) ** 2 / trace


def pigeonhole_draws(score_R: np.ndarray, part_RK: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mean in each of B draws of the crossed bootstrap: runs and clusters drawn anew, apart.

    Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics 1, 2007); Owen & Eckles,
    "Bootstrapping data arrays of arbitrary order" (ibid. 6, 2012): of each, as many as there are,
    with replacement; a cell counts as often as its run times as often as its cluster. Draws depend
    on the seed and the numbers of runs and clusters alone, so that those of two upstreams can be
    subtracted. With n of either its spread is that of n − 1 of n, and what both share counts up to
    three times.
    """
    times_BR = _draws(len(score_R), seed)
    times_BK = _draws(part_RK.shape[1], seed + 1)
    mean_B = times_BR @ score_R.astype(np.float32)
    moved_B = np.einsum("bk,bk->b", times_BR @ part_RK.astype(np.float32), times_BK)
    found: np.ndarray = (mean_B + moved_B).astype(np.float64) / len(score_R)
    return found


def pigeonhole_interval(draws_B: np.ndarray) -> list[float]:
    """The 95 % percentile interval of draws."""
    low, high = np.quantile(draws_B, [LEVEL / 2, 1 - LEVEL / 2])
    return [float(low), float(high)]


def wild_p(crossed: Crossed, seed: int = 0) -> float | None:
    """Two-sided p of a mean of 0 by the wild cluster bootstrap, for few clusters; None for one.

    Clusters' differences from 0 are multiplied by Webb's six weights ("Reworking wild bootstrap
    based inference for clustered errors", 2014), as the null says that they may be, and the
    clusters' t computed anew (Cameron, Gelbach & Miller, REStat 90, 2008). All combinations of up
    to five clusters, else 9,999 drawn ones with the observed one.
    """
    count = crossed.clusters
    if count < 2:
        return None
    part_K = crossed.part_K + crossed.mean * crossed.weight_K  # about 0, as under the null

    def t(parts_BK: np.ndarray) -> np.ndarray:
        mean_B = parts_BK.sum(axis=1)
        rest_BK = parts_BK - mean_B[:, None] * crossed.weight_K
        error_B = np.sqrt(np.square(rest_BK).sum(axis=1) * count / (count - 1))
        return np.abs(mean_B) / np.maximum(error_B, 1e-12)

    observed = float(t(part_K[None])[0]) * (1 - 1e-9)
    if count <= ENUMERABLE:
        places = np.indices((len(WEBB),) * count).reshape(count, -1).T
        return float(np.mean(t(WEBB[places] * part_K) >= observed))
    generator = np.random.default_rng(seed)
    drawn = WEBB[generator.integers(0, len(WEBB), (WILD_DRAWS, count))] * part_K
    return float((1 + np.count_nonzero(t(drawn) >= observed)) / (1 + WILD_DRAWS))


@lru_cache(maxsize=8)
def _draws(count: int, seed: int) -> np.ndarray:
    """How often each of `count` is in each draw [DRAWS, count]."""
    generator = np.random.default_rng([seed, count])
    chosen = generator.integers(0, count, size=(DRAWS, count))
    rows = np.arange(DRAWS)[:, None] * count
    counts = np.bincount((rows + chosen).ravel(), minlength=DRAWS * count)
    return counts.astype(np.float32).reshape(DRAWS, count)
