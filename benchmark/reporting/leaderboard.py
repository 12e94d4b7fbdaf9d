"""Upstreams by how they rank on many tasks, with what they cost beside it.

`sections` are for a page, `terminal` for a terminal, and `every_score` is all of it as one table.

A *board* holds what was measured alike: by one protocol, one head, one selection of features, on
test or on dev. A *column* of it holds what may be ranked together: one task of one corpus, with the
same recordings, labels, splits and settings (the results' `comparison`). Where a task was measured
in two ways, they are two columns, and a note says how they differ. Ranks within a column are
`rank_intervals`, the average rank is that of `ranking`. Published scores stand in tables of their
own, without ranks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.figures.critical_difference import (
    critical_difference_figure,
    critical_difference_text,
)
from barlow_speech.benchmark.reporting.document import (
    Document,
    Entry,
    Part,
    Picture,
    Section,
    Table,
    Value,
)
from barlow_speech.benchmark.reporting.numbers import ABSENT, cost_text, interval, percent, spread
from barlow_speech.benchmark.reporting.published import PublishedTable, cited
from barlow_speech.benchmark.reporting.tables import MARK
from barlow_speech.benchmark.statistics.comparison import (
    NO_SEED,
    leaders,
    least_p,
    tied_neighbours,
    untested_pairs,
    why_untested,
)
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.ranking import Ranking, rank_intervals, ranking, verdict
from barlow_speech.benchmark.statistics.results import (
    DIGITS,
    LEVEL,
    Cost,
    TaskResult,
    by_task,
    place,
    values_by_seed,
)
from barlow_speech.benchmark.statistics.sources import dependent_runs, limits, over_text, scope
from barlow_speech.benchmark.statistics.summaries import DEPENDENT, cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.common.text import counted, listed

COSTS = {"parameters": "parameters", "macs_per_second": "MACs/s", "real_time_factor": "RTF"}
# What a reader may look for where one task was measured in two ways.
SETTINGS = (
    "steps", "batch", "lr_grid", "varied", "classes", "train_recordings", "dev_recordings",
    "test_recordings", "dataset",
)  # fmt: skip

# What a table of every score has, in the order of leaderboard.csv.
EVERY_SCORE = (
    "protocol", "head", "selection", "upstream", "task", "corpus", "comparison", "metric", "n",
    "mean", "std", "over", "ci95_low", "ci95_high", "runs_ci95_low", "runs_ci95_high", "rank",
    "rank_worst", "separable_from_best", "average_rank",
    *COSTS, "device", "threads", "published", "source", "eval_split",
)  # fmt: skip
MANY = 6  # upstreams in a column, from which it is said how many neighbours are tied
MAX_NAMES = 12  # that a note lists
MAX_IN_DIAGRAM = 20  # upstreams, as the diagram is made for

RANK_KEY = (
    "A rank is 1 + the number of {noun}s that are separably better (paired test over {over}, "
    "5 %, Holm-corrected within the column): what is not separated shares it. Beside it stands how "
    "low the rank may be: all true ranks of a column are inside in 95 of 100 repetitions."
)
MARK_KEY = MARK + ": the best mean, and every {noun} that the test does not separate from it."
AVERAGE_KEY = "Average rank: of the means, over {count} tasks; 1 is best."
CI_KEY = "Intervals are over {over}{more}."
RUNS_KEY = "; runs alone: with other runs on these very {items}"
COST_KEY = (
    "MACs/s: multiply-accumulates per second of speech. RTF (real-time factor): seconds of "
    "computing per second of speech, one recording at a time{device}."
)
FEWEST_KEY = (
    "{place}: with {count} runs of {systems} {noun}s no p can be under 5 % after Holm's correction "
    "({least:.2g} at the least), so that none are separated, however far apart they are; more runs "
    "or fewer {noun}s are needed."
)
SPLIT_KEY = "Scores are of {split}, on which choices are made, and not of test."
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

    result: TaskResult
    summary: dict[str, Any]
    rank: int | None
    worst: int | None  # the lowest rank that it may have; `rank` is the highest
    best: bool
    leading: bool  # the best mean, or not separated from it


@dataclass(frozen=True)
class Row:
    """An upstream: its average rank and, in the order of the columns, its scores."""

    upstream: str
    average_rank: float | None
    scores: tuple[Score | None, ...]

    def costs(self, key: str) -> list[Any]:
        """What the upstream's results say of a cost: each value once, from low to high."""
        values = {getattr(score.result.cost, key) for score in self.scores if score}
        return sorted(values - {None})

    @property
    def devices(self) -> list[str]:
        """Where the costs were measured, with the threads of a CPU."""
        return sorted({_device(s.result.cost) for s in self.scores if s and s.result.cost.device})


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
    noun: str = "upstream"
    eval_split: str = "test"

    @property
    def title(self) -> str:
        """The protocol, the selection, and the split where it is not test, as a heading."""
        parts = [f"protocol {self.protocol}" if self.protocol else "", self.selection]
        parts += [f"scores of {self.eval_split}"] if _apart(self.eval_split) else []
        title = ", ".join(filter(None, parts)).replace("hidden_states", "hidden states") or "scores"
        return title[:1].upper() + title[1:]

    @property
    def times(self) -> float:
        """By what its scores are multiplied where they are shown: fractions are percent."""
        return next((_times(one.result) for row in self.rows for one in row.scores if one), 100.0)

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
    noun: str = "upstream"
    remarks: tuple[str, ...] = ()  # on where the results come from


