"""Tables, figures and the page, from generated runs."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

from barlow_speech.benchmark.analyses._details import measured, seed_ranges
from barlow_speech.benchmark.analyses._findings import findings
from barlow_speech.benchmark.analyses._runs import terminal as text_table
from barlow_speech.benchmark.analyses._scores import scores
from barlow_speech.benchmark.figures import confusion as drawing
from barlow_speech.benchmark.figures.boxplot import boxplot_figure
from barlow_speech.benchmark.figures.confusion import (
    confusion_figure,
    confusion_shares,
    confusion_text,
    shade,
)
from barlow_speech.benchmark.figures.style import figure_bytes, file_names, write_figure
from barlow_speech.benchmark.reporting.leaderboard import leaderboard
from barlow_speech.benchmark.reporting.tables import markdown
from barlow_speech.benchmark.run_downstream import write_report
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.predictions import Predictions, pack
from barlow_speech.benchmark.statistics.results import Cost, Setup, TaskResult, by_task
from barlow_speech.upstream.common.errors import BarlowSpeechError

HOSTILE = "<script>alert('x')</script>|`$a_1$\n"
CLASSES = ["anger", "<i>joy</i>", "$sad_ness$", "unheard"]
LONG = "barlow_speech_random_conformer/checkpoint-000100000.pt"


def predictions(counts, names):
    """Of one run, whose confusion is the counts."""
    truth, predicted = np.divmod(
        np.repeat(np.arange(np.size(counts)), np.ravel(counts)), len(names)
    )
    return Predictions(tuple(names), (pack(truth),), ((pack(predicted),),))


def confusion(level):
    """300 recordings of three classes that are recognised at a level; the fourth has none."""
    right = round(100 * level)
    rows = [[right, 100 - right, 0, 0], [0, right, 100 - right, 0], [100 - right, 0, right, 0]]
    return predictions([*rows, [0] * 4], CLASSES)


def make_cells(count=12):
    generator = np.random.default_rng(0)
    cells = []
    for task, corpus, level in [("emotion", "emodb", 0.6), ("speaker_id", HOSTILE, 0.9)]:
        for i, upstream in enumerate(["barlow_speech", LONG, HOSTILE]):
            values = generator.binomial(300, level - 0.15 * (i == 2), size=count) / 300
            cells.append(
                TaskResult(
                    upstream,
                    task,
                    corpus,
                    "top1",
                    tuple(values.tolist()),
                    seeds=tuple(range(count)),
                    sources=({"init": 1},) * count,
                    setup=Setup(
                        lr=0.001 * (1 + i),
                        chance=0.05,
                        classes=20,
                        test_recordings=300,
                        steps=400,
                        varied=("init", "order"),
                    ),
                    metrics={"top1": values.mean(), "uar": 0.1234 + i / 100, "f1": 0.2345},
                    predictions=confusion(level - 0.1 * i) if task == "emotion" else None,
                    cost=Cost(600_192, real_time_factor=0.0123, device="<u>cpu"),
                    seconds={"heads": 3.25},
                    notes=("<i>a note</i>",),
                )
            )
    return cells


def markdown_table(cells):
    (table,) = scores(by_task(cells)).parts
    return markdown(table)


def lone(name, values, seeds=None, predictions=None, **setup):
    return TaskResult(
        name, "emotion", "toy", "top1", tuple(values), seeds, setup=Setup(**setup),
        predictions=predictions,
    )  # fmt: skip


class Page(HTMLParser):
    """The tags, references and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.text, self.open = [], [], "", []
        self.alternatives = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.alternatives += [value for name, value in attrs if name == "alt"]
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    cells = make_cells()
    facts = {"torch": "2.11.0", "gpu": "<b>none</b>"}
    page = write_report(folder, cells, facts, "run_downstream.py -u '<x>' -d all ```")
    return folder, cells, page


def test_report_writes_its_files_and_nothing_else(written):
    folder, cells, page = written
    figures = {f"{name}.png" for name in file_names("boxplot", by_task(cells))}
    assert len(figures) == 2 and "boxplot_emotion_emodb.png" in figures
    names = {path.name for path in folder.iterdir()}
    others = {"report.html", "results.md", "cells.json", "confusion_emotion_emodb.png"}
    others.add("critical_difference.png")
    assert names == figures | others
    assert page == folder / "report.html"


