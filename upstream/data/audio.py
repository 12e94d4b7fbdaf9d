"""Audio files into mono float32 waveforms at 16 kHz."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.sound_files import SLACK_S, Sound, as_it_is, open_sound

SAMPLE_RATE = 16_000  # Hz, of every waveform inside the project
MAX_SAMPLES = 1 << 27  # of what a file becomes: 2.3 h at 16 kHz, half a gigabyte
KEPT = 1 << 26  # samples of a file that is read in parts: 70 minutes at 16 kHz, a quarter gigabyte
MAX_LEVEL = (
    1e10  # full scale is 1, or 2^31 where integers became floats; squares stay far from 3e38
)
CANCELLED = 1e-4  # of the energy of a channel, left in the mean of all: 40 dB
RATES = (1000, 10_000_000)  # Hz, that can be resampled
# Raised by hand where parts of files are cut otherwise: what is kept of them is then made again.
# From 2 on a part of Vorbis, ALAC and DWVW is always that of the whole.
PARTS_VERSION = 2


def read_audio(
    path: Path, start_s: float = 0.0, end_s: float | None = None, gain_db: float = 0.0
) -> np.ndarray:
    """The waveform [N] of a file or of a part of it: float32 in [-1, 1], mono, 16 kHz.

    Channels are averaged, other sampling rates are resampled. `start_s` and `end_s` are seconds
    from the file's start; `end_s=None` reads to the end, and one that is at most 0.1 s behind the
    end does so too. Then it is amplified by `gain_db` and what leaves [-1, 1] is cut off there, as
    SoX's effects `channels 1`, `rate 16000` and `gain` do.

    Raises:
        BarlowSpeechError: the file is missing, no audio, truncated, without a sample in that part
            or shorter than it, too long to be read at once, or holds values that are not finite.
    """
    with open_sound(path) as sound:
        _check_rate(path, sound.rate)
        first = _sample(sound, start_s)
        last = None if end_s is None else _sample(sound, end_s)
        if sound.frames is not None:
            last = _end(sound, sound.frames, start_s, end_s)
        elif first < 0 or (last is not None and last <= first):
            raise _no_sample(sound, None, start_s, end_s)
        wave = _joined(path, _resampled(_part(sound, first, last), sound.rate))
        if sound.frames is None:
            wanted = 0 if last is None else last - first - SLACK_S * sound.rate
            if len(wave) == 0 or len(wave) * sound.rate < wanted * SAMPLE_RATE:
                _end(sound, _frames(path), start_s, end_s)
    if not np.abs(wave).max() <= MAX_LEVEL:  # false for NaN too
        raise BarlowSpeechError(
            f"recording {path} holds values that are not finite, or louder than any sound; replace "
            "the file or drop its row."
        )
    return amplify(wave, gain_db) if gain_db else wave


def known_by(one: Recording, inside: str) -> list[Any]:
    """What decides the samples of a recording in a file whose digest is `inside`; JSON-able."""
    key = [inside, one.start_s, one.end_s, one.gain_db]
    return [*key, PARTS_VERSION] if one.start_s or one.end_s is not None else key


def amplify(wave: np.ndarray, gain_db: float) -> np.ndarray:
    """A waveform [N] times 10^(gain_db / 20), cut off at -1 and 1."""
    return np.clip(wave * np.float32(10 ** (gain_db / 20)), -1, 1)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """A waveform [N] at `rate` Hz brought to 16 kHz: [ceil(N · 16000 / rate)].

    By soxr (Robert Sykes' SoX resampler) in its quality HQ: 7 kHz stay as they are, 7.6 kHz lose
    2.9 dB, and what is above 8 kHz is 130 dB lower.
    """
    return np.concatenate(list(_resampled([wave], rate)))


class Size(NamedTuple):
    """The sampling rate of a file in Hz, its samples N and its channels C."""

    rate: int
    frames: int
    channels: int


def size_of(path: Path) -> Size:
    """What a file holds: from its header where that is true, else by decoding it.

    Raises:
        BarlowSpeechError: the file is missing, no audio or truncated.
    """
    with open_sound(path) as sound:
        _check_rate(path, sound.rate)
        frames = sound.frames
    return Size(sound.rate, _frames(path) if frames is None else frames, sound.channels)


def duration_s(path: Path) -> float:
    """Seconds of audio in a file.

    Raises:
        BarlowSpeechError: as `size_of`.
    """
    size = size_of(path)
    return size.frames / size.rate


def _frames(path: Path) -> int:
    """The number of samples that decoding a file to its end gives."""
    return _counted(*as_it_is(path))


@functools.lru_cache(maxsize=1 << 16)
def _counted(path: Path, *state: int) -> int:
    with open_sound(path) as sound:
        return sum(map(len, sound.blocks()))


def _part(sound: Sound, first: int, last: int | None) -> Iterator[np.ndarray]:
    """Blocks [n] of a part, with channels averaged.

    Where every part takes decoding from the start, the second that is asked of a file decodes all
    of it, for those that follow.
    """
    if not sound.seeks and (first or last is not None):
        key = as_it_is(sound.path)
        with _lock:
            again = _asked == [key]
            _asked[:] = [key]
            whole = _decoded(*key) if again else None
        if whole is not None:
            yield whole[first:last].copy()
            return
    yield from _mono(sound.path, sound.blocks(first, last))


_lock = threading.Lock()
_asked: list[tuple[Any, ...]] = []  # the file of which a part was read last


@functools.lru_cache(maxsize=1)
def _decoded(path: Path, *state: int) -> np.ndarray | None:
    """All of a file; None where that is much, or it is damaged, if perhaps behind what is asked."""
    parts: list[np.ndarray] = []
    count = 0
    try:
        with open_sound(path) as sound:
            for block in _mono(path, sound.blocks()):
                parts.append(block)
                count += len(block)
                if count > KEPT:
                    return None
    except BarlowSpeechError:
        return None
    return np.concatenate(parts) if parts else None


def _sample(sound: Sound, seconds: float) -> int:
    """The sample at a time; -1 for a time that is none."""
    return round(seconds * sound.rate) if abs(seconds) < 1e12 else -1


def _end(sound: Sound, frames: int, start_s: float, end_s: float | None) -> int:
    """The last sample of a part of a recording of that many, and one more.

    Raises:
        BarlowSpeechError: there is no such part.
    """
    first = _sample(sound, start_s)
    last = frames if end_s is None else _sample(sound, end_s)
    if not 0 <= first < min(last, frames):
        raise _no_sample(sound, frames, start_s, end_s)
    if last > frames + SLACK_S * sound.rate:
        raise BarlowSpeechError(
            f"recording {sound.path} is {frames / sound.rate:.3f} s long, and its row asks for "
            f"what is up to {end_s:g} s; give end_s in seconds, or remove or fix the row."
        )
    return min(last, frames)


def _no_sample(
    sound: Sound, frames: int | None, start_s: float, end_s: float | None
) -> BarlowSpeechError:
    long = "" if frames is None else f" (it is {frames / sound.rate:.3f} s long)"
    return BarlowSpeechError(
        f"recording {sound.path} has no sample from {start_s:g} s to "
        f"{'its end' if end_s is None else f'{end_s:g} s'}{long}; remove or fix its manifest row."
    )


def _mono(path: Path, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks [n, C] with their channels averaged.

    Raises:
        BarlowSpeechError: behind the last, if the channels cancelled each other.
    """
    apart = together = 0.0  # the energy of a channel, and of their mean
    for block in blocks:
        if block.shape[1] == 1:
            yield block[:, 0]
            continue
        mean = block.mean(axis=1, dtype=np.float32)
        apart += float(np.square(block, dtype=np.float64).sum()) / block.shape[1]
        together += float(np.square(mean, dtype=np.float64).sum())
        yield mean
    if together < CANCELLED * apart:
        raise BarlowSpeechError(
            f"recording {path} has channels that cancel each other: nothing is left of it when "
            "they are averaged; write one of them alone (sox IN.wav OUT.wav remix 1)."
        )


def _resampled(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks [n] of a waveform brought to 16 kHz; what comes does not depend on the blocks."""
    # Features of every upstream depend on it: whoever changes a number that it gives raises
    # FEATURES_VERSION (benchmark/features/cache.py).
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    taken = given = 0
    for block in blocks:
        taken += len(block)
        part = stream.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
        given += len(part)
        yield part
    # soxr rounds the length down as well as up; behind the end it hears silence.
    silence = np.zeros(2 * rate // SAMPLE_RATE + 2, dtype=np.float32)
    rest = stream.resample_chunk(silence, last=True)
    yield rest[: -(-taken * SAMPLE_RATE // rate) - given]


def _joined(path: Path, blocks: Iterable[np.ndarray]) -> np.ndarray:
    parts, count = [np.zeros(0, dtype=np.float32)], 0
    for block in blocks:
        parts.append(block)
        count += len(block)
        if count > MAX_SAMPLES:
            raise BarlowSpeechError(
                f"recording {path} is too long to be read at once; give parts of it by start_s and "
                "end_s in the manifest."
            )
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


def resamplable(rate: int) -> bool:
    """Whether a rate in Hz can be brought to 16 kHz."""
    return RATES[0] <= rate <= RATES[1]


def _check_rate(path: Path, rate: int) -> None:
    if not resamplable(rate):
        raise BarlowSpeechError(
            f"recording {path} has a sampling rate of {rate} Hz, which cannot be resampled; "
            f"convert the file to {SAMPLE_RATE} Hz."
        )
