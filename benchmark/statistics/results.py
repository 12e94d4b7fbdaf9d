"""The runs of one upstream on one task of one corpus, and which of them share a level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.benchmark.statistics.predictions import ItemScores, Predictions
from barlow_speech.upstream.common.errors import BarlowSpeechError

LEVEL = 0.05  # of every test, and one minus the confidence of every interval

# Scores are fractions of counts. Two differences that are equal as fractions may differ in their
# last bit, which would turn ties and zeros into ranks; no test set is large enough to need more
# digits.
DIGITS = 9


@dataclass(frozen=True)
class Cost:
    """What an upstream takes, whatever the task; None where it was not measured."""

    parameters: int | None = None
    macs_per_second: float | None = None  # multiply-accumulates per second of speech
    real_time_factor: float | None = None  # seconds of computing per second of speech
    device: str | None = None  # where the real-time factor was measured
    threads: int | None = None


@dataclass(frozen=True)
class Setup:
    """How a result was measured; None or empty is what is not known."""

    lr: float | None = None  # the learning rate that dev picked
    varied: tuple[str, ...] = ()  # between the runs
    chance: float | None = None  # of always saying the most frequent class of train
    classes: int | None = None
    train_recordings: int | None = None
    dev_recordings: int | None = None
    test_recordings: int | None = None
    protocol: str = ""
    head: str = ""
    selection: str = ""
    eval_split: str = "test"
    lr_grid: tuple[float, ...] = ()
    steps: int | None = None
    batch: int | None = None
    layers: int | None = None
    width: int | None = None
    licence: str = ""
    dataset: str = ""  # what it was measured on, in words, where another program did it
    comparison: str = ""  # a digest, equal where results may be ranked together
    audio: str = ""  # a digest of the samples of the corpus's recordings


@dataclass(frozen=True)
class TaskResult:
    """The runs of one upstream on one task of one corpus.

    `values` holds one test score per run, within `bounds` and better the higher, by `metric`;
    `seeds` and `sources` (see `variance.py`) one entry per run too, where they are known. `metrics`
    are the means of every metric over the runs, `curves` (step, score on dev) of each run.
    """

    upstream: str
    task: str
    corpus: str
    metric: str
    values: tuple[float, ...]
    seeds: tuple[int | str, ...] | None = None
    sources: tuple[Mapping[str, int | None], ...] = ()
    setup: Setup = Setup()
    metrics: Mapping[str, float] = field(default_factory=dict)
    predictions: Predictions | ItemScores | None = None
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()
    cost: Cost = Cost()
    seconds: Mapping[str, float] = field(default_factory=dict)  # of all runs, by what took them
    notes: tuple[str, ...] = ()
    recorded: float = 0.0  # when, in seconds since 1970
    over: Over = DEFAULT  # over what statements about it are wanted
    bounds: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def levels(self) -> dict[str, tuple[int, ...]]:
        """The level of each source in each run, numbered in the order in which they turn up.

        Raises:
            BarlowSpeechError: the sources do not fit the runs.
        """
        names = list(self.sources[0]) if self.sources else []
        if (names and len(self.sources) != len(self.values)) or any(
            set(run) != set(names) for run in self.sources
        ):
            raise BarlowSpeechError(
                f"{self} has {len(self.values)} runs, but the sources it records are not one dict "
                "for each of them with the same keys; record them anew."
            )
        levels = {}
        for name in names:
            seen: dict[str, int] = {}
            levels[name] = tuple(
                seen.setdefault(repr(run[name]), len(seen)) for run in self.sources
            )
        return levels

    def __str__(self) -> str:
        return f"{self.upstream} on {self.place}"

    @property
    def place(self) -> str:
        """The task, and of which corpus where that is known."""
        return place(self.task, self.corpus)


def place(task: str, corpus: str) -> str:
    """A task as a sentence names it."""
    return f"{task} of {corpus}" if corpus else task


def by_task(results: Iterable[TaskResult]) -> dict[tuple[str, str], list[TaskResult]]:
    """The results of each (task, corpus), both in the order in which they are given.

    Raises:
        BarlowSpeechError: a result is empty, holds a value that is no score (NaN, infinite or
            out of its bounds), has another number of seeds than of values or a seed twice, is there
            twice, or is measured otherwise than the others of its task.
    """
    groups: dict[tuple[str, str], list[TaskResult]] = {}
    for result in results:
        _check(result)
        group = groups.setdefault((result.task, result.corpus), [])
        if any(other.upstream == result.upstream for other in group):
            raise BarlowSpeechError(
                f"the results of {result} are given twice; leave one of them out."
            )
        if group and group[0].metric != result.metric:
            raise BarlowSpeechError(
                f"{result} is measured by {result.metric} and {group[0].upstream} by "
                f"{group[0].metric}; compare results of one metric."
            )
        group.append(result)
    return groups


def shares_levels(result: TaskResult) -> bool:
    """Whether several runs share a level of a source that varied, and so are not independent.

    For such a result the intervals of `summary` are too short and the p values of `compare` too
    small, so that none is shown; `variance.split_variance` has an interval of its mean.

    Raises:
        BarlowSpeechError: as `TaskResult.levels`.
    """
    return any(0 < max(levels) < len(levels) - 1 for levels in result.levels.values())


def _check(result: TaskResult) -> None:
    if not result.values:
        raise BarlowSpeechError(f"{result} has no runs; run the task first.")
    low, high = result.bounds
    for run, value in enumerate(result.values):
        if not low <= value <= high or not math.isfinite(value):
            raise BarlowSpeechError(
                f"run {run} of {result} has the {result.metric} {value}, "
                f"which is not between {low:g} and {high:g}; run it again."
            )
    values_by_seed(result)


def values_by_seed(result: TaskResult) -> dict[str, float]:
    """The result's values by seed; run i without a seed has seed i.

    Raises:
        BarlowSpeechError: there is not one seed for each value, or one twice.
    """
    seeds = range(len(result.values)) if result.seeds is None else result.seeds
    names = [str(seed) for seed in seeds]
    if len(names) != len(result.values) or len(set(names)) != len(names):
        raise BarlowSpeechError(
            f"{result} has {len(result.values)} values and {len(set(names))} different seeds; "
            "give each run a seed of its own."
        )
    return dict(zip(names, result.values))
