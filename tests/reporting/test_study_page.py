"""The page of a study and the files beside it, also in a browser where there is one."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from matplotlib.image import imread
from programs import program

from barlow_speech.benchmark import reporting
from barlow_speech.benchmark.reporting.document import Document, Picture, Section, Sound, Table
from barlow_speech.benchmark.reporting.files import stem, write_document
from barlow_speech.benchmark.reporting.latex import latex_file
from barlow_speech.benchmark.reporting.numbers import column, cost_text
from barlow_speech.benchmark.reporting.tables import comma_separated, markdown_file

HOSTILE = "<script>document.title = 'run'</script>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def picture(name: str = "curves", inches: float = 5) -> Picture:
    figure = Figure(figsize=(inches, 3))
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


def report() -> Document:
    first = Section(
        f"Base encoders {HOSTILE}", ("A is better than B by 3.2 points.",), ("How to read.",),
        (picture(), table(), sound()),
    )  # fmt: skip
    second = Section(
        "Nothing found", (), (), (table("long one", 40), picture("wide one", inches=12))
    )
    spent = Table("time spent", "In seconds.", ("works", "seconds"), (("cells", 3.5),))
    facts = {"versions": {"torch": "2.11"}, "hardware": {"cores": "2"}}
    return Document(
        f"A study {HOSTILE}", "What it asks.\n\nOf whom.", (first, second),
        ("barlow-speech study toy",), facts, spent, ("No claim about speech.",),
        overview=True,
    )  # fmt: skip


def test_everything_is_in_the_page_and_beside_it(tmp_path: Path) -> None:
    path = write_document(report(), tmp_path)
    page = path.read_text()
    assert page.count("<script") == 1  # the page's own
    for said in ("A is better than B", "<p>What it asks.</p>", "<p>Of whom.</p>",
                 "No claim", "How to read.", "study toy", "2.11", "In seconds.",
                 "Every number.", "upstream_39"):  # fmt: skip
        assert said.replace(" %", "&nbsp;%") in re.sub(r"<wbr>", "", page)
    # Findings stand in the summary, under a link to their section, and there.
    summary, rest = page.split("<h2>Contents</h2>")
    assert summary.count("A is better than B") == rest.count("A is better than B") == 1
    (link,) = re.findall(r'<h3><a href="#([^"]+)">', summary)
    section = rest.split(f'id="{link}"')[1].split("<h2")[0]
    assert "A is better than B" in section
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    files = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert files == {
        "report.html", "sounds/view_a.wav",
        *(f"figures/{name}.{kind}" for name in ("curves", "wide_one") for kind in ("png", "pdf")),
        *(f"tables/{name}.{kind}" for name in ("scores", "long_one", "time_spent")
          for kind in ("md", "tex", "csv")),
    }  # fmt: skip
    # The page names them all, and no others.
    named = re.findall(r"(?:figures|tables|sounds)/[\w.]+", re.sub(r"<wbr>", "", page))
    assert len(named) == len(set(named)) == 6
    assert {one.removesuffix(".wav") for one in named} == {
        one.rsplit(".", 1)[0] for one in files if "/" in one
    }


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write_document(report(), tmp_path).read_text()
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
        write_document(report(), tmp_path / name)
    for one in (tmp_path / "a").rglob("*"):
        if one.is_file():
            other = tmp_path / "b" / one.relative_to(tmp_path / "a")
            assert one.read_bytes() == other.read_bytes(), one


def test_parts_whose_names_differ_in_marks_alone_are_files_of_their_own(tmp_path: Path) -> None:
    section = Section("Alike", (), (), (table("a b", 1), table("A-B", 2), table("a b 2", 3)))
    write_document(replace(report(), sections=(section,)), tmp_path)
    for name, rows in (("a_b", 1), ("a_b_2", 2), ("a_b_2_2", 3)):
        with (tmp_path / "tables" / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == rows


def test_sections_of_one_title_have_places_of_their_own(tmp_path: Path) -> None:
    sections = tuple(Section("Twice", (f"found {i}",), (), ()) for i in range(2))
    page = write_document(replace(report(), sections=sections), tmp_path).read_text()
    for i, link in enumerate(re.findall(r'<h3><a href="#([^"]+)">', page)):
        assert f"found {i}" in page.split(f'id="{link}"')[1].split("<h2")[0]


def test_tables_hold_every_digit_as_csv_and_few_elsewhere() -> None:
    given = table()
    header, *rows = csv.reader(io.StringIO(comma_separated(given)))
    assert tuple(header) == given.columns
    for row, values in zip(rows, given.rows):
        assert row[:2] == list(values[:2])
        assert [float(one) if one else None for one in row[2:]] == list(values[2:])
    text = markdown_file(given)
    assert "<script" not in text
    assert len({line.count("|") for line in text.splitlines()[2:] if "script" not in line}) == 1
    tex = latex_file(given).replace("\\allowbreak{}", "")
    assert "a \\& b" in tex
    assert "upstream\\_0" in tex
    assert tex.isascii()
    # What is wider than a line goes on in another tabular, with the names again.
    tabulars = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", tex, re.DOTALL)
    heads = [re.split(" & ", one.splitlines()[2].removesuffix(" \\\\")) for one in tabulars]
    assert len(tabulars) > 1
    assert [name for head in heads for name in head[2:]] == list(given.columns[2:])
    for one, head in zip(tabulars, heads):
        assert head[:2] == list(given.columns[:2])
        assert one.count(" & ") == (len(given.rows) + 1) * (len(head) - 1)


def test_tables_of_no_rows_are_tables(tmp_path: Path) -> None:
    empty = Table("none", "Nothing.", ("a", "b"), ())
    section = Section("Empty", (), (), (empty,))
    page = write_document(replace(report(), sections=(section,)), tmp_path).read_text()
    assert '<th scope="col">b</th>' in page
    assert comma_separated(empty) == "a,b\n"
    assert latex_file(empty).count(" & ") == 1


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([None, 3, -4, "a"], ["–", "3", "−4", "a"]),
        ([61.257, -2.0, 0.0, None], ["61.26", "−2.00", "0.00", "–"]),
        ([100.0, 38.729], ["100.00", "38.73"]),
        ([5.0, 25.0], ["5", "25"]),
        ([0.0005, 0.005, 0.05], ["0.0005", "0.0050", "0.0500"]),
        ([1.0, 0.0461, 0.00035, 0.00002, -0.00002],
         ["1.000", "0.046", "0.00035", "<0.0001", ">−0.0001"]),
        ([1e-5, 1e-4], ["0.00001", "0.00010"]),
        ([123456.7, 0.25], ["123457", "0.25"]),
        ([9.9996, 0.99996], ["10.00", "1.00"]),
        ([float("nan"), float("inf"), -0.0], ["–", "inf", "0"]),
        ([np.float64(61.257), np.int64(3)], ["61.26", "3"]),
        ([], []),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_people_read_them(values: list[Any], texts: list[str]) -> None:
    assert column(values) == texts


def test_no_number_is_shown_as_zero_that_is_none() -> None:
    values = [10.0**power for power in range(-12, 7)]
    for largest in range(1, len(values)):
        for text in column(values[:largest]):
            assert text.startswith("<") or float(text) > 0


def test_a_page_sorts_costs_by_what_they_are() -> None:
    """Its script reads what `cost_text` writes, exponents and units too."""
    script = (Path(reporting.__file__).parent / "templates" / "page.js").read_text()
    found = re.search(r"= /(.+)/\.exec", script)
    assert found is not None
    units = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for power in range(-7, 14):
        for value in (1.23 * 10.0**power, 9.87 * 10.0**power):
            for key in ("real_time_factor", "macs_per_second"):
                number = re.match(found[1], cost_text(key, value))
                assert number is not None
                read = float(number[1]) * units[number[2] or ""]
                assert read == pytest.approx(value, rel=0.03), cost_text(key, value)


def test_names_of_files() -> None:
    assert stem("λ = 0.05 / toy") == "λ_is_0_05_toy"
    assert stem("../..") == "part"
    assert stem("e\u0301") == stem("\u00c9")  # some file systems hold these for one
    long = [stem("x" * 300 + end) for end in "ab"] + [stem("日" * 300 + end) for end in "ab"]
    assert len(set(long)) == 4
    assert all(len(one.encode()) <= 80 for one in long)


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    empty = Document("Nothing", "", ())
    assert "Nothing" in write_document(empty, tmp_path).read_text()


@pytest.mark.parametrize("size", [(390, 844), (1280, 900)], ids=["phone", "desk"])
def test_in_a_browser(size: tuple[int, int], tmp_path: Path) -> None:
    """It is drawn, only its own script runs, and it is not wider than its window.

    The window is a frame in another page, since a headless one is never narrower than 500 pixels.
    """
    browser = program(*BROWSERS)
    width, height = size
    page = write_document(report(), tmp_path / "study").read_text()
    # In a copy the page lets one more script run: this one, which sorts, filters and measures.
    probe = """<script nonce="probe">addEventListener("load", () => {
        const media = [...document.querySelectorAll("audio")];
        Promise.all(media.map((one) => one.readyState ? 0 : new Promise((done) => {
            one.addEventListener("loadedmetadata", done); one.addEventListener("error", done);
        }))).then(() => {
        const table = document.querySelector("details table"), rows = () =>
            [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.innerText);
        table.closest("details").open = true;
        const heading = table.tHead.rows[0].cells[0];
        heading.click(); heading.click();
        const sorted = rows()[0].trim().split(/\\s/)[0];
        const field = table.closest("details").querySelector("input");
        field.value = "upstream_17"; field.dispatchEvent(new Event("input"));
        const kept = rows().length;
        field.value = ""; field.dispatchEvent(new Event("input"));
        parent.postMessage({
            sorted, kept, all: rows().length,
            width: innerWidth, over: document.documentElement.scrollWidth - innerWidth,
            scripts: document.scripts.length, title: document.title,
            images: [...document.images].map((one) => one.naturalWidth),
            sounds: media.map((one) => one.duration),
        }, "*"); });
    })</script></body>"""
    policy = "script-src 'sha256-"
    assert page.count(policy) == page.count("</body>") == 1
    measured = tmp_path / "measured.html"
    measured.write_text(
        page.replace(policy, "script-src 'nonce-probe' 'sha256-").replace("</body>", probe)
    )

    def framed(inner: Path) -> str:
        outer = tmp_path / f"frame_of_{inner.name}"
        outer.write_text(
            f"""<body style="margin: 0"><iframe src="{inner.as_uri()}" width="{width}"
            height="{height}" style="border: 0; display: block"></iframe><pre></pre><script>
            addEventListener("message", (event) => {{
                document.querySelector("pre").textContent = JSON.stringify(event.data);
            }})</script>"""
        )
        return outer.as_uri()

    def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
             "--enable-logging=stderr", "--virtual-time-budget=2000",
             f"--window-size={max(width, 500)},{height}", *arguments],
            capture_output=True, text=True, timeout=900, check=True,
        )  # fmt: skip

    shot = tmp_path / "shot.png"
    done = browse(f"--screenshot={shot}", framed(tmp_path / "study" / "report.html"))
    assert "CONSOLE" not in done.stderr
    drawn = imread(shot)[:, :width]
    assert drawn.shape[:2] == (height, width)
    assert len(np.unique(drawn.reshape(height, -1), axis=0)) > 50  # lines that differ

    dom = browse("--dump-dom", framed(measured)).stdout
    found = re.search(r"<pre>(.+)</pre>", dom)
    assert found, "the page was not measured"
    said = json.loads(html.unescape(found[1]))
    assert said["width"] == width
    assert said["over"] <= 0
    assert said["scripts"] == 2  # the page's own and the probe
    assert (said["sorted"], said["kept"], said["all"]) == ("upstream_9", 1, 40)
    assert said["title"] == f"A study {HOSTILE}"  # it stayed text
    assert said["images"] == [1000, 2400]
    assert said["sounds"] == [pytest.approx(0.1)]
