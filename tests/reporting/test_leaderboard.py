"""The leaderboard in its four formats, from generated runs and from stored records."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.benchmark import entry
from barlow_speech.benchmark.evaluation.records import Record, Store
from barlow_speech.benchmark.reporting.html import page as html_page
from barlow_speech.benchmark.reporting.latex import escaped as latex_escape
from barlow_speech.benchmark.reporting.latex import latex_document
from barlow_speech.benchmark.reporting.leaderboard import (
    cost_texts,
    document,
    every_score,
    leaderboard,
    merged,
    notes,
    terminal,
)
from barlow_speech.benchmark.reporting.numbers import cost_text
from barlow_speech.benchmark.reporting.published import (
    PublishedScore,
    PublishedTable,
    read_published,
)
from barlow_speech.benchmark.reporting.tables import (
    comma_separated,
    markdown_document,
    text_document,
)
from barlow_speech.benchmark.reporting.tables import escaped as markdown_escape
from barlow_speech.benchmark.statistics.comparison import leaders
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.metrics import metrics
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.benchmark.statistics.ranking import ranking, shared_ranks
from barlow_speech.benchmark.statistics.results import Cost, Setup, TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.common.text import shortened

SCRIPT = "<script>alert(1)</script>"
SPECIAL = "_&%$#{}~^\\"
UPSTREAMS = ("barlow_speech", "barlow_speech_random", SCRIPT, SPECIAL)
TASKS = (("emotion", "emodb"), ("gender", "emodb"), ("speaker_id", "toy"))
COST = Cost(600_192, 3.4e8, 0.0123, "cpu", 2)
PUBLISHED = PublishedTable(
    "SUPERB & others",
    "Somebody et al.",
    (
        PublishedScore("hubert <b>", "emotion", "IEMOCAP", 64.92, "https://example.org/?a=1&b=2"),
        PublishedScore("perfect", "emotion", "emodb", 100.0, "javascript:alert(2)", note="a_note"),
    ),
)


def markdown_leaderboard(board):
    return markdown_document(document(board))


def latex_leaderboard(board):
    return latex_document(document(board, intervals=False))


def leaderboard_page(board):
    return html_page(document(board))


def text_leaderboard(board):
    return text_document(terminal(board))


def csv_leaderboard(board):
    return comma_separated(every_score(board))


def cell(upstream, task, corpus, values, **details):
    rest = {key: details.pop(key) for key in ("seeds", "sources", "cost") if key in details}
    setup = {"protocol": "quick", "head": "linear", "selection": "hidden_states",
             "comparison": f"{task}{corpus}", **details}  # fmt: skip
    return TaskResult(
        upstream, task, corpus, "top1", tuple(values), setup=Setup(**setup), **{"cost": COST} | rest
    )


def make_cells(upstreams=UPSTREAMS, tasks=TASKS, count=12, **details):
    """The first is best by far, the second and third cannot be separated, the others are worse."""
    generator = np.random.default_rng(0)
    cells = []
    for task, corpus in tasks:
        for place, upstream in enumerate(upstreams):
            level = (0.9, 0.6, 0.6, 0.3)[min(place, 3)]
            values = generator.binomial(500, level, size=count) / 500
            cells.append(cell(upstream, task, corpus, values.tolist(), **details))
    return cells


class Page(HTMLParser):
    """Tags, references and text of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.references, self.text, self.open = [], [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [(tag, v) for name, v in attrs if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def column(board, task):
    return next(i for i, one in enumerate(board.columns) if one.task == task)


def test_a_board_has_the_ranks_and_marks_of_the_statistics():
    cells = make_cells()
    (board,) = leaderboard(cells).boards
    assert [(one.task, one.corpus) for one in board.columns] == sorted(TASKS)
    for task, corpus in TASKS:
        group = [one for one in cells if (one.task, one.corpus) == (task, corpus)]
        at = column(board, task)
        scores = {row.upstream: row.scores[at] for row in board.rows}
        assert {name: score.rank for name, score in scores.items()} == shared_ranks(group)
        assert {name for name, score in scores.items() if score.leading} == set(leaders(group))
        (best,) = [name for name, score in scores.items() if score.best]
        assert best == max(group, key=lambda one: np.mean(one.values)).upstream
    ranked = ranking(cells)
    average = dict(zip(ranked.upstreams, ranked.ranks))
    assert {row.upstream: row.average_rank for row in board.rows} == average
    order = [(row.average_rank, row.upstream) for row in board.rows]
    assert order == sorted(order)


def test_what_the_runs_do_not_separate_shares_a_rank():
    values = [k / 100 for k in range(50, 62)]
    cells = [
        cell("best", "emotion", "toy", [v + 0.3 for v in values]),
        cell("one", "emotion", "toy", values),
        cell("two", "emotion", "toy", values[::-1]),
        cell("last", "emotion", "toy", [v - 0.3 for v in values]),
    ]
    (board,) = leaderboard(cells).boards
    ranks = {row.upstream: row.scores[0].rank for row in board.rows}
    assert ranks == {"best": 1, "one": 2, "two": 2, "last": 4}
    # Of one column, the order is by the rank in it, then by name, and there is no average.
    assert [row.upstream for row in board.rows] == ["best", "one", "two", "last"]
    assert {row.average_rank for row in board.rows} == {None}
    assert "One task has no average rank." in notes(board)


def test_equal_best_means_are_both_best():
    cells = [cell(name, "emotion", "toy", [0.5, 0.6, 0.7]) for name in ("a", "b")]
    (board,) = leaderboard(cells).boards
    assert all(row.scores[0].best and row.scores[0].leading for row in board.rows)


def test_the_order_of_the_cells_changes_nothing():
    cells = make_cells()
    shuffled = [cells[i] for i in np.random.default_rng(1).permutation(len(cells))]
    published = [PUBLISHED]
    for make in (markdown_leaderboard, latex_leaderboard, csv_leaderboard, leaderboard_page):
        assert make(leaderboard(cells, published)) == make(leaderboard(shuffled, published))


@pytest.mark.parametrize(
    "other", [{"protocol": "superb"}, {"selection": "embedding"}, {"head": "attentive"}]
)
def test_what_was_measured_differently_stands_on_boards_of_its_own(other):
    cells = make_cells() + make_cells(comparison="other", **other)
    boards = leaderboard(cells).boards
    assert len(boards) == 2
    alone = leaderboard(make_cells()).boards[0]
    assert any(board.rows == alone.rows for board in boards)
    text = text_leaderboard(leaderboard(cells))
    if "head" not in other:
        assert "embedding" in text or "rotocol superb" in text


def test_one_task_measured_in_two_ways_is_two_columns_and_is_named():
    values = [k / 100 for k in range(50, 62)]
    cells = [
        cell("a", "emotion", "toy", values, comparison="1111112222", steps=300),
        cell("b", "emotion", "toy", values, comparison="1111112222", steps=300),
        cell("c", "emotion", "toy", [v + 0.3 for v in values], comparison="333333", steps=900),
    ]
    (board,) = leaderboard(cells).boards
    assert [one.label for one in board.columns] == ["toy #111111", "toy #333333"]
    by_name = {row.upstream: row for row in board.rows}
    # Nothing is ranked against "c", however high it is.
    assert [by_name["a"].scores[0].rank, by_name["b"].scores[0].rank] == [1, 1]
    alone = by_name["c"].scores[1]
    assert alone.rank is None and not alone.leading and not alone.best
    (first, second) = board.notes
    assert "measured in 2 ways" in first and "steps (300 and 900)" in first
    assert "#111111: a, b" in first and "#333333: c" in first
    assert "no average rank" in second


def test_an_upstream_that_lacks_a_task_has_no_average_rank_and_is_named():
    cells = [
        one for one in make_cells() if (one.upstream, one.task) != ("barlow_speech", "speaker_id")
    ]
    (board,) = leaderboard(cells).boards
    rows = {row.upstream: row for row in board.rows}
    assert rows["barlow_speech"].average_rank is None
    assert board.rows[-1].upstream == "barlow_speech"  # behind those that have one
    others = [one for one in cells if one.upstream != "barlow_speech"]
    ranked = ranking(others)
    assert {name: rows[name].average_rank for name in ranked.upstreams} == dict(
        zip(ranked.upstreams, ranked.ranks)
    )
    assert any(note.startswith("barlow_speech has no average rank") for note in notes(board))
    assert "–" in markdown_leaderboard(leaderboard(cells))


def test_costs_stand_beside_the_scores():
    (board,) = leaderboard(make_cells()).boards
    assert cost_texts(board, board.rows[0]) == ["600 k", "340 M", "0.0123"]
    slower = replace(COST, real_time_factor=0.5, device="H100", threads=4)
    cells = make_cells(("a",)) + make_cells(("b",), cost=slower) + make_cells(("c",), cost=Cost())
    cells[0] = cell("a", *TASKS[0], cells[0].values, cost=replace(COST, real_time_factor=0.02))
    (board,) = leaderboard(cells).boards
    texts = {row.upstream: cost_texts(board, row) for row in board.rows}
    assert texts["a"] == ["600 k", "340 M", "0.0123–0.02 (cpu, 2 threads)"]
    assert texts["b"][2] == "0.5 (H100)"
    assert texts["c"] == ["–", "–", "–"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999.4, "999"), (999.9, "1 k"), (600_192, "600 k"), (999_999, "1 M"),
     (4_215_000, "4.21 M"), (94.68e6, "94.7 M"), (1.23e9, "1.23 G"), (5e13, "50 T")],
)  # fmt: skip
def test_counts_have_three_digits(value, text):
    assert cost_text("parameters", value) == text


