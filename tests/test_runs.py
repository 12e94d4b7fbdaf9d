"""The stacked runs against s3prl's own featurizer, head, clipping and Adam, one run at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from barlow_speech.benchmark.features import mean_over_time
from barlow_speech.benchmark.runs import (
    Heads,
    Split,
    Training,
    batch_order,
    clip_per_run,
    predict,
    train_runs,
)
from barlow_speech.benchmark.upstreams import load_upstream
from barlow_speech.upstream.compatibility import s3prl_hub

CLASSES = 3


def blobs(count: int, seed: int, layers: int = 2, width: int = 5) -> Split:
    """Gaussian classes that a linear head can learn, but not in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, CLASSES, (count,), generator=generator)
    pooled_NLD = torch.randn(count, layers, width, generator=generator)
    pooled_NLD[:, 1, :CLASSES] += 1.5 * torch.nn.functional.one_hot(labels_N, CLASSES)
    return Split(pooled_NLD, labels_N)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["f64", "f32"]
)
@pytest.mark.parametrize("clip", [1.0, 0.05])
def test_losses_and_logits_follow_s3prl(
    checkpoint: Path, dtype: torch.dtype, tolerance: float, clip: float
) -> None:
    """s3prl's Featurizer + UtteranceLevel on frames; ours on their means: one trajectory."""
    s3prl_hub()
    from s3prl.downstream.model import UtteranceLevel
    from s3prl.upstream.interfaces import Featurizer

    upstream = load_upstream("barlow_speech", checkpoint, "cpu")
    upstream.module.to(dtype)
    rng = np.random.default_rng(0)
    waves = [torch.from_numpy(rng.standard_normal(n)).to(dtype) for n in range(3000, 9000, 500)]
    labels_N = torch.arange(len(waves)) % CLASSES
    pooled_NLD = torch.stack([mean_over_time(upstream, [wave])[0] for wave in waves])
    assert pooled_NLD.dtype == dtype
    training = Training(steps=60, batch=5, lr=1e-2, eval_step=60, clip=clip, projector_dim=7)
    seeds = [11, 12, 13]
    split = Split(pooled_NLD, labels_N)
    ours: list[torch.Tensor] = []
    train_runs(split, split, split, CLASSES, training, seeds, on_loss=ours.append)
    losses_SR = torch.stack(ours)

    for run, seed in enumerate(seeds):
        heads = Heads(pooled_NLD.shape[1], pooled_NLD.shape[2], CLASSES, 7, [seed])
        featurizer = Featurizer(upstream.module, "hidden_states", "cpu")
        projector = torch.nn.Linear(pooled_NLD.shape[2], 7)
        model = UtteranceLevel(7, CLASSES, pooling="MeanPooling")
        with torch.no_grad():
            projector.weight.copy_(heads.w1_RDP[0].T)
            projector.bias.copy_(heads.b1_R1P[0, 0])
            model.post_net.linear.weight.copy_(heads.w2_RPC[0].T)
            model.post_net.linear.bias.copy_(heads.b2_R1C[0, 0])
        modules = torch.nn.ModuleList([featurizer, projector, model]).to(dtype)
        adam = torch.optim.Adam(modules.parameters(), lr=training.lr)
        order = batch_order(len(waves), training.batch, seed)
        for step in range(training.steps):
            rows = next(order)
            batch = [waves[row] for row in rows]
            with torch.no_grad():
                hidden = upstream.module(batch)
            features = featurizer(batch, hidden)
            lengths = torch.IntTensor([len(one) for one in features])
            padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            logits, _ = model(projector(padded), lengths)
            loss = torch.nn.functional.cross_entropy(logits, labels_N[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(modules.parameters(), clip)
            adam.step()
            adam.zero_grad()
            assert math.isclose(loss.item(), losses_SR[step, run].item(), abs_tol=tolerance)


def test_a_run_does_not_depend_on_the_others() -> None:
    train, dev, test = blobs(90, 0), blobs(40, 1), blobs(40, 2)
    training = Training(steps=50, batch=16, lr=1e-2, eval_step=10, projector_dim=8)
    together = train_runs(train, dev, test, CLASSES, training, list(range(7)))
    alone = train_runs(train, dev, test, CLASSES, training, [4])
    assert together[4] == alone[0]
    assert len({tuple(run.predicted) for run in together}) > 1  # the seeds do vary


def test_the_same_seeds_give_the_same_numbers_and_leave_the_global_generator_alone() -> None:
    train, dev, test = blobs(90, 0), blobs(40, 1), blobs(40, 2)
    training = Training(steps=30, batch=16, lr=1e-2, eval_step=10, projector_dim=8)
    before = torch.random.get_rng_state()
    first = train_runs(train, dev, test, CLASSES, training, [0, 1])
    torch.manual_seed(99)
    after = torch.random.get_rng_state()
    assert train_runs(train, dev, test, CLASSES, training, [0, 1]) == first
    assert torch.equal(torch.random.get_rng_state(), after)
    torch.random.set_rng_state(before)


def test_runs_learn_and_are_judged_with_the_weights_that_were_best_on_dev() -> None:
    train, dev, test = blobs(300, 0), blobs(200, 1), blobs(400, 2)
    training = Training(steps=200, batch=32, lr=1e-2, eval_step=20, projector_dim=16)
    for run in train_runs(train, dev, test, CLASSES, training, [0, 1, 2]):
        assert run.test > 0.6  # chance is 1/3
        assert run.step % 20 == 0
        assert run.test == np.mean(np.array(run.predicted) == test.labels_N.numpy())
    # A diverging rate: the first look at dev is the best, and later weights must not be judged.
    wild = Training(steps=200, batch=32, lr=30.0, eval_step=20, projector_dim=16)
    looks = [
        train_runs(train, dev, test, CLASSES, Training(20 * k, 32, 30.0, 20, 1.0, 16), [0])[0]
        for k in range(1, 11)
    ]
    whole = train_runs(train, dev, test, CLASSES, wild, [0])[0]
    assert whole.dev == max(look.dev for look in looks)
    assert whole == next(look for look in looks if look.dev == whole.dev)


def test_test_is_not_touched_when_it_is_not_given() -> None:
    train, dev = blobs(60, 0), blobs(30, 1)
    run = train_runs(train, dev, None, CLASSES, Training(5, 16, 1e-2, 5), [0])[0]
    assert math.isnan(run.test)
    assert run.predicted == []


def test_batches_are_a_shuffled_dataloader_with_its_short_last_batch() -> None:
    order = batch_order(10, 4, seed=0)
    epochs = [[next(order) for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


def test_clipping_is_per_run() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, 4, 2, generator=generator), torch.randn(3, 5, generator=generator)]
    gradients[0][1] *= 100
    gradients[0][2] *= 1e-3
    gradients[1][2] *= 1e-3
    expected = []
    for run in range(3):
        parameters = [torch.nn.Parameter(one[run].clone()) for one in gradients]
        for parameter, one in zip(parameters, gradients):
            parameter.grad = one[run].clone()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        expected.append([parameter.grad for parameter in parameters])
    clip_per_run(gradients, 1.0)
    for run in range(3):
        for one, other in zip(gradients, expected[run]):
            torch.testing.assert_close(one[run], other)


def test_prediction_in_blocks_is_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(2, 5, CLASSES, 8, [0, 1])
    pooled_NLD = blobs(50, 3).pooled_NLD
    whole = predict(heads, pooled_NLD)
    monkeypatch.setattr("barlow_speech.benchmark.runs.EVALUATION_FLOATS", 64)
    assert torch.equal(predict(heads, pooled_NLD), whole)
