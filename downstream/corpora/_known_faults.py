"""What is known to be wrong in public corpora (configs/corpora/known_faults.yaml), and applied."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from barlow_speech import configs
from barlow_speech.downstream.corpora._scan import Table
from barlow_speech.upstream.common.settings import build, read_yaml


@dataclass(frozen=True)
class Fault:
    """One fault, what says so, and what is done about it (nothing: it is only told).

    Recordings are called by their file names without what follows the first dot. Those of
    `left_out` get no row, those of `unlabelled` an empty `column`. Of speakers that are
    `one_person` the first name counts. `genders` has a speaker's as published, and as an audit's.
    `release` is how the name of the only release begins that has the fault.
    """

    fault: str
    source: str
    left_out: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    column: str = "emotion"
    one_person: tuple[str, ...] = ()
    genders: dict[str, tuple[str, str]] = field(default_factory=dict)
    release: str = ""

    def is_of(self, release: str) -> bool:
        """Whether it is a fault of that release alone, which its reader refuses."""
        return bool(self.release) and release.startswith(self.release)

    def genders_by(self, table: str) -> dict[str, str]:
        """The genders of the speakers whom the tables "published" and "audit" call differently."""
        place = ("published", "audit").index(table)
        return {speaker: both[place] for speaker, both in self.genders.items()}


@dataclass(frozen=True)
class Corpus:
    """A corpus with its faults; `files` is what the names of its recordings match."""

    title: str
    files: str
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class _File:
    corpora: dict[str, Corpus]


@functools.cache
def _corpora() -> dict[str, Corpus]:
    path = configs.KNOWN_FAULTS
    return build(_File, read_yaml(path), str(path)).corpora


def known_faults(corpus: str) -> tuple[Fault, ...]:
    """The faults of a corpus by its name; none of one that is not in the table."""
    return _corpora()[corpus].faults if corpus in _corpora() else ()


def named_as(paths: list[str]) -> str:
    """The corpus of the table whose recordings are named as all of these are; else empty."""
    for name, corpus in _corpora().items():
        matches = re.compile(corpus.files, re.IGNORECASE).fullmatch
        if paths and all(matches(PurePosixPath(path).name) for path in paths):
            return name
    return ""


def correct_table(corpus: str, table: Table) -> tuple[Table, list[str]]:
    """The same of rows; they are left as they are where nothing of the corpus is to be changed."""
    if not any(one.left_out or one.unlabelled or one.one_person for one in known_faults(corpus)):
        return table, []
    columns, sentences = correct(
        corpus, {name: [row[i] for row in table.rows] for i, name in enumerate(table.columns)}
    )
    return Table(table.columns, list(zip(*columns.values()))), sentences


def correct(
    corpus: str, columns: Mapping[str, list[str]]
) -> tuple[dict[str, list[str]], list[str]]:
    """The columns of a manifest without the faults of its corpus, and a sentence for each fault."""
    changed = {name: list(cells) for name, cells in columns.items()}
    sentences = []
    for fault in known_faults(corpus):
        if fault.genders or fault.release:  # of which the corpus's reader knows more
            continue
        stems = [PurePosixPath(path).name.partition(".")[0] for path in changed["path"]]
        done = []
        if fault.unlabelled and fault.column in changed:
            unlabelled = set(fault.unlabelled)
            rows = [i for i, stem in enumerate(stems) if stem in unlabelled]
            for row in rows:
                changed[fault.column][row] = ""
            done.append(f"{len(rows)} without {fault.column}")
        if fault.one_person and "speaker" in changed:
            first, *others = fault.one_person
            renamed = [first if one in others else one for one in changed["speaker"]]
            done.append(f"{sum(map(str.__ne__, renamed, changed['speaker']))} called {first}")
            changed["speaker"] = renamed
        if fault.left_out:
            left_out = set(fault.left_out)
            kept = [i for i, stem in enumerate(stems) if stem not in left_out]
            done.append(f"{len(stems) - len(kept)} left out")
            changed = {name: [cells[i] for i in kept] for name, cells in changed.items()}
        applied = f"; here: {', '.join(done)}" if done else ""
        sentences.append(f"{fault.fault} ({fault.source}){applied}.")
    return changed, sentences
