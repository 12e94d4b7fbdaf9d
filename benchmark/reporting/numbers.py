"""How numbers are written: a percentage, an interval, a cost; one way each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.text import printable

COLUMNS = ("mean ± std", "95 % CI", "median", "quartiles", "n")

MARK = "*"

ABSENT = "–"


def row_numbers(cell: TaskResult) -> list[str]:
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
