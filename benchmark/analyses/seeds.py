"""How far another pretraining moves a result, beside another head: the variance split in two."""

from __future__ import annotations

import math
from dataclasses import dataclass

from barlow_speech.benchmark.analyses._requests import (
    ResultRequest,
    Results,
    Study,
    all_pretrainings,
    labels,
)
from barlow_speech.benchmark.figures.boxplot import boxplot_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.variance import split_variance, variance_text
from barlow_speech.upstream.common.errors import BarlowSpeechError

NOTES = (
    "Every pretraining seed meets every head seed. A box holds the heads of one pretraining: how "
    "far boxes stand apart is what a single pretraining hides.",
)


@dataclass(frozen=True)
class Settings:
    """Upstreams with several `seeds`; `heads` of each pretraining."""

    upstreams: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    heads: int = 10


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The result of all pretrainings of each upstream on every task."""
    wanted = []
    for label in labels(study, settings.upstreams, "seeds"):
        if study.member(label, "seeds").seeds < 2:
            raise BarlowSpeechError(
                f"seeds: the upstream '{label}' has one pretraining; give it several by `seeds`."
            )
        wanted += all_pretrainings(study, label, settings.tasks, settings.heads)
    return wanted


def section(title: str, settings: Settings, results: Results) -> Section:
    """A boxplot a task, and the parts of the variance."""
    findings, rows, parts = [], [], []
    for result in results.tasks:
        split = split_variance(result)
        where = f"{result.upstream}, {result.task} of {result.corpus}"
        findings.append(variance_text(result, split))
        for part in split.components:
            low, high = (100 * math.sqrt(max(0.0, end)) for end in part.variance_ci95)
            names = (result.upstream, result.task, result.corpus, part.name)
            rows.append((*names, part.levels, 100 * part.std, low, high))
        parts.append(
            Picture(
                f"{title} {result.upstream} {result.task} {result.corpus}",
                f"{where}: a box for each pretraining seed.",
                "Boxplots of the heads of each pretraining.",
                boxplot_figure(_by_pretraining(result)),
            )
        )
    table = Table(
        f"{title} variance",
        "Standard deviations in points of what varied, each as if it alone did.",
        ("upstream", "task", "corpus", "source", "levels", "std", "95 % from", "to"),
        tuple(rows),
        texts=4,
    )
    return Section(title, tuple(findings), NOTES, (*parts, table))


def _by_pretraining(result: TaskResult) -> list[TaskResult]:
    """The runs of each pretraining as a result of its own."""
    groups: dict[int, list[float]] = {}
    for value, sources in zip(result.values, result.sources):
        groups.setdefault(sources["pretrain_seed"] or 0, []).append(value)
    return [
        TaskResult(
            f"pretraining {number + 1}",
            result.task,
            result.corpus,
            result.metric,
            tuple(values),
            setup=result.setup,
        )
        for number, values in sorted(groups.items())
    ]
