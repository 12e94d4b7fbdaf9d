"""Speech on its way to another machine: one small file, from which a packed folder is made there.

The file is a ZIP archive of Ogg Opus files (RFC 7845), each of which holds several recordings one
behind the other, so that they can be decoded side by side, and of an index. Opus is lossy: for
pretraining, never for what is evaluated.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, parsed_json, written_whole
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import pack_waves

FORMAT = 1
INDEX = "speech.json"
PART_S = 300  # seconds of a part at least, but for the last
KBITS = (6, 256)  # a second that libsndfile encodes Opus with


def carry(recordings: Sequence[Recording], file: Path, kbits: float) -> Path:
    """Write the recordings as one file, whole or not at all, at about so many kbit/s.

    Raises:
        BarlowSpeechError: a recording cannot be read, or the file cannot be written.
    """
    if not KBITS[0] <= kbits <= KBITS[1]:
        raise BarlowSpeechError(
            f"--opus must be from {KBITS[0]} to {KBITS[1]} kbit/s, not {kbits:g}; 16 is speech."
        )
    parts: list[dict[str, Any]] = []
    with (
        written_whole(file) as whole,
        zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive,
        progress(len(recordings), "pack", "rec") as bar,
    ):
        for names, waves in _parts(recordings):
            member = f"{len(parts):05d}.opus"
            archive.writestr(member, _encoded(np.concatenate(waves), kbits))
            parts.append({"file": member, "names": names, "samples": [len(one) for one in waves]})
            bar.update(len(waves))
        archive.writestr(INDEX, json.dumps({"format": FORMAT, "kbits": kbits, "parts": parts}))
    return file


def unpack(file: Path, folder: Path, threads: int | None = None) -> Path:
    """A packed folder of the speech in a file that `carry` wrote, decoded by so many threads.

    Raises:
        BarlowSpeechError: it is no such file, or a damaged one, or the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            index = parsed_json(archive.read(INDEX))
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']}")
            parts = [(str(one["file"]), list(map(int, one["samples"]))) for one in index["parts"]]
            names = [str(name) for one in index["parts"] for name in one["names"]]
            if len(names) != sum(len(samples) for _, samples in parts):
                raise ValueError("as many names as recordings")
            inside = digest([index, [archive.getinfo(member).CRC for member, _ in parts]])
            waves = _decoded(archive, parts, threads or os.cpu_count() or 1)
            return pack_waves(names, waves, folder, inside)
    except FileNotFoundError as error:
        raise BarlowSpeechError(f"there is no file {file}; check the path.") from error
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise BarlowSpeechError(
            f"{file} is not speech that `barlow-speech pack --opus` wrote, or is damaged "
            f"({error}); write or copy it again."
        ) from error


def _parts(recordings: Iterable[Recording]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    names: list[str] = []
    waves: list[np.ndarray] = []
    for one in recordings:
        names.append(one.path.name)
        waves.append(read_audio(one.path, one.start_s, one.end_s, one.gain_db))
        if sum(map(len, waves)) >= PART_S * SAMPLE_RATE:
            yield names, waves
            names, waves = [], []
    if waves:
        yield names, waves


def _encoded(wave: np.ndarray, kbits: float) -> bytes:
    stream = io.BytesIO()
    level = (KBITS[1] - kbits) / (KBITS[1] - KBITS[0])  # libsndfile's scale, from large to small
    soundfile.write(
        stream, wave, SAMPLE_RATE, "OPUS", format="OGG", compression_level=level
    )  # fmt: skip
    return stream.getvalue()


def _decoded(
    archive: zipfile.ZipFile, parts: Sequence[tuple[str, list[int]]], threads: int
) -> Iterator[np.ndarray]:
    """The recordings in their order; only some parts are in memory at once."""

    def decode(member: str, samples: list[int]) -> list[np.ndarray]:
        wave, rate = soundfile.read(io.BytesIO(archive.read(member)), dtype="float32")
        if rate != SAMPLE_RATE or wave.shape != (sum(samples),) or min(samples) < 1:
            raise ValueError(f"{member} has {wave.shape} samples at {rate} Hz")
        return np.split(wave, np.cumsum(samples[:-1]))

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[np.ndarray]]] = deque()
        for part in parts:
            waiting.append(pool.submit(decode, *part))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
