"""What several analyses show alike: a matrix of named rows and columns, and shares as percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture
from barlow_speech.benchmark.statistics.comparison import best_of
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import DIGITS, TaskResult
from barlow_speech.upstream.common.text import listed

NO_INTERVAL = (None, None)


def matrix_picture(
    name: str, caption: str, alternative: str, values: Mapping[tuple[str, str], float]
) -> Picture:
    """The values by (row, column), in the order in which both turn up; bold: the best of each."""
    rows = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    matrix = np.array([[values.get((row, column), np.nan) for column in columns] for row in rows])
    bold = best_of_columns(matrix)
    figure = matrix_figure(matrix, rows, columns, bold=bold, by_column=True)
    return Picture(name, caption, alternative, figure)


def best_of_columns(values: np.ndarray) -> np.ndarray:
    """Where the greatest value of each column is: in several rows where it is the same."""
    rounded = np.round(values, DIGITS)
    found: np.ndarray = rounded == np.nanmax(rounded, axis=0)
    return found


def have_the_best(means: Mapping[str, float]) -> str:
    """ "A has the best mean", or "A and B have the best mean" where it is the same."""
    names = best_of(means)
    return f"{listed(names)} {'has' if len(names) == 1 else 'have'} the best mean"


def metric_name(results: Sequence[TaskResult]) -> str:
    """What a sentence calls the metric of the results, in small letters."""
    return " and ".join(dict.fromkeys(METRICS.get(one.metric, one.metric) for one in results))


def percents(*shares: float | None) -> tuple[float | None, ...]:
    """Shares in percent; None stays what it is."""
    return tuple(None if share is None else 100 * share for share in shares)