def test_no_cells_are_refused():
    with pytest.raises(BarlowSpeechError, match="no results"):
        leaderboard([])


# Published scores.


@pytest.mark.parametrize(
    "make", [markdown_leaderboard, latex_leaderboard, csv_leaderboard, text_leaderboard]
)
def test_published_scores_change_nothing_about_the_measured_ones(make):
    cells = make_cells()
    alone, beside = make(leaderboard(cells)), make(leaderboard(cells, [PUBLISHED]))
    assert beside.startswith(alone.rstrip("\n"))
    apart = beside[len(alone.rstrip("\n")) :]
    assert "ublished" in apart or ",true," in apart
    assert "64.92" in apart or "0.6492" in apart
    assert "100.00" in apart or "1.0" in apart  # higher than all that was measured, and no mark
    assert "**" not in apart and "textbf" not in apart and "* perfect" not in apart


def test_published_scores_are_a_section_of_the_page_without_ranks():
    cells = make_cells()
    alone, beside = (leaderboard_page(leaderboard(cells, more)) for more in ((), [PUBLISHED]))
    start = beside.index('<section class="apart">')
    assert beside[:start] == alone[:start]
    section = beside[start : beside.index("</section>", start)]
    assert "<b>" not in section and not re.search(r'class="beside">\(\d', section)
    assert "100.00" in section


