"""Upstreams by how they rank on many tasks, with what they cost beside it.

A *board* holds what was measured alike: by one protocol, one head, one selection of features. A
*column* of it holds what may be ranked together: one task of one corpus, with the same recordings,
labels, splits and settings (the cells' `comparison`). Where a task was measured in two ways, they
are two columns, and a note says how they differ. Ranks within a column are `shared_ranks`, the
average rank is that of `ranking`. Published scores stand in tables of their own, without ranks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.reporting.numbers import ABSENT, cost_text
from barlow_speech.benchmark.reporting.published import PublishedTable
from barlow_speech.benchmark.statistics.comparison import leaders
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.ranking import Ranking, ranking, shared_ranks, verdict
from barlow_speech.benchmark.statistics.results import (
    DIGITS,
    Cost,
    TaskResult,
    by_task,
    shares_levels,
)
from barlow_speech.benchmark.statistics.summaries import DEPENDENT, cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress

COSTS = {"parameters": "parameters", "macs_per_second": "MACs/s", "real_time_factor": "RTF"}
# What a reader may look for where one task was measured in two ways.
SETTINGS = (
    "steps", "batch", "lr_grid", "varied", "classes", "train_recordings", "dev_recordings",
    "test_recordings",
)  # fmt: skip

RANK_KEY = (
    "A rank is 1 + the number of upstreams that are separably better (paired sign-flip test, 5 %, "
    "Holm-corrected within the column): what the runs do not separate shares it."
)
BOLD_KEY = "Bold: the best mean of a column."
MARK_KEY = "{mark}: the best mean, and every upstream that the test does not separate from it."
AVERAGE_KEY = "Average rank: of the means, over {count} tasks; 1 is best."
COST_KEY = (
    "MACs/s: multiply-accumulates per second of speech. RTF (real-time factor): seconds of "
    "computing per second of speech, one recording at a time{device}."
)
PUBLISHED_KEY = "Published by others: not measured here, and not ranked."


@dataclass(frozen=True)
class Column:
    """One task of one corpus, measured in one way; `label` is the corpus, told from its likes."""

    task: str
    corpus: str
    label: str
    comparison: str


@dataclass(frozen=True)
class Score:
    """An upstream's place in a column. Alone in it, or not tested, it has no rank and no mark."""

    cell: TaskResult
    summary: dict[str, Any]
    rank: int | None
    best: bool
    leading: bool  # the best mean, or not separated from it


@dataclass(frozen=True)
class Row:
    """An upstream: its average rank and, in the order of the columns, its scores."""

    upstream: str
    average_rank: float | None
    scores: tuple[Score | None, ...]

    def costs(self, key: str) -> list[Any]:
        """What the upstream's cells say of a cost: each value once, from low to high."""
        values = {getattr(score.cell.cost, key) for score in self.scores if score}
        return sorted(values - {None})

    @property
    def devices(self) -> list[str]:
        """Where the costs were measured, with the threads of a CPU."""
        return sorted({_device(s.cell.cost) for s in self.scores if s and s.cell.cost.device})


