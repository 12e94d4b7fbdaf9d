"""A CNN with self-attention pooling: s3prl's `downstream/emotion/model.py`, CNNSelfAttention.

Differences, both for the sake of results that do not depend on the batch: what a convolution sees
behind an utterance's end is zero, and there is no dropout (s3prl: 0.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def parts(settings: Settings, width: int, classes: int) -> dict[str, nn.Module]:
    """Projector, three convolutions, attention, and two layers on what is pooled."""
    from torch import nn

    size, kernel = settings.hidden_dim, settings.kernel_size
    return {
        "projector": nn.Linear(width, settings.projector_dim),
        "convolutions": nn.ModuleList(
            nn.Conv1d(inputs, size, kernel, padding=kernel // 2)
            for inputs in (settings.projector_dim, size, size)
        ),
        "attention": nn.Linear(size, 1),
        "hidden": nn.Linear(size, size),
        "classifier": nn.Linear(size, classes),
    }


def forward(head: Any, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """See `heads`."""
    from torch.nn.functional import avg_pool1d

    pooling, kernel = head.settings.pooling, head.settings.kernel_size
    x_BDT = head.projector(x_BTD).transpose(1, 2)
    x_BDT = x_BDT * _valid(lengths_B, x_BDT.shape[2])
    x_BDT = avg_pool1d(x_BDT, kernel, pooling, kernel // 2)
    lengths_B = (lengths_B - 1).div(pooling, rounding_mode="floor") + 1
    for i, convolution in enumerate(head.convolutions):
        x_BDT = convolution(x_BDT * _valid(lengths_B, x_BDT.shape[2]))
        if i < len(head.convolutions) - 1:
            x_BDT = x_BDT.relu()
    x_BTD = x_BDT.transpose(1, 2)
    pooled_BD = attend(x_BTD, head.attention(x_BTD).squeeze(-1), lengths_B)
    logits_BC: Tensor = head.classifier(head.hidden(pooled_BD).relu())
    return logits_BC


def _valid(lengths_B: Tensor, size: int) -> Tensor:
    """[B, 1, T], true before each length."""
    import torch

    return (torch.arange(size, device=lengths_B.device) < lengths_B.unsqueeze(1)).unsqueeze(1)
