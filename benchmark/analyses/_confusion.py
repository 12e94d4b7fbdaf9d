"""What was taken for what: of each task the matrix of the best mean, and those of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from barlow_speech.benchmark.analyses._scores import Groups
from barlow_speech.benchmark.figures.confusion import (
    MAX_CLASSES,
    class_names,
    confusion_counts,
    confusion_figure,
    confusion_shares,
    confusion_text,
)
from barlow_speech.benchmark.figures.style import file_names
from barlow_speech.benchmark.reporting.document import Part, Picture, Section, Table
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.results import TaskResult

NOTE = (
    "Rows are true classes, columns what was predicted: the percentage of a row's recordings, "
    "over all runs; the darker, the more. The upstream of the best mean is drawn, the others are "
    f"folded up beneath it. Tasks of more than {MAX_CLASSES} classes have no matrix here."
)


def confusions(groups: Groups) -> Section | None:
    """None where no confusion of few classes enough is recorded."""
    known = {key: shown for key, group in groups.items() if (shown := _with_confusion(group))}
    parts: list[Part] = []
    for name, (best, *others) in zip(file_names("confusion", known), known.values()):
        parts.append(Picture(name, "", confusion_text(best), confusion_figure(best)))
        parts += map(_matrix, others)
    return Section("Confusion", (), (NOTE,), tuple(parts)) if parts else None


def _with_confusion(group: Sequence[TaskResult]) -> list[TaskResult]:
    """The results whose confusion can be shown, from the best mean down."""
    shown = [
        result
        for result in group
        if (counts := confusion_counts(result)) is not None and len(counts) <= MAX_CLASSES
    ]
    return sorted(shown, key=lambda result: -summary(result.values)["mean"])


def _matrix(result: TaskResult) -> Table:
    """Whole percentages; a share of zero, or of a class without recordings, is left empty."""
    names = class_names(result)
    rows = tuple(
        (name, *("" if math.isnan(share) or not share else f"{100 * share:.0f}" for share in row))
        for name, row in zip(names, confusion_shares(result).tolist())
    )
    title = f"Confusion of {result.upstream}"
    columns = ("true ↓ predicted →", *names)
    return Table(f"{title} {result.task}", "", columns, rows, folded=title, shaded=True)
