"""What several analyses show alike: a matrix of named rows and columns, and shares as percent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture

NO_INTERVAL = (None, None)


def matrix_picture(
    name: str, caption: str, alternative: str, values: Mapping[tuple[str, str], float]
) -> Picture:
    """The values by (row, column), in the order in which both turn up; bold: the best of each."""
    rows = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    matrix = np.array([[values.get((row, column), np.nan) for column in columns] for row in rows])
    bold = matrix == np.nanmax(matrix, axis=0)
    figure = matrix_figure(matrix, rows, columns, bold=bold, by_column=True)
    return Picture(name, caption, alternative, figure)


def percents(*shares: float | None) -> tuple[float | None, ...]:
    """Shares in percent; None stays what it is."""
    return tuple(None if share is None else 100 * share for share in shares)
