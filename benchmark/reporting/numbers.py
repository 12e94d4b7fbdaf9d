"""How numbers are written: a percentage, an interval, a p value, a cost; one way each.

Scores and their differences come as fractions and are shown as percent and points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

from barlow_speech.upstream.common.text import p_text

ABSENT = "–"
MAX_PLACES = 8  # after the point
SMALLEST = 1e-4  # what its column would round to zero is shown down to here, then as below it


def percent(fraction: float | None, times: float = 100.0) -> str:
    """0.1234 as "12.34"; a dash for None. `times` is 1 for what is no fraction."""
    return ABSENT if fraction is None else _minus(f"{times * fraction:.2f}")


def interval(ends: Sequence[float] | None, times: float = 100.0) -> str:
    """Two fractions as percentages in brackets; a dash for None."""
    return ABSENT if ends is None else f"[{percent(ends[0], times)}, {percent(ends[1], times)}]"


def interval_text(ends: Sequence[float] | None, sign: int = 1) -> str:
    """The interval of a difference inside a sentence; `sign` -1 turns the difference round."""
    if ends is None:
        return "no interval from one run"
    low, high = sorted(sign * end for end in ends)
    return f"95 % interval {percent(low)} to {percent(high)}"


def spread(mean: float, std: float | None, times: float = 100.0) -> str:
    """A mean and its standard deviation, from fractions: "12.34 ± 0.56"."""
    return f"{percent(mean, times)} ± {percent(std, times)}"


def signed(difference: float | None) -> str:
    """A difference of scores in percentage points: "+1.23"; a dash for None."""
    return ABSENT if difference is None else _minus(f"{100 * difference:+.2f}")


def points(difference: float) -> str:
    """A difference of scores inside a sentence: "1.23 points"."""
    return f"{percent(difference)} points"


def estimate(value: float, half: float | None, plus: bool = False) -> str:
    """A metric of 0 to 1 by 100, with half its interval: "54.3 ± 2.1"; `plus` shows its sign."""
    text = f"{100 * value:+.1f}" if plus else f"{100 * value:.1f}"
    return _minus(text + ("" if half is None else f" ± {100 * half:.1f}"))


def p_value(p: float | None) -> str:
    """A p value in a table: "0.012", or "< 0.001", as `p_text` has it; a dash for None."""
    return ABSENT if p is None else p_text(p).removeprefix("p ").removeprefix("= ")


def cost_text(key: str, value: Any) -> str:
    """An entry of a result's `cost` to three digits, a count as "4.2 M"; a dash for None."""
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


def column(values: Sequence[Any]) -> list[str]:
    """The values of one column of a table as people read them.

    Its numbers have the same places after the point: two where the largest is between 1 and 1000,
    none where it is larger, and else three or as many as show three digits of it; what is zero at
    the end of all of them is left out. A number that would so become zero has two digits of its
    own, down to 0.0001. Whole numbers stay whole; None is a dash.
    """
    numbers = [value for value in values if _is_number(value)]
    places = _places(max(map(abs, numbers), default=0.0))
    while places and all(round(value, places - 1) == value for value in numbers):
        places -= 1
    return [_in_column(value, places) for value in values]


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that takes digits after the point."""
    return not isinstance(value, (str, Integral, type(None))) and math.isfinite(value)


def _places(largest: float) -> int:
    if largest >= 1000 or largest == 0:
        return 0
    if largest > 1:
        return 2
    return min(max(3, 2 - math.floor(math.log10(largest))), MAX_PLACES)


def _in_column(value: Any, places: int) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if isinstance(value, Integral):
        text = str(value)
    elif math.isfinite(value):
        text = f"{value + 0.0:.{places}f}"  # no minus before a zero
        if value and not float(text):
            text = _small(value)
    else:
        text = ABSENT if math.isnan(value) else str(value)
    return _minus(text)


def _small(value: float) -> str:
    """A number that is not zero, and less than one, with two significant digits."""
    if abs(value) >= SMALLEST:
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"
    return f"<{SMALLEST:g}" if value > 0 else f">-{SMALLEST:g}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
