"""Audio files into mono float32 waveforms at 16 kHz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.upstream.errors import BarlowSpeechError

SAMPLE_RATE = 16_000  # Hz, of every waveform inside the project


def read_audio(path: Path, start_s: float = 0.0, end_s: float | None = None) -> np.ndarray:
    """The waveform [N] of a file or of a part of it: float32 in [-1, 1], mono, 16 kHz.

    Channels are averaged, other sampling rates are resampled. `start_s` and `end_s` are seconds
    from the file's start; `end_s=None` reads to the end.

    Raises:
        BarlowSpeechError: the file is missing, no audio, without a sample in that part, or holds
            values that are not finite.
    """
    if not path.is_file():
        raise BarlowSpeechError(
            f"recording {path} does not exist; check the manifest's path column."
        )
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            first = round(start_s * rate)
            last = file.frames if end_s is None else round(end_s * rate)
            if not 0 <= first < min(last, file.frames):
                raise BarlowSpeechError(
                    f"recording {path} has no sample from {start_s:g} s to "
                    f"{'its end' if end_s is None else f'{end_s:g} s'} (it is "
                    f"{file.frames / rate:.3f} s long); remove or mend its manifest row."
                )
            file.seek(first)
            samples = file.read(min(last, file.frames) - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
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
    return wave if rate == SAMPLE_RATE else resample(wave, rate)


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
    if not path.is_file():
        raise BarlowSpeechError(
            f"recording {path} does not exist; check the manifest's path column."
        )
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BarlowSpeechError(
            f"recording {path} cannot be read ({error}); replace the file or drop its manifest row."
        ) from error
    return info.frames / info.samplerate
