"""Recorded steps: what is recorded and replayed is what is computed without, and could be recorded.

No GPU is needed: a recording that calls the function on its fixed places tells whether these are
filled and read rightly, and torch's fake tensors go through a step "on a GPU" without one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.benchmark.evaluation.training import head_training
from barlow_speech.benchmark.evaluation.training.batched_heads import batched_heads
from barlow_speech.benchmark.evaluation.training.batches import row_batches, step_batches
from barlow_speech.benchmark.evaluation.training.head_training import Split, TorchSteps, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.downstream.heads import linear, mlp
from barlow_speech.upstream import encoders
from barlow_speech.upstream.common.ahead import Ahead
from barlow_speech.upstream.common.captured import Captured
from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining
from barlow_speech.upstream.pretraining.views.settings import (
    BandPass,
    Equaliser,
    Gain,
    HighPass,
    LowPass,
    Noise,
    Polarity,
    Reverb,
    Speed,
    TimeMask,
)

CPU = torch.device("cpu")
PLANS = [RunPlan(seed, seed, seed) for seed in range(3)]
RECIPE = """
steps: 9
batch: 8
crop_s: 0.25
memory: 16
precision: float32
data: {sources: [{manifest: manifest.tsv}]}
model: {frontend: {n_mels: 16}, encoder: {name: cnn2d, channels: 4, dropout: 0.2}}
families:
  words:
    views: {mixup: {}, resized_crop: {}, fader: {}, mel_equaliser: {}, gain: {}}
    projector: {width: 16, layers: 2}
  voice:
    segments: different
    crop_s: 0.1
    views: {mixup: {}, fader: {}}
    projector: {width: 8}
    weight: 0.5
optimiser: {lr: 1.0e-3, warmup: 1}
"""


def again(function: Callable[[], Any]) -> Callable[[], Any]:
    """A recording whose replay calls the function, and spoils all that it gave before."""
    before: list[torch.Tensor] = []

    def replay() -> Any:
        for one in before:
            one.fill_(7)
        outputs = function()
        before[:] = [one for one in tree_leaves(outputs) if isinstance(one, torch.Tensor)]
        return outputs

    return replay


def drawn(count: int, classes: int = 3) -> Split:
    generator = torch.Generator().manual_seed(count)
    labels_N = torch.randint(classes, (count,), generator=generator)
    return Split(Means(torch.randn(count, 2, 6, generator=generator)), labels_N)


def test_inputs_go_to_their_places_and_each_shape_has_its_own() -> None:
    seen: list[int] = []

    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.data_ptr())
        return 2 * x

    captured = Captured(double, again, warm_up=1)
    kept = [torch.randn(size) for size in (3, 3, 4, 3, 4, 4, 3)]
    for one in kept:
        assert torch.equal(captured(one), 2 * one)
    assert captured.recorded == 2
    own = {one.data_ptr() for one in kept}
    assert [place in own for place in seen] == [True, False, True, False, False, False, False]
    assert len(set(seen[3:])) == 2  # one place for each shape


def test_an_input_that_was_written_to_is_read_again() -> None:
    captured = Captured(lambda x, y: x + y, again, warm_up=0)
    x, y = torch.ones(3), torch.ones(3)
    assert captured(x, y).tolist() == [2, 2, 2]
    y.mul_(4)
    assert captured(x, y).tolist() == [5, 5, 5]
    assert captured(x, y).tolist() == [5, 5, 5]
    y[1] = 0
    assert captured(x, y).tolist() == [5, 1, 5]
    assert captured(y, x).tolist() == [5, 1, 5]


def test_what_cannot_be_recorded_is_called_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function: Callable[[], Any]) -> Callable[[], Any]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    captured = Captured(torch.neg, refuse, warm_up=0)
    for _ in range(3):
        assert torch.equal(captured(torch.ones(2)), -torch.ones(2))
    assert captured.refused == "operation not permitted when stream is capturing"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_is_made_ahead_is_what_was_asked_for() -> None:
    made: list[int] = []

    def make(key: int) -> list[torch.Tensor]:
        made.append(key)
        return [torch.tensor(key)]

    ahead = Ahead(make, CPU)
    for key, after in ((0, 1), (1, 2), (7, 8), (8, None), (9, None)):  # 2 was made for nothing
        assert ahead.take(key, after)[0].item() == key
    assert made == [0, 1, 2, 7, 8, 9]


@pytest.mark.parametrize("resample", [None, 3])
@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_rows_of_many_steps_at_once_are_those_of_one_run_after_the_other(
    sampling: str, resample: int | None
) -> None:
    """Steps of 2 batches of 4 of 29 rows, 7 steps at once: epochs end within a step."""
    labels_N = drawn(29).labels_N
    training = Training(20, 4, 20, accumulate=2, sampling=sampling)
    several = [RunPlan(i, i, i, lr=1e-3, resample=resample) for i in range(3)]
    found = list(step_batches(labels_N, training, several, CPU, torch.float64, together=7))
    assert len(found) == 20
    alone = [row_batches(labels_N, training, plan) for plan in several]
    for rows_RB, weights_B in found:
        pairs = [[next(one) for _ in range(2)] for one in alone]
        assert torch.equal(rows_RB, torch.stack([torch.cat(pair) for pair in pairs]))
        expected = [1 / (2 * len(part)) for part in pairs[0] for _ in part]
        assert weights_B.tolist() == expected


@pytest.mark.parametrize("name", ["linear", "mlp"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_recorded_runs_are_those_that_are_not(
    name: str, optimiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batch of each pass is shorter: its steps have a recording of their own."""
    train, dev = drawn(30), drawn(20)
    training = Training(24, 8, 8, clip=0.5, optimiser=optimiser)
    arguments = ({"name": name}, train, dev, dev, 3, training, PLANS)
    plain: list[torch.Tensor] = []
    recorded: list[torch.Tensor] = []
    expected = train_runs(*arguments, on_loss=plain.append)
    monkeypatch.setattr(head_training, "recorder", lambda device: again)
    found = train_runs(*arguments, on_loss=recorded.append)
    assert torch.equal(torch.stack(recorded), torch.stack(plain))
    assert found == expected
    assert all((a.predicted == b.predicted).all() for a, b in zip(found, expected))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return read_recipe(path)