@dataclass(frozen=True)
class Board:
    """What was measured by one protocol with one head on one selection of features."""

    protocol: str
    head: str
    selection: str
    metric: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    ranking: Ranking | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The protocol and the selection, as a heading."""
        parts = [f"protocol {self.protocol}" if self.protocol else "", self.selection]
        title = ", ".join(filter(None, parts)).replace("hidden_states", "hidden states")
        return title[:1].upper() + title[1:]

    @property
    def devices(self) -> list[str]:
        """Where the costs were measured, each device once."""
        return sorted({device for row in self.rows for device in row.devices})


@dataclass(frozen=True)
class Leaderboard:
    """Boards of measured scores, and tables of published ones of the same metric."""

    metric: str
    boards: tuple[Board, ...]
    published: tuple[PublishedTable, ...]


def leaderboard(
    cells: Sequence[TaskResult], published: Sequence[PublishedTable] = (), metric: str = "top1"
) -> Leaderboard:
    """Sort the cells of one metric into boards: best average rank first, then by name.

    An upstream has an average rank where it has a result on every task of its board, and another
    one has too. A task that was measured in several ways counts once (`ranking`). Published scores
    of another metric are left out.

    Raises:
        BarlowSpeechError: there are no cells, or `by_task` refuses those of a column.
    """
    if not cells:
        raise BarlowSpeechError("there are no results for a leaderboard; run a task first.")
    groups: dict[tuple[str, str, str], list[TaskResult]] = {}
    for cell in cells:
        setup = cell.setup
        groups.setdefault((setup.protocol, setup.head, setup.selection), []).append(cell)
    tables = [
        dataclasses.replace(table, rows=tuple(row for row in table.rows if row.metric == metric))
        for table in published
    ]
    with progress(len(cells), "leaderboard", "cell") as bar:
        boards = tuple(_board(*key, groups[key], metric, bar) for key in sorted(groups))
    return Leaderboard(metric, boards, tuple(table for table in tables if table.rows))


def merged(found: Mapping[Path, Sequence[TaskResult]]) -> list[TaskResult]:
    """The cells of several results folders in one list; what is identical in two is taken once.

    Raises:
        BarlowSpeechError: two results of one upstream, task, corpus and comparison differ, or one
            folder holds two; the folders are named.
    """
    taken: dict[tuple[Any, ...], tuple[Path, TaskResult]] = {}
    for folder, cells in found.items():
        for cell in cells:
            key = (cell.upstream, cell.task, cell.corpus, cell.metric, cell.setup.comparison)
            other, earlier = taken.setdefault(key, (folder, cell))
            if earlier is cell:
                continue
            if other == folder:
                raise BarlowSpeechError(
                    f"{folder} holds two results of {cell}, as when a checkpoint was replaced by "
                    f"another one; remove the record that is out of date from {folder / 'records'}."
                )
            if (earlier.values, earlier.seeds) != (cell.values, cell.seeds):
                raise BarlowSpeechError(
                    f"{other} and {folder} hold different results of {cell}; leave one of the "
                    "folders out, or run one of the two upstreams under another name (name@file)."
                )
    return [cell for _, cell in taken.values()]


def keys(board: Board, mark: str) -> list[str]:
    """What the marks and numbers of a board mean, a sentence or two each."""
    found = []
    if any(score and score.rank for row in board.rows for score in row.scores):
        found += [RANK_KEY, MARK_KEY.format(mark=mark)]
    if board.ranking is not None:
        found.append(AVERAGE_KEY.format(count=len(board.ranking.blocks)))
    if any(row.costs(key) for row in board.rows for key in COSTS):
        device = f" ({board.devices[0]})" if len(board.devices) == 1 else ""
        found.append(COST_KEY.format(device=device))
    return found


def notes(board: Board) -> list[str]:
    """What a reader must know about the ranks: the verdict, its limits, and what is apart."""
    ranked = board.ranking
    if ranked is None:
        return list(board.notes)
    return [f"Across tasks: {verdict(ranked)}", *ranked.notes, *ranked.left_out, *board.notes]


def score_text(score: Score) -> str:
    """Mean ± standard deviation in percent, without rank and marks."""
    mean, std = score.summary["mean"], score.summary["std"]
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def rank_text(average_rank: float | None) -> str:
    """An average rank; a dash for None."""
    return ABSENT if average_rank is None else f"{average_rank:.2f}"


def cost_texts(board: Board, row: Row) -> list[str]:
    """A row's entries under `COSTS`: from low to high where its cells differ.

    With several devices on one board, each real-time factor names its own.
    """
    texts = []
    for key in COSTS:
        distinct = list(dict.fromkeys(cost_text(key, value) for value in row.costs(key)))
        text = "–".join(distinct[:: max(1, len(distinct) - 1)]) or ABSENT
        if key == "real_time_factor" and distinct and len(board.devices) > 1:
            text += f" ({'; '.join(row.devices)})"
        texts.append(text)
    return texts


def metric_name(metric: str) -> str:
    """A metric as it stands at the start of a sentence."""
    name = METRICS.get(metric, metric)
    return name[:1].upper() + name[1:]


def _board(
    protocol: str, head: str, selection: str, cells: Sequence[TaskResult], metric: str, bar: Any
) -> Board:
    groups: dict[tuple[str, str, str], list[TaskResult]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.corpus, cell.setup.comparison), []).append(cell)
    ways = Counter((task, corpus) for task, corpus, _ in groups)
    columns, placed = [], []
    for task, corpus, comparison in sorted(groups):
        group = groups[task, corpus, comparison]
        label = corpus if ways[task, corpus] == 1 else f"{corpus} #{comparison[:6] or '?'}"
        columns.append(Column(task, corpus, label, comparison))
        placed.append(_scores(group))
        bar.update(len(group))

    dependent = [DEPENDENT] if any(map(shares_levels, cells)) else []
    names = sorted({cell.upstream for cell in cells})
    tasks: dict[tuple[str, str], set[str]] = {}  # who has a result in any of its columns
    for column, scores in zip(columns, placed):
        tasks.setdefault((column.task, column.corpus), set()).update(scores)
    complete = [name for name in names if all(name in there for there in tasks.values())]
    ranked, remarks = None, [*_ways(columns, placed), *dependent]
    if len(tasks) == 1 < len(columns):
        remarks.append("One task has no average rank, in however many ways it was measured.")
    elif len(tasks) > 1 and len(complete) > 1:
        try:
            ranked = ranking(cells, complete, lambda cell: cell.setup.comparison)
        except BarlowSpeechError:  # of no task all of them have one variant
            remarks.append("No task was measured alike for all: there is no average rank.")
        remarks += [_incomplete(name, tasks) for name in names if name not in complete]
    elif len(tasks) > 1 and len(names) > 1:
        remarks.append("No two upstreams have a result in every column: there is no average rank.")
    if ranked is not None and len(ranked.blocks) < 2:
        remarks += [*ranked.left_out, "One task that all have has no average rank."]
        ranked = None
    average = dict(zip(ranked.upstreams, ranked.ranks)) if ranked else {}
    rows = [
        Row(name, average.get(name), tuple(scores.get(name) for scores in placed)) for name in names
    ]
    rows.sort(key=_order)
    return Board(
        protocol, head, selection, metric, tuple(columns), tuple(rows), ranked, tuple(remarks)
    )


def _scores(group: Sequence[TaskResult]) -> dict[str, Score]:
    """The places in one column, by upstream."""
    by_task(group)  # refuses what cannot be compared
    alone = len(group) == 1
    untested = alone or any(map(shares_levels, group))
    ranks = {} if untested else shared_ranks(group)
    leading = [] if untested else leaders(group)
    summaries = {cell.upstream: cell_summary(cell) for cell in group}
    highest = max(round(one["mean"], DIGITS) for one in summaries.values())
    return {
        cell.upstream: Score(
            cell,
            summaries[cell.upstream],
            ranks.get(cell.upstream),
            not alone and round(summaries[cell.upstream]["mean"], DIGITS) == highest,
            cell.upstream in leading,
        )
        for cell in group
    }


def _order(row: Row) -> tuple[float, float, str]:
    """By average rank, then name; on a board of one column by the rank in it, then name."""
    average = float("inf") if row.average_rank is None else row.average_rank
    only = row.scores[0] if len(row.scores) == 1 else None
    return average, (only.rank or 0) if only else 0, row.upstream


def _ways(columns: Sequence[Column], placed: Sequence[Mapping[str, Score]]) -> list[str]:
    """A sentence for each task that was measured in several ways."""
    likes: dict[tuple[str, str], list[tuple[Column, list[TaskResult]]]] = {}
    for column, scores in zip(columns, placed):
        cells = [score.cell for score in scores.values()]
        likes.setdefault((column.task, column.corpus), []).append((column, cells))
    sentences = []
    for (task, corpus), several in likes.items():
        if len(several) == 1:
            continue
        differing = []
        for key in SETTINGS:
            values = [_listed(getattr(cells[0].setup, key)) for _, cells in several]
            if len(set(values)) > 1:
                differing.append(f"{key.replace('_', ' ')} ({' and '.join(values)})")
        who = "; ".join(
            f"{column.label.removeprefix(corpus).strip()}: "
            f"{', '.join(cell.upstream for cell in cells)}"
            for column, cells in several
        )
        how = ", ".join(differing) or "recordings, labels, splits or settings of the protocol"
        sentences.append(
            f"{task} of {corpus} was measured in {len(several)} ways, which are not ranked "
            f"together ({who}); they differ in {how}."
        )
    return sentences


def _incomplete(name: str, tasks: Mapping[tuple[str, str], set[str]]) -> str:
    missing = [
        f"{task} of {corpus}" for (task, corpus), there in tasks.items() if name not in there
    ]
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{name} has no average rank: no result on {missing[0]}{more}."


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _device(cost: Cost) -> str:
    device, threads = str(cost.device), cost.threads
    if not device.startswith("cpu") or threads is None:
        return device
    return f"{device}, {threads} thread{'' if threads == 1 else 's'}"
