"""Audio files into mono float32 waveforms at 16 kHz."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError

SAMPLE_RATE = 16_000  # Hz, of every waveform inside the project
BLOCK = 1 << 24  # values read at once: a header that promises too much costs no more memory
MAX_SAMPLES = 1 << 27  # of what is read, and of what it becomes: 2.3 h at 16 kHz, half a gigabyte
MAX_PER_BYTE = 1 << 16  # samples; FLAC packs silence into some thousand a byte
MAX_LEVEL = (
    1e10  # full scale is 1, or 2^31 where integers became floats; squares stay far from 3e38
)
# soundfile raises TypeError for a headerless .raw file, pathlib OSError for too long a name.
UNREADABLE = (soundfile.LibsndfileError, OSError, TypeError)


def read_audio(
    path: Path, start_s: float = 0.0, end_s: float | None = None, gain_db: float = 0.0
) -> np.ndarray:
    """The waveform [N] of a file or of a part of it: float32 in [-1, 1], mono, 16 kHz.

    Channels are averaged, other sampling rates are resampled. `start_s` and `end_s` are seconds
    from the file's start; `end_s=None` reads to the end. Then it is amplified by `gain_db` and what
    leaves [-1, 1] is cut off there, as SoX's effects `channels 1`, `rate 16000` and `gain` do.

    Raises:
        BarlowSpeechError: the file is missing, no audio, without a sample in that part, too long to
            be read at once, or holds values that are not finite.
    """
    try:
        _check_file(path)
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            _check_rate(path, rate)
            first = _sample(file, start_s)
            last = file.frames if end_s is None else _sample(file, end_s)
            if not 0 <= first < last:
                raise BarlowSpeechError(
                    f"recording {path} has no sample from {start_s:g} s to "
                    f"{'its end' if end_s is None else f'{end_s:g} s'} (it is "
                    f"{file.frames / rate:.3f} s long); remove or fix its manifest row."
                )
            if first and file.seekable():
                file.seek(first)
            elif first:  # of some codecs (GSM) every sample needs those before
                for _ in _blocks(file, first):
                    pass
            wave = _joined(path, file, last - first)
    except UNREADABLE as error:
        raise BarlowSpeechError(
            f"recording {path} cannot be read ({error}); replace the file or drop its manifest row."
        ) from error
    if len(wave) == 0:
        raise BarlowSpeechError(
            f"recording {path} is truncated: it ends before {start_s:g} s; replace the file."
        )
    if not np.abs(wave).max() <= MAX_LEVEL:  # false for NaN too
        raise BarlowSpeechError(
            f"recording {path} holds values that are not finite, or louder than any sound; replace "
            "the file or drop its row."
        )
    wave = wave if rate == SAMPLE_RATE else resample(wave, rate)
    return amplify(wave, gain_db) if gain_db else wave


def amplify(wave: np.ndarray, gain_db: float) -> np.ndarray:
    """A waveform [N] times 10^(gain_db / 20), cut off at -1 and 1."""
    return np.clip(wave * np.float32(10 ** (gain_db / 20)), -1, 1)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """A waveform [N] at `rate` Hz brought to 16 kHz (windowed sinc, torchaudio's defaults).

    A long one in blocks, since torchaudio takes some twenty times the memory of what it is given.
    """
    # Features of every upstream depend on it: whoever changes a number that it gives raises
    # FEATURES_VERSION (benchmark/features/cache.py).
    import torch
    import torchaudio.functional

    def of(part: np.ndarray) -> np.ndarray:
        return torchaudio.functional.resample(torch.from_numpy(part), rate, SAMPLE_RATE).numpy()

    shared = math.gcd(rate, SAMPLE_RATE)
    step, new = rate // shared, SAMPLE_RATE // shared  # so many samples become so many
    size = BLOCK // 4 // step * step
    if len(wave) <= 2 * size or size == 0:
        return of(wave)
    # The filter reaches over 6 / 0.99 zero crossings of the lower rate (torchaudio's defaults).
    edge = step * math.ceil(7 * max(1, step / new) / step)
    result = np.empty(math.ceil(len(wave) * new / step), dtype=np.float32)
    for first in range(0, len(wave), size):
        before = min(first, edge)
        part = of(wave[first - before : first + size + edge])[before // step * new :]
        place = first // step * new
        part = part[: min(size // step * new, len(result) - place)]
        result[place : place + len(part)] = part
    return result


def duration_s(path: Path) -> float:
    """Seconds of audio in a file, from its header.

    Raises:
        BarlowSpeechError: the file is missing or no audio.
    """
    try:
        _check_file(path)
        info = soundfile.info(path)
    except UNREADABLE as error:
        raise BarlowSpeechError(
            f"recording {path} cannot be read ({error}); replace the file or drop its manifest row."
        ) from error
    _check_rate(path, info.samplerate)
    if info.frames > MAX_PER_BYTE * path.stat().st_size:
        raise BarlowSpeechError(
            f"recording {path} cannot hold the {info.frames:,} samples that its header promises; "
            "replace the file or drop its manifest row."
        )
    return info.frames / info.samplerate


def _sample(file: soundfile.SoundFile, seconds: float) -> int:
    """The sample at a time: at most the file's end, and -1 for a time that is none."""
    place = seconds * file.samplerate
    if place >= file.frames:
        return file.frames
    return round(place) if math.isfinite(place) else -1


def _blocks(file: soundfile.SoundFile, left: int) -> Iterator[np.ndarray]:
    """The next `left` samples [n], channels averaged, in blocks; fewer where the file ends."""
    most = max(1, BLOCK // file.channels)
    while left > 0:
        block = file.read(min(left, most), dtype="float32", always_2d=True)
        left = left - most if len(block) == most else 0
        yield block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]


def _joined(path: Path, file: soundfile.SoundFile, left: int) -> np.ndarray:
    blocks, count = [], 0
    for block in _blocks(file, left):
        blocks.append(block)
        count += len(block)
        if count * max(1, SAMPLE_RATE / file.samplerate) > MAX_SAMPLES:
            raise BarlowSpeechError(
                f"recording {path} is too long to be read at once; give parts of it by start_s and "
                "end_s in the manifest."
            )
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise BarlowSpeechError(f"recording {path} does not exist or is no file; check its path.")


def resamplable(rate: int) -> bool:
    """Whether a rate in Hz can be brought to 16 kHz; from some it would take gigabytes."""
    shared = math.gcd(rate, SAMPLE_RATE)
    return rate >= 1000 and (rate // shared) * (SAMPLE_RATE // shared) <= 1 << 24


def _check_rate(path: Path, rate: int) -> None:
    if not resamplable(rate):
        raise BarlowSpeechError(
            f"recording {path} has a sampling rate of {rate} Hz, which cannot be resampled; "
            f"convert the file to {SAMPLE_RATE} Hz."
        )
