"""How much of the spread between runs comes from which source.

A result's `sources` give, for each run, the level of each source: the seed of the head's
initialisation, of the order of the batches, and so on. Where the levels of one source meet those of
another in a balanced design (5 initialisations × 10 orders, 3 pretrainings × 20 runs of the head),
the variance of a run is the sum of a part for each source and of their interactions: the crossed
random model of Searle, Casella & McCulloch, "Variance Components" (1992), chapter 4. Where sources
vary together, as one seed that draws all, no arithmetic can tell them apart, and none is tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from barlow_speech.benchmark.statistics.results import DIGITS, LEVEL, TaskResult
from barlow_speech.upstream.common.text import listed

DRAWS = 20_000  # behind every interval
REPEATS = "repeats"  # the part of runs that agree in every recorded source


@dataclass(frozen=True)
class Component:
    """A source's part of the variance of one run, as squared fractions."""

    name: str  # "init"; "init × order" for their interaction; "init and order" if they go together
    levels: int  # of it (of the combinations, for an interaction)
    df: int
    mean_square: float
    estimate: float  # by the method of moments: may be negative
    variance: float  # the same, 0 where that is negative
    share: float  # of the sum of all variances
    variance_ci95: tuple[float, float]
    share_ci95: tuple[float, float]

    @property
    def std(self) -> float:
        """As a standard deviation, in the unit of the scores."""
        return math.sqrt(self.variance)


@dataclass(frozen=True)
class VarianceSplit:
    """The parts of a result's variance, or why there are none; see `split_variance`."""

    components: tuple[Component, ...]
    total: float | None  # the variance of a run that draws every source anew
    sem: float | None  # standard error of the mean of the runs
    mean_ci95: tuple[float, float] | None
    reason: str | None  # a sentence: why the variance is not split
    notes: tuple[str, ...]  # sentences for the reader of the numbers


@dataclass(frozen=True)
class _Factor:
    """Sources that change together, and their level in each run."""

    names: tuple[str, ...]
    level_of_run: tuple[int, ...]

    @property
    def name(self) -> str:
        return " and ".join(self.names)

    @property
    def levels(self) -> int:
        return 1 + max(self.level_of_run)


def split_variance(result: TaskResult, seed: int = 0) -> VarianceSplit:
    """Split the variance of a result's runs into its sources by the method of moments.

    Mean squares are set equal to their expectations under the crossed random model with all
    interactions (Searle, Casella & McCulloch 1992, section 4.3). Sources whose levels change
    together are one ("init and order"). A source with a new level in each run is the part that is
    left within the combinations of the others. With one run for each combination that part and the
    interaction of all sources are one, and a note says so.

    A negative estimate stands as a variance of 0, and a note says so. Intervals are generalised
    confidence intervals (Weerahandi, JASA 88, 1993; Hannig, Iyer & Patterson, JASA 101, 2006): each
    mean square over its expectation is chi-square distributed if effects are normal, which for few
    levels is an assumption. `sem` and `mean_ci95` are of the mean of the runs, taking into account
    that runs share levels; `summary`'s take runs to be independent and are too short here.

    There are no components but a `reason`, where no source or one alone varied, where all vary
    together, where combinations are missing or not equally often there, and where all runs scored
    the same.

    Raises:
        BarlowSpeechError: the sources are not one dict a run, with the same keys in each.
    """
    split = _split_values(result.values, tuple(result.levels.items()), seed)
    if split.reason is None:
        return split
    return replace(split, reason=f"The variance of {result} is not split: {split.reason}.")


# Tables, figures and pages ask for the same split: each is worked out once per process.
@lru_cache(maxsize=4096)
def _split_values(
    scores: tuple[float, ...], levels_of: tuple[tuple[str, tuple[int, ...]], ...], seed: int
) -> VarianceSplit:
    """`split_variance`, whose reason is the end of a sentence."""
    values = np.round(np.asarray(scores, dtype=np.float64), DIGITS)
    if not levels_of:
        return _not_split("what varied in each run is not recorded")
    constant = [name for name, levels in levels_of if max(levels) == 0]
    joined: dict[tuple[int, ...], list[str]] = {}
    for name, levels in levels_of:
        if name not in constant:
            joined.setdefault(levels, []).append(name)
    factors = [_Factor(tuple(names), levels) for levels, names in joined.items()]
    # With as many levels as runs, it is what differs between runs that agree in all others.
    own = next((one for one in factors if one.levels == len(values)), None)
    factors = [one for one in factors if one is not own]
    if not factors:
        return _not_split(_why_not(own))
    table = _table(values, factors)
    if table is None:
        return _not_split(
            f"not every combination of {listed([one.name for one in factors], '×')} has been run "
            "equally often; run what is missing"
        )
    if np.ptp(values) == 0:
        return _not_split("every run has the same score")
    return _split(table, factors, own, constant, np.random.default_rng(seed))


def variance_text(result: TaskResult, split: VarianceSplit) -> str:
    """The split in plain words, in a paragraph."""
    if split.reason is not None or split.total is None:
        return split.reason or ""
    parts = [
        f"{one.name} {100 * one.share:.0f} % ({100 * one.share_ci95[0]:.0f} to "
        f"{100 * one.share_ci95[1]:.0f} %)"
        for one in split.components
    ]
    return " ".join(
        [
            f"A run of {result} has a standard deviation of {100 * math.sqrt(split.total):.2f} "
            f"points; of its variance, with 95 % intervals: {', '.join(parts)}.",
            *split.notes,
        ]
    )


