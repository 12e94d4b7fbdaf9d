"""Pretraining: it learns, it is reproducible, and a kill loses nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tensorboardX import SummaryWriter

from barlow_speech import configs
from barlow_speech.benchmark import entry
from barlow_speech.benchmark.arguments import speech_folder
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, digest
from barlow_speech.upstream.common.settings import build, read_yaml
from barlow_speech.upstream.data.packed import DataSettings, PackedCorpus, Source, chosen, pack
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.model.frontend import FrontEnd, FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings
from barlow_speech.upstream.pretraining.objective import EPSILON
from barlow_speech.upstream.pretraining.recipe import (
    Recipe,
    ViewFamily,
    check_alignment,
    read_recipe,
)
from barlow_speech.upstream.pretraining.run import pretrain
from barlow_speech.upstream.pretraining.trainer import Pretraining
from barlow_speech.upstream.pretraining.views.memory import MixupBank
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.random import item_keys
from barlow_speech.upstream.pretraining.views.settings import ViewSettings
from tests.conftest import tone_corpus

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


# A second family, over frames, whose views leave time alone.
LOCAL = "{level: frames, views: {mixup: {}, resized_crop: {time_scale: [1, 1], time_canvas: 1}},"
LOCAL += " projector: {width: 8}, objective: {redundancy: 0.02, scale: 0.1}, weight: 0.3}"


VOICE = "{segments: different, projector: {width: 8}, weight: 0.5}"


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
    recipe = read_recipe(recipe_file, [f"families.voice={VOICE}"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    figures = run.step()
    parts = 1.0 * figures["words/loss"] + 0.5 * figures["voice/loss"]
    assert figures["loss"] == pytest.approx(parts, rel=1e-6)
    assert set(run.twins.projectors) == {"words", "voice"}


def test_a_family_of_shorter_crops_sees_two_stretches_of_its_recordings(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """What the others see, and what mixup remembers, stays as it is."""
    alone = run_of(read_recipe(recipe_file), tones.parent, tmp_path / "alone")
    voice = "{segments: different, crop_s: 0.1, views: {mixup: {p: 1}}, projector: {width: 8}}"
    recipe = read_recipe(recipe_file, [f"families.voice={voice}", "rotate=true"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    positions = np.arange(recipe.batch)
    pairs, plain_BFT = run.pairs(positions, recipe.families)
    (same, remembered_BFT), [*_, plain] = alone.pairs(positions), [plain_BFT]
    assert all(torch.equal(*views) for views in zip(pairs["words"], same["words"]))
    assert torch.equal(plain, remembered_BFT)
    assert [view.shape[1] for view in (*pairs["words"], *pairs["voice"])] == [25, 25, 10, 10]
    assert not torch.equal(*pairs["voice"])
    assert len(run.crops(positions, {"words": recipe.families["words"]})) == 2  # one, and keys
    while not run.done:  # the memory holds what is longer than the voice's crops
        assert math.isfinite(run.step()["loss"])


def test_speed_counts_a_recording_once_by_the_longest_of_its_crops(recipe_file: Path) -> None:
    shorter = ["families.words.crop_s=0.2", "families.voice={crop_s: 0.1}"]
    assert read_recipe(recipe_file).speech_s == 0.25
    assert read_recipe(recipe_file, shorter).speech_s == 0.2
    assert read_recipe(recipe_file, [*shorter, "rotate=true"]).speech_s == pytest.approx(0.15)


def test_the_objective_over_frames_is_that_of_all_states_of_all_utterances(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """Against the pairs of states collected one by one, and NumPy from the projector on."""
    recipe = read_recipe(recipe_file, [f"families.local={LOCAL}"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    twins = run.twins.double()
    views = [view.double() for view in run.pairs(np.arange(recipe.batch))[0]["local"]]
    lengths = torch.full((recipe.batch,), views[0].shape[1])
    with torch.no_grad():  # both views in one pass, as the encoder has batch norms
        states = twins.model.encoder(torch.cat(views), lengths.repeat(2))[0][-1].numpy()
    pairs = [
        (states[item, time], states[recipe.batch + item, time])
        for time in range(states.shape[1])
        for item in range(recipe.batch)
    ]
    assert states.shape[1] > 2
    first, norm, _, last = twins.projectors["local"]
    weights = [layer.weight.detach().numpy() for layer in (first, last)]
    inner = np.array([state for side in zip(*pairs) for state in side]) @ weights[0].T
    # A fresh batch norm neither scales nor shifts.
    inner = (inner - inner.mean(0)) / np.sqrt(inner.var(0) + norm.eps)
    a, b = np.split(np.maximum(inner, 0) @ weights[1].T, 2)
    correlation = np.corrcoef(a.T, b.T)[:8, 8:]
    # The objective divides by √(variance + EPSILON).
    shrink = [np.sqrt(z.var(0) / (z.var(0) + EPSILON)) for z in (a, b)]
    correlation *= np.outer(*shrink)
    invariance = np.square(1 - np.diag(correlation)).sum()
    redundancy = np.square(correlation).sum() - np.square(np.diag(correlation)).sum()

    family = recipe.families["local"]
    terms, embedding = run._whole("local", family, views[0], views[1])
    assert terms["invariance"].item() == pytest.approx(invariance, rel=1e-9)
    assert terms["redundancy"].item() == pytest.approx(redundancy, rel=1e-9)
    loss = 0.1 * (invariance + 0.02 * redundancy)
    assert terms["loss"].item() == pytest.approx(loss, rel=1e-9)
    np.testing.assert_allclose(run.correlations["local"].numpy(), correlation, atol=1e-9)
    # The figure of collapse stays that of utterances.
    assert embedding.shape == (2 * recipe.batch, twins.model.encoder.embedding_dim)


def test_a_view_that_moves_time_is_refused_over_frames_and_no_other() -> None:
    """Clicks at random times: where a view leaves them, their onsets are at the frames they were.

    Of onsets, since a room's echoes lengthen a click and do not move it.
    """
    rng = np.random.default_rng(0)
    waves = torch.zeros(16, 16000)
    for wave in waves:
        for start in rng.choice(150, 8, replace=False) * 100 + 500:
            wave[start : start + 80] = torch.from_numpy(rng.standard_normal(80)).float()
    frontend = FrontEnd(FrontEndSettings(64, -6.0, 4.0))
    clean = frontend(waves).transpose(1, 2)
    memory = MixupBank(32)
    memory.push(clean.flip(0))
    keys = item_keys(0, 0, torch.arange(16), 0)
    refused = set()
    for one in dataclasses.fields(ViewSettings):
        settings = build(ViewSettings, {one.name: {"p": 1.0}}, "views")
        views = Views(settings)
        frames = frontend(views.waveform(waves, keys)).transpose(1, 2)
        seen = views.spectrogram(frames, keys, memory)
        shape, original = (
            torch.nn.functional.normalize(frames_BFT.exp().mean(1).diff(dim=1).relu(), dim=1)
            for frames_BFT in (seen, clean)
        )
        alike = torch.stack(
            [(shape * original.roll(lag, 1)).sum(1) for lag in range(-30, 31)], dim=1
        )
        moved = bool((alike.argmax(1) != 30).any())
        try:
            check_alignment("local", ViewFamily(level="frames", views=settings))
        except BarlowSpeechError:
            refused.add(one.name)
        assert moved == (one.name in refused), one.name
    assert refused == {"speed", "resized_crop"}


def test_the_views_of_local_term_leave_every_frame_where_it_is() -> None:
    """A frame that is changed changes that frame of either view, and no other by a bit."""
    tree = read_yaml(configs.find("override", "local_term"))["families"]["local"]
    family = build(ViewFamily, tree, "local_term")
    frames = torch.randn(12, 64, 101, generator=torch.Generator().manual_seed(0))
    memory = MixupBank(16)
    memory.push(torch.randn(16, 64, 101, generator=torch.Generator().manual_seed(1)))
    changed = frames.clone()
    changed[:, :, 40] += 3
    views = Views(family.views)
    for view in (0, 1):
        keys = item_keys(0, 0, torch.arange(12), view)
        one, two = (views.spectrogram(x, keys, memory) for x in (frames, changed))
        assert not torch.equal(one, frames)
        differs = (one != two).any(dim=1)
        assert differs[:, 40].all() and differs.sum() == 12


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ("{resized_crop: {}}", "resized_crop moves"),
        ("{resized_crop: {time_scale: [1, 1]}}", "time_canvas: 1"),  # BYOL-A's canvas shifts
        ("{resized_crop: {time_scale: [0.9, 1], time_canvas: 1}}", r"time_scale: \[1, 1\]"),
        ("{speed: {rate: [1, 1.1]}}", "speed stretches time"),
    ],
)
def test_views_that_are_not_aligned_are_refused_over_frames(
    recipe_file: Path, tones: Path, tmp_path: Path, views: str, words: str
) -> None:
    local = [f"families.local={{level: frames, views: {views}}}"]
    with pytest.raises(BarlowSpeechError, match=rf"recipe.yaml: families\.local has .*{words}"):
        read_recipe(recipe_file, local)
    # The same views are no error for utterances, nor of any view that is never drawn.
    recipe = read_recipe(recipe_file, [*local, "families.local.level=utterance"])
    view = views.split(":")[0].strip("{")
    read_recipe(recipe_file, [*local, f"families.local.views.{view}.p=0"])
    # And a recipe that was not read from a file is held to it too.
    moved = dataclasses.replace(recipe.families["local"], level="frames")
    recipe = dataclasses.replace(recipe, families={"local": moved})
    with pytest.raises(BarlowSpeechError, match="must be aligned in time"):
        run_of(recipe, tones.parent, tmp_path / "packed")


def test_the_local_term_is_learnt_beside_a_recipe_that_stays_as_it_is(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    changes = ["steps=60", "batch=16"]
    recipe = read_recipe(recipe_file, changes, [configs.find("override", "local_term")])
    plain = read_recipe(recipe_file, changes)
    assert recipe.families["words"] == plain.families["words"]
    runs = [run_of(one, tones.parent, tmp_path / "packed") for one in (recipe, plain)]
    assert runs[0].step()["words/loss"] == runs[1].step()["loss"]  # the same start and draws
    figures = []
    while not runs[0].done:
        figures.append(runs[0].step())
    losses, diagonals = ([one[f"local/{key}"] for one in figures] for key in ("loss", "diagonal"))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert np.mean(diagonals[-5:]) > 1.2 * np.mean(diagonals[:5])


def test_a_family_of_the_file_below_is_left_out_by_null(recipe_file: Path) -> None:
    given = [f"families.local={LOCAL}"]
    assert list(read_recipe(recipe_file, given).families) == ["words", "local"]
    assert list(read_recipe(recipe_file, [*given, "families.words=null"]).families) == ["local"]
    with pytest.raises(BarlowSpeechError, match="families is empty; name at least one"):
        read_recipe(recipe_file, ["families.words=null"])


@pytest.mark.parametrize(
    "change",
    [
        "families.wrods=null",
        "families.wrods.projector.width=4",
        "families.wrods.views={mixup: {}}",
    ],
)
def test_a_family_that_is_not_there_is_neither_left_out_nor_changed(
    recipe_file: Path, change: str
) -> None:
    with pytest.raises(
        BarlowSpeechError, match=r"unknown view family 'wrods' in --set.*did you mean 'words'\?"
    ):
        read_recipe(recipe_file, [change])
    with pytest.raises(BarlowSpeechError, match="unknown view family 'words'"):
        read_recipe(
            recipe_file,
            [f"families.local={LOCAL}", "families.words=null", "families.words.weight=1"],
        )


def test_a_file_leaves_out_no_family_that_is_not_there(recipe_file: Path) -> None:
    above = recipe_file.with_name("above.yaml")
    above.write_text(f"extends: {recipe_file.name}\nfamilies: {{wrods: null, local: {LOCAL}}}\n")
    with pytest.raises(BarlowSpeechError, match=r"'wrods' in .*above\.yaml.*mean 'words'"):
        read_recipe(above)
    with pytest.raises(BarlowSpeechError, match="'wrods'"):
        read_recipe(recipe_file, [], [above.with_name("above.yaml")])
    above.write_text(f"extends: {recipe_file.name}\nfamilies: {{words: null, local: {LOCAL}}}\n")
    assert list(read_recipe(above).families) == ["local"]


def test_the_family_of_a_recipe_that_names_none_may_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 3\n")
    recipe = read_recipe(path, ["families.main.projector.width=7"])
    assert recipe.families["main"].projector.width == 7


def test_families_in_turn_train_one_a_step(recipe_file: Path, tones: Path, tmp_path: Path) -> None:
    """Each on the views that it has beside the others, and no other projector moves."""
    families = [f"families.local={LOCAL}", f"families.voice={VOICE}", "optimiser.weight_decay=0"]
    together, run = (
        run_of(read_recipe(recipe_file, [*families, *more]), tones.parent, tmp_path / "packed")
        for more in ([], ["rotate=true"])
    )
    every = together.pairs(np.arange(8))[0]
    for name in ["words", "local", "voice", "words"]:
        views = run.pairs(np.arange(8))[0]
        if run.steps_done == 0:
            assert all(torch.equal(a, b) for a, b in zip(views[name], every[name]))
        before = {key: one.clone() for key, one in run.twins.state_dict().items()}
        figures = run.step()
        assert list(views) == [name]
        assert figures["loss"] == pytest.approx(
            run.recipe.families[name].weight * figures[f"{name}/loss"], rel=1e-6
        )
        after = run.twins.state_dict()
        moved = {
            key.split(".")[1]
            for key in after
            if key.startswith("projectors.") and not torch.equal(after[key], before[key])
        }
        assert name in moved
        # AdamW goes on by its momentum only where there is a gradient.
        assert moved == {name}


def test_the_rate_stays_until_the_decay(recipe_file: Path, tones: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, ["optimiser.decay=4"])
    run = run_of(recipe, tones.parent, tmp_path / "packed")
    rates = [run.learning_rate(step) / 3e-3 for step in range(12)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4])
    run.recipe = read_recipe(recipe_file, ["steps=8", "optimiser.decay=100"])
    rates = [run.learning_rate(step) / 3e-3 for step in range(8)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5])


def test_a_training_before_its_decay_may_end_elsewhere(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """With the weights of a run that had this end from the start; from its decay on, no more."""

    def run(*changes: str) -> Pretraining:
        recipe = read_recipe(recipe_file, changes)
        return run_of(recipe, tones.parent, tmp_path / "packed")

    planned = run("steps=9", "optimiser.decay=3")
    while not planned.done:
        planned.step()
    long = run("steps=50", "optimiser.decay=5")
    for _ in range(6):
        long.step()
    long.save(tmp_path)
    early = run("steps=9", "optimiser.decay=3")
    early.load(tmp_path)
    while not early.done:
        early.step()
    assert same(early.twins.state_dict(), planned.twins.state_dict())
    for changes in (
        ["steps=9"],  # a cosine
        ["steps=8", "optimiser.decay=3"],  # would have begun to fall
        ["steps=5", "optimiser.decay=3"],  # is over
        ["steps=9", "optimiser.decay=3", "optimiser.lr=1e-3"],
    ):
        with pytest.raises(BarlowSpeechError, match="another recipe"):
            run(*changes).load(tmp_path)
    early.save(tmp_path)
    with pytest.raises(BarlowSpeechError, match=r"another recipe.*begins to fall"):
        run("steps=50", "optimiser.decay=5").load(tmp_path)


def test_too_little_memory_is_told(recipe_file: Path, tones: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, ["batch=1048576", "crop_s=3600"])
    with pytest.raises(
        BarlowSpeechError,
        match=r"memory is too small for batches of 1048576 crops of 3600 s; lower",
    ):
        pretrain(recipe, tmp_path / "out", data_root=tones.parent)


@pytest.mark.parametrize("verb", ["pretrain", "pack"])
def test_a_recipe_of_other_speech_asks_for_its_folder(verb: str, tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="say by --data-root in which folder it lies"):
        entry.run([verb, "default", "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_no_corpus_is_spoken_for_a_recipe_that_says_where_its_speech_is(tones: Path) -> None:
    data = DataSettings((Source(str(tones)),))
    assert chosen(data, speech_folder(None, data))
    assert not list(cache_dir().glob("*"))


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [f"families.local={LOCAL}", "accumulate=2", "encoder.dropout=0.1"],
        [f"families.local={LOCAL}", f"families.voice={VOICE}", "rotate=true", "optimiser.decay=4"],
    ],
)
def test_stopping_and_going_on_changes_no_bit(
    recipe_file: Path, tones: Path, tmp_path: Path, changes: list[str]
) -> None:
    recipe = read_recipe(recipe_file, changes)
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


# The command that says when it trains, and does not go far from there before it is killed.
DOOMED = """
import sys, time
from barlow_speech.benchmark import entry
from barlow_speech.upstream.pretraining.trainer import Pretraining

