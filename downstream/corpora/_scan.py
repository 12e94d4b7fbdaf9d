"""What reads a corpus from its official folder layout: a file each in downstream/corpora.

Such a file has a docstring (what the corpus is, and its source) and a `READER`. Adding a file adds
a corpus; its cards stand in configs/corpora.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import is_pointer, read_text
from barlow_speech.upstream.common.progress import progress

GENDERS = {"F": "female", "M": "male"}

DEEPEST = 6  # folders below a root; no corpus is deeper, and a ring of links ends there

PEEK = 500  # names of a folder that are looked at to tell corpora apart

ACTED = (
    "path", "speaker", "gender", "emotion", "text", "split_speaker_id", "split_speaker_disjoint",
)  # fmt: skip


class Tabs(csv.excel_tab):
    """A table in which a quotation mark is a character like any other."""

    quoting = csv.QUOTE_NONE


@dataclass(frozen=True)
class Options:
    """What a user may say about a corpus besides its folder.

    `partial` takes what is there of a corpus that is not whole. `genders` is "published" or "audit"
    where a corpus has two tables of them (LibriSpeech), empty what its own file says. `test_set` is
    the folder of a test set that is a download of its own (Speech Commands), `statistics` the file
    of published counts of a corpus that has a new one every few months (Common Voice), and
    `split_by_speaker` takes a split of ours in place of its official one.
    """

    partial: bool = False
    genders: str = ""
    test_set: Path | None = None
    statistics: Path | None = None
    split_by_speaker: bool = False


class Table(NamedTuple):
    """Rows of a manifest; `path` is relative to the corpus's folder, or absolute.

    A row may go on after the columns, so that two tables can share a million of them.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass
class Scan:
    """What is in the folder of a corpus.

    `tables` are manifests by the stem of their file. `counts` and `published` are how many there
    are of each item, here and in the corpus's own publication (`source`); items whose names begin
    with "files" or "speakers" decide whether a download is whole, those with "female" or "male",
    which a copy's table may have corrected, do not. `missing` names what is absent altogether,
    `notes` are sentences for the card, `faults` those on what is wrong in the corpus as published,
    `hours` the published ones, `rate` the published sampling rate in Hz, `unasked`
    the cards that these options leave out.
    """

    source: str
    published: dict[str, int] = field(default_factory=dict)
    hours: float | None = None
    rate: int | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    revision: str = ""
    unasked: tuple[str, ...] = ()

    def add_acted(
        self, stem: str, rows: Sequence[tuple[str, ...]], everyone: Mapping[str, str]
    ) -> None:
        """The table of a corpus of acted emotions, whose columns are `ACTED`, and its counts.

        `everyone` has what to call each speaker that there should be.
        """
        speakers = {row[1]: row[2] for row in rows}
        self.tables = {stem: Table(ACTED, rows)}
        self.counts = {"files": len(rows), "speakers": len(speakers)}
        self.counts |= Counter(f"{gender} speakers" for gender in speakers.values() if gender)
        self.counts |= Counter(row[3] for row in rows)
        self.missing += [name for speaker, name in everyone.items() if speaker not in speakers]


@dataclass(frozen=True)
class Reader:
    """A corpus that `barlow-speech prepare` knows.

    `layout` says what its folder holds, for messages. `recognises` tells it from the other corpora
    at a glance; `read` lists its recordings, and opens only those whose length it must know.
    `cards` are names in configs/corpora; `takes` are the `Options` beside `partial` that it heeds.
    """

    title: str
    layout: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Options], Scan]
    cards: tuple[str, ...]
    takes: tuple[str, ...] = ()


def peek(folder: Path, pattern: str) -> bool:
    """Whether one of the first few hundred names in `folder` matches all of `pattern`."""
    matches = re.compile(pattern, re.IGNORECASE).fullmatch
    try:
        with os.scandir(folder) as entries:
            return any(matches(entry.name) for entry in itertools.islice(entries, PEEK))
    except OSError:
        return False


def folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted; none when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []


