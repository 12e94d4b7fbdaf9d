"""Text that may be printed: no control characters, shortened, as wide as a terminal shows it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any


def printable(name: Any) -> str:
    """The name with what would move a terminal's cursor or break a line replaced by "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def shortened(name: str, limit: int) -> str:
    """The name in at most `limit` letters, cut in its middle: like names differ at the ends."""
    if len(name) <= limit:
        return name
    tail = (limit - 1) // 2
    return f"{name[: limit - 1 - tail]}…{name[len(name) - tail :]}"


def listed(names: Sequence[str], last: str = "and", most: int | None = None) -> str:
    """The names as a list in a sentence; of more than `most`, all but one of these are counted."""
    if most is not None and len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, noun: str) -> str:
    """The count with its noun: "1 task", "2 tasks"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def p_text(p: float, level: float = 0.05) -> str:
    """A p value as "p = 0.012", or "p < 0.001".

    What would be rounded to the level of the tests has as many digits as tell on which side it is.
    """
    if p < 0.001:
        return "p < 0.001"
    places = 3
    while p != level and round(p, places) == level:
        places += 1
    return f"p = {p:.{places}f}"


def columns_wide(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide letter, none for an accent."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
