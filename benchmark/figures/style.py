"""What all figures share: sizes, colours, axes, and writing them whole."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech.upstream.common.errors import unknown
from barlow_speech.upstream.common.files import written_whole
from barlow_speech.upstream.common.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

FORMATS = ("pdf", "png", "svg")  # of SVG, matplotlib never writes the same bytes twice

WIDTH = 5.0  # inches: about a phone's page, where the letters keep their size

DOTS_PER_INCH = 200

# One hue, told apart by lightness alone: the same in greyscale and to every kind of colour vision.
# Which box is whose is said by its place.
BOX, EDGE, DOT, CHANCE = "#cfe0ef", "#1b3a57", "#2f6690", "#555555"

NO_FRAME = {f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")}

FRAME = dict.fromkeys(NO_FRAME, True)

# A name may hold a $: it is text, not mathematics.
STYLE = {
    "axes.spines.right": False, "axes.spines.top": False, "axes.axisbelow": True,
    "text.parse_math": False,
}  # fmt: skip


@contextmanager
def styled(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Decorates what makes a figure: in it matplotlib's defaults are `STYLE` and the changes."""
    import matplotlib

    with matplotlib.rc_context(STYLE | dict(changes or {})):
        yield


def draw_grid(axes: Any, axis: str = "both", linewidth: float = 0.7) -> None:
    """Thin lines under what is drawn."""
    axes.grid(axis=axis, color="#dddddd", linewidth=linewidth)


def with_unit(unit: str = " %", factor: float = 1.0) -> FuncFormatter:
    """Ticks as numbers times a factor, with their unit."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{factor * value:g}{unit}")


def wrapped(text: str, columns: int) -> str:
    """The text as printable letters, on lines of at most so many of them."""
    return "\n".join(textwrap.wrap(printable(text), columns, break_on_hyphens=False))


def captioned_figure(
    size: tuple[float, float], title: str, caption: Iterable[str], columns: tuple[int, int]
) -> tuple[Figure, float, float]:
    """A figure under its title and over small print, and how many inches high these two are.

    `size` is in inches, without them; `columns` are the letters in a line of either.
    """
    from matplotlib.figure import Figure

    heading = wrapped(title, columns[0])
    small = "\n".join(textwrap.fill(t, columns[1], break_on_hyphens=False) for t in caption)
    above, below = 0.2 * (heading.count("\n") + 1), 0.135 * (small.count("\n") + 1)
    height = size[1] + above + below
    figure = Figure(figsize=(size[0], height))
    figure.suptitle(heading, y=1 - 0.1 / height, va="top", fontsize=12, fontweight="bold")
    figure.text(0.02, 0.08 / height, small, fontsize=7.5, color="#333333")
    return figure, above, below


def file_names(kind: str, keys: Iterable[tuple[str, str]]) -> list[str]:
    """A name for the file of each (task, corpus), without its ending.

    Only letters, digits, `_`, `-` and dots; no two are alike.
    """
    names: list[str] = []
    for key in keys:
        # Short enough for any file system, counted in bytes; a dot cannot lead anywhere inside it.
        stem = "_".join([kind, *(re.sub(r"[^A-Za-z0-9_.-]+", "_", part)[:80] for part in key)])
        name, count = stem, 1
        while name.lower() in map(str.lower, names):  # some file systems do not tell cases apart
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names


def figure_kind(path: Path) -> str:
    """The file format that a path's suffix names.

    Raises:
        BarlowSpeechError: it is none that figures are written in.
    """
    kind = path.suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise unknown("kind of figure", kind, FORMATS, str(path))
    return kind


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all; equal figures give equal files.

    Raises:
        BarlowSpeechError: as `figure_kind`, or the folder cannot be written.
    """
    content = figure_bytes(figure, figure_kind(path))
    with written_whole(path) as part:
        part.write_bytes(content)
    return path


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as a file of one of `FORMATS`; equal figures give equal bytes."""
    # A date in the file would make two equal figures differ.
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a frame; the tables have names in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return stream.getvalue()