@pytest.fixture
def corpus(tmp_path: Path, tones: Path, recipe: Recipe) -> PackedCorpus:
    folder = pack(chosen(recipe.data, tones.parent), tmp_path / "packed")
    return PackedCorpus(folder, recipe.crop_s, recipe.seed)


@pytest.mark.parametrize("rotate", [False, True])
def test_a_recorded_pretraining_is_the_one_that_is_not(
    recipe: Recipe, corpus: PackedCorpus, tmp_path: Path, rotate: bool
) -> None:
    """Steps 3 and on may be recorded, until the last; a state of one goes on in the other."""
    recipe = dataclasses.replace(recipe, rotate=rotate, steps=15)
    plain, recorded = (Pretraining(recipe, corpus, CPU) for _ in range(2))
    recorded.record = again
    figures: dict[str, list[dict[str, float]]] = {"plain": [], "recorded": []}
    while not plain.done:
        figures["plain"].append(plain.step())
        figures["recorded"].append(recorded.step())
        if recorded.steps_done == 11:
            (tmp_path / "state").mkdir()
            recorded.save(tmp_path / "state")
            recorded.load(tmp_path / "state")
    assert figures["plain"] == figures["recorded"]
    for one, other in zip(plain.twins.parameters(), recorded.twins.parameters()):
        assert torch.equal(one, other)
    assert len(recorded._recorded) == (2 if rotate else 1)


