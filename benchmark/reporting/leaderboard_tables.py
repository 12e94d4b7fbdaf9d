"""A leaderboard for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap

from barlow_speech.benchmark.reporting.leaderboard import (
    BOLD_KEY,
    COSTS,
    PUBLISHED_KEY,
    Board,
    Leaderboard,
    Score,
    cost_texts,
    keys,
    metric_name,
    notes,
    rank_text,
    score_text,
)
from barlow_speech.benchmark.reporting.numbers import ABSENT, MARK, interval, markdown_escape
from barlow_speech.benchmark.reporting.published import cited
from barlow_speech.benchmark.reporting.tables import aligned
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import DIGITS
from barlow_speech.upstream.common.text import printable

WIDTH = 96  # columns of a terminal, for sentences
CSV_HEADER = (
    "protocol", "head", "selection", "upstream", "task", "corpus", "comparison", "metric", "n",
    "mean", "std", "ci95_low", "ci95_high", "rank", "separable_from_best", "average_rank",
    *COSTS, "device", "threads", "published", "source",
)  # fmt: skip


def text_leaderboard(board: Leaderboard) -> str:
    """For a terminal: of each board the average ranks and costs, then each column, best first."""
    parts = []
    for one in board.boards:
        rows = [
            [f"  {printable(row.upstream)}", rank_text(row.average_rank), *cost_texts(one, row)]
            for row in one.rows
        ]
        header = ["", "average rank", *COSTS.values()]
        title = [printable(one.title)] if one.title else []
        parts.append("\n".join([*title, *aligned(header, [("", rows)])]))
        header = ["", "rank", f"{metric_name(one.metric)} (%)", "95 % CI", "n"]
        parts.append("\n".join(aligned(header, _text_columns(one))))
        sentences = map(printable, [*keys(one, MARK), *notes(one)])
        parts.append("\n".join(textwrap.fill(text, WIDTH) for text in sentences))
    for table in board.published:
        tasks: dict[str, list[list[str]]] = {}
        for score in table.rows:
            where = f"{printable(score.task)} – {printable(score.corpus)}"
            line = [f"  {printable(score.upstream)}", f"{score.score:.2f}"]
            tasks.setdefault(where, []).append(line)
        parts.append(textwrap.fill(f"{printable(table.name)}. {PUBLISHED_KEY}", WIDTH))
        header = ["", f"published {METRICS.get(board.metric, board.metric)} (%)"]
        parts.append("\n".join(aligned(header, list(tasks.items()))))
    return "\n\n".join(parts) + "\n"


def _text_columns(board: Board) -> list[tuple[str, list[list[str]]]]:
    blocks = []
    for at, column in enumerate(board.columns):
        scored = [(row, score) for row in board.rows if (score := row.scores[at])]
        scored.sort(key=lambda pair: (pair[1].rank or 0, -pair[1].summary["mean"]))
        lines = [
            [
                f"{MARK if score.leading else ' '} {printable(row.upstream)}",
                ABSENT if score.rank is None else str(score.rank),
                score_text(score),
                interval(score.summary["ci95"]),
                str(score.summary["n"]),
            ]
            for row, score in scored
        ]
        blocks.append((f"{printable(column.task)} – {printable(column.label)}", lines))
    return blocks


def markdown_leaderboard(board: Leaderboard) -> str:
    """A table for each board, names escaped; published scores in tables of their own."""
    lines = ["# Leaderboard", ""]
    for one in board.boards:
        lines += [f"## {markdown_escape(one.title)}", ""] if one.title else []
        lines += [f"Head: {markdown_escape(one.head)}.", ""] if one.head else []
        heads = [
            f"{markdown_escape(column.task)}<br>{markdown_escape(column.label)}"
            for column in one.columns
        ]
        lines += [
            f"| upstream | average rank | {' | '.join([*heads, *COSTS.values()])} |",
            "|---|" + "---:|" * (1 + len(COSTS) + len(heads)),
        ]
        for row in one.rows:
            entries = [rank_text(row.average_rank), *map(_markdown_score, row.scores)]
            entries += map(markdown_escape, cost_texts(one, row))
            lines.append(f"| {markdown_escape(row.upstream)} | {' | '.join(entries)} |")
        meanings = [score_key(board.metric), BOLD_KEY, *keys(one, MARK)]
        lines += ["", " ".join(map(markdown_escape, meanings)), ""]
        remarks = [f"- {markdown_escape(note)}" for note in notes(one)]
        lines += [*remarks, ""] if remarks else []
    for table in board.published:
        about = " ".join(filter(None, [f"{table.citation}.", table.note]))
        lines += [
            f"## Published: {markdown_escape(table.name)}",
            "",
            f"{PUBLISHED_KEY} {metric_name(board.metric)} in percent. {markdown_escape(about)}",
            "",
            "| upstream | task | corpus | published | source |",
            "|---|---|---|---:|---|",
        ]
        for score in table.rows:
            names = (score.upstream, score.task, score.corpus, f"{score.score:.2f}", cited(score))
            lines.append(f"| {' | '.join(map(markdown_escape, names))} |")
        lines.append("")
    return "\n".join(lines)


def score_key(metric: str) -> str:
    """How an entry of a column reads."""
    return (
        f"{metric_name(metric)} in percent, mean ± standard deviation over the runs, and in "
        "brackets the rank in the column."
    )


def _markdown_score(score: Score | None) -> str:
    if score is None:
        return ABSENT
    text = f"**{score_text(score)}**" if score.best else score_text(score)
    rank = "" if score.rank is None else f" ({score.rank})"
    return f"{text}{rank}" + (f" \\{MARK}" if score.leading else "")


def csv_leaderboard(board: Leaderboard) -> str:
    """A row for each upstream and column, then one for each published score; scores are fractions.

    `separable_from_best` is empty where nothing was compared, and so is every number that a
    published score does not have. Names are as they are, quoted where CSV needs it.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    for one in board.boards:
        for row in one.rows:
            for column, score in zip(one.columns, row.scores):
                if score is None:
                    continue
                low, high = score.summary["ci95"] or (None, None)
                apart = "" if score.rank is None else str(not score.leading).lower()
                writer.writerow(
                    {
                        "protocol": one.protocol,
                        "head": one.head,
                        "selection": one.selection,
                        "upstream": row.upstream,
                        "task": column.task,
                        "corpus": column.corpus,
                        "comparison": column.comparison,
                        "metric": one.metric,
                        **{key: score.summary[key] for key in ("n", "mean", "std")},
                        "ci95_low": low,
                        "ci95_high": high,
                        "rank": score.rank,
                        "separable_from_best": apart,
                        "average_rank": row.average_rank,
                        **{
                            key: getattr(score.cell.cost, key)
                            for key in (*COSTS, "device", "threads")
                        },
                        "published": "false",
                    }
                )
    for table in board.published:
        for published in table.rows:
            writer.writerow(
                {
                    "upstream": published.upstream,
                    "task": published.task,
                    "corpus": published.corpus,
                    "metric": published.metric,
                    "mean": round(published.score / 100.0, DIGITS),
                    "published": "true",
                    "source": cited(published),
                }
            )
    return text.getvalue()
