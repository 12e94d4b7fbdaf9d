"""Training in several processes, or in parts, is training in one.

Run as a program, this file is one of the processes: RECIPE PACKED OUT.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.pretraining import distributed
from barlow_speech.upstream.pretraining.lars import LARS
from barlow_speech.upstream.pretraining.objective import objective
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining

RECIPE = """
steps: 3
batch: 12
crop_s: 0.25
memory: 16
precision: float32
data: {sources: [{manifest: manifest.tsv}]}
model: {frontend: {n_mels: 16}, encoder: {name: cnn2d, channels: 4}}
families:
  words:
    views: {mixup: {}, resized_crop: {}, gain: {}}
    projector: {width: 16, layers: 2}
    objective: {redundancy: 0.02, scale: 0.1}
  voice: {segments: different, projector: {width: 8}, weight: 0.5, objective: {scale: 0.1}}
  local:
    level: frames
    views: {mixup: {}, resized_crop: {time_scale: [1, 1], time_canvas: 1}, gain: {}}
    projector: {width: 8}
    weight: 0.3
    objective: {redundancy: 0.02, scale: 0.1}
optimiser: {lr: 1.0e-3, warmup: 1}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def run_of(recipe: Recipe, root: Path, folder: Path) -> Pretraining:
    corpus = PackedCorpus(pack(chosen(recipe.data, root), folder), recipe.crop_s, recipe.seed)
    return Pretraining(recipe, corpus, torch.device("cpu"))


def train_in_float64(recipe: Recipe, packed: Path, out: Path) -> None:
    """Three steps in float64, in which rounding has no room to hide a wrong formula."""
    run = Pretraining(recipe, PackedCorpus(packed, recipe.crop_s, recipe.seed), torch.device("cpu"))
    run.twins.double()
    pairs = run.pairs

    def double_pairs(positions: np.ndarray) -> tuple[dict, torch.Tensor]:
        views, clean = pairs(positions)
        return {name: (a.double(), b.double()) for name, (a, b) in views.items()}, clean

    run.pairs = double_pairs  # type: ignore[method-assign]
    run.twins.model.frontend.float()
    while not run.done:
        run.step()
    if distributed.rank() == 0:
        run.save(out)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_together_train_what_one_trains(
    recipe_file: Path, tones: Path, tmp_path: Path, count: int
) -> None:
    """All of it: crops, views, mixup's memory, batch norm, objective, gradients, weights."""
    recipe = read_recipe(recipe_file)
    packed = pack(chosen(recipe.data, tones.parent), tmp_path / "packed")
    train_in_float64(recipe, packed, tmp_path / "one")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(count)}
    environment["BARLOW_TEST_STORE"] = str(tmp_path / "store")
    command = [sys.executable, __file__, str(recipe_file), str(packed), str(tmp_path / "all")]
    workers = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}) for rank in range(count)
    ]
    assert [worker.wait(timeout=900) for worker in workers] == [0] * count
    expected = load_tensors(tmp_path / "one" / "training.safetensors")[0]
    found = load_tensors(tmp_path / "all" / "training.safetensors")[0]
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        # A bias before a batch norm has no gradient but rounding, which Adam blows up to steps.
        if "convolutions" in key and key.endswith("bias"):
            continue
        scale = max(float(tensor.double().abs().max()), 1e-6)
        difference = float((found[key].double() - tensor.double()).abs().max())
        assert difference <= 1e-5 * scale or ("optimiser" in key and difference < 1e-9), key
    start = run_of(recipe, tones.parent, tmp_path / "packed").twins.state_dict()
    moved = [
        float((expected[f"twins.{name}"].double() - value.double()).abs().max())
        for name, value in start.items()
    ]
    assert max(moved) > 1e-3  # the comparison is of trained weights


