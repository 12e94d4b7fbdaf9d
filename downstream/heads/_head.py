"""The module that a head's file describes: weighted layers, then what the file makes of them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """One head that is trained by gradient descent: layer weights, and the `parts` of its file."""

    def __init__(
        self, file: ModuleType, settings: Any, layers: int, width: int, classes: int
    ) -> None:
        super().__init__()
        self.settings, self.compute = settings, file.forward
        self.weights = nn.Parameter(torch.zeros(layers))
        for name, part in file.parts(settings, width, classes).items():
            self.add_module(name, part)

    def forward(self, x: Tensor, *lengths_B: Tensor) -> Tensor:
        """Means [B, L, D], or frames [B, T, L, D] and their lengths → logits [B, C]."""
        equation = "l,bld->bd" if x.ndim == 3 else "l,btld->btd"
        summed = torch.einsum(equation, self.weights.softmax(0), x)
        logits_BC: Tensor = self.compute(self, summed, *lengths_B)
        return logits_BC
