"""The critical-difference diagram: how upstreams rank across tasks, and which are not separated."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from barlow_speech.benchmark.figures.style import EDGE, styled, wrapped
from barlow_speech.benchmark.statistics.ranking import Ranking
from barlow_speech.upstream.common.text import counted, printable, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All in inches: the diagram is drawn on one sheet, in these units.
WIDTH = 8.0
MARGIN = 0.1
ROW = 0.21  # of a name, of one line
LINE_HIGH = 0.13  # each further line
BAR_ROW = 0.1  # of the bars of cliques
LETTER = 0.068  # average width of one at NAME_SIZE, a little on the wide side
MAX_NAME = 26  # letters in a line; there are two
NAME_SIZE, SMALL_SIZE = 8.5, 7.5  # points
COLUMNS = 138  # letters in a line of SMALL_SIZE
MAX_NUMBERED = 12  # ranks that are each written at the axis
LINE, NOTE = "#777777", "#333333"


@styled()
def critical_difference_figure(ranked: Ranking) -> Figure:
    """Draw average ranks on an axis, best on the left, with a bar under each clique.

    The diagram of Demšar (2006, figure 1). A thick bar joins upstreams that no test separates, and
    the critical difference, where there is one, is drawn above the axis. What was left out or
    limits the tests is written beneath; the verdict stands on the page. Made for 2 to 20
    upstreams. A long name has two lines; a longer one is cut in the middle. The same ranking gives
    the same figure.
    """
    from matplotlib.figure import Figure

    count = len(ranked.upstreams)
    labels = [
        f"{_in_lines(printable(name))}  {rank:.2f}"
        for name, rank in zip(ranked.upstreams, ranked.ranks)
    ]
    columns = max(len(line) for label in labels for line in label.split("\n"))
    side = MARGIN + LETTER * columns + 0.1
    row_high = ROW + LINE_HIGH * max(label.count("\n") for label in labels)
    left, right = side + 0.15, WIDTH - side - 0.15

    def across(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (count - 1)

    place_of = dict(zip(ranked.upstreams, map(across, ranked.ranks)))
    # A little longer than its ranks, so that a bar is seen to reach the lines at its ends.
    bars = _stacked(
        [(place_of[clique[0]] - 0.04, place_of[clique[-1]] + 0.04) for clique in ranked.cliques]
    )
    caption = "\n".join(wrapped(text, COLUMNS) for text in (*ranked.notes, *ranked.left_out))
    below = MARGIN + 0.15 * len(caption.splitlines()) + 0.12
    names_high = row_high * ((count + 1) // 2)
    bars_high = BAR_ROW * (1 + max((row for row, _, _ in bars), default=-1)) + 0.1
    axis = below + names_high + bars_high
    height = axis + (1.0 if ranked.critical_difference is not None else 0.65)

    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    title = f"average rank over {counted(len(ranked.blocks), 'task')} (1 is best)"
    axes.text(WIDTH / 2, height - MARGIN, title, ha="center", va="top", fontsize=11, weight="bold")
    _draw_axis(axes, across, count, axis)
    if ranked.critical_difference is not None:
        _draw_distance(axes, across, ranked.critical_difference, count, axis + 0.42)
    for row, first, last in bars:
        level = axis - 0.09 - BAR_ROW * row
        axes.plot(
            [first, last], [level, level], color=EDGE, linewidth=3.6, solid_capstyle="butt",
            zorder=3,
        )  # fmt: skip

    half = (count + 1) // 2
    for place, (label, rank) in enumerate(zip(labels, ranked.ranks)):
        on_left = place < half
        # The outermost ranks have the highest rows, so that no line crosses another.
        row = place if on_left else count - 1 - place
        level = axis - bars_high - row_high * (row + 0.5)
        end = side if on_left else WIDTH - side
        axes.plot(
            [across(rank), across(rank), end], [axis, level, level], color=LINE, linewidth=0.8,
            zorder=2,
        )  # fmt: skip
        axes.text(
            end - 0.05 if on_left else end + 0.05, level, label, fontsize=NAME_SIZE, va="center",
            ha="right" if on_left else "left",
        )  # fmt: skip
    axes.text(MARGIN, MARGIN, caption, fontsize=SMALL_SIZE, va="bottom", color=NOTE,
              linespacing=1.35)  # fmt: skip
    return figure


def critical_difference_text(ranked: Ranking) -> str:
    """The diagram in words: the average ranks, and which upstreams are not separated."""
    places = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(ranked.upstreams, ranked.ranks))
    joined = "; ".join(", ".join(clique) for clique in ranked.cliques) or "none"
    return f"Critical-difference diagram. Average ranks: {places}. Not separated: {joined}."


def _in_lines(name: str) -> str:
    """The name on one line or two, cut in the middle where it is longer; a rank fits after it.

    It is broken behind a sign between words, if what is left then fits a line.
    """
    name = shortened(name, 2 * MAX_NAME)
    if len(name) <= MAX_NAME:
        return name
    signs = [one.end() for one in re.finditer(r"[_\-./@ …]", name[:MAX_NAME])]
    place = next((one for one in reversed(signs) if len(name) - one <= MAX_NAME), MAX_NAME)
    return f"{name[:place]}\n{name[place:]}"


def _stacked(spans: Sequence[tuple[float, float]]) -> list[tuple[int, float, float]]:
    """(row, first, last) of each span, in inches, in the first row where it touches no other."""
    ends: list[float] = []
    placed = []
    for first, last in sorted(spans):
        row = next((i for i, end in enumerate(ends) if end < first - 0.08), len(ends))
        ends[row : row + 1] = [last]
        placed.append((row, first, last))
    return placed


def _draw_axis(axes: Any, across: Callable[[float], float], count: int, level: float) -> None:
    axes.plot([across(1), across(count)], [level, level], color="black", linewidth=1.0, zorder=2)
    step = 1 if count <= MAX_NUMBERED else 2
    last_but_one = count - step + 1  # from there a number would be too near to the last
    for rank in range(1, count + 1):
        numbered = rank == count or ((rank - 1) % step == 0 and rank < last_but_one)
        top = level + (0.07 if numbered else 0.04)
        axes.plot([across(rank)] * 2, [level, top], color="black", linewidth=1.0, zorder=2)
        if numbered:
            axes.text(across(rank), top + 0.03, str(rank), ha="center", va="bottom", fontsize=8.5)


def _draw_distance(
    axes: Any, across: Callable[[float], float], distance: float, count: int, level: float
) -> None:
    text = f"critical difference {distance:.2f}"
    start = across(1)
    if distance > count - 1:
        axes.text(start, level, f"{text}: longer than the axis", fontsize=SMALL_SIZE, va="center")
        return
    end = across(1 + distance)
    axes.plot([start, end], [level, level], color="black", linewidth=1.0)
    for at in (start, end):
        axes.plot([at, at], [level - 0.05, level + 0.05], color="black", linewidth=1.0)
    axes.text(end + 0.07, level, text, fontsize=SMALL_SIZE, va="center")
