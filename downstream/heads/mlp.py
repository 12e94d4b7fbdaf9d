"""A multi-layer perceptron on the mean over time: weighted layers, then hidden layers with ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

INPUT = "mean"
NOTE = "weighted layers, mean over time, then an MLP with ReLU"


@dataclass(frozen=True)
class Settings:
    """The sizes of the hidden layers."""

    hidden: tuple[int, ...] = (256,)


class Head(nn.Module):
    """Weighted layers → hidden layers → logits."""

    def __init__(self, settings: Settings, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        sizes = [width, *settings.hidden]
        self.hidden = nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(sizes))
        self.classifier = nn.Linear(sizes[-1], classes)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Means over time of every layer → logits [B, C]."""
        x_BD = torch.einsum("l,bld->bd", self.weights.softmax(0), x_BLD)
        for layer in self.hidden:
            x_BD = layer(x_BD).relu()
        return self.classifier(x_BD)