class Waiting(TorchDispatchMode):
    """Notes every operation that would wait for a GPU, or copy between it and the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        tensors = [one for one in tree_leaves((args, kwargs, result)) if torch.is_tensor(one)]
        # A number of Python that goes with its launch is a tensor of no dimension.
        kinds = {one.device.type for one in tensors if one.ndim or func is COPY}
        if func in (ITEM, NONZERO) or len(kinds) > 1 or "cpu" in kinds:
            self.found.append(str(func))
        return result


COPY = torch.ops.aten._to_copy.default
ITEM, NONZERO = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default


def test_what_waits_is_noted() -> None:
    with FakeTensorMode():
        x = torch.zeros(4, device="cuda")
        waiting = Waiting()
        with waiting:
            x.new_tensor(3.0)
            x + torch.arange(4).to("cuda")
        assert waiting.found
        fine = Waiting()
        with fine:
            x.new_full((), 3.0)
            torch.where(x > 0, x * 2, 0.0).masked_fill_(x < 0, 1)
        assert not fine.found


@pytest.mark.parametrize("module", [linear, mlp])
def test_no_step_of_the_heads_waits_for_a_gpu(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *where: self)  # refuses fake tensors
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)  # needs a GPU's driver
    with FakeTensorMode(), torch.device("cuda"):
        x = Means(torch.zeros(40, 3, 8, device="cuda"))
        train = Split(x, torch.zeros(40, dtype=torch.int64, device="cuda"))
        heads = batched_heads(module, module.Settings(), x, 4, [0, 1])
        rows = torch.zeros(2, 6, dtype=torch.int64, device="cuda")
        weights = torch.ones(6, device="cuda")
        with Waiting() as waiting:
            clip = 0.0 if module is mlp else 1.0  # of gradients that the way back makes
            steps = TorchSteps(heads, train, Training(1, 6, 1, clip=clip), [1e-3, 1e-3])
            steps.optimisers.clear()  # torch's own
            steps.step(rows, weights)
    assert not waiting.found


# cuDNN's recurrence asks for a driver, faked or not.
@pytest.mark.parametrize("name", [one for one in encoders.names() if one != "bigru"])
def test_no_encoder_waits_for_a_gpu_where_nothing_is_padded(name: str) -> None:
    with FakeTensorMode(), torch.device("cuda"):
        encoder = encoders.build_encoder({"name": name}, 64)
        with Waiting() as waiting:
            encoder(torch.zeros(2, 96, 64))
    assert not waiting.found


EVERY_VIEW = {
    "speed": Speed(), "reverb": Reverb(), "noise": Noise(), "lowpass": LowPass(),
    "highpass": HighPass(), "bandpass": BandPass(), "equaliser": Equaliser(), "gain": Gain(),
    "polarity": Polarity(), "time_mask": TimeMask(),
}  # fmt: skip


def test_no_step_of_pretraining_waits_for_a_gpu(
    recipe: Recipe, corpus: PackedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the crops to the loss, with every view there is; the way back needs a GPU's driver."""
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    words = recipe.families["words"]
    views = dataclasses.replace(words.views, **EVERY_VIEW)
    families = recipe.families | {"words": dataclasses.replace(words, views=views)}
    run = Pretraining(dataclasses.replace(recipe, families=families), corpus, CPU)
    run.step()
    run.step()
    crops_and_keys = run.crops(np.arange(recipe.batch), run.families)
    memory = run.memory
    assert memory is not None and memory._items_MFT is not None
    assert len(memory) == memory.capacity
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        held = mode.from_tensor(memory._items_MFT)
        memory._items_MFT = held.to("cuda")
        run.device = torch.device("cuda")
        run.twins = run.forward = fake(run.twins, mode)
        for one in run.views.values():
            fake(one, mode)
        inputs = [mode.from_tensor(one).to("cuda") for one in crops_and_keys]
        run._seed = lambda part: None  # type: ignore[method-assign]
        with Waiting() as waiting:
            _, parts, embedding_BE, _ = run._from_crops(*inputs)
    assert not waiting.found
    assert {one.device.type for one in (*parts.values(), embedding_BE)} == {"cuda"}


def fake(module: Any, mode: FakeTensorMode) -> Any:
    """A module whose parameters and buffers are on a GPU that is not there."""
    for part in module.modules():
        for name, one in part._parameters.items():
            if one is not None:
                moved = mode.from_tensor(one.detach()).to("cuda")
                part._parameters[name] = torch.nn.Parameter(moved)
        for name, one in part._buffers.items():
            part._buffers[name] = None if one is None else mode.from_tensor(one).to("cuda")
    return module