def test_published_scores_of_another_metric_are_left_out():
    board = leaderboard(make_cells(), [PUBLISHED], "uar")
    assert board.published == ()


def test_the_table_that_is_shipped_is_cited():
    table = read_published("superb")
    assert "2105.01051" in table.citation
    for row in table.rows:
        assert row.source.startswith("https://")
        assert 0 < row.score < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 130.0}, "no percentage"),
        ({"source": " "}, "no source"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"score": "much"}, "must be of type float"),
        ({"metric": "wer"}, "unknown metric 'wer'"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, change, message):
    row = {"upstream": "a", "task": "b", "corpus": "c", "score": 50.0, "source": "d", **change}
    lines = "\n".join(f"    {key}: {value}" for key, value in row.items()).replace(
        "    ", "  - ", 1
    )
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\ncitation: me\nrows:\n{lines}\n".replace("source:  \n", 'source: " "\n')
    )
    with pytest.raises(BarlowSpeechError, match=message) as caught:
        read_published(str(file))
    assert str(file) in str(caught.value)


def test_a_table_without_rows_a_double_and_an_unknown_name_are_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ncitation: me\nrows: []\n")
    with pytest.raises(BarlowSpeechError, match="no rows"):
        read_published(str(file))
    row = "{upstream: a, task: b, corpus: c, score: 50, source: d}"
    file.write_text(f"name: mine\ncitation: me\nrows: [{row}, {row}]\n")
    with pytest.raises(BarlowSpeechError, match="twice"):
        read_published(str(file))
    with pytest.raises(BarlowSpeechError, match="did you mean 'superb'"):
        read_published("suberb")


