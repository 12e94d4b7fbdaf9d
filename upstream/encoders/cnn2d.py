"""A 2-D CNN over log-mel, after AudioNTT2020 of BYOL-A (Niizumi et al. 2021, arXiv 2103.06695)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Size, shorter, valid

BLOCKS = 3  # each halves time and frequency


@dataclass(frozen=True)
class Settings:
    """`channels` of every convolution; the width is channels × n_mels / 8."""

    channels: Size = 64
    dropout: Dropout = 0.0


class Encoder(BaseEncoder):
    """Three blocks of convolution, batch norm, ReLU and 2 × 2 maximum; then two layers per state.

    Hidden states: the three blocks, the first two averaged down to the third's grid, and the two
    fully connected layers: five layers, one state per 80 ms.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        if n_mels % 2**BLOCKS:
            raise BarlowSpeechError(
                f"encoder cnn2d needs frontend.n_mels divisible by {2**BLOCKS}, not {n_mels}."
            )
        self.stride = 2**BLOCKS
        self.width = settings.channels * n_mels // 2**BLOCKS
        self.depth = BLOCKS + 2
        self.convolutions = nn.ModuleList(
            nn.Conv2d(1 if i == 0 else settings.channels, settings.channels, 3, padding=1)
            for i in range(BLOCKS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(settings.channels) for _ in range(BLOCKS))
        self.first = nn.Linear(self.width, self.width)
        self.second = nn.Linear(self.width, self.width)
        self.dropout = nn.Dropout(settings.dropout)
        # Each convolution sees one step of its own grid on either side.
        self.receptive_field = sum(2**block for block in range(BLOCKS))

    def states(self, frames_BTF: Tensor, lengths_B: Tensor) -> list[Tensor]:
        x_BCTF = frames_BTF.unsqueeze(1)
        hidden = []
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            x_BCTF = norm(convolution(x_BCTF))
            # What lies behind the end must look to the next block like its own zero padding. The
            # zeros of a half-empty window change nothing, since the ReLU would make them of
            # anything below; it comes behind the maximum, with which it commutes, to be cheaper.
            mask = valid(shorter(lengths_B, 2**block), x_BCTF.shape[2])[:, None, :, None]
            x_BCTF = nn.functional.max_pool2d(x_BCTF * mask, 2).relu()
            hidden.append(_to_grid(x_BCTF, 2 ** (BLOCKS - 1 - block)))
        first_BSD = self.first(hidden[-1]).relu()
        second_BSD = self.second(self.dropout(first_BSD)).relu()
        return [*hidden, first_BSD, second_BSD]


def _to_grid(x_BCTF: Tensor, factor: int) -> Tensor:
    """[B, C, T, F] averaged over factor × factor, as states [B, T / factor, C · F / factor]."""
    if factor > 1:
        x_BCTF = nn.functional.avg_pool2d(x_BCTF, factor)
    return x_BCTF.permute(0, 2, 1, 3).flatten(2)
