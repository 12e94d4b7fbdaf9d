"""What every page is made of: sections of sentences, tables, pictures and sounds, in order.

An analysis returns a `Section`; a page is a `Document`. Neither knows how it is written: that is
`tables` (terminal, Markdown, CSV), `latex` and `html`, and `files` puts it on disk.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.figures.style import figure_bytes
from barlow_speech.upstream.data.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Entry:
    """A text that stands out in its table: bold, marked as among the best, with a remark, linked.

    `beside` follows it in smaller letters. `link` is an address.
    """

    text: str
    bold: bool = False
    marked: bool = False
    beside: str = ""
    link: str = ""


Value = str | float | int | None | Entry


@dataclass(frozen=True)
class Table:
    """Rows of values under `columns`; the first `texts` of them are names and stand left.

    `name` is the stem of its files. Numbers stay numbers: how many digits are shown is the
    writer's affair, unless `formats` has a function for the column's name. None is a value that
    there is not. The first `groups` columns name blocks of rows, which pages and the terminal show
    once above them. A second line of a column's heading is a remark on it. `folded` is what an
    HTML page shows in place of the table until it is opened, and in a `shaded` one fields are the
    darker the nearer their value is to 100.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    texts: int = 1
    groups: int = 0
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    folded: str = ""
    shaded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure; `name` is the stem of its files, `alternative` says in words what it shows."""

    name: str
    caption: str
    alternative: str
    figure: Figure

    @functools.cached_property
    def png(self) -> bytes:
        """Drawn once, for its file and for the page."""
        return figure_bytes(self.figure, "png")


@dataclass(frozen=True)
class Sound:
    """Speech to listen to: `wave_N` in [-1, 1] at 16 kHz."""

    name: str
    caption: str
    wave_N: np.ndarray

    @functools.cached_property
    def wav(self) -> bytes:
        """A WAV file of 16 bits."""
        import soundfile

        stream = io.BytesIO()
        soundfile.write(stream, np.clip(self.wave_N, -1, 1), SAMPLE_RATE, "PCM_16", format="WAV")
        return stream.getvalue()


@dataclass(frozen=True)
class Facts:
    """Names and what they are, under a title, and remarks on them."""

    title: str
    entries: Mapping[str, str]
    remarks: tuple[str, ...] = ()


Part = Table | Picture | Sound | Facts


@dataclass(frozen=True)
class Section:
    """One analysis: its title, what it found, how to read it, and what it shows.

    `findings` are whole sentences which the statistics bear out; they stand in the summary too.
    One that is `apart` holds nothing that was measured here.
    """

    title: str
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    parts: tuple[Part, ...]
    apart: bool = False


@dataclass(frozen=True)
class Document:
    """A page: an introduction (paragraphs have an empty line between them), and its sections.

    `commands` make it again; `facts` are groups of names and values; `spent` says where the time
    went. `overview` asks for a summary of all findings and a list of contents at the start.
    """

    title: str
    introduction: str
    sections: tuple[Section, ...]
    commands: tuple[str, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spent: Table | None = None
    warnings: tuple[str, ...] = ()
    overview: bool = False

    @property
    def paragraphs(self) -> list[str]:
        """Those of the introduction."""
        return [one for one in re.split(r"\n\s*\n", self.introduction.strip()) if one]

    @property
    def parts(self) -> list[Part]:
        """Of all sections, and the time spent."""
        parts = [part for section in self.sections for part in section.parts]
        return [*parts, self.spent] if self.spent else parts
