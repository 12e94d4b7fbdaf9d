"""What s3prl uses of `torchaudio.sox_effects`, without libsox."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party.audio_io import Uri, load_audio

if TYPE_CHECKING:
    import torch


def apply_effects_file(
    path: Uri,
    effects: Sequence[Sequence[str]],
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
) -> tuple[torch.Tensor, int]:
    """The samples of a file after SoX effects, and their rate; as `apply_effects_tensor`.

    Raises:
        BarlowSpeechError: an effect is not one of those supported, or `normalize` is false.
    """
    if not normalize:
        raise BarlowSpeechError("apply_effects_file supports only normalize=True (float32).")
    wave, rate = load_audio(path, channels_first=channels_first, format=format)
    return apply_effects_tensor(wave, rate, effects, channels_first)


def apply_effects_tensor(
    tensor: torch.Tensor,
    sample_rate: int,
    effects: Sequence[Sequence[str]],
    channels_first: bool = True,
) -> tuple[torch.Tensor, int]:
    """A waveform [C, N] (or [N, C]) after SoX effects, and its rate in Hz.

    `channels 1` averages the channels, `channels n` copies a single one; `gain` multiplies by
    10^(dB/20) and clips to [-1, 1]. Both agree with SoX to the 2^-31 of its integer samples. `rate`
    changes nothing at the rate asked for and otherwise resamples with torchaudio's windowed sinc,
    whose filter is not that of SoX. `silence 1 S T% -1 S T%` (S in seconds) keeps the samples that
    SoX keeps, of one channel.

    Raises:
        BarlowSpeechError: another effect, or another form of these, is asked for.
    """
    import torch

    wave = tensor if channels_first else tensor.T
    for effect in effects:
        name, *arguments = map(str, effect)
        if name == "channels" and arguments:
            wave = _channels(wave, effect)
        elif name == "rate" and len(arguments) == 1:
            target = round(_number(arguments[0], effect))
            if target != sample_rate:
                import torchaudio.functional

                wave = torchaudio.functional.resample(wave, sample_rate, target).clamp(-1, 1)
                sample_rate = target
        elif name == "gain" and len(arguments) == 1:
            wave = (wave * 10 ** (_number(arguments[0], effect) / 20)).clamp(-1, 1)
        elif name == "silence" and len(wave) == 1:
            wave = wave[:, torch.from_numpy(_sounding(wave[0].numpy(), sample_rate, effect))]
        else:
            _unsupported(effect)
    return (wave if channels_first else wave.T).contiguous(), sample_rate


def _channels(wave: torch.Tensor, effect: Sequence[str]) -> torch.Tensor:
    count = _number(effect[1], effect)
    if count == len(wave):
        return wave
    if count == 1:
        return wave.mean(dim=0, keepdim=True)
    if len(wave) == 1 and count > 1:
        return wave.expand(int(count), -1)
    return _unsupported(effect)


def _sounding(wave_N: np.ndarray, rate: int, effect: Sequence[str]) -> np.ndarray:
    """The numbers of the samples that SoX's `silence 1 S T% -1 S T%` keeps (its silence.c).

    A sample is loud when the root mean square of the last 20 ms is above T % of full scale. Samples
    are dropped until the first S seconds that are loud throughout, then kept until S seconds that
    are quiet throughout; these are dropped, the 20 ms begin anew, and so on. The quiet end of a
    recording stays when it is shorter than S.
    """
    _, *arguments = map(str, effect)
    forms = [arguments[i] for i in (0, 3)] if len(arguments) == 6 else []
    if forms != ["1", "-1"] or not (arguments[2].endswith("%") and arguments[5].endswith("%")):
        _unsupported(effect)
    loud_length, quiet_length = (round(_number(arguments[i], effect) * rate) for i in (1, 4))
    loud_level, quiet_level = (_number(arguments[i][:-1], effect) / 100 for i in (2, 5))
    if min(loud_length, quiet_length) < 1:
        _unsupported(effect)
    window = rate // 50
    energy = np.concatenate([[0.0], np.cumsum(wave_N.astype(np.float64) ** 2)])
    kept, at, begun, count = [], 0, 0, len(wave_N)
    looking_for_sound, first = True, 0
    while at < count:
        length = loud_length if looking_for_sound else quiet_length
        level = loud_level if looking_for_sound else quiet_level
        run, block = None, 8 * length
        while run is None and block < 2 * (count - at) + 8 * length:
            ends = np.arange(at, min(at + block, count))
            starts = np.maximum(ends + 1 - window, begun)
            loud = energy[ends + 1] - energy[starts] > level**2 * window
            run = _first_run(loud == looking_for_sound, length)
            block *= 2
        if run is None:
            break
        if looking_for_sound:
            first = at + run
        else:
            kept.append(np.arange(first, at + run))
        at += run + length
        begun = begun if looking_for_sound else at
        looking_for_sound = not looking_for_sound
    if not looking_for_sound:
        kept.append(np.arange(first, count))
    return np.concatenate(kept) if kept else np.arange(0)


def _first_run(flags: np.ndarray, length: int) -> int | None:
    """Where the first `length` true flags in a row begin, if they are there."""
    breaks = np.concatenate([[-1], np.flatnonzero(~flags), [len(flags)]])
    long = np.flatnonzero(np.diff(breaks) > length)
    return int(breaks[long[0]]) + 1 if len(long) else None


def _number(text: str, effect: Sequence[str]) -> float:
    """A number as SoX writes it: "16k" is 16000."""
    with contextlib.suppress(ValueError):
        return float(text[:-1]) * 1000 if text.endswith("k") else float(text)
    return _unsupported(effect)


def _unsupported(effect: Sequence[str]) -> NoReturn:
    raise BarlowSpeechError(
        f"the SoX effect '{' '.join(map(str, effect))}' is not supported without SoX; only "
        "'channels', 'rate', 'gain' with one number and 'silence 1 S T% -1 S T%' are; or install "
        "torchaudio 2.8 and libsox."
    )
