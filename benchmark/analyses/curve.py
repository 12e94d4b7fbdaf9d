"""Accuracy against a number that each upstream has: hours of speech, or a weight of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses._curve_points import (
    curve_picture,
    curve_table,
    extremes_finding,
)
from barlow_speech.benchmark.analyses._requests import (
    CheckpointRequest,
    Request,
    ResultRequest,
    Results,
    Study,
    check_trained,
    labels,
)
from barlow_speech.benchmark.reporting.document import Section

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


def requests(settings: Settings, study: Study) -> list[Request]:
    """The result of every upstream on every task, and the hours if they are wanted."""
    upstreams = labels(study, [*settings.x, *settings.beside], "curve")
    checkpoints: list[Request] = []
    for label in settings.x if settings.hours else ():
        check_trained(study, label, "curve: hours")
        checkpoints.append(CheckpointRequest(label))
    return checkpoints + [
        ResultRequest(label, *column)
        for column in study.columns(settings.tasks)
        for label in upstreams
    ]


def section(title: str, settings: Settings, results: Results) -> Section:
    """A panel a task."""
    places = dict(settings.x)
    for request, facts in results.requested(CheckpointRequest):
        places[request.label] = facts.hours
    ends = min(places.values()), max(places.values())
    points = []
    for result in results.tasks:
        if result.upstream in places:
            points.append((places[result.upstream], "pretrained", result))
        else:
            points += [(x, result.upstream, result) for x in ends]
    moved = [point for point in points if point[1] == "pretrained"]
    return Section(
        title,
        tuple(extremes_finding(moved, settings.label)),
        NOTES,
        (
            curve_picture(title, settings.label, points, logarithmic=settings.logarithmic),
            curve_table(title, settings.label, points),
        ),
    )
