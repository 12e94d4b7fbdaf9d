"""The confusion matrix of a result: what its runs took for what, as a figure and in words."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from barlow_speech.benchmark.figures.style import EDGE, FRAME, WIDTH, styled, with_unit
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import printable, shortened

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MAX_CLASSES = 40  # with more, neither a row nor a name can be read
MAX_WITH_NUMBERS = 12  # classes up to which each field holds its percentage
MAX_CLASS_NAME = 14  # letters
MAX_MISTAKES = 3  # named in words

STOPS = ["#ffffff", "#9dbbd6", EDGE]


@functools.cache
def _shades() -> Colormap:
    """From white to one dark blue: lightness alone says the value, in greyscale as in colour."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", STOPS)


def confusion_counts(result: TaskResult) -> np.ndarray | None:
    """The result's counts [truth, predicted] over all its runs; None where they are not known."""
    return None if result.predictions is None else result.predictions.confusion


def class_names(result: TaskResult) -> tuple[str, ...]:
    """The names of the rows and columns; none without predictions."""
    return () if result.predictions is None else result.predictions.class_names


def confusion_shares(result: TaskResult) -> np.ndarray:
    """Each row of the result's counts over its sum; NaN where a class has no test recordings.

    Raises:
        BarlowSpeechError: no confusion is recorded.
    """
    counts = confusion_counts(result)
    if counts is None:
        raise BarlowSpeechError(f"no confusion is recorded for {result}; run the task again.")
    sums = counts.sum(axis=1, keepdims=True).astype(float)
    return np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)


def shade(share: float) -> str:
    """The colour of a share (0..1), as #rrggbb; lightness falls as the share rises.

    That of the figure's 256 colours, for pages that have no figure to load matplotlib for.
    """
    place = min(int(share * 256), 255) / 255 * (len(STOPS) - 1)
    first = min(int(place), len(STOPS) - 2)
    one, two = (bytes.fromhex(stop[1:]) for stop in STOPS[first : first + 2])
    mixed = (low + (high - low) * (place - first) for low, high in zip(one, two))
    return "#" + bytes(round(level) for level in mixed).hex()


@styled(FRAME)
def confusion_figure(result: TaskResult) -> Figure:
    """Draw the result's confusion matrix: a row per true class, its shares of what was predicted.

    A field is the percentage of the recordings of its row's class, over all runs; up to twelve
    classes it is written too. A class without test recordings is an empty row. The same result
    gives the same figure.

    Raises:
        BarlowSpeechError: no confusion is recorded, or there are over 40 classes.
    """
    from matplotlib.figure import Figure

    counts = confusion_counts(result)
    if counts is None or len(counts) > MAX_CLASSES:
        raise BarlowSpeechError(
            f"{result} has no confusion matrix of at most {MAX_CLASSES} classes; nothing to draw."
        )
    classes = len(counts)
    percents = 100 * confusion_shares(result)
    names = [shortened(printable(name), MAX_CLASS_NAME) for name in class_names(result)]

    figure = Figure(figsize=(WIDTH, min(4.7, 1.9 + 0.55 * classes)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(percents, cmap=_shades(), vmin=0, vmax=100, aspect="equal")
    letters = min(9.0, 190.0 / classes)  # points; the fields share some 3.6 inches
    across = max(map(len, names)) > 24 // classes
    axes.set_xticks(range(classes), names, fontsize=letters, rotation=90 if across else 0)
    axes.set_yticks(range(classes), names, fontsize=letters)
    axes.tick_params(length=0)
    if classes <= MAX_WITH_NUMBERS:
        for (row, column), percent in np.ndenumerate(percents):
            if np.isfinite(percent):
                colour = "white" if percent > 55 else "black"
                axes.text(column, row, f"{percent:.0f}", ha="center", va="center", color=colour,
                          fontsize=min(9.0, 80.0 / classes))  # fmt: skip
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, format=with_unit())
    bar.ax.tick_params(labelsize=8)
    title = f"{shortened(printable(result.upstream), 40)}\n{printable(result.task)} – "
    figure.suptitle(f"{title}{printable(result.corpus)}", fontsize=11)
    return figure


def confusion_text(result: TaskResult) -> str:
    """The matrix in words: how much of each class is recognised, and the most frequent mistakes.

    Raises:
        BarlowSpeechError: no confusion is recorded.
    """
    shares = confusion_shares(result)
    names = class_names(result)
    there = [i for i in range(len(names)) if np.isfinite(shares[i, i])]
    sentences = [f"Confusion matrix of {result}."]
    if len(there) <= MAX_WITH_NUMBERS:
        kept = ", ".join(f"{names[i]} {100 * shares[i, i]:.0f} %" for i in there)
        sentences.append(f"Recognised: {kept}.")
    mistakes = sorted(
        (-shares[i, j], i, j) for i in there for j in range(len(names)) if i != j and shares[i, j]
    )
    if mistakes:
        named = "; ".join(
            f"{names[i]} taken for {names[j]} {-100 * share:.0f} %"
            for share, i, j in mistakes[:MAX_MISTAKES]
        )
        sentences.append(f"Most frequent mistakes: {named}.")
    return " ".join(sentences)
