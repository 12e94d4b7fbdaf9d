"""A leaderboard as LaTeX: tables to `\\input` into a document that loads booktabs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from barlow_speech.benchmark.reporting.leaderboard import (
    BOLD_KEY,
    COSTS,
    PUBLISHED_KEY,
    Board,
    Leaderboard,
    Score,
    cost_texts,
    keys,
    metric_name,
    notes,
    rank_text,
    score_text,
)
from barlow_speech.benchmark.reporting.leaderboard_tables import score_key
from barlow_speech.benchmark.reporting.numbers import ABSENT
from barlow_speech.benchmark.reporting.published import PublishedTable, cited
from barlow_speech.upstream.common.text import printable

BESIDE_COSTS = 2  # columns of scores beside the costs; the others follow beneath,
MAX_COLUMNS = 4  # so many beside each other
MARK = "$^{*}$"
HEAD = "% Needs \\usepackage{booktabs}; \\input this file. It is plain ASCII.\n"
# Letters that LaTeX takes for itself; [ and * do so after a line break, as its options.
LETTERS = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#",
    "%": "\\%", "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\symbol{34}",
    "`": "\\symbol{96}", "[": "{[}", "]": "{]}", "*": "{*}",
    "–": "--{}", "—": "---{}", "±": "$\\pm$", "×": "$\\times$", "−": "$-$", "…": "\\ldots{}",
    "“": "``", "”": "''", "’": "'", "ß": "\\ss{}", "ø": "\\o{}", "Ø": "\\O{}", "æ": "\\ae{}",
    "Æ": "\\AE{}", "λ": "$\\lambda$", "œ": "\\oe{}", "ł": "\\l{}", "Ł": "\\L{}",
}  # fmt: skip
LIGATURES = "-,'"  # two of them would become one: a dash, a quotation mark
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def latex_escape(name: str) -> str:
    """The name as literal text of LaTeX, in any engine and font encoding.

    Accented Latin letters are set as such; another letter beyond ASCII becomes its code point, as
    in [U+65E5], since plain LaTeX stops at one that its fonts lack.
    """
    letters = unicodedata.normalize("NFC", printable(name))
    escaped = []
    for letter, following in zip(letters, [*letters[1:], ""]):
        apart = letter in LIGATURES and letter == following
        escaped.append(f"{letter}{{}}" if apart else _letter(letter))
    return "".join(escaped)


def latex_leaderboard(board: Leaderboard) -> str:
    """A `table` for each board, with booktabs, and one for each table of published scores."""
    return HEAD + "\n".join(
        [
            *map(_board, board.boards),
            *(_published(table, board.metric) for table in board.published),
        ]
    )


def latex_table(
    head: Sequence[str], body: Sequence[Sequence[str]], columns: str, caption: str
) -> str:
    """A `table` with booktabs from entries that are LaTeX already; the caption is plain text."""
    return _table([_tabular([head], body, columns)], latex_escape(caption))


def _board(board: Board) -> str:
    starts = [0, *range(BESIDE_COSTS, len(board.columns), MAX_COLUMNS)]
    parts = [
        _part(board, start, end, costs=start == 0)
        for start, end in zip(starts, [*starts[1:], len(board.columns)])
    ]
    caption = [latex_escape(score_key(board.metric))]
    if board.title:
        caption.insert(0, f"{latex_escape(board.title)}.")
    beneath = [latex_escape(f"Head: {board.head}.")] if board.head else []
    beneath += [latex_escape(BOLD_KEY), *map(latex_escape, keys(board, "*"))]
    beneath = [sentence.replace(latex_escape("*:"), f"{MARK}:") for sentence in beneath]
    beneath += map(latex_escape, notes(board))
    return _table([*parts, _small(" ".join(beneath))], " ".join(caption))


def _part(board: Board, start: int, end: int, costs: bool) -> str:
    """A tabular of the columns from `start` to `end`."""
    columns = board.columns[start:end]
    first, second = ["upstream"], [""]
    if costs:
        first += ["average", *COSTS.values()]
        second += ["rank", *("" for _ in COSTS)]
    first += [latex_escape(column.task) for column in columns]
    second += [latex_escape(column.label) for column in columns]
    body = []
    for row in board.rows:
        entries = [row.upstream]
        if costs:
            entries += [rank_text(row.average_rank), *cost_texts(board, row)]
        body.append([*map(latex_escape, entries), *map(_score, row.scores[start:end])])
    return _tabular([first, second], body, "l" + "r" * (len(first) - 1))


def _published(table: PublishedTable, metric: str) -> str:
    body = [
        [*map(latex_escape, (row.upstream, row.task, row.corpus)), f"{row.score:.2f}"]
        for row in table.rows
    ]
    head = ["upstream", "task", "corpus", "published"]
    sentences = [
        f"{table.name}. {PUBLISHED_KEY} {metric_name(metric)} in percent.",
        f"{table.citation}.",
        table.note,
    ]
    sources = dict.fromkeys(f"{row.upstream}, {row.task}: {cited(row)}" for row in table.rows)
    # An address has no blanks to break a line at.
    listed = "; ".join(latex_escape(one).replace("/", "/\\allowbreak{}") for one in sources)
    caption = " ".join(latex_escape(text) for text in sentences if text)
    return _table([_tabular([head], body, "lllr"), _small(f"Sources: {listed}.")], caption)


def _tabular(heads: Sequence[Sequence[str]], body: Sequence[Sequence[str]], columns: str) -> str:
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [f"{' & '.join(row)} \\\\" for row in heads]
    lines.append("\\midrule")
    lines += [f"{' & '.join(row)} \\\\" for row in body]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _small(text: str) -> str:
    return f"\\parbox{{\\linewidth}}{{\\scriptsize\\raggedright {text}\\par}}"


def _table(parts: Sequence[str], caption: str) -> str:
    body = "\n\n\\medskip\n".join(parts)
    return (
        "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{caption}}}\\medskip\n{body}\n\\end{{table}}\n"
    )


def _score(score: Score | None) -> str:
    if score is None:
        return latex_escape(ABSENT)
    text = latex_escape(score_text(score))
    text = f"\\textbf{{{text}}}" if score.best else text
    rank = "" if score.rank is None else f" ({score.rank})"
    return f"{text}{rank}" + (MARK if score.leading else "")


def _letter(letter: str) -> str:
    if letter in LETTERS:
        return LETTERS[letter]
    if letter.isascii():
        return letter
    parts = unicodedata.normalize("NFD", letter)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"{{[}}U+{ord(letter):04X}{{]}}"
