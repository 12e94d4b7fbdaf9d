"""What all adapters share: an upstream by its name that is given waveforms of any lengths.

Shapes: B recordings, N samples at 16 kHz, T frames, D width, E embedding size.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.benchmark.features.families import check_name
from barlow_speech.benchmark.features.upstreams import EMBEDDING, HIDDEN, load_upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.files import checkpoint_file
from barlow_speech.upstream.common.machine import usable
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.names import NAMES


class Adapted(nn.Module):
    """An upstream in evaluation mode, frozen: its last hidden state and its embedding.

    The embedding is the upstream's own, or the mean of the last hidden state where it has none.
    None depends on the other recordings: only what may run together does.

    Raises:
        BarlowSpeechError: there is no such upstream or device, or it cannot be loaded.
    """

    def __init__(self, name: str = "", device: str = "cpu") -> None:
        super().__init__()
        name = name or "barlow_speech"
        ours = name not in NAMES and checkpoint_file(Path(name)).is_file()
        self.name = f"barlow_speech@{name}" if ours else name
        check_name(self.name, None)
        self.upstream = load_upstream(self.name, None, usable(device))
        self.module = self.upstream.module  # so that .to() finds its weights
        (frames_TD,), embedding_1E = self.of([torch.zeros(SAMPLE_RATE)])
        self.width, self.embedding_size = frames_TD.shape[1], embedding_1E.shape[1]

    @property
    def hop_ms(self) -> float:
        """Milliseconds between two frames."""
        return 1000 * self.upstream.rate / SAMPLE_RATE

    @torch.no_grad()
    def of(self, waves: Tensor | Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Frames [T, D] of each 1-D waveform and embeddings [B, E], on the waveforms' device.

        A recording has round(N / rate) frames, at least one.

        Raises:
            BarlowSpeechError: there is no recording, or one is no row of floats.
        """
        waves = _recordings(waves)
        frames: list[Any] = [None] * len(waves)
        embeddings: list[Any] = [None] * len(waves)
        for group in self.upstream.groups([len(wave) for wave in waves]):
            placed = [waves[row].to(self.upstream.device, torch.float32) for row in group]
            given = self.upstream.outputs(placed)
            for place, row in enumerate(group):
                own_TD = self.upstream.frames(given[HIDDEN][-1], place, len(waves[row]))
                frames[row] = own_TD.float().to(waves[row].device)
                own_E = given[EMBEDDING][place] if EMBEDDING in given else own_TD.mean(dim=0)
                embeddings[row] = own_E.float().to(waves[row].device)
        return frames, torch.stack(embeddings)

    def frames_of(self, waves_BN: Tensor) -> Tensor:
        """Frames [B, T, D] of recordings of one length."""
        return torch.stack(self.of(waves_BN)[0])


def _recordings(waves: Any) -> list[Tensor]:
    several = isinstance(waves, Sequence) or getattr(waves, "ndim", 0) > 0
    listed: list[Any] = list(waves) if several else [waves]
    for wave in listed:
        tensor = isinstance(wave, Tensor)
        if not tensor or not wave.is_floating_point() or wave.ndim != 1 or not len(wave):
            shape = f"{wave.dtype} of shape {list(wave.shape)}" if tensor else type(wave).__name__
            raise BarlowSpeechError(
                f"recordings are expected as [B, N], floats in [-1, 1] at {SAMPLE_RATE} Hz with a "
                f"sample at least, and one of them is {shape}; convert them before."
            )
    if not listed:
        raise BarlowSpeechError("there is no recording in the batch; leave empty batches out.")
    return listed


def needed(module: str, remedy: str) -> Any:
    """A module of another benchmark.

    Raises:
        BarlowSpeechError: it cannot be imported; `remedy` says what to do.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BarlowSpeechError(
            f"this adapter needs {module}, which cannot be imported ({one_line(error, 200)}); "
            f"{remedy}"
        ) from error