def test_page_is_self_contained_and_escaped(written):
    _, cells, page = written
    source = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\(", source)
    parsed = Page(source)
    assert parsed.open == []
    assert not {"link", "iframe", "i"} & set(parsed.tags)
    assert parsed.tags.count("script") == 1  # the page's own
    assert parsed.tags.count("img") == 4
    assert all(value.startswith("data:image/png;base64,") for value in parsed.references)
    for text in ["<script>alert('x')</script>", "<i>a note</i>", "<b>none</b>", "-u '<x>' -d all"]:
        assert text in parsed.text
    assert 'name="viewport"' in source
    for cell in cells:
        mean = f"{100 * summary(cell.values)['mean']:.2f}"
        assert f"{mean} ± " in parsed.text
    for heading in ["Pairs of upstreams", "How it was measured", "Command"]:
        assert heading in parsed.text
    assert "0–11" in parsed.text  # the seeds


def test_page_shows_every_metric_and_what_was_taken_for_what(written):
    _, cells, page = written
    parsed = Page(page.read_text(encoding="utf-8"))
    for name in METRICS.values():
        assert name in parsed.text
    for cell in cells:
        numbers = [f"{100 * cell.metrics[name]:.2f}" for name in METRICS]
        assert "".join(numbers) in parsed.text  # beside each other
    # The best is a figure with its text; the other two are folded up, as tables.
    emotion = [cell for cell in cells if cell.task == "emotion"]
    ordered = sorted(emotion, key=lambda cell: -np.mean(cell.values))
    assert confusion_text(ordered[0]) in parsed.alternatives
    assert parsed.tags.count("details") == 2
    for cell in ordered[1:]:
        assert f"Confusion of {cell.upstream}" in parsed.text
    right = round(100 * (0.6 - 0.1 * emotion.index(ordered[-1])))
    source = page.read_text(encoding="utf-8")
    last = source[source.rindex("<details>") :]
    fields = re.search(r"anger</th>(.*?)</tr>", last)[1]
    assert re.sub(r"<td[^>]*>(.*?)</td>", r"\1|", fields) == f"{right}|{100 - right}|||"
    # Facts that have a place of their own are not spilled into the list of facts.
    assert "600 k" in parsed.text and "<u>cpu" in parsed.text
    facts = re.findall(r"<(?:dt|th)[^>]*>([^<]*)<", source)
    assert "learning rate" in facts and "parameters of the upstream" in facts
    assert not {"confusion", "class names", "metrics", "sources", "cost", "notes"} & set(facts)


def test_confusion_in_shares_words_and_a_figure():
    cell = make_cells()[0]
    shares = confusion_shares(cell)
    assert np.allclose(shares[:3].sum(axis=1), 1) and np.isnan(shares[3]).all()
    text = confusion_text(cell)
    assert "Recognised: anger 60 %, <i>joy</i> 60 %, $sad_ness$ 60 %." in text
    assert "anger taken for <i>joy</i> 40 %" in text and "unheard" not in text
    one, two = (figure_bytes(confusion_figure(cell), "png") for _ in range(2))
    assert one == two


def test_a_shade_of_a_page_is_that_of_the_figure():
    for share in np.linspace(0, 1, 301):
        assert shade(float(share)) == to_hex(drawing._shades()(float(share)))


def test_shades_darken_with_the_share():
    def lightness(colour):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    values = [lightness(shade(share)) for share in np.linspace(0, 1, 21)]
    assert values[0] > 254.9 and all(a > b for a, b in pairwise(values))
    assert lightness(shade(0.5)) - values[-1] > 60 and 255 - lightness(shade(0.5)) > 60


def test_confusion_is_refused_where_it_is_missing_or_too_large(tmp_path):
    with pytest.raises(BarlowSpeechError, match="no confusion"):
        confusion_text(lone("a", [0.5]))
    many = [str(i) for i in range(41)]
    big = lone("a", [0.5], predictions=predictions(np.eye(41, dtype=int), many))
    with pytest.raises(BarlowSpeechError, match="at most 40 classes"):
        confusion_figure(big)
    write_report(tmp_path / "out", [big], {}, "")
    assert not list((tmp_path / "out").glob("confusion*"))


def test_cells_json_holds_every_run(written):
    folder, cells, _ = written
    stored = json.loads((folder / "cells.json").read_text())["cells"]
    assert [tuple(entry["values"]) for entry in stored] == [cell.values for cell in cells]
    assert [entry["upstream"] for entry in stored] == [cell.upstream for cell in cells]


def test_report_is_reproducible(written, tmp_path):
    _, cells, page = written
    facts = {"torch": "2.11.0", "gpu": "<b>none</b>"}
    again = write_report(tmp_path, cells, facts, "run_downstream.py -u '<x>' -d all ```")
    assert again.read_bytes() == page.read_bytes()


def test_nothing_is_written_for_a_nan(tmp_path):
    cells = [*make_cells(3), lone("broken", [0.5, float("nan")])]
    with pytest.raises(BarlowSpeechError, match="broken on emotion of toy"):
        write_report(tmp_path / "out", cells, {}, "")
    assert not (tmp_path / "out").exists()


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(BarlowSpeechError, match="no results"):
        write_report(tmp_path / "out", [], {}, "")


def test_results_md_keeps_names_and_command_literal(written):
    folder, _, _ = written
    text = (folder / "results.md").read_text()
    assert "<script" not in text
    assert "````sh\nrun_downstream.py -u '<x>' -d all ```\n````" in text


@pytest.mark.parametrize("make", [text_table, markdown_table])
def test_tables_hold_every_cell(make):
    cells = make_cells()
    text = make(cells)
    for cell in cells:
        numbers = summary(cell.values)
        low, high = numbers["ci95"]
        assert f"{100 * numbers['mean']:.2f} ± {100 * numbers['std']:.2f}" in text
        assert f"[{100 * low:.2f}, {100 * high:.2f}]" in text
        assert f"{100 * numbers['median']:.2f}" in text
    assert text.count(LONG) == 2
    assert "emodb" in text


def test_text_table_is_aligned_and_keeps_the_order():
    cells = [lone(name, [0.5 + i / 100, 0.6, 0.61]) for i, name in enumerate(["z", "日本", "é"])]
    header, title, *rows = text_table(cells).split("\n\n")[0].splitlines()
    assert title == "emotion – toy"
    assert [row.split()[1] for row in rows] == ["z", "日本", "é"]
    # Each of the two wide letters takes two columns of the terminal.
    assert [len(row) for row in rows] == [len(header), len(header) - 2, len(header)]
    assert "\n" not in text_table([lone("a\x1b[2J\nb", [0.5])]).splitlines()[2]
    assert "\x1b" not in text_table([lone("a\x1b[2J\nb", [0.5])])


def test_markdown_rows_keep_their_columns():
    for line in markdown_table(make_cells()).splitlines()[:8]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 10


def test_marks_go_to_the_best_and_what_cannot_be_separated_from_it():
    values = [k / 100 for k in range(50, 60)]
    clear = [lone("good", [v + 0.2 for v in values]), lone("bad", values)]
    lines = text_table(clear).splitlines()
    assert lines[2].startswith("* good") and lines[3].startswith("  bad")
    shared = [lone("one", values), lone("two", values[::-1])]
    assert text_table(shared).count("\n* ") == 2
    # Alone, an upstream is best of nothing.
    assert "*" not in text_table(shared[:1])
    assert "*" not in markdown_table(shared[:1])


def test_a_single_run_is_a_row_without_spread():
    assert "50.00 ± –" in text_table([lone("a", [0.5])])


def test_findings_claim_what_the_test_supports():
    values = [k / 100 for k in range(50, 60)]
    above = findings([lone("bad", values), lone("good", [v + 0.123 for v in values])])
    assert above.startswith("On emotion (toy), good is above bad by 12.30 points (95 % interval")
    assert "p = 0.002" in above  # 2 / 2^10
    equal = findings([lone("a", values), lone("b", values[::-1])])
    assert "cannot be separated" in equal and "is above" not in equal


def test_findings_say_when_there_is_little_to_say():
    alone = findings([lone("a", [0.5, 0.6, 0.7])])
    assert "Nothing was compared" in alone
    few = findings([lone("a", [0.9] * 3), lone("b", [0.1] * 3)])
    assert "cannot be separated" in few and "3 runs cannot reach p < 0.05" in few
    apart = findings([lone("a", [0.9], seeds=[1]), lone("b", [0.1], seeds=[2])])
    assert "share no seed" in apart
    chance = findings([lone("a", [0.04, 0.05, 0.06], chance=0.05)])
    assert "not above chance" in chance


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_boxplot_formats(tmp_path, kind, start):
    cells = [lone(HOSTILE, [0.5, 0.52, 0.6, 0.55, 0.58], chance=0.5), lone("日本", [0.7])]
    path = write_figure(boxplot_figure(cells), tmp_path / f"figure.{kind}")
    assert path.read_bytes().startswith(start)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_boxplot_draws_the_same_figure_twice():
    cells = make_cells()[:3]
    first, second = (figure_bytes(boxplot_figure(cells), "png") for _ in range(2))
    assert first == second


def test_scores_of_dev_are_not_called_those_of_test():
    for split in ("dev", "test"):
        cells = [
            dataclasses.replace(cell, setup=dataclasses.replace(cell.setup, eval_split=split))
            for cell in make_cells()[:3]
        ]
        assert boxplot_figure(cells).axes[0].get_xlabel().startswith(f"{split} ")
        notes = " ".join(scores({("emotion", "emodb"): cells}).notes)
        assert ("of dev" in notes) == (split == "dev")
        (facts, *_) = measured({("emotion", "emodb"): cells}).parts
        assert ("test recordings" in str(facts)) == (split == "test")


def test_boxplot_refuses_two_tasks_and_an_unknown_format(tmp_path):
    with pytest.raises(BarlowSpeechError, match="one task"):
        boxplot_figure(make_cells())
    with pytest.raises(BarlowSpeechError, match="one task"):
        boxplot_figure([])
    with pytest.raises(BarlowSpeechError, match="kind of figure"):
        write_figure(boxplot_figure(make_cells()[:1]), tmp_path / "a.bmp")


def test_figure_names_are_safe_and_differ():
    names = file_names("boxplot", [("../a", "b c"), ("../a", "b?c"), ("x" * 300, "y")])
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"boxplot_[\w.-]{1,200}", name) for name in names)