# The formats.


def test_hostile_names_are_text_in_markdown():
    text = markdown_leaderboard(leaderboard(make_cells(), [PUBLISHED]))
    assert "<script" not in text and "<b>" not in text
    assert markdown_escape(SPECIAL) in text
    # Undone by a reader of Markdown, the name is what it was.
    plain = re.sub(r"\\([\\`*\[\]|~$_])", r"\1", markdown_escape(SPECIAL)).replace("&amp;", "&")
    assert plain == SPECIAL
    tables = [line for line in text.splitlines() if line.startswith("|")]
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    # Two headings each: four upstreams, their intervals on three tasks, two published.
    assert bars == [9] * 6 + [8] * 14 + [6] * 4


def test_hostile_names_are_text_on_the_page():
    source = leaderboard_page(leaderboard(make_cells(), [PUBLISHED]))
    page = Page(source)
    assert page.open == []
    assert not {"link", "iframe", "form", "object"} & set(page.tags)
    assert page.tags.count("script") == 1  # the page's own
    assert page.tags.count("img") == 1  # the critical-difference diagram
    for name in (*UPSTREAMS, "hubert <b>", "javascript:alert(2)", "SUPERB & others"):
        assert name in page.text
    # The only links are addresses that were given as sources; nothing is fetched.
    links = [value for tag, value in page.references if tag == "a"]
    assert links == ["https://example.org/?a=1&b=2"]
    loaded = [value for tag, value in page.references if tag != "a"]
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    assert "default-src 'none'" in source and 'name="viewport"' in source
    assert not re.search(r"@import|url\(", source)


def test_every_name_is_escaped_in_every_place():
    names = [f"<b>_{i}&$</b>" for i in range(12)]
    facts = {"protocol": names[0], "head": names[1], "selection": names[2]}
    facts |= {"cost": replace(COST, device=names[3])}
    tasks = [(names[4], names[5]), ("emotion", names[5])]
    cells = make_cells(names[6:8], tasks, **facts)
    cells.append(cell(names[6], *tasks[0], [0.5], **{**facts, "comparison": names[8]}))
    rows = (PublishedScore("a", names[9], names[10], 50.0, names[11], note=names[0]),)
    published = [PublishedTable(names[1], names[2], rows, note=names[3])]
    board = leaderboard(cells, published)
    source = leaderboard_page(board)
    assert "<b>_" not in source and "<b>_" not in markdown_leaderboard(board)
    assert "<b>" not in latex_leaderboard(board)
    for make, shown in (
        (lambda: Page(source).text, str),
        (lambda: markdown_leaderboard(board), markdown_escape),
        (lambda: latex_leaderboard(board).replace("\\allowbreak{}", ""), latex_escape),
    ):
        text = make()
        for name in names[:8] + names[9:]:
            assert shown(name) in text or shown(name.capitalize()) in text


