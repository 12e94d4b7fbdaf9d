"""Several processes that train one model: sums over them, and batch norm over their joined batch.

Gradients: `all_reduce_sum` is differentiable, and every process computes the same loss, so the
gradient that a process has for its own items is `world_size()` times the exact one. The mean over
the processes that `average_gradients` takes brings it back to the exact gradient of the joined
batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed
import torch.distributed.nn.functional
from torch import Tensor, nn


def start(device: str) -> str:
    """Join the other processes if torchrun started this one; returns this process's device.

    `cuda` becomes the GPU of this process's local rank. NCCL on GPUs, gloo on CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    return device


def world_size() -> int:
    """How many processes train together; 1 without torch.distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        torch.distributed.barrier()


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of `x` over the processes; its gradient is the sum over the processes too."""
    return torch.distributed.nn.functional.all_reduce(x) if world_size() > 1 else x


def all_gather(x: Tensor) -> Tensor:
    """Every process's `x`, equal in shape, one behind the other by rank. Not differentiable."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    torch.distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one exchange.

    DistributedDataParallel overlaps this with the backward pass, but allows one forward pass a
    step, where a recipe with several view families makes several. The models are small.
    """
    if world_size() == 1:
        return
    gradients = [one.grad for one in parameters if one.grad is not None]
    flat = torch.cat([one.flatten() for one in gradients])
    torch.distributed.all_reduce(flat)
    flat /= world_size()
    for one, mean in zip(gradients, flat.split([one.numel() for one in gradients])):
        one.copy_(mean.view_as(one))


class JointBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the joined batch of all processes, on any device.

    torch.nn.SyncBatchNorm does the same on GPUs alone. With one process, or in evaluation, this is
    torch's own batch norm.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C, …] over everything but C."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        size = all_reduce_sum(x.new_tensor(float(x.numel() // x.shape[1])))
        mean_C = all_reduce_sum(x.sum(dim=axes)) / size
        centred = x - mean_C.view(shape)
        variance_C = all_reduce_sum(centred.square().sum(dim=axes)) / size
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean_C, momentum)
                self.running_var.lerp_(variance_C * size / (size - 1).clamp(min=1), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        result = centred * (variance_C + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)


def join_batch_norms(module: nn.Module) -> None:
    """Turn every batch norm inside `module` into one over the joined batch, weights and all."""
    for child in module.modules():
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
            child.__class__ = JointBatchNorm
