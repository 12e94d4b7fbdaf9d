"""Accuracy against a number that each upstream has: hours of speech, or a weight of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses._curve_points import (
    chance_of,
    curve_table,
    curves_by_task,
    extremes_finding,
)
from barlow_speech.benchmark.figures.curves import lines_figure
from barlow_speech.benchmark.reporting.document import Picture, Section
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Evaluate
from barlow_speech.upstream.model.checkpoint import load_tensors

NOTES = (
    "Bands: 95 % BCa interval of the mean over the heads' runs of one pretraining each; another "
    "pretraining seed would move a point too. Dashed: the most frequent class.",
)


@dataclass(frozen=True)
class Settings:
    """`x` maps upstreams to their number; `hours` takes the hours of speech they were trained on.

    `beside` are upstreams without a number, drawn as level lines.
    """

    x: dict[str, float]
    label: str = "hours of speech for pretraining"
    hours: bool = False
    beside: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    logarithmic: bool = True


def stages(settings: Settings, planner: Planner) -> list[Evaluate]:
    """A cell for every upstream, task and corpus."""
    labels = planner.upstreams([*settings.x, *settings.beside], "curve")
    return [
        planner.cell(label, task, corpus)
        for task, corpus in planner.study.columns(settings.tasks)
        for label in labels
    ]


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """A panel a task."""
    places = dict(settings.x)
    if settings.hours:
        for label in places:
            (first, *_) = planner.pretrainings(label)
            places[label] = float(load_tensors(first.encoder)[1]["facts"]["hours"])
    points = []
    for cell in planner.cells(stages(settings, planner)):
        if cell.upstream in places:
            points.append((places[cell.upstream], "pretrained", cell))
        else:
            points += [
                (x, cell.upstream, cell) for x in (min(places.values()), max(places.values()))
            ]
    figure = lines_figure(
        curves_by_task(points),
        settings.label,
        logarithmic=settings.logarithmic,
        chance=chance_of([cell for _, _, cell in points]),
    )
    return Section(
        title,
        tuple(extremes_finding([one for one in points if one[1] == "pretrained"], settings.label)),
        NOTES,
        (
            Picture(
                title, f"Accuracy against {settings.label}.",
                f"Curves of accuracy against {settings.label}; the numbers are in the table.",
                figure,
            ),
            curve_table(title, settings.label, points),
        ),
    )  # fmt: skip
