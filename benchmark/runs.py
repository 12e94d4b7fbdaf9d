"""Many runs of one head at once: the exact, pooled and stacked form of SUPERB's utterance training.

The head is that of `downstream/head.py`. Its input is the mean over time of every layer,
pooled_NLD, and R runs train as one stacked tensor: the same initialisation, batches, losses,
clipped gradients and Adam steps as R runs one after the other through s3prl's Runner.

Shapes: N utterances, L layers, D width, R runs, B batch, P projector, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

EVALUATION_FLOATS = 1 << 24  # numbers in the largest block while evaluating, 64 MiB


@dataclass(frozen=True)
class Training:
    """How one head is trained: Adam at a fixed rate, clipped per run, the best on dev is kept."""

    steps: int
    batch: int
    lr: float
    eval_step: int
    clip: float = 1.0
    projector_dim: int = 256


@dataclass(frozen=True)
class Split:
    """pooled_NLD of a split's utterances and their class numbers."""

    pooled_NLD: Tensor
    labels_N: Tensor


@dataclass(frozen=True)
class Run:
    """What one run gave: `dev` and `test` are top-1 of the weights that were best on dev.

    `step` is where that was; `predicted` the class number of every test utterance.
    """

    seed: int
    dev: float
    step: int
    test: float
    predicted: list[int]


class Heads:
    """The parameters of R heads, stacked; run r is initialised from `seeds[r]` alone."""

    def __init__(
        self, layers: int, width: int, classes: int, projector_dim: int, seeds: Sequence[int]
    ) -> None:
        first = _linear(width, projector_dim), _linear(projector_dim, classes)
        drawn = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            drawn.append([one for shape in first for one in shape(generator)])
        w1, b1, w2, b2 = (torch.stack(parts) for parts in zip(*drawn))
        self.weights_RL = torch.zeros(len(seeds), layers)
        self.w1_RDP, self.b1_R1P, self.w2_RPC, self.b2_R1C = w1, b1, w2, b2

    def parameters(self) -> list[Tensor]:
        """Every stacked tensor."""
        return [self.weights_RL, self.w1_RDP, self.b1_R1P, self.w2_RPC, self.b2_R1C]

    def to(self, device: torch.device, dtype: torch.dtype) -> Heads:
        """Move to a device, as leaves that take gradients."""
        moved = [one.to(device, dtype).requires_grad_() for one in self.parameters()]
        self.weights_RL, self.w1_RDP, self.b1_R1P, self.w2_RPC, self.b2_R1C = moved
        return self

    def logits(self, pooled_RBLD: Tensor) -> Tensor:
        """[R, B, C] for each run's own batch; [1, B, L, D] gives every run the same one."""
        share_RL = self.weights_RL.softmax(dim=1)
        runs, batch, layers, width = len(share_RL), *pooled_RBLD.shape[1:]
        flat_RLX = pooled_RBLD.transpose(1, 2).reshape(len(pooled_RBLD), layers, batch * width)
        summed_RBD = (share_RL.unsqueeze(1) @ flat_RLX).view(runs, batch, width)
        projected_RBP = torch.baddbmm(self.b1_R1P, summed_RBD, self.w1_RDP)
        return torch.baddbmm(self.b2_R1C, projected_RBP, self.w2_RPC)


def _linear(inputs: int, outputs: int) -> Callable[[torch.Generator], tuple[Tensor, Tensor]]:
    """Draws torch.nn.Linear's own initialisation, U(±1/√I): weight [I, O] and bias [1, O]."""
    bound = 1 / math.sqrt(inputs)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        weight = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
        bias = torch.empty(1, outputs).uniform_(-bound, bound, generator=generator)
        return weight.T.contiguous(), bias

    return draw


