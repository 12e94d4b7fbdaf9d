"""A bidirectional GRU (Cho et al. 2014, arXiv 1406.1078) over subsampled log-mel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Lengths, Size, shorter
from barlow_speech.upstream.encoders._subsampling import STRIDE, Subsampling


@dataclass(frozen=True)
class Settings:
    """`layers` of `width` / 2 units in each direction; `dropout` between the layers."""

    width: Size = 384
    layers: Size = 3
    dropout: Dropout = 0.0


class Encoder(BaseEncoder):
    """Subsampling to one state per 40 ms and a stack of bidirectional GRU layers.

    Hidden states: the subsampled frames and both directions of each layer, side by side.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        if settings.width % 2:
            raise BarlowSpeechError(
                f"encoder bigru needs an even width, half for each direction, not {settings.width}."
            )
        self.stride, self.width, self.depth = STRIDE, settings.width, 1 + settings.layers
        self.subsampling = Subsampling(n_mels, settings.width)
        # A GRU of several layers returns only the last one's states; we want each layer's.
        self.layers = nn.ModuleList(
            nn.GRU(settings.width, settings.width // 2, batch_first=True, bidirectional=True)
            for _ in range(settings.layers)
        )
        self.dropout = nn.Dropout(settings.dropout)

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        x_BSD = self.subsampling(frames_BTF, lengths)
        hidden = [x_BSD]
        # Under any autocast cuDNN's recurrence runs in float16 (ATen/cudnn/AutocastRNN.cpp), where
        # small gradients vanish.
        with torch.autocast(x_BSD.device.type, enabled=False):
            if isinstance(lengths, int):  # every state is valid
                for i, layer in enumerate(self.layers):
                    x_BSD, _ = layer(self.dropout(x_BSD) if i > 0 else _at_least_float(x_BSD))
                    hidden.append(x_BSD)
                return hidden
            # Packed, the backward direction starts at each utterance's own end.
            packed = pack_padded_sequence(
                _at_least_float(x_BSD),
                shorter(lengths, STRIDE).cpu(),
                batch_first=True,
                enforce_sorted=False,
            )
            for i, layer in enumerate(self.layers):
                if i > 0:
                    packed = PackedSequence(self.dropout(packed.data), *packed[1:])
                packed, _ = layer(packed)
                padded_BSD, _ = pad_packed_sequence(
                    packed, batch_first=True, total_length=x_BSD.shape[1]
                )
                hidden.append(padded_BSD)
        return hidden


def _at_least_float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
