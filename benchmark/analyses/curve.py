"""Accuracy against a number that each upstream has: hours of speech, or a weight of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses._curve_points import (
    bands_note,
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
from barlow_speech.upstream.common.errors import BarlowSpeechError

NOTE = "A point is one pretraining: another seed of it would move the point too."


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
    if len(settings.x) < 2:
        raise BarlowSpeechError("curve: x has fewer than two upstreams; add one.")
    if settings.logarithmic and not settings.hours and min(settings.x.values()) <= 0:
        raise BarlowSpeechError(
            "curve: a logarithmic axis has no place for an x of 0 or less; let logarithmic be "
            "false, or leave that upstream to beside."
        )
    checkpoints: list[Request] = []
    for label in settings.x if settings.hours else ():
        check_trained(study, label, "curve: hours", untrained=False)
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
    measured = results.tasks
    moved = [
        (places[result.upstream], "pretrained", result)
        for result in measured
        if result.upstream in places
    ]
    level = [
        (x, result.upstream, result)
        for result in measured
        if result.upstream not in places
        for x in ends
    ]
    points = [*moved, *level]
    return Section(
        title,
        tuple(extremes_finding(moved, settings.label)),
        (NOTE, bands_note(measured)),
        (
            curve_picture(title, settings.label, points, logarithmic=settings.logarithmic),
            curve_table(
                title,
                settings.label,
                [(places.get(result.upstream), result) for result in measured],
            ),
        ),
    )