def batch_order(count: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of row numbers: shuffled epochs, the last batch of each as short as it is.

    That is torch's DataLoader with shuffle=True. The order comes from a generator of its own, so
    that it does not depend on how many numbers the initialisation drew.
    """
    generator = torch.Generator().manual_seed(seed + (1 << 32))
    while True:
        yield from torch.randperm(count, generator=generator).split(batch)


def clip_per_run(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale each run's gradients in place to a joint norm of at most `limit`.

    As torch.nn.utils.clip_grad_norm_ does for one run.
    """
    norms = [torch.linalg.vector_norm(one.flatten(1), dim=1) for one in gradients]
    norm_R = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    scale_R = (limit / (norm_R + 1e-6)).clamp(max=1.0)
    for one in gradients:
        one.mul_(scale_R.view(-1, *[1] * (one.ndim - 1)))


def train_runs(
    train: Split,
    dev: Split,
    test: Split | None,
    classes: int,
    training: Training,
    seeds: Sequence[int],
    on_step: Callable[[], None] = lambda: None,
    on_loss: Callable[[Tensor], None] = lambda losses_R: None,
) -> list[Run]:
    """Train one head per seed, all at once, on the device and in the dtype of `train.pooled_NLD`.

    Dev is looked at every `eval_step` steps and after the last; `test` once per run, with the
    weights that were best on dev (the earliest of equals), and not at all when it is None (then
    `Run.test` is NaN). `on_step` is called after every step, `on_loss` with each step's losses [R].
    """
    pooled_NLD, labels_N = train.pooled_NLD, train.labels_N
    count, layers, width = pooled_NLD.shape
    heads = Heads(layers, width, classes, training.projector_dim, seeds)
    heads.to(pooled_NLD.device, pooled_NLD.dtype)
    parameters = heads.parameters()
    adam = torch.optim.Adam(parameters, lr=training.lr, fused=True)
    orders = [batch_order(count, training.batch, seed) for seed in seeds]
    best = [one.detach().clone() for one in parameters]
    best_right = torch.full((len(seeds),), -1, device=pooled_NLD.device)  # on dev, recordings
    best_step = torch.zeros_like(best_right)
    for step in range(1, training.steps + 1):
        rows_RB = torch.stack([next(order) for order in orders]).to(pooled_NLD.device)
        logits_RBC = heads.logits(pooled_NLD[rows_RB])
        losses_R = torch.nn.functional.cross_entropy(
            logits_RBC.transpose(1, 2), labels_N[rows_RB], reduction="none"
        ).mean(dim=1)
        on_loss(losses_R.detach())
        # The runs share no parameter: the gradient of the sum is each run's own gradient.
        losses_R.sum().backward()
        if training.clip > 0:
            clip_per_run([one.grad for one in parameters if one.grad is not None], training.clip)
        adam.step()
        adam.zero_grad(set_to_none=True)
        if step % training.eval_step == 0 or step == training.steps:
            with torch.no_grad():
                right_R = (predict(heads, dev.pooled_NLD) == dev.labels_N).sum(dim=1)
                better_R = right_R > best_right
                best_right = torch.maximum(right_R, best_right)
                best_step[better_R] = step
                for kept, now in zip(best, parameters):
                    kept[better_R] = now[better_R]
        on_step()
    with torch.no_grad():
        for now, kept in zip(parameters, best):
            now.copy_(kept)
        predicted_RN = None if test is None else predict(heads, test.pooled_NLD).cpu().numpy()
    results = []
    for run, seed in enumerate(seeds):
        predicted = np.zeros(0) if predicted_RN is None else predicted_RN[run]
        top1 = (
            math.nan if test is None else float(np.mean(predicted == test.labels_N.cpu().numpy()))
        )
        dev_top1 = int(best_right[run]) / len(dev.labels_N)
        results.append(
            Run(seed, dev_top1, int(best_step[run]), top1, [int(one) for one in predicted])
        )
    return results


def predict(heads: Heads, pooled_NLD: Tensor) -> Tensor:
    """The class [R, N] that each head gives to each utterance, in blocks of bounded memory."""
    runs, (_, _, width) = len(heads.weights_RL), pooled_NLD.shape
    largest = max(width, heads.w1_RDP.shape[2], heads.w2_RPC.shape[2])
    block = max(1, EVALUATION_FLOATS // (runs * largest))
    return torch.cat(
        [heads.logits(part.unsqueeze(0)).argmax(dim=2) for part in pooled_NLD.split(block)], dim=1
    )
