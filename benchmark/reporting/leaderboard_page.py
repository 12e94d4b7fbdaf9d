"""A leaderboard as a page that can be sent to somebody: one file, no script, no network."""

from __future__ import annotations

import tempfile
from pathlib import Path

from barlow_speech.benchmark.figures.critical_difference import critical_difference_diagram
from barlow_speech.benchmark.reporting import html as page
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
from barlow_speech.benchmark.reporting.leaderboard_tables import score_key
from barlow_speech.benchmark.reporting.numbers import ABSENT, MARK
from barlow_speech.benchmark.reporting.published import PublishedScore, PublishedTable
from barlow_speech.benchmark.statistics.ranking import Ranking, verdict

MAX_IN_DIAGRAM = 20  # upstreams, as the diagram is made for
STYLE = """
body { max-width: 76rem; }
p, li { max-width: 54rem; }
tbody th { position: sticky; left: 0; background: #fff; }
td.first, th.first { border-left: 1px solid var(--line); }
thead th { vertical-align: bottom; }
thead .soft { font-weight: 400; }
.rank { display: inline-block; min-width: 2.6em; color: var(--soft); }
.published tbody td, .published tbody th { color: var(--soft); font-style: italic; }
.published td.source { min-width: 17rem; }
.wide { overflow-x: auto; }
.wide img { max-width: 46rem; min-width: 36rem; }
.published { border-left: .3rem solid var(--line); padding-left: 1rem; margin-top: 2.4rem; }
"""


def leaderboard_page(board: Leaderboard) -> str:
    """The page: a table for each board, the critical-difference diagram where there is one.

    Published scores are in a box of their own, in italics, and without ranks.
    """
    parts = [page.soft(f"{metric_name(board.metric)}, {_extent(board)}.")]
    for one in board.boards:
        if one.title:
            parts.append(f"<h2>{page.text(one.title)}</h2>")
        if one.head:
            parts.append(page.soft(f"Head: {one.head}."))
        parts += [_board(one), page.soft(" ".join([score_key(one.metric), BOLD_KEY]))]
        parts += [page.soft(" ".join(keys(one, MARK)))]
        remarks = notes(one)
        if remarks:
            parts += ["<ul>", *(f"<li>{page.prose(note)}</li>" for note in remarks), "</ul>"]
        if one.ranking is not None:
            parts += _diagram(one.ranking)
    parts += [_published(table, board.metric) for table in board.published]
    return page.document("Leaderboard", parts, STYLE)


def _extent(board: Leaderboard) -> str:
    upstreams = {row.upstream for one in board.boards for row in one.rows}
    tasks = {(column.task, column.corpus) for one in board.boards for column in one.columns}
    return (
        f"{len(upstreams)} upstream{'' if len(upstreams) == 1 else 's'}, "
        f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}"
    )


def _board(board: Board) -> str:
    heads = [
        '<th scope="col">upstream</th>',
        '<th scope="col">average<br>rank</th>',
        *(
            f'<th scope="col">{page.breakable(column.task)}<br>'
            f'<span class="soft">{page.breakable(column.label)}</span></th>'
            for column in board.columns
        ),
        *(f'<th scope="col"{_side(at)}>{name}</th>' for at, name in enumerate(COSTS.values())),
    ]
    body = []
    for row in board.rows:
        fields = [f"<td>{rank_text(row.average_rank)}</td>", *map(_score, row.scores)]
        fields += [
            f"<td{_side(at)}>{page.text(cost)}</td>"
            for at, cost in enumerate(cost_texts(board, row))
        ]
        name = page.breakable(row.upstream)
        body.append(f'<tr><th scope="row">{name}</th>{"".join(fields)}</tr>')
    return page.scrolling(f"<tr>{''.join(heads)}</tr>", body)


def _side(at: int) -> str:
    """The first of the costs is set off from the scores."""
    return "" if at else ' class="first"'


def _score(score: Score | None) -> str:
    if score is None:
        return f"<td>{ABSENT}</td>"
    text = page.text(score_text(score))
    text = f"<b>{text}</b>" if score.best else text
    rank = "" if score.rank is None else f"({score.rank})"
    mark = f" <b>{MARK}</b>" if score.leading else ""
    return f'<td>{text} <span class="rank">{rank}{mark}</span></td>'


def _diagram(ranked: Ranking) -> list[str]:
    """The critical-difference diagram, where there are upstreams and tasks enough for a test."""
    if ranked.critical_difference is None or len(ranked.upstreams) > MAX_IN_DIAGRAM:
        return []
    places = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(ranked.upstreams, ranked.ranks))
    joined = "; ".join(", ".join(clique) for clique in ranked.cliques) or "none"
    alternative = (
        f"Critical-difference diagram. Average ranks: {places}. Not separated: {joined}. "
        f"{verdict(ranked)}"
    )
    with tempfile.TemporaryDirectory() as folder:
        png = critical_difference_diagram(ranked, Path(folder) / "ranks.png")
        return ['<div class="wide" tabindex="0">', page.figure(png, alternative), "</div>"]


def _published(table: PublishedTable, metric: str) -> str:
    left = ' style="text-align:left"'
    head = "".join(
        f'<th scope="col"{side}>{name}</th>'
        for name, side in (
            ("upstream", ""), ("published", ""), ("task", left), ("corpus", left), ("source", left)
        )
    )  # fmt: skip
    rows = [
        f'<tr><th scope="row">{page.breakable(row.upstream)}</th>'
        f"<td>{row.score:.2f}</td>"
        f'<td class="text">{page.breakable(row.task)}</td>'
        f'<td class="text">{page.breakable(row.corpus)}</td>'
        f'<td class="text source">{_source(row)}</td></tr>'
        for row in table.rows
    ]
    about = [PUBLISHED_KEY, f"{metric_name(metric)} in percent.", f"{table.citation}.", table.note]
    return "\n".join(
        [
            '<section class="published">',
            f"<h2>Published: {page.text(table.name)}</h2>",
            page.soft(" ".join(filter(None, about))),
            page.scrolling(f"<tr>{head}</tr>", rows),
            "</section>",
        ]
    )


def _source(row: PublishedScore) -> str:
    """The source, as a link where it is an address; nothing is fetched before it is followed."""
    text = page.breakable(row.source)
    if row.source.startswith(("https://", "http://")):
        text = f'<a href="{page.text(row.source)}" rel="noreferrer">{text}</a>'
    return f"{text} ({page.text(row.note)})" if row.note else text
