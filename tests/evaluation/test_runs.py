"""The stacked runs against s3prl's own featurizer, head, clipping and Adam, one run at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.benchmark.evaluation.training import batched_heads as stacks
from barlow_speech.benchmark.evaluation.training import head_training as runs
from barlow_speech.benchmark.evaluation.training.batched_heads import (
    batched_heads,
    clip_per_run,
    predict,
)
from barlow_speech.benchmark.evaluation.training.batches import (
    balanced_order,
    batch_order,
    training_rows,
)
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Frames, Means
from barlow_speech.benchmark.features.extraction import pooled
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.downstream import heads
from barlow_speech.downstream.heads import attentive, cnn_self_attention, linear
from barlow_speech.downstream.heads._head import Head
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party.compatibility import s3prl_hub

CLASSES = 3
LINEAR = {"name": "linear", "projector_dim": 8}
GRADIENT_HEADS = [name for name in heads.names() if hasattr(heads.head_module(name), "parts")]
CLOSED_HEADS = [name for name in heads.names() if name not in GRADIENT_HEADS]
SMALL: dict[str, dict] = {
    "linear": {"projector_dim": 8},
    "mean_std": {"projector_dim": 8},
    "mlp": {"hidden": [8, 6]},
    "attentive": {"projector_dim": 8},
    "cnn_self_attention": {"projector_dim": 8, "hidden_dim": 6, "kernel_size": 3, "pooling": 2},
}


def plans(*seeds: int, lr: float = 1e-2) -> list[RunPlan]:
    return [RunPlan(seed, seed, seed, None, lr) for seed in seeds]


def blobs(count: int, seed: int, layers: int = 2, width: int = 5) -> Split:
    """Gaussian classes that a linear head can learn, but not in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, CLASSES, (count,), generator=generator)
    pooled_NLD = torch.randn(count, layers, width, generator=generator)
    pooled_NLD[:, 1, :CLASSES] += 1.5 * torch.nn.functional.one_hot(labels_N, CLASSES)
    return Split(Means(pooled_NLD), labels_N)


