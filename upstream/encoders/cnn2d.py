"""A 2-D CNN over log-mel, after AudioNTT2020 of BYOL-A (Niizumi et al. 2021, arXiv 2103.06695).

Shapes: B utterances, T front-end frames, F mel bands, C channels, S = T / stride states, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import LATER
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Lengths, Size, cleared

BLOCKS = 3  # each halves frequency
ALIGNED = 8  # numbers of bfloat16 that a GPU's matrix units want rows to be multiples of


@dataclass(frozen=True)
class Settings:
    """`channels` of every convolution; the width is channels × n_mels / 8.

    `stride_ms` is the time from one state to the next. At 80 ms each block ends in a maximum over
    2 × 2; at 20 ms the first convolution has a stride of 2 in place of its maximum, the others a
    maximum over frequency alone. `dilation` spreads the third convolution over time, and
    `kernel` makes the last two layers see so many states (odd), which lie `dilation` and twice
    `dilation` apart; at 1 they see one.
    """

    channels: Size = 64
    dropout: Dropout = 0.0
    stride_ms: Size = field(default=80, metadata=LATER)
    dilation: Size = field(default=1, metadata=LATER)
    kernel: Size = field(default=1, metadata=LATER)


class Encoder(BaseEncoder):
    """Three blocks of convolution, batch norm, ReLU and maximum; then two layers over the states.

    Hidden states: the three blocks, the first two averaged down to the third's grid, and the last
    two layers: five layers, one state per 80 or 20 ms.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        if n_mels % 2**BLOCKS:
            raise BarlowSpeechError(
                f"encoder cnn2d needs frontend.n_mels divisible by {2**BLOCKS}, not {n_mels}."
            )
        if settings.stride_ms not in (20, 80):
            raise BarlowSpeechError(
                f"encoder cnn2d has states every 20 or 80 ms, not {settings.stride_ms}; set "
                "stride_ms to one of these."
            )
        if settings.kernel % 2 == 0:
            raise BarlowSpeechError(
                f"encoder cnn2d needs an odd kernel, to have a middle, not {settings.kernel}."
            )
        self.fine = settings.stride_ms == 20
        self.stride = settings.stride_ms // 10
        self.width = settings.channels * n_mels // 2**BLOCKS
        self.depth = BLOCKS + 2
        # How much shorter in time the grid of each convolution's input is than the front-end's.
        self.grids = (1, 2, 2) if self.fine else (1, 2, 4)
        dilations = (1, 1, settings.dilation)
        self.convolutions = nn.ModuleList(
            (Conv2d if i == 0 else nn.Conv2d)(
                1 if i == 0 else settings.channels,
                settings.channels,
                3,
                stride=2 if self.fine and i == 0 else 1,
                padding=(dilations[i], 1),
                dilation=(dilations[i], 1),
            )
            for i in range(BLOCKS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(settings.channels) for _ in range(BLOCKS))
        self.first = _layer(self.width, settings.kernel, settings.dilation)
        self.second = _layer(self.width, settings.kernel, 2 * settings.dilation)
        self.dropout = nn.Dropout(settings.dropout)
        # Frames on either side of a state's own that it depends on.
        self.receptive_field = sum(d * g for d, g in zip(dilations, self.grids)) + (
            (settings.kernel // 2) * 3 * settings.dilation * self.stride
        )

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        x_BCTF = frames_BTF.unsqueeze(1)
        hidden = []
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            x_BCTF = norm(convolution(x_BCTF))
            # What lies behind the end must look to the next block like its own zero padding. The
            # zeros of a half-empty window change nothing, since the ReLU would make them of
            # anything below; it comes behind the maximum, with which it commutes, to be cheaper.
            if self.fine:
                if block > 0:
                    x_BCTF = nn.functional.max_pool2d(x_BCTF, (1, 2))
                x_BCTF = cleared(x_BCTF, lengths, self.stride, 2).relu()
                shrink = (1, 2 ** (BLOCKS - 1 - block))
            else:
                grid = self.grids[block]
                if isinstance(lengths, int) and -(-lengths // grid) % 2 == 0:
                    # No window is half-empty: it may come behind the maximum here too.
                    x_BCTF = nn.functional.max_pool2d(x_BCTF, 2)
                    x_BCTF = cleared(x_BCTF, lengths, 2 * grid, 2).relu()
                else:
                    x_BCTF = cleared(x_BCTF, lengths, grid, 2)
                    x_BCTF = nn.functional.max_pool2d(x_BCTF, 2).relu()
                shrink = (2 ** (BLOCKS - 1 - block),) * 2
            hidden.append(_to_grid(x_BCTF, shrink))
        first_BSD = self.first(hidden[-1]).relu()
        # A layer that sees its neighbours must see zeros behind the end.
        second_BSD = self.dropout(cleared(first_BSD, lengths, self.stride))
        second_BSD = self.second(second_BSD).relu()
        return [*hidden, first_BSD, second_BSD]


class Conv2d(nn.Conv2d):
    """A convolution of one channel; on a GPU it is a product of matrices.

    cuDNN takes one channel for eight in bfloat16 and channels last, and copies input and output
    into other orders of memory: a quarter of the time of a step of pretraining (H200).
    """

    def forward(self, x_B1TF: Tensor) -> Tensor:
        return self.as_product(x_B1TF) if x_B1TF.is_cuda else super().forward(x_B1TF)

    def as_product(self, x_B1TF: Tensor) -> Tensor:
        """The same, of the neighbourhood of every place: K numbers, filled up for alignment."""
        in_time, in_frequency = (int(one) for one in self.padding)
        padding = (in_frequency, in_frequency, in_time, in_time)
        x_BTF = nn.functional.pad(x_B1TF.squeeze(1), padding)
        for axis, (size, stride) in enumerate(zip(self.kernel_size, self.stride)):
            x_BTF = x_BTF.unfold(1 + axis, size, stride)
        x_BTFK, weight_CK = x_BTF.flatten(3), self.weight.flatten(1)
        more = (0, -weight_CK.shape[1] % ALIGNED)
        x_BTFK, weight_CK = (nn.functional.pad(one, more) for one in (x_BTFK, weight_CK))
        return nn.functional.linear(x_BTFK, weight_CK, self.bias).permute(0, 3, 1, 2)


class OverTime(nn.Conv1d):
    """A convolution over states [B, S, D], as many as before."""

    def forward(self, states_BSD: Tensor) -> Tensor:
        return super().forward(states_BSD.transpose(1, 2)).transpose(1, 2)


def _layer(width: int, kernel: int, dilation: int) -> nn.Module:
    if kernel == 1:
        return nn.Linear(width, width)
    padding = kernel // 2 * dilation
    return OverTime(width, width, kernel, padding=padding, dilation=dilation)


def _to_grid(x_BCTF: Tensor, factors: tuple[int, int]) -> Tensor:
    """[B, C, T, F] averaged over time × frequency `factors`, as states [B, S, D]."""
    if factors != (1, 1):
        x_BCTF = nn.functional.avg_pool2d(x_BCTF, factors)
    return x_BCTF.permute(0, 2, 1, 3).flatten(2)
