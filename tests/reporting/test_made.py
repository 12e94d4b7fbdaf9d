"""A page is made again if what it is of has changed, its files, or what makes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from barlow_speech.benchmark.reporting import files
from barlow_speech.benchmark.reporting.files import Made

ROOMS = ("analyses", "figures", "reporting", "statistics")


def changed(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")


CHANGES: dict[str, Callable[[Path, Path], None]] = {
    "page": lambda out, code: changed(out / "report.html"),
    "page gone": lambda out, code: (out / "report.html").unlink(),
    "figure gone": lambda out, code: (out / "box.png").unlink(),
    "note gone": lambda out, code: (out / ".made.json").unlink(),
    "note cut short": lambda out, code: os.truncate(out / ".made.json", 20),
    "code of the page": lambda out, code: changed(code / "run_downstream.py"),
    "code of a figure": lambda out, code: changed(code / "figures" / "boxplot.py"),
    "template": lambda out, code: changed(next((code / "reporting").rglob("*.css"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_a_page_again(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, code = tmp_path / "out", tmp_path / "benchmark"
    for room in ROOMS:
        shutil.copytree(files.BENCHMARK / room, code / room)
    shutil.copy(files.BENCHMARK / "run_downstream.py", code)
    monkeypatch.setattr(files, "BENCHMARK", code)
    made = Made(out, ["a command"])
    assert not made.still_there()
    out.mkdir()
    for name in ("report.html", "box.png"):
        (out / name).write_text(name)
    made.note()
    (out / "of somebody else").write_text("")
    assert Made(out, ["a command"]).still_there()
    assert not Made(out, ["another"]).still_there()
    CHANGES[change](out, code)
    assert not Made(out, ["a command"]).still_there()


def test_another_matplotlib_draws_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Made(tmp_path, []).note()
    assert Made(tmp_path, []).still_there()
    monkeypatch.setattr(files, "version", lambda package: "0.1")
    assert not Made(tmp_path, []).still_there()
