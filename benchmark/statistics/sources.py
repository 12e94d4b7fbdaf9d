"""Over what an interval and a test generalise: runs, and the recordings or speakers of the test.

The strongest statement that a result allows is the default: over runs × speakers where the speakers
of the test recordings are known and five or more; over runs × recordings else, of whoever was
recorded; over the runs alone where no predictions are stored. Others are had by asking for them
(`TaskResult.over`): runs, splits or pretrainings, recordings or speakers, alone or crossed. What is
asked for and not known is said, and the strongest that is left stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from barlow_speech.benchmark.statistics.over import DEFAULT, LEVELS, Over
from barlow_speech.benchmark.statistics.predictions import ItemScores, Predictions
from barlow_speech.benchmark.statistics.results import TaskResult, shares_levels, values_by_seed
from barlow_speech.benchmark.statistics.variance import split_variance
from barlow_speech.upstream.common.text import listed

FEWEST_SPEAKERS = 5  # of fewer, nothing is said about others
WILD = 10  # speakers, up to which the wild cluster bootstrap is shown

SINGLE = "there is a single run, which says nothing about others"
ALIKE = {  # of what is not known of the columns
    "recordings": "the speakers of the test recordings are not known, and recordings of one "
    "speaker are alike",
    "items": "items are taken to be independent, which several on one text or speaker are not",
}

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

    `rows` are what is drawn anew of the runs ("" for these very ones), `clusters` of the recordings
    (None for these very ones). `limit` is a sentence without its end; with `silent` nothing may be
    said about other speakers, so that nothing is separated.
    """

    over: str
    clusters: Clusters | None
    limit: str = ""
    silent: bool = False
    rows: str = "runs"

    @property
    def runs_alone(self) -> bool:
        """Whether it is over the runs, each for itself, and nothing else."""
        return self.rows == "runs" and self.clusters is None


def scope(*results: TaskResult) -> Scope:
    """The scope of one result, or of a comparison of several that judged the same recordings."""
    asked, limits_of = results[0].over, []
    if any(levels_of(result, asked.rows) < 2 for result in results) and LEVELS.get(asked.rows):
        limits_of.append(
            f"every run is of one {asked.rows[:-1]}, which can say nothing about other {asked.rows}"
        )
        asked = DEFAULT
    rows = asked.rows or ("" if asked.columns else "runs")
    if asked.columns and None in map(usable, results):
        limits_of.append(
            "no predictions are stored, so that nothing is known about other recordings or speakers"
        )
        asked, rows = Over(rows or "runs", ""), rows or "runs"
    named = _rows_name(results[0], rows)
    several = rows and min(len(result.values) for result in results) > 1
    if not asked.columns:
        if not several:
            limits_of.append(SINGLE)
        return Scope(named, None, "; ".join(limits_of), not several, rows)
    crossed_with = f"{named} × " if several else ""
    known = [one for one in map(usable, results) if one is not None]
    count = min((one.speaker_count for one in known if one.speaker_count), default=None)
    who = "one speaker" if count == 1 else f"{count} speakers"
    clusters: Clusters = "recordings"
    noun = known[0].noun
    over, silent = f"{noun} of {who}", False
    if count is None:
        over = noun
        limits_of.append(ALIKE[noun])
        if noun == "items" and rows and not several:
            limits_of.append(SINGLE)
    elif asked.columns == "recordings":
        limits_of.append(f"other {noun} of the same {who} are meant, and nobody else")
    elif count < FEWEST_SPEAKERS:
        silent = True
        limits_of.append(f"the test {noun} are of {who}, who can say nothing about others")
    else:
        clusters = over = "speakers"
    return Scope(f"{crossed_with}{over}", clusters, "; ".join(limits_of), silent, rows)


def levels_of(result: TaskResult, rows: str) -> int:
    """How many runs, splits or pretrainings a result has; those not recorded are one."""
    level = LEVELS.get(rows)
    return 1 + max(result.levels.get(level, (0,))) if level else len(result.values)


def dependent_runs(result: TaskResult) -> bool:
    """Whether it is over runs that are not independent, since they share levels of a source."""
    return shares_levels(result) and scope(result).rows == "runs"


def usable(result: TaskResult) -> Predictions | ItemScores | None:
    """The predictions of a result, if there are those of every run."""
    kept = result.predictions
    return kept if kept is not None and len(kept.runs) == len(result.values) else None


def same_recordings(a: TaskResult, b: TaskResult) -> bool:
    """Whether both judged the same recordings of the same speakers, as far as is known."""
    return why_apart(a, b) is None


