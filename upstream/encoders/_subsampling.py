"""From log-mel frames every 10 ms to states every 40 ms, for the encoders that work on states.

Shapes: B utterances, T frames, F mel bands, S = T / STRIDE states, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from barlow_speech.upstream.encoders import Lengths, cleared, shorter, valid

STRIDE = 4  # frames per state: 40 ms, short enough for a phone; attention costs 1/16 of 10 ms


class Subsampling(nn.Module):
    """Two convolutions over time, each with a GELU, that each halve it; the mels are channels.

    A state sees 7 frames. As the stem of Whisper (Radford et al. 2022, arXiv 2212.04356, section
    2.2), where only the second convolution halves; and like it without a norm, which would blow up
    the rounding of the convolutions, different for a batch and for one utterance, to 1e-5.
    """

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_mels, width, 3, stride=2, padding=1)
        self.second = nn.Conv1d(width, width, 3, stride=2, padding=1)

    def forward(self, frames_BTF: Tensor, lengths: Lengths) -> Tensor:
        """[B, T, F], T a multiple of STRIDE, zero at and behind `lengths` → [B, S, D].

        States behind an utterance's own ceil(length / STRIDE) are zero.
        """
        # No mask between the two: with T a multiple of STRIDE a window never reaches behind its own
        # state's frames, so an utterance sees the same zeros behind its end in every batch.
        x_BDT = nn.functional.gelu(self.first(frames_BTF.transpose(1, 2)))
        x_BDS = nn.functional.gelu(self.second(x_BDT))
        return cleared(x_BDS.transpose(1, 2), lengths, STRIDE)


def behind(lengths: Lengths, states: int) -> Tensor | None:
    """[B, S], true behind each utterance's end, for attention; None where all states are valid."""
    return None if isinstance(lengths, int) else ~valid(shorter(lengths, STRIDE), states)