def leaderboard(
    results: Sequence[TaskResult],
    published: Sequence[PublishedTable] = (),
    metric: str = "top1",
    noun: str = "upstream",
    remarks: Sequence[str] = (),
) -> Leaderboard:
    """Sort the results of one metric into boards: best average rank first, then by name.

    An upstream has an average rank where it has a result on every task of its board, and another
    one has too. A task that was measured in several ways counts once (`ranking`). Published scores
    of another metric are left out. `noun` is what the page calls what is ranked, `remarks`
    are what is to be known of where the results come from.

    Raises:
        BarlowSpeechError: there are no results, or `by_task` refuses those of a column.
    """
    if not results:
        raise BarlowSpeechError("there are no results for a leaderboard; run a task first.")
    groups: dict[tuple[str, str, str, str], list[TaskResult]] = {}
    for result in results:
        setup = result.setup
        key = (setup.protocol, setup.head, setup.selection, _apart(setup.eval_split))
        groups.setdefault(key, []).append(result)
    tables = [
        dataclasses.replace(table, rows=tuple(row for row in table.rows if row.metric == metric))
        for table in published
    ]
    with progress(len(results), "leaderboard", "result") as bar:
        order = sorted(groups, key=lambda key: (bool(key[-1]), key))  # those of test come first
        boards = tuple(_board(groups[key], metric, bar, noun) for key in order)
    shown = tuple(table for table in tables if table.rows)
    return Leaderboard(metric, boards, shown, noun, tuple(remarks))


def merged(folders: Mapping[Path, Sequence[TaskResult]]) -> list[TaskResult]:
    """The results of several results folders in one list; what is identical in two is taken once.

    Raises:
        BarlowSpeechError: two results of one upstream, task, corpus and comparison differ, or one
            folder holds two; the folders are named.
    """
    taken: dict[tuple[Any, ...], tuple[Path, TaskResult]] = {}
    for folder, results in folders.items():
        for result in results:
            key = (
                result.upstream,
                result.task,
                result.corpus,
                result.metric,
                result.setup.comparison,
            )
            other, earlier = taken.setdefault(key, (folder, result))
            if earlier is result:
                continue
            if other == folder:
                raise BarlowSpeechError(
                    f"{folder} holds two results of {result}, as when a checkpoint was replaced by "
                    f"another one; remove the record that is out of date from {folder / 'records'}."
                )
            if (earlier.values, earlier.seeds) != (result.values, result.seeds):
                raise BarlowSpeechError(
                    f"{other} and {folder} hold different results of {result}; leave one of the "
                    "folders out, or run one of the two upstreams under another name (name@file)."
                )
    return [result for _, result in taken.values()]


def document(board: Leaderboard, intervals: bool = True) -> Document:
    """The page: a section for each board, and one for each table of published scores.

    The table of `intervals` has a row for each score, too many for a paper.
    """
    upstreams = {row.upstream for one in board.boards for row in one.rows}
    tasks = {(column.task, column.corpus) for one in board.boards for column in one.columns}
    counts = (counted(len(upstreams), board.noun), counted(len(tasks), "task"))
    title = f"{', '.join([metric_name(board.metric), *counts])}."
    published = (_published(table, board.metric) for table in board.published)
    return Document(
        "Leaderboard",
        "\n\n".join((title, *board.remarks)),
        (*(_section(one, intervals) for one in board.boards), *published),
    )


