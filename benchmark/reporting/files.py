"""A document on disk: its page, and beside it figures, tables and sounds as files of their own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.figures.style import figure_bytes
from barlow_speech.benchmark.reporting.document import Document, Facts, Part, Picture, Sound, Table
from barlow_speech.benchmark.reporting.html import page
from barlow_speech.benchmark.reporting.latex import latex_file
from barlow_speech.benchmark.reporting.tables import comma_separated, markdown_file
from barlow_speech.upstream.common.files import (
    digest,
    parsed_json,
    write_json,
    write_text,
    written_whole,
)
from barlow_speech.upstream.common.progress import progress

BENCHMARK = Path(__file__).parents[1]
SOURCES = (".py", ".j2", ".css", ".js")  # and not what Python compiles, which it may do at any call
MAX_STEM = 80  # bytes, far below what file systems take
_FOLDERS = {Picture: ("figures", ""), Table: ("tables", ""), Sound: ("sounds", ".wav")}
TABLE_FORMATS = {"md": markdown_file, "tex": latex_file, "csv": comma_separated}


def write_document(document: Document, folder: Path) -> Path:
    """Write `folder/report.html`, and its parts as files beside it; the path of the page.

    `figures/*.png|pdf`, `tables/*.md|tex|csv` and `sounds/*.wav`, each whole or not at all; the
    page, which holds all that it shows, comes last. The same document gives the same bytes.

    Raises:
        BarlowSpeechError: the folder cannot be written.
    """
    parts = [part for part in document.parts if not isinstance(part, Facts)]
    places = _places(parts)
    with progress(len(parts), "files of the report", "file") as bar:
        for part, place in zip(parts, places):
            _write_part(part, folder / place)
            bar.update()
    rows = tuple((place, _holds(part)) for part, place in zip(parts, places))
    files = Table(
        "files",
        "",
        ("file", "what it holds"),
        rows,
        texts=2,
        folded=f"Names of {len(rows)} figures, tables and sounds",
    )
    path = folder / "report.html"
    write_text(path, page(document, files if rows else None))
    return path


def write_bare(document: Document, folder: Path) -> Path:
    """Write `folder/report.html`, and beside it its figures alone, as `<name>.png`.

    Raises:
        BarlowSpeechError: the folder cannot be written.
    """
    pictures = [part for part in document.parts if isinstance(part, Picture)]
    with progress(len(pictures), "figures", "figure") as bar:
        for picture in pictures:
            _write(folder / f"{picture.name}.png", picture.png)
            bar.update()
    path = folder / "report.html"
    write_text(path, page(document))
    return path


class Made:
    """What a page in a folder was made of, and its files: whether they have to be made again.

    It stands in `.made.json`. `of` is a tree of plain values and dataclasses; what makes the page
    counts too: matplotlib's version, and the sizes and times of change of the project's files.
    """

    def __init__(self, folder: Path, of: Any) -> None:
        self.folder, self._note = folder, folder / ".made.json"
        rooms = (BENCHMARK / room for room in ("analyses", "figures", "reporting", "statistics"))
        files = [*BENCHMARK.glob("*.*"), *(path for room in rooms for path in room.rglob("*.*"))]
        code = [_state(path) for path in files if path.suffix in SOURCES]
        self._of = digest([sorted(code), version("matplotlib"), json.dumps(of, default=asdict)])
        self._before = self._files()

    def still_there(self) -> bool:
        """Whether the same was made before, and every file is as it was written."""
        noted: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            noted = dict(parsed_json(self._note.read_text(encoding="utf-8")))
        files = noted.get("files")
        whole = isinstance(files, dict) and files.items() <= self._before.items()
        return whole and noted.get("of") == self._of

    def note(self) -> None:
        """Note what was written since."""
        now = self._files()
        files = {name: state for name, state in now.items() if self._before.get(name) != state}
        write_json(self._note, {"of": self._of, "files": files})

    def _files(self) -> dict[str, str]:
        if not self.folder.is_dir():
            return {}
        return {path.name: _state(path) for path in self.folder.iterdir() if path.is_file()}


def _state(path: Path) -> str:
    found = path.stat()
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


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


def _places(parts: Sequence[Table | Picture | Sound]) -> list[str]:
    """Where each part is beside the page, without the ending where it has several forms.

    Names that differ in marks alone have one stem; all but the first get a number.
    """
    places: dict[str, None] = {}
    for part in parts:
        folder, end = _FOLDERS[type(part)]
        place, number = f"{folder}/{stem(part.name)}{end}", 1
        while place in places:
            number += 1
            place = f"{folder}/{stem(part.name)}_{number}{end}"
        places[place] = None
    return list(places)


def _holds(part: Table | Picture | Sound) -> str:
    return part.caption or (part.alternative if isinstance(part, Picture) else part.name)


def _write_part(part: Part, place: Path) -> None:
    if isinstance(part, Picture):
        _write(place.with_name(f"{place.name}.png"), part.png)
        _write(place.with_name(f"{place.name}.pdf"), figure_bytes(part.figure, "pdf"))
    elif isinstance(part, Sound):
        _write(place, part.wav)
    elif isinstance(part, Table):
        for kind, make in TABLE_FORMATS.items():
            write_text(place.with_name(f"{place.name}.{kind}"), make(part))


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as whole:
        whole.write_bytes(content)
