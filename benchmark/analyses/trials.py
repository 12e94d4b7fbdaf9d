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
    grid,
    labels,
)
from barlow_speech.benchmark.reporting.document import Section, Table
from barlow_speech.benchmark.statistics.results import by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary

NOTES = (
    "Percent. A trial's minutes are those of its pretraining, as its checkpoint has them, by the "
    "wall clock; trials that share a pretraining share them.",
)


@dataclass(frozen=True)
class Settings:
    """Which upstreams are the trials, on which tasks (default: all)."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def requests(settings: Settings, study: Study) -> list[Request]:
    """The result of every trial on every task, and what its checkpoint says."""
    upstreams = labels(study, settings.upstreams, "trials")
    checkpoints = [
        CheckpointRequest(label) for label in upstreams if not study.member(label, "").name
    ]
    return [*grid(study, upstreams, settings.tasks), *checkpoints]


def section(title: str, settings: Settings, results: Results) -> Section:
    """The table, the best mean first."""
    groups = by_task(results.tasks)
    trials = list(dict.fromkeys(result.upstream for result in results.tasks))
    facts = {request.label: read for request, read in results.requested(CheckpointRequest)}
    means = np.array(
        [[100 * cell_summary(result)["mean"] for result in group] for group in groups.values()]
    )
    order = sorted(range(len(trials)), key=lambda place: -means[:, place].mean())
    rows = tuple(
        (trials[at], *_cost(facts.get(trials[at])), *means[:, at], means[:, at].mean())
        for at in order
    )
    splits = {result.setup.eval_split for group in groups.values() for result in group}
    best = trials[order[0]]
    finding = (
        f"Of {len(trials)} trials, {best} has the best mean over the tasks, "
        f"{means[:, order[0]].mean():.1f} % on {' and '.join(sorted(splits))}."
    )
    columns = (
        "trial", "parameters", "steps", "minutes",
        *(f"{task} {corpus}" for task, corpus in groups), "mean",
    )  # fmt: skip
    return Section(
        title,
        (finding,),
        NOTES,
        (Table(f"{title} scores", "Every trial, the best mean first.", columns, rows),),
    )


def _cost(facts: CheckpointFacts | None) -> tuple[int | None, int | None, float | None]:
    """Parameters of the encoder, steps and minutes of its pretraining; None where it has none."""
    if facts is None:
        return None, None, None
    return facts.parameters, facts.steps, facts.seconds / 60
