"""A task on a corpus: its folds, what it fixes, and what may leak between its splits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from barlow_speech.benchmark.evaluation.protocol import SpeakerSplit
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples
from barlow_speech.downstream.task import Task, read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.data.audio import read_audio

log = logging.getLogger(__name__)

ATTEMPTS = 200  # to deal speakers so that every class stays in train
ON_DEV = "scores are of dev, which also chose the head's settings: to compare trials, no results"


@dataclass(frozen=True)
class TaskData:
    """A task on a corpus, checked: its folds (mostly one); what it fixes and what may leak."""

    task: Task
    corpus: Corpus
    folds: tuple[Examples, ...]
    notes: tuple[str, ...]
    pool: Examples | None = None  # all recordings, as test, where folds are divisions of them

    @cached_property
    def digest(self) -> str:
        """Of the classes, and of the recordings and labels of each split, or of those divided."""
        return digest(
            [
                {
                    "classes": fold.classes,
                    "rows": {split: fold.rows[split].tolist() for split in SPLITS},
                    "labels": {split: fold.labels[split].tolist() for split in SPLITS},
                }
                for fold in self.evaluated
            ]
        )

    @property
    def evaluated(self) -> tuple[Examples, ...]:
        """What a run's predictions are of: the folds, or all that they divide."""
        return self.folds if self.pool is None else (self.pool,)

    @cached_property
    def on_dev(self) -> TaskData:
        """The same without its test recordings: dev is in their place."""
        folds = [
            replace(
                fold,
                rows={**fold.rows, "test": fold.rows["dev"]},
                labels={**fold.labels, "test": fold.labels["dev"]},
            )
            for fold in self.folds
        ]
        return replace(self, folds=tuple(folds), notes=(*self.notes, ON_DEV))

    def evaluated_on(self, split: str) -> TaskData:
        """The same for `test`, `on_dev` for `dev`."""
        return self.on_dev if split == "dev" else self

    @cached_property
    def most_frequent(self) -> list[int]:
        """The most frequent class of the train split of each fold; always saying it is chance."""
        split = "train" if self.pool is None else "test"
        return [int(np.bincount(fold.labels[split]).argmax()) for fold in self.evaluated]

    @cached_property
    def speakers(self) -> list[np.ndarray]:
        """The number of the speaker of each test recording of each fold, from 1; 0 is unknown.

        Empty where the corpus names no speaker.
        """
        if not any(self.corpus.manifest.columns.get("speaker", ())):
            return []
        names, number_M = np.unique(self.corpus.manifest.column("speaker"), return_inverse=True)
        first = 0 if names[0] == "" else 1
        return [number_M[fold.rows["test"]] + first for fold in self.evaluated]

    @cached_property
    def packed_speakers(self) -> list[str]:
        """`speakers` as a record has them."""
        return [pack(one) for one in self.speakers]

    def by_speaker(self, split: SpeakerSplit, seed: int, allow_leakage: bool = False) -> TaskData:
        """The same recordings divided anew by speaker; which division it is, the seed decides.

        Raises:
            BarlowSpeechError: a recording has no speaker, there are too few of them, or no division
                keeps every class in train; and for a leak, as `read_task_data`.
        """
        where = f"corpus '{self.corpus.name}', task '{self.task.name}': a split by speaker"
        first = self.folds[0]
        rows_N = np.concatenate([first.rows[one] for one in SPLITS])
        label_N = np.concatenate([first.labels[one] for one in SPLITS])
        order_N = np.argsort(rows_N, kind="stable")
        rows_N, label_N = rows_N[order_N], label_N[order_N]
        once_N = np.isin(rows_N, self.corpus.once(rows_N))
        rows_N, label_N = rows_N[once_N], label_N[once_N]
        columns = self.corpus.manifest.columns
        names = np.array(columns.get("speaker", [""] * len(self.corpus.recordings)))[rows_N]
        if (names == "").any():
            nameless = self.corpus.recordings[rows_N[np.flatnonzero(names == "")[0]]]
            raise BarlowSpeechError(
                f"{where} needs the speaker of every recording, and {nameless} has none; fill the "
                f"column 'speaker' of {self.corpus.manifest.file}, or choose another --protocol."
            )
        speakers, speaker_N = np.unique(names, return_inverse=True)
        has_SC = np.zeros((len(speakers), len(first.classes)), dtype=np.int64)
        np.add.at(has_SC, (speaker_N, label_N), 1)
        fold_S, dev_FF = _divided(has_SC, split, seed, first.classes, where)
        folds = []
        for test, dev_F in enumerate(dev_FF):
            side_N = np.where(dev_F[fold_S[speaker_N]], 1, 0)
            side_N[fold_S[speaker_N] == test] = 2
            of = {one: np.flatnonzero(side_N == i) for i, one in enumerate(SPLITS)}
            folds.append(
                Examples(
                    first.classes,
                    {one: rows_N[of[one]] for one in SPLITS},
                    {one: label_N[of[one]] for one in SPLITS},
                    first.columns,
                )
            )
        none = np.zeros(0, dtype=np.int64)
        pool = Examples(
            first.classes,
            {"train": none, "dev": none, "test": rows_N},
            {"train": none, "dev": none, "test": label_N},
            first.columns,
        )
        leaks = _leaks(self.task, self.corpus, folds, allow_leakage)
        notes = (*self.notes, split.note(), *leaks)
        return replace(self, folds=tuple(folds), pool=pool, notes=notes)

    def with_identical(self, audio_N: np.ndarray, allowed: bool) -> TaskData:
        """With notes on recordings whose samples are, bit for bit, those of others.

        `audio_N` has a digest of each recording's samples. Those with two labels or in two splits
        are all named in warnings.

        Raises:
            BarlowSpeechError: there are such recordings and it is not `allowed`.
        """

        def silent(row: int) -> bool:
            one = self.corpus.recordings[row]
            return not np.ptp(read_audio(one.path, one.start_s, one.end_s, one.gain_db))

        found = [self.corpus.identical(fold, audio_N.tolist(), silent) for fold in self.folds]
        notes = []
        for what, sentences in (
            ("have two labels", [one for fold in found for one in fold.two_labels]),
            ("are in two splits", [one for fold in found for one in fold.in_two_splits]),
            (
                "of dev or test are there twice",
                [one for fold in found for one in fold.in_one_split],
            ),
        ):
            sentences = list(dict.fromkeys(sentences))
            if not sentences:
                continue
            notes.append(f"{len(sentences)} recordings {what}: {sentences[0]}")
            if "there twice" in what:
                continue
            for sentence in sentences:
                log.warning("%s", sentence)
            if not allowed:
                raise BarlowSpeechError(
                    f"corpus '{self.corpus.name}', task '{self.task.name}': {notes[-1]}; drop one "
                    f"of each from {self.corpus.manifest.file}, or add --allow-leakage, which is "
                    "then written into the record."
                )
        return replace(self, notes=(*self.notes, *notes))