def _section(board: Board, intervals: bool) -> Section:
    """Scores with ranks and costs beside each other, the diagram of the ranks, the intervals."""
    head = f"Head: {board.head}. " if board.head else ""
    meaning = (
        f"{head}{metric_name(board.metric)}{' in percent' if board.times > 1 else ''}, mean ± "
        "standard deviation over the runs, and in brackets the rank in the column and its "
        "interval. Bold: the best mean of a column."
    )
    heads = (f"{column.task}\n{column.label}".strip() for column in board.columns)
    columns = (*_heads(board), *heads, *_costs(board).values())
    rows = tuple((*_names(row), *map(_entry, row.scores), *cost_texts(board, row))
                 for row in board.rows)  # fmt: skip
    parts: list[Part] = [Table(board.title, meaning, columns, rows)]
    ranked = board.ranking
    if ranked and ranked.critical_difference and len(ranked.upstreams) <= MAX_IN_DIAGRAM:
        figure, words = critical_difference_figure(ranked), critical_difference_text(ranked)
        parts.append(Picture(f"{board.title} ranks", "", words, figure))
    if intervals:
        parts.append(_by_column(board, f"{board.title}: intervals"))
    return Section(board.title, _findings(board), notes(board, intervals), tuple(parts))


def _heads(board: Board) -> tuple[str, str]:
    return board.noun, "average rank"


def _costs(board: Board) -> dict[str, str]:
    """The costs that a board shows: all of them, or none where nothing is known of any."""
    return COSTS if any(row.costs(key) for row in board.rows for key in COSTS) else {}


def _names(row: Row) -> tuple[str, str]:
    return row.upstream, rank_text(row.average_rank)


def _entry(score: Score | None) -> Entry | None:
    if score is None:
        return None
    rank = "" if score.rank is None else f"({span_text(score)})"
    return Entry(score_text(score), score.best, score.leading, rank)


def _published(table: PublishedTable, metric: str) -> Section:
    rows = tuple(
        (row.upstream, row.task, row.corpus, _source(row.source, row.note), f"{row.score:.2f}")
        for row in table.rows
    )
    about = [PUBLISHED_KEY, f"{metric_name(metric)} in percent.", f"{table.citation}.", table.note]
    columns = ("upstream", "task", "corpus", "source", "published")
    shown = Table(f"Published {table.name}", " ".join(filter(None, about)), columns, rows, texts=4)
    return Section(f"Published: {table.name}", (), (), (shown,), apart=True)


def _source(source: str, note: str) -> Entry:
    """The source, as a link where it is an address; nothing is fetched before it is followed."""
    link = source if source.startswith(("https://", "http://")) else ""
    return Entry(source, link=link, beside=f"({note})" if note else "")


def terminal(board: Leaderboard) -> Document:
    """Of each board the average ranks and costs, then each of its columns, best first."""
    sections = []
    for one in board.boards:
        rows = tuple((*_names(row), *cost_texts(one, row)) for row in one.rows)
        upstreams = Table("", "", (*_heads(one), *_costs(one).values()), rows)
        sections += [
            Section(one.title, (), (), (upstreams,)),
            Section("", _findings(one), notes(one), (_by_column(one),)),
        ]
    for published in board.published:
        scores = tuple(
            (score.task, score.corpus, score.upstream, f"{score.score:.2f}")
            for score in published.rows
        )
        metric = METRICS.get(board.metric, board.metric)
        columns = ("task", "corpus", "upstream", f"published {metric} (%)")
        table = Table("", "", columns, scores, texts=3, groups=2)
        sections.append(Section("", (), (f"{published.name}. {PUBLISHED_KEY}",), (table,)))
    if board.remarks:
        sections.append(Section("", (), board.remarks, ()))
    return Document("", "", tuple(sections))


def _beyond_runs(board: Board) -> bool:
    """Whether some interval is over recordings or speakers too, so that the runs' is another."""
    scores = (score for row in board.rows for score in row.scores if score)
    return any(scope(one.result).clusters and one.summary["runs_ci95"] for one in scores)


