"""What an analysis of a study has to show: sentences, tables, pictures and sounds, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

Value = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows of values under `columns`; the first `texts` of them are names and stand left.

    `name` is the stem of its files. Numbers stay numbers: how many digits are shown is the
    writer's affair. None is a value that there is not.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    texts: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure; `name` is the stem of its files, `alternative` says in words what it shows."""

    name: str
    caption: str
    alternative: str
    figure: Figure


@dataclass(frozen=True)
class Sound:
    """Speech to listen to: `wave_N` in [-1, 1] at 16 kHz."""

    name: str
    caption: str
    wave_N: np.ndarray


@dataclass(frozen=True)
class Section:
    """One analysis: its title, what it found, how to read it, and what it shows.

    `findings` are whole sentences which the statistics bear out; they stand in the summary too.
    """

    title: str
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    parts: tuple[Table | Picture | Sound, ...]
