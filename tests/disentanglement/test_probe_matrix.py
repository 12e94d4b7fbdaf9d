"""Probes of layers that hold a factor in known dimensions, and spectra that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from barlow_speech.benchmark.disentanglement.probes import (
    COMPONENTS,
    DIMENSIONS,
    SIZES,
    enough,
    probe,
    probe_matrix,
)
from barlow_speech.benchmark.disentanglement.spectrum import spectrum
from barlow_speech.downstream.heads.logistic_regression import Settings
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.pretraining.objective import effective_rank

COUNT, WIDTH = 240, 12
NUMBER = np.arange(COUNT) % 4
LABELS = np.array(["north", "east", "south", "west"])[NUMBER]
SPLITS = np.array(["train", "train", "dev", "test"])[np.arange(COUNT) // 4 % 4]
SPEAKERS = (np.arange(COUNT) // 16).astype(str)


def noise(width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((COUNT, width))


def telling(at: tuple[int, int], size: float = 1.0) -> np.ndarray:
    """Noise, but for two dimensions that hold the class as a corner: each alone tells half."""
    layer = noise()
    corners = np.array([[1.0, 0.8], [1.0, -0.8], [-1.0, 0.8], [-1.0, -0.8]])[NUMBER]
    layer[:, list(at)] = size * (corners + noise(2, seed=1) * 0.05)
    return layer


def test_a_factor_is_read_from_the_layer_that_has_it() -> None:
    layers = {"layer 1": noise(seed=5), "layer 2": telling((3, 7))}
    found = probe_matrix(
        layers, {"keyword": LABELS}, {"keyword": SPLITS}, SPEAKERS, sizes=(1, 2, 4)
    )
    assert [(one.layer, one.factor) for one in found.probes] == [
        ("layer 1", "keyword"), ("layer 2", "keyword"),
    ]  # fmt: skip
    nothing, everything = (found.at(layer, "keyword") for layer in layers)
    assert everything.accuracy.value == 1.0 and everything.accuracy.error == 0.0
    assert nothing.accuracy.value == pytest.approx(0.25, abs=0.15)
    assert nothing.accuracy.error > 0
    assert {one.chance for one in found.probes} == {0.25}
    assert {one.recordings for one in found.probes} == {60}
    assert set(found.spectra) == set(layers)


def test_number_of_dimensions_that_a_factor_takes() -> None:
    """Two dimensions hold it: the first two by F; of the components the first or the last two."""
    large = probe("l", "keyword", telling((3, 7), size=30), LABELS, SPLITS, SPEAKERS)
    assert large.enough == {COMPONENTS: 2, DIMENSIONS: 2}
    small = probe("l", "keyword", telling((3, 7), size=0.01), LABELS, SPLITS, SPEAKERS, (2, 10, 12))
    assert small.enough == {COMPONENTS: 12, DIMENSIONS: 2}
    assert small.curves[COMPONENTS][10] == pytest.approx(0.25, abs=0.2)
    # No more of them are tried than there are.
    assert list(large.curves[DIMENSIONS]) == [size for size in SIZES if size <= WIDTH]


def test_enough_is_nine_tenths_of_the_gain_over_chance() -> None:
    curve = {1: 0.3, 2: 0.67, 4: 0.68, 8: 0.6}
    assert enough(curve, 0.7, 0.5) == 4
    assert enough(curve, 0.69, 0.49) == 2
    assert enough(curve, 0.9, 0.5) is None
    assert enough(curve, 0.54, 0.5) is None


def test_probe_is_scikit_learns_with_the_best_strength_on_dev() -> None:
    layer = telling((0, 1)) + 0.8 * noise(seed=3)
    parts = {split: np.flatnonzero(split == SPLITS) for split in ("train", "dev", "test")}
    scale = StandardScaler().fit(layer[parts["train"]])
    x = {split: scale.transform(layer[rows]) for split, rows in parts.items()}
    models = [
        LogisticRegression(C=strength, max_iter=1000).fit(x["train"], LABELS[parts["train"]])
        for strength in Settings().strengths
    ]
    best = max(models, key=lambda model: model.score(x["dev"], LABELS[parts["dev"]]))
    truth = balanced_accuracy_score(LABELS[parts["test"]], best.predict(x["test"]))
    found = probe("l", "keyword", layer, LABELS, SPLITS, SPEAKERS, (1,))
    assert found.accuracy.value == pytest.approx(truth)
    assert 0.4 < truth < 1.0


def test_test_recordings_teach_nothing() -> None:
    """Wider than the recordings are many: train is learnt by heart, and test is still chance."""
    layer = noise(width=300)
    found = probe("l", "keyword", layer, LABELS, SPLITS, SPEAKERS, (1,))
    assert found.accuracy.value == pytest.approx(0.25, abs=0.15)


def test_few_speakers_give_no_interval() -> None:
    of_four = (np.arange(COUNT) // 16 % 4).astype(str)
    assert probe("l", "k", telling((0, 1)), LABELS, SPLITS, of_four, (1,)).accuracy.error is None


def test_unknown_labels_and_constant_dimensions() -> None:
    hidden = np.random.default_rng(0).random(COUNT) < 0.2
    layer = np.hstack([np.full((COUNT, 2), 3.0), telling((0, 1))])
    found = probe("l", "k", layer, np.where(hidden, "", LABELS), SPLITS, SPEAKERS, (1, 2))
    assert found.accuracy.value == 1.0
    assert found.recordings == int(((SPLITS == "test") & ~hidden).sum())
    assert found.chance == pytest.approx(0.25)
    assert found.enough[DIMENSIONS] == 2


@pytest.mark.parametrize(
    ("labels", "splits", "says"),
    [
        (LABELS, np.where(SPLITS == "dev", "", SPLITS), "no recording in dev"),
        (np.where(SPLITS == "train", "north", LABELS), SPLITS, "one class only"),
    ],
)
def test_what_cannot_be_probed_is_refused(
    labels: np.ndarray, splits: np.ndarray, says: str
) -> None:
    with pytest.raises(BarlowSpeechError, match=says):
        probe_matrix({"layer 1": noise()}, {"keyword": labels}, {"keyword": splits}, SPEAKERS)


# --- spectra --------------------------------------------------------------------------------------


def orthonormal(count: int, size: int) -> np.ndarray:
    """Columns with mean 0 and one length, at right angles."""
    columns = np.random.default_rng(0).standard_normal((count, size))
    return np.linalg.qr(columns - columns.mean(axis=0))[0]


def test_spectrum_of_known_codes() -> None:
    for size in (1, 3, 8):
        even = orthonormal(50, size) @ orthonormal(20, size).T
        found = spectrum(even + 4.0)
        assert found.effective_rank == pytest.approx(size, rel=1e-4)
        assert found.participation == pytest.approx(size)
        assert found.components[0.99] == size
        assert (found.dimensions, found.most) == (20, 20)
    uneven = spectrum(orthonormal(50, 2) * np.sqrt([9, 1]))
    assert uneven.variances == pytest.approx(np.array([9, 1]) / 49)
    assert uneven.participation == pytest.approx(100 / 82)
    assert uneven.effective_rank == pytest.approx(4 / 3**0.75)
    assert uneven.components == {0.9: 1, 0.99: 2}
    collapsed = spectrum(np.full((10, 4), 2.0))
    assert (collapsed.effective_rank, collapsed.participation) == (1.0, 1.0)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_spectrum_is_numpys_and_the_rank_that_of_pretraining(shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(0).standard_normal(shape) ** 3
    found = spectrum(codes)
    centred = codes - codes.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)[: found.most] ** 2 / (shape[0] - 1)
    assert found.variances == pytest.approx(values, rel=1e-9)
    assert found.most == min(shape[0] - 1, shape[1])
    assert found.effective_rank == pytest.approx(
        effective_rank(torch.from_numpy(centred)), rel=1e-4
    )
    moved = spectrum(
        5 * codes @ np.linalg.qr(np.random.default_rng(1).random(2 * shape[1:]))[0] + 9
    )
    assert moved.effective_rank == pytest.approx(found.effective_rank)
    assert moved.participation == pytest.approx(found.participation)
    assert moved.components == found.components
