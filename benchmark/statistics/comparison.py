"""What two upstreams say about each other on one task: difference, interval, test, effect.

A run is a head trained anew on the same frozen features, and every run is evaluated on the same
recordings of the same speakers. By default interval and test generalise over both, runs ×
speakers (`sources`), and those over the runs alone stand beside them. Neither says anything about
another corpus, or about another pretraining where there is one.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from barlow_speech.benchmark.statistics.intervals import mean_interval, summary
from barlow_speech.benchmark.statistics.results import (
    DIGITS,
    LEVEL,
    TaskResult,
    shares_levels,
    values_by_seed,
)
from barlow_speech.benchmark.statistics.sources import (
    dependent_runs,
    new_speaker,
    of_pair,
    scope,
    why_apart,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError

NO_SEED = "they share no seed"

SIGN_FLIPS = 19_999  # drawn when there are too many to enumerate; with the observed one, 20,000

ENUMERABLE = 16  # differences up to which all sign flips are enumerated (2^15 of them)


def compare(a: TaskResult, b: TaskResult, seed: int = 0) -> dict[str, Any]:
    """How upstream `a` differs from `b` on one task, paired by seed and by test recording.

    Where a result does not record its seeds, run i is taken to have seed i. Keys:

    - `a`, `b`: the upstreams; `n`: the number of shared seeds;
    - `difference`: mean of the paired differences a - b: of the runs of one seed, or where it is
      `over` splits or pretrainings, of their means, about which the interval stands;
    - `over`: over what the next two generalise: what the results ask for, or else the strongest
      that they allow (`scope`);
    - `ci95`, `p`: 95 % interval and two-sided p of the difference over these sources (`crossed`);
      `p` is the one that separates upstreams. Over the runs alone they are the next two;
    - `runs_ci95`, `p_sign_flip`: over the runs alone: BCa interval (Efron 1987), and paired
      permutation test of the mean difference (Fisher 1935), by all sign flips where they can be
      enumerated, else drawn ones, with the observed one counted so that p is never 0 (Phipson &
      Smyth 2010);
    - `p_wilcoxon`: Wilcoxon's signed-rank test of the runs (1945), zero differences left out;
    - `a12`: the probability that a run of `a` is better than a run of `b`, ties counting one half
      (Vargha & Delaney 2000), over all pairs of runs; `a12_ci95`: its score interval, paired by
      seed (`improvement_interval`);
    - `speakers_better`: the share of the test speakers of whom `a` recognises more, ties counting
      one half: the probability for a new one; `speakers_better_ci95`: its Wilson interval (1927);
    - `untested`: why there is no test, as the end of a sentence; None where there is one.

    Differences that are all zero have p = 1. With one shared seed the intervals over the runs are
    None and their p is 1; with none, every number is None. Runs that are not independent
    (`shares_levels`) are not tested, whoever asks: their p and intervals are None. Neither are
    upstreams that judged different recordings, those whose test recordings are of fewer than five
    speakers, nor single runs of which no more is known than their score.

    Raises:
        BarlowSpeechError: the two are of different tasks, corpora or metrics, or one of them is
            refused by `by_task`.
    """
    if (a.task, a.corpus, a.metric) != (b.task, b.corpus, b.metric):
        raise BarlowSpeechError(
            f"{a} and {b} differ in task, corpus or metric; compare like results."
        )
    runs_a, runs_b = values_by_seed(a), values_by_seed(b)
    shared = [run for run in runs_a if run in runs_b]
    numbers = _paired(
        tuple(runs_a[run] for run in shared), tuple(runs_b[run] for run in shared), seed
    )
    untested = None if shared else NO_SEED
    if shares_levels(a) or shares_levels(b):
        numbers = numbers | dict.fromkeys(("runs_ci95", "p_sign_flip", "p_wilcoxon", "a12_ci95"))
    if dependent_runs(a) or dependent_runs(b):
        untested = "runs that share levels are not independent"
    elif shared:
        untested = why_apart(a, b)
    better = new_speaker(a, b)
    of = scope(a, b)
    said = {
        "over": "runs",
        "ci95": numbers["runs_ci95"],
        "p": numbers["p_sign_flip"],
        "speakers_better": better and better[0],
        "speakers_better_ci95": better and wilson(*better),
    }
    if not untested and of.silent and of.clusters is None:
        untested = of.limit
    if untested:
        said |= {"ci95": None, "p": None}
    elif not of.runs_alone:
        found = of_pair(a, b, of)
        untested = of.limit if of.silent else None
        p = None if of.silent else found.p
        most = a.bounds[1] - a.bounds[0]
        said |= {"over": of.over, "ci95": found.interval(-most, most), "p": p}
        if of.rows not in ("", "runs"):
            said["difference"] = float(np.round(found.mean, DIGITS))
    return {"a": a.upstream, "b": b.upstream, **numbers, **said, "untested": untested}


def test_pairs(pairs: Iterable[tuple[TaskResult, TaskResult]]) -> list[dict[str, Any]]:
    """`compare` of each pair, with Holm's correction over them all: the family of one question.

    The only place where differences are tested and corrected. Adds to each `p_holm` (the corrected
    `p`) and `separable`, whether it is under 5 %; and over the runs alone `p_runs_holm` (the
    corrected `p_sign_flip`), `separable_runs`, and `p_wilcoxon_holm` (the corrected `p_wilcoxon`).
    A pair that has no p has no corrected one, and takes no part in the correction.
    """
    compared = [compare(a, b) for a, b in pairs]
    for raw, name in (
        ("p", "p_holm"), ("p_sign_flip", "p_runs_holm"), ("p_wilcoxon", "p_wilcoxon_holm"),
    ):  # fmt: skip
        corrected = iter(holm([pair[raw] for pair in compared if pair[raw] is not None]))
        for pair in compared:
            pair[name] = None if pair[raw] is None else next(corrected)
    for pair in compared:
        for name, p in (("separable", "p_holm"), ("separable_runs", "p_runs_holm")):
            pair[name] = pair[p] is not None and pair[p] < LEVEL
    return compared


test_pairs.__test__ = False  # type: ignore[attr-defined]  # it is no test of pytest's


def compare_all(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """`test_pairs` of every two results of one task.

    The family is one task of one corpus, so that adding a task to a table changes nothing about
    the others.
    """
    return test_pairs(itertools.combinations(results, 2))


def compare_against(reference: str, results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """`test_pairs` of every other upstream with the reference, on one task."""
    other = next(result for result in results if result.upstream == reference)
    return test_pairs((result, other) for result in results if result is not other)


def best_of(means: Mapping[str, float]) -> list[str]:
    """The names of the greatest mean: several where it is the same to nine digits."""
    rounded = {name: round(mean, DIGITS) for name, mean in means.items()}
    most = max(rounded.values())
    return [name for name, mean in rounded.items() if mean == most]


def leaders(results: Sequence[TaskResult]) -> list[str]:
    """The upstreams of the best mean on one task, and those that cannot be separated from it.

    Separated means below it in `compare_all`; of several best means, which are equal to nine
    digits, below each. Best first, the others in their given order.
    """
    means = {one.upstream: summary(one.values)["mean"] for one in results}
    best = best_of(means)
    above: dict[str, set[str]] = {name: set() for name in means}
    for pair in compare_all(results):
        if pair["separable"]:
            # The higher mean of all runs may be the lower one over the seeds that both have.
            winner, loser = (pair["a"], pair["b"])[:: 1 if pair["difference"] > 0 else -1]
            above[loser].add(winner)
    near = [name for name in means if name not in best and not above[name].issuperset(best)]
    return [*best, *near]


def why_untested(results: Sequence[TaskResult]) -> str | None:
    """Why upstreams on one task are not tested, as the end of a sentence; None where they are.

    One alone is not: there is nothing to test it against.
    """
    reasons = [pair["untested"] for pair in compare_all(results)]
    if not reasons:
        return "there is nothing to compare with"
    tested = not any(map(dependent_runs, results)) and not all(reasons)
    return None if tested else next(filter(None, reasons))


def untested_pairs(results: Sequence[TaskResult]) -> list[tuple[str, str, str]]:
    """Every two upstreams on one task that are not tested, and why."""
    pairs = ((p["a"], p["b"], p["untested"]) for p in compare_all(results))
    return [pair for pair in pairs if pair[2]]


def tied_neighbours(results: Sequence[TaskResult]) -> tuple[int, int]:
    """Of every two that follow each other by mean on one task: how many are not separated, of all.

    What is not tested is not separated.
    """
    names = [one.upstream for one in sorted(results, key=lambda one: -float(np.mean(one.values)))]
    separable = {frozenset((p["a"], p["b"])) for p in compare_all(results) if p["separable"]}
    neighbours = [frozenset(pair) for pair in itertools.pairwise(names)]
    return sum(pair not in separable for pair in neighbours), len(neighbours)


def least_p(results: Sequence[TaskResult]) -> float | None:
    """The smallest corrected p that sign flips of so many runs can give; None if none is tested.

    The smallest of a pair is 2 of the 2^n flips, or of those drawn; Holm multiplies the first by
    the number of pairs.
    """
    shared = [pair["n"] for pair in compare_all(results) if pair["p"] is not None]
    if not shared:
        return None
    flips = 2.0 ** (1 - max(shared)) if max(shared) <= ENUMERABLE else 1 / (SIGN_FLIPS + 1)
    return min(1.0, len(shared) * flips)


def wilson(share: float, count: int) -> list[float]:
    """Wilson's 95 % interval (1927) of a share of `count`."""
    z = float(ndtri(1.0 - LEVEL / 2.0))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count)
    reach *= float(np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)))
    return [max(0.0, middle - reach), min(1.0, middle + reach)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of the p values of one family, in their given order."""
    count = len(p_values)
    corrected = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def sign_flip_p(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of the mean of paired differences under random signs (see `compare`).

    Zero differences change no flipped sum; if there is no other, p is 1.
    """
    sample = np.asarray(differences, dtype=np.float64)
    kept = sample[sample != 0]
    count = len(kept)
    if count == 0:
        return 1.0
    # Equal sums must compare equal whatever the order in which their terms were added.
    observed = abs(kept.sum()) - 1e-12 * np.abs(kept).sum()
    if count <= ENUMERABLE:
        # Flipping every sign leaves the absolute sum as it is: the first sign can stay fixed.
        codes = np.arange(2 ** (count - 1))
        signs = 1.0 - 2.0 * ((codes[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ kept) >= observed).mean())
    # Zeros stay in, so that comparisons of as many runs share one drawn table of signs.
    extreme = int((np.abs(_drawn_signs(len(sample), seed) @ sample) >= observed).sum())
    return (extreme + 1) / (SIGN_FLIPS + 1)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945), zero differences left out.

    Exact up to 16 differences, ties or not: it is the sign-flip test of the ranks. Beyond, SciPy's
    (exact up to 50 without ties, else the normal approximation corrected for ties). If no
    difference is left, p is 1.
    """
    sample = np.asarray(differences, dtype=np.float64)
    kept = sample[sample != 0]
    if len(kept) <= ENUMERABLE:
        return sign_flip_p(np.sign(kept) * _ranks(np.abs(kept)))
    from scipy import stats  # half a second, which most tables do without

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older SciPy warns when ties rule out the exact p
        return float(stats.wilcoxon(kept).pvalue)


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value, from 1; equal ones share their mean: `scipy.stats.rankdata`."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def improvement(a: Sequence[float], b: Sequence[float]) -> float:
    """P(A > B) + P(A = B) / 2 over all pairs of a value of `a` and one of `b`: A12.

    Vargha & Delaney (2000), equation 3: 0.5 is no effect, 1 is every run of `a` above every run of
    `b`.
    """
    return float(_wins(np.asarray(a), np.asarray(b)).mean())


def improvement_interval(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """95 % interval of `improvement(a, b)` for runs that are paired: run i of both has one seed.

    It holds the effects θ whose distance from the observed one is at most 1.96 standard errors *at
    θ* (Newcombe 2006, method 5), which keeps it inside 0..1 and gives it a width where one upstream
    beats the other in every run. The variance at θ is that of Hanley & McNeil (1982), scaled so
    that at the observed effect it is the one that the pairs show (DeLong et al. 1988; no less than
    1/n of independent runs', since that estimate leaves out terms of this order). Where every run
    of one is above every run of the other, the pairs show none and count as independent.

    Raises:
        BarlowSpeechError: there are not two pairs, or the two are not equally long.
    """
    from scipy import optimize

    if len(a) != len(b) or len(a) < 2:
        raise BarlowSpeechError(
            f"an interval of A12 needs two or more pairs of runs, not {len(a)} and {len(b)} runs."
        )
    wins, count = _wins(np.asarray(a), np.asarray(b)), len(a)
    observed = float(wins.mean())
    if 0.0 < observed < 1.0:
        # How run i of `a` does against all of `b`, and all of `a` against run i of `b`.
        shown = float(np.var(wins.mean(axis=1) + wins.mean(axis=0), ddof=1)) / count
        scale = max(shown / _improvement_variance(observed, count), 1.0 / count)
    else:
        scale = 1.0
    z = float(ndtri(1.0 - LEVEL / 2.0))

    def beyond(effect: float) -> float:
        """Under 0 inside the interval, over 0 outside."""
        return (effect - observed) ** 2 - z**2 * scale * _improvement_variance(effect, count)

    # It is above 0 at the ends and under 0 at the observed effect. An effect observed at an end is
    # a root itself, which the step aside keeps out of the search.
    step = 1e-9
    low = 0.0 if observed <= step else optimize.brentq(beyond, 0.0, min(observed, 1.0 - step))
    high = 1.0 if observed >= 1.0 - step else optimize.brentq(beyond, max(observed, step), 1.0)
    return [float(low), float(high)]


def _improvement_variance(effect: float, count: int) -> float:
    """Hanley & McNeil (1982) of A12 = `effect` between two independent samples of `count`."""
    shared = (1.0 - effect) / (2.0 - effect) + effect / (1.0 + effect)
    return effect * (1.0 - effect) * (1.0 + (count - 1) * shared) / count**2


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Entry (i, j) is 1 where a[i] is above b[j], 1/2 where they are equal, else 0."""
    difference = np.round(a[:, None] - b[None, :], DIGITS)
    return (np.sign(difference) + 1.0) / 2.0


@lru_cache(maxsize=4)
def _drawn_signs(count: int, seed: int) -> np.ndarray:
    """Random signs [SIGN_FLIPS, count]."""
    bits = np.random.default_rng(seed).integers(0, 2, size=(SIGN_FLIPS, count), dtype=np.int8)
    return (1 - 2 * bits).astype(np.int8)


# A leaderboard of 300 asks for each of its 45,000 pairs several times.
@lru_cache(maxsize=1 << 16)
def _paired(a: tuple[float, ...], b: tuple[float, ...], seed: int) -> dict[str, Any]:
    """The numbers of `compare` for values that are already aligned by seed."""
    numbers: dict[str, Any] = {"n": len(a)}
    if not a:
        names = ("difference", "runs_ci95", "p_sign_flip", "p_wilcoxon", "a12", "a12_ci95")
        return numbers | dict.fromkeys(names)
    sample_a, sample_b = np.asarray(a), np.asarray(b)
    differences = np.round(sample_a - sample_b, DIGITS)
    several = len(a) > 1
    return numbers | {
        "difference": float(differences.mean()),
        "runs_ci95": list(mean_interval(tuple(differences.tolist()), seed)) if several else None,
        "p_sign_flip": sign_flip_p(differences, seed),
        "p_wilcoxon": wilcoxon_p(differences),
        "a12": improvement(a, b),
        "a12_ci95": improvement_interval(a, b) if several else None,
    }