def why_apart(a: TaskResult, b: TaskResult) -> str | None:
    """Why two are not paired by recordings, as the end of a sentence; None where they can be."""
    one, two = usable(a), usable(b)
    if one is None or two is None:
        return None
    if not one.of_the_same(two):
        return "they judged different recordings"
    ours, theirs = one.speaker_N, two.speaker_N
    if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
        return "they name other speakers of the same recordings"
    return None


def _together(a: TaskResult, b: TaskResult) -> tuple[Predictions | ItemScores, ...]:
    """The predictions of two of the same recordings; speakers that one has not are the other's."""
    one, two = usable(a), usable(b)
    assert one is not None and two is not None  # `scope` asks for them
    if isinstance(one, Predictions) and isinstance(two, Predictions):
        if one.speaker_N is None:
            one = replace(one, speakers=two.speakers)
        elif two.speaker_N is None:
            two = replace(two, speakers=one.speakers)
    return one, two


def of_result(result: TaskResult) -> Crossed | None:
    """A result over its sources; None over runs alone, and where its runs cannot be told apart.

    Runs that share levels have the variance that the split of their sources has.
    """
    return _over(result, scope(result))


def _over(result: TaskResult, of: Scope) -> Crossed | None:
    kept, groups = usable(result), tuple(units(result, of.rows).values())
    values = _means(result, groups)
    if of.runs_alone:
        return None
    if of.clusters is None:
        return over_rows(values)
    assert kept is not None  # `scope` asks for it
    runs = None
    if of.rows == "runs" and shares_levels(result):
        split = split_variance(result)
        if split.sem is None and min(values) < max(values):
            return None
        fewest = min(1 + max(levels) for levels in result.levels.values() if max(levels))
        runs = ((split.sem or 0.0) ** 2, fewest - 1.0)
    return _these(_of_result(kept, result.metric, values, groups, of.clusters, runs), of)


def of_pair(a: TaskResult, b: TaskResult, of: Scope) -> Crossed:
    """The difference a − b over its sources, paired by recordings.

    Runs of one seed and on one split are paired too; a pretraining of one upstream has nothing to
    do with any of another.
    """
    if of.rows == "pretrainings":
        return _unpaired(a, b, of)
    groups = paired(a, b, of.rows)
    values = tuple(
        one - two
        for one, two in zip(*(_means(r, g) for r, g in zip((a, b), zip(*groups))), strict=True)
    )
    if of.clusters is None:
        return over_rows(values)
    return _these(_of_pair(*_together(a, b), a.metric, values, groups, of.clusters), of)


def _unpaired(a: TaskResult, b: TaskResult, of: Scope) -> Crossed:
    """The variances of the rows of both added, with Welch's degrees of freedom (1947)."""
    ours, theirs = _over(a, of), _over(b, of)
    assert ours is not None and theirs is not None
    variances = [ours.runs_variance, theirs.runs_variance]
    below = sum(v**2 / one.runs_df for v, one in zip(variances, (ours, theirs)))
    df = sum(variances) ** 2 / below if below else min(ours.runs_df, theirs.runs_df)
    runs = (sum(variances), df)
    values = (ours.mean - theirs.mean,)
    count = min(ours.runs, theirs.runs)
    if of.clusters is None:
        return replace(over_rows(values), runs=count, clusters=count, runs_variance=runs[0],
                       runs_df=df, clusters_df=df)  # fmt: skip
    every = ((tuple(range(len(a.values))), tuple(range(len(b.values)))),)
    found = _of_pair(*_together(a, b), a.metric, values, every, of.clusters, runs)
    return replace(found, runs=count, both_variance=ours.both_variance + theirs.both_variance)


def over_rows(values: tuple[float, ...]) -> Crossed:
    """The mean of independent values, on these very recordings."""
    count, none = len(values), np.zeros(0)
    variance = float(np.var(values, ddof=1)) / count if count > 1 else 0.0
    df = max(count - 1.0, 1.0)
    return Crossed(
        float(np.mean(values)), count, count, variance, df, 0.0, df, 0.0, 0.0, none, none
    )


def _these(found: Crossed, of: Scope) -> Crossed:
    """Of these very runs, where those are not drawn anew."""
    return found if of.rows else replace(found, runs_variance=0.0, both_variance=0.0)


def units(result: TaskResult, rows: str) -> dict[str, tuple[int, ...]]:
    """The places of the runs of each row: by seed, or by split or pretraining."""
    level = LEVELS.get(rows)
    if level is None:
        return {seed: (place,) for place, seed in enumerate(values_by_seed(result))}
    found: dict[str, tuple[int, ...]] = {}
    for place, sources in enumerate(result.sources):
        found[repr(sources[level])] = (*found.get(repr(sources[level]), ()), place)
    return found


