"""Sample efficiency: accuracy against the share of the labels.

Frozen upstreams, and, where `trained` names some, the same encoders trained end to end: fine-tuned
from their checkpoint, or from scratch where the upstream is an untrained one.
"""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses._curve_points import (
    areas_finding,
    chance_of,
    curve_table,
    curves_by_task,
)
from barlow_speech.benchmark.figures.curves import lines_figure
from barlow_speech.benchmark.reporting.document import Picture, Section
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Evaluate

NOTES = (
    "Of each class the same share of the training recordings is kept, rounded up, the same for "
    "every upstream. Dev, which picks the learning rate and the step, is whole. Bands: 95 % BCa "
    "interval of the mean over the runs; dashed: the most frequent class.",
)


@dataclass(frozen=True)
class Settings:
    """`fractions` of the labels; `upstreams` frozen, `trained` end to end (as -f does).

    `runs` and `steps` are those of the end-to-end trainings, which share nothing and cost most.
    """

    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    upstreams: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    set: tuple[str, ...] = ("encoder.crop_s=1",)
    runs: int = 3
    steps: int = 200
    batch: int = 16


def stages(settings: Settings, planner: Planner) -> list[Evaluate]:
    """A cell for every share, upstream, task and corpus."""
    return [stage for _, _, stage in asked(settings, planner)]


def asked(settings: Settings, planner: Planner) -> list[tuple[float, str, Evaluate]]:
    """(share of the labels, label of the curve, work) of every point."""
    found = []
    frozen = planner.upstreams(settings.upstreams, "labels")
    trained = planner.upstreams(settings.trained, "labels: trained") if settings.trained else []
    for task, corpus in planner.study.columns(settings.tasks):
        for fraction in settings.fractions:
            part = {"label_fraction": fraction}
            for label in frozen:
                found.append((fraction, label, planner.cell(label, task, corpus, part)))
            for label in trained:
                untrained = planner.study.member(label, "labels").untrained
                way = "trained from scratch" if untrained else f"{label}, fine-tuned"
                own = {"runs": settings.runs, "steps": settings.steps, "batch": settings.batch}
                stage = planner.cell(
                    label, task, corpus, part | own | {"learning_rates": [1e-3]},
                    end_to_end=settings.set,
                )  # fmt: skip
                found.append((fraction, way, stage))
    return found


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """A panel a task, a curve an upstream."""
    wanted = asked(settings, planner)
    cells = planner.cells(stage for _, _, stage in wanted)
    points: list[tuple[float, str, TaskResult]] = [
        (x, label, cell) for (x, label, _), cell in zip(wanted, cells)
    ]
    panels = curves_by_task(points)
    figure = lines_figure(
        panels, "share of the labels", logarithmic=True, chance=chance_of(cells), percent_x=True
    )
    return Section(
        title,
        tuple(areas_finding(points, "share of the labels", lambda x: f"{100 * x:g} %")),
        NOTES,
        (
            Picture(
                title, "Accuracy against the share of the labels.",
                "Curves of accuracy against the share of labels; the numbers are in the table.",
                figure,
            ),
            curve_table(title, "share", points),
        ),
    )  # fmt: skip
