"""A Conformer (Gulati et al. 2020, arXiv 2005.08100): torchaudio's layers over subsampled mels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torchaudio.models.conformer import ConformerLayer

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import BaseEncoder, Dropout, Lengths, Size
from barlow_speech.upstream.encoders._subsampling import STRIDE, Subsampling, behind


@dataclass(frozen=True)
class Settings:
    """`layers` of `heads`, feed-forward nets of `feed_forward` units, `kernel` states each."""

    width: Size = 192
    layers: Size = 4
    heads: Size = 4
    feed_forward: Size = 768
    kernel: Size = 15
    dropout: Dropout = 0.0


class Encoder(BaseEncoder):
    """Subsampling to one state per 40 ms and Conformer layers.

    Positions are told by the layers' convolutions alone, as in torchaudio's Conformer. Hidden
    states: the subsampled frames and the output of each layer.
    """

    def __init__(self, settings: Settings, n_mels: int) -> None:
        super().__init__()
        if settings.width % settings.heads:
            raise BarlowSpeechError(
                f"encoder conformer needs width to be a multiple of its {settings.heads} heads, "
                f"not {settings.width}."
            )
        if settings.kernel % 2 == 0:
            raise BarlowSpeechError(
                f"encoder conformer needs an odd kernel, not {settings.kernel}; "
                f"choose {settings.kernel - 1} or {settings.kernel + 1}."
            )
        self.stride, self.width, self.depth = STRIDE, settings.width, 1 + settings.layers
        self.subsampling = Subsampling(n_mels, settings.width)
        self.layers = nn.ModuleList(
            Layer(
                settings.width,
                settings.feed_forward,
                settings.heads,
                settings.kernel,
                settings.dropout,
            )
            for _ in range(settings.layers)
        )

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        x_SBD = self.subsampling(frames_BTF, lengths).transpose(0, 1)
        # Not len(): torch.export would take the length of its example for every length.
        behind_BS = behind(lengths, x_SBD.shape[0])
        hidden = [x_SBD]
        for layer in self.layers:
            hidden.append(layer(hidden[-1], behind_BS))
        return [x_SBD.transpose(0, 1) for x_SBD in hidden]


class Layer(ConformerLayer):
    """torchaudio's layer with its own weights and order, whose convolution sees no padding.

    torchaudio hands the padding mask to the attention only. Between its convolution module's entry
    (layer norm, pointwise convolution with bias, GLU) and its depthwise convolution the padding is
    never zero, whatever the input was, and leaks up to kernel // 2 states into the utterance. The
    place lies inside its forward, so that is what is written again here.
    """

    def forward(self, x_SBD: Tensor, behind_BS: Tensor | None) -> Tensor:
        """[S, B, D] → [S, B, D]; `behind_BS` is true behind each utterance's end."""
        x_SBD = x_SBD + 0.5 * self.ffn1(x_SBD)
        y_SBD = self.self_attn_layer_norm(x_SBD)
        y_SBD, _ = self.self_attn(
            y_SBD, y_SBD, y_SBD, key_padding_mask=behind_BS, need_weights=False
        )
        x_SBD = x_SBD + self.self_attn_dropout(y_SBD)
        pointwise, gate, *depthwise = self.conv_module.sequential
        y_BDS = gate(pointwise(self.conv_module.layer_norm(x_SBD).permute(1, 2, 0)))
        if behind_BS is not None:
            y_BDS = y_BDS.masked_fill(behind_BS.unsqueeze(1), 0)
        for part in depthwise:
            y_BDS = part(y_BDS)
        x_SBD = x_SBD + y_BDS.permute(2, 0, 1)
        return self.final_layer_norm(x_SBD + 0.5 * self.ffn2(x_SBD))