def _by_column(board: Board, title: str = "") -> Table:
    scores = metric_name(board.metric) + (" (%)" if board.times > 1 else "")
    rows: list[dict[str, Value]] = []
    for at, column in enumerate(board.columns):
        scored = [(row, score) for row in board.rows if (score := row.scores[at])]
        scored.sort(key=lambda pair: (pair[1].rank or 0, -pair[1].summary["mean"]))
        rows += [
            {
                "task": column.task, "corpus": column.label,
                board.noun: Entry(row.upstream, marked=score.leading), "rank": span_text(score),
                scores: score_text(score),
                "95 % CI": interval(score.summary["ci95"], board.times),
                "runs alone": interval(score.summary["runs_ci95"], board.times),
                "n": score.summary["n"],
            }
            for row, score in scored
        ]  # fmt: skip
    left_out = set() if _beyond_runs(board) else {"runs alone"}
    left_out |= set() if any(column.label for column in board.columns) else {"corpus"}
    columns = [name for name in rows[0] if name not in left_out]
    values = tuple(tuple(row[name] for name in columns) for row in rows)
    names = columns.index("rank")
    return Table(title, "", tuple(columns), values, texts=names, groups=names - 1)


def every_score(board: Leaderboard) -> Table:
    """A row for each upstream and column, then one for each published score; scores are fractions.

    `separable_from_best` is None where nothing was compared, and so is every number that a
    published score does not have.
    """
    rows: list[dict[str, Any]] = []
    for one in board.boards:
        for row in one.rows:
            for column, score in zip(one.columns, row.scores):
                if score is None:
                    continue
                low, high = score.summary["ci95"] or (None, None)
                low_of_runs, high_of_runs = score.summary["runs_ci95"] or (None, None)
                apart = None if score.rank is None else str(not score.leading).lower()
                rows.append(
                    vars(one) | vars(column) | vars(row) | vars(score.result.cost) | score.summary
                    | {"ci95_low": low, "ci95_high": high, "runs_ci95_low": low_of_runs,
                       "runs_ci95_high": high_of_runs, "rank": score.rank,
                       "rank_worst": score.worst, "separable_from_best": apart,
                       "published": "false"}
                )  # fmt: skip
    for table in board.published:
        for other in table.rows:
            mean = round(other.score / 100.0, DIGITS)
            rows.append(vars(other) | {"mean": mean, "published": "true", "source": cited(other)})
    values = tuple(tuple(row.get(name) for name in EVERY_SCORE) for row in rows)
    return Table("leaderboard", "", EVERY_SCORE, values)


def notes(board: Board, intervals: bool = True) -> tuple[str, ...]:
    """What the marks and numbers of a board mean, and what limits its ranks or is apart."""
    sentences = []
    if _apart(board.eval_split):
        sentences.append(SPLIT_KEY.format(split=board.eval_split))
    scores = [score for row in board.rows for score in row.scores if score]
    over = over_text([score.result for score in scores])
    if any(score.rank for score in scores):
        sentences += [RANK_KEY.format(over=over, noun=board.noun), MARK_KEY.format(noun=board.noun)]
    if intervals:
        items = "recordings" if board.noun == "upstream" else "items"
        more = RUNS_KEY.format(items=items) if _beyond_runs(board) else ""
        sentences.append(CI_KEY.format(over=over, more=more))
    sentences += limits([score.result for score in scores])
    ranked = board.ranking
    if ranked is not None:
        sentences.append(AVERAGE_KEY.format(count=len(ranked.blocks)))
    if any(row.costs(key) for row in board.rows for key in COSTS):
        device = f" ({board.devices[0]})" if len(board.devices) == 1 else ""
        sentences.append(COST_KEY.format(device=device))
    bounds = [*ranked.notes, *ranked.left_out] if ranked else []
    return (*sentences, *bounds, *board.notes)


def _findings(board: Board) -> tuple[str, ...]:
    return (f"Across tasks: {verdict(board.ranking)}",) if board.ranking else ()


def score_text(score: Score) -> str:
    """Mean ± standard deviation, in percent where it is a fraction, without rank and marks."""
    mean, std, times = score.summary["mean"], score.summary["std"], _times(score.result)
    return percent(mean, times) if std is None else spread(mean, std, times)


def _times(result: TaskResult) -> float:
    """100 for a fraction."""
    return 100.0 if result.bounds == (0.0, 1.0) else 1.0


def span_text(score: Score) -> str:
    """A rank, with the lowest that it may be where that is another: "1–3"; a dash for None."""
    if score.rank is None:
        return ABSENT
    return str(score.rank) if score.worst == score.rank else f"{score.rank}–{score.worst}"


def rank_text(average_rank: float | None) -> str:
    """An average rank; a dash for None."""
    return ABSENT if average_rank is None else f"{average_rank:.2f}"


def cost_texts(board: Board, row: Row) -> list[str]:
    """A row's entries under `COSTS`: from low to high where its results differ.

    With several devices on one board, each real-time factor names its own.
    """
    texts = []
    for key in _costs(board):
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


