"""A document as one HTML page: nothing from the network, pictures and sounds inside.

The template escapes whatever it is given, and the page's content security policy lets nothing load,
and nothing run but one script, known by its hash, whatever a name may smuggle in. The script sorts
and filters tables, which are whole without it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re

import jinja2
from markupsafe import Markup, escape

from barlow_speech.benchmark.figures.confusion import shade
from barlow_speech.benchmark.reporting.document import Document, Picture, Table
from barlow_speech.benchmark.reporting.tables import blocks

LONG = 30  # rows; a longer table is folded up
SMALLEST, LARGEST = 64, 110  # pixels of the page for an inch of a picture: letters can be read
NARROW = 5.2  # inches
FILES_NOTE = (
    "In the folder of this page: every figure as PNG and PDF, every table as Markdown, LaTeX and "
    "CSV, the last with all digits, every sound as WAV."
)


def page(document: Document, files: Table | None = None) -> str:
    """The whole page; `files` names what lies beside it. The same document gives the same page."""
    style = _environment().get_template("page.css").render().strip()
    script = _environment().get_template("page.js").render().strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    shades = [
        f".s{tenth} {{ background: {shade(tenth / 10)}; "
        f"color: {'#fff' if tenth > 5 else 'inherit'}; }}"
        for tenth in range(11)
    ]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=document,
            introduction=document.paragraphs,
            sections=[(f"s{i}", section) for i, section in enumerate(document.sections, start=1)],
            files=files,
            files_note=FILES_NOTE,
            long=LONG,
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            style=Markup("\n".join([style, *shades])),
        )
    )


def _prose(sentences: str) -> Markup:
    """Escaped text in which no line ends between a number and its percent sign."""
    return Markup(str(escape(sentences)).replace(" %", "&nbsp;%"))


def _breakable(name: str) -> Markup:
    """An escaped name that a narrow column breaks between its parts; a unit ("MACs/s") is one."""
    return Markup(re.sub(r"([_/-])(?!s\b)", r"\1<wbr>", str(escape(name))))


def _lines(heading: str) -> tuple[str, str]:
    """The first line of a column's heading, and the rest."""
    first, _, rest = heading.partition("\n")
    return first, rest


def _is_narrow(picture: Picture) -> bool:
    """Whether two of its like stand beside each other."""
    inches: float = picture.figure.get_figwidth()
    return inches <= NARROW


def _width(picture: Picture) -> str:
    """As wide as the page, but never so small that its letters cannot be read: then it scrolls."""
    inches = picture.figure.get_figwidth()
    return f"clamp({SMALLEST * inches:.0f}px, 100%, {LARGEST * inches:.0f}px)"


def _shade(percent: str) -> str:
    """The class of a field by its percentage, in tenths; none where nothing is shown."""
    return f"{float(percent) / 10:.0f}" if percent else "0"


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("barlow_speech.benchmark.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "prose": _prose,
        "breakable": _breakable,
        "lines": _lines,
        "blocks": blocks,
        "width": _width,
        "narrow": _is_narrow,
        "shade": _shade,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
        "kind": lambda part: type(part).__name__,
    }
    return environment
