"""The table of results, for a terminal and as Markdown.

The cells come as a list; rows keep its order. All figures are percentages.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from barlow_speech.benchmark.reporting.numbers import COLUMNS, MARK, markdown_escape, row_numbers
from barlow_speech.benchmark.statistics.comparison import leaders
from barlow_speech.benchmark.statistics.results import TaskResult, by_task, shares_levels
from barlow_speech.benchmark.statistics.summaries import DEPENDENT
from barlow_speech.upstream.common.text import columns_wide, printable

MAX_NAME = 28  # columns of a terminal, with the mark: the table then fits into 100

FOOTNOTE = (
    "Percent over the runs; 95 % CI: BCa bootstrap interval of the mean over the head's runs, "
    "not over test sets or pretraining runs."
)

MARK_FOOTNOTE = (
    "{mark}: the best mean of the task and every upstream that the paired sign-flip test "
    "(5 %, Holm-corrected within the task) does not separate from it."
)


def text_table(cells: Sequence[TaskResult]) -> str:
    """An aligned table: a block per (task, corpus), a row per upstream in it, and a footnote.

    Raises:
        BarlowSpeechError: a cell is refused by `by_task`.
    """
    groups = by_task(cells)
    blocks = [
        (
            f"{printable(task)} – {printable(corpus)}",
            [
                [f"{MARK if marked else ' '} {printable(cell.upstream)}", *row_numbers(cell)]
                for cell, marked in marked_cells(group)
            ],
        )
        for (task, corpus), group in groups.items()
    ]
    lines = aligned(["", *COLUMNS], blocks)
    return "\n".join([*lines, "", textwrap.fill(footnote(cells), columns_wide(lines[0]))]) + "\n"


def aligned(header: list[str], blocks: Sequence[tuple[str, list[list[str]]]]) -> list[str]:
    """The lines of a table for a terminal: a header, then of each block its title and its rows.

    The first column stands left, the others right; a name too long for it has a line to itself.
    """
    rows_in_all = [header, *(row for _, rows in blocks for row in rows)]
    lengths = [max(columns_wide(row[i]) for row in rows_in_all) for i in range(len(header))]
    lengths[0] = min(lengths[0], MAX_NAME)

    def line(row: list[str]) -> str:
        pads = [" " * (length - columns_wide(text)) for text, length in zip(row, lengths)]
        if columns_wide(row[0]) > lengths[0]:
            pads[0] = "\n" + " " * lengths[0]  # a long name has a line to itself, uncut
        numbers = (f"  {pad}{text}" for pad, text in zip(pads[1:], row[1:]))
        return row[0] + pads[0] + "".join(numbers)

    lines = [line(header)]
    for title, rows in blocks:
        lines += [*([title] if title else []), *map(line, rows)]
    return lines


def markdown_table(cells: Sequence[TaskResult]) -> str:
    """The same table in Markdown, with task and corpus as columns; names are escaped.

    Raises:
        BarlowSpeechError: a cell is refused by `by_task`.
    """
    lines = [
        "| task | corpus | upstream | " + " | ".join(COLUMNS) + " |",
        "|---|---|---|" + "---:|" * len(COLUMNS),
    ]
    for (task, corpus), group in by_task(cells).items():
        for cell, marked in marked_cells(group):
            names = [markdown_escape(name) for name in (task, corpus, cell.upstream)]
            mark = f" \\{MARK}" if marked else ""
            lines.append(f"| {' | '.join(names)}{mark} | {' | '.join(row_numbers(cell))} |")
    return "\n".join([*lines, "", footnote(cells, mark=f"\\{MARK}")]) + "\n"


def footnote(cells: Sequence[TaskResult], mark: str = MARK) -> str:
    """What the figures mean, and the marks, where a task has upstreams to compare."""
    dependent = any(map(shares_levels, cells))
    compared = any(len(group) > 1 and _tested(group) for group in by_task(cells).values())
    parts = [MARK_FOOTNOTE.format(mark=mark)] * compared + [FOOTNOTE] + [DEPENDENT] * dependent
    return " ".join(parts)


def _tested(group: Sequence[TaskResult]) -> bool:
    return not any(map(shares_levels, group))


def marked_cells(group: Sequence[TaskResult]) -> list[tuple[TaskResult, bool]]:
    """Each cell of one task, and whether it bears the mark of the best.

    None does where it is alone, or where runs are not independent and so were not tested.
    """
    best = leaders(group) if len(group) > 1 and _tested(group) else []
    return [(cell, cell.upstream in best) for cell in group]
