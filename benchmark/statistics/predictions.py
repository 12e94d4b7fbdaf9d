"""What the runs of a result predicted of its test recordings, or how they scored on each.

Predictions are kept as compact text.

Of 500 runs on 100,000 recordings the numbers would take 400 MB, the text a few: it is unpacked
where something is counted, run by run.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from barlow_speech.benchmark.statistics.metrics import confusion_matrix

MAX_CONFUSION = 64  # classes; the matrix of more is as good as unreadable

MAX_PREDICTIONS = 1 << 24  # of one run; a few kilobytes can be unpacked into gigabytes


@dataclass(frozen=True)
class Predictions:
    """The names of the classes, and packed class numbers: the truth and the runs', by folds.

    `speakers` are packed numbers too, empty where a record does not know them; 0 is a recording
    whose speaker has no name. `recordings` is a digest: equal where they are the same, in order.
    """

    class_names: tuple[str, ...]
    truth: tuple[str, ...]  # of each fold
    runs: tuple[tuple[str, ...], ...]  # of each run and fold
    speakers: tuple[str, ...] = ()  # of each fold
    recordings: str = ""

    noun: ClassVar[str] = "recordings"

    def of_the_same(self, other: Predictions | ItemScores) -> bool:
        """Whether the other is of the same recordings, as far as is known."""
        if not isinstance(other, Predictions):
            return False
        if self.recordings and other.recordings and self.recordings != other.recordings:
            return False
        return self.class_names == other.class_names and same_numbers(self.truth, other.truth)

    @cached_property
    def size(self) -> int:
        """Test recordings, of all folds."""
        return sum(len(unpack(one)) for one in self.truth)

    @cached_property
    def speaker_N(self) -> np.ndarray | None:
        """The number of each recording's speaker; None unless all are known.

        From 0, in the order in which they turn up: whatever they are called, the same numbers are
        of the same recordings.
        """
        numbers = [unpack(one) for one in self.speakers]
        if not numbers or min(map(np.min, numbers)) == 0:
            return None
        _, first, of_recording = np.unique(
            np.concatenate(numbers), return_index=True, return_inverse=True
        )
        turn: np.ndarray = np.argsort(np.argsort(first))
        return turn[of_recording]

    @property
    def speaker_count(self) -> int | None:
        """How many people the test recordings are of; None where that is not known."""
        return None if self.speaker_N is None else 1 + int(self.speaker_N.max())

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(truth, predicted), both [N], of each fold and run."""
        for fold, truth in enumerate(self.truth):
            truth_N = unpack(truth)
            for run in self.runs:
                yield truth_N, unpack(run[fold])

    @cached_property
    def confusion(self) -> np.ndarray | None:
        """Counts [truth, predicted] over all runs and folds; None with more than 64 classes."""
        classes = len(self.class_names)
        if classes > MAX_CONFUSION:
            return None
        return np.sum([confusion_matrix(*pair, classes) for pair in self.pairs()], axis=0)


# Compared and hashed by identity: of 50 runs on 100,000 items a hash would take a second.
@dataclass(frozen=True, eq=False)
class ItemScores:
    """How each run scored on each item of the test, where that is all that is known.

    A run's score is the mean over its items, whatever the metric. `names` are the items, in order.
    """

    score_RN: np.ndarray  # at most 1, better the higher; 0 or more in the mean of a run
    names: tuple[str, ...]
    speaker_N: np.ndarray | None = None  # the number of each item's speaker, from 0, or None

    noun: ClassVar[str] = "items"
    class_names: ClassVar[tuple[str, ...]] = ()
    confusion: ClassVar[None] = None

    @property
    def runs(self) -> range:
        """A place for each run."""
        return range(len(self.score_RN))

    @property
    def size(self) -> int:
        """Items."""
        return len(self.names)

    @property
    def speaker_count(self) -> int | None:
        """How many people the items are of; None where that is not known."""
        return None if self.speaker_N is None else 1 + int(self.speaker_N.max())

    def of_the_same(self, other: Predictions | ItemScores) -> bool:
        """Whether the other is of the same items."""
        return isinstance(other, ItemScores) and self.names == other.names


def pack(classes_N: np.ndarray) -> str:
    """Class numbers as compact text: zlib over 32-bit little-endian integers, in base64."""
    # Byte by byte of all numbers, since the high bytes are nearly all zero.
    planes = np.ascontiguousarray(classes_N.astype("<u4")).view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack(text: str, most: int = MAX_PREDICTIONS) -> np.ndarray:
    """What `pack` packed, int64; at most so many numbers.

    Raises:
        ValueError: it is not what `pack` writes.
    """
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(text, validate=True), 4 * most + 1)
    except zlib.error as error:
        raise ValueError(f"packed predictions are broken: {error}") from error
    if len(content) > 4 * most or not unpacking.eof:
        raise ValueError("packed predictions are broken: they are cut short or too many")
    planes = np.frombuffer(content, np.uint8)
    if len(planes) % 4:
        raise ValueError("packed predictions are broken: their length is odd")
    return np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4").reshape(-1).astype(np.int64)


def same_numbers(packed: Sequence[str], others: Sequence[str]) -> bool:
    """Whether both hold the same numbers, fold by fold; not every zlib makes one text of them."""
    return len(packed) == len(others) and all(
        one == two or np.array_equal(unpack(one), unpack(two)) for one, two in zip(packed, others)
    )
