"""Audio files into mono float32 waveforms at 16 kHz."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.upstream.errors import BarlowSpeechError

SAMPLE_RATE = 16_000  # Hz, of every waveform inside the project
BLOCK = 1 << 24  # values read at once: a header that promises too much costs no more memory
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
        BarlowSpeechError: the file is missing, no audio, without a sample in that part, or holds
            values that are not finite.
    """
    try:
        _check_file(path)
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            _check_rate(path, rate)
            first = round(start_s * rate)
            last = file.frames if end_s is None else round(end_s * rate)
            if not 0 <= first < min(last, file.frames):
                raise BarlowSpeechError(
                    f"recording {path} has no sample from {start_s:g} s to "
                    f"{'its end' if end_s is None else f'{end_s:g} s'} (it is "
                    f"{file.frames / rate:.3f} s long); remove or mend its manifest row."
                )
            file.seek(first)
            blocks, left = [], min(last, file.frames) - first
            most = max(1, BLOCK // file.channels)
            while left > 0:
                blocks.append(file.read(min(left, most), dtype="float32", always_2d=True))
                left = left - most if len(blocks[-1]) == most else 0
            samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    except UNREADABLE as error:
        raise BarlowSpeechError(
            f"recording {path} cannot be read ({error}); replace the file or drop its manifest row."
        ) from error
    if len(samples) == 0:
        raise BarlowSpeechError(
            f"recording {path} is truncated: it ends before {start_s:g} s; replace the file."
        )
    wave = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(wave).all():
        raise BarlowSpeechError(
            f"recording {path} holds values that are not finite; replace the file or drop its row."
        )
    wave = wave if rate == SAMPLE_RATE else resample(wave, rate)
    return amplify(wave, gain_db) if gain_db else wave


def amplify(wave: np.ndarray, gain_db: float) -> np.ndarray:
    """A waveform [N] times 10^(gain_db / 20), cut off at -1 and 1."""
    return np.clip(wave * np.float32(10 ** (gain_db / 20)), -1, 1)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """A waveform [N] at `rate` Hz brought to 16 kHz (windowed sinc, torchaudio's defaults)."""
    import torch
    import torchaudio.functional

    return torchaudio.functional.resample(torch.from_numpy(wave), rate, SAMPLE_RATE).numpy()


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
    return info.frames / info.samplerate


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise BarlowSpeechError(
            f"recording {path} does not exist or is no file; check the manifest's path column."
        )


def _check_rate(path: Path, rate: int) -> None:
    """Refuse the rates of broken headers: resampling them would take gigabytes."""
    shared = math.gcd(rate, SAMPLE_RATE)
    if rate < 1000 or (rate // shared) * (SAMPLE_RATE // shared) > 1 << 24:
        raise BarlowSpeechError(
            f"recording {path} has a sampling rate of {rate} Hz, which cannot be resampled; "
            f"convert the file to {SAMPLE_RATE} Hz."
        )