def frame_blobs(count: int, seed: int, layers: int = 2, width: int = 5) -> Split:
    """The same as sequences of frames of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, CLASSES, (count,), generator=generator)
    frames = []
    for label in labels_N.tolist():
        length = int(torch.randint(1, 12, (1,), generator=generator))
        x = torch.randn(length, layers, width, generator=generator)
        x[:, 1, label] += 2
        frames.append(x)
    return Split(Frames(frames, torch.device("cpu")), labels_N)


def split_for(name: str, count: int, seed: int) -> Split:
    frames = heads.head_module(name).INPUT == "frames"
    return frame_blobs(count, seed) if frames else blobs(count, seed)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["f64", "f32"]
)
@pytest.mark.parametrize("clip", [1.0, 0.05])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_and_logits_follow_s3prl(
    checkpoint: Path, dtype: torch.dtype, tolerance: float, clip: float, accumulate: int
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
    mean_NLD = torch.stack([pooled(upstream, [wave])["mean"][0] for wave in waves])
    assert mean_NLD.dtype == dtype
    steps = 200 if accumulate == 1 else 60
    training = Training(steps, 5, steps, clip, accumulate)
    seeds = [11, 12]
    split = Split(Means(mean_NLD), labels_N)
    ours: list[torch.Tensor] = []
    last: list[torch.Tensor] = []
    head = {"name": "linear", "projector_dim": 7}
    settings = linear.Settings(7)
    build = runs.batched_heads

    def watched(*arguments: object) -> stacks.BatchedHeads:
        stack = build(*arguments)  # type: ignore[arg-type]
        step = stack.step

        def remember(*given: object) -> torch.Tensor:
            last[:] = stack.parameters
            return step(*given)  # type: ignore[arg-type]

        stack.step = remember  # type: ignore[method-assign]
        return stack

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "batched_heads", watched)
        train_runs(head, split, split, split, CLASSES, training, plans(*seeds), on_loss=ours.append)
    losses_SR = torch.stack(ours)
    assert losses_SR.shape == (steps, len(seeds))

    for run, seed in enumerate(seeds):
        initial = batched_heads(linear, settings, split.inputs, CLASSES, [seed])
        featurizer = Featurizer(upstream.module, "hidden_states", "cpu")
        projector = torch.nn.Linear(split.inputs.width, 7)
        model = UtteranceLevel(7, CLASSES, pooling="MeanPooling")
        modules = torch.nn.ModuleList([featurizer, projector, model]).to(dtype)
        with torch.no_grad():
            projector.weight.copy_(initial.parameters[1][0])
            projector.bias.copy_(initial.parameters[2][0, 0])
            model.post_net.linear.weight.copy_(initial.parameters[3][0])
            model.post_net.linear.bias.copy_(initial.parameters[4][0, 0])
        adam = torch.optim.Adam(modules.parameters(), lr=1e-2)
        order = batch_order(len(waves), 5, seed)

        def logits_of(
            batch: list[torch.Tensor],
            featurizer: torch.nn.Module = featurizer,
            projector: torch.nn.Module = projector,
            model: torch.nn.Module = model,
        ) -> torch.Tensor:
            with torch.no_grad():
                hidden = upstream.module(batch)
            features = featurizer(batch, hidden)
            lengths = torch.IntTensor([len(one) for one in features])
            padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            return model(projector(padded), lengths)[0]

        for step in range(steps):
            losses = []
            for _ in range(accumulate):
                rows = next(order)
                logits = logits_of([waves[row] for row in rows])
                loss = torch.nn.functional.cross_entropy(logits, labels_N[rows])
                (loss / accumulate).backward()
                losses.append(loss.item())
            torch.nn.utils.clip_grad_norm_(modules.parameters(), clip)
            adam.step()
            adam.zero_grad()
            assert math.isclose(np.mean(losses), losses_SR[step, run].item(), abs_tol=tolerance)
        # The final weights, through s3prl's modules and through ours.
        final = stacks.BatchedLinear([Head(linear, settings, *mean_NLD.shape[1:], CLASSES)])
        with torch.no_grad():
            weights = [
                featurizer.weights, projector.weight, projector.bias[None],
                model.post_net.linear.weight, model.post_net.linear.bias[None],
            ]  # fmt: skip
            final.parameters[:] = [one.detach()[None] for one in weights]
            (final.weights_RL, final.w1_RPD, final.b1_R1P, final.w2_RCP, final.b2_R1C) = (
                final.parameters
            )
            theirs_NC = torch.cat([logits_of([wave]) for wave in waves])
            ours_NC = final.logits(split.inputs, torch.arange(len(waves)))[0]
        torch.testing.assert_close(ours_NC, theirs_NC, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch", [7, 2], ids=["more_rows_than_classes", "fewer"])
@pytest.mark.parametrize("name", GRADIENT_HEADS)
def test_a_stack_has_the_losses_gradients_and_logits_of_its_heads_one_by_one(
    name: str, batch: int
) -> None:
    """Every head, against autograd on its own module, with uneven weights and active clipping."""
    module = heads.head_module(name)
    settings = heads.head_settings({"name": name, **SMALL[name]})
    split = split_for(name, 40, 0)
    seeds = [3, 4, 5]
    rows_RB = torch.stack([torch.randperm(40)[:batch] for _ in seeds])
    weights_B = torch.tensor([0.1] * 4 + [0.2] * 3)[-batch:]
    for clip in (0.0, 0.3, 100.0):
        stack = batched_heads(module, settings, split.inputs, CLASSES, seeds)
        losses_R = stack.step(split.inputs, rows_RB, split.labels_N[rows_RB], weights_B, clip)
        logits_RNC = stack.logits(split.inputs, torch.arange(40))
        for run, seed in enumerate(seeds):
            alone = batched_heads(module, settings, split.inputs, CLASSES, [seed])
            torch.manual_seed(seed)
            head = Head(module, settings, split.inputs.layers, split.inputs.width, CLASSES)
            logits_BC = head(*split.inputs.examples(rows_RB[run]))
            labels_B = split.labels_N[rows_RB[run]]
            loss = (
                torch.nn.functional.cross_entropy(logits_BC, labels_B, reduction="none") * weights_B
            ).sum()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(head.parameters(), clip)
            torch.testing.assert_close(losses_R[run], loss.detach(), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                logits_RNC[run], head(*split.inputs.examples(torch.arange(40))).detach(),
                rtol=1e-4, atol=1e-5,
            )  # fmt: skip
            expected = [one.grad for one in head.parameters()]
            for parameter, other in zip(stack.parameters, alone.parameters):
                torch.testing.assert_close(parameter[run], other[0])
                assert parameter.grad is not None
            got = [one.grad[run].squeeze() for one in stack.parameters]
            for one, other in zip(got, expected):
                torch.testing.assert_close(one, other.squeeze(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", GRADIENT_HEADS)
def test_a_run_does_not_depend_on_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor on how many fit into memory together, nor on other learning rates beside it."""
    train, dev, test = (split_for(name, count, i) for i, count in enumerate((60, 30, 30)))
    training = Training(25, 16, 10)
    head = {"name": name, **SMALL[name]}
    mixed = plans(0, 1, 2) + plans(4, 5, lr=3e-3) + plans(6)
    together = train_runs(head, train, dev, test, CLASSES, training, mixed)
    assert [run.seed for run in together] == [0, 1, 2, 4, 5, 6]
    monkeypatch.setattr(runs, "TOGETHER_BYTES", 1)  # one at a time
    apart = train_runs(head, train, dev, test, CLASSES, training, mixed)
    for one, other in zip(together, apart):
        assert one == other and (one.predicted == other.predicted).all()
    assert len({tuple(run.predicted) for run in together}) > 1  # the seeds do vary