def _apart(eval_split: str) -> str:
    """The split where it is known and not test."""
    return "" if eval_split == "test" else eval_split


def _board(
    results: Sequence[TaskResult],
    metric: str,
    bar: Any,
    noun: str,
) -> Board:
    groups: dict[tuple[str, str, str], list[TaskResult]] = {}
    for result in results:
        groups.setdefault((result.task, result.corpus, result.setup.comparison), []).append(result)
    ways = Counter((task, corpus) for task, corpus, _ in groups)
    columns, placed = [], []
    for task, corpus, comparison in sorted(groups):
        group = groups[task, corpus, comparison]
        told = "" if ways[task, corpus] == 1 else f" #{comparison[:6] or '?'}"
        label = f"{corpus}{told}".strip()
        columns.append(Column(task, corpus, label, comparison))
        placed.append(_scores(group))
        bar.update(len(group))

    dependent = [DEPENDENT] if any(map(dependent_runs, results)) else []
    names = sorted({result.upstream for result in results})
    tasks: dict[tuple[str, str], set[str]] = {}  # who has a result in any of its columns
    for column, scores in zip(columns, placed):
        tasks.setdefault((column.task, column.corpus), set()).update(scores)
    complete = [name for name in names if all(name in there for there in tasks.values())]
    ranked, remarks = None, [*_ways(columns, placed), *dependent]
    remarks += [*_untested(placed, noun), *_tied(placed), *_noted(placed), *_other_audio(placed)]
    if len(tasks) == 1:
        ways_too = ", in however many ways it was measured" if len(columns) > 1 else ""
        remarks.append(f"One task has no average rank{ways_too}.")
    elif len(tasks) > 1 and len(complete) > 1:
        try:
            ranked = ranking(results, complete, lambda result: result.setup.comparison, noun)
        except BarlowSpeechError:  # of no task all of them have one variant
            remarks.append("No task was measured alike for all: there is no average rank.")
        remarks += _incomplete([name for name in names if name not in complete], tasks)
    elif len(tasks) > 1 and len(names) > 1:
        remarks.append(f"No two {noun}s have a result in every column: there is no average rank.")
    if ranked is not None and len(ranked.blocks) < 2:
        remarks += [*ranked.left_out, "One task that all have has no average rank."]
        ranked = None
    average = dict(zip(ranked.upstreams, ranked.ranks)) if ranked else {}
    rows = [
        Row(name, average.get(name), tuple(scores.get(name) for scores in placed)) for name in names
    ]
    rows.sort(key=_order)
    setup = results[0].setup
    return Board(
        setup.protocol, setup.head, setup.selection, metric, tuple(columns), tuple(rows), ranked,
        tuple(remarks), noun, setup.eval_split,
    )  # fmt: skip


def _scores(group: Sequence[TaskResult]) -> dict[str, Score]:
    """The places in one column, by upstream."""
    by_task(group)  # refuses what cannot be compared
    alone = len(group) == 1
    untested = why_untested(group)
    ranks = {} if untested else rank_intervals(group)
    leading = [] if untested else leaders(group)
    summaries = {result.upstream: cell_summary(result) for result in group}
    highest = max(round(one["mean"], DIGITS) for one in summaries.values())
    return {
        result.upstream: Score(
            result,
            summaries[result.upstream],
            ranks[result.upstream][0] if ranks else None,
            ranks[result.upstream][1] if ranks else None,
            not alone and round(summaries[result.upstream]["mean"], DIGITS) == highest,
            result.upstream in leading,
        )
        for result in group
    }


def _order(row: Row) -> tuple[float, float, float, str]:
    """By average rank, then name; on a board of one column by rank and mean in it, then name."""
    average = float("inf") if row.average_rank is None else row.average_rank
    only = row.scores[0] if len(row.scores) == 1 else None
    rank, mean = (only.rank or 0, round(only.summary["mean"], DIGITS)) if only else (0, 0.0)
    return average, rank, -mean, row.upstream


