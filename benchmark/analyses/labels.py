"""Sample efficiency: accuracy against the share of the labels.

Frozen upstreams, and, where `trained` names some, the same encoders trained end to end: fine-tuned
from their checkpoint, or from scratch where the upstream is an untrained one.
"""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses import _requests
from barlow_speech.benchmark.analyses._curve_points import (
    curve_picture,
    curve_table,
    leaders_finding,
)
from barlow_speech.benchmark.analyses._requests import ResultRequest, Results, Study
from barlow_speech.benchmark.reporting.document import Section

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


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The result for every share of the labels, upstream and task."""
    wanted = []
    frozen = _requests.labels(study, settings.upstreams, "labels")
    own = {
        "runs": settings.runs, "steps": settings.steps, "batch": settings.batch,
        "learning_rates": [1e-3],
    }  # fmt: skip
    for column in study.columns(settings.tasks):
        for fraction in settings.fractions:
            part = {"label_fraction": fraction}
            wanted += [ResultRequest(label, *column, part) for label in frozen]
            for label in settings.trained:
                untrained = study.member(label, "labels: trained").untrained
                shown = "trained from scratch" if untrained else f"{label}, fine-tuned"
                wanted.append(ResultRequest(label, *column, part | own, settings.set, shown=shown))
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
        NOTES,
        (
            curve_picture(title, "share of the labels", points, logarithmic=True, percent_x=True),
            curve_table(title, "share", points),
        ),
    )
