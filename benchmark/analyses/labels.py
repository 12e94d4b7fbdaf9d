"""Sample efficiency: accuracy against the share of the labels.

Frozen upstreams, and, where `trained` names some, the same encoders trained end to end: fine-tuned
from their checkpoint, or from scratch where the upstream is an untrained one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from barlow_speech.benchmark.analyses import _requests
from barlow_speech.benchmark.analyses._curve_points import (
    bands_note,
    curve_picture,
    curve_table,
    leaders_finding,
)
from barlow_speech.benchmark.analyses._requests import ResultRequest, Results, Study
from barlow_speech.benchmark.reporting.document import Section
from barlow_speech.upstream.common.errors import BarlowSpeechError

NOTE = (
    "Of each class the same share of the training recordings is kept, rounded up, the same for "
    "every upstream. Dev, which picks the learning rate and the step, is whole."
)
# Given as keys of the analysis, which those of `set` would not change.
OWN = ("runs", "steps", "batch", "label_fraction")
RATE = "learning_rates=[1.0e-3]"


@dataclass(frozen=True)
class Settings:
    """`fractions` of the labels; `upstreams` frozen, `trained` end to end (as -f does).

    `runs`, `steps`, `batch` and `set` are those of the end-to-end trainings, which share nothing
    and cost most; their learning rate is 0.001 unless `set` gives others.
    """

    fractions: Annotated[tuple[float, ...], Field(min_length=1)] = (
        0.01, 0.05, 0.1, 0.25, 0.5, 1.0,
    )  # fmt: skip
    upstreams: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    set: tuple[str, ...] = ("encoder.crop_s=1",)
    runs: int = 3
    steps: int = 200
    batch: int = 16


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The result for every share of the labels, upstream and task.

    Raises:
        BarlowSpeechError: an upstream is none of the study, a share or an upstream stands there
            twice, or `set` has a key that is the analysis's own.
    """
    wanted = []
    frozen = _requests.labels(study, settings.upstreams, "upstreams")
    # None where none is named, not all of them.
    trained = settings.trained and _requests.labels(study, settings.trained, "trained")
    _requests.distinct(settings.fractions, "share", "fractions")
    for assignment in settings.set:
        if (key := assignment.partition("=")[0].strip()) in OWN:
            raise BarlowSpeechError(
                f"set gives {key}, which the analysis gives too; use its own keys (runs, steps, "
                "batch, fractions) beside set."
            )
    own = {"runs": settings.runs, "steps": settings.steps, "batch": settings.batch}
    for column in study.columns(settings.tasks):
        for fraction in settings.fractions:
            part = {"label_fraction": fraction}
            wanted += [ResultRequest(label, *column, part) for label in frozen]
            for label in trained:
                scratch = study.member(label, "trained").untrained
                shown = f"{label}, {'trained from scratch' if scratch else 'fine-tuned'}"
                changes = (RATE, *settings.set)
                wanted.append(ResultRequest(label, *column, part | own, changes, shown=shown))
    return wanted


def section(title: str, settings: Settings, results: Results) -> Section:
    """A panel a task, a curve an upstream."""
    points = [
        (float(request.changes["label_fraction"]), result.upstream, result)
        for request, result in results.requested(ResultRequest)
    ]
    return Section(
        title,
        tuple(leaders_finding(points)),
        (NOTE, bands_note(results.tasks)),
        (
            curve_picture(title, "share of the labels", points, logarithmic=True, percent_x=True),
            curve_table(title, "share", [(share, result) for share, _, result in points]),
        ),
    )
