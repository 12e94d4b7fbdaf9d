"""The trials of a search as one table: what each is, what it took, and its score on every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from barlow_speech.benchmark.analyses._requests import (
    CheckpointFacts,
    CheckpointRequest,
    Request,
    Results,
    Study,
    all_pretrainings,
    grid,
    labels,
)
from barlow_speech.benchmark.analyses._tables import have_the_best, metric_name
from barlow_speech.benchmark.reporting.document import Section, Table
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.upstream.common.text import counted

NOTES = (
    "Percent. A trial's minutes are those of its first pretraining, as its checkpoint has them, by "
    "the wall clock; trials that share a pretraining share them.",
    "Every score of a trial of several pretraining seeds is the mean over these, each with one "
    "head; how far apart their least and greatest mean over the tasks are is what a difference of "
    "two trials is to be held against.",
)


@dataclass(frozen=True)
class Settings:
    """Which upstreams are the trials, on which tasks (default: all)."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def requests(settings: Settings, study: Study) -> list[Request]:
    """The result of every trial on every task, of all its seeds, and what its checkpoint says."""
    upstreams = labels(study, settings.upstreams, "trials")
    results = []
    for label in upstreams:
        several = study.member(label, "trials").seeds > 1
        results += (
            all_pretrainings(study, label, settings.tasks, heads=1) if several
            else grid(study, [label], settings.tasks)
        )  # fmt: skip
    checkpoints = [
        CheckpointRequest(label) for label in upstreams if not study.member(label, "").name
    ]
    return [*results, *checkpoints]


def section(title: str, settings: Settings, results: Results) -> Section:
    """The table, the best mean first."""
    groups = by_task(results.tasks)
    trials = list(dict.fromkeys(result.upstream for result in results.tasks))
    facts = {request.label: read for request, read in results.requested(CheckpointRequest)}
    means = np.array(
        [[100 * np.mean(result.values) for result in group] for group in groups.values()]
    )
    order = sorted(range(len(trials)), key=lambda place: -means[:, place].mean())
    rows = []
    for at in order:
        seeds, least, greatest = _seeds([group[at] for group in groups.values()])
        cost = _cost(facts.get(trials[at]))
        rows.append((trials[at], *cost, seeds, *means[:, at], means[:, at].mean(), least, greatest))
    splits = {result.setup.eval_split for group in groups.values() for result in group}
    best = have_the_best({trial: means[:, at].mean() for at, trial in enumerate(trials)})
    finding = (
        f"Of {counted(len(trials), 'trial')}, {best} over the tasks, "
        f"{means[:, order[0]].mean():.1f} % ({metric_name(results.tasks)}) on "
        f"{' and '.join(sorted(splits))}."
    )
    columns = (
        "trial", "parameters", "steps", "minutes", "seeds",
        *(f"{task} {corpus}" for task, corpus in groups), "mean", "least", "greatest",
    )  # fmt: skip
    return Section(
        title,
        (finding,),
        NOTES,
        (Table(f"{title} scores", "Every trial, the best mean first.", columns, tuple(rows)),),
    )


def _seeds(results: list[TaskResult]) -> tuple[int, float | None, float | None]:
    """A trial's pretraining seeds, and the least and greatest of their means over the tasks."""
    seeds = {run["pretrain_seed"] for run in results[0].sources if "pretrain_seed" in run}
    if len(seeds) < 2:
        return 1, None, None
    scores = [
        100 * float(
            np.mean([
                value
                for result in results
                for value, run in zip(result.values, result.sources)
                if run["pretrain_seed"] == seed
            ])
        )
        for seed in seeds
    ]  # fmt: skip
    return len(seeds), min(scores), max(scores)


def _cost(facts: CheckpointFacts | None) -> tuple[int | None, int | None, float | None]:
    """Parameters of the encoder, steps and minutes of its pretraining; None where it has none."""
    if facts is None:
        return None, None, None
    return facts.parameters, facts.steps, facts.seconds / 60
