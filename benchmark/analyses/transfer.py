"""Transfer across domains: pretrained on one corpus, evaluated on another, as a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from barlow_speech.benchmark.analyses._requests import ResultRequest, Results, Study, grid, labels
from barlow_speech.benchmark.analyses._tables import best_of_columns, metric_name
from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.comparison import compare_against
from barlow_speech.benchmark.statistics.results import by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.errors import unknown

NOTE = (
    "Mean {metric} in percent over the heads' runs; bold: the best of the column. A row is one "
    "pretraining; framed where it was pretrained on speech of that corpus."
)


@dataclass(frozen=True)
class Settings:
    """Rows; `home` maps a row to the corpora whose train split it was pretrained on."""

    upstreams: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    home: dict[str, tuple[str, ...]] | None = None


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The result of every row and column.

    Raises:
        BarlowSpeechError: `home` names a row or a corpus that the matrix does not have.
    """
    rows = labels(study, settings.upstreams, "transfer")
    corpora = sorted({corpus for _, corpus in study.columns(settings.tasks)})
    for label, names in (settings.home or {}).items():
        if label not in rows:
            raise unknown("row", label, rows, "transfer.home")
        for name in names:
            if name not in corpora:
                raise unknown("corpus", name, corpora, f"transfer.home.{label}")
    return grid(study, rows, settings.tasks)


def section(title: str, settings: Settings, results: Results) -> Section:
    """The matrix, and whether being at home beats every other row."""
    wanted = [request for request, _ in results.requested(ResultRequest)]
    upstreams = list(dict.fromkeys(request.label for request in wanted))
    home = settings.home or {}
    groups = by_task(results.tasks)
    means = np.array(
        [[100 * cell_summary(result)["mean"] for result in group] for group in groups.values()]
    ).T
    # A study may name a corpus by a path, and its results by the name that stands there.
    at_home = [request.corpus in home.get(request.label, ()) for request in wanted]
    framed = np.array(at_home, dtype=bool).reshape(len(upstreams), len(groups))
    findings, rows = [], []
    for column, ((task, corpus), group) in enumerate(groups.items()):
        for i, label in enumerate(upstreams):
            there = "yes" if framed[i, column] else "no"
            rows.append((task, corpus, label, there, float(means[i, column])))
        for i in np.flatnonzero(framed[:, column]).tolist():
            pairs = compare_against(upstreams[i], group)
            beaten = sum(pair["separable"] and pair["difference"] < 0 for pair in pairs)
            better = [pair["a"] for pair in pairs if pair["separable"] and pair["difference"] > 0]
            untested = sorted({pair["untested"] for pair in pairs if pair["untested"]})
            if untested:
                findings.append(
                    f"{task} of {corpus}: {upstreams[i]}, pretrained there, was not tested against "
                    f"all others: {' and '.join(untested)}."
                )
                continue
            findings.append(
                f"{task} of {corpus}: {upstreams[i]}, pretrained there, is separably better than "
                f"{beaten} of the {len(pairs)} others"
                + (f" and worse than {', '.join(better)}." if better else " and worse than none.")
            )
    columns = [f"{task} – {corpus}" for task, corpus in groups]
    best = best_of_columns(means)
    return Section(
        title,
        tuple(findings),
        (NOTE.format(metric=metric_name(results.tasks)),),
        (
            Picture(
                title,
                "Rows: where it was pretrained; columns: where it is evaluated.",
                "A matrix of mean scores; the numbers are in the table.",
                matrix_figure(means, upstreams, columns, bold=best, framed=framed, by_column=True),
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
