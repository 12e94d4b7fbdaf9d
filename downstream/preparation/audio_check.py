"""Decode every recording of a manifest and say which are broken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from barlow_speech.downstream.corpus import Corpus
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.data.manifest import Recording

# About -78 dB: a recording that never leaves a band this wide (two steps of 16 bit to each side of
# its mean) holds no sound.
SILENT = 2.0**-13
BATCH = 1000  # recordings that wait at once; Ctrl-C comes through after as many


class Decoded(NamedTuple):
    """Hours that were decoded, and for each broken recording a sentence.

    `digests` has one of the samples of each recording, b"" where there are none; `silent` are those
    of recordings whose samples are all the same.
    """

    hours: float
    broken: list[str]
    digests: list[bytes]
    silent: set[bytes]


def check_audio(
    recordings: Sequence[Recording], silent_allowed: Iterable[bool], workers: int | None = None
) -> Decoded:
    """Decode recordings on `workers` threads (default: one a core), as training would.

    Broken is what cannot be read, has no sample, holds values that are not finite, or is silent
    where that is not allowed (the class of silence of a keyword task may be).
    """
    workers = workers or os.cpu_count() or 1
    samples, broken = 0, []
    digests, silent = [], set()
    jobs = list(zip(recordings, silent_allowed))
    # Threads will do: libsndfile, NumPy and torch let go of the interpreter while they work.
    with ThreadPoolExecutor(workers) as pool, progress(len(jobs), "check audio", "rec") as bar:
        for first in range(0, len(jobs), BATCH):
            for number, fault, digest, still in pool.map(_heard, jobs[first : first + BATCH]):
                samples += number
                digests.append(digest)
                if still:
                    silent.add(digest)
                if fault:
                    broken.append(fault)
                bar.update()
    return Decoded(samples / SAMPLE_RATE / 3600, broken, digests, silent)


def copies(corpus: Corpus, decoded: Mapping[Recording, bytes], silent: Set[bytes]) -> list[str]:
    """A sentence on each recording of a task that is another one to the bit, and should not be.

    It has another label, is in another split, or is in dev or test a second time. `decoded` has a
    digest of the samples of recordings; of a file that is there whole, its parts count as such.
    """
    digests, audio = [], []
    for row, one in enumerate(corpus.recordings):
        whole = Recording(one.path)
        digests.append(decoded.get(whole, decoded.get(one, b"")))
        part = (one.start_s, one.end_s) if whole in decoded else None
        audio.append((digests[-1], part) if digests[-1] else row)
    sentences: dict[str, None] = {}
    for name in corpus.card.tasks:
        for examples in corpus.folds(read_task(name)):
            found = corpus.identical(examples, audio, lambda row: digests[row] in silent)
            for what, of_one_kind in found._asdict().items():
                heading = f"{name} by {examples.columns.split}, {what.replace('_', ' ')}"
                sentences |= {f"{heading}: {one}": None for one in of_one_kind}
    return list(sentences)


def _heard(job: tuple[Recording, bool]) -> tuple[int, str, bytes, bool]:
    """Samples, what is wrong with them, their digest, and whether they are all the same."""
    recording, silent_allowed = job
    try:
        wave = read_audio(recording.path, recording.start_s, recording.end_s)
    except BarlowSpeechError as error:
        return 0, str(error), b"", False
    digest, range_ = hashlib.blake2b(wave.tobytes(), digest_size=16).digest(), np.ptp(wave)
    silent = range_ <= SILENT and not silent_allowed
    fault = f"recording {recording} is silent; replace the file or drop its row." if silent else ""
    return len(wave), fault, digest, not range_