def test_the_share_of_the_runs_that_made_a_step_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    train, dev = blobs(60, 0), blobs(30, 1)
    shares: list[float] = []
    monkeypatch.setattr(runs, "TOGETHER_BYTES", 1)
    train_runs(LINEAR, train, dev, None, CLASSES, Training(6, 8, 3), plans(0, 1), shares.append)
    assert sum(shares) == pytest.approx(6)


def test_the_same_seeds_give_the_same_numbers_and_leave_the_global_generator_alone() -> None:
    train, dev, test = blobs(90, 0), blobs(40, 1), blobs(40, 2)
    training = Training(30, 16, 10)
    first = train_runs(LINEAR, train, dev, test, CLASSES, training, plans(0, 1))
    torch.manual_seed(99)
    after = torch.random.get_rng_state()
    again = train_runs(LINEAR, train, dev, test, CLASSES, training, plans(0, 1))
    assert again == first
    assert all((a.predicted == b.predicted).all() for a, b in zip(first, again))
    assert torch.equal(torch.random.get_rng_state(), after)


def test_sources_of_variance_are_drawn_apart() -> None:
    """Another order, another initialisation, another training set: each alone changes the run."""
    train, dev = blobs(90, 0), blobs(40, 1)
    varied = [(1, 1, None), (1, 2, None), (2, 1, None), (1, 1, 5), (1, 1, None)]
    made = [RunPlan(i, *sources) for i, sources in enumerate(varied)]
    losses: list[torch.Tensor] = []
    train_runs(LINEAR, train, dev, None, CLASSES, Training(9, 8, 9), made, on_loss=losses.append)
    losses_RS = torch.stack(losses, dim=1)
    assert torch.equal(losses_RS[0], losses_RS[4])
    assert len({tuple(row) for row in losses_RS.tolist()}) == 4


