"""Attentive pooling over frames: s3prl's `downstream/model.py`, UtteranceLevel, AttentivePooling.

s3prl adds its boolean mask of valid frames to the attention logits, so that padding, too, takes
part in the mean and an utterance's result depends on its batch. Here padding is left out; without
padding the two are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUT = "frames"
NOTE = "weighted layers, linear, attentive pooling over the frames, linear; padding left out"


@dataclass(frozen=True)
class Settings:
    """`projector_dim` is P."""

    projector_dim: int = 256


def parts(settings: Settings, width: int, classes: int) -> dict[str, nn.Module]:
    """Projector, attention and classifier."""
    from torch import nn

    size = settings.projector_dim
    return {
        "projector": nn.Linear(width, size),
        "hidden": nn.Linear(size, size),
        "attention": nn.Linear(size, 1),
        "classifier": nn.Linear(size, classes),
    }


def forward(head: Any, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """See `heads`."""
    projected_BTP = head.projector(x_BTD)
    scores_BT = head.attention(head.hidden(projected_BTP).relu()).squeeze(-1)
    logits_BC: Tensor = head.classifier(attend(projected_BTP, scores_BT, lengths_B))
    return logits_BC


def attend(x_BTD: Tensor, scores_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """The mean [B, D] of the valid frames, weighted by the softmax of their scores."""
    import torch

    behind_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) >= lengths_B.unsqueeze(1)
    share_BT = scores_BT.masked_fill(behind_BT, -torch.inf).softmax(dim=1)
    return torch.einsum("bt,btd->bd", share_BT, x_BTD)