steps, step = 0, Pretraining.step

def watched(self):
    global steps
    steps += 1
    if steps == 4:
        print("it trains", flush=True)
    if steps == 12:
        time.sleep(10**6)
    return step(self)

Pretraining.step = watched
entry.run(sys.argv[1:])
"""


def test_kill_and_resume_gives_the_same_weights(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """The real command, killed with SIGKILL at random moments, then resumed until it is done."""
    arguments = ["pretrain", str(recipe_file), "--data-root", str(tones.parent), "--device", "cpu"]
    arguments += ["--set", "steps=40", "checkpoint_every=2", "--resume", "-o"]
    command = [sys.executable, "-m", "barlow_speech.benchmark.entry", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out, reference = tmp_path / "killed", tmp_path / "reference"
    subprocess.run([*command, str(reference)], check=True, env=environment, capture_output=True)
    rng = np.random.default_rng()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", DOOMED, *arguments, str(out)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        _, errors = process.communicate()
        assert (said, process.returncode) == ("it trains\n", -signal.SIGKILL), errors
    subprocess.run([*command, str(out)], check=True, env=environment, capture_output=True)
    assert same(weights(out / "encoder.safetensors"), weights(reference / "encoder.safetensors"))


def test_an_encoder_says_of_all_its_training_wherever_that_was_stopped(
    recipe_file: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its last state and the encoder too, when no step is left to say anything."""
    recipe = read_recipe(recipe_file, [f"families.local={LOCAL}", "rotate=true"])

    def facts(out: Path, resume: bool = False) -> dict[str, Any]:
        path = pretrain(recipe, out, data_root=tones.parent, resume=resume)
        found: dict[str, Any] = load_tensors(path)[1]["facts"]
        return found

    whole = facts(tmp_path / "whole")
    assert {"words/loss", "local/loss", "effective_rank"} <= set(whole["figures"])
    step, out = Pretraining.step, tmp_path / "stopped"

    def stopped(self: Pretraining) -> dict[str, float]:
        if self.steps_done == 11:
            raise KeyboardInterrupt
        time.sleep(0.02)
        return step(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pretraining, "step", stopped)
        pretrain(recipe, out, data_root=tones.parent)
    found = facts(out, resume=True)
    assert found["figures"] == whole["figures"]
    assert found["seconds"] >= 0.1  # of nine steps before, rounded
    (out / "encoder.safetensors").unlink()
    assert facts(out, resume=True) == found