def child(folder: Path, name: str) -> Path:
    """The entry of that name whatever its case; `folder / name` when there is none."""
    if not (folder / name).exists():
        with_case = {one.casefold(): one for one in listing(folder)}
        name = with_case.get(name.casefold(), name)
    return folder / name


def listing(folder: Path) -> list[str]:
    """All names in `folder`, sorted; none when it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def files_below(folder: Path, suffix: str, expected: int) -> list[str]:
    """All files below `folder` whose names end in `suffix`, as sorted paths relative to it.

    One pass over the names; no file is opened. Case of the suffix and hidden files (among them the
    "._" files of macOS) are ignored. `expected` is their number, for the progress bar.

    Raises:
        BarlowSpeechError: a folder cannot be listed.
    """
    names: list[str] = []
    waiting = [("", 0)]
    with progress(expected, f"list {folder.name}", "file") as bar:
        while waiting:
            prefix, depth = waiting.pop()
            try:
                with os.scandir(folder / prefix) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.name.lower().endswith(suffix):
                            names.append(prefix + entry.name)
                            bar.update()
                        elif depth < DEEPEST and entry.is_dir():
                            waiting.append((f"{prefix}{entry.name}/", depth + 1))
            except OSError as error:
                raise BarlowSpeechError(
                    f"cannot list {folder / prefix}: {error.strerror}; check its permissions."
                ) from error
    return sorted(names)


def read_lines(file: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a text file of a corpus, without their ends.

    Raises:
        BarlowSpeechError: it cannot be read.
    """
    if encoding == "utf-8-sig":
        return read_text(file, remedy="download it again").split("\n")
    try:
        return file.read_text(encoding=encoding).split("\n")
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot read {file}: {error.strerror or error}; download it again."
        ) from error


def read_rows(file: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a table of a corpus by the names in its header; what a row lacks is empty.

    In a tab-separated file a quotation mark is a character like any other.

    Raises:
        BarlowSpeechError: it cannot be read.
    """
    lines = read_lines(file)
    try:
        if delimiter == "\t":
            return list(csv.DictReader(lines, dialect=Tabs, restval=""))
        return list(csv.DictReader(lines, delimiter=delimiter, restval=""))
    except csv.Error as error:
        raise BarlowSpeechError(f"cannot read {file}: {error}; download it again.") from error


def parsed(
    paths: Iterable[str],
    pattern: re.Pattern[str],
    example: str,
    options: Options,
    scan: Scan,
) -> list[tuple[str, re.Match[str]]]:
    """The paths with the match of `pattern` on their file names.

    Others are refused; with `--partial` they are left out, and a note says so.

    Raises:
        BarlowSpeechError: a file is not named as the corpus names its files.
    """
    result, strays = [], []
    for path in paths:
        match = pattern.fullmatch(path.rpartition("/")[2])
        if match:
            result.append((path, match))
        else:
            strays.append(path)
    if strays and not options.partial:
        raise BarlowSpeechError(
            f"{len(strays)} files, such as {strays[0]}, are not named as {example}; move them "
            "away, or add --partial to leave them out."
        )
    if strays:
        scan.notes.append(f"{len(strays)} files of other names, such as {strays[0]}, left out.")
    return result


def known(labels: Mapping[str, str], code: str, what: str, path: str) -> str:
    """The label of a code.

    Raises:
        BarlowSpeechError: the corpus has no such code.
    """
    if code not in labels:
        raise BarlowSpeechError(
            f"{path} has the {what} '{code}', and the corpus only {', '.join(labels)}; "
            "it is of another corpus or version, move it away."
        )
    return labels[code]


def refuse_pointers(root: Path, paths: Iterable[str]) -> None:
    """Refuse a Git clone without its large files, or with some of them.

    Raises:
        BarlowSpeechError: a file is a pointer of Git LFS.
    """
    pointers = [path for path in paths if is_pointer(root / path)]
    if pointers:
        raise BarlowSpeechError(
            f"{len(pointers)} files of {root}, such as {pointers[0]}, are pointers of Git LFS and "
            "no audio; run `git lfs pull` there."
        )
