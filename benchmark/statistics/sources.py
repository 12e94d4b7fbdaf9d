"""Over what an interval and a test generalise: runs, and the recordings or speakers of the test.

The strongest statement that a result allows is the default: over runs × speakers where the speakers
of the test recordings are known and five or more; over runs × recordings else, of whoever was
recorded; over the runs alone where no predictions are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from barlow_speech.benchmark.statistics.crossed import (
    MOST_CLUSTERS,
    Crossed,
    crossed,
    pigeonhole_draws,
    pigeonhole_interval,
    wild_p,
)
from barlow_speech.benchmark.statistics.influence import Clusters, influence, parts
from barlow_speech.benchmark.statistics.predictions import Predictions
from barlow_speech.benchmark.statistics.results import TaskResult, shares_levels, values_by_seed
from barlow_speech.benchmark.statistics.variance import split_variance
from barlow_speech.upstream.common.text import listed

FEWEST_SPEAKERS = 5  # of fewer, nothing is said about others
WILD = 10  # speakers, up to which the wild cluster bootstrap is shown

# What the levels of a source are called where an interval is over them.
NAMES = {
    "init": "initialisations",
    "order": "orders",
    "train_resample": "training sets",
    "pretrain_seed": "pretrainings",
    "split": "splits",
}


@dataclass(frozen=True)
class Scope:
    """Over what a statement about results is, and what it cannot say.

    `limit` is a sentence without its end; with `silent` nothing may be said about other speakers,
    so that nothing is separated. Without `clusters` the statement is over the runs alone.
    """

    over: str
    clusters: Clusters | None
    limit: str = ""
    silent: bool = False


def scope(*results: TaskResult) -> Scope:
    """The scope of one result, or of a comparison of several that judged the same recordings."""
    runs = _runs_name(results[0])
    for result in results:
        if usable(result) is None:
            return Scope(
                runs,
                None,
                "no predictions are stored, so that nothing is known about other recordings or "
                "speakers",
            )
    several = min(len(result.values) for result in results) > 1
    rows = f"{runs} × " if several else ""
    known = [one for one in map(usable, results) if one is not None]
    count = min((one.speaker_count for one in known if one.speaker_count), default=None)
    if count is None:
        return Scope(
            f"{rows}recordings",
            "recordings",
            "the speakers of the test recordings are not known, and recordings of one speaker are "
            "alike",
        )
    if count < FEWEST_SPEAKERS:
        who = "one speaker" if count == 1 else f"{count} speakers"
        return Scope(
            f"{rows}recordings of {who}",
            "recordings",
            f"the test recordings are of {who}, who can say nothing about others",
            silent=True,
        )
    return Scope(f"{rows}speakers", "speakers")


def usable(result: TaskResult) -> Predictions | None:
    """The predictions of a result, if there are those of every run."""
    kept = result.predictions
    return kept if kept is not None and len(kept.runs) == len(result.values) else None


def same_recordings(a: TaskResult, b: TaskResult) -> bool:
    """Whether both judged the same recordings, as far as is known."""
    one, two = usable(a), usable(b)
    if one is None or two is None:
        return True
    if one.recordings and two.recordings and one.recordings != two.recordings:
        return False
    return one.truth == two.truth and one.class_names == two.class_names


def of_result(result: TaskResult, clusters: Clusters | None = None) -> Crossed | None:
    """A result over its sources; None over runs alone, and where its runs cannot be told apart.

    `clusters` are by default those of its scope. Runs that share levels have the variance that the
    split of their sources has.
    """
    chosen, kept = clusters or scope(result).clusters, usable(result)
    if chosen is None or kept is None:
        return None
    runs = None
    if shares_levels(result):
        split = split_variance(result)
        if split.sem is None:
            return None
        fewest = min(1 + max(levels) for levels in result.levels.values() if max(levels))
        runs = (split.sem**2, fewest - 1.0)
    return _of_result(kept, result.metric, result.values, chosen, runs)


def of_pair(
    a: TaskResult, b: TaskResult, runs: tuple[tuple[int, int], ...], clusters: Clusters
) -> Crossed:
    """The difference a − b over its sources; `runs` are the places of the shared seeds in both."""
    one, two = usable(a), usable(b)
    assert one is not None and two is not None
    values = tuple(a.values[i] - b.values[j] for i, j in runs)
    return _of_pair(one, two, a.metric, values, runs, clusters)


@lru_cache(maxsize=4096)
def _of_result(
    kept: Predictions,
    metric: str,
    values: tuple[float, ...],
    clusters: Clusters,
    runs: tuple[float, float] | None,
) -> Crossed:
    known = influence(kept, metric, clusters)
    rows = parts(kept, metric, clusters, range(len(values)))
    return crossed(
        np.array(values), rows, known.mean_N, known.cluster_N, known.weight_K, known.size_K, runs
    )


@lru_cache(maxsize=4096)
def _of_pair(
    a: Predictions,
    b: Predictions,
    metric: str,
    values: tuple[float, ...],
    runs: tuple[tuple[int, int], ...],
    clusters: Clusters,
) -> Crossed:
    ours, theirs = influence(a, metric, clusters), influence(b, metric, clusters)
    rows = zip(
        parts(a, metric, clusters, [i for i, _ in runs]),
        parts(b, metric, clusters, [j for _, j in runs]),
    )
    return crossed(
        np.array(values),
        (one - two for one, two in rows),
        ours.mean_N - theirs.mean_N,
        ours.cluster_N,
        ours.weight_K,
        ours.size_K,
    )


def beside(a: TaskResult, b: TaskResult) -> tuple[list[float] | None, float | None]:
    """The same difference by other methods: crossed bootstrap interval, wild cluster bootstrap p.

    None where predictions are not stored or not of the same recordings, for more clusters than the
    first is drawn for, and for more speakers than the second is meant for.
    """
    clusters = scope(a, b).clusters
    runs = paired(a, b)
    if clusters is None or not runs or not same_recordings(a, b) or shares_levels(a):
        return None, None
    found = of_pair(a, b, runs, clusters)
    wild = wild_p(found) if clusters == "speakers" and found.clusters <= WILD else None
    if found.clusters > MOST_CLUSTERS:
        return None, wild
    ours, theirs = (
        pigeonhole_draws(
            np.array([result.values[i] for i in places]),
            np.array(list(parts(kept, a.metric, clusters, places))),
        )
        for result, kept, places in zip((a, b), map(usable, (a, b)), zip(*runs))
        if kept is not None
    )
    return pigeonhole_interval(ours - theirs), wild


def paired(a: TaskResult, b: TaskResult) -> tuple[tuple[int, int], ...]:
    """The places of the runs of one seed in both results."""
    runs_a, runs_b = values_by_seed(a), values_by_seed(b)
    places = {seed: place for place, seed in enumerate(runs_b)}
    return tuple((i, places[seed]) for i, seed in enumerate(runs_a) if seed in places)


def new_speaker(a: TaskResult, b: TaskResult) -> tuple[float, int] | None:
    """How probably a speaker's recordings are recognised better by `a`, and of how many speakers.

    The share of the test speakers of whom `a` has the more right, over all runs, ties counting one
    half: the effect size that `A12` is for runs. None where speakers are not known.
    """
    one, two = usable(a), usable(b)
    if one is None or two is None or one.speaker_N is None or not same_recordings(a, b):
        return None
    gain_N = (
        influence(one, a.metric, "speakers").right_N - influence(two, b.metric, "speakers").right_N
    )
    gain_K = np.round(np.bincount(one.speaker_N, gain_N), 9)
    return float((np.sign(gain_K) + 1).mean() / 2), len(gain_K)


def _runs_name(result: TaskResult) -> str:
    """What varied between runs that share levels, else just runs."""
    if not shares_levels(result):
        return "runs"
    varied = [NAMES.get(name, name) for name, levels in result.levels.items() if max(levels)]
    return listed(varied)


def over_text(results: Sequence[TaskResult]) -> str:
    """Over what the intervals of results are: once where it is the same for all."""
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(scope(result).over, []).append(f"{result.task} of {result.corpus}")
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(
        f"{over} for {listed(list(dict.fromkeys(places)), most=4)}"
        for over, places in found.items()
    )


def limits(results: Sequence[TaskResult]) -> list[str]:
    """A sentence for each thing that intervals over the default sources cannot say, each once."""
    found: dict[str, list[str]] = {}
    for result in results:
        limit = scope(result).limit
        if limit:
            name = f"{result.task} of {result.corpus}"
            found.setdefault(limit, []).append(name)
    return [
        f"On {listed(list(dict.fromkeys(places)), most=4)}: {limit}."
        for limit, places in found.items()
    ]