def test_runs_learn_and_are_judged_with_the_weights_that_were_best_on_dev() -> None:
    train, dev, test = blobs(300, 0), blobs(200, 1), blobs(400, 2)
    head = {"name": "linear", "projector_dim": 16}
    for run in train_runs(head, train, dev, test, CLASSES, Training(200, 32, 20), plans(0, 1, 2)):
        assert np.mean(run.predicted == test.labels_N.numpy()) > 0.6  # chance is 1/3
        assert run.step % 20 == 0
    # A diverging rate: the first look at dev is the best, and later weights must not be judged.
    wild = plans(0, lr=30.0)
    looks = [
        train_runs(head, train, dev, test, CLASSES, Training(20 * k, 32, 20), wild)[0]
        for k in range(1, 11)
    ]
    whole = train_runs(head, train, dev, test, CLASSES, Training(200, 32, 20), wild)[0]
    assert whole.dev == max(look.dev for look in looks)
    best = next(look for look in looks if look.dev == whole.dev)
    assert whole.step == best.step and (whole.predicted == best.predicted).all()


@pytest.mark.parametrize("metric", ["top1", "uar", "f1"])
def test_dev_is_scored_by_the_selection_metric(metric: str) -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    train, dev = blobs(90, 0), blobs(50, 1)
    training = Training(20, 16, 20, selection=metric)
    # The dev split is given as test too: its predictions are those that dev was scored by.
    run = train_runs(LINEAR, train, dev, dev, CLASSES, training, plans(0))[0]
    truth = dev.labels_N.numpy()
    expected = {
        "top1": np.mean(truth == run.predicted),
        "uar": balanced_accuracy_score(truth, run.predicted),
        "f1": f1_score(truth, run.predicted, average="macro"),
    }[metric]
    assert run.dev == pytest.approx(expected)


def test_test_is_not_touched_when_it_is_not_given() -> None:
    train, dev = blobs(60, 0), blobs(30, 1)
    run = train_runs(LINEAR, train, dev, None, CLASSES, Training(5, 16, 5), plans(0))[0]
    assert len(run.predicted) == 0


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_run() -> None:
    train, dev = blobs(60, 0), blobs(30, 1)
    broken = train.inputs.x_NLD.clone()  # type: ignore[attr-defined]
    broken[7, 0, 2] = torch.inf
    bad = Split(Means(broken), train.labels_N)
    with pytest.raises(BarlowSpeechError, match="seed 0 is not finite"):
        train_runs(LINEAR, bad, dev, dev, CLASSES, Training(20, 16, 5), plans(0))


def test_batches_are_a_shuffled_dataloader_with_its_short_last_batch() -> None:
    order = batch_order(10, 4, seed=0)
    epochs = [[next(order) for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


def test_balanced_batches_show_every_class_as_often_and_are_never_short() -> None:
    labels_N = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    order = balanced_order(labels_N, 32, seed=0)
    batches = [next(order) for _ in range(300)]
    assert {len(batch) for batch in batches} == {32}
    shares = torch.bincount(labels_N[torch.cat(batches)]) / (300 * 32)
    # Each share has a standard deviation of √(2/9 / 9600) = 0.005.
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), rtol=0, atol=0.025)
    small = balanced_order(torch.tensor([0, 1]), 8, seed=0)
    assert len(next(small)) == 8  # fewer recordings than the batch


def test_a_resampled_training_set_has_its_size_and_leaves_a_third_out() -> None:
    labels_N = torch.zeros(5000)
    rows_N = training_rows(labels_N, 1.0, 3)
    assert len(rows_N) == 5000
    assert 0.61 < len(rows_N.unique()) / 5000 < 0.655  # 1 - 1/e
    assert torch.equal(training_rows(labels_N, 1.0, 3), rows_N)
    assert torch.equal(training_rows(labels_N[:4], 1.0, None), torch.arange(4))


