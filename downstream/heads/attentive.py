"""Attentive pooling over frames: s3prl's `downstream/model.py`, UtteranceLevel, AttentivePooling.

s3prl adds its boolean mask of valid frames to the attention logits, so that padding, too, takes
part in the mean and an utterance's result depends on its batch. Here padding is left out; without
padding the two are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

INPUT = "frames"
NOTE = "weighted layers, linear, attentive pooling over the frames, linear; padding left out"


@dataclass(frozen=True)
class Settings:
    """`projector_dim` is P."""

    projector_dim: int = 256


class Head(nn.Module):
    """Weighted layers → projector → attention over frames → logits."""

    def __init__(self, settings: Settings, layers: int, width: int, classes: int) -> None:
        super().__init__()
        size = settings.projector_dim
        self.weights = nn.Parameter(torch.zeros(layers))
        self.projector = nn.Linear(width, size)
        self.hidden = nn.Linear(size, size)
        self.attention = nn.Linear(size, 1)
        self.classifier = nn.Linear(size, classes)

    def forward(self, x_BTLD: Tensor, lengths_B: Tensor) -> Tensor:
        """Frames of every layer, valid up to each length → logits [B, C]."""
        summed_BTD = torch.einsum("l,btld->btd", self.weights.softmax(0), x_BTLD)
        projected_BTP = self.projector(summed_BTD)
        scores_BT = self.attention(self.hidden(projected_BTP).relu()).squeeze(-1)
        return self.classifier(attend(projected_BTP, scores_BT, lengths_B))


def attend(x_BTD: Tensor, scores_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """The mean [B, D] of the valid frames, weighted by the softmax of their scores."""
    behind_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) >= lengths_B.unsqueeze(1)
    share_BT = scores_BT.masked_fill(behind_BT, -torch.inf).softmax(dim=1)
    return torch.einsum("bt,btd->bd", share_BT, x_BTD)
