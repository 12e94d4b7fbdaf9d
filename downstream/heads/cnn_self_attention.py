"""A CNN with self-attention pooling: s3prl's `downstream/emotion/model.py`, CNNSelfAttention.

Differences, both for the sake of results that do not depend on the batch: what a convolution sees
behind an utterance's end is zero, and there is no dropout (s3prl: 0.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from barlow_speech.downstream.heads.attentive import attend

INPUT = "frames"
NOTE = "weighted layers, linear, three convolutions, self-attention pooling, MLP; no dropout"


@dataclass(frozen=True)
class Settings:
    """s3prl's sizes (`downstream/emotion/config.yaml`): frames are first averaged by `pooling`."""

    projector_dim: int = 256
    hidden_dim: int = 80
    kernel_size: int = 5
    pooling: int = 5


class Head(nn.Module):
    """Weighted layers → projector → CNN → self-attention pooling → logits."""

    def __init__(self, settings: Settings, layers: int, width: int, classes: int) -> None:
        super().__init__()
        size, kernel = settings.hidden_dim, settings.kernel_size
        self.pooling, self.kernel = settings.pooling, kernel
        self.weights = nn.Parameter(torch.zeros(layers))
        self.projector = nn.Linear(width, settings.projector_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, size, kernel, padding=kernel // 2)
            for inputs in (settings.projector_dim, size, size)
        )
        self.attention = nn.Linear(size, 1)
        self.hidden = nn.Linear(size, size)
        self.classifier = nn.Linear(size, classes)

    def forward(self, x_BTLD: Tensor, lengths_B: Tensor) -> Tensor:
        """Frames of every layer, valid up to each length → logits [B, C]."""
        summed_BTD = torch.einsum("l,btld->btd", self.weights.softmax(0), x_BTLD)
        x_BDT = self.projector(summed_BTD).transpose(1, 2)
        x_BDT = x_BDT * _valid(lengths_B, x_BDT.shape[2])
        x_BDT = nn.functional.avg_pool1d(x_BDT, self.kernel, self.pooling, self.kernel // 2)
        lengths_B = torch.div(lengths_B - 1, self.pooling, rounding_mode="floor") + 1
        for i, convolution in enumerate(self.convolutions):
            x_BDT = convolution(x_BDT * _valid(lengths_B, x_BDT.shape[2]))
            if i < len(self.convolutions) - 1:
                x_BDT = x_BDT.relu()
        x_BTD = x_BDT.transpose(1, 2)
        pooled_BD = attend(x_BTD, self.attention(x_BTD).squeeze(-1), lengths_B)
        return self.classifier(self.hidden(pooled_BD).relu())


def _valid(lengths_B: Tensor, size: int) -> Tensor:
    """[B, 1, T], true before each length."""
    return (torch.arange(size, device=lengths_B.device) < lengths_B.unsqueeze(1)).unsqueeze(1)
