"""What all figures share: sizes, colours, and writing them whole."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from barlow_speech.upstream.common.errors import unknown
from barlow_speech.upstream.common.files import written_whole

FORMATS = ("pdf", "png", "svg")

WIDTH = 5.0  # inches: about a phone's page, where the letters keep their size

DOTS_PER_INCH = 200

# One hue, told apart by lightness alone: the same in greyscale and to every kind of colour vision.
# Which box is whose is said by its place.
BOX, EDGE, DOT, CHANCE = "#cfe0ef", "#1b3a57", "#2f6690", "#555555"


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