def test_the_page_shows_every_score_rank_and_cost():
    cells = make_cells()
    board = leaderboard(cells)
    page = Page(leaderboard_page(board))
    for one in cells:
        numbers = summary(one.values)
        assert f"{100 * numbers['mean']:.2f} ± {100 * numbers['std']:.2f}" in page.text
    for row in board.boards[0].rows:
        assert f"{row.average_rank:.2f}" in page.text
        for score in filter(None, row.scores):
            for low, high in (score.summary["ci95"], score.summary["runs_ci95"]):
                assert f"[{100 * low:.2f}, {100 * high:.2f}]" in page.text
    assert "600 k" in page.text and "0.0123" in page.text
    assert "Protocol quick, hidden states" in page.text


def test_only_tables_with_intervals_speak_of_them():
    board = leaderboard(make_cells())
    assert "Intervals are over" in leaderboard_page(board)
    assert "95 % CI" in markdown_leaderboard(board)
    # Without predictions they are over the runs alone, which are not shown twice.
    assert "runs alone" not in markdown_leaderboard(board)
    assert "Intervals are over" not in latex_leaderboard(board)
    assert "95 % CI" not in latex_leaderboard(board)


def test_no_diagram_without_tasks_or_upstreams_enough():
    for cells in (make_cells(tasks=TASKS[:1]), make_cells(upstreams=UPSTREAMS[:2])):
        assert "img" not in Page(leaderboard_page(leaderboard(cells))).tags


def test_csv_holds_the_numbers_to_the_last_digit():
    cells = make_cells(upstreams=(*UPSTREAMS, 'a,"b"\nc'))
    board = leaderboard(cells, [PUBLISHED])
    rows = list(csv.DictReader(io.StringIO(csv_leaderboard(board))))
    measured = [row for row in rows if row["published"] == "false"]
    assert len(measured) == len(cells) and len(rows) == len(cells) + len(PUBLISHED.rows)
    found = {(row["upstream"], row["task"]): row for row in measured}
    for one in cells:
        row, numbers = found[one.upstream, one.task], summary(one.values)
        assert [float(row[key]) for key in ("mean", "std", "ci95_low", "ci95_high")] == [
            numbers["mean"], numbers["std"], *numbers["ci95"]
        ]  # fmt: skip
        assert int(row["n"]) == 12 and int(row["parameters"]) == COST.parameters
        group = [other for other in cells if other.task == one.task]
        assert int(row["rank"]) == shared_ranks(group)[one.upstream]
        assert (row["separable_from_best"] == "false") == (one.upstream in leaders(group))
    published = [row for row in rows if row["published"] == "true"]
    assert [float(row["mean"]) for row in published] == [0.6492, 1.0]
    assert {row["rank"] for row in published} == {row["std"] for row in published} == {""}
    assert all(row["source"] for row in published)


def unescaped(text):
    """What LaTeX sets for the escapes of ASCII letters, letter by letter."""
    words = {
        "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textless": "<",
        "textgreater": ">", "textbar": "|",
    }  # fmt: skip
    text = re.sub(r"\\symbol\{(\d+)\}", lambda m: f"\0{int(m[1])}\0", text)
    text = re.sub(
        r"\\([a-z]+)\{\}|\\([{}$&#%_])|\{([\[\]*])\}|\{\}",
        lambda m: words[m[1]] if m[1] else m[2] or m[3] or "",
        text,
    )
    return re.sub(r"\0(\d+)\0", lambda m: chr(int(m[1])), text)


def test_latex_escapes_every_printable_letter_of_ascii():
    letters = "".join(map(chr, range(32, 127)))
    for name in (SCRIPT, SPECIAL, letters, letters[::-1], "--''``,,---", "[x]", "* [1ex]", "\\\\*"):
        escaped = latex_escape(name)
        assert escaped.isascii()
        assert unescaped(escaped) == name
        # No two letters are left that a font would join, nor one that LaTeX takes for itself.
        assert not re.search(r"--|''|,,|``|<<|[?!]`", escaped)
        bare = re.sub(r"\\[a-z]+\{\d*\}|\\[{}$&#%_]|\{[\[\]*]\}|\{\}", "", escaped)
        assert not set(bare) & set('\\{}$&#%_^~<>|"`[]*')


