"""Pieces of the pages that results are shown on: one file, no script, nothing from the network.

Everything that comes from outside goes through `text`, `prose` or `breakable`, and the page's
content security policy lets it neither run nor load anything, whatever a name may smuggle in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError

STYLE = """
:root { color-scheme: light; --ink: #1d252c; --soft: #5b6770; --line: #d9dfe4; --tint: #f4f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: #fff; font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p, ul, dl { margin: .5rem 0; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; }
.soft { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: 500; white-space: normal; min-width: 8rem; max-width: 20rem; }
tbody th[scope=rowgroup] { font-weight: 700; padding-top: 1rem; max-width: none; }
th[scope=rowgroup] span { position: sticky; left: 0; display: inline-block;
  max-width: calc(100vw - 2.5rem); }
td.text { text-align: left; white-space: normal; min-width: 9rem; }
figure { margin: 1.2rem 0; break-inside: avoid; }
img { display: block; width: 100%; max-width: 34rem; height: auto; }
summary { cursor: pointer; padding: .3rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 4px; padding: .8rem;
  font-size: .85rem; white-space: pre-wrap; }
@media (max-width: 40rem) {
  body { padding: 1.2rem 1rem 3rem; }
  tbody th:not([scope=rowgroup]) { position: sticky; left: 0; background: #fff; min-width: 7.2rem;
    max-width: 9rem; box-shadow: 1px 0 0 var(--line); }
  th, td { padding: .3rem .4rem; }
  table { font-size: .82rem; }
  dl { grid-template-columns: 45% 1fr; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  tr, figure, pre { break-inside: avoid; }
  .scroll { overflow: visible; }
  th, td { white-space: normal; }
}
""".strip()


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page from the parts of its body, which are HTML; the title is plain text.

    `style` is CSS that only this page needs.
    """
    return (
        "\n".join(
            [
                "<!doctype html>",
                '<html lang="en">',
                "<head>",
                '<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta http-equiv="Content-Security-Policy" '
                "content=\"default-src 'none'; img-src data:; media-src data:; "
                "style-src 'unsafe-inline'\">",
                f"<title>{text(title)}</title>",
                f"<style>\n{STYLE}\n{style}</style>",
                "</head>",
                "<body>",
                f"<h1>{text(title)}</h1>",
                *body,
                "</body>",
                "</html>",
            ]
        )
        + "\n"
    )


def text(value: Any) -> str:
    """The value as literal text, inside an element or an attribute."""
    return escape(str(value), quote=True)


def prose(sentences: str) -> str:
    """Escaped text in which no line ends between a number and its percent sign."""
    return text(sentences).replace(" %", "&nbsp;%")


def breakable(name: str) -> str:
    """An escaped name that a narrow column breaks between its parts."""
    return re.sub(r"([_/-])", r"\1<wbr>", text(name))


def soft(sentences: str) -> str:
    """A small grey paragraph, from plain text."""
    return f'<p class="soft">{prose(sentences)}</p>'


def table(header: Sequence[str], body: Iterable[str], texts: int = 1) -> str:
    """A table that scrolls inside itself; the first `texts` headings stand left.

    The headings are plain text, the rows of the body are HTML.
    """
    head = "".join(
        f'<th scope="col"{_left(i)}>{text(name)}</th>'
        if i < texts
        else f'<th scope="col">{text(name)}</th>'
        for i, name in enumerate(header)
    )
    return scrolling(f"<tr>{head}</tr>", body)


def scrolling(head: str, body: Iterable[str]) -> str:
    """A table of rows that are HTML, in a box that scrolls; a keyboard can scroll it too."""
    return "\n".join(
        [
            '<div class="scroll" tabindex="0">',
            f"<table>\n<thead>{head}</thead>\n<tbody>",
            *body,
            "</tbody>\n</table>\n</div>",
        ]
    )


def group_row(title: str, columns: int) -> str:
    """A row with the name of the rows below it, from plain text."""
    return f'<tr><th scope="rowgroup" colspan="{columns}"><span>{breakable(title)}</span></th></tr>'


def definitions(facts: Mapping[str, str]) -> str:
    """Names and what they are, from plain text."""
    entries = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in facts.items())
    return f"<dl>{entries}</dl>"


def figure(png: Path, alternative: str) -> str:
    """A PNG file inside the page, with the text for those who do not see it.

    Raises:
        BarlowSpeechError: the file cannot be read any more.
    """
    try:
        content = png.read_bytes()
    except OSError as error:
        raise BarlowSpeechError(
            f"figure {png} was lost while the page was made ({error.strerror or error}); run it "
            "again: what was computed is kept."
        ) from error
    image = base64.b64encode(content).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{image}" alt="{text(alternative)}"></figure>'


def folded(summary: str, parts: Iterable[str]) -> str:
    """Parts that are shown on demand, under a line of plain text."""
    return "\n".join([f"<details><summary>{text(summary)}</summary>", *parts, "</details>"])


def _left(i: int) -> str:
    return ' style="text-align:left"' if i else ""
