"""Tables, and documents of them, for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from barlow_speech.benchmark.reporting.document import Document, Entry, Table
from barlow_speech.benchmark.reporting.numbers import column
from barlow_speech.upstream.common.text import columns_wide, printable

MAX_NAME = 28  # columns of a terminal, with the mark: the table then fits into 100
WIDTH = 96  # columns of a terminal, for sentences
NUMBERS = re.compile(r"[\d\s.,±−–\[\]()+%]*")  # what needs no escapes, though it has brackets
MARK = "*"


def entries(table: Table) -> list[list[Entry]]:
    """The rows of a table as texts, every column by its format, or as `numbers.column`."""
    columns = []
    for name, values in zip(table.columns, zip(*table.rows, strict=True)):
        write = table.formats.get(name)
        plain = [value.text if isinstance(value, Entry) else value for value in values]
        texts = [write(value) for value in plain] if write else column(plain)
        columns.append(
            [
                value if isinstance(value, Entry) else Entry(text)
                for value, text in zip(values, texts)
            ]
        )
    return [list(row) for row in zip(*columns)]


def blocks(table: Table) -> dict[str, list[list[Entry]]]:
    """The title of each block of rows ("" without `groups`), and its rows without the title."""
    result: dict[str, list[list[Entry]]] = {}
    for row in entries(table):
        title = " – ".join(entry.text for entry in row[: table.groups])
        result.setdefault(title, []).append(row[table.groups :])
    return result


def text(table: Table) -> str:
    """Aligned for a terminal: the first column left, the others right.

    A name too long for the first column has a line to itself, uncut.
    """
    indent = "  " if table.groups else ""
    parts = [
        (printable(title), [[_in_terminal(entry, i, indent) for i, entry in enumerate(row)]
                            for row in rows])
        for title, rows in blocks(table).items()
    ]  # fmt: skip
    header = ["" if table.groups else table.columns[0], *table.columns[table.groups + 1 :]]
    every = [header, *(row for _, rows in parts for row in rows)]
    widths = [max(map(columns_wide, texts)) for texts in zip(*every)]
    widths[0] = min(widths[0], MAX_NAME)

    def line(row: list[str]) -> str:
        pads = [" " * (width - columns_wide(entry)) for entry, width in zip(row, widths)]
        if columns_wide(row[0]) > widths[0]:
            pads[0] = "\n" + " " * widths[0]
        rest = (f"  {pad}{entry}" for pad, entry in zip(pads[1:], row[1:]))
        return row[0] + pads[0] + "".join(rest)

    lines = [line(header)]
    for title, rows in parts:
        lines += [*([title] if title else []), *map(line, rows)]
    return "\n".join(lines)


def text_document(document: Document) -> str:
    """Titles, tables and beneath them sentences, for a terminal."""
    parts = [printable(document.title)] if document.title else []
    for section in document.sections:
        tables = [text(part) for part in section.parts if isinstance(part, Table)]
        if section.title:
            tables[:1] = ["\n".join([printable(section.title), *tables[:1]])]
        sentences = [*section.findings, *section.notes]
        wrapped = "\n".join(textwrap.fill(printable(one), WIDTH) for one in sentences)
        parts += [*tables, *([wrapped] if wrapped else [])]
    return "\n\n".join(parts) + "\n"


def markdown(table: Table) -> str:
    """The table in Markdown, without its caption; the names of its blocks are columns."""
    lines = [
        _markdown_row(["<br>".join(map(escaped, name.split("\n"))) for name in table.columns]),
        f"|{'|'.join('---' if i < table.texts else '---:' for i in range(len(table.columns)))}|",
    ]
    lines += [_markdown_row([_in_markdown(entry) for entry in row]) for row in entries(table)]
    return "\n".join(lines) + "\n"


def markdown_file(table: Table) -> str:
    """The table under its caption, as a file of its own."""
    return f"{escaped(table.caption)}\n\n{markdown(table)}"


def markdown_document(document: Document) -> str:
    """Sentences and tables of a document, its command and facts; no pictures."""
    parts = [f"# {escaped(document.title)}"]
    parts += map(escaped, document.paragraphs)
    for section in document.sections:
        parts += [f"## {escaped(section.title)}"] if section.title else []
        for part in section.parts:
            if isinstance(part, Table):
                parts += [*([escaped(part.caption)] if part.caption else []), markdown(part)[:-1]]
        sentences = [*section.findings, *section.notes]
        listed = len(section.findings) > 1
        parts += ["\n".join(f"- {escaped(one)}" for one in section.findings)] if listed else []
        parts += map(escaped, sentences[len(section.findings) :] if listed else sentences)
    for command in document.commands:
        # A fence longer than any run of backticks inside it cannot be closed from inside.
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
        parts.append(f"{fence}sh\n{command}\n{fence}")
    facts = [
        f"{name} {value}" for group in document.facts.values() for name, value in group.items()
    ]
    parts += [escaped(" · ".join(facts))] if facts else []
    return "\n\n".join(parts) + "\n"


def comma_separated(table: Table) -> str:
    """The table as CSV with every digit of its numbers; a value that there is not is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_in_csv(value) for value in row] for row in table.rows)
    return stream.getvalue()


def escaped(name: str) -> str:
    """The text as literal text of Markdown; underscores inside words stay readable."""
    letters = printable(name)
    result = []
    for i, letter in enumerate(letters):
        around = letters[max(i - 1, 0) : i + 2]
        inside_word = len(around) == 3 and around[0].isalnum() and around[2].isalnum()
        if letter in "<>&":  # not every renderer of Markdown drops raw HTML
            result.append({"<": "&lt;", ">": "&gt;", "&": "&amp;"}[letter])
        elif letter in "\\`*[]|~$" or (letter == "_" and not inside_word):
            result.append("\\" + letter)
        else:
            result.append(letter)
    return "".join(result)


def _in_terminal(entry: Entry, place: int, indent: str) -> str:
    shown = printable(" ".join(filter(None, [entry.text, entry.beside])))
    if place:
        return shown
    return f"{MARK} {shown}" if entry.marked else f"{indent}{shown}"


def _in_markdown(entry: Entry) -> str:
    shown = entry.text if NUMBERS.fullmatch(entry.text) else escaped(entry.text)
    shown = f"**{shown}**" if entry.bold else shown
    beside = f" {escaped(entry.beside)}" if entry.beside else ""
    return f"{shown}{beside}" + (f" \\{MARK}" if entry.marked else "")


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _in_csv(value: Any) -> Any:
    return value.text if isinstance(value, Entry) else "" if value is None else value
