"""The rows that runs train on: the order of each run's epochs, and the batches of their steps.

Shapes: N utterances, R runs, B batch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.upstream.common.ahead import Ahead

TOGETHER = 256  # steps whose rows are made at once


def step_batches(
    labels_N: Tensor,
    training: Training,
    plans: Sequence[RunPlan],
    device: torch.device,
    dtype: torch.dtype,
    together: int = TOGETHER,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows [R, B] of each step of all runs, and the weight [B] of every row in the step's loss.

    Every run's rows are those of `row_batches`, `accumulate` batches a step. Those of `together`
    steps are made at once, for a GPU in a thread: it takes less time over a step than Python over
    fifty small tensors. Epochs of several runs are drawn at a time, since one of 50,000 rows takes
    as long as 20 steps on a GPU.
    """
    epochs = [_row_epochs(labels_N, training, plan) for plan in plans]
    pool = ThreadPoolExecutor(min(len(plans), torch.get_num_threads()))
    left = [torch.empty(0, dtype=torch.int32) for _ in plans]  # of what was drawn
    sizes = deque[int]()  # of the batches in it
    parts = deque[list[int]]()  # sizes of the steps that were made

    def make(first: int) -> list[Tensor]:
        count = min(together, training.steps - first) * training.accumulate
        while len(sizes) < count:
            drawn = list(pool.map(next, epochs))
            left[:] = [torch.cat(pair) for pair in zip(left, drawn)]
            sizes.extend(len(one) for one in drawn[0].split(training.batch))
        mine = torch.tensor([sizes.popleft() for _ in range(count)])
        rows_RX = torch.stack([one[: int(mine.sum())] for one in left]).long()
        left[:] = [one[rows_RX.shape[1] :] for one in left]
        weights_X = (1.0 / (mine.double() * training.accumulate)).repeat_interleave(mine)
        parts.append(mine.view(-1, training.accumulate).sum(dim=1).tolist())
        return [rows_RX, weights_X.to(dtype)]

    ahead = Ahead(make, device) if device.type != "cpu" else None
    for first in range(0, training.steps, together):
        after = first + together
        rows_RX, weights_X = (
            make(first) if ahead is None
            else ahead.take(first, after if after < training.steps else None)
        )  # fmt: skip
        steps = parts.popleft()
        whole = None  # of a step of whole batches: one tensor for all, which nobody copies twice
        for rows_RB, weights_B in zip(rows_RX.split(steps, dim=1), weights_X.split(steps)):
            if len(weights_B) == training.batch * training.accumulate:
                weights_B = whole = weights_B if whole is None else whole
            yield rows_RB, weights_B


def row_batches(labels_N: Tensor, training: Training, plan: RunPlan) -> Iterator[Tensor]:
    """Endless batches of the row numbers that one run trains on."""
    return _batches(_row_epochs(labels_N, training, plan), training.batch)


def batch_order(count: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of row numbers: shuffled epochs, the last batch of each as short as it is.

    That is torch's DataLoader with shuffle=True. The order comes from a generator of its own, so
    that it does not depend on how many numbers the initialisation drew.
    """
    return _batches(_shuffled(count, seed), batch)


def balanced_order(labels_N: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches drawn with replacement, each class with the same probability.

    That is torch's WeightedRandomSampler of s3prl's `downstream/speech_commands/expert.py`, with
    drop_last.
    """
    return _batches(_balanced(labels_N, batch, seed), batch)


def training_rows(labels_N: Tensor, fraction: float, seed: int | None) -> Tensor:
    """The row numbers of a run's training set.

    The whole set; with a `seed`, as many rows drawn with replacement (a bootstrap sample). A
    `fraction` below 1 takes that share of each class, rounded up, without replacement: drawn by the
    seed, or without one the same for every run.
    """
    count = len(labels_N)
    if fraction >= 1 and seed is None:
        return torch.arange(count)
    generator = torch.Generator().manual_seed((seed or 0) + (2 << 32))
    if fraction >= 1:
        return torch.randint(count, (count,), generator=generator)
    shuffled_N = torch.randperm(count, generator=generator)
    kept = []
    for label in labels_N.unique():
        of_class = shuffled_N[labels_N[shuffled_N] == label]
        share = round(fraction * len(of_class), 9)  # 0.55 of 100 is 55.00000000000001
        kept.append(of_class[: math.ceil(share)])
    return torch.cat(kept).sort().values


def _row_epochs(labels_N: Tensor, training: Training, plan: RunPlan) -> Iterator[Tensor]:
    """Endless epochs of row numbers, in 32 bits, since many runs keep one each."""
    labels_N = labels_N.cpu()
    rows_N = None  # all of them, in their order
    if training.label_fraction < 1 or plan.resample is not None:
        rows_N = training_rows(labels_N, training.label_fraction, plan.resample)
        labels_N = labels_N[rows_N]
    if training.sampling == "balanced":
        epochs = _balanced(labels_N, training.batch, plan.order)
    else:
        epochs = _shuffled(len(labels_N), plan.order)
    for epoch in epochs:
        yield epoch if rows_N is None else rows_N[epoch.long()].int()


def _shuffled(count: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed + (1 << 32))
    while True:
        yield torch.randperm(count, generator=generator).int()


def _balanced(labels_N: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed + (1 << 32))
    weights_N = 1.0 / torch.bincount(labels_N)[labels_N].double()
    count = len(labels_N)
    whole = max(1, count // batch) * batch
    while True:
        drawn = torch.multinomial(weights_N, max(count, whole), True, generator=generator)
        yield drawn[:whole].int()


def _batches(epochs: Iterator[Tensor], batch: int) -> Iterator[Tensor]:
    for epoch in epochs:
        for part in epoch.split(batch):
            yield part.long()