def test_latex_keeps_accents_and_names_what_plain_latex_lacks():
    assert latex_escape("é") == latex_escape("e\u0301") == "\\'e"
    assert latex_escape("日\n") == "{[}U+65E5{]}?"
    # Two marks on a letter: neither may be dropped.
    assert latex_escape("ấ") == "{[}U+1EA4{]}".replace("1EA4", f"{ord('ấ'):04X}")
    assert latex_leaderboard(leaderboard(make_cells(("日本", "é")))).isascii()


def test_latex_tables_are_whole():
    for tasks in (TASKS[:1], TASKS, [(f"task{i}", "c") for i in range(7)]):
        text = latex_leaderboard(leaderboard(make_cells(tasks=tasks), [PUBLISHED]))
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
        for tabular in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL):
            columns = len(re.match(r"\\begin\{tabular\}\{([lr]+)\}", tabular)[1])
            rows = [line for line in tabular.splitlines() if line.endswith(" \\\\")]
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
        for task, _ in tasks:
            assert latex_escape(task) in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("encoding", ["", "\\usepackage[T1]{fontenc}"])
def test_latex_compiles(tmp_path, encoding):
    names = (*UPSTREAMS, "[x] *y* -- ?`", "日本 ấ é ř ß", "\\input{x}", "% not a comment")
    tasks = [(f"task_{i}", "c & d") for i in range(6)]
    table = latex_leaderboard(leaderboard(make_cells(names, tasks), [PUBLISHED]))
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n" + encoding
    (tmp_path / "a.tex").write_text(f"{head}\n\\begin{{document}}\n{table}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    assert "Missing character" not in (tmp_path / "a.log").read_text(errors="replace")


def test_the_terminal_is_left_alone():
    text = text_leaderboard(leaderboard(make_cells(("a\x1b[2Jb", "c")), [PUBLISHED]))
    assert "\x1b" not in text
    marked = [line.split()[1] for line in text.splitlines() if line.startswith("* ")]
    assert len(marked) == len(TASKS)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_single_run_has_no_spread_in_any_format():
    cells = [cell(name, *TASKS[0], [0.5]) for name in ("a", "b")]
    board = leaderboard(cells)
    for make in (markdown_leaderboard, latex_leaderboard, leaderboard_page, text_leaderboard):
        score = re.search(r"50\.00[^\n]*", make(board))
        assert score and "±" not in score[0] and "pm" not in score[0] and "nan" not in score[0]
    (first, _) = csv.DictReader(io.StringIO(csv_leaderboard(board)))
    assert first["std"] == "" and first["ci95_low"] == ""


# Several folders, and the command.


def test_folders_are_merged_and_what_is_identical_is_taken_once():
    a, b = Path("a"), Path("b")
    cells = make_cells()
    assert merged({a: cells}) == cells
    assert merged({a: cells[:5], b: cells[3:]}) == cells
    other = make_cells(comparison="another")
    assert merged({a: cells, b: other}) == [*cells, *other]


def test_different_results_of_one_upstream_are_refused_by_both_names():
    a, b = Path("here/a"), Path("there/b")
    cells = make_cells()
    changed = cell(cells[0].upstream, *TASKS[0], [0.5] * 12)
    with pytest.raises(BarlowSpeechError, match="here/a and there/b hold different results"):
        merged({a: cells, b: [changed]})
    with pytest.raises(BarlowSpeechError, match="here/a holds two results"):
        merged({a: [*cells, changed]})
    seeds = cell(cells[0].upstream, *TASKS[0], cells[0].values, seeds=tuple(range(12)))
    with pytest.raises(BarlowSpeechError, match="different results"):
        merged({a: cells, b: [seeds]})


def store_record(folder, upstream, task="emotion", level=0.8, seed=0):
    """A record as a campaign writes it: 6 runs on 40 test recordings of 2 classes; its mean uar."""
    generator = np.random.default_rng(seed)
    truth = (np.arange(40) % 4 == 0).astype(int)
    protocol = {"learning_rates": [0.001], "steps": 10, "batch": 4, "accumulate": 1,
                "varies": ["init", "order"]}  # fmt: skip
    identity = {"features": [upstream], "examples": task, "protocol": protocol,
                "selection": "hidden_states"}  # fmt: skip
    facts = {
        "protocol": "quick", "head": "linear", "classes": ["calm", "excited"],
        "truth": [pack(truth)], "recordings": {"train": 80, "dev": 40, "test": 40},
        "most_frequent": [0], "learning_rate": {"chosen": 0.001}, "layers": 2,
        "width": 4, "seconds": {}, "cost": asdict(COST), "notes": [], "corpus": {"licence": "CC0"},
    }  # fmt: skip
    runs, recalls = {}, []
    for number in range(6):
        predicted = np.where(generator.random(40) < level, truth, 1 - truth)
        runs[number] = {
            "seed": number, "sources": {},
            "folds": [{"predicted": pack(predicted), "curve": [[10, 0.5]]}],
        }  # fmt: skip
        recalls.append(metrics(truth, predicted, 2)["uar"])
    Store(folder).save(Record(upstream, task, "toy", identity, facts, runs))
    return np.mean(recalls)


def run(*arguments):
    return run_command(entry.run, ["leaderboard", *map(str, arguments)])


def test_the_command_writes_four_files_and_prints_the_table(tmp_path, capsys):
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    recall = {}
    for task in ("emotion", "gender"):
        recall["barlow_speech", task] = store_record(first, "barlow_speech", task, 0.9, seed=1)
        recall[SCRIPT, task] = store_record(first, SCRIPT, task, 0.7, seed=2)
        store_record(second, SPECIAL, task, 0.6, seed=3)
    assert run(first, second, "-o", out, "--published", "superb") == 0
    assert {path.name for path in out.iterdir()} == {
        f"leaderboard.{kind}" for kind in ("md", "tex", "csv", "html")
    }
    printed = capsys.readouterr().out
    assert "barlow_speech" in printed and "SUPERB" in printed and "emotion – toy" in printed
    rows = list(csv.DictReader((out / "leaderboard.csv").open(encoding="utf-8", newline="")))
    assert {row["upstream"] for row in rows} >= {"barlow_speech", SCRIPT, SPECIAL, "HuBERT Base"}
    assert (out / "leaderboard.html").read_text(encoding="utf-8").count("<script") == 1
    # By default the files go into the first folder; a metric can be chosen.
    assert run(first, "--metric", "uar") == 0
    assert "acro recall" in (first / "leaderboard.md").read_text(encoding="utf-8")
    recalls = list(csv.DictReader((first / "leaderboard.csv").open(encoding="utf-8", newline="")))
    top1 = {(row["upstream"], row["task"]): float(row["mean"]) for row in rows}
    assert len(recalls) == 4 and {row["metric"] for row in recalls} == {"uar"}
    for row in recalls:
        cell_of_row = row["upstream"], row["task"]
        assert float(row["mean"]) == pytest.approx(recall[cell_of_row])
        assert float(row["mean"]) != pytest.approx(top1[cell_of_row])


def test_scores_of_dev_have_a_board_of_their_own_that_says_so():
    """Neither ranked nor averaged with those of test, whatever protocol they have."""
    tested = make_cells(UPSTREAMS[:2], TASKS[:3])
    chosen = [
        replace(one, setup=replace(one.setup, eval_split="dev"), values=(0.99,) * len(one.values))
        for one in make_cells(UPSTREAMS[:2], TASKS[2:])
    ]
    board = leaderboard([*chosen, *tested])
    ours, on_dev = board.boards
    assert (ours.eval_split, on_dev.eval_split) == ("test", "dev")
    assert ours == leaderboard(tested).boards[0]
    assert "dev" not in ours.title and on_dev.title.endswith("scores of dev")
    said = "Scores are of dev, on which choices are made, and not of test."
    assert said in notes(on_dev) and said not in notes(ours)
    for text in (markdown_leaderboard(board), text_leaderboard(board), leaderboard_page(board)):
        assert said in " ".join(text.split())
    rows = list(csv.DictReader(csv_leaderboard(board).splitlines()))
    assert {(float(row["mean"]) == 0.99, row["eval_split"]) for row in rows} == {
        (False, "test"), (True, "dev"),
    }  # fmt: skip


def test_what_results_note_of_themselves_stands_on_their_board():
    leak, other = "2 speakers are in train and test", "4 recordings of dev or test are there twice"
    cells = make_cells(UPSTREAMS[:2], TASKS[:2])
    cells[:2] = [replace(one, notes=(leak,)) for one in cells[:2]]
    cells[2] = replace(cells[2], notes=(other,))
    (board,) = leaderboard(cells).boards
    assert f"Noted of {cells[0].place}: {leak}." in notes(board)
    assert f"Noted of {cells[2]}: {other}." in notes(board)
    assert not any("Noted" in one for one in notes(leaderboard(make_cells()).boards[0]))


def test_other_samples_of_recordings_of_the_same_names_are_said():
    """Of an upstream that was evaluated before the recordings were cleaned, say."""
    cells = make_cells(UPSTREAMS[:3], TASKS[:1])
    before, after, unknown = (
        replace(one, setup=replace(one.setup, audio=audio))
        for one, audio in zip(cells, ("before", "after", ""))
    )
    (board,) = leaderboard([before, after, unknown]).boards
    (said,) = [one for one in notes(board) if "samples" in one]
    assert f"({before.upstream}; {after.upstream})" in said and said.startswith(before.place)
    (board,) = leaderboard([after, unknown]).boards
    assert not any("samples" in one for one in notes(board))


def test_the_command_ranks_over_what_is_asked_for(tmp_path, capsys):
    for seed, upstream in enumerate(("barlow_speech", SCRIPT)):
        store_record(tmp_path, upstream, level=0.9 - 0.2 * seed, seed=seed)
    for asked, over in (
        ((), "runs × recordings"),
        (("--over", "runs"), "runs"),
        (("--over", "recordings"), "recordings"),
        (("--over", "pretrainings"), "runs × recordings"),
    ):
        assert run(tmp_path, *asked) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert (
            f"paired test over {over}, 5 %" in printed and f"Intervals are over {over}" in printed
        )
        assert ("runs alone" in printed) == (over != "runs")
        assert ("every run is of one pretraining" in printed) == ("pretrainings" in asked)
        rows = csv.DictReader((tmp_path / "leaderboard.csv").open(encoding="utf-8", newline=""))
        assert {row["over"] for row in rows} == {over}
    assert run(tmp_path, "--over", "persons") == 2
    assert "unknown source 'persons' in --over; choose one of" in capsys.readouterr().err


def test_the_command_refuses_in_a_sentence(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(empty) == 2
    assert capsys.readouterr().err.startswith(f"error: {empty}")
    a, b = tmp_path / "a", tmp_path / "b"
    store_record(a, "barlow_speech", seed=1)
    store_record(b, "barlow_speech", seed=2)
    assert run(a, b) == 2
    error = capsys.readouterr().err
    assert str(a) in error and str(b) in error and error.count("\n") == 1
    assert run(a, "--published", "nothing.yaml") == 2
    assert not list(a.glob("leaderboard.*"))


def test_names_are_cut_in_the_middle_and_to_length():
    name = "barlow_speech_random_conformer/checkpoint-000100000.pt"
    for longest in (1, 2, 7, 20, len(name), 100):
        cut = shortened(name, longest)
        assert len(cut) == min(longest, len(name))
        before, _, after = cut.partition("…") if longest < len(name) else (name, "", "")
        assert name.startswith(before) and name.endswith(after)
