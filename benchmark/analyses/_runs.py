"""Runs of upstreams on tasks side by side: the sections of a page, the table of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from barlow_speech.benchmark.analyses._confusion import confusions
from barlow_speech.benchmark.analyses._details import measured, variances
from barlow_speech.benchmark.analyses._findings import findings
from barlow_speech.benchmark.analyses._scores import Groups, metrics, pairs, scores
from barlow_speech.benchmark.figures.boxplot import MIN_FOR_BOX, boxplot_figure
from barlow_speech.benchmark.figures.critical_difference import (
    critical_difference_figure,
    critical_difference_text,
)
from barlow_speech.benchmark.figures.style import file_names
from barlow_speech.benchmark.reporting.document import Document, Part, Picture, Section, Table
from barlow_speech.benchmark.reporting.numbers import percent
from barlow_speech.benchmark.reporting.tables import text
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.ranking import ranking, verdict
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.sources import over_text
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import counted, listed, printable

MAX_TITLE = 70  # letters; past it the upstreams are counted, not named
BOXPLOT_NOTE = (
    "Box: quartiles; line: median; diamond: mean; whiskers: lowest and highest run; dots: the "
    "runs; bar beneath: 95 % interval of the mean over {over}."
)
FEW_RUNS_NOTE = f" Under {MIN_FOR_BOX} runs there is no box."
SCOPE = (
    "Intervals and tests say over what they generalise: over runs × speakers, how far a number "
    "would move with other runs of the head (what varied between them is listed under “How it was "
    "measured”) and with other people in the test; over the runs alone, with other runs on these "
    "very recordings. They cover no other corpus, and no other pretraining unless they name it."
)


def page(results: Sequence[TaskResult], facts: Mapping[str, str], command: str) -> Document:
    """Everything that the results show; `facts` are versions and hardware, in the order to show.

    Raises:
        BarlowSpeechError: there are no results, or `by_task` refuses one.
    """
    groups = by_task(results)
    if not groups:
        raise BarlowSpeechError("there are no results to report; run a task first.")
    sections = (
        Section("What the runs show", tuple(map(findings, groups.values())), (SCOPE,), ()),
        _across(results),
        variances(groups),
        scores(groups),
        _boxplots(groups),
        metrics(groups),
        confusions(groups),
        pairs(groups),
        measured(groups),
    )
    upstreams = list(dict.fromkeys(result.upstream for result in results))
    title = f"Results of {listed(upstreams)}"
    if len(title) > MAX_TITLE:
        title = f"Results of {counted(len(upstreams), 'upstream')}"
    return Document(
        title,
        _extent(groups),
        tuple(section for section in sections if section),
        (command,),
        {"versions and hardware": facts} if facts else {},
    )


def terminal(results: Sequence[TaskResult]) -> str:
    """The table of scores with its note, as wide as the table.

    Raises:
        BarlowSpeechError: a result is refused by `by_task`.
    """
    section = scores(by_task(results))
    (table,) = (text(part) for part in section.parts if isinstance(part, Table))
    return f"{table}\n\n{textwrap.fill(printable(section.notes[0]), len(table.splitlines()[0]))}\n"


def _extent(groups: Groups) -> str:
    counts = sorted({len(result.values) for group in groups.values() for result in group})
    runs = counted(counts[-1], "run")
    runs = runs if len(counts) == 1 else f"{counts[0]} to {runs}"
    return f"{counted(len(groups), 'task')}, {runs} of each upstream on each."


def _across(results: Sequence[TaskResult]) -> Section | None:
    """The upstreams over all tasks; None where two upstreams or two complete tasks are missing."""
    try:
        ranked = ranking(results)
    except BarlowSpeechError:
        return None
    if len(ranked.blocks) < 2:
        return None
    parts: list[Part] = []
    if ranked.critical_difference is not None:
        figure, words = critical_difference_figure(ranked), critical_difference_text(ranked)
        parts.append(Picture("critical_difference", "", words, figure))
    return Section("Across tasks", (verdict(ranked),), (), tuple(parts))


def _boxplots(groups: Groups) -> Section:
    few = any(len(result.values) < MIN_FOR_BOX for group in groups.values() for result in group)
    pictures = []
    for name, group in zip(file_names("boxplot", groups), groups.values()):
        means = "; ".join(
            f"{result.upstream} {percent(summary(result.values)['mean'])} %" for result in group
        )
        where = f"{group[0].task} – {group[0].corpus}"
        alternative = f"Boxplot of the runs on {where}. Means: {means}."
        pictures.append(Picture(name, "", alternative, boxplot_figure(group)))
    over = over_text([result for group in groups.values() for result in group])
    note = BOXPLOT_NOTE.format(over=over) + FEW_RUNS_NOTE * few
    return Section("Runs", (), (note,), tuple(pictures))
