"""The trials of a search as one table: what each is, what it took, and its score on every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from barlow_speech.benchmark.reporting.document import Section, Table
from barlow_speech.benchmark.statistics.results import by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Evaluate
from barlow_speech.upstream.model.checkpoint import load_tensors

NOTES = (
    "Percent. A trial's minutes are those of its pretraining, as its checkpoint has them, by the "
    "wall clock; trials that share a pretraining share them.",
)


@dataclass(frozen=True)
class Settings:
    """Which upstreams are the trials, on which tasks (default: all)."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def stages(settings: Settings, planner: Planner) -> list[Evaluate]:
    """A cell for every trial, task and corpus."""
    return [
        planner.cell(label, task, corpus)
        for label in planner.upstreams(settings.upstreams, "trials")
        for task, corpus in planner.study.columns(settings.tasks)
    ]


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """The table, the best mean first."""
    groups = by_task(planner.cells(stages(settings, planner)))
    labels = planner.upstreams(settings.upstreams, "trials")
    means = np.array(
        [[100 * cell_summary(cell)["mean"] for cell in group] for group in groups.values()]
    )
    order = sorted(range(len(labels)), key=lambda place: -means[:, place].mean())
    rows = tuple(
        (labels[at], *_cost(labels[at], planner), *means[:, at], means[:, at].mean())
        for at in order
    )
    judged = {cell.details.get("judged", "test") for group in groups.values() for cell in group}
    best = labels[order[0]]
    finding = (
        f"Of {len(labels)} trials, {best} has the best mean over the tasks, "
        f"{means[:, order[0]].mean():.1f} % on {' and '.join(sorted(judged))}."
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


def _cost(label: str, planner: Planner) -> tuple[int | None, int | None, float | None]:
    """Parameters of the encoder, steps and minutes of its pretraining; None where it has none."""
    member = planner.study.member(label, "trials")
    trained = planner.pretrainings(label)
    if not trained:
        return None, None, None
    _, header = load_tensors(trained[0].encoder)
    facts = header["facts"]
    if member.untrained:
        return facts["parameters"], 0, 0.0
    return facts["parameters"], trained[0].recipe.steps, facts["seconds"] / 60
