"""Figures of a pretraining show what the training itself sees."""

from __future__ import annotations

import dataclasses
import typing
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from barlow_speech.benchmark.commands.figures import write
from barlow_speech.benchmark.figures.correlation import DIMENSIONS_SHOWN, correlations
from barlow_speech.benchmark.figures.views import SPECTROGRAM_VIEWS, mel_band, views_of
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.model.frontend import HIGH_HZ, LOW_HZ, N_FFT, FrontEnd, FrontEndSettings
from barlow_speech.upstream.pretraining import trainer as pretrain
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import TRAINING, Pretraining
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.random import item_keys, white_noise
from barlow_speech.upstream.pretraining.views.settings import ViewSettings

RECIPE = """
steps: 6
batch: 8
crop_s: 0.25
memory: 16
precision: float32
data: {sources: [{manifest: manifest.tsv, where: {split: [train]}}]}
model: {frontend: {n_mels: 16}, encoder: {name: cnn2d, channels: 4}}
families:
  words:
    segments: same
    views: {mixup: {}, resized_crop: {}}
    projector: {width: 16, layers: 2}
    objective: {redundancy: 0.02}
  voice:
    segments: different
    views: {speed: {}, noise: {p: 1}, gain: {}, resized_crop: {}}
    projector: {width: 8, layers: 2}
optimiser: {lr: 3.0e-3, warmup: 3}
"""
FRONT_END = FrontEndSettings(16, -6.0, 4.0)


@pytest.fixture(autouse=True)
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The normalisation from a few crops: it is a third of these tests' time."""
    monkeypatch.setattr(pretrain, "NORMALISATION_CROPS", 32)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file)