def test_seed_ranges():
    assert seed_ranges([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"
    assert seed_ranges(["fold1", "fold2"]) == "fold1, fold2"
    assert seed_ranges([]) == ""


def crossed(upstream, seed):
    """A cell of ten initialisations, each with five orders: its runs are not independent."""
    generator = np.random.default_rng(seed)
    init, order = generator.normal(0, 0.03, 10), generator.normal(0, 0.01, 5)
    values = tuple(
        float(np.clip(0.6 + a + b + generator.normal(0, 0.005), 0, 1)) for a in init for b in order
    )
    sources = [{"init": i, "order": o} for i in range(10) for o in range(5)]
    return TaskResult(upstream, "emotion", "toy", "top1", values, sources=tuple(sources))


def test_runs_that_share_levels_are_neither_tested_nor_marked(tmp_path):
    cells = [crossed("one", 0), crossed("two", 1)]
    page = write_report(tmp_path, cells, {}, "command").read_text()
    assert "Where the spread comes from" in page and "init " in page
    assert "was not tested against" in page and "not independent" in page
    table = text_table(cells)
    assert "\n* " not in table and "are not independent" in " ".join(table.split())
    stored = json.loads((tmp_path / "cells.json").read_text())["cells"]
    for cell, one in zip(cells, stored):
        low, high = one["ci95"]
        naive = summary(cell.values)["ci95"]
        assert low < naive[0] and naive[1] < high  # as wide as ten initialisations make it
    (board,) = leaderboard(cells).boards
    assert all(
        score.rank is None and not score.leading for row in board.rows for score in row.scores
    )
