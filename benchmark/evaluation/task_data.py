"""A task on a corpus: its folds, what it fixes, and what may leak between its splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples
from barlow_speech.downstream.task import Task, read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest

ON_DEV = "scores are of dev, which also chose the head's settings: to compare trials, no results"


@dataclass(frozen=True)
class TaskData:
    """A task on a corpus, checked: its folds (mostly one); what it fixes and what may leak."""

    task: Task
    corpus: Corpus
    folds: tuple[Examples, ...]
    notes: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """Of the classes, and of the recordings and labels of each split."""
        return digest(
            [
                {
                    "classes": fold.classes,
                    "rows": {split: fold.rows[split].tolist() for split in SPLITS},
                    "labels": {split: fold.labels[split].tolist() for split in SPLITS},
                }
                for fold in self.folds
            ]
        )

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

    @cached_property
    def most_frequent(self) -> list[int]:
        """The most frequent class of the train split of each fold; always saying it is chance."""
        return [int(np.bincount(fold.labels["train"]).argmax()) for fold in self.folds]

    @cached_property
    def speakers(self) -> list[np.ndarray]:
        """The number of the speaker of each test recording of each fold, from 1; 0 is unknown.

        Empty where the corpus names no speaker.
        """
        if not any(self.corpus.manifest.columns.get("speaker", ())):
            return []
        names, number_M = np.unique(self.corpus.manifest.column("speaker"), return_inverse=True)
        first = 0 if names[0] == "" else 1
        return [number_M[fold.rows["test"]] + first for fold in self.folds]

    def with_identical(self, audio_N: np.ndarray, allowed: bool) -> TaskData:
        """With a note where samples of one split are, bit for bit, those of another.

        `audio_N` has a digest of each recording's samples.

        Raises:
            BarlowSpeechError: there are such recordings and it is not `allowed`.
        """
        recordings = self.corpus.recordings
        for fold in self.folds:
            seen: dict[int, tuple[str, int]] = {}
            for split, row in [(one, row) for one in SPLITS for row in fold.rows[one].tolist()]:
                other, at = seen.setdefault(int(audio_N[row]), (split, row))
                if other == split:
                    continue
                sentence = (
                    f"{recordings[at]} in {other} is, to the bit, {recordings[row]} in {split}"
                )
                if not allowed:
                    raise BarlowSpeechError(
                        f"corpus '{self.corpus.name}', task '{self.task.name}': {sentence}; "
                        f"drop one of them from {self.corpus.manifest.file}, or add "
                        "--allow-leakage."
                    )
                return replace(self, notes=(*self.notes, sentence))
        return self


def read_task_data(task: str, corpus: Corpus, allow_leakage: bool = False) -> TaskData:
    """Check labels and splits before anything is computed.

    Raises:
        BarlowSpeechError: as `Corpus.folds`, and for a leak between splits unless it is allowed.
    """
    read = read_task(task)
    folds = corpus.folds(read)
    leaks = [leak for fold in folds for leak in corpus.leaks(read, fold)]
    if leaks and not allow_leakage:
        raise BarlowSpeechError(
            f"corpus '{corpus.name}', task '{task}': {leaks[0]}; fix the column "
            f"'{folds[0].columns.split}' of {corpus.manifest.file}, or add --allow-leakage, "
            "which is then written into the record."
        )
    return TaskData(read, corpus, tuple(folds), (*read.fixed, *leaks))
