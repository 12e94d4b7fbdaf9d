"""What a run of gpu.py has found so far: JSON and a page, each written whole after every figure."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.reporting.document import Document, Section, Table
from barlow_speech.benchmark.reporting.html import page
from barlow_speech.upstream.common.files import write_json, write_text

COLUMNS = ("what", "found", "aim", "note")


class Record:
    """Rows of figures by phase, in `gpu.json` and `gpu.html` of a folder.

    One process writes at a time: each begins with what is there.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.page = folder / "gpu.json", folder / "gpu.html"
        self.found: dict[str, Any] = {"facts": {}, "phases": {}, "figures": {}, "ended": ""}
        if self.file.exists():
            self.found = json.loads(self.file.read_text(encoding="utf-8"))

    def facts(self, **values: Any) -> None:
        """Of the machine and the command."""
        self.found["facts"] |= values
        self.write()

    def row(self, phase: str, what: str, found: str, aim: str = "", note: str = "") -> None:
        """A line of the page."""
        self._phase(phase)["rows"].append([what, found, aim, note])
        print(f"{phase:12}{what:46}{found:>24}  {aim}  {note}".rstrip(), flush=True)
        self.write()

    def figures(self, phase: str, **values: Any) -> None:
        """Numbers, for whoever reads the JSON; later phases do."""
        self.found["figures"].setdefault(phase, {}).update(values)
        self.write()

    def state(self, phase: str, state: str, seconds: float) -> None:
        """How a phase ended: "done", or why not."""
        self._phase(phase).update(state=state, seconds=round(seconds, 1))
        self.write()

    def end(self, sentence: str) -> None:
        """How the whole ended."""
        self.found["ended"] = sentence
        self.write()

    def write(self) -> None:
        """Both files, each whole."""
        write_json(self.file, self.found)
        write_text(self.page, page(self.document()))

    def document(self) -> Document:
        """The page."""
        sections = []
        for name, phase in self.found["phases"].items():
            table = Table(name, "", COLUMNS, tuple(map(tuple, phase["rows"])), texts=len(COLUMNS))
            state = f"{phase['state']}, after {phase['seconds']:g} s."
            sections.append(Section(name.capitalize(), (), (state,), (table,)))
        facts = {name: str(value) for name, value in self.found["facts"].items()}
        return Document(
            "One command for a GPU",
            self.found["ended"] or "The run has not ended.",
            tuple(sections),
            facts={"Machine": facts},
        )

    def _phase(self, name: str) -> dict[str, Any]:
        new = {"state": "not ended", "seconds": 0.0, "rows": []}
        phase: dict[str, Any] = self.found["phases"].setdefault(name, new)
        return phase


def short_of_memory(error: BaseException) -> bool:
    """Whether it is an error of memory, of a GPU or of a CPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "allocate memory" in said


def unexpected(error: BaseException) -> str:
    """An error that is no user's, with its place, in one sentence."""
    traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    first = (str(error).splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno} ({first})."
