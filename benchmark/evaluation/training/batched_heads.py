"""Many heads as one stacked tensor: losses, gradients and predictions of R runs at once.

The linear head, which most results come from, has its gradient written out by hand: its inner
dimension (a batch) is so small against its weights that autograd, clipping and a loop over runs
would spend their time moving memory. Any other head takes torch.func.

Shapes: R runs, B batch, T frames, L layers, D width, P projector, C classes, N utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from barlow_speech.benchmark.evaluation.training.inputs import Inputs, Means
from barlow_speech.downstream.heads import linear
from barlow_speech.downstream.heads._head import Head
from barlow_speech.upstream.model.speech_encoder import seeded

EVALUATION_FLOATS = 1 << 24  # numbers in the largest block while evaluating, 64 MiB


class BatchedHeads(Protocol):
    """R heads of one kind, stacked: `parameters` each have R as their first dimension."""

    parameters: list[Tensor]

    def step(self, inputs: Inputs, rows_RB: Tensor, labels_RB: Tensor, weights_B: Tensor,
             clip: float) -> Tensor:  # fmt: skip
        """Losses [R] of each run's own batch; gradients, clipped per run, go into `.grad`.

        A run's loss is the sum of its rows' cross-entropies, weighted by `weights_B`.
        """
        ...

    def logits(self, inputs: Inputs, rows_N: Tensor) -> Tensor:
        """[R, N, C]: what every head says of the same rows."""
        ...


def batched_heads(
    module: Any, settings: Any, inputs: Inputs, classes: int, seeds: Sequence[int]
) -> BatchedHeads:
    """One head per seed, each initialised by its seed alone as torch initialises its layers."""
    heads = []
    for seed in seeds:
        with seeded(seed):
            heads.append(Head(module, settings, inputs.layers, inputs.width, classes))
    kind = BatchedLinear if module.forward is linear.forward else BatchedFunctional
    return kind([head.to(inputs.device, inputs.dtype) for head in heads])


def predict(heads: BatchedHeads, inputs: Inputs) -> Tensor:
    """The class [R, N] that each head gives to each utterance, in blocks of bounded memory."""
    return torch.cat(
        [
            heads.logits(inputs, rows_N).argmax(dim=2)
            for rows_N in inputs.blocks(len(heads.parameters[0]), EVALUATION_FLOATS)
        ],
        dim=1,
    )


class BatchedLinear:
    """R linear heads (downstream/heads/linear.py) on means over time.

    The gradient of the projector, P × D for each run, is never clipped or measured as such. It is a
    product AᵀX over an inner dimension K, so its norm comes from two K × K matrices
    (‖AᵀX‖² = Σ AAᵀ ∘ XXᵀ) and its clipping is a factor on A. With fewer classes than rows in a
    batch, the two layers are multiplied first and K is the classes (A the second layer, X what its
    gradient sees of the input); else K is the batch.
    """

    def __init__(self, heads: Sequence[Any]) -> None:
        with torch.no_grad():
            self.weights_RL = torch.stack([head.weights for head in heads])
            self.w1_RPD = torch.stack([head.projector.weight for head in heads])
            self.b1_R1P = torch.stack([head.projector.bias[None] for head in heads])
            self.w2_RCP = torch.stack([head.classifier.weight for head in heads])
            self.b2_R1C = torch.stack([head.classifier.bias[None] for head in heads])
        self.parameters = [self.weights_RL, self.w1_RPD, self.b1_R1P, self.w2_RCP, self.b2_R1C]
        for one in self.parameters:
            one.grad = torch.zeros_like(one)

    def step(
        self, inputs: Inputs, rows_RB: Tensor, labels_RB: Tensor, weights_B: Tensor, clip: float
    ) -> Tensor:
        """See `BatchedHeads`."""
        assert isinstance(inputs, Means)
        runs, batch = rows_RB.shape
        share_RL = self.weights_RL.softmax(dim=1)
        layers_RLX = inputs.by_layer(rows_RB).flatten(2)  # X = B · D
        x_RBD = (share_RL.unsqueeze(1) @ layers_RLX).view(runs, batch, -1)
        w2_RPC = self.w2_RCP.transpose(1, 2)
        joined = self.w2_RCP.shape[1] < batch
        if joined:
            both_RCD = self.w2_RCP @ self.w1_RPD
            bias_R1C = torch.baddbmm(self.b2_R1C, self.b1_R1P, w2_RPC)
            z_RBC = torch.baddbmm(bias_R1C, x_RBD, both_RCD.transpose(1, 2))
        else:
            y_RBP = torch.baddbmm(self.b1_R1P, x_RBD, self.w1_RPD.transpose(1, 2))
            z_RBC = torch.baddbmm(self.b2_R1C, y_RBP, w2_RPC)
        logp_RBC = z_RBC.log_softmax(dim=2)
        picked_RB1 = labels_RB.unsqueeze(2)
        losses_R = -(logp_RBC.gather(2, picked_RB1).squeeze(2) * weights_B).sum(dim=1)
        dz_RBC = logp_RBC.exp_()
        dz_RBC.scatter_(2, picked_RB1, -1, reduce="add")
        dz_RBC *= weights_B.unsqueeze(1)
        dz_RCB, db2_R1C = dz_RBC.transpose(1, 2), dz_RBC.sum(dim=1, keepdim=True)
        if joined:
            a_RKP, x_RKD = self.w2_RCP, dz_RCB @ x_RBD
            dw2_RCP = x_RKD @ self.w1_RPD.transpose(1, 2)
            dw2_RCP.addcmul_(db2_R1C.transpose(1, 2), self.b1_R1P)
            db1_R1P = db2_R1C @ self.w2_RCP
        else:
            a_RKP, x_RKD = dz_RBC @ self.w2_RCP, x_RBD
            dw2_RCP = dz_RCB @ y_RBP
            db1_R1P = a_RKP.sum(dim=1, keepdim=True)
        dweights_RL = torch.zeros_like(share_RL)
        if inputs.layers > 1:  # the share of a single layer is 1 whatever its weight
            dx_RBD = dz_RBC @ both_RCD if joined else a_RKP @ self.w1_RPD
            dshare_RL = (dx_RBD.view(runs, 1, -1) @ layers_RLX.transpose(1, 2)).squeeze(1)
            dweights_RL = torch.ops.aten._softmax_backward_data(
                dshare_RL, share_RL, 1, share_RL.dtype
            )
        small = [dweights_RL, db1_R1P, dw2_RCP, db2_R1C]
        places = [_gradient(one) for one in (self.weights_RL, *self.parameters[2:])]
        if clip > 0:
            small_RX = torch.cat([one.flatten(1) for one in small], dim=1)
            square_R = _square_of_product(a_RKP, x_RKD) + small_RX.square().sum(dim=1)
            # As torch.nn.utils.clip_grad_norm_ does it for one run.
            scale_R = (clip / (square_R.clamp(min=0).sqrt() + 1e-6)).clamp(max=1.0)
            a_RKP = a_RKP * scale_R[:, None, None]
            for place, gradient in zip(places, small):
                scale = scale_R.view(-1, *[1] * (gradient.ndim - 1))
                torch.mul(gradient, scale, out=place)
        else:
            for place, gradient in zip(places, small):
                place.copy_(gradient)
        torch.bmm(a_RKP.transpose(1, 2), x_RKD, out=_gradient(self.w1_RPD))
        return losses_R

    def logits(self, inputs: Inputs, rows_N: Tensor) -> Tensor:
        """See `BatchedHeads`. All runs in one matrix product over layers and width."""
        assert isinstance(inputs, Means)
        share_RL = self.weights_RL.softmax(dim=1)
        runs, projector, width = self.w1_RPD.shape
        classes = self.w2_RCP.shape[1]
        # With few classes the two layers are one matrix, smaller than either.
        joined = width * classes < projector * (width + classes)
        first_RPD = self.w2_RCP @ self.w1_RPD if joined else self.w1_RPD
        weighted_RPLD = share_RL[:, None, :, None] * first_RPD.unsqueeze(2)
        weighted_YX = weighted_RPLD.reshape(runs * first_RPD.shape[1], -1)
        out_NY = inputs.take(rows_N).flatten(1) @ weighted_YX.T
        out_RNP = out_NY.view(len(rows_N), runs, -1).transpose(0, 1)
        second_RPC = self.w2_RCP.transpose(1, 2)
        if joined:
            return out_RNP + torch.baddbmm(self.b2_R1C, self.b1_R1P, second_RPC)
        return torch.baddbmm(self.b2_R1C, out_RNP + self.b1_R1P, second_RPC)


class BatchedFunctional:
    """R heads of any kind through torch.func: one forward of the module, mapped over the runs."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        stacked, _ = torch.func.stack_module_state(list(heads))
        self.names = list(stacked)
        self.parameters = [one.detach().requires_grad_() for one in stacked.values()]
        self.head = heads[0]

    def step(
        self, inputs: Inputs, rows_RB: Tensor, labels_RB: Tensor, weights_B: Tensor, clip: float
    ) -> Tensor:
        """See `BatchedHeads`."""
        with torch.enable_grad():
            logits_RBC = self._forward(inputs.examples(rows_RB), 0)
            losses_RB = nn.functional.cross_entropy(
                logits_RBC.transpose(1, 2), labels_RB, reduction="none"
            )
            losses_R = (losses_RB * weights_B).sum(dim=1)
            # The runs share no parameter: the gradient of the sum is each run's own gradient.
            losses_R.sum().backward()
        if clip > 0:
            clip_per_run([_gradient(one) for one in self.parameters], clip)
        return losses_R.detach()

    def logits(self, inputs: Inputs, rows_N: Tensor) -> Tensor:
        """See `BatchedHeads`."""
        return self._forward(inputs.examples(rows_N), None)

    def _forward(self, examples: tuple[Tensor, ...], examples_dim: int | None) -> Tensor:
        def one(parameters: tuple[Tensor, ...], *batch: Tensor) -> Tensor:
            named = dict(zip(self.names, parameters))
            return torch.func.functional_call(self.head, named, batch)

        dims = (0, *[examples_dim] * len(examples))
        return torch.vmap(one, in_dims=dims)(tuple(self.parameters), *examples)


def clip_per_run(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale each run's gradients in place to a joint norm of at most `limit`.

    As torch.nn.utils.clip_grad_norm_ does for one run.
    """
    norms = [torch.linalg.vector_norm(one.flatten(1), dim=1) for one in gradients]
    norm_R = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    scale_R = (limit / (norm_R + 1e-6)).clamp(max=1.0)
    for one in gradients:
        one.mul_(scale_R.view(-1, *[1] * (one.ndim - 1)))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _square_of_product(x_RBD: Tensor, y_RBP: Tensor) -> Tensor:
    """‖XᵀY‖² of each run, [R], from its B × B Gram matrices."""
    return ((x_RBD @ x_RBD.transpose(1, 2)) * (y_RBP @ y_RBP.transpose(1, 2))).sum(dim=(1, 2))