@pytest.fixture
def pair(tones: Path) -> list[Path]:
    return [tones.parent / "0-0-0-0.wav", tones.parent / "3-1-2-1.wav"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures themselves, in place of their files."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    return figures


def views_figure(
    recipe: Recipe, recordings: list[Path], out: Path, family: str | None = None, seed: int = 0
) -> Path:
    given = Namespace(kind="views", recordings=recordings, out=out, family=family, seed=seed)
    return write(recipe, given)


def correlation_figure(
    recipe: Recipe, folder: Path, out: Path, packed: Path | None = None, family: str | None = None
) -> Path:
    given = Namespace(kind="correlation", folder=folder, out=out, packed=packed, family=family)
    return write(recipe, given)


def words_on(figure: Figure) -> str:
    artists: list[Any] = figure.findobj(match=lambda one: hasattr(one, "get_text"))
    return " ".join(" ".join(one.get_text().split()) for one in artists)


def run_of(recipe: Recipe, tones: Path, folder: Path, steps: int = 1) -> Pretraining:
    """A training of so many steps; its state and its speech lie in `folder`."""
    packed = pack(chosen(recipe.data, tones.parent), folder / "packed")
    corpus = PackedCorpus(packed, recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    for _ in range(steps):
        run.step()
    run.save(folder)
    return run


def test_the_same_input_gives_the_same_bytes(
    recipe: Recipe, pair: list[Path], tones: Path, tmp_path: Path
) -> None:
    run_of(recipe, tones, tmp_path / "run")
    out = tmp_path / "figures"
    files = [
        *(views_figure(recipe, pair, out / f"views{i}.png", seed=3) for i in (0, 1)),
        *(correlation_figure(recipe, tmp_path / "run", out / f"c{i}.pdf") for i in (0, 1)),
    ]
    assert sorted(out.iterdir()) == sorted(files)  # and no temporary file
    views, views_again, matrix, matrix_again = (path.read_bytes() for path in files)
    assert views == views_again and views.startswith(b"\x89PNG")
    assert matrix == matrix_again and matrix.startswith(b"%PDF")


def test_the_views_are_those_that_a_training_feeds(
    recipe_file: Path, pair: list[Path], tmp_path: Path
) -> None:
    # A batch is an epoch, so that the second step sees the positions that the figure shows.
    recipe = read_recipe(recipe_file, ["batch=3", "seed=5", "families.words.views.mixup=null"])
    packed = pack([Recording(path) for path in pair], tmp_path / "packed")
    corpus = PackedCorpus(packed, recipe.crop_s, recipe.seed)
    assert len(corpus.items) == recipe.batch
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    fed = {}
    run.twins.register_forward_pre_hook(lambda _, inputs: fed.update({inputs[1]: inputs[0]}))
    run.step()
    run.step()
    row = int(np.argmax(corpus.recordings(np.arange(3, 6)) == 0))
    keys = [item_keys(5, 0, torch.tensor([3 + row]), view) for view in (0, 1)]
    for name in ("words", "voice"):
        shown = views_of(recipe, pair, name, seed=5)
        assert shown.frontend.settings == run.twins.model.frontend.settings
        torch.testing.assert_close(shown.frames_VTF, fed[name][[row, row + 3]], atol=1e-4, rtol=0)
        # The waveforms that are drawn are those that these frames were made from.
        before_VFT = shown.frontend(shown.waves_VN).mT
        made = [run.views[name].spectrogram(before_VFT[v : v + 1], keys[v]).mT for v in (0, 1)]
        torch.testing.assert_close(torch.cat(made), shown.frames_VTF, atol=1e-4, rtol=0)


def test_segments_and_seeds(recipe: Recipe, pair: list[Path]) -> None:
    words, voice = (views_of(recipe, pair, name, frontend=FRONT_END) for name in ("words", "voice"))
    assert torch.equal(words.plain_VN[0], words.plain_VN[1])
    assert not torch.equal(voice.plain_VN[0], voice.plain_VN[1])
    assert torch.equal(words.waves_VN, words.plain_VN)
    assert words.unchanged(0) == (True, False)
    assert voice.unchanged(1) == (False, False)
    again = views_of(recipe, pair, "words", frontend=FRONT_END)
    other = views_of(recipe, pair, "words", frontend=FRONT_END, seed=1)
    assert torch.equal(again.frames_VTF, words.frames_VTF)
    assert not torch.equal(other.frames_VTF, words.frames_VTF)


def test_mixup_takes_the_other_recording(
    recipe_file: Path, pair: list[Path], tones: Path, tmp_path: Path, drawn: list[Figure]
) -> None:
    others = [pair, [pair[0], tones.parent / "2-0-1-0.wav"]]
    with_mixup = read_recipe(recipe_file)
    without = read_recipe(recipe_file, ["families.words.views.mixup=null"])
    a, b = (views_of(with_mixup, two, frontend=FRONT_END).frames_VTF for two in others)
    assert not torch.allclose(a, b, atol=1e-3)
    a, b = (views_of(without, two, frontend=FRONT_END).frames_VTF for two in others)
    assert torch.equal(a, b)
    views_figure(with_mixup, pair[:1], tmp_path / "alone.png")
    assert "no past item" in words_on(drawn[0])


def test_the_views_figure_says_what_it_shows(
    recipe_file: Path, pair: list[Path], tmp_path: Path, drawn: list[Figure]
) -> None:
    recipe = read_recipe(recipe_file, ["crop_s=1"])
    views_figure(recipe, pair, tmp_path / "views.png", "voice")
    text = words_on(drawn[0])
    for words in ("0-0-0-0.wav", "voice", "speed (rate 0.9…1.1)", "noise (snr_db 5…30",
                  "resized_crop", "is repeated", "view A", "view B", "(Hz)", "(s)"):  # fmt: skip
        assert words in text
    assert "unchanged" not in text and "mixup" not in text
    assert "no past item" not in text
    nothing = read_recipe(recipe_file, ["families.plain={}"])
    views_figure(nothing, pair, tmp_path / "views.png", "plain")
    assert words_on(drawn[1]).count("unchanged") == 4


def test_which_views_act_on_the_waveform() -> None:
    keys_B = torch.arange(4)
    waves_BN = white_noise(keys_B, "test", 4000)
    defaults = {one.name: get_type(one.name)(p=1) for one in dataclasses.fields(ViewSettings)}
    for name, view in defaults.items():
        changed_BN = Views(ViewSettings(**{name: view})).waveform(waves_BN, keys_B)
        assert (changed_BN is waves_BN) == (name in SPECTROGRAM_VIEWS), name


def get_type(name: str) -> Any:
    """The settings class of a view: of `X | None`, X."""
    return typing.get_args(typing.get_type_hints(ViewSettings)[name])[0]


def test_the_ticks_of_the_mel_axis_are_where_the_filters_are() -> None:
    filters_KF = FrontEnd(FrontEndSettings(32)).filters
    hertz_K = torch.arange(len(filters_KF)) * 16_000 / N_FFT
    for band in range(10, 32):  # below, a filter is narrower than a bin of the spectrum
        peak = float(hertz_K[filters_KF[:, band].argmax()])
        assert mel_band(peak, 32) == pytest.approx(band, abs=0.35)
    assert mel_band(LOW_HZ, 32) == -1
    assert mel_band(HIGH_HZ, 32) == 32


def test_both_matrices_are_of_the_batch_that_training_takes_next(
    recipe: Recipe, tones: Path, tmp_path: Path
) -> None:
    end = run_of(recipe, tones, tmp_path, steps=recipe.steps - 1)
    both = correlations(recipe, tmp_path, family="voice")
    assert (both.steps, both.pairs, both.family) == (5, 8, "voice")
    assert not torch.allclose(both.untrained_DD, both.trained_DD, atol=0.01)
    # The untrained network on this batch: the trained one's weights are all that differs.
    fresh = Pretraining(recipe, end.corpus, torch.device("cpu"))
    fresh.steps_done, fresh.memory = end.steps_done, end.memory
    for run, matrix_DD in ((end, both.trained_DD), (fresh, both.untrained_DD)):
        run.step()
        torch.testing.assert_close(matrix_DD, run.correlations["voice"], atol=1e-4, rtol=0)


def test_a_wide_matrix_is_cut_and_its_numbers_are_not(
    recipe_file: Path, tones: Path, tmp_path: Path, drawn: list[Figure]
) -> None:
    recipe = read_recipe(recipe_file, ["families.words.projector={width: 300}"])
    run_of(recipe, tones, tmp_path)
    correlation_figure(recipe, tmp_path, tmp_path / "c.png")
    images = [axes.images[0] for axes in drawn[0].axes[:2]]
    assert all(image.get_array().shape == (DIMENSIONS_SHOWN,) * 2 for image in images)
    assert all(image.get_clim() == (-1, 1) for image in images)
    text = words_on(drawn[0])
    assert "first 256 of 300 dimensions" in text and "trained for 1 steps" in text
    for matrix_DD in (
        correlations(recipe, tmp_path).untrained_DD,
        correlations(recipe, tmp_path).trained_DD,
    ):
        rest = matrix_DD[~torch.eye(300, dtype=torch.bool)].square().mean().sqrt()
        assert f"mean of the diagonal {matrix_DD.diagonal().mean():.3f}" in text
        assert f"rms off the diagonal {rest:.3f}" in text


def test_mistakes_are_named(recipe: Recipe, pair: list[Path], tones: Path, tmp_path: Path) -> None:
    figure = tmp_path / "figure.png"
    with pytest.raises(BarlowSpeechError, match="did you mean 'png'"):
        views_figure(recipe, pair, tmp_path / "figure.npg")
    with pytest.raises(BarlowSpeechError, match="choose one of: pdf, png"):
        correlation_figure(recipe, tmp_path, tmp_path / "figure")
    with pytest.raises(BarlowSpeechError, match="did you mean 'voice'"):
        views_figure(recipe, pair, figure, "voise")
    with pytest.raises(BarlowSpeechError, match="no recording"):
        views_figure(recipe, [], figure)
    with pytest.raises(BarlowSpeechError, match="does not exist"):
        views_figure(recipe, [tmp_path / "none.wav"], figure)
    with pytest.raises(BarlowSpeechError, match=TRAINING):
        correlation_figure(recipe, tmp_path, figure)
    run_of(recipe, tones, tmp_path)
    with pytest.raises(BarlowSpeechError, match="did you mean 'words'"):
        correlation_figure(recipe, tmp_path, figure, family="word")
    with pytest.raises(BarlowSpeechError, match="no packed corpus"):
        correlation_figure(recipe, tmp_path, figure, packed=tmp_path / "elsewhere")
    assert not figure.exists()
