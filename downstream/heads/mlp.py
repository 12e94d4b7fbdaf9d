"""A multi-layer perceptron on the mean over time: weighted layers, then hidden layers with ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUT = "mean"
NOTE = "weighted layers, mean over time, then an MLP with ReLU"


@dataclass(frozen=True)
class Settings:
    """The sizes of the hidden layers."""

    hidden: tuple[int, ...] = (256,)


def parts(settings: Settings, width: int, classes: int) -> dict[str, nn.Module]:
    """Hidden layers and classifier."""
    from torch import nn

    sizes = [width, *settings.hidden]
    return {
        "hidden": nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(sizes)),
        "classifier": nn.Linear(sizes[-1], classes),
    }


def forward(head: Any, x_BD: Tensor) -> Tensor:
    """See `heads`."""
    for layer in head.hidden:
        x_BD = layer(x_BD).relu()
    logits_BC: Tensor = head.classifier(x_BD)
    return logits_BC