def test_a_fraction_of_the_labels_has_its_share_of_every_class() -> None:
    labels_N = torch.tensor([0] * 200 + [1] * 21 + [2])
    for fraction in (0.01, 0.25, 0.5):
        rows_N = training_rows(labels_N, fraction, None)
        assert len(rows_N.unique()) == len(rows_N)
        counts = torch.bincount(labels_N[rows_N]).tolist()
        assert counts == [math.ceil(fraction * n) for n in (200, 21, 1)]
        assert torch.equal(training_rows(labels_N, fraction, None), rows_N)
        assert not torch.equal(training_rows(labels_N, fraction, 1), rows_N)
    train, dev = blobs(400, 0), blobs(400, 1)
    few, all_of_them = (
        train_runs(
            LINEAR, train, dev, None, CLASSES, Training(150, 16, 50, label_fraction=f), plans(0, 1)
        )
        for f in (0.01, 1.0)
    )
    assert max(run.dev for run in few) < min(run.dev for run in all_of_them)


def test_a_share_is_not_rounded_up_for_its_last_bit() -> None:
    labels_N = torch.tensor([0] * 100 + [1] * 180)
    for fraction, counts in ((0.55, [55, 99]), (0.07, [7, 13]), (0.001, [1, 1])):
        kept_N = training_rows(labels_N, fraction, None)
        assert torch.bincount(labels_N[kept_N]).tolist() == counts


def test_a_closed_form_is_chosen_by_the_metric_that_the_protocol_chooses_by() -> None:
    """Of classes of unlike size, accuracy on dev takes another regularisation than recall does."""
    head = {"name": "logistic_regression", "strengths": [1e-4, 1e-3, 1e-2, 0.1, 1.0]}
    generator = torch.Generator().manual_seed(0)

    def lopsided(count: int) -> Split:
        labels_N = (torch.rand(count, generator=generator) < 0.15).long()
        x_NLD = torch.randn(count, 1, 4, generator=generator)
        x_NLD[:, 0, 0] += 0.9 * labels_N
        return Split(Means(x_NLD), labels_N)

    train, dev, test = lopsided(120), lopsided(200), lopsided(50)
    x_NX, dev_NX, test_NX = (one.inputs.x_NLD.flatten(1).numpy() for one in (train, dev, test))
    said = {}
    for strength in head["strengths"]:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        model.fit(x_NX, train.labels_N.numpy())
        said[strength] = model.predict(dev_NX), model.predict(test_NX)
    chosen = {}
    for name, score in (("top1", accuracy_score), ("uar", balanced_accuracy_score)):
        (run,) = train_runs(head, train, dev, test, 2, Training(1, 8, 1, selection=name), plans(0))
        scores = {c: score(dev.labels_N.numpy(), on_dev) for c, (on_dev, _) in said.items()}
        chosen[name] = max(scores, key=lambda c: (round(scores[c], 9), -c))
        assert run.dev == pytest.approx(scores[chosen[name]])
        assert np.array_equal(run.predicted, said[chosen[name]][1])
    assert chosen["top1"] < chosen["uar"]


def test_the_curve_has_every_look_at_dev() -> None:
    train, dev = blobs(90, 0), blobs(40, 1)
    (run,) = train_runs(LINEAR, train, dev, None, CLASSES, Training(25, 16, 10), plans(0))
    assert [step for step, _ in run.curve] == [10, 20, 25]
    assert (run.step, run.dev) == max(run.curve, key=lambda look: (look[1], -look[0]))


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


@pytest.mark.parametrize("name", GRADIENT_HEADS)
def test_prediction_in_blocks_is_prediction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_for(name, 50, 3)
    settings = heads.head_settings({"name": name, **SMALL[name]})
    stack = batched_heads(heads.head_module(name), settings, split.inputs, CLASSES, [0, 1])
    with torch.no_grad():
        whole = predict(stack, split.inputs)
        monkeypatch.setattr(stacks, "EVALUATION_FLOATS", 64)
        assert torch.equal(predict(stack, split.inputs), whole)


