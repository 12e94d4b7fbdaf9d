"""Our stacked training against s3prl's own Runner, on SUPERB's three utterance tasks.

s3prl reads generated corpora in their official layouts, builds its own Featurizer, DownstreamExpert
and optimiser, and `Runner.train()` trains them with its own accumulation and clipping, one seed
after the other. We train all seeds at once on means over time. It starts with our initial weights
and is given our batches; everything after that has to be one trajectory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import superb_trees as trees
import torch
from s3prl_runner import Watched, begin_with, s3prl_runner, superb_config, taken, train_on
from torch.nn.utils.rnn import pad_sequence

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training, read_protocol
from barlow_speech.benchmark.evaluation.training import head_training as runs
from barlow_speech.benchmark.evaluation.training.batched_heads import BatchedHeads
from barlow_speech.benchmark.evaluation.training.batches import balanced_order, batch_order
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.benchmark.features.extraction import pooled
from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.downstream.heads import linear
from barlow_speech.downstream.heads._head import Head
from barlow_speech.upstream.model.speech_encoder import seeded

STEPS, RATE = 200, 3e-3
PROJECTOR = 32  # SUPERB's is 256
SEEDS = (11, 12, 13)
OFFSETS = (0, 200, 400, 600)  # samples: where s3prl's random crops are cut
NOISE_END = 18_000  # where its seconds of noise (of 1.3 s) are cut instead: short, to save time
OUTPUTS = {"speech_commands": 12, "emotion": 4, "voxceleb1": 1251}  # of s3prl's heads
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}


class ShortVoice(trees.Voice):
    """Recordings of different lengths, so that batches are padded, and short, to save time."""

    def write(self, path: Path, seconds: float = 0.4, pitch: float = 150.0) -> Path:
        noise = path.parent.name == "_background_noise_"
        return super().write(path, seconds if noise else self.noise.uniform(0.08, 0.2), pitch)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three corpora."""
    root = tmp_path_factory.mktemp("superb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "Voice", ShortVoice)
        trees.speech_commands(root)
        trees.iemocap(root / "IEMOCAP")
        trees.voxceleb1(root / "VoxCeleb1")
    return root


def config_of(task: str, root: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """SUPERB's configuration of the task on the tiny corpora, and a rate at which much happens."""
    datarc = {
        "speech_commands": [
            f"speech_commands_root={root / 'speech_commands_v0.01'}",
            f"speech_commands_test_root={root / 'speech_commands_test_set_v0.01'}",
        ],
        "emotion": [f"root={root / 'IEMOCAP'}"],
        "voxceleb1": [f"file_path={root / 'VoxCeleb1'}", "max_timestep=1700"],
    }[task]
    never = 10 * STEPS
    changes = [f"downstream_expert.modelrc.projector_dim={PROJECTOR}"]
    changes += [f"downstream_expert.datarc.{one}" for one in (*datarc, "num_workers=0")]
    changes += [f"runner.total_steps={STEPS}", f"runner.eval_step={never}"]
    changes += [f"runner.save_step={never}", f"optimizer.lr={RATE}"]
    return superb_config(task, changes, patch)


def cut_at(task: str, offset: int, patch: pytest.MonkeyPatch) -> None:
    """Let s3prl draw this offset for a second of noise, and for a part of a long recording."""
    if task == "speech_commands":
        from s3prl.downstream.speech_commands import dataset as commands

        patch.setattr(commands, "randint", lambda low, high: NOISE_END + offset)
    elif task == "voxceleb1":
        from s3prl.downstream.voxceleb1 import dataset as speakers

        patch.setattr(speakers, "random", SimpleNamespace(randint=lambda low, high: offset))


def examples_of(task: str, dataset: Any, patch: pytest.MonkeyPatch) -> list[Any]:
    """Every item of s3prl's training set: (wave, class number, name); crops at each offset."""
    found: dict[tuple[str, bytes], Any] = {}
    for offset in OFFSETS:
        cut_at(task, offset, patch)
        for i in range(len(dataset)):
            wave, label, name = dataset[i]
            found.setdefault((name, wave.tobytes()), (wave, label, name))
    return list(found.values())


@pytest.mark.parametrize("dtype", CLOSE, ids=["f32", "f64"])
@pytest.mark.parametrize(
    ("task", "ours", "clip", "followed"),
    [
        ("speech_commands", "superb_ks", 0.02, (11, 13)),
        ("emotion", "superb_er", 1.0, (12,)),
        ("voxceleb1", "superb_sid", 1.0, (13,)),
    ],
    ids=["ks", "er", "sid"],
)
def test_every_loss_and_the_last_logits_are_the_runner_s(
    task: str,
    ours: str,
    clip: float,
    followed: tuple[int, ...],
    dtype: torch.dtype,
    data: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 steps of three seeds at once, of which the Runner goes through some.

    With SUPERB's micro-batches; where `clip` is low, every gradient is clipped.
    """
    upstream = load_upstream("barlow_speech", checkpoint, "cpu")
    upstream.module.to(dtype)
    protocol = read_protocol("superb", ours, [f"clip={clip}", f"head.projector_dim={PROJECTOR}"])
    training = dataclasses.replace(protocol.training(), steps=STEPS, eval_step=STEPS)
    config = config_of(task, data, monkeypatch)
    config["runner"]["gradient_clipping"] = clip

    runners = {
        seed: s3prl_runner(task, config, checkpoint, tmp_path / str(seed), dtype)
        for seed in followed
    }
    expert = runners[followed[0]].downstream.model
    examples = examples_of(task, expert.train_dataset, monkeypatch)
    if task == "voxceleb1":  # an epoch ends with a short batch
        assert len(examples) > training.batch and len(examples) % training.batch
    tested = [expert.test_dataset[i] for i in range(len(expert.test_dataset))]
    train, test = split_of(upstream, examples), split_of(upstream, tested)
    losses_SR, logits_RNC = train_stacked(protocol.head, train, test, OUTPUTS[task], training)

    for seed, runner in runners.items():
        run = SEEDS.index(seed)
        order = balanced_order(train.labels_N, training.batch, seed)
        if training.sampling == "shuffle":
            order = batch_order(len(examples), training.batch, seed)
        layers, width = train.inputs.layers, train.inputs.width
        with seeded(seed):
            head = Head(linear, linear.Settings(PROJECTOR), layers, width, OUTPUTS[task])
        begin_with(runner, head, range(OUTPUTS[task]))
        if dtype == torch.float64:
            remember(runner)
        with monkeypatch.context() as patch:
            watched = Watched(runner, patch)
            train_on(runner, examples, taken(order, STEPS * training.accumulate))
        theirs_SA = np.array(watched.losses).reshape(STEPS, training.accumulate)
        theirs_S = theirs_SA.mean(axis=1)
        assert theirs_S[-1] < theirs_S[0] - 0.05  # it does learn
        np.testing.assert_allclose(losses_SR[:, run], theirs_S, rtol=0, atol=CLOSE[dtype])
        assert len(watched.norms) == STEPS
        if clip < 1:
            assert min(watched.norms) > clip
        runner.evaluate()
        theirs_NC = torch.cat(watched.logits)
        torch.testing.assert_close(logits_RNC[run], theirs_NC, rtol=0, atol=CLOSE[dtype])


def train_stacked(
    head: dict[str, Any], train: Split, test: Split, classes: int, training: Training
) -> tuple[np.ndarray, torch.Tensor]:
    """Losses [S, R] of every step and the last logits [R, N, C] on test, of all seeds at once."""
    build, stacks = runs.batched_heads, []

    def kept(*given: Any) -> BatchedHeads:
        stacks.append(build(*given))
        return stacks[-1]

    losses: list[torch.Tensor] = []
    plans = [RunPlan(seed, seed, seed, None, RATE) for seed in SEEDS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "batched_heads", kept)
        train_runs(head, train, test, test, classes, training, plans, on_loss=losses.append)
    # Dev is looked at once, after the last step: the weights that were best are the last ones.
    return torch.stack(losses).numpy(), stacks[-1].logits(
        test.inputs, torch.arange(len(test.labels_N))
    )


def remember(runner: Any) -> None:
    """Let the Runner's upstream make of each wave what it makes of it alone, once: to save time."""
    model, known = runner.upstream.model, {}
    forward = model.forward

    def remembered(waves: list[torch.Tensor]) -> dict[str, Any]:
        found = []
        for wave in waves:
            key = wave.numpy().tobytes()
            if key not in known:
                known[key] = [layer[0] for layer in forward([wave])["hidden_states"]]
            found.append(known[key])
        return {"hidden_states": [pad_sequence(list(one), batch_first=True) for one in zip(*found)]}

    model.forward = remembered


def split_of(upstream: Upstream, items: Sequence[Any]) -> Split:
    """Means over time of what s3prl's dataset gives."""
    mean_NLD = [pooled(upstream, [torch.FloatTensor(wave)])["mean"][0] for wave, _, _ in items]
    labels_N = torch.tensor([label for _, label, _ in items])
    return Split(Means(torch.stack(mean_NLD)), labels_N)
