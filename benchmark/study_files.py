"""The files beside a study's page: figures as PNG and PDF, tables in three forms, sounds as WAV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.benchmark.figures import write_figure
from barlow_speech.benchmark.latex import latex_escape, latex_table
from barlow_speech.benchmark.section import Picture, Section, Sound, Table, Value
from barlow_speech.benchmark.table import ABSENT, markdown_escape
from barlow_speech.upstream.audio import SAMPLE_RATE
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.files import write_text, written_whole
from barlow_speech.upstream.progress import progress

LONGEST_STEM = 80
SMALLEST = 1e-4  # a number below it, other than zero, is shown as being below it


def check_names(sections: Iterable[Section], others: Sequence[str] = ()) -> None:
    """Refuse two parts whose files would have one name.

    Raises:
        BarlowSpeechError: there are such.
    """
    stems = [(type(part), stem(part.name)) for one in sections for part in one.parts]
    stems += [(Table, stem(name)) for name in others]
    for (_, name), count in Counter(stems).items():
        if count > 1:
            raise BarlowSpeechError(
                f"{count} parts of the report would be written as '{name}'; give analyses titles "
                "that differ in letters or digits."
            )


def stem(name: str) -> str:
    """A name as part of a path: words of letters and digits, joined by underscores."""
    words = re.findall(r"\w+", name.replace("=", " is "))
    return "_".join(words)[:LONGEST_STEM].strip("_").lower() or "part"


def write_parts(sections: Sequence[Section], tables: Sequence[Table], folder: Path) -> None:
    """Write every part of the sections, and `tables`, below `folder`; each whole or not at all.

    Raises:
        BarlowSpeechError: as `check_names`, or the folder cannot be written.
    """
    check_names(sections, [one.name for one in tables])
    parts = [part for one in sections for part in one.parts] + list(tables)
    with progress(len(parts), "files of the report", "file") as bar:
        for part in parts:
            if isinstance(part, Picture):
                for kind in ("png", "pdf"):
                    write_figure(part.figure, picture_file(part, folder, kind))
            elif isinstance(part, Sound):
                write_sound(part, folder / "sounds" / f"{stem(part.name)}.wav")
            else:
                for kind, text in FORMS.items():
                    write_text(folder / "tables" / f"{stem(part.name)}.{kind}", text(part))
            bar.update()


def picture_file(picture: Picture, folder: Path, kind: str = "png") -> Path:
    """Where a picture is written."""
    return folder / "figures" / f"{stem(picture.name)}.{kind}"


def write_sound(sound: Sound, path: Path) -> None:
    """Write 16-bit WAV, whole or not at all."""
    with written_whole(path) as part:
        soundfile.write(part, np.clip(sound.wave_N, -1, 1), SAMPLE_RATE, "PCM_16", format="WAV")


def shown(value: Value) -> str:
    """A value as people read it: four significant digits, no more than two after the point.

    Small numbers keep two significant digits, down to 0.0001; None is a dash.
    """
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return ABSENT
    size = abs(value)
    if 0 < size < SMALLEST:
        return f"{'−' if value < 0 else ''}<{SMALLEST:g}"
    if size >= 10_000:
        text = f"{value:.0f}"
    elif size >= 1 or value == 0:
        text = f"{value:.2f}"
    else:
        text = f"{value:.4f}" if size < 0.01 else f"{value:.3f}"
    return text.replace("-", "−")


def markdown(table: Table) -> str:
    """The table with its caption, in Markdown."""
    lines = [
        f"| {' | '.join(map(markdown_escape, table.columns))} |",
        f"|{'|'.join('---' if i < table.texts else '---:' for i in range(len(table.columns)))}|",
    ]
    lines += [f"| {' | '.join(markdown_escape(shown(one)) for one in row)} |" for row in table.rows]
    return "\n".join([markdown_escape(table.caption), "", *lines]) + "\n"


def latex(table: Table) -> str:
    """The table with its caption, for LaTeX with booktabs."""
    columns = "l" * table.texts + "r" * (len(table.columns) - table.texts)
    body = [[latex_escape(shown(one)) for one in row] for row in table.rows]
    return latex_table([latex_escape(one) for one in table.columns], body, columns, table.caption)


def comma_separated(table: Table) -> str:
    """The table as CSV with every digit of its numbers; a value that there is not is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if one is None else one for one in row] for row in table.rows)
    return stream.getvalue()


FORMS = {"md": markdown, "tex": latex, "csv": comma_separated}
