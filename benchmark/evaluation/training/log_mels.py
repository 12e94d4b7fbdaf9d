"""Log-mel spectrograms of a corpus in memory: what an encoder is trained on.

The front-end is not trained, so that it runs once per recording. An hour of speech takes 92 MB with
64 mel bands.

Shapes: N utterances, B batch, T frames, F mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import read_audio
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.model.frontend import HOP, FrontEnd, FrontEndSettings

READERS = 2  # threads that read audio and compute its log-mel


@dataclass(frozen=True)
class Batch:
    """Normalised log-mel with zeros behind each utterance's end, and the samples it is made of."""

    frames_BTF: Tensor
    lengths_B: Tensor
    samples: tuple[int, ...]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.frames_BTF.to(device), self.lengths_B.to(device), self.samples)


@dataclass(frozen=True)
class Speech:
    """The utterances of a split: log-mel [T, F] before normalisation, samples, class numbers."""

    frames: Sequence[Tensor]
    samples: Sequence[int]
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def whole(self, rows: Sequence[int], settings: FrontEndSettings) -> Batch:
        """Utterances from end to end, padded up to the longest."""
        frames = [_normalised(self.frames[row], settings) for row in rows]
        return Batch(
            nn.utils.rnn.pad_sequence(frames, batch_first=True),
            torch.tensor([len(one) for one in frames]),
            tuple(self.samples[row] for row in rows),
        )

    def crops(
        self,
        rows: Sequence[int],
        settings: FrontEndSettings,
        length: int,
        generator: torch.Generator,
    ) -> Batch:
        """A crop of `length` frames of each utterance, from a place that the generator draws.

        An utterance that is shorter is repeated until it fills the crop, as in pretraining: there
        is no padding, which would count in a batch norm.
        """
        # In double precision: in single, a share just below 1 of many places rounds up to all.
        shares = torch.rand(len(rows), generator=generator, dtype=torch.float64).tolist()
        crops = []
        for row, share in zip(rows, shares):
            frames_TF = self.frames[row]
            start = int(share * max(1, len(frames_TF) - length + 1))
            crops.append(frames_TF[torch.arange(start, start + length) % len(frames_TF)])
        frames_BTF = _normalised(torch.stack(crops), settings)
        lengths_B = torch.full((len(rows),), length)
        return Batch(frames_BTF, lengths_B, (length * HOP,) * len(rows))


class LogMels:
    """The log-mel of a corpus's recordings, each computed when it is first asked for."""

    def __init__(self, recordings: Sequence[Recording], n_mels: int) -> None:
        self.recordings, self.n_mels = recordings, n_mels
        self._frontend = FrontEnd(FrontEndSettings(n_mels))
        self._known: dict[int, tuple[Tensor, int]] = {}

    def speech(self, rows: np.ndarray, labels: np.ndarray) -> Speech:
        """The recordings of a split, by their manifest rows, with their class numbers.

        Raises:
            BarlowSpeechError: a recording cannot be read.
        """
        missing = sorted(set(rows.tolist()) - set(self._known))
        with (
            ThreadPoolExecutor(READERS) as readers,
            progress(len(missing), "log-mel", "rec") as bar,
        ):
            for row, log_mel in zip(missing, readers.map(self._read, missing)):
                self._known[row] = log_mel
                bar.update()
        frames, samples = zip(*(self._known[row] for row in rows.tolist()))
        return Speech(frames, samples, torch.from_numpy(labels))

    def _read(self, row: int) -> tuple[Tensor, int]:
        """A recording's log-mel [T, F], T = ceil(samples / HOP), and its samples."""
        one = self.recordings[row]
        wave = torch.from_numpy(read_audio(one.path, one.start_s, one.end_s, one.gain_db))
        with torch.no_grad():
            return self._frontend.log_mel(wave[None])[0], len(wave)


def _normalised(frames: Tensor, settings: FrontEndSettings) -> Tensor:
    """As `FrontEnd.forward` does it."""
    return (frames - settings.mean) / settings.std
