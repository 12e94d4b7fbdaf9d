"""LARS (You et al. 2017, arXiv 1708.03888), the optimiser of Barlow Twins for large batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """SGD with momentum whose step is scaled, per parameter, by trust · ‖w‖ / ‖g‖.

    As in the published code of Barlow Twins: parameters of groups with `adapt=False` (biases,
    norms) take the plain step, without weight decay where their group says so.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
        adapt: bool = True,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**defaults, "trust": trust, "adapt": adapt})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad.add(parameter, alpha=group["weight_decay"])
                if group["adapt"]:
                    weight, gradient = parameter.norm(), update.norm()
                    both = (weight > 0) & (gradient > 0)
                    ratio = group["trust"] * weight / gradient
                    update = update * torch.where(both, ratio, torch.ones_like(ratio))
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(update)
                parameter.sub_(state["momentum"], alpha=group["lr"])
