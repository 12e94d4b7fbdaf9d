"""SUPERB's utterance head: weighted layers, Linear(D, P), mean over time, Linear(P, C).

What s3prl's `upstream/interfaces.py` (Featurizer) and its tasks speech_commands, emotion and
voxceleb1 (projector and UtteranceLevel with MeanPooling) compute. Everything before the mean is
linear, so the mean over time of every layer is all that it can see of a recording: exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

INPUT = "mean"
NOTE = "SUPERB: weighted layers, linear, mean over time, linear; exact from the mean of each layer"


@dataclass(frozen=True)
class Settings:
    """`projector_dim` is P."""

    projector_dim: int = 256


class Head(nn.Module):
    """One head: layer weights, projector, classifier."""

    def __init__(self, settings: Settings, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.projector = nn.Linear(width, settings.projector_dim)
        self.classifier = nn.Linear(settings.projector_dim, classes)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Means over time of every layer → logits [B, C]."""
        summed_BD = torch.einsum("l,bld->bd", self.weights.softmax(0), x_BLD)
        return self.classifier(self.projector(summed_BD))
