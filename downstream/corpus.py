"""Corpora: a manifest and a YAML card that says which tasks it serves; their splits, checked."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import yaml

from barlow_speech import configs
from barlow_speech.downstream.task import Task, all_names, names, read_task
from barlow_speech.downstream.toy.corpus import toy_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import write_text
from barlow_speech.upstream.common.settings import build, read_yaml
from barlow_speech.upstream.data.manifest import Manifest, Recording, Spans, read_manifest

SPLITS = ("train", "dev", "test")
UNSEEN = ("Cf", "Cc")  # letters without width, and control characters
TATWEEL = "\u0640"  # what Arabic words are drawn out with
WHOLE = re.compile(r"^([0-9]+)\.0+$")  # 1.0 is what programs make of 1 beside an empty cell
# As programs write a cell that is empty; "nan" is refused.
NO_LABEL = ("none", "na", "n/a", "<na>", "#n/a", "null", "nil", "nat", "?", "-")


@dataclass(frozen=True)
class Columns:
    """The columns of a manifest that hold a task's labels and its split.

    Cross-validation has a split column for each of its `folds`, in place of `split`.
    """

    label: str
    split: str = ""
    folds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """What a corpus is. `manifest` is relative to the card; to `--data-root` for built-in ones."""

    name: str
    manifest: str
    tasks: dict[str, Columns]
    description: str = ""
    revision: str = ""
    licence: str = ""
    citation: str = ""
    main_score: str = "top1"


@dataclass(frozen=True)
class Corpus:
    """A card with its manifest read."""

    card: Card
    manifest: Manifest

    @property
    def name(self) -> str:
        """The name that tables show."""
        return self.card.name

    @cached_property
    def recordings(self) -> Sequence[Recording]:
        """Every recording of the manifest, in its order."""
        return self.manifest.recordings

    def folds(self, task: Task) -> list[Examples]:
        """The examples of each fold of a task; most tasks have one.

        Raises:
            BarlowSpeechError: as `examples`, or the folds have different classes.
        """
        columns = self._columns(task)
        folds = [self.examples(task, split) for split in columns.folds or (columns.split,)]
        for fold in folds[1:]:
            if fold.classes != folds[0].classes:
                raise BarlowSpeechError(
                    f"corpus '{self.name}', task '{task.name}': the train split of "
                    f"'{fold.columns.split}' has other classes than that of "
                    f"'{folds[0].columns.split}'; every fold must have all."
                )
        return folds

    def _columns(self, task: Task) -> Columns:
        if task.name not in self.card.tasks:
            served = ", ".join(sorted(self.card.tasks)) or "none"
            remedy = f"add the column '{task.label}' to {self.manifest.file}"
            if task.label in self.manifest.columns:
                remedy = "name its columns 'label' and 'split' in the tasks of a card (.yaml)"
            raise BarlowSpeechError(
                f"corpus '{self.name}' does not serve the task '{task.name}' (only: {served}); "
                f"{remedy}, or choose another -d."
            )
        return self.card.tasks[task.name]

    def examples(self, task: Task, split: str | None = None, divided: bool = True) -> Examples:
        """The labelled and split recordings of a task; `split` is a column, by default the card's.

        Rows of dev and test that list a recording again do not count. Where they are not `divided`,
        all are train, whatever split they are in.

        Raises:
            BarlowSpeechError: the corpus does not serve the task, lacks a column or a split, a
                split has an unknown class, there is only one class, a recording has two labels, or
                names are nearly equal.
        """
        columns = self._columns(task)
        columns = Columns(columns.label, split or columns.split or columns.folds[0])
        labels = np.array(self.manifest.column(columns.label), dtype=object)
        splits = np.array(self.manifest.column(columns.split), dtype=object)
        where = f"corpus '{self.name}', task '{task.name}' ({self.manifest.file}"
        stray = sorted(set(splits) - {*SPLITS, ""})
        if stray:
            raise BarlowSpeechError(
                f"{where}, column '{columns.split}'): unknown split '{stray[0]}'; "
                "use train, dev and test, or leave the cell empty."
            )
        used = np.flatnonzero((splits != "") & (labels != ""))
        for column in dict.fromkeys((columns.label, "speaker")):
            if column in self.manifest.columns:
                self._check_spelling(column, used)
        self._check_one_label(columns.label, used)
        if not divided:
            splits[used] = "train"
        rows = {split: np.flatnonzero((splits == split) & (labels != "")) for split in SPLITS}
        notes = []
        for split in ("dev", "test"):
            once = self.once(rows[split])
            if len(once) < len(rows[split]):
                notes.append(
                    f"{len(rows[split]) - len(once)} rows of {split} list a recording again and do "
                    "not count"
                )
            rows[split] = once
        for split, chosen in rows.items():
            if len(chosen) == 0 and (divided or split == "train"):
                raise BarlowSpeechError(
                    f"{where}, columns '{columns.label}' and '{columns.split}'): the split "
                    f"'{split}' has no labelled recording; assign some to it."
                )
        classes = sorted(set(labels[rows["train"]]))
        if len(classes) < 2:
            raise BarlowSpeechError(
                f"{where}, column '{columns.label}'): the train split has one class only, "
                f"'{classes[0]}'; a task needs at least two."
            )
        for split in ("dev", "test"):
            new = sorted(set(labels[rows[split]]) - set(classes))
            if new:
                raise BarlowSpeechError(
                    f"{where}, column '{columns.label}'): the class '{new[0]}' is in {split} but "
                    "not in train; move some of its recordings to train or drop it."
                )
        notes += [
            f"the class '{name}' is what programs write where there is no label"
            for name in classes
            if name.lower() in NO_LABEL
        ]
        number = {name: i for i, name in enumerate(classes)}
        return Examples(
            classes=classes,
            rows=rows,
            labels={
                s: np.array([number[one] for one in labels[rows[s]]], dtype=np.int64)
                for s in SPLITS
            },
            columns=columns,
            notes=tuple(notes),
        )

    @cached_property
    def _first(self) -> np.ndarray:
        """For each row the first that lists the same, whatever it is amplified by."""
        paths = self.manifest.column("path")
        parts = {"start_s", "end_s"} & self.manifest.columns.keys()

        def listed(row: int) -> tuple[Any, ...]:
            one = self.recordings[row] if parts else None
            return (_plain(paths[row]), one and one.start_s, one and one.end_s)

        # Of a million rows the hashes take little; only where they agree is more looked at.
        hashes = np.fromiter((hash(listed(row)) for row in range(len(paths))), np.int64, len(paths))
        _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
        result = first[place]
        for row in np.flatnonzero(result != np.arange(len(paths))).tolist():
            if listed(row) != listed(result[row]):
                result[row] = row
        return result

    def once(self, rows: np.ndarray) -> np.ndarray:
        """The rows without those that list what an earlier one of them lists."""
        return rows[np.sort(np.unique(self._first[rows], return_index=True)[1])]

    def _check_spelling(self, column: str, rows: np.ndarray) -> None:
        """Refuse what is no name, and names that differ in what is hardly seen and never meant.

        Raises:
            BarlowSpeechError: one is what programs write for a missing number, or has blanks around
                it, or two are one but for these, for case or for how their letters are composed.
        """
        cells = self.manifest.column(column)
        first: dict[str, int] = {}
        for row in rows.tolist():
            first.setdefault(cells[row], row)
        alike: dict[str, str] = {}
        for name, row in first.items():
            # A speaker may be called Nan.
            if name in ("nan", "NaN") or (column != "speaker" and name.lower() == "nan"):
                raise BarlowSpeechError(
                    f"{self.manifest.file}, line {self.manifest.lines[row]}, column '{column}': "
                    f"'{name}' is what programs write where there is none; leave the cell empty, "
                    "or rename it."
                )
            others = [alike.setdefault(one, name) for one in _spellings(name)]
            other = next((one for one in others if one != name), name)
            where = f"{self.manifest.file}, line {self.manifest.lines[row]}, column '{column}'"
            if other != name:
                same = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name)
                shown = [ascii(one) if same else repr(one) for one in (name, other)]
                raise BarlowSpeechError(
                    f"{where}: {shown[0]} is spelt otherwise than {shown[1]} in line "
                    f"{self.manifest.lines[first[other]]}; write them alike, or tell them apart by "
                    "more than that (case, blanks, an end in .0, how letters are composed)."
                )
            if name != name.strip():
                raise BarlowSpeechError(f"{where}: {name!r} has blanks around it; remove them.")

    def _check_one_label(self, column: str, rows: np.ndarray) -> None:
        cells, lines = self.manifest.column(column), self.manifest.lines
        once = self.once(rows)
        first = dict(zip(self._first[once].tolist(), once.tolist()))
        for row in np.setdiff1d(rows, once).tolist():
            other = first[int(self._first[row])]
            if cells[other] != cells[row]:
                raise BarlowSpeechError(
                    f"{self.manifest.file}, lines {lines[other]} and {lines[row]}: "
                    f"{self.recordings[row]} has two labels in the column '{column}', "
                    f"'{cells[other]}' and '{cells[row]}'; drop one of the rows."
                )

    def identical(
        self, examples: Examples, audio: Sequence[Any], silent: Callable[[int], bool]
    ) -> Identical:
        """Which recordings of a task have the same samples, a sentence each.

        `audio` has a digest of the samples of each row of the manifest; `silent` says of a row
        whether they are all the same.
        """
        result = Identical([], [], [])
        first: dict[Any, tuple[int, str, int]] = {}
        for split, rows in examples.rows.items():
            for row, label in zip(rows.tolist(), examples.labels[split].tolist()):
                other, its_split, its_label = first.setdefault(audio[row], (row, split, label))
                if other == row:
                    continue
                what = "digital silence, as is" if silent(row) else "to the bit"
                names = examples.classes

                def place(one: int, of: str, name: str) -> str:
                    line = self.manifest.lines[one]
                    return f"{self.recordings[one]} (line {line}, {of}, '{name}')"

                sentence = (
                    f"{place(row, split, names[label])} is {what} "
                    f"{place(other, its_split, names[its_label])}"
                )
                if label != its_label:
                    result.two_labels.append(sentence)
                elif split != its_split:
                    result.in_two_splits.append(sentence)
                elif split != "train":
                    result.in_one_split.append(sentence)
        return result

    def class_counts(self, examples: Examples) -> dict[str, dict[str, ClassCount]]:
        """Of each split and each class: how many recordings, and how many speakers they are of."""
        speakers = np.zeros(len(self.manifest), dtype=int)  # 0: not known
        if "speaker" in self.manifest.columns:
            numbers = {"": 0}
            cells = self.manifest.column("speaker")
            speakers[:] = [numbers.setdefault(cell, len(numbers)) for cell in cells]
        counts: dict[str, dict[str, ClassCount]] = {}
        for split, rows in examples.rows.items():
            labels, width = examples.labels[split], int(speakers.max()) + 1
            recordings = np.bincount(labels, minlength=len(examples.classes))
            pairs = np.unique(labels * width + speakers[rows])
            known = pairs[pairs % width > 0] // width
            voices = np.bincount(known, minlength=len(examples.classes))
            both = zip(recordings.tolist(), voices.tolist())
            counts[split] = {name: ClassCount(*one) for name, one in zip(examples.classes, both)}
        return counts

    def leaks(self, task: Task, examples: Examples) -> list[str]:
        """What stands on both sides of the splits, as sentences; empty when all is well.

        The same or an overlapping part of a file; and for a task whose test speakers must be new,
        a speaker.
        """
        sentences = []
        paths = self.manifest.column("path")
        files = {
            split: [_plain(paths[row]) for row in rows] for split, rows in examples.rows.items()
        }
        for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
            in_both = set(files[second]).intersection(files[first])
            spans: dict[str, list[Recording]] = {path: [] for path in in_both}
            for path, row in zip(files[second], examples.rows[second]):
                if path in in_both:
                    spans[path].append(self.recordings[row])
            others = {path: Spans(ones) for path, ones in spans.items()}
            own = (
                (path, self.recordings[row])
                for path, row in zip(files[first], examples.rows[first])
                if path in in_both
            )
            shared = [str(one) for path, one in own if others[path].overlap(one)]
            if shared:
                sentences.append(
                    f"{len(shared)} recordings are in {first} and {second}, such as {shared[0]}"
                )
        if task.speakers_disjoint and "speaker" in self.manifest.columns:
            speakers = np.array(self.manifest.column("speaker"), dtype=object)
            train = set(speakers[examples.rows["train"]]) - {""}
            both = sorted(train & set(speakers[examples.rows["test"]]))
            if both:
                sentences.append(f"{len(both)} speakers are in train and test, such as '{both[0]}'")
        return sentences


def _plain(path: str) -> str:
    """As paths compare: "a//b" and "a/./b" are "a/b"; the same string where it is so already."""
    plain = str(PurePath(path))
    return path if plain == path else plain


class ClassCount(NamedTuple):
    """Recordings of a class in a split, and their speakers; 0 where none is known."""

    recordings: int
    speakers: int


class Identical(NamedTuple):
    """Sentences on recordings with the same samples, by what is wrong with them."""

    two_labels: list[str]
    in_two_splits: list[str]
    in_one_split: list[str]  # dev or test


def _spellings(name: str) -> tuple[str, str]:
    """What other spellings of a name share with it: the name, folded, by the small letters of most
    languages and by those of Turkish (of I it is ı, and of İ it is i).
    """
    turkish = name.translate({ord("I"): "ı", ord("İ"): "i"})
    return f"- {_folded(name)}", f"tr {_folded(turkish)}"


def _folded(name: str) -> str:
    """The name in small letters, composed, of plain forms (ａ is a), with single blanks, without
    what is not seen, and 1 for 1.0.
    """
    seen = "".join(x for x in name if unicodedata.category(x) not in UNSEEN or x.isspace())
    seen = WHOLE.sub(r"\1", seen.replace(TATWEEL, ""))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join(folded.split())


@dataclass(frozen=True)
class Examples:
    """A task's classes, and for each split the manifest rows and their class numbers.

    `notes` say what a reader of the scores should know of them.
    """

    classes: list[str]
    rows: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    columns: Columns = field(default_factory=lambda: Columns("", ""))
    notes: tuple[str, ...] = ()

    def chance(self) -> float:
        """Test accuracy of always saying the most frequent class of the train split."""
        most = Counter(self.labels["train"].tolist()).most_common(1)[0][0]
        return float(np.mean(self.labels["test"] == most))


def read_corpus(name: str, data_root: Path | None = None) -> Corpus:
    """A corpus: the name of a built-in card, or the path of a card (.yaml) or a manifest (.tsv).

    `toy` is spoken on first use. A manifest alone serves every task whose label column it has; its
    name is that of its folder.

    Raises:
        BarlowSpeechError: there is no such corpus, or its files are wrong.
    """
    if name == "toy":
        return _of_card(toy_corpus(), None)
    path = Path(name)
    if path.suffix == ".tsv":
        manifest = read_manifest(path)
        return Corpus(_derived_card(manifest), manifest)
    if path.suffix in (".yaml", ".yml"):
        return _of_card(path, None)
    where = "--corpus (or a path to a .yaml or .tsv)"
    card = configs.find("corpus", name, where, also=("toy",))
    if data_root is None:
        raise BarlowSpeechError(
            f"corpus '{name}' is a card that comes without its data: give the folder that holds it "
            "by --data-root, or the card that `barlow-speech prepare` wrote by --corpus."
        )
    return _of_card(card, data_root)


def _of_card(path: Path, data_root: Path | None) -> Corpus:
    card = read_card(path)
    manifest = (data_root or path.parent) / card.manifest
    try:
        return Corpus(card, read_manifest(manifest))
    except BarlowSpeechError as error:
        raise BarlowSpeechError(f"card {path}: {error}") from error


def read_card(path: Path) -> Card:
    """The card in a YAML file.

    Raises:
        BarlowSpeechError: it cannot be read, has an unknown key, or names a task that is none or
            that has no split.
    """
    card = build(Card, read_yaml(path, configs.files("corpus")), str(path))
    known = all_names()
    for task, columns in card.tasks.items():
        if task not in known:
            raise unknown("task", task, known, str(path))
        if not (columns.split or columns.folds) or "" in columns.folds:
            raise BarlowSpeechError(
                f"{path}: the task '{task}' has no split; name a column by split, or several by "
                "folds."
            )
    return card


def write_card(path: Path, card: Card) -> None:
    """Write a card, whole or not at all; what is empty is left out.

    Raises:
        BarlowSpeechError: the folder cannot be written.
    """
    tree = {key: value for key, value in asdict(card).items() if value}
    tree["tasks"] = {
        task: {key: value for key, value in asdict(columns).items() if value}
        for task, columns in card.tasks.items()
    }
    write_text(path, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=96))


def _derived_card(manifest: Manifest) -> Card:
    """The card of a manifest that has none."""
    name = named_after(manifest.file.resolve())
    return Card(name=name, manifest=manifest.file.name, tasks=derived_tasks(manifest))


def named_after(manifest: Path) -> str:
    """The name of a corpus that has no card: its folder's, and its file's if that says more."""
    folder = manifest.parent.name
    return folder if manifest.stem == "manifest" else f"{folder}-{manifest.stem}"


def derived_tasks(manifest: Manifest) -> dict[str, Columns]:
    """The tasks that a manifest serves by the names of its columns."""
    tasks = {}
    for task in map(read_task, names()):
        split = next((one for one in task.splits if one in manifest.columns), None)
        # A split column that is there and empty says that the corpus is not split for this task.
        if split and any(manifest.columns[split]) and any(manifest.columns.get(task.label, ())):
            tasks[task.name] = Columns(task.label, split)
    return tasks


def check_names(corpora: Sequence[Corpus]) -> None:
    """Refuse two corpora of one name, since their results could not be told apart.

    Raises:
        BarlowSpeechError: there are such.
    """
    counts = Counter(corpus.name for corpus in corpora)
    for name, count in counts.items():
        if count > 1:
            raise BarlowSpeechError(
                f"{count} corpora are called '{name}'; give one of them a card with another name."
            )