def _means(result: TaskResult, groups: Sequence[tuple[int, ...]]) -> tuple[float, ...]:
    return tuple(sum(result.values[i] for i in places) / len(places) for places in groups)


def _rows(
    kept: Predictions | ItemScores,
    metric: str,
    clusters: Clusters,
    groups: Sequence[tuple[int, ...]],
) -> Iterator[np.ndarray]:
    """The influence of every cluster on the mean of each group of runs, [K]."""
    for places in groups:
        rows = parts(kept, metric, clusters, places)
        yield next(rows) if len(places) == 1 else sum(rows, np.zeros(1)) / len(places)


@lru_cache(maxsize=4096)
def _of_result(
    kept: Predictions | ItemScores,
    metric: str,
    values: tuple[float, ...],
    groups: tuple[tuple[int, ...], ...],
    clusters: Clusters,
    runs: tuple[float, float] | None,
) -> Crossed:
    known = influence(kept, metric, clusters)
    return crossed(
        np.array(values), _rows(kept, metric, clusters, groups), known.mean_N, known.cluster_N,
        known.weight_K, known.size_K, runs,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _of_pair(
    a: Predictions | ItemScores,
    b: Predictions | ItemScores,
    metric: str,
    values: tuple[float, ...],
    groups: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...],
    clusters: Clusters,
    runs: tuple[float, float] | None = None,
) -> Crossed:
    ours, theirs = influence(a, metric, clusters), influence(b, metric, clusters)
    rows_a, rows_b = (
        _rows(kept, metric, clusters, places) for kept, places in zip((a, b), zip(*groups))
    )
    return crossed(
        np.array(values),
        (one - two for one, two in zip(rows_a, rows_b)),
        ours.mean_N - theirs.mean_N,
        ours.cluster_N,
        ours.weight_K,
        ours.size_K,
        runs,
    )


def beside(a: TaskResult, b: TaskResult) -> tuple[list[float] | None, float | None]:
    """The same difference by other methods: crossed bootstrap interval, wild cluster bootstrap p.

    None where predictions are not stored or not of the same recordings; the first also for more
    clusters than it is drawn for and rows that are not the runs, the second for more speakers than
    it is meant for.
    """
    of, runs = scope(a, b), paired(a, b)
    clusters = of.clusters
    if clusters is None or not runs or not same_recordings(a, b) or shares_levels(a):
        return None, None
    found = of_pair(a, b, of)
    wild = wild_p(found) if clusters == "speakers" and found.clusters <= WILD else None
    if found.clusters > MOST_CLUSTERS or of.rows != "runs":
        return None, wild
    ours, theirs = (
        pigeonhole_draws(
            np.array(_means(result, groups)),
            np.array(list(_rows(kept, a.metric, clusters, groups))),
        )
        for result, kept, groups in zip((a, b), _together(a, b), zip(*runs))
    )
    return pigeonhole_interval(ours - theirs), wild


def paired(
    a: TaskResult, b: TaskResult, rows: str = "runs"
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The places of the runs of one seed (or on one split) in both results."""
    ours, theirs = units(a, rows), units(b, rows)
    return tuple((places, theirs[name]) for name, places in ours.items() if name in theirs)


def new_speaker(a: TaskResult, b: TaskResult) -> tuple[float, int] | None:
    """How probably a speaker's recordings are recognised better by `a`, and of how many speakers.

    The share of the test speakers of whom `a` has the more right, over all runs, ties counting one
    half: the effect size that `A12` is for runs. None where speakers are not known.
    """
    if usable(a) is None or usable(b) is None or not same_recordings(a, b):
        return None
    one, two = _together(a, b)
    if one.speaker_N is None:
        return None
    gain_N = (
        influence(one, a.metric, "speakers").right_N - influence(two, b.metric, "speakers").right_N
    )
    gain_K = np.round(np.bincount(one.speaker_N, gain_N), 9)
    return float((np.sign(gain_K) + 1).mean() / 2), len(gain_K)


def _rows_name(result: TaskResult, rows: str) -> str:
    """The rows; of runs that share levels, what varied between them."""
    if rows != "runs" or not shares_levels(result):
        return rows
    varied = [NAMES.get(name, name) for name, levels in result.levels.items() if max(levels)]
    return listed(varied)


def over_text(results: Sequence[TaskResult]) -> str:
    """Over what the intervals of results are: once where it is the same for all."""
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(scope(result).over, []).append(result.place)
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
            name = result.place
            found.setdefault(limit, []).append(name)
    return [
        f"On {listed(list(dict.fromkeys(places)), most=4)}: {limit}."
        for limit, places in found.items()
    ]
