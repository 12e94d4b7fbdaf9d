"""s3prl's own Runner, unmodified, with our initial weights and our batches.

For the tests that compare with it. It builds its own upstream, featurizer and task and trains,
evaluates and saves as it does; only the order of its training batches is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from barlow_speech import configs
from barlow_speech.downstream.heads._head import Head
from barlow_speech.downstream.s3prl import superb
from barlow_speech.upstream.common.settings import override, read_yaml
from barlow_speech.upstream.third_party.registry import register_upstream


def superb_config(task: str, changes: Sequence[str], patch: Any) -> dict[str, Any]:
    """SUPERB's configuration of one of s3prl's tasks, with `key.sub=value` laid over it."""
    config = override(read_yaml(configs.find("configuration", task)), changes)
    if task == "voxceleb1":
        register_upstream()
        from s3prl.downstream.voxceleb1 import dataset

        patch.setattr(dataset, "CACHE_PATH", dataset.CACHE_PATH)  # put back in the end
    superb.complete(task, config)
    return config


def s3prl_runner(
    task: str, config: dict[str, Any], checkpoint: Path, expdir: Path, dtype: torch.dtype
) -> Any:
    """s3prl's `downstream/runner.py: Runner` of one of its own tasks on a checkpoint of ours.

    In float64 the upstream computes in float64 behind its front-end, which gets the Runner's
    FloatTensors.
    """
    register_upstream()
    from s3prl.downstream.runner import Runner

    expdir.mkdir(parents=True)
    args = argparse.Namespace(
        init_ckpt=None,
        upstream="barlow_speech_local",
        upstream_ckpt=str(checkpoint),
        upstream_refresh=False,
        upstream_model_config=None,
        upstream_trainable=False,
        upstream_feature_selection="hidden_states",
        upstream_layer_selection=None,
        upstream_feature_normalize=False,
        downstream=task,
        downstream_variant=None,
        device="cpu",
        seed=1337,
        expdir=str(expdir),
        evaluate_split="test",
        push_to_hf_hub=False,
    )
    runner = Runner(args, config)
    for entry in runner.all_entries:
        entry.model.to(dtype)
    return runner


def begin_with(runner: Any, head: Head, outputs: Sequence[int]) -> None:
    """Give the Runner our initial weights; `outputs` are s3prl's numbers of our classes."""
    expert = runner.downstream.model
    last = expert.model.post_net.linear
    with torch.no_grad():
        runner.featurizer.model.weights.copy_(head.weights)
        expert.projector.load_state_dict(head.projector.state_dict())
        last.weight[list(outputs)] = head.classifier.weight.to(last.weight.dtype)
        last.bias[list(outputs)] = head.classifier.bias.to(last.bias.dtype)


def train_on(runner: Any, examples: Sequence[Any], batches: Sequence[Sequence[int]]) -> None:
    """Let the Runner train on these batches of places in `examples`, items of its own dataset."""
    expert = runner.downstream.model
    theirs = expert.get_dataloader
    ours = loader(examples, batches)
    expert.get_dataloader = lambda split: ours if split == "train" else theirs(split)
    runner.train()


def loader(examples: Sequence[Any], batches: Sequence[Sequence[int]]) -> DataLoader:
    """Batches of items as s3prl's three utterance tasks collate them."""
    return DataLoader(examples, batch_sampler=batches, collate_fn=lambda items: zip(*items))  # type: ignore[arg-type]


class Watched:
    """What a Runner's training and evaluation went through: by hooks, which change nothing.

    `losses` are those of every training batch, `norms` those of every step's gradient before it is
    clipped, `logits` those of what was evaluated last.
    """

    def __init__(self, runner: Any, patch: Any) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.logits: list[Tensor] = []
        expert = runner.downstream.model
        expert.register_forward_hook(self._loss)
        expert.model.register_forward_hook(self._logits)
        clip = torch.nn.utils.clip_grad_norm_

        def clipped(*arguments: Any) -> Tensor:
            norm = clip(*arguments)
            self.norms.append(norm.item())
            return norm

        patch.setattr(torch.nn.utils, "clip_grad_norm_", clipped)

    def _loss(self, module: Any, given: tuple[Any, ...], loss: Tensor) -> None:
        if given[0] == "train":
            self.losses.append(loss.item())

    def _logits(self, module: Any, given: tuple[Any, ...], said: tuple[Tensor, Any]) -> None:
        if not torch.is_grad_enabled():
            self.logits.append(said[0])


def taken(batches: Iterator[Tensor], count: int) -> list[list[int]]:
    """The first `count` batches."""
    return [next(batches).tolist() for _ in range(count)]
