"""Decode every recording of a manifest and say which are broken."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.data.manifest import Recording

# About -78 dB: a recording that never leaves a band this wide (two steps of 16 bit to each side of
# its mean) holds no sound.
SILENT = 2.0**-13
BATCH = 1000  # recordings that wait at once; Ctrl-C comes through after as many


class Decoded(NamedTuple):
    """Hours that were decoded, and for each broken recording a sentence."""

    hours: float
    broken: list[str]


def check_audio(
    recordings: Sequence[Recording], silent_allowed: Iterable[bool], workers: int | None = None
) -> Decoded:
    """Decode recordings on `workers` threads (default: one a core), as training would.

    Broken is what cannot be read, has no sample, holds values that are not finite, or is silent
    where that is not allowed (the class of silence of a keyword task may be).
    """
    workers = workers or os.cpu_count() or 1
    samples, broken = 0, []
    jobs = list(zip(recordings, silent_allowed))
    # Threads will do: libsndfile, NumPy and torch let go of the interpreter while they work.
    with ThreadPoolExecutor(workers) as pool, progress(len(jobs), "check audio", "rec") as bar:
        for first in range(0, len(jobs), BATCH):
            for number, fault in pool.map(_fault_of, jobs[first : first + BATCH]):
                samples += number
                if fault:
                    broken.append(fault)
                bar.update()
    return Decoded(samples / SAMPLE_RATE / 3600, broken)


def _fault_of(job: tuple[Recording, bool]) -> tuple[int, str]:
    recording, silent_allowed = job
    try:
        wave = read_audio(recording.path, recording.start_s, recording.end_s)
    except BarlowSpeechError as error:
        return 0, str(error)
    if not silent_allowed and np.ptp(wave) <= SILENT:
        return len(wave), f"recording {recording} is silent; replace the file or drop its row."
    return len(wave), ""
