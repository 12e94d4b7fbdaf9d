"""A 1-D CNN over time with the mel bands as channels: residual blocks after He et al. 2015
(arXiv 1512.03385), laid out as in TC-ResNet for keywords (Choi et al. 2019, arXiv 1904.03814).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Lengths, Size, cleared
from barlow_speech.upstream.encoders._subsampling import STRIDE, Subsampling


@dataclass(frozen=True)
class Settings:
    """`layers` blocks of two convolutions over `kernel` states, with `width` channels."""

    width: Size = 256
    layers: Size = 4
    kernel: Size = 5
    dropout: Dropout = 0.0


class Encoder(BaseEncoder):
    """Subsampling to one state per 40 ms and residual blocks that stay on that grid.

    Hidden states: the subsampled frames and the output of each block. With the default sizes a
    state of the last block sees 1.3 s.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        if settings.kernel % 2 == 0:
            raise BarlowSpeechError(
                f"encoder cnn1d needs an odd kernel, not {settings.kernel}; "
                f"choose {settings.kernel - 1} or {settings.kernel + 1}."
            )
        self.stride, self.width, self.depth = STRIDE, settings.width, 1 + settings.layers
        self.subsampling = Subsampling(n_mels, settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        # Two convolutions a block; the subsampling sees 7 frames, 4 of them its own.
        states = 2 * settings.layers * (settings.kernel // 2)
        self.receptive_field = STRIDE * states + STRIDE - 1

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        x_BDS = self.subsampling(frames_BTF, lengths).transpose(1, 2)
        hidden = [x_BDS]
        for block in self.blocks:
            hidden.append(block(hidden[-1], lengths))
        return [x_BDS.transpose(1, 2) for x_BDS in hidden]


class Block(nn.Module):
    """Convolution, batch norm, ReLU, convolution, batch norm; plus the input; ReLU."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, kernel = settings.width, settings.kernel
        # A bias would be taken off again by the batch norm.
        self.first = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(settings.dropout)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.second_norm = nn.BatchNorm1d(width)

    def forward(self, x_BDS: Tensor, lengths: Lengths) -> Tensor:
        """[B, D, S] → [B, D, S], zero behind each utterance's end, as the input has to be."""
        y_BDS = self.first_norm(self.first(x_BDS)).relu()
        # The norm's shift fills the padding, which must look to a convolution like its own zeros.
        y_BDS = cleared(y_BDS, lengths, STRIDE, 2)
        y_BDS = self.second_norm(self.second(self.dropout(y_BDS)))
        return cleared((x_BDS + y_BDS).relu(), lengths, STRIDE, 2)