def test_what_the_optimiser_keeps_lies_in_memory_as_its_weights_do(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    """After loading too: a fused step on a GPU refuses other strides than the weights'."""
    recipe = read_recipe(recipe_file, ["steps=4", "model.encoder.name=cnn2d"])
    pretrain(recipe, tmp_path, data_root=tones.parent)
    corpus = PackedCorpus(tmp_path / "packed", recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    run.load(tmp_path)
    states = run.optimiser.state
    assert any(not one.is_contiguous() for one in states)  # channels last
    for parameter, kept in states.items():
        assert isinstance(parameter, torch.Tensor)
        for name in ("exp_avg", "exp_avg_sq"):
            assert kept[name].stride() == parameter.stride()


def test_packed_speech_needs_no_other(
    recipe_file: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy corpus, which stands in where no speech is named, is not spoken."""
    recipe = read_recipe(recipe_file)
    pack(chosen(recipe.data, tones.parent), tmp_path / "packed")

    def spoken() -> None:
        raise AssertionError("the toy corpus was asked for")

    monkeypatch.setattr("barlow_speech.downstream.toy.corpus.toy_corpus", spoken)
    out = tmp_path / "out"
    arguments = [str(recipe_file), "--packed", str(tmp_path / "packed"), "-o", str(out)]
    entry.run(["pretrain", *arguments, "--device", "cpu", "--set", "steps=2"])
    assert (out / "encoder.safetensors").exists()


def test_logs_of_processes_that_start_together_are_files_of_their_own(
    recipe_file: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tensorboardX makes its folder with no second process in mind, and names files by second."""
    there = []

    def log_of(folder: str, **options: Any) -> SummaryWriter:
        there.append(Path(folder).is_dir())
        return SummaryWriter(folder, **options)

    monkeypatch.setattr("barlow_speech.upstream.pretraining.run.SummaryWriter", log_of)
    pretrain(read_recipe(recipe_file), tmp_path / "run", data_root=tones.parent)
    assert there == [True]
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.name.endswith(f".{os.getpid()}")


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


def test_a_finished_run_is_of_the_speech_that_was_there(recipe_file: Path, tmp_path: Path) -> None:
    """Other recordings under the same names are refused, also when what was packed is removed."""
    tones = tone_corpus(tmp_path / "tones")
    recipe, out = read_recipe(recipe_file, ["steps=1"]), tmp_path / "out"
    encoder = pretrain(recipe, out, data_root=tones.parent)
    before = encoder.read_bytes()
    path = chosen(recipe.data, tones.parent)[0].path
    content = path.read_bytes()
    wave, rate = soundfile.read(path)
    soundfile.write(path, -wave, rate)
    with pytest.raises(BarlowSpeechError, match=r"packed holds other recordings than these"):
        pretrain(recipe, out, data_root=tones.parent, resume=True)
    shutil.rmtree(out / "packed")
    with pytest.raises(BarlowSpeechError, match=r"was trained on other speech than is packed now"):
        pretrain(recipe, out, data_root=tones.parent, resume=True)
    path.write_bytes(content)
    shutil.rmtree(out / "packed")
    assert pretrain(recipe, out, data_root=tones.parent, resume=True).read_bytes() == before


def test_a_loss_that_is_not_finite_stops_before_the_update(
    recipe_file: Path, tones: Path, tmp_path: Path
) -> None:
    run = run_of(read_recipe(recipe_file), tones.parent, tmp_path / "packed")
    with torch.no_grad():
        run.twins.model.encoder.first.weight.fill_(float("nan"))
    before = {name: value.clone() for name, value in run.twins.state_dict().items()}
    with pytest.raises(BarlowSpeechError, match="not finite at step 0") as caught:
        run.step()
    names = run.corpus.names(np.arange(run.recipe.batch))
    assert len(names) > 3 and all(Path(name).is_file() for name in names)
    assert f"with {', '.join(names[:3])} and {len(names) - 3} others" in str(caught.value)
    for name, parameter in run.twins.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num())


def test_every_recipe_in_the_package_is_valid() -> None:
    for path in configs.files("recipe").values():
        assert read_recipe(path).steps > 0


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stepz=3", "did you mean 'steps'"),
        ("encoder.name=cnn2", "did you mean 'cnn2d'"),
        ("encoder.chanels=3", "did you mean 'channels'"),
        ("families.words.views.mixup.ratoi=1", "did you mean 'ratio'"),
        ("families.words.segments=both", "'both'"),
        ("families.words.level=frame", "did you mean 'frames'"),
        ("families.words={level: frames, segments: different}", "segments: same"),
        ("steps=0", "steps must be greater than or equal to 1"),
        ("batch=1", "batch must be greater than or equal to 2"),
        ("seed=-1", "seed"),
        ("crop_s=0.001", "crop_s"),
        ("families.words.crop_s=0.001", "crop_s"),
        ("families.words.crop_s=0.5", r"families.words.crop_s is 0.5 and more .* of 0.25 s; lower"),
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


def test_every_override_in_the_package_goes_over_every_recipe() -> None:
    base = configs.find("recipe", "base")
    plain = read_recipe(base).as_dict()
    overrides = configs.files("override")
    assert {"hsic", "vicreg", "views_paper", "views_speech"} <= overrides.keys()
    for file in overrides.values():
        changed = read_recipe(base, [], [file]).as_dict()
        assert changed != plain, file
        assert changed["families"]["main"]["projector"] == plain["families"]["main"]["projector"]
    with pytest.raises(BarlowSpeechError, match=r"unknown override 'hsik'.*did you mean 'hsic'"):
        configs.find("override", "hsik")


def test_one_key_switches_the_encoder(recipe_file: Path) -> None:
    """The old encoder's own keys do not come along."""
    recipe = read_recipe(recipe_file, ["encoder.name=conformer"])
    assert recipe.model.encoder == {"name": "conformer"}
    assert read_recipe(recipe_file, ["encoder.channels=6"]).model.encoder["name"] == "cnn2d"


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(BarlowSpeechError, match="did you mean 'toy'"):
        configs.find("recipe", "toi")


def test_what_was_named_by_a_digest_keeps_its_name() -> None:
    """Folders of pretrainings, features and results are named by these; keys that came later are
    in them only where they are set."""
    assert digest(Recipe(steps=3).as_dict()).startswith("dcd0ae57e7cfdadadd17e65e6ec16cb5")
    assert digest(ModelSettings().as_dict()).startswith("cfb757a85f309e58205a0242115996230c81")
    assert Recipe(steps=3, rotate=True).as_dict()["rotate"] is True
    model = ModelSettings(encoder={"name": "cnn2d", "stride_ms": 20})
    assert model.as_dict()["encoder"]["stride_ms"] == 20
