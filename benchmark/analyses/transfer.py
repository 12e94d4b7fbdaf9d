"""Transfer across domains: pretrained on one corpus, judged on another, as a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from barlow_speech.benchmark.analyses.compare import against
from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.results import by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Evaluate
from barlow_speech.upstream.common.errors import unknown

NOTES = (
    "Mean top-1 in percent over the heads' runs; bold: the best of the column. A row is one "
    "pretraining; framed where it was pretrained on speech of that corpus.",
)


@dataclass(frozen=True)
class Settings:
    """Rows; `home` maps a row to the corpora whose train split it was pretrained on."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    home: dict[str, tuple[str, ...]] | None = None


def stages(settings: Settings, planner: Planner) -> list[Evaluate]:
    """A cell for every row and column.

    Raises:
        BarlowSpeechError: `home` names a row or a corpus that the matrix does not have.
    """
    rows = planner.upstreams(settings.upstreams, "transfer")
    corpora = sorted({corpus for _, corpus in planner.study.columns(settings.tasks)})
    for label, names in (settings.home or {}).items():
        if label not in rows:
            raise unknown("row", label, rows, "transfer.home")
        for name in names:
            if name not in corpora:
                raise unknown("corpus", name, corpora, f"transfer.home.{label}")
    return [
        planner.cell(label, task, corpus)
        for label in rows
        for task, corpus in planner.study.columns(settings.tasks)
    ]


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """The matrix, and whether being at home beats every other row."""
    labels = planner.upstreams(settings.upstreams, "transfer")
    home = settings.home or {}
    asked = planner.study.columns(settings.tasks)
    groups = by_task(planner.cells(stages(settings, planner)))
    means = np.array(
        [[100 * cell_summary(cell)["mean"] for cell in group] for group in groups.values()]
    ).T
    framed = np.array(
        [[corpus in home.get(label, ()) for _, corpus in asked] for label in labels], dtype=bool
    )
    findings, rows = [], []
    for column, ((task, corpus), group) in enumerate(groups.items()):
        for i, label in enumerate(labels):
            at_home = "yes" if framed[i, column] else "no"
            rows.append((task, corpus, label, at_home, float(means[i, column])))
        for i in np.flatnonzero(framed[:, column]).tolist():
            pairs = against(labels[i], group)
            beaten = sum(one["separable"] and one["difference"] < 0 for one in pairs)
            better = [one["a"] for one in pairs if one["separable"] and one["difference"] > 0]
            findings.append(
                f"{task} of {corpus}: {labels[i]}, pretrained there, is separably better than "
                f"{beaten} of the {len(pairs)} others"
                + (f" and worse than {', '.join(better)}." if better else " and worse than none.")
            )
    columns = [f"{task} – {corpus}" for task, corpus in groups]
    best = means == means.max(axis=0)
    return Section(
        title,
        tuple(findings),
        NOTES,
        (
            Picture(
                title,
                "Rows: where it was pretrained; columns: where it is judged.",
                "A matrix of mean scores; the numbers are in the table.",
                matrix_figure(means, labels, columns, bold=best, framed=framed, by_column=True),
            ),
            Table(
                f"{title} scores",
                "Mean scores in percent.",
                ("task", "corpus", "upstream", "pretrained there", "mean"),
                tuple(rows),
                texts=4,
            ),
        ),
    )
