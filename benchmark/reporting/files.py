"""The files beside a study's page: figures as PNG and PDF, tables in three forms, sounds as WAV."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import TypeGuard

import numpy as np
import soundfile

from barlow_speech.benchmark.figures.style import write_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Sound, Table, Value
from barlow_speech.benchmark.reporting.latex import HEAD, latex_escape, latex_table
from barlow_speech.benchmark.reporting.numbers import ABSENT, markdown_escape
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import write_text, written_whole
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE

MAX_STEM = 80  # bytes, far below what file systems take
MAX_PLACES = 8  # after the point
SMALLEST = 1e-4  # what its column would round to zero is shown down to here, then as below it


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
    """A name as part of a path: words of letters and digits, joined by underscores.

    A long one is cut, and ends in a digest of the whole.
    """
    # Not every file system tells apart letters that are composed in different ways, nor cases.
    text = unicodedata.normalize("NFC", name.replace("=", " is ").lower())
    whole = "_".join(re.findall(r"\w+", text)).strip("_") or "part"
    if len(whole.encode()) <= MAX_STEM:
        return whole
    end = f"_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return whole.encode()[: MAX_STEM - len(end)].decode(errors="ignore") + end


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
                write_sound(part, sound_file(part, folder))
            else:
                for kind, text in FORMS.items():
                    write_text(table_file(part, folder, kind), text(part))
            bar.update()


def picture_file(picture: Picture, folder: Path, kind: str = "png") -> Path:
    """Where a picture is written."""
    return folder / "figures" / f"{stem(picture.name)}.{kind}"


def table_file(table: Table, folder: Path, kind: str = "csv") -> Path:
    """Where a table is written."""
    return folder / "tables" / f"{stem(table.name)}.{kind}"


def sound_file(sound: Sound, folder: Path) -> Path:
    """Where a sound is written."""
    return folder / "sounds" / f"{stem(sound.name)}.wav"


def write_sound(sound: Sound, path: Path) -> None:
    """Write 16-bit WAV, whole or not at all."""
    with written_whole(path) as part:
        soundfile.write(part, np.clip(sound.wave_N, -1, 1), SAMPLE_RATE, "PCM_16", format="WAV")


def shown(values: Sequence[Value]) -> list[str]:
    """The values of one column as people read them.

    Its numbers have the same places after the point: two where the largest is between 1 and 1000,
    none where it is larger, and else three or as many as show three digits of it; what is zero at
    the end of all of them is left out. A number that would so become zero has two digits of its
    own, down to 0.0001. Whole numbers stay whole; None is a dash.
    """
    numbers = [one for one in values if _is_number(one)]
    places = _places(max(map(abs, numbers), default=0.0))
    while places and all(round(one, places - 1) == one for one in numbers):
        places -= 1
    return [_shown(one, places) for one in values]


def shown_rows(table: Table) -> list[list[str]]:
    """The rows of a table with every column as `shown`."""
    columns = [shown(column) for column in zip(*table.rows, strict=True)]
    return [list(row) for row in zip(*columns)]


def _is_number(value: Value) -> TypeGuard[float]:
    """Whether it is a number that takes digits after the point."""
    return not isinstance(value, (str, Integral, type(None))) and math.isfinite(value)


def _places(largest: float) -> int:
    if largest >= 1000 or largest == 0:
        return 0
    if largest > 1:
        return 2
    return min(max(3, 2 - math.floor(math.log10(largest))), MAX_PLACES)


def _shown(value: Value, places: int) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if isinstance(value, Integral):
        text = str(value)
    elif math.isfinite(value):
        text = f"{value + 0.0:.{places}f}"  # no minus before a zero
        if value and not float(text):
            text = _small(value)
    else:
        text = ABSENT if math.isnan(value) else str(value)
    return text.replace("-", "−")


def _small(value: float) -> str:
    """A number that is not zero, and less than one, with two significant digits."""
    if abs(value) >= SMALLEST:
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"
    return f"<{SMALLEST:g}" if value > 0 else f">-{SMALLEST:g}"


def markdown(table: Table) -> str:
    """The table with its caption, in Markdown."""
    lines = [
        f"| {' | '.join(map(markdown_escape, table.columns))} |",
        f"|{'|'.join('---' if i < table.texts else '---:' for i in range(len(table.columns)))}|",
    ]
    lines += [f"| {' | '.join(map(markdown_escape, row))} |" for row in shown_rows(table)]
    return "\n".join([markdown_escape(table.caption), "", *lines]) + "\n"


def latex(table: Table) -> str:
    """The table with its caption, for LaTeX with booktabs."""
    columns = "l" * table.texts + "r" * (len(table.columns) - table.texts)
    body = [list(map(latex_escape, row)) for row in shown_rows(table)]
    head = [latex_escape(one) for one in table.columns]
    return HEAD + latex_table(head, body, columns, table.caption)


def comma_separated(table: Table) -> str:
    """The table as CSV with every digit of its numbers; a value that there is not is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if one is None else one for one in row] for row in table.rows)
    return stream.getvalue()


FORMS = {"md": markdown, "tex": latex, "csv": comma_separated}
