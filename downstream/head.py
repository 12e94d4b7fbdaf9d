"""The head of SUPERB's utterance tasks, as one module for one run.

softmax-weighted sum of the layers → Linear(D, P) → mean over time → Linear(P, C): what s3prl's
`upstream/interfaces.py` (Featurizer) and `downstream/emotion`, `voxceleb1` and `speech_commands`
(UtteranceLevel with MeanPooling) do. Everything before the mean is linear, so the mean over time of
every layer is a sufficient statistic; `heads/linear.py` is the same head on these means.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class UtteranceHead(nn.Module):
    """Linear(D, P) → mean over valid frames → Linear(P, C), for features already weighted.

    Inside s3prl the Featurizer holds the layer weights.
    """

    def __init__(self, width: int, classes: int, projector_dim: int) -> None:
        super().__init__()
        self.projector = nn.Linear(width, projector_dim)
        self.classifier = nn.Linear(projector_dim, classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features [T_i, D] of each utterance → logits [B, C]."""
        means = torch.stack([self.projector(one).mean(dim=0) for one in features])
        return self.classifier(means)