def finished(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_trains_in_processes_and_says_a_mistake_once(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    command = ["-m", "barlow_speech.benchmark.entry", "pretrain", str(recipe_file)]
    command += ["--data-root", str(tones.parent), "-o", str(tmp_path / "out")]
    command += ["--processes", "2", "--device", "cpu", "--set", "steps=1"]
    done = finished(*command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "encoder.safetensors").exists()
    assert done.stdout.count("encoder: ") == 1
    again = finished(*command)
    assert again.returncode == 2 and again.stdout == ""
    assert again.stderr.startswith("error: ") and again.stderr.count("\n") == 1
    assert "holds a training already; add --resume" in again.stderr


def test_a_process_that_was_killed_is_said() -> None:
    program = "from barlow_speech.upstream.pretraining.processes import together"
    done = finished("-c", f"import signal\n{program}\ntogether(2, signal.raise_signal, 9)")
    assert done.returncode == 1
    assert "BarlowSpeechError: process" in done.stderr and "killed by signal 9" in done.stderr


@pytest.mark.parametrize("name", ["words", "local"])
def test_a_batch_in_parts_has_the_loss_and_gradients_of_the_whole(
    recipe_file: Path, tones: Path, tmp_path: Path, name: str
) -> None:
    """Against autograd through all parts at once, each with its own batch norm."""
    recipe = read_recipe(recipe_file, ["accumulate=3"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    views, _ = run.pairs(np.arange(recipe.batch))
    # Without a weight of its own, which the terms are without.
    family = dataclasses.replace(recipe.families[name], weight=1.0)
    before = {key: value.clone() for key, value in run.twins.state_dict().items()}
    terms, _ = run._in_parts(name, family, *views[name])
    found = [None if p.grad is None else p.grad.clone() for p in run.twins.parameters()]
    statistics = {key: value.clone() for key, value in run.twins.named_buffers()}
    run.twins.load_state_dict(before)
    run.twins.zero_grad()
    latents = []
    for first, second in zip(*(view.chunk(3) for view in views[name])):
        latents.append(run.twins(torch.cat([first, second]), name)[1].chunk(2))
    a, b = (torch.cat(side) for side in zip(*latents))
    expected = objective(a, b, family.objective)
    expected["loss"].backward()
    torch.testing.assert_close(terms["loss"], expected["loss"])
    for gradient, parameter in zip(found, run.twins.parameters()):
        assert (gradient is None) == (parameter.grad is None)
        if gradient is not None and parameter.grad is not None:
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)
    for key, value in run.twins.named_buffers():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(statistics[key], value)


@pytest.mark.parametrize("changes", [["accumulate=5"], ["accumulate=12"]])
def test_a_batch_that_cannot_be_divided_is_refused(
    recipe_file: Path, tones: Path, tmp_path: Path, changes: list[str]
) -> None:
    with pytest.raises(BarlowSpeechError, match="cannot be divided"):
        run_of(read_recipe(recipe_file, changes), tones.parent, tmp_path / "packed")


def test_lars_is_lightlys() -> None:
    from lightly.utils.lars import LARS as Reference

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 4, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    # Hardly any decay: lightly has ‖g‖ + decay · ‖w‖ where Barlow Twins' own code, and ours, has
    # ‖g + decay · w‖, and without decay it adapts nothing.
    options = {"lr": 0.3, "weight_decay": 1e-7, "momentum": 0.9}
    first = LARS([ours], trust=0.02, **options)
    second = Reference([theirs], trust_coefficient=0.02, **options)
    for _ in range(5):
        gradient = torch.randn(5, 4, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        first.step()
        second.step()
    torch.testing.assert_close(ours.data, theirs.data, rtol=1e-4, atol=1e-6)


def test_joined_batch_norm_is_torchs_for_one_process() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 4, 5, generator=generator)
    plain, joint = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    distributed.join_batch_norms(joint)
    assert isinstance(joint, distributed.JointBatchNorm)
    assert torch.equal(plain(x), joint(x))
    assert torch.equal(plain.eval()(x), joint.eval()(x))


def main() -> None:
    """One of the processes."""
    recipe, packed, out = sys.argv[1:]
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{os.environ['BARLOW_TEST_STORE']}",
        world_size=int(os.environ["WORLD_SIZE"]),
        rank=int(os.environ["RANK"]),
    )
    train_in_float64(read_recipe(Path(recipe)), Path(packed), Path(out))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