def _untested(placed: Sequence[Mapping[str, Score]], noun: str) -> list[str]:
    """A sentence for each thing about the runs of a column that leaves some of it untested."""
    sentences = []
    for scores in placed:
        results = [score.result for score in scores.values()]
        where, seeds = results[0].place, [set(values_by_seed(result)) for result in results]
        alone = all(scope(result).runs_alone for result in results)
        apart = [pair for pair in untested_pairs(results) if pair[2] == NO_SEED]
        if apart:
            a, b, _ = apart[0]
            more = f", nor do {len(apart) - 1} more pairs" if len(apart) > 1 else ""
            sentences.append(
                f"{where}: {a} and {b} have no seed in common{more}; runs that do not pair are not "
                "tested."
            )
        elif any(one != seeds[0] for one in seeds):
            sentences.append(
                f"{where}: the {noun}s have unlike seeds; every two are compared by those that "
                "both have, while means and intervals are over all that each has."
            )
        least = least_p(results)
        if alone and len(results) > 1 and least is not None and least >= LEVEL:
            count = min(map(len, seeds))
            sentences.append(
                FEWEST_KEY.format(
                    place=where, count=count, systems=len(results), noun=noun, least=least
                )
            )
    return sentences


def _noted(placed: Sequence[Mapping[str, Score]]) -> list[str]:
    """What the results note of themselves, such as a leak that was allowed, each once."""
    places: dict[str, dict[str, None]] = {}
    for scores in placed:
        results = [score.result for score in scores.values()]
        for note in dict.fromkeys(note for result in results for note in result.notes):
            having = [result for result in results if note in result.notes]
            whole = len(having) == len(results)
            names = [results[0].place] if whole else map(str, having)
            places.setdefault(note, {}).update(dict.fromkeys(names))
    return [f"Noted of {listed(list(names), most=4)}: {note}." for note, names in places.items()]


def _other_audio(placed: Sequence[Mapping[str, Score]]) -> list[str]:
    """A sentence for each column whose recordings were others, though listed as the same."""
    sentences = []
    for scores in placed:
        results = [score.result for score in scores.values() if score.result.setup.audio]
        groups: dict[str, list[str]] = {}
        for result in results:
            groups.setdefault(result.setup.audio, []).append(result.upstream)
        if len(groups) > 1:
            who = "; ".join(map(_named, groups.values()))
            sentences.append(
                f"{results[0].place}: the manifest lists the same recordings, but their samples "
                f"are not the same for all ({who}); evaluate again what is of the older ones."
            )
    return sentences


def _tied(placed: Sequence[Mapping[str, Score]]) -> list[str]:
    """How many neighbours are not separated, where there are many."""
    each = []
    for scores in placed:
        results = [score.result for score in scores.values()]
        if len(results) >= MANY and any(score.rank for score in scores.values()):
            tied, pairs = tied_neighbours(results)
            each.append(f"{tied} of {pairs} on {results[0].place}")
    said = f"Neighbours in the order of means that are not separated: {', '.join(each)}."
    return [said] if each else []


def _ways(columns: Sequence[Column], placed: Sequence[Mapping[str, Score]]) -> list[str]:
    """A sentence for each task that was measured in several ways."""
    likes: dict[tuple[str, str], list[tuple[Column, list[TaskResult]]]] = {}
    for column, scores in zip(columns, placed):
        results = [score.result for score in scores.values()]
        likes.setdefault((column.task, column.corpus), []).append((column, results))
    sentences = []
    for (task, corpus), several in likes.items():
        if len(several) == 1:
            continue
        differing = []
        for key in SETTINGS:
            values = [_listed(getattr(results[0].setup, key)) for _, results in several]
            if len(set(values)) > 1:
                differing.append(f"{key.replace('_', ' ')} ({' and '.join(values)})")
        who = "; ".join(
            f"{column.label.removeprefix(corpus).strip()}: "
            f"{_named([result.upstream for result in results])}"
            for column, results in several
        )
        how = ", ".join(differing) or "recordings, labels, splits or settings of the protocol"
        sentences.append(
            f"{place(task, corpus)} was measured in {len(several)} ways, which are not ranked "
            f"together ({who}); they differ in {how}."
        )
    return sentences


def _incomplete(names: Sequence[str], tasks: Mapping[tuple[str, str], set[str]]) -> list[str]:
    """A sentence for all that lack the same tasks."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        missing = tuple(place(*task) for task, there in tasks.items() if name not in there)
        lacking.setdefault(missing, []).append(name)
    sentences = []
    for (first, *more), who in lacking.items():
        others = f" and {len(more)} more" if more else ""
        verb = "has" if len(who) == 1 else "have"
        sentences.append(f"{_named(who)} {verb} no average rank: no result on {first}{others}.")
    return sentences


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MAX_NAMES else listed(names, most=MAX_NAMES)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _device(cost: Cost) -> str:
    device, threads = str(cost.device), cost.threads
    if not device.startswith("cpu") or threads is None:
        return device
    return f"{device}, {counted(threads, 'thread')}"
