"""Many runs of one head at once: the exact, stacked form of SUPERB's utterance training.

R runs train as one stacked tensor: the same initialisation, batches, losses, clipped gradients and
Adam steps as R runs one after the other through s3prl's Runner (`downstream/runner.py`).

Shapes: N utterances, R runs, B batch, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from barlow_speech.benchmark.evaluation.protocol import Run, RunPlan, Training
from barlow_speech.benchmark.evaluation.training.batched_heads import (
    BatchedHeads,
    batched_heads,
    predict,
)
from barlow_speech.benchmark.evaluation.training.batches import step_batches, training_rows
from barlow_speech.benchmark.evaluation.training.inputs import Inputs, Means
from barlow_speech.benchmark.evaluation.training.linear_kernel import linear_kernel
from barlow_speech.benchmark.statistics.metrics import metrics, score
from barlow_speech.downstream.heads import head_module, head_settings
from barlow_speech.upstream.common.captured import Captured, recorder
from barlow_speech.upstream.common.errors import BarlowSpeechError

TOGETHER_BYTES = 1 << 29  # of what runs that are trained at once keep, each for itself


@dataclass(frozen=True)
class Split:
    """The utterances of a split and their class numbers."""

    inputs: Inputs
    labels_N: Tensor


def train_runs(
    head: dict[str, Any],
    train: Split,
    dev: Split,
    test: Split | None,
    classes: int,
    training: Training,
    plans: Sequence[RunPlan],
    on_step: Callable[[float], Any] = lambda share: None,
    on_loss: Callable[[Tensor], None] | None = None,
) -> list[Run]:
    """One head per plan, in the order of the plans, on the device and in the dtype of `train`.

    `head` is its name and settings (downstream/heads). Runs are trained side by side, as many as
    memory is set aside for; none depends on the others. Dev is looked at every `eval_step` steps
    and after the last; `test` once per run, with the weights that were best on dev (the earliest of
    equals), and not at all when it is None. `on_step` is called after every step with the share of
    the runs that made it, `on_loss` with each step's losses [R].

    Raises:
        BarlowSpeechError: the loss of a run is not finite, in a training whose test is asked for.
    """
    module = head_module(head["name"])
    settings = head_settings(head)
    if not hasattr(module, "parts"):
        return _fit(module, settings, train, dev, test, classes, training, plans, on_step)
    order = sorted(range(len(plans)), key=lambda i: plans[i].lr)  # equal rates stand together
    probe = batched_heads(module, settings, train.inputs, classes, [0])
    numbers = sum(one.numel() for one in probe.parameters)
    # Weights, the best ones, gradients and two moments; the rows of the training set (int64) and
    # their order (int32); the predictions for a split, twice.
    evaluated = max(len(split.labels_N) for split in (dev, test) if split is not None)
    bytes_of_one = 5 * numbers * probe.parameters[0].element_size()
    bytes_of_one += 12 * len(train.labels_N) + 16 * evaluated
    together = max(1, TOGETHER_BYTES // bytes_of_one)
    results: dict[int, Run] = {}
    for start in range(0, len(order), together):
        part = order[start : start + together]
        chosen = [plans[i] for i in part]
        heads = batched_heads(module, settings, train.inputs, classes, [p.init for p in chosen])
        share = len(part) / len(plans)
        runs = _train(
            heads, train, dev, test, classes, training, chosen, partial(on_step, share), on_loss
        )
        results.update(zip(part, runs))
    return [results[i] for i in range(len(plans))]


def _train(
    heads: BatchedHeads,
    train: Split,
    dev: Split,
    test: Split | None,
    classes: int,
    training: Training,
    plans: Sequence[RunPlan],
    on_step: Callable[[], Any],
    on_loss: Callable[[Tensor], None] | None,
) -> list[Run]:
    device = train.inputs.device
    one_step = _stepper(heads, train, training, [plan.lr for plan in plans])
    batches = step_batches(train.labels_N, training, plans, device, train.inputs.dtype)
    best = [one.detach().clone() for one in heads.parameters]
    best_R = torch.full((len(plans),), -1.0, dtype=torch.float64, device=device)
    best_step = torch.zeros(len(plans), dtype=torch.long, device=device)
    curve: list[tuple[int, Tensor]] = []
    for step, batch in zip(range(1, training.steps + 1), batches):
        losses_R = one_step(*batch)
        if on_loss is not None:
            on_loss(losses_R.clone())  # the next step may write over it
        if step % training.eval_step == 0 or step == training.steps:
            with torch.no_grad():
                predicted_RN = predict(heads, dev.inputs)
                now_R = score(predicted_RN, dev.labels_N, classes, training.selection)
                curve.append((step, now_R))
                better_R = now_R > best_R
                best_R = torch.maximum(now_R, best_R)
                best_step[better_R] = step
                for kept, now in zip(best, heads.parameters):
                    kept[better_R] = now[better_R]
        on_step()
    if test is not None and not torch.isfinite(losses_R).all():
        bad = int((~torch.isfinite(losses_R)).nonzero()[0])
        raise BarlowSpeechError(
            f"the loss of the run with seed {plans[bad].seed} is not finite at a learning rate of "
            f"{plans[bad].lr:g}; lower the rate, or look at the features."
        )
    with torch.no_grad():
        for now, kept in zip(heads.parameters, best):
            now.copy_(kept)
        predicted = np.zeros((len(plans), 0), dtype=np.int64)
        if test is not None:
            smallest = np.min_scalar_type(classes - 1)  # of many runs, they are all that is kept
            predicted = predict(heads, test.inputs).cpu().numpy().astype(smallest)
    return [
        Run(
            plan.seed,
            float(best_R[i]),
            int(best_step[i]),
            tuple((step, float(now_R[i])) for step, now_R in curve),
            predicted[i],
        )
        for i, plan in enumerate(plans)
    ]


def _stepper(
    heads: BatchedHeads, train: Split, training: Training, rates: Sequence[float]
) -> Callable[[Tensor, Tensor], Tensor]:
    """What makes one step of every run: rows [R, B] and weights [B] → the losses [R] before it."""
    kernel = linear_kernel(heads, train.inputs, train.labels_N, training, rates)
    if kernel is not None:
        return kernel.step
    step = TorchSteps(heads, train, training, rates).step
    # Frames are the CPU's.
    return (
        Captured(step, recorder(train.inputs.device)) if isinstance(train.inputs, Means) else step
    )


class TorchSteps:
    """Any heads, on any device: their own gradients, and torch's optimiser."""

    def __init__(
        self, heads: BatchedHeads, train: Split, training: Training, rates: Sequence[float]
    ) -> None:
        self.heads, self.train, self.clip = heads, train, training.clip
        spans = [list(span) for _, span in itertools.groupby(range(len(rates)), lambda i: rates[i])]
        self.optimisers = [
            _Optimiser(heads, slice(span[0], span[-1] + 1), rates[span[0]], training)
            for span in spans
        ]

    def step(self, rows_RB: Tensor, weights_B: Tensor) -> Tensor:
        """One step of every run on its own rows; the losses [R] before it (`BatchedHeads.step`)."""
        labels_RB = self.train.labels_N[rows_RB]
        losses_R = self.heads.step(self.train.inputs, rows_RB, labels_RB, weights_B, self.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        for one in self.heads.parameters:
            if one.requires_grad:  # autograd adds to it; the linear heads write over it
                one.grad = None
        return losses_R


class _Optimiser:
    """torch's fused optimiser of the runs of one learning rate, over their span of the heads."""

    def __init__(self, heads: BatchedHeads, span: slice, lr: float, training: Training) -> None:
        self.parameters, self.span = heads.parameters, span
        self.views = [one.detach()[span] for one in self.parameters]
        self.optimiser = fused_optimiser(self.views, lr, training, self.views[0].is_cuda)

    def step(self) -> None:
        for view, whole in zip(self.views, self.parameters):
            assert whole.grad is not None
            view.grad = whole.grad[self.span]
        self.optimiser.step()


def fused_optimiser(
    parameters: Any, lr: float, training: Training, capturable: bool = False
) -> torch.optim.Optimizer:
    """torch's fused optimiser of a training, for parameters or groups of them.

    One that is `capturable` may be part of a CUDA graph.
    """
    kind: Any = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    options = {"weight_decay": training.weight_decay, "fused": True, "lr": lr}
    if capturable and training.optimiser != "sgd":  # which counts no steps
        options["capturable"] = True
    return kind[training.optimiser](parameters, **options)


def _fit(
    module: Any,
    settings: Any,
    train: Split,
    dev: Split,
    test: Split | None,
    classes: int,
    training: Training,
    plans: Sequence[RunPlan],
    on_step: Callable[[float], Any],
) -> list[Run]:
    """Closed forms, one after the other; plans that fit the same training set share one fit."""

    def flat(split: Split) -> np.ndarray:
        assert isinstance(split.inputs, Means)
        rows_N = torch.arange(len(split.inputs), device=split.inputs.device)
        return split.inputs.take(rows_N).flatten(1).cpu().numpy()

    train_NX, dev_NX = flat(train), flat(dev)
    test_NX = None if test is None else flat(test)
    labels_N, dev_labels_N = train.labels_N.cpu().numpy(), dev.labels_N.cpu().numpy()

    def chosen_by(labels_N: np.ndarray, predicted_N: np.ndarray) -> float:
        return metrics(labels_N, predicted_N, classes)[training.selection]

    fitted: dict[int | None, Run] = {}
    for plan in plans:
        if plan.resample not in fitted:
            rows_N = training_rows(
                train.labels_N.cpu(), training.label_fraction, plan.resample
            ).numpy()
            say = module.fit(
                settings, train_NX[rows_N], labels_N[rows_N], dev_NX, dev_labels_N, plan.init,
                chosen_by,
            )  # fmt: skip
            best = chosen_by(dev_labels_N, say(dev_NX))
            predicted = np.zeros(0, np.int64) if test_NX is None else np.asarray(say(test_NX))
            fitted[plan.resample] = Run(plan.seed, best, 0, (), predicted)
        on_step(1 / len(plans))
    return [replace(fitted[plan.resample], seed=plan.seed) for plan in plans]
