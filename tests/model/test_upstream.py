"""Our upstream inside an unmodified s3prl, and its checkpoints."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

import barlow_speech
from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import WEIGHTS
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.model.checkpoint import (
    load_model,
    load_tensors,
    save_model,
    save_tensors,
)
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.third_party.registry import register_upstream


def noise(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def test_a_checkpoint_of_the_package_is_named_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert DEFAULT_CHECKPOINT in files
    for file in files:
        named, by_path = UpstreamExpert(file.stem).state_dict(), load_model(file).state_dict()
        assert all(torch.equal(one, by_path[key[6:]]) for key, one in named.items())
    Path(files[0].stem).write_text("a file of this name here comes first")
    with pytest.raises(BarlowSpeechError, match="safetensors"):
        UpstreamExpert(files[0].stem)
    with pytest.raises(BarlowSpeechError, match=r"package's \(.*fine_states.*\)"):
        UpstreamExpert("barlow_speach")


@pytest.mark.parametrize(("name", "rate"), [("fine_states", 320), ("coarse_states", 1280)])
def test_a_checkpoint_of_the_package_is_small_and_has_a_state_for_every_begun_stride(
    name: str, rate: int
) -> None:
    expert = UpstreamExpert(name).eval()
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size <= 12e6
    assert sum(one.numel() for one in expert.parameters()) <= 6e6
    assert expert.get_downsample_rates("hidden_states") == rate
    lengths = [1, 159, 160, 161, 319, 320, 321, 1279, 1280, 1281, 16_001]
    together = expert(noise(*lengths))["hidden_states"]
    for row, (wave, samples) in enumerate(zip(noise(*lengths), lengths)):
        alone, states = expert([wave])["hidden_states"], -(-samples // rate)
        assert {tuple(one.shape) for one in alone} == {(1, states, 512)}
        for one, in_batch in zip(alone, together):
            torch.testing.assert_close(in_batch[row, :states], one[0], rtol=0, atol=1e-4)
            assert not in_batch[row, states:].any()


def test_the_names_are_on_the_hub(checkpoint: Path) -> None:
    hub = register_upstream()
    assert {"barlow_speech", "barlow_speech_random"} <= set(hub.options(only_registered_ckpt=True))
    assert "barlow_speech_local" in hub.options()
    assert "barlow_speech_local" not in hub.options(only_registered_ckpt=True)
    first = hub.barlow_speech_local(str(checkpoint), refresh=True)
    weights = first.state_dict()
    for factory in (hub.barlow_speech, hub.barlow_speech_random):
        assert factory(ckpt=str(checkpoint), model_config=None, refresh=False) is not None
    again = hub.barlow_speech(ckpt=str(checkpoint)).state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    random = hub.barlow_speech_random(ckpt=str(checkpoint)).state_dict()
    assert not torch.equal(
        random["model.encoder.first.weight"], weights["model.encoder.first.weight"]
    )
    with pytest.raises(BarlowSpeechError, match="does not exist"):
        hub.barlow_speech_local("nowhere.safetensors")


def test_s3prl_nn_gives_hidden_states_of_the_right_lengths() -> None:
    """With the weights that come with the package."""
    barlow_speech.register()
    from s3prl.nn import S3PRLUpstream

    upstream = S3PRLUpstream("barlow_speech").eval()
    waves = noise(16000, 9999, 801)
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    lengths = torch.tensor([len(wave) for wave in waves])
    with torch.no_grad():
        hidden, hidden_lengths = upstream(padded, lengths)
    rate = upstream.downsample_rates[0]
    assert len(hidden) == upstream.num_layers == len(set(map(id, hidden)))
    for state, state_lengths, size in zip(hidden, hidden_lengths, upstream.hidden_sizes):
        assert state.shape == (3, -(-16000 // rate), size)
        assert state_lengths.tolist() == [-(-n // rate) for n in lengths.tolist()]


def test_the_random_twin_has_the_same_sizes_and_other_weights(checkpoint: Path) -> None:
    ours, twin = UpstreamExpert(checkpoint), UpstreamExpert(checkpoint, random_seed=0)
    assert twin.model.settings == ours.model.settings
    other = UpstreamExpert(checkpoint, random_seed=1)
    same = UpstreamExpert(checkpoint, random_seed=0)
    wave = noise(8000)
    states = [model(wave)["last_hidden_state"] for model in (ours, twin, other, same)]
    assert torch.equal(states[1], states[3])
    for i, j in ((0, 1), (1, 2)):
        assert not torch.allclose(states[i], states[j])


def test_construction_leaves_the_global_random_state_alone(checkpoint: Path) -> None:
    before = torch.random.get_rng_state()
    UpstreamExpert(checkpoint, random_seed=0)
    UpstreamExpert(checkpoint)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gradients_are_finite_at_a_twentieth_of_a_second(checkpoint: Path) -> None:
    expert = UpstreamExpert(checkpoint).train()
    for wave in (*noise(800, 1), torch.zeros(800)):
        expert.zero_grad()
        expert([wave, wave])["last_hidden_state"].square().sum().backward()
        for parameter in expert.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_an_empty_waveform_is_refused(checkpoint: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="no sample"):
        UpstreamExpert(checkpoint)([torch.zeros(0)])


def test_the_default_checkpoint_is_small_and_says_how_it_was_made() -> None:
    assert DEFAULT_CHECKPOINT.stat().st_size <= 12 * 2**20
    _, header = load_tensors(DEFAULT_CHECKPOINT)
    assert {"recipe", "hours", "parameters", "seconds"} <= set(header["facts"])
    sources = json.dumps(header["facts"]["recipe"]["data"]["sources"])
    assert "ravdess" not in sources and "nc/" not in sources  # may not be shipped
    # The command of the card trains it again; keys that came later have their defaults, and the
    # readout was chosen after the training.
    trained = build(Recipe, header["facts"]["recipe"], "the header").as_dict()
    recipe = read_recipe(configs.find("recipe", "default"))
    assert recipe.model.readout == load_model(DEFAULT_CHECKPOINT).settings.readout
    trained["model"]["readout"] = recipe.as_dict()["model"]["readout"]
    assert trained == recipe.as_dict()


def test_a_checkpoint_alone_rebuilds_its_model(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(checkpoint)
    copy = tmp_path / "copy.safetensors"
    save_model(copy, model, {})
    again = load_model(copy)
    wave = noise(5000)
    for one, other in zip(model(wave)[0], again(wave)[0]):
        assert torch.equal(one, other)


@pytest.mark.parametrize("place", [-1, -1000, "cnn2d"])
def test_one_changed_bit_of_a_checkpoint_is_noticed(
    place: int | str, checkpoint: Path, tmp_path: Path
) -> None:
    """Of a weight, which stays a number like any other, and of a setting."""
    data = bytearray(checkpoint.read_bytes())
    at = data.index(place.encode()) if isinstance(place, str) else place
    data[at] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    with pytest.raises(BarlowSpeechError, match=r"flipped\.safetensors was changed"):
        load_model(tmp_path / "flipped.safetensors")


def test_wrong_checkpoints_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    whole = checkpoint.read_bytes()
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(whole[: len(whole) // 2])
    pickled = tmp_path / "pickled.safetensors"
    pickled.write_bytes(pickle.dumps({"weights": [1.0]}))
    foreign = tmp_path / "foreign.safetensors"
    import safetensors.torch

    safetensors.torch.save_file({"x": torch.zeros(1)}, foreign)
    training = tmp_path / "training.safetensors"
    save_tensors(training, {"x": torch.zeros(1)}, {"training": {}})
    tensors, header = load_tensors(checkpoint)
    unfit = tmp_path / "unfit.safetensors"
    save_tensors(unfit, dict(list(tensors.items())[:-1]), header)
    unknown = tmp_path / "unknown.safetensors"
    header["model"]["encoder"]["name"] = "cnn2"
    save_tensors(unknown, tensors, header)
    absent = tmp_path / "absent.safetensors"
    for path, words in {
        truncated: "no whole safetensors",
        pickled: "no whole safetensors",
        foreign: "not written by barlow_speech",
        training: "no encoder",
        unfit: "do not fit",
        unknown: "did you mean 'cnn2d'",
        absent: "does not exist",
    }.items():
        with pytest.raises(BarlowSpeechError, match=words) as caught:
            load_model(path)
        assert path.name in str(caught.value) or path is unknown
        assert "\n" not in str(caught.value)
