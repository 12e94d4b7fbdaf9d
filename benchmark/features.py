"""Pooled features of a corpus, computed once per upstream and kept.

For every recording the mean over its frames of every layer, pooled_NLD: all that a head which is
linear before its mean can see of it (benchmark/runs.py). Frames are cut as s3prl's Featurizer cuts
them (`upstream/interfaces.py`, `tolist`): the first round(samples / rate).

Shapes: N recordings, L layers, D width, B batch, T frames.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from barlow_speech.benchmark.upstreams import Upstream
from barlow_speech.downstream.corpus import Corpus
from barlow_speech.upstream.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.files import digest, written_whole
from barlow_speech.upstream.manifest import Recording
from barlow_speech.upstream.progress import progress

log = logging.getLogger(__name__)

VERSION = 1  # of what a file holds and of how it is computed
BATCH_S = 120.0  # seconds of audio, padding included, that run through an upstream together


@dataclass(frozen=True)
class Features:
    """What one upstream makes of one corpus.

    `pooled_NLD` in the manifest's order; `audio_N` a digest of each recording's samples, equal
    for identical recordings; `key` names the computation. `seconds` is what it took.
    """

    key: str
    pooled_NLD: Tensor
    audio_N: Tensor
    seconds: float


def features_key(upstream: Upstream, corpus: Corpus) -> str:
    """SHA-256 over weights, code and recordings: change one of them and the key is another."""
    rows = []
    for recording in corpus.recordings:
        try:
            stat = recording.path.stat()
        except OSError as error:
            raise BarlowSpeechError(
                f"recording {recording.path} does not exist; check the path column of "
                f"{corpus.manifest.file}."
            ) from error
        where = str(recording.path.resolve())
        rows.append([where, recording.start_s, recording.end_s, stat.st_size, stat.st_mtime_ns])
    return digest([VERSION, upstream.fingerprint, rows])


def features(upstream: Upstream, corpus: Corpus, cache: Path) -> Features:
    """The features from the cache, or computed and put there.

    Raises:
        BarlowSpeechError: a recording cannot be read, or a feature is not finite (it is named).
    """
    key = features_key(upstream, corpus)
    path = cache / f"{key}.safetensors"
    if path.exists():
        try:
            return _read(path, key)
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("features %s are damaged (%s) and are computed again", path, error)
    started = time.monotonic()
    pooled_NLD, audio_N = _extract(upstream, corpus.recordings)
    seconds = round(time.monotonic() - started, 3)
    with written_whole(path) as part:
        tensors = {"pooled": pooled_NLD, "audio": audio_N}
        safetensors.torch.save_file(tensors, part, metadata={"seconds": str(seconds)})
    return _read(path, key)


def _read(path: Path, key: str) -> Features:
    with safetensors.safe_open(path, framework="pt") as file:
        seconds = float(file.metadata()["seconds"])
        return Features(key, file.get_tensor("pooled"), file.get_tensor("audio"), seconds)


def _extract(upstream: Upstream, recordings: list[Recording]) -> tuple[Tensor, Tensor]:
    device = next((one.device for one in upstream.module.parameters()), torch.device("cpu"))
    digests = np.zeros(len(recordings), dtype=np.int64)
    pooled: list[Tensor | None] = [None] * len(recordings)
    hours = 0.0
    with progress(len(recordings), f"features of {upstream.name}", "rec") as bar:
        for rows in _batches(upstream, recordings):
            waves = [
                read_audio(one.path, one.start_s, one.end_s)
                for one in map(recordings.__getitem__, rows)
            ]
            for row, wave in zip(rows, waves):
                short = hashlib.blake2b(wave.tobytes(), digest_size=8).digest()
                digests[row] = int.from_bytes(short, "little", signed=True)
            means = mean_over_time(upstream, [torch.from_numpy(wave).to(device) for wave in waves])
            for row, mean_LD in zip(rows, means.cpu()):
                if not torch.isfinite(mean_LD).all():
                    raise BarlowSpeechError(
                        f"upstream '{upstream.name}' gives features that are not finite for "
                        f"{recordings[row]}; look at the recording, or drop its manifest row."
                    )
                pooled[row] = mean_LD
            hours += sum(map(len, waves)) / SAMPLE_RATE / 3600
            bar.set_postfix_str(f"{hours:.2f} h of audio", refresh=False)
            bar.update(len(rows))
    return torch.stack([one for one in pooled if one is not None]), torch.from_numpy(digests)


def _batches(upstream: Upstream, recordings: list[Recording]) -> list[list[int]]:
    """Row numbers that run together: alike in length when that changes nothing, else one by one.

    File sizes stand in for lengths, so that nothing is opened twice; the result is the same.
    """
    if not upstream.batched:
        return [[row] for row in range(len(recordings))]
    lengths = [
        (one.end_s - one.start_s)
        if one.end_s is not None
        else one.path.stat().st_size / SAMPLE_RATE / 2
        for one in recordings
    ]
    batches: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable")[::-1].tolist():
        # The first of a batch is its longest.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= BATCH_S:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def mean_over_time(upstream: Upstream, waves: list[Tensor]) -> Tensor:
    """[B, L, D]: the mean over its own frames of each layer of each waveform.

    At least one frame is taken where s3prl, rounding the length of a very short recording down to
    none, would give NaN.
    """
    hidden = upstream.layers(waves)
    frames_B = [max(1, round(len(wave) / upstream.rate)) for wave in waves]
    return torch.stack(
        [
            torch.stack(
                [_at_least_float(layer_BTD[row, :count]).mean(dim=0) for layer_BTD in hidden]
            )
            for row, count in enumerate(frames_B)
        ]
    )


def _at_least_float(x: Tensor) -> Tensor:
    """Half precision as float32: a mean over thousands of frames loses digits in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
