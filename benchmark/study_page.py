"""The page of a study: one file that opens without a network, and asks nothing of one."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.benchmark import page
from barlow_speech.benchmark.section import Picture, Section, Sound, Table
from barlow_speech.benchmark.study_files import picture_file, shown, stem, write_parts
from barlow_speech.upstream.audio import SAMPLE_RATE
from barlow_speech.upstream.files import write_text

STYLE = """
nav ul { columns: 2 16rem; }
.finding a { color: inherit; text-decoration-color: var(--line); }
.warning { border-left: 4px solid var(--ink); background: var(--tint); padding: .5rem .8rem; }
figcaption, .caption { font-size: .875rem; color: var(--soft); margin: .3rem 0; }
audio { width: 100%; max-width: 26rem; height: 2.2rem; display: block; }
img { max-width: 40rem; }
""".strip()
LONG = 30  # rows; a longer table is folded up


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
    body = []
    if report.introduction:
        body.append(f"<p>{page.prose(report.introduction)}</p>")
    body += [f'<p class="warning">{page.prose(one)}</p>' for one in report.warnings]
    findings = [
        f'<li class="finding">{page.prose(one)} <a href="#{_anchor(section)}" '
        f'class="soft">{page.text(section.title)}</a></li>'
        for section in report.sections
        for one in section.findings
    ]
    if findings:
        body += ["<h2>Summary</h2>", "<ul>", *findings, "</ul>"]
    body += ["<nav><h2>Contents</h2><ul>"]
    body += [
        f'<li><a href="#{_anchor(one)}">{page.text(one.title)}</a></li>' for one in report.sections
    ]
    body += ['<li><a href="#made">How it was made</a></li>', "</ul></nav>"]
    for section in report.sections:
        body.append(f'<h2 id="{_anchor(section)}">{page.text(section.title)}</h2>')
        body += [f"<p>{page.prose(one)}</p>" for one in section.findings]
        body += [_part(part, folder) for part in section.parts]
        body += [page.soft(one) for one in section.notes]
    body.append('<h2 id="made">How it was made</h2>')
    body += [f"<pre>{page.text(one)}</pre>" for one in report.commands]
    for title, facts in report.facts.items():
        body += [f"<h3>{page.text(title)}</h3>", page.definitions(facts)]
    if report.spent:
        body += ["<h3>time spent</h3>", _table(report.spent)]
    body.append(
        page.soft(
            "Every figure is beside this page as PNG and PDF (figures), every table as Markdown, "
            "LaTeX and CSV with all digits (tables), every sound as WAV (sounds)."
        )
    )
    return page.document(report.title, body, STYLE)


def _anchor(section: Section) -> str:
    return f"s-{stem(section.title)}"


def _part(part: Table | Picture | Sound, folder: Path) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Picture):
        inner = page.figure(picture_file(part, folder), part.alternative)
        caption = f"<figcaption>{page.prose(part.caption)}</figcaption></figure>"
        return inner.replace("</figure>", caption)
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(part.wave_N, -1, 1), SAMPLE_RATE, "PCM_16", format="WAV")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f"<figure><figcaption>{page.prose(part.caption)}</figcaption>"
        f'<audio controls aria-label="{page.text(part.caption)}" '
        f'src="data:audio/wav;base64,{data}"></audio></figure>'
    )


def _table(table: Table) -> str:
    """A long table, and one of many columns, is folded up under its caption."""
    rows = []
    for row in table.rows:
        first, *rest = row
        cells = "".join(
            f'<td class="text">{page.breakable(shown(one))}</td>'
            if i < table.texts
            else f"<td>{page.prose(shown(one))}</td>"
            for i, one in enumerate(rest, start=1)
        )
        rows.append(f'<tr><th scope="row">{page.breakable(shown(first))}</th>{cells}</tr>')
    inner = page.table(table.columns, rows, table.texts)
    if len(table.rows) > LONG:
        return page.folded(table.caption, [inner])
    return f'<p class="caption">{page.prose(table.caption)}</p>\n{inner}'