def _not_split(why: str) -> VarianceSplit:
    return VarianceSplit((), None, None, None, why, ())


def _why_not(own: _Factor | None) -> str:
    if own is None:
        return "no source varied between the runs"
    if len(own.names) == 1:
        return f"{own.name} alone varied, so all of it is from there"
    return (
        f"{own.name} changed together from run to run, so their parts cannot be told apart; a "
        "protocol that crosses their levels can"
    )


def _table(values: np.ndarray, factors: Sequence[_Factor]) -> np.ndarray | None:
    """The values, an axis for each factor and one for the runs of a combination; None if uneven."""
    shape = tuple(one.levels for one in factors)
    combination = np.ravel_multi_index(tuple(np.array(one.level_of_run) for one in factors), shape)
    counts = np.bincount(combination, minlength=math.prod(shape))
    if np.ptp(counts) != 0:
        return None
    return values[np.argsort(combination, kind="stable")].reshape(*shape, -1)


def _split(
    table: np.ndarray,
    factors: Sequence[_Factor],
    own: _Factor | None,
    constant: Sequence[str],
    generator: np.random.Generator,
) -> VarianceSplit:
    *shape, repeats = table.shape
    places = range(len(shape))
    subsets = [
        frozenset(axes) for size in range(1, len(shape) + 1)
        for axes in itertools.combinations(places, size)
    ]  # fmt: skip
    squares, df = _mean_squares(table, subsets)
    # Row: component; column: mean square. E[MS of S] is the sum, over each T that holds S, of
    # (runs for a level of T) times the variance of T, and of the residual; this is its inverse.
    weights = np.zeros((len(squares), len(squares)))
    # How many levels of each component the mean of all runs averages over.
    levels = np.array([math.prod(shape[i] for i in subset) for subset in subsets])
    for row, subset in enumerate(subsets):
        for column, other in enumerate(subsets):
            if subset <= other:
                weights[row, column] = (-1.0) ** len(other - subset) * levels[row] / table.size
    names = [" × ".join(factors[i].name for i in sorted(subset)) for subset in subsets]
    notes = []
    if repeats > 1:
        residual = own.name if own is not None else REPEATS
        names.append(residual)
        levels = np.append(levels, table.size)
        weights[-2, -1] = -1.0 / repeats
        weights[-1, -1] = 1.0
    else:
        rest = own.name if own is not None else "whatever is random in a run beyond its sources"
        notes.append(f"{names[-1]} holds {rest} as well: each combination was run once.")

    estimates = weights @ squares
    variances = np.maximum(estimates, 0.0)
    total = float(variances.sum())
    sem = math.sqrt(float((variances / levels).sum()))
    # What the parameters may be, given the mean squares that they led to.
    pivots_DC = (df * squares / generator.chisquare(df, size=(DRAWS, len(df)))) @ weights.T
    pivots_DC = np.maximum(pivots_DC, 0.0)
    errors_D = np.sqrt((pivots_DC / levels).sum(axis=1)) * generator.standard_normal(DRAWS)
    mean_low, mean_high = _ends(float(table.mean()) + errors_D)
    shares_DC = pivots_DC / pivots_DC.sum(axis=1, keepdims=True)
    components = tuple(
        Component(
            name=name,
            levels=int(levels[i]),
            df=int(df[i]),
            mean_square=float(squares[i]),
            estimate=float(estimates[i]),
            variance=float(variances[i]),
            share=float(variances[i] / total),
            variance_ci95=_ends(pivots_DC[:, i]),
            share_ci95=_ends(shares_DC[:, i]),
        )
        for i, name in enumerate(names)
    )
    negative = [one.name for one in components if one.estimate < 0]
    if negative:
        notes.append(
            f"The estimate for {listed(negative)} is negative, as happens where a part is small; "
            "it is given as 0."
        )
    if constant:
        notes.append(f"What did not vary has no part in this: {listed(constant)}.")
    return VarianceSplit(
        components, total, sem, (max(mean_low, 0.0), min(mean_high, 1.0)), None, tuple(notes)
    )


def _mean_squares(
    table: np.ndarray, subsets: Sequence[frozenset[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean square and the degrees of freedom of each subset of the axes but the last.

    One more stands at the end for the runs within a combination, where there are several.
    """
    *shape, repeats = table.shape
    means = {frozenset[int](): table.mean()} | {
        subset: table.mean(
            axis=tuple(axis for axis in range(table.ndim) if axis not in subset), keepdims=True
        )
        for subset in subsets
    }
    squares, df = [], []
    for subset in subsets:
        effect = sum(
            (-1.0) ** len(subset - inner) * mean for inner, mean in means.items() if inner <= subset
        )
        degrees = math.prod(shape[i] - 1 for i in subset)
        runs = table.size / math.prod(shape[i] for i in subset)
        squares.append(runs * float(np.sum(np.square(effect))) / degrees)
        df.append(degrees)
    if repeats > 1:
        within = table - table.mean(axis=-1, keepdims=True)
        df.append(table.size - table.size // repeats)
        squares.append(float(np.sum(np.square(within))) / df[-1])
    # Scores differ by 1e-9 or not at all (DIGITS): less than the square of that is rounding.
    return np.where(np.array(squares) < 1e-24, 0.0, squares), np.array(df)


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [LEVEL / 2.0, 1.0 - LEVEL / 2.0])
    return float(low), float(high)
