"""The embedding that a model's readout asks for is what NumPy makes of its hidden states."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.model.checkpoint import load_model, save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.readout import LAST, Part, check, read_out
from barlow_speech.upstream.model.speech_encoder import ModelSettings, SpeechEncoder, random_model
from barlow_speech.upstream.pretraining.barlow_twins import BarlowTwins
from barlow_speech.upstream.pretraining.recipe import ViewFamily, read_recipe

SMALL = ModelSettings(FrontEndSettings(16), {"name": "cnn2d", "channels": 4})
SOME = (Part(0, ("mean", "std")), Part(2, ("max",)), Part(-1, ("std", "max", "mean")))


def small(readout: tuple[Part, ...]) -> SpeechEncoder:
    return random_model(dataclasses.replace(SMALL, readout=readout), seed=3).eval()


def waves(*seconds: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [0.1 * torch.randn(round(16_000 * length), generator=generator) for length in seconds]


@torch.no_grad()
def test_statistics_are_those_of_numpy_over_valid_states() -> None:
    model = small(SOME)
    hidden, lengths_B, embedding_BE = model(waves(0.01, 0.7, 1.3))
    assert embedding_BE.shape == (3, model.embedding_dim)
    numpys: dict[str, Any] = {"mean": np.mean, "std": np.std, "max": np.max}
    for row, length in enumerate(lengths_B.tolist()):
        wanted = np.concatenate(
            [
                numpys[name](hidden[part.layer][row, :length].double().numpy(), axis=0)
                for part in SOME
                for name in part.statistics
            ]
        )
        np.testing.assert_allclose(embedding_BE[row].numpy(), wanted, rtol=1e-5, atol=2e-6)


def test_a_state_that_does_not_change_has_a_finite_gradient() -> None:
    hidden = [torch.ones(2, 5, 3, requires_grad=True)]
    read_out((Part(0, ("std",)),), hidden, torch.tensor([5, 1])).sum().backward()
    assert hidden[0].grad is not None
    assert hidden[0].grad.isfinite().all()


@torch.no_grad()
def test_without_one_the_embedding_is_what_pretraining_projects() -> None:
    for readout in (LAST, SOME):
        model = small(readout)
        twins = BarlowTwins(model, {"main": ViewFamily()})
        frames_BTF = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))
        projected_BE, _ = twins.eval()(frames_BTF, "main")
        hidden, _ = model.encoder(frames_BTF, torch.tensor([24, 24]))
        read_BE = read_out(LAST, hidden, torch.tensor([3, 3]))
        torch.testing.assert_close(projected_BE, read_BE)


@torch.no_grad()
def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    model, sound = small(SOME), waves(0.5)
    save_model(tmp_path / "encoder.safetensors", model, {})
    again = load_model(tmp_path / "encoder.safetensors")
    assert again.settings.readout == SOME
    assert torch.equal(again(sound)[2], model(sound)[2])


def test_a_readout_of_the_default_is_not_written() -> None:
    """What was named by a digest of its settings keeps its name."""
    assert set(SMALL.as_dict()) == {"frontend", "encoder"}
    assert "readout" in dataclasses.replace(SMALL, readout=SOME).as_dict()


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        ([], "names no statistic"),
        ([{"layer": 0, "statistics": []}], "names no statistic"),
        ([{"layer": 5}], "no layer 5; the encoder has 5, 0 to 4"),
        ([{"layer": -6}], "no layer -6"),
        ([{"layer": -1}, {"layer": 4, "statistics": ["max"]}], "names the max of layer 4 twice"),
        ([{"layer": 0, "statistics": ["maxi"]}], "did you mean 'max'"),
        ([{"later": 0}], "did you mean 'layer'"),
    ],
)
def test_what_no_model_has_is_refused_with_the_recipe(
    readout: list[Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 1\n")
    with pytest.raises(BarlowSpeechError, match=message):
        read_recipe(path, [f"model.readout={readout}"])


def test_a_model_that_lacks_the_layer_is_not_built() -> None:
    with pytest.raises(BarlowSpeechError, match="no layer 7"):
        small((Part(7),))
    check((Part(4),), 5)
