"""A Transformer (Vaswani et al. 2017, arXiv 1706.03762) over subsampled log-mel, of pre-norm layers
(Xiong et al. 2020, arXiv 2002.04745) with convolutional positions as in wav2vec 2.0 (Baevski et al.
2020, arXiv 2006.11477, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Lengths, Size
from barlow_speech.upstream.encoders._subsampling import STRIDE, Subsampling, behind

POSITION_KERNEL = 31  # states that the position of a state is told from, 1.2 s around it
POSITION_GROUPS = 16  # as in wav2vec 2.0


@dataclass(frozen=True)
class Settings:
    """`layers` of attention with `heads` and a feed-forward net of `feed_forward` units."""

    width: Size = 256
    layers: Size = 4
    heads: Size = 4
    feed_forward: Size = 1024
    dropout: Dropout = 0.0


def gelu(x: Tensor) -> Tensor:
    """GELU, which torch does not know by sight.

    Of a layer with its own GELU torch computes evaluation by other kernels, and on a GPU these take
    the approximation by tanh: 1.8e-4 off (torch 2.11, H200).
    """
    return nn.functional.gelu(x)


class Encoder(BaseEncoder):
    """Subsampling to one state per 40 ms, convolutional positions and Transformer layers.

    Hidden states: the subsampled frames with their positions, and the output of each layer, the
    last one behind the final layer norm that pre-norm layers need.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        for divisor, name in ((settings.heads, "heads"), (POSITION_GROUPS, "position groups")):
            if settings.width % divisor:
                raise BarlowSpeechError(
                    f"encoder transformer needs width to be a multiple of its {divisor} {name}, "
                    f"not {settings.width}."
                )
        self.stride, self.width, self.depth = STRIDE, settings.width, 1 + settings.layers
        self.subsampling = Subsampling(n_mels, settings.width)
        # Positions relative to what surrounds a state: numbered ones would be new to the encoder
        # in every recording that is longer than the crops of its pretraining.
        self.positions = nn.Conv1d(
            settings.width,
            settings.width,
            POSITION_KERNEL,
            padding=POSITION_KERNEL // 2,
            groups=POSITION_GROUPS,
        )
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                settings.width,
                settings.heads,
                settings.feed_forward,
                settings.dropout,
                activation=gelu,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.width)

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        x_BSD = self.subsampling(frames_BTF, lengths)
        positions_BSD = self.positions(x_BSD.transpose(1, 2)).transpose(1, 2)
        hidden = [x_BSD + nn.functional.gelu(positions_BSD)]
        behind_BS = behind(lengths, x_BSD.shape[1])
        for layer in self.layers:
            hidden.append(layer(hidden[-1], src_key_padding_mask=behind_BS))
        return [*hidden[:-1], self.norm(hidden[-1])]
