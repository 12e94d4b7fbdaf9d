"""Tables as LaTeX, to `\\input` into a document that loads booktabs."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pylatexenc.latexencode import UnicodeToLatexEncoder

from barlow_speech.benchmark.reporting.document import Document, Entry, Table
from barlow_speech.benchmark.reporting.tables import MARK, entries
from barlow_speech.upstream.common.text import printable

HEAD = "% Needs \\usepackage{booktabs}; \\input this file. It is plain ASCII.\n"
LATEX_MARK = "$^{*}$"
# What a line of text holds in \footnotesize, in letters of a figure's width, and what a column
# adds to its letters: an article of 345 pt, `LETTER` pt a letter, 2 × 3 pt between columns.
LINE, LETTER, BETWEEN = 80, 4.25, 1.5
MIN_NAME = 9  # letters in a line of a name, where names have to share a line
BREAKABLE, BREAK = re.compile(r"(\\_|[/-])(?!\{)"), r"\1\\allowbreak{}"
PAGE = 50  # lines of \\footnotesize
# Letters that LaTeX takes for itself; [ and * do so after a line break, as its options.
LETTERS = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#",
    "%": "\\%", "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\symbol{34}",
    "`": "\\symbol{96}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
LIGATURES = "-,'"  # two of them would become one: a dash, a quotation mark
# Of what pylatexenc writes, what every engine and font encoding has: accents on Latin letters,
# mathematics of the kernel, and text symbols.
EVERYWHERE = re.compile(
    r"""\\['`^"~=.](?:\{?[A-Za-z]\}?|\\[ij]\{\})|\\[uvHrc]\{[A-Za-z]\}"""
    r"|\\ensuremath\{(?:-|\\(?:pm|times|leq|geq|sum|infty|approx|neq|cdot|[A-Za-z]?[a-z]{1,6}))\}"
    r"|\\(?:ss|o|O|ae|AE|oe|OE|l|L|i|j|aa|AA|text(?:endash|emdash|ellipsis|times|quote[a-z]+"
    r"|degree|euro|mu|rightarrow|leftarrow|periodcentered|[a-z]+superior|section))\{\}"
)


@dataclass(frozen=True)
class _Column:
    """Its place in the table, its width in letters, and how LaTeX sets it."""

    place: int
    width: int
    kind: str


@functools.lru_cache(maxsize=1)
def _encoder() -> UnicodeToLatexEncoder:
    return UnicodeToLatexEncoder(
        non_ascii_only=True,
        replacement_latex_protection="braces-after-macro",
        unknown_char_policy="keep",
        unknown_char_warning=False,
    )


def escaped(name: str) -> str:
    """The name as literal text of LaTeX, in any engine and font encoding.

    A letter beyond ASCII that plain LaTeX may lack becomes its code point, as in [U+65E5], since
    LaTeX stops at one that its fonts lack.
    """
    letters = unicodedata.normalize("NFC", printable(name))
    return "".join(
        f"{letter}{{}}" if letter in LIGATURES and letter == after else _letter(letter)
        for letter, after in zip(letters, [*letters[1:], ""])
    )


def _letter(letter: str) -> str:
    if letter.isascii():
        return LETTERS.get(letter, letter)
    encoded: str = _encoder().unicode_to_latex(letter)
    return encoded if EVERYWHERE.fullmatch(encoded) else f"{{[}}U+{ord(letter):04X}{{]}}"


def latex_file(table: Table) -> str:
    """The table under its caption, as a file of its own."""
    return HEAD + _table(table, table.caption, ())


def latex_document(document: Document) -> str:
    """Every table of a document, with the title of its section, and the notes beneath."""
    return HEAD + "\n".join(
        _table(
            part,
            " ".join(filter(None, [section.title and f"{section.title}.", part.caption])),
            [*section.findings, *section.notes],
        )
        for section in document.sections
        for part in section.parts
        if isinstance(part, Table)
    )