def _leaks(task: Task, corpus: Corpus, folds: Sequence[Examples], allowed: bool) -> list[str]:
    """What stands on both sides of a split.

    Raises:
        BarlowSpeechError: there is such a thing, and it is not `allowed`.
    """
    leaks = [leak for fold in folds for leak in corpus.leaks(task, fold)]
    if leaks and not allowed:
        raise BarlowSpeechError(
            f"corpus '{corpus.name}', task '{task.name}': {leaks[0]}; fix the column "
            f"'{folds[0].columns.split}' of {corpus.manifest.file}, or add --allow-leakage, "
            "which is then written into the record."
        )
    return leaks


def read_task_data(
    task: str, corpus: Corpus, allow_leakage: bool = False, to_divide: bool = False
) -> TaskData:
    """Check labels and splits before anything is computed.

    What is read `to_divide` it anew is all train: the corpus's own splits may be as they are.

    Raises:
        BarlowSpeechError: as `Corpus.folds`, and for a leak between splits unless it is allowed.
    """
    read = read_task(task)
    folds = [corpus.examples(read, divided=False)] if to_divide else corpus.folds(read)
    leaks = _leaks(read, corpus, folds, allow_leakage)
    notes = dict.fromkeys(note for fold in folds for note in fold.notes)
    return TaskData(read, corpus, tuple(folds), (*read.fixed, *leaks, *notes))


def _divided(
    has_SC: np.ndarray, split: SpeakerSplit, seed: int, classes: list[str], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """The fold of each speaker, and for each test fold which folds are dev [F, F].

    Speakers are dealt class by class, by what most of their recordings are, and dealt again where a
    train split would lose a class.

    Raises:
        BarlowSpeechError: there are too few speakers, or a class cannot be kept.
    """
    speakers = len(has_SC)
    folds = speakers if split.leave_one_out else split.folds
    if speakers < max(folds, 3):
        raise BarlowSpeechError(
            f"{where} needs {max(folds, 3)} speakers, and there are {speakers}; ask for fewer "
            "folds (three at least), or keep the corpus's own split by another --protocol."
        )
    for number, name in enumerate(classes):
        if np.count_nonzero(has_SC[:, number]) < 3:
            raise BarlowSpeechError(
                f"{where} cannot keep the class '{name}' in train, dev and test: fewer than three "
                "speakers have it; leave its labels empty, or keep the corpus's own split by "
                "another --protocol."
            )
    generator = np.random.default_rng([seed, folds])
    main_S = has_SC.argmax(axis=1)
    for _ in range(ATTEMPTS):
        drawn_S = generator.permutation(speakers)
        dealt_S = drawn_S[np.argsort(main_S[drawn_S], kind="stable")]
        fold_S = np.empty(speakers, dtype=np.int64)
        fold_S[dealt_S] = np.arange(speakers) % folds
        if split.leave_one_out:  # who is dev for whom is drawn
            fold_S = generator.permutation(folds)[fold_S]
        has_FC = np.zeros((folds, len(classes)), dtype=bool)
        np.logical_or.at(has_FC, fold_S, has_SC > 0)
        dev_FF = np.zeros((folds, folds), dtype=bool)
        for test in range(folds):
            following = [(test + 1 + i) % folds for i in range(folds - 1)]
            for count in range(1, len(following)):
                dev, train = following[:count], following[count:]
                if not has_FC[train].any(axis=0).all():
                    break
                dev_FF[test] = np.isin(np.arange(folds), dev)
                if has_FC[dev].any(axis=0).all():
                    break
        if dev_FF.any(axis=1).all():
            return fold_S, dev_FF
    rare = classes[int(np.count_nonzero(has_SC, axis=0).argmin())]
    raise BarlowSpeechError(
        f"{where} into {folds} folds loses a class from train ('{rare}' has the fewest speakers); "
        "ask for more folds, or keep the corpus's own split by another --protocol."
    )
