"""The speech encoder: front-end and base encoder, with everything needed to build it again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.settings import LATER, as_plain
from barlow_speech.upstream.encoders import build_encoder, complete, shorter
from barlow_speech.upstream.model.frontend import HOP, FrontEnd, FrontEndSettings, frame_count
from barlow_speech.upstream.model.readout import LAST, Part, check, read_out, size


@dataclass(frozen=True)
class ModelSettings:
    """The dimensions of a model, saved with its weights; they alone rebuild it."""

    frontend: FrontEndSettings = field(default_factory=FrontEndSettings)
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "cnn2d"})
    readout: tuple[Part, ...] = field(default=LAST, metadata=LATER)

    def as_dict(self) -> dict[str, Any]:
        """As `as_plain`, with the encoder's own defaults too."""
        return {**as_plain(self), "encoder": complete(self.encoder, "encoder")}


class SpeechEncoder(nn.Module):
    """Waveforms → hidden states of every layer and an embedding of each utterance.

    Raises:
        BarlowSpeechError: as `build_encoder`, and for a readout that the encoder cannot have.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.frontend = FrontEnd(settings.frontend)
        self.encoder = build_encoder(settings.encoder, settings.frontend.n_mels)
        check(settings.readout, self.encoder.depth)

    @property
    def rate(self) -> int:
        """Samples per hidden state."""
        return HOP * self.encoder.stride

    @property
    def embedding_dim(self) -> int:
        """E: the size of what the readout gives."""
        return size(self.settings.readout, self.encoder.width)

    def forward(self, waves: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        """1-D waveforms at 16 kHz → (hidden states, their lengths [B], embeddings [B, E]).

        Hidden states are a list of [B, S, D], one per layer, S = ceil(longest / rate); an
        utterance of n samples has ceil(n / rate) states, and zeros behind them.
        """
        samples_B = torch.tensor([len(wave) for wave in waves], device=waves[0].device)
        waves_BN = nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
        lengths_B = frame_count(samples_B)
        hidden, _ = self.encoder(self.frontend(waves_BN), lengths_B)
        states_B = shorter(lengths_B, self.encoder.stride)
        return hidden, states_B, read_out(self.settings.readout, hidden, states_B)


def depth(settings: ModelSettings) -> int:
    """How many layers of a model have hidden states; no memory is taken for its weights."""
    with torch.device("meta"):  # shapes without numbers
        return build_encoder(settings.encoder, settings.frontend.n_mels).depth


def random_model(settings: ModelSettings, seed: int) -> SpeechEncoder:
    """A model with fresh weights from `seed`; the global random state is left as it was."""
    with seeded(seed):
        return SpeechEncoder(settings)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global generators start from `seed`; afterwards they are as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def parameter_count(module: nn.Module) -> int:
    """How many trainable numbers a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
