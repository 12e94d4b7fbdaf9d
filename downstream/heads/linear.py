"""SUPERB's utterance head: weighted layers, Linear(D, P), mean over time, Linear(P, C).

What s3prl's `upstream/interfaces.py` (Featurizer) and its tasks speech_commands, emotion and
voxceleb1 (projector and UtteranceLevel with MeanPooling) compute. Everything before the mean is
linear, so the mean over time of every layer is all that it can see of a recording: exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUT = "mean"
NOTE = "SUPERB: weighted layers, linear, mean over time, linear; exact from the mean of each layer"


@dataclass(frozen=True)
class Settings:
    """`projector_dim` is P."""

    projector_dim: int = 256


def parts(settings: Settings, width: int, classes: int) -> dict[str, nn.Module]:
    """Projector and classifier."""
    from torch import nn

    return {
        "projector": nn.Linear(width, settings.projector_dim),
        "classifier": nn.Linear(settings.projector_dim, classes),
    }


def forward(head: Any, x_BD: Tensor) -> Tensor:
    """See `heads`."""
    logits_BC: Tensor = head.classifier(head.projector(x_BD))
    return logits_BC
