"""The page of a study and the files beside it, also in a browser where there is one."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from matplotlib.image import imread

from barlow_speech.benchmark.section import Picture, Section, Sound, Table
from barlow_speech.benchmark.study_files import comma_separated, latex, markdown, shown, stem
from barlow_speech.benchmark.study_page import Report, write_study
from barlow_speech.upstream.errors import BarlowSpeechError

HOSTILE = "<script>document.title = 'run'</script>"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip


def picture(name: str = "curves") -> Picture:
    figure = Figure(figsize=(5, 3))
    figure.add_subplot().plot([1, 2, 3], [2, 1, 3])
    return Picture(name, "A caption of 5 %.", f"a line {HOSTILE}", figure)


def table(name: str = "scores", rows: int = 3) -> Table:
    body = tuple((f"upstream_{i} {HOSTILE}", "a & b", i, i / 7, None) for i in range(rows))
    columns = ("upstream", "task", "rank", "mean", "std", *(f"column {i}" for i in range(7)))
    wide = tuple((*row, *(1000.123456789 * i for i in range(7))) for row in body)
    return Table(name, "Every number.", columns, wide, texts=2)


def sound() -> Sound:
    wave_N = 0.5 * np.sin(np.arange(1600) / 5)
    return Sound("view A", "view A", wave_N)


def report() -> Report:
    first = Section(
        f"Base encoders {HOSTILE}", ("A is better than B by 3.2 points.",), ("How to read.",),
        (picture(), table(), sound()),
    )  # fmt: skip
    second = Section("Nothing found", (), (), (table("long one", 40),))
    spent = Table("time spent", "In seconds.", ("works", "seconds"), (("cells", 3.5),))
    facts = {"versions": {"torch": "2.11"}, "hardware": {"cores": "2"}}
    return Report(
        f"A study {HOSTILE}", "What it asks.", (first, second), ("barlow-speech study toy",),
        facts, spent, ("No claim about speech.",),
    )  # fmt: skip


def test_everything_is_in_the_page_and_beside_it(tmp_path: Path) -> None:
    path = write_study(report(), tmp_path)
    page = path.read_text()
    assert "<script" not in page
    for said in ("A is better than B", "What it asks.", "No claim", "How to read.", "study toy",
                 "2.11", "In seconds.", "Every number.", "upstream_39"):  # fmt: skip
        assert said.replace(" %", "&nbsp;%") in re.sub(r"<wbr>", "", page)
    # Findings stand in the summary and in their section, with a link from one to the other.
    assert page.count("A is better than B") == 2
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))
    files = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert files == {
        "report.html", "figures/curves.png", "figures/curves.pdf", "sounds/view_a.wav",
        *(f"tables/{name}.{kind}" for name in ("scores", "long_one", "time_spent")
          for kind in ("md", "tex", "csv")),
    }  # fmt: skip


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write_study(report(), tmp_path).read_text()
    sources = re.findall(r'(?:src|href|url|data)\s*=\s*"([^"]*)"', page)
    assert sources
    assert all(one.startswith(("data:", "#")) for one in sources)
    encoded = re.search(r"data:audio/wav;base64,([^\"]+)", page)
    assert encoded
    wave_N, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[1])))
    assert rate == 16_000
    np.testing.assert_allclose(wave_N, sound().wave_N, atol=1 / 32768)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "sounds/view_a.wav")[0], wave_N)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_study(report(), tmp_path / name)
    for one in (tmp_path / "a").rglob("*"):
        if one.is_file():
            other = tmp_path / "b" / one.relative_to(tmp_path / "a")
            assert one.read_bytes() == other.read_bytes(), one


def test_two_parts_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    section = Section("Twice", (), (), (table("a b"), table("A-B")))
    with pytest.raises(BarlowSpeechError, match="'a_b'"):
        write_study(replace(report(), sections=(section,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_hold_every_digit_as_csv_and_few_elsewhere() -> None:
    given = table()
    header, *rows = csv.reader(io.StringIO(comma_separated(given)))
    assert tuple(header) == given.columns
    for row, values in zip(rows, given.rows):
        assert row[:2] == list(values[:2])
        assert [float(one) if one else None for one in row[2:]] == list(values[2:])
    text = markdown(given)
    assert "<script" not in text
    assert len({line.count("|") for line in text.splitlines()[2:] if "script" not in line}) == 1
    tex = latex(given)
    assert "a \\& b" in tex
    assert "upstream\\_0" in tex
    assert tex.count(" & ") == (len(given.rows) + 1) * (len(given.columns) - 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (3, "3"), ("a", "a"), (61.25, "61.25"), (-2.0, "−2.00"), (0.0, "0.00"),
        (0.0351, "0.035"), (0.00512, "0.0051"), (0.00002, "<0.0001"), (123456.7, "123457"),
        (float("nan"), "–"),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_people_read_them(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_names_of_files() -> None:
    assert stem("λ = 0.05 / toy") == "λ_is_0_05_toy"
    assert stem("../..") == "part"
    assert len(stem("x" * 300)) <= 80


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    empty = Report("Nothing", "", (), (), {}, None, ())
    assert "Nothing" in write_study(empty, tmp_path).read_text()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or chrome")
@pytest.mark.parametrize("size", [(500, 900), (1280, 900)], ids=["phone", "desk"])
def test_in_a_browser(size: tuple[int, int], tmp_path: Path) -> None:
    """It is drawn, no script runs or fails, and it is not wider than its window.

    A headless window is never narrower than 500 pixels.
    """
    path = write_study(report(), tmp_path / "study")
    probe = (
        "<script>document.documentElement.setAttribute('data-wide', "
        "document.documentElement.scrollWidth - window.innerWidth)</script></body>"
    )
    page = path.read_text()
    # The probe is the only script that the page's policy lets run, and only in this copy.
    measured = tmp_path / "measured.html"
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', page)
    assert policy
    measured.write_text(page.replace(policy[0], "").replace("</body>", probe))
    shot = tmp_path / "shot.png"

    def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
        assert BROWSER is not None
        return subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
             "--enable-logging=stderr", "--virtual-time-budget=2000",
             f"--window-size={size[0]},{size[1]}", *arguments],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip

    done = browse(f"--screenshot={shot}", path.as_uri())
    assert "CONSOLE" not in done.stderr
    drawn = imread(shot)
    assert drawn.shape[:2] == size[::-1]
    assert len(np.unique(drawn.reshape(len(drawn), -1), axis=0)) > 50  # lines that differ
    dom = browse("--dump-dom", measured.as_uri()).stdout
    wide = re.search(r'data-wide="(-?\d+)"', dom)
    assert wide
    assert int(wide[1]) <= 0
    assert "<title>A study &lt;script&gt;" in dom  # it stayed text
