"""The table of results, for a terminal and as Markdown.

The cells come as a list; rows keep its order. All figures are percentages.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from barlow_speech.benchmark.cells import DEPENDENT, cell_summary
from barlow_speech.benchmark.statistics import Cell, by_task, leaders, shares_levels

COLUMNS = ("mean ± std", "95 % CI", "median", "quartiles", "n")
MARK = "*"
ABSENT = "–"
LONGEST_NAME = 28  # columns of a terminal, with the mark: the table then fits into 100

FOOTNOTE = (
    "Percent over the runs; 95 % CI: BCa bootstrap interval of the mean over the head's runs, "
    "not over test sets or pretraining runs."
)
MARK_FOOTNOTE = (
    "{mark}: the best mean of the task and every upstream that the paired sign-flip test "
    "(5 %, Holm-corrected within the task) does not separate from it."
)


def text_table(cells: Sequence[Cell]) -> str:
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
    return "\n".join([*lines, "", textwrap.fill(footnote(cells), _columns_wide(lines[0]))]) + "\n"


def aligned(header: list[str], blocks: Sequence[tuple[str, list[list[str]]]]) -> list[str]:
    """The lines of a table for a terminal: a header, then of each block its title and its rows.

    The first column stands left, the others right; a name too long for it has a line to itself.
    """
    rows_in_all = [header, *(row for _, rows in blocks for row in rows)]
    lengths = [max(_columns_wide(row[i]) for row in rows_in_all) for i in range(len(header))]
    lengths[0] = min(lengths[0], LONGEST_NAME)

    def line(row: list[str]) -> str:
        pads = [" " * (length - _columns_wide(text)) for text, length in zip(row, lengths)]
        if _columns_wide(row[0]) > lengths[0]:
            pads[0] = "\n" + " " * lengths[0]  # a long name has a line to itself, uncut
        numbers = (f"  {pad}{text}" for pad, text in zip(pads[1:], row[1:]))
        return row[0] + pads[0] + "".join(numbers)

    lines = [line(header)]
    for title, rows in blocks:
        lines += [*([title] if title else []), *map(line, rows)]
    return lines


def markdown_table(cells: Sequence[Cell]) -> str:
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


def footnote(cells: Sequence[Cell], mark: str = MARK) -> str:
    """What the figures mean, and the marks, where a task has upstreams to compare."""
    dependent = any(map(shares_levels, cells))
    compared = any(len(group) > 1 and _tested(group) for group in by_task(cells).values())
    parts = [MARK_FOOTNOTE.format(mark=mark)] * compared + [FOOTNOTE] + [DEPENDENT] * dependent
    return " ".join(parts)


def _tested(group: Sequence[Cell]) -> bool:
    return not any(map(shares_levels, group))


def marked_cells(group: Sequence[Cell]) -> list[tuple[Cell, bool]]:
    """Each cell of one task, and whether it bears the mark of the best.

    None does where it is alone, or where runs are not independent and so were not tested.
    """
    best = leaders(group) if len(group) > 1 and _tested(group) else []
    return [(cell, cell.upstream in best) for cell in group]


def row_numbers(cell: Cell) -> list[str]:
    """The entries of a cell's row under `COLUMNS`."""
    numbers = cell_summary(cell)
    return [
        f"{percent(numbers['mean'])} ± {percent(numbers['std'])}",
        interval(numbers["ci95"]),
        percent(numbers["median"]),
        interval([numbers["q1"], numbers["q3"]]),
        str(numbers["n"]),
    ]


def percent(fraction: float | None) -> str:
    """0.1234 as "12.34"; a dash for None."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f}".replace("-", "−")


def interval(ends: Sequence[float] | None) -> str:
    """Two fractions as percentages in brackets; a dash for None."""
    return ABSENT if ends is None else f"[{percent(ends[0])}, {percent(ends[1])}]"


def cost_text(key: str, value: Any) -> str:
    """An entry of a cell's `cost` to three digits, a count as "4.2 M"; a dash for None."""
    if value is None:
        return ABSENT
    if not isinstance(value, (int, float)):
        return str(value)
    if key == "real_time_factor":
        return f"{value:.3g}" if value >= 1e-4 or value == 0 else f"{value:.1e}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{_three_digits(value / size)} {letter}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def printable(name: Any) -> str:
    """The name with what would move a terminal's cursor or break a line replaced by "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def shortened(name: str, longest: int) -> str:
    """The name in at most `longest` letters, cut in its middle: like names differ at the ends."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[len(name) - tail :]}"


def markdown_escape(name: str) -> str:
    """The name as literal text inside a Markdown table; underscores inside words stay readable."""
    letters = printable(name)
    escaped = []
    for i, letter in enumerate(letters):
        around = letters[max(i - 1, 0) : i + 2]
        inside_word = len(around) == 3 and around[0].isalnum() and around[2].isalnum()
        if letter in "<>&":  # not every renderer of Markdown drops raw HTML
            escaped.append({"<": "&lt;", ">": "&gt;", "&": "&amp;"}[letter])
        elif letter in "\\`*[]|~$" or (letter == "_" and not inside_word):
            escaped.append("\\" + letter)
        else:
            escaped.append(letter)
    return "".join(escaped)


def _columns_wide(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide letter, none for an accent."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
