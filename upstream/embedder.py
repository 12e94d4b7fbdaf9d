"""Embeddings of recordings as people have them: files, arrays and tensors, of any rate and shape.

Usage:
    encoder = barlow_speech.load()
    embeddings = encoder.embed(["one.wav", "two.flac"])            # [2, E]
    embedding = encoder.embed(array, sample_rate=44_100)           # [1, E]

Shapes: N recordings, E embedding size, S states of a recording, D width, C channels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import (
    MAX_SAMPLES,
    SAMPLE_RATE,
    duration_s,
    read_audio,
    resamplable,
    resample,
)
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.model.chunks import states_in_chunks
from barlow_speech.upstream.model.readout import read_out_chunks

BATCH_S = 30.0  # seconds of audio, padding included, that run together
MAX_CHANNELS = 8  # of a two-dimensional array; more look like a batch
MAX_LEVEL = 100.0  # full scale is 1; what is louder are integers in floats, which no level fits

Sound: TypeAlias = str | os.PathLike[str] | np.ndarray | Tensor


class Embedder(UpstreamExpert):
    """Our upstream as s3prl knows it, which also takes whatever a recording is kept in.

    A recording is a path of an audio file, or an array or tensor [N], [C, N] or [N, C] (the
    shorter axis is that of the channels, at most 8). A list holds several recordings; an array is
    always one. Channels are averaged, other rates resampled, integers divided by their full scale.
    Floats have full scale 1. The rate of an array has to be said.
    """

    @property
    def embedding_dim(self) -> int:
        """E."""
        return self.model.embedding_dim

    def embed(self, waves: Sound | Sequence[Sound], sample_rate: float | None = None) -> Tensor:
        """One embedding per recording, [N, E], in the order given, on the module's device.

        `sample_rate` in Hz is that of all arrays and tensors; files know their own. No embedding
        depends on the other recordings. No gradients; call the module itself for them.

        Raises:
            BarlowSpeechError: an array without a rate, a recording that cannot be read, is empty,
                holds NaN or is longer than 2.3 h, or a module in training mode.
        """

        def of_batch(batch: list[Tensor], bar: Callable[[float], object]) -> list[Tensor]:
            if len(batch) > 1:
                return list(self.model(batch)[2])
            chunks = self._counted(batch[0], bar)
            return [read_out_chunks(self.model.settings.readout, chunks)]

        rows = self._each(waves, sample_rate, of_batch)
        return (
            torch.stack(rows) if rows else next(self.parameters()).new_zeros(0, self.embedding_dim)
        )

    def frames(
        self, waves: Sound | Sequence[Sound], sample_rate: float | None = None, layer: int = -1
    ) -> list[Tensor]:
        """The hidden states [S, D] of one layer for each recording, S = ceil(samples / rate).

        As `embed`; `layer` counts as in `hidden_states`, by default the last.

        Raises:
            BarlowSpeechError: as `embed`, or there is no such layer.
        """

        def of_batch(batch: list[Tensor], bar: Callable[[float], object]) -> list[Tensor]:
            if len(batch) > 1:
                hidden, lengths_B, _ = self.model(batch)
                states_BSD = self._layer(hidden, layer)
                return [one[:size].clone() for one, size in zip(states_BSD, lengths_B.tolist())]
            chunks = self._counted(batch[0], bar)
            return [torch.cat([self._layer(hidden, layer) for hidden in chunks])]

        return self._each(waves, sample_rate, of_batch)

    @staticmethod
    def _layer(hidden: list[Tensor], layer: int) -> Tensor:
        if not -len(hidden) <= layer < len(hidden):
            raise BarlowSpeechError(
                f"there is no layer {layer}; the encoder has {len(hidden)}, 0 to {len(hidden) - 1}."
            )
        return hidden[layer]

    def _counted(self, wave: Tensor, bar: Callable[[float], object]) -> Iterator[list[Tensor]]:
        """The chunks of a recording; `bar` hears of the seconds of all but the last."""
        last: list[Tensor] | None = None
        for hidden in states_in_chunks(self.model, wave):
            if last is not None:
                bar(len(last[0]) * self.model.rate / SAMPLE_RATE)
            yield hidden
            last = hidden

    @torch.no_grad()
    def _each(
        self,
        waves: Sound | Sequence[Sound],
        sample_rate: float | None,
        of_batch: Callable[[list[Tensor], Callable[[float], object]], list[Tensor]],
    ) -> list[Tensor]:
        """What `of_batch` makes of each recording, in their order."""
        if self.training:
            raise BarlowSpeechError(
                "the encoder is in training mode, where recordings of a batch change each other; "
                "call .eval() first."
            )
        sounds, names = _listed(waves)
        rate = None if sample_rate is None else _checked_rate(sample_rate)
        with progress(len(sounds), "lengths", "recording") as bar:
            seconds = []
            for sound, name in zip(sounds, names):
                seconds.append(_seconds(sound, name, rate))
                bar.update()
        device = next(self.parameters()).device
        results: list[Any] = [None] * len(sounds)
        with progress(
            sum(seconds) / 3600, "embeddings", "h", unit_scale=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h of audio"
            "{postfix} [{elapsed}<{remaining}]",
        ) as bar:  # fmt: skip
            done_s = done = 0.0

            def heard(more_s: float) -> None:
                nonlocal done_s
                done_s += more_s
                bar.update(more_s / 3600)

            for batch in _batches(seconds):
                read = [_wave(sounds[row], names[row], rate) for row in batch]
                # A recording that is alone may be long; its chunks are moved one by one.
                tensors = [
                    torch.from_numpy(wave).to(device if len(read) > 1 else "cpu") for wave in read
                ]
                for row, result in zip(batch, of_batch(tensors, heard)):
                    results[row] = result
                done += sum(seconds[row] for row in batch)
                heard(done - done_s)
        return results


def load(checkpoint: str | os.PathLike[str] | None = None, device: str = "cpu") -> Embedder:
    """The encoder that comes with the package, or that of `checkpoint`, ready to embed.

    Raises:
        BarlowSpeechError: the checkpoint is missing or none of ours, or there is no such device.
    """
    embedder = Embedder(None if checkpoint is None else Path(checkpoint))
    try:
        embedder.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BarlowSpeechError(f"device {device} cannot be used ({reason}); try cpu.") from error
    return embedder.eval()


def _listed(waves: Sound | Sequence[Sound]) -> tuple[list[Sound], list[str]]:
    """The recordings and what to call each in an error."""
    if isinstance(waves, (str, os.PathLike, np.ndarray, Tensor)):
        sounds: list[Sound] = [waves]
        where = ["the waveform"]
    elif isinstance(waves, Sequence):
        sounds = list(waves)
        where = [f"waves[{i}]" for i in range(len(sounds))]
    else:
        raise _no_sound("waves", waves)
    names = [
        str(sound) if isinstance(sound, (str, os.PathLike)) else place
        for sound, place in zip(sounds, where)
    ]
    return sounds, names


def _no_sound(name: str, value: Any) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"{name} is a {type(value).__name__}; give the path of an audio file, an array or a "
        "tensor, or a list of them."
    )


def _checked_rate(sample_rate: float) -> int:
    """The rate as a whole number; refused where it cannot be resampled."""
    whole = (
        isinstance(sample_rate, (int, float, np.integer, np.floating))
        and math.isfinite(sample_rate)
        and sample_rate == round(sample_rate)
    )
    if not whole or not resamplable(round(sample_rate)):
        raise BarlowSpeechError(
            f"a sample_rate of {sample_rate} Hz cannot be resampled to {SAMPLE_RATE} Hz; give the "
            "rate of the waveforms in Hz, or resample them yourself."
        )
    return round(sample_rate)


def _seconds(sound: Any, name: str, rate: int | None) -> float:
    """How long a recording is; what cannot be embedded is refused."""
    if isinstance(sound, (str, os.PathLike)):
        seconds = duration_s(Path(sound))
    else:
        if not isinstance(sound, (np.ndarray, Tensor)):
            raise _no_sound(name, sound)
        if rate is None:
            raise BarlowSpeechError(
                f"{name} does not say its sampling rate; give it, as in "
                f"embed(waves, sample_rate={SAMPLE_RATE})."
            )
        if math.prod(sound.shape) == 0:
            raise BarlowSpeechError(f"{name} has no sample; leave empty recordings out.")
        seconds = math.prod(sound.shape) // _channels(tuple(sound.shape), name) / rate
    if seconds * SAMPLE_RATE > MAX_SAMPLES:
        raise BarlowSpeechError(
            f"{name} is {seconds / 3600:,.1f} h long, more than the "
            f"{MAX_SAMPLES / SAMPLE_RATE / 3600:.1f} h that are embedded at once; cut it into "
            "parts."
        )
    return seconds


def _channels(shape: tuple[int, ...], name: str) -> int:
    """How many channels an array of a shape has."""
    if len(shape) == 1:
        return 1
    if len(shape) == 2:
        channels, samples = sorted(shape)
        if channels == 1 or (channels <= MAX_CHANNELS and channels < samples):
            return channels
    raise BarlowSpeechError(
        f"{name} has the shape {list(shape)}, and a recording is [samples], [channels, samples] or "
        f"[samples, channels] of at most {MAX_CHANNELS} channels; give several recordings as a "
        "list."
    )


def _wave(sound: Any, name: str, rate: int | None) -> np.ndarray:
    """A recording as a float32 waveform [N], mono, at 16 kHz."""
    if isinstance(sound, (str, os.PathLike)):
        wave = read_audio(Path(sound))
        _check_values(wave, name)
        return wave
    assert rate is not None
    if isinstance(sound, Tensor):
        sound = sound.detach()
        # NumPy has no bfloat16.
        sound = (sound.float() if sound.is_floating_point() else sound).cpu().numpy()
    wave = _as_float(sound, name)
    if wave.ndim == 2:
        channels = _channels(wave.shape, name)
        wave = wave.mean(axis=0 if wave.shape[0] == channels else 1, dtype=np.float32)
    _check_values(wave, name)
    wave = np.ascontiguousarray(wave)
    return wave if rate == SAMPLE_RATE else resample(wave, rate)


def _as_float(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples as float32 of full scale 1; integers of 8, 16 and 32 bits have theirs."""
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is told of
            return samples.astype(np.float32, copy=False)
    if kind in "iu" and (kind, bits) in (("u", 8), ("i", 8), ("i", 16), ("i", 32)):
        scale = np.float32(2 ** (bits - 1))
        # Eight bits without a sign, as in WAV files, have their zero in the middle.
        return samples.astype(np.float32) / scale - np.float32(kind == "u")
    raise BarlowSpeechError(
        f"{name} holds {samples.dtype} values, whose full scale is not known; give int16 or int32, "
        "or floats in [-1, 1]."
    )


def _check_values(wave: np.ndarray, name: str) -> None:
    loudest = float(np.abs(wave).max())
    if not math.isfinite(loudest):
        raise BarlowSpeechError(f"{name} holds values that are not finite; fix or leave it out.")
    if loudest > MAX_LEVEL:
        raise BarlowSpeechError(
            f"{name} holds values up to {loudest:g}, and full scale is 1; divide it by the full "
            "scale that it has (32768 for 16 bits)."
        )


def _batches(seconds: Sequence[float]) -> list[list[int]]:
    """Rows that run together: alike in length, so that little of a batch is padding."""
    batches: list[list[int]] = []
    for row in sorted(range(len(seconds)), key=lambda row: -seconds[row]):
        if batches and seconds[batches[-1][0]] * (len(batches[-1]) + 1) <= BATCH_S:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
