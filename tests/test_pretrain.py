"""Pretraining: it learns, it is reproducible, and a kill loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from barlow_speech.upstream.checkpoint import load_tensors
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.pretrain import Pretraining, pretrain
from barlow_speech.upstream.recipe import Recipe, find_recipe, read_recipe

RECIPE = """
steps: 12
batch: 8
crop_s: 0.25
memory: 16
checkpoint_every: 3
precision: float32
data: {sources: [{manifest: manifest.tsv, where: {split: [train]}}]}
model: {frontend: {n_mels: 16}, encoder: {name: cnn2d, channels: 4}}
families:
  words:
    segments: same
    views: {mixup: {}, resized_crop: {}, gain: {}, noise: {}}
    projector: {width: 16, layers: 2}
    objective: {redundancy: 0.02}
optimiser: {lr: 3.0e-3, warmup: 3}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path)[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run_of(recipe: Recipe, root: Path, folder: Path) -> Pretraining:
    corpus = PackedCorpus(pack(chosen(recipe.data, root), folder), recipe.crop_s, recipe.seed)
    return Pretraining(recipe, corpus, torch.device("cpu"))


def test_the_loss_falls(recipe_file: Path, tones: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, ["steps=60", "optimiser.lr=0.01"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    losses = []
    while not run.done:
        losses.append(run.step()["loss"])
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_several_families_share_the_trunk(recipe_file: Path, tones: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        recipe_file,
        ["families.voice.segments=different", "families.voice.weight=0.5",
         "families.voice.projector={width: 8}"],
    )  # fmt: skip
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    figures = run.step()
    parts = 1.0 * figures["words/loss"] + 0.5 * figures["voice/loss"]
    assert figures["loss"] == pytest.approx(parts, rel=1e-6)
    assert set(run.twins.projectors) == {"words", "voice"}


def test_stopping_and_going_on_changes_no_bit(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_file)
    whole = run_of(recipe, tones.parent, tmp_path / "packed")
    while not whole.done:
        whole.step()
    for stop in (1, 5, 11):
        run = run_of(recipe, tones.parent, tmp_path / "packed")
        for _ in range(stop):
            run.step()
        run.save(tmp_path)
        again = run_of(recipe, tones.parent, tmp_path / "packed")
        again.load(tmp_path)
        assert again.steps_done == stop
        while not again.done:
            again.step()
        assert same(again.twins.state_dict(), whole.twins.state_dict())


def test_kill_and_resume_gives_the_same_weights(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """The real command, killed with SIGKILL at random moments, then resumed until it is done."""
    command = [sys.executable, "-m", "barlow_speech.benchmark.entry", "pretrain"]
    command += [str(recipe_file), "--data-root", str(tones.parent), "--device", "cpu"]
    command += ["--set", "steps=40", "checkpoint_every=2", "--resume", "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out, reference = tmp_path / "killed", tmp_path / "reference"
    subprocess.run([*command, str(reference)], check=True, env=environment, capture_output=True)
    rng = np.random.default_rng()
    kills = 0
    for _ in range(3):
        seen = out / "training.safetensors"
        before = seen.stat().st_mtime_ns if seen.exists() else 0
        process = subprocess.Popen(
            [*command, str(out)], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # From the first state that this process writes on, a kill falls into the training.
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if seen.exists() and seen.stat().st_mtime_ns != before:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills > 0
    subprocess.run([*command, str(out)], check=True, env=environment, capture_output=True)
    assert same(weights(out / "encoder.safetensors"), weights(reference / "encoder.safetensors"))


def test_a_finished_run_is_left_alone_and_another_recipe_refused(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_file, ["steps=2"])
    out = tmp_path / "out"
    path = pretrain(recipe, out, data_root=tones.parent)
    before = path.stat().st_mtime_ns
    assert pretrain(recipe, out, data_root=tones.parent, resume=True) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(BarlowSpeechError, match="--resume"):
        pretrain(recipe, out, data_root=tones.parent)
    other = read_recipe(recipe_file, ["steps=3"])
    with pytest.raises(BarlowSpeechError, match="another recipe"):
        pretrain(other, out, data_root=tones.parent, resume=True)


def test_a_loss_that_is_not_finite_stops_before_the_update(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    run = run_of(read_recipe(recipe_file), tones.parent, tmp_path / "packed")
    with torch.no_grad():
        run.twins.model.encoder.first.weight.fill_(float("nan"))
    before = {name: value.clone() for name, value in run.twins.state_dict().items()}
    with pytest.raises(BarlowSpeechError, match="not finite at step 0"):
        run.step()
    for name, parameter in run.twins.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num())


def test_every_recipe_in_the_package_is_valid() -> None:
    folder = find_recipe("base").parent
    for path in folder.glob("*.yaml"):
        assert read_recipe(path).steps > 0


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stepz=3", "did you mean 'steps'"),
        ("encoder.name=cnn2", "did you mean 'cnn2d'"),
        ("encoder.chanels=3", "did you mean 'channels'"),
        ("families.words.views.mixup.ratoi=1", "did you mean 'ratio'"),
        ("families.words.segments=both", "'both'"),
        ("steps=0", "above zero"),
        ("batch=1", "at least 2"),
        ("seed=-1", "seed"),
        ("crop_s=0.001", "crop_s"),
        ("encoder.channels=0", "channels must be"),
        ("encoder.dropout=1.5", "dropout must be"),
        ("model.frontend.n_mels=15", "divisible"),
    ],
)
def test_wrong_keys_are_named(
    recipe_file: Path, tones: Path, tmp_path: Path, assignment: str, words: str
) -> None:
    with pytest.raises(BarlowSpeechError, match=words):
        run_of(read_recipe(recipe_file, [assignment]), tones.parent, tmp_path / "packed")


def test_every_delta_in_the_package_goes_over_every_recipe() -> None:
    base = find_recipe("base")
    plain = read_recipe(base).as_dict()
    deltas = sorted((base.parent.parent / "deltas").glob("*.yaml"))
    assert {"hsic", "vicreg", "views_paper", "views_speech"} <= {one.stem for one in deltas}
    for delta in deltas:
        changed = read_recipe(base, [], [delta]).as_dict()
        assert changed != plain, delta
        assert changed["families"]["main"]["projector"] == plain["families"]["main"]["projector"]
    with pytest.raises(BarlowSpeechError, match=r"unknown delta 'hsik'.*did you mean 'hsic'"):
        find_recipe("hsik", "deltas")


def test_one_key_switches_the_encoder(recipe_file: Path) -> None:
    """The old encoder's own keys do not come along."""
    recipe = read_recipe(recipe_file, ["encoder.name=conformer"])
    assert recipe.model.encoder == {"name": "conformer"}
    assert read_recipe(recipe_file, ["encoder.channels=6"]).model.encoder["name"] == "cnn2d"


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(BarlowSpeechError, match="did you mean 'toy'"):
        find_recipe("toi")
