"""The page of a study: one file that opens without a network, and asks nothing of one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from barlow_speech.benchmark.reporting import html as page
from barlow_speech.benchmark.reporting.document import Picture, Section, Sound, Table
from barlow_speech.benchmark.reporting.files import (
    picture_file,
    shown_rows,
    sound_file,
    stem,
    table_file,
    write_parts,
)
from barlow_speech.upstream.common.files import write_text

STYLE = """
h3::first-letter { text-transform: uppercase; }
nav ul { columns: 2 16rem; }
nav li { break-inside: avoid; margin: 0; padding: .15rem 0; }
.warning { border-left: 4px solid var(--ink); background: var(--tint); padding: .5rem .8rem; }
figcaption, .caption { font-size: .875rem; color: var(--soft); margin: .3rem 0; }
audio { width: 100%; max-width: 26rem; height: 2.2rem; display: block; }
figure .scroll { margin: 0; }
img { max-width: none; }
details { margin: .5rem 0; }
summary { width: fit-content; border: 1px solid var(--line); border-radius: 4px;
  padding: .3rem .7rem; background: var(--tint); font-size: .9rem; }
th, td { padding: .3rem .4rem; }
/* A name breaks between its words and parts only, and gives its width to the numbers. */
td.text { overflow-wrap: normal; min-width: 4.5rem; }
/* A shadow at the side on which a table goes on. */
.scroll { background:
  linear-gradient(to right, #fff 40%, transparent) left / 2.5rem 100% no-repeat local,
  linear-gradient(to left, #fff 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to right, #bcc4ca, transparent) left / .7rem 100% no-repeat scroll,
  linear-gradient(to left, #bcc4ca, transparent) right / .7rem 100% no-repeat scroll; }
@media print {
  img { width: auto !important; max-width: 100%; }
  .scroll { background: none; }
}
""".strip()
LONG = 30  # rows; a longer table is folded up
SMALLEST, LARGEST = 64, 110  # pixels of the page for an inch of a picture: letters can be read


@dataclass(frozen=True)
class Report:
    """All that is said at the end of a study.

    `commands` make it again; `facts` are groups of names and values; `spent` says where the time
    went.
    """

    title: str
    introduction: str
    sections: tuple[Section, ...]
    commands: tuple[str, ...]
    facts: Mapping[str, Mapping[str, str]]
    spent: Table | None
    warnings: tuple[str, ...]


def write_study(report: Report, folder: Path) -> Path:
    """Write `folder/report.html`, and its parts as files beside it; the path of the page.

    `figures/*.png|pdf`, `tables/*.md|tex|csv` and `sounds/*.wav`; the page, which holds all that it
    shows, comes last. The same report gives the same bytes.

    Raises:
        BarlowSpeechError: two parts have one name, or the folder cannot be written.
    """
    write_parts(report.sections, [report.spent] if report.spent else [], folder)
    path = folder / "report.html"
    write_text(path, _page(report, folder))
    return path


def _page(report: Report, folder: Path) -> str:
    anchors = [f"s{i}-{stem(one.title)}" for i, one in enumerate(report.sections, start=1)]
    titles = [page.text(one.title) for one in report.sections]
    links = [f'<a href="#{anchor}">{title}</a>' for anchor, title in zip(anchors, titles)]

    body = _paragraphs(report.introduction)
    body += [f'<p class="warning">{page.prose(one)}</p>' for one in report.warnings]
    if any(one.findings for one in report.sections):
        body.append('<h2 id="summary">Summary</h2>')
    for link, section in zip(links, report.sections):
        if section.findings:
            body += [f"<h3>{link}</h3>", "<ul>"]
            body += [f"<li>{page.prose(one)}</li>" for one in section.findings]
            body.append("</ul>")
    body += ["<nav><h2>Contents</h2><ul>", *(f"<li>{link}</li>" for link in links)]
    body += ['<li><a href="#made">How it was made</a></li>', "</ul></nav>"]
    for anchor, title, section in zip(anchors, titles, report.sections):
        body.append(f'<h2 id="{anchor}">{title}</h2>')
        body += [f"<p>{page.prose(one)}</p>" for one in section.findings]
        body += [_part(part, folder) for part in section.parts]
        body += [page.soft(one) for one in section.notes]
    body += _made(report)
    return page.document(report.title, body, STYLE)


def _paragraphs(introduction: str) -> list[str]:
    """Plain text, whose paragraphs have an empty line between them."""
    parts = re.split(r"\n\s*\n", introduction.strip())
    return [f"<p>{page.prose(one)}</p>" for one in parts if one]


def _made(report: Report) -> list[str]:
    body = ['<h2 id="made">How it was made</h2>']
    if report.commands:
        body.append("<h3>Commands</h3>")
    body += [f"<pre>{page.text(one)}</pre>" for one in report.commands]
    for title, facts in report.facts.items():
        body += [f"<h3>{page.text(title)}</h3>", page.definitions(facts)]
    if report.spent:
        body += ["<h3>Time spent</h3>", _table(report.spent)]
    parts = [part for section in report.sections for part in section.parts]
    files = {file: part.caption for part in parts for file in [_file(part)]}
    if report.spent:
        files[_file(report.spent)] = report.spent.caption
    if files:
        body += [
            "<h3>Files</h3>",
            page.soft(
                "In the folder of this page: every figure as PNG and PDF, every table as Markdown, "
                "LaTeX and CSV, the last with all digits, every sound as WAV."
            ),
            page.folded(f"Names of {len(files)} figures, tables and sounds", [_listed(files)]),
        ]
    return body


def _file(part: Table | Picture | Sound) -> str:
    """Where a part is beside the page, without the ending where it has several forms."""
    here = Path()
    if isinstance(part, Table):
        file = table_file(part, here).with_suffix("")
    elif isinstance(part, Picture):
        file = picture_file(part, here).with_suffix("")
    else:
        file = sound_file(part, here)
    return file.as_posix()


def _listed(files: Mapping[str, str]) -> str:
    rows = [
        f'<tr><th scope="row">{page.breakable(file)}</th>'
        f'<td class="text">{page.prose(caption)}</td></tr>'
        for file, caption in files.items()
    ]
    return page.table(["file", "what it holds"], rows, texts=2)


def _part(part: Table | Picture | Sound, folder: Path) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Picture):
        return _picture(part, picture_file(part, folder))
    data = base64.b64encode(sound_file(part, folder).read_bytes()).decode("ascii")
    return (
        f"<figure><figcaption>{page.prose(part.caption)}</figcaption>"
        f'<audio controls aria-label="{page.text(part.caption)}" '
        f'src="data:audio/wav;base64,{data}"></audio></figure>'
    )


def _picture(picture: Picture, png: Path) -> str:
    """As wide as the page, but never so small that its letters cannot be read: then it scrolls."""
    inches = picture.figure.get_figwidth()
    width = f"clamp({SMALLEST * inches:.0f}px, 100%, {LARGEST * inches:.0f}px)"
    image = base64.b64encode(png.read_bytes()).decode("ascii")
    return (
        f'<figure><div class="scroll" tabindex="0"><img style="width: {width}" '
        f'src="data:image/png;base64,{image}" alt="{page.text(picture.alternative)}"></div>'
        f"<figcaption>{page.prose(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    """The table under its caption; a long one is folded up."""
    rows = []
    for first, *rest in shown_rows(table):
        cells = "".join(
            f'<td class="text">{page.breakable(one)}</td>'
            if i < table.texts
            else f"<td>{page.prose(one)}</td>"
            for i, one in enumerate(rest, start=1)
        )
        rows.append(f'<tr><th scope="row">{page.breakable(first)}</th>{cells}</tr>')
    inner = page.table(table.columns, rows, table.texts)
    if len(rows) > LONG:
        inner = page.folded(f"Table of {len(rows)} rows", [inner])
    return f'<p class="caption">{page.prose(table.caption)}</p>\n{inner}'