def _table(table: Table, caption: str, notes: Sequence[str]) -> str:
    """One `table`, or several where it is more than a page holds.

    What is wider than a line goes on beneath, with the names repeated.
    """
    rows = entries(table)
    columns = _columns(table, rows)
    names = columns[: table.texts]
    tall = [max(-(-len(row[one.place].text) // one.width) for one in names) for row in rows]
    beneath = [escaped(note).replace(escaped(f"{MARK}:"), f"{LATEX_MARK}:") for note in notes]
    # An address has no blanks to break a line at.
    small = " ".join(beneath).replace("/", "/\\allowbreak{}")
    head = 2 + max(name.count("\n") for name in table.columns)
    room = PAGE - len(caption) // LINE - len(small) // LINE
    pages: list[list[str]] = [[]]
    left = room
    for chunk in _chunks(tall, room - head):
        for part in _across(columns, table.texts):
            left -= head + sum(tall[chunk])
            if left < 0 and pages[-1]:
                pages.append([])
                left = room - head - sum(tall[chunk])
            pages[-1].append(_tabular(table.columns, rows[chunk], part))
    if notes:
        pages[-1].append(f"\\parbox{{\\linewidth}}{{\\scriptsize\\raggedright {small}\\par}}")
    # A full page each; TeX holds only so many that it has not set yet.
    return "\\clearpage\n".join(
        "\\begin{table}\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{escaped(caption)}{' (continued)' * bool(number)}}}\\medskip\n"
        + "\n\n\\medskip\n".join(page)
        + "\n\\end{table}\n"
        for number, page in enumerate(pages)
    )


def _chunks(lines: Sequence[int], room: int) -> Iterator[slice]:
    """Rows that a page holds, by the lines that each takes; an empty slice where there are none."""
    start = taken = 0
    for row, count in enumerate(lines):
        if taken + count > room and row > start:
            yield slice(start, row)
            start, taken = row, 0
        taken += count
    yield slice(start, len(lines))


def _columns(table: Table, rows: Sequence[Sequence[Entry]]) -> list[_Column]:
    """Every column; names leave a third of a line to numbers, and break where they are longer."""
    widths = [max(map(len, name.split("\n"))) for name in table.columns]
    for row in rows:
        for i, entry in enumerate(row):
            shown = len(entry.text) + (1 + len(entry.beside) if entry.beside else 0) + entry.marked
            widths[i] = max(widths[i], shown)
    names = widths[: table.texts]
    numbers = sum(width + BETWEEN for width in widths[table.texts :])
    room = LINE - min(numbers, LINE / 3) - BETWEEN * len(names)
    # The widest names give way first.
    while sum(names) > room and max(names) > MIN_NAME:
        names[names.index(max(names))] -= 1
    return [
        _Column(i, widths[i], "r")
        if i >= table.texts
        else _Column(
            i, names[i], "l" if names[i] == widths[i] else f"p{{{LETTER * names[i]:.0f}pt}}"
        )
        for i in range(len(widths))
    ]


def _across(columns: Sequence[_Column], texts: int) -> list[list[_Column]]:
    """The columns of each tabular that fits into a line; names stand in all of them."""
    names = list(columns[:texts])
    parts: list[list[_Column]] = [[]]
    room = LINE - sum(column.width + BETWEEN for column in names)
    left = room
    for column in columns[texts:]:
        left -= column.width + BETWEEN
        if left < 0 and parts[-1]:
            parts.append([])
            left = room - column.width - BETWEEN
        parts[-1].append(column)
    return [[*names, *part] for part in parts]


def _tabular(
    heads: Sequence[str], rows: Sequence[Sequence[Entry]], columns: Sequence[_Column]
) -> str:
    lines = itertools.zip_longest(*(heads[one.place].split("\n") for one in columns), fillvalue="")
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{''.join(one.kind for one in columns)}}}",
            "\\toprule",
            *(" & ".join(map(escaped, line)) + " \\\\" for line in lines),
            "\\midrule",
            *(
                " & ".join(_entry(row[one.place], one.kind) for one in columns) + " \\\\"
                for row in rows
            ),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _entry(entry: Entry, kind: str) -> str:
    text = escaped(entry.text)
    text = f"\\textbf{{{text}}}" if entry.bold else text
    text += (f" {escaped(entry.beside)}" if entry.beside else "") + LATEX_MARK * entry.marked
    if kind in "lr":
        return text
    return f"{{\\raggedright {BREAKABLE.sub(BREAK, text)}\\par}}"