@pytest.mark.parametrize("name", CLOSED_HEADS)
def test_closed_forms_learn_and_vary_only_with_their_training_set(name: str) -> None:
    train, dev, test = blobs(300, 0), blobs(200, 1), blobs(400, 2)
    training = Training(1, 1, 1)
    same = [RunPlan(i, i, i, None) for i in range(2)]
    drawn = [RunPlan(i, i, i, 10 + i) for i in range(3)]
    made = train_runs({"name": name}, train, dev, test, CLASSES, training, [*same, *drawn])
    assert [run.seed for run in made] == [0, 1, 0, 1, 2]
    assert (made[0].predicted == made[1].predicted).all()
    assert len({tuple(run.predicted) for run in made}) == 4
    assert np.mean(made[0].predicted == test.labels_N.numpy()) > 0.6


def test_attentive_pooling_is_s3prls_where_nothing_is_padded() -> None:
    s3prl_hub()
    from s3prl.downstream.model import UtteranceLevel

    head = Head(attentive, attentive.Settings(6), layers=1, width=5, classes=CLASSES)
    theirs = UtteranceLevel(6, CLASSES, pooling="AttentivePooling")
    with torch.no_grad():
        theirs.pooling.sap_layer.W_a.load_state_dict(head.hidden.state_dict())
        theirs.pooling.sap_layer.W.load_state_dict(head.attention.state_dict())
        theirs.post_net.linear.load_state_dict(head.classifier.state_dict())
    x_BTLD = torch.randn(4, 9, 1, 5)
    lengths_B = torch.full((4,), 9)
    logits, _ = theirs(head.projector(x_BTLD[:, :, 0]), lengths_B)
    torch.testing.assert_close(head(x_BTLD, lengths_B), logits)


def test_cnn_self_attention_is_s3prls_where_nothing_is_padded() -> None:
    s3prl_hub()
    from s3prl.downstream.emotion.model import CNNSelfAttention

    settings = cnn_self_attention.Settings(projector_dim=6, hidden_dim=7, kernel_size=5, pooling=5)
    head = Head(cnn_self_attention, settings, layers=1, width=4, classes=CLASSES)
    theirs = CNNSelfAttention(6, 7, 5, 2, 5, 0.0, CLASSES)
    convolutions = [one for one in theirs.model_seq if isinstance(one, torch.nn.Conv1d)]
    with torch.no_grad():
        for one, other in zip(convolutions, head.convolutions):
            one.load_state_dict(other.state_dict())
        theirs.pooling.W.load_state_dict(head.attention.state_dict())
        theirs.out_layer[0].load_state_dict(head.hidden.state_dict())
        theirs.out_layer[2].load_state_dict(head.classifier.state_dict())
    for length in (1, 4, 5, 23):
        x_BTLD = torch.randn(3, length, 1, 4)
        logits = theirs(head.projector(x_BTLD[:, :, 0]), None)
        torch.testing.assert_close(head(x_BTLD, torch.full((3,), length)), logits)


@pytest.mark.parametrize(
    "name", [n for n in GRADIENT_HEADS if n in ("attentive", "cnn_self_attention")]
)
def test_frame_heads_do_not_see_padding(name: str) -> None:
    settings = heads.head_settings({"name": name, **SMALL[name]})
    head = Head(heads.head_module(name), settings, 2, 5, CLASSES)
    short, long = torch.randn(4, 2, 5), torch.randn(11, 2, 5)
    together = torch.zeros(2, 11, 2, 5)
    together[0, :4], together[1] = short, long
    both = head(together, torch.tensor([4, 11]))
    torch.testing.assert_close(head(short[None], torch.tensor([4])), both[:1])
    torch.testing.assert_close(head(long[None], torch.tensor([11])), both[1:])
