"""Where the variance of a score comes from, and how many speakers and runs a comparison needs.

A mean over R runs and K speakers varies by a/R + b/K + c/RK, whose parts are those that `crossed`
finds; with them the variance for any other R and K is known, and so is what it takes to tell apart
two upstreams that differ by so much. Of a few speakers all this is a rough guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from barlow_speech.benchmark.statistics.crossed import Crossed
from barlow_speech.benchmark.statistics.influence import influence
from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.benchmark.statistics.results import LEVEL, TaskResult, shares_levels
from barlow_speech.benchmark.statistics.sources import (
    NAMES,
    levels_of,
    of_pair,
    of_result,
    paired,
    same_recordings,
    scope,
    usable,
)
from barlow_speech.benchmark.statistics.variance import split_variance
from barlow_speech.upstream.common.text import counted

POWER = 0.8
MOST = 1_000_000  # speakers or recordings; more are not planned
NARROWER = 1.05  # of an interval: what less than this changes is called nothing


@dataclass(frozen=True)
class Part:
    """What one source adds to the variance of a score."""

    name: str
    variance: float  # of the mean over all runs and recordings


def parts_of(result: TaskResult) -> list[Part]:
    """The parts of the variance of a result's score; none where predictions are not stored.

    What is below 0 by its estimate is 0. Runs are split into their sources where a design tells
    them apart; recordings and speakers where there are several recordings of a speaker.
    """
    result = replace(result, over=DEFAULT)
    kept, found = usable(result), of_result(result)
    clusters = scope(result).clusters
    if found is None or kept is None or clusters is None:
        return []
    of_runs = max(found.runs_variance - found.both_variance, 0.0)
    if shares_levels(result):
        split = split_variance(result).components
        rows = [Part(_named(one.name), one.variance / one.levels) for one in split]
    else:
        rows = [Part(_heads(result), of_runs)]
    of_clusters = max(found.clusters_variance - found.both_variance, 0.0)
    known = influence(kept, result.metric, clusters)
    # Under the model of `crossed`: recordings of a speaker are alike by the correlation.
    square_K = np.square(known.weight_K)
    alike = found.correlation * float(square_K.sum())
    each = (1 - found.correlation) * float((square_K / known.size_K).sum())
    columns = [Part("recordings", of_clusters)]
    if clusters == "speakers":
        share = alike / (alike + each)
        columns = [
            Part("speakers", share * of_clusters), Part("recordings", (1 - share) * of_clusters)
        ]  # fmt: skip
    return [*rows, *columns, Part("runs on recordings", found.both_variance)]


def _heads(result: TaskResult) -> str:
    varied = [name for name, levels in result.levels.items() if max(levels)]
    other = [_named(name) for name in varied if name not in ("init", "order")]
    return " and ".join(["heads", *other])


def _named(name: str) -> str:
    for key, title in NAMES.items():
        name = name.replace(key, title)
    return name


@dataclass(frozen=True)
class Plan:
    """What it takes to find a difference, with the parts of the variance as they are."""

    gain: float
    runs: int  # that there are
    clusters: int  # that there are
    needed: int | None  # clusters; None if a million are too few
    enough_runs: int  # more narrow the interval by less than 5 %, with as many clusters


def plan(differences: Sequence[Crossed], gain: float) -> Plan:
    """For the mean of the parts of several differences between upstreams, as found of each.

    With `needed` clusters like these, and as many runs as there are, a difference of `gain` is
    found in 80 of 100 repetitions by a single test at 5 %.
    """
    runs, clusters = differences[0].runs, differences[0].clusters
    both = float(np.mean([one.both_variance for one in differences]))
    run = max(float(np.mean([one.runs_variance for one in differences])) - both, 0.0)
    cluster = max(float(np.mean([one.clusters_variance for one in differences])) - both, 0.0)

    def variance(of_runs: float, of_clusters: float) -> float:
        a, b = runs / of_runs, clusters / of_clusters
        return a * run + b * cluster + a * b * both

    def finds(count: int) -> bool:
        return _reach(count - 1) ** 2 * variance(runs, count) <= gain**2

    limit = NARROWER**2 * variance(math.inf, clusters)
    enough = 1
    while enough < 10_000 and variance(enough, clusters) > limit:
        enough += 1
    return Plan(gain, runs, clusters, _fewest(finds), enough)


def _reach(df: float) -> float:
    """The standard errors in a difference that a test at 5 % finds in 80 of 100 repetitions."""
    return float(stdtrit(df, POWER) - stdtrit(df, LEVEL / 2))


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number, two or more, that is enough, as all above it are; None if none is."""
    few, many = 1, 2
    while many < MOST and not enough(many):
        few, many = many, 2 * many
    while many - few > 1 and many < MOST:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many if many < MOST else None


def plan_text(group: Sequence[TaskResult], gain: float = 0.02) -> str | None:
    """What a study of these upstreams on this task needs, as sentences; None where it is unknown.

    The parts of the variance are the means over all pairs that judged the same recordings. Of
    pretrainings, `pretrainings_text` speaks.
    """
    group = [replace(result, over=DEFAULT) for result in group]
    scoped = scope(*group)
    if scoped.clusters is None or scoped.silent or any(map(shares_levels, group)):
        return None
    first = group[0]
    where = f"{first.task} of {first.corpus}"
    points = f"{100 * gain:g} points"
    found = [
        of_pair(a, b, scoped)
        for i, a in enumerate(group)
        for b in group[i + 1 :]
        if same_recordings(a, b) and len(paired(a, b)) > 1
    ]
    if not found:
        return None
    got = plan(found, gain)
    if got.needed is None:
        return (
            f"With {counted(got.runs, 'run')} of a head, no number of {scoped.clusters} separates "
            f"{points} on {where}; take more runs."
        )
    needed = f"some {got.needed}"
    return (
        f"To separate {points} on {where} (in 80 of 100 studies, by one test at 5 %) takes "
        f"{needed} {scoped.clusters} like these {got.clusters}; more than "
        f"{counted(got.enough_runs, 'run')} of a head narrow the interval by less than a twentieth."
    )


def pretrainings_text(result: TaskResult, gain: float = 0.02) -> str | None:
    """How many pretrainings of either upstream it takes, where a result has several.

    Of two upstreams whose pretrainings differ as those of this one do: 2 s² / M and Student's t,
    with s² of the means over as many heads as there are.
    """
    found = of_result(replace(result, over=Over("pretrainings", "")))
    if found is None or levels_of(result, "pretrainings") < 2 or found.runs_variance == 0.0:
        return None
    variance = 2 * found.runs * found.runs_variance
    count = _fewest(lambda count: _reach(2 * (count - 1)) ** 2 * variance / count <= gain**2)
    if count is None:
        return None
    return (
        f"To separate {100 * gain:g} points on {result.task} of {result.corpus} between "
        f"upstreams that are pretrained as {result.upstream} is takes some {count} "
        f"pretrainings of each like these {found.runs}, with as many heads, on these recordings."
    )
