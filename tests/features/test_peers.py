"""Other people's upstreams: s3prl's hub with local weights, Hugging Face folders, and the fence."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import socket
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from peer_checkpoints import FAMILIES, hugging_face_folder, s3prl_checkpoint
from torch import nn

from barlow_speech.benchmark.features import families
from barlow_speech.benchmark.features.extraction import features
from barlow_speech.benchmark.features.families import check_name, family_of
from barlow_speech.benchmark.features.hugging_face_families import variants
from barlow_speech.benchmark.features.upstreams import (
    Upstream,
    batch_difference,
    depends_on_batch,
    load_upstream,
)
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT
from barlow_speech.upstream.third_party import permissions
from barlow_speech.upstream.third_party.huggingface import HuggingFaceUpstream
from barlow_speech.upstream.third_party.permissions import Permissions
from barlow_speech.upstream.third_party.registry import register_upstream
from barlow_speech.upstream.third_party.safe_load import check_texts, safe_load

MODELS = [(kind, norm) for kind in ("Wav2Vec2", "Hubert", "WavLM") for norm in ("group", "layer")]


def noise(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def load(name: str, trust: bool = False, download: bool = False) -> Upstream:
    return load_upstream(name, None, "cpu", permissions=Permissions(trust, download))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The folder of a tiny model, made once."""
    made: dict[tuple[str, str], Path] = {}

    def folder(kind: str, norm: str) -> Path:
        if (kind, norm) not in made:
            path = tmp_path_factory.mktemp("hf") / f"{kind}-{norm}"
            made[kind, norm] = hugging_face_folder(kind, norm, path)
        return made[kind, norm]

    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each of s3prl's families, made once."""
    folder = tmp_path_factory.mktemp("s3prl")
    return {family: s3prl_checkpoint(family, folder / f"{family}.pt") for family in FAMILIES}


@pytest.fixture()
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Puts a factory on s3prl's hub for one test."""
    module = register_upstream()
    return lambda name, factory: monkeypatch.setattr(module, name, factory, raising=False)


@pytest.fixture()
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Every attempt to reach the network fails at once and is noted; s3prl's downloads are gone."""
    from s3prl.util import download

    tried: list[Any] = []

    def refuse(*args: Any, **options: Any) -> Any:
        tried.append(args)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(download, "_download_dir", tmp_path / "downloads")
    return tried


class Harmful:
    """Its pickle makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


# --- Hugging Face -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "norm"), MODELS)
def test_a_folder_gives_the_models_own_hidden_states(
    kind: str, norm: str, folders: Callable[[str, str], Path]
) -> None:
    """Against s3prl's expert on the same weights, and transformers itself for WavLM."""
    import transformers

    folder = folders(kind, norm)
    ours = load(f"hf:{folder}")
    waves = noise(7_777, 7_777)
    if kind == "WavLM":
        extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
        model = transformers.WavLMModel.from_pretrained(folder).eval()
        values = extractor([wave.numpy() for wave in waves], sampling_rate=16_000)["input_values"]
        with torch.no_grad():
            inputs = torch.from_numpy(np.stack(values))
            output = model(inputs, output_hidden_states=True)
            # Version 5 gives what is before the last norm (hidden_states.py).
            expected = [*output.hidden_states[:-1], output.last_hidden_state]
    else:
        expected = load(f"hf_{kind.lower()}_custom@{folder}").layers(waves)
    hidden = ours.layers(waves)
    assert len(hidden) == len(expected) == 3
    for state, reference in zip(hidden, expected):
        frames = reference.shape[1]
        torch.testing.assert_close(state[:, :frames], reference, rtol=1e-4, atol=1e-5)
        last = state[:, frames - 1 : frames]
        assert torch.equal(state[:, frames:], last.expand_as(state[:, frames:]))
        assert state.shape[1] == -(-7_777 // ours.rate)


@pytest.mark.parametrize(("kind", "norm"), MODELS)
@torch.no_grad()
def test_hidden_states_are_those_of_transformers_4(
    kind: str, norm: str, tmp_path: Path, folders: Callable[[str, str], Path]
) -> None:
    """The last is the encoder's output, after its norm; none vanishes in training; in float32."""
    import transformers

    folder = tmp_path / "half"
    shutil.copytree(folders(kind, norm), folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    halves = {name: one.half() for name, one in tensors.items()}
    safetensors.torch.save_file(halves, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"layerdrop": 0.5, "dtype": "float16", "apply_spec_augment": False}
    (folder / "config.json").write_text(json.dumps(config))
    experts = [HuggingFaceUpstream(folder)]
    if kind != "WavLM":
        experts.append(getattr(register_upstream(), f"hf_{kind.lower()}_custom")(str(folder)))
    reference = getattr(transformers, f"{kind}Model").from_pretrained(folder).float().eval()
    waves = noise(4_000)
    normalised = [(wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt() for wave in waves]
    wanted = reference(torch.stack(normalised)).last_hidden_state
    for expert in experts:
        hidden = expert.eval()(waves)["hidden_states"]
        assert len(hidden) == config["num_hidden_layers"] + 1
        assert {state.dtype for state in hidden} == {torch.float32}
        frames = wanted.shape[1]
        torch.testing.assert_close(hidden[-1][:, :frames], wanted, rtol=1e-4, atol=1e-5)
        expert.train()
        for _ in range(8):
            assert len(expert(waves)["hidden_states"]) == len(hidden)


@pytest.mark.parametrize(("kind", "norm"), MODELS)
def test_a_folders_features_do_not_depend_on_the_batch(
    kind: str, norm: str, folders: Callable[[str, str], Path]
) -> None:
    upstream = load(f"hf:{folders(kind, norm)}")
    assert upstream.batched and not upstream.alone and upstream.rate == 320
    waves = noise(16_000, 799, 12_345, 12_345, 20_001, 250)
    together = upstream.layers(waves)
    for row, wave in enumerate(waves):
        frames = -(-len(wave) // 320)
        for state, alone in zip(together, upstream.layers([wave])):
            assert alone.shape[1] == frames
            torch.testing.assert_close(state[row, :frames], alone[0], rtol=1e-4, atol=1e-5)
            assert not state[row, frames:].any()


OTHERS = [
    (kind, norm)
    for kind, norm in variants()
    if kind not in ("hubert", "wav2vec2", "wavlm", "whisper")
]


@pytest.mark.parametrize(("kind", "norm"), OTHERS)
@torch.no_grad()
def test_other_families_are_transformers_own_whatever_the_batch(
    kind: str, norm: str, folders: Callable[[str, str], Path]
) -> None:
    import transformers

    folder = folders(kind, norm)
    upstream = load(f"hf:{folder}")
    assert upstream.batched and not upstream.alone and upstream.rate == 320
    waves = noise(16_000, 12_345, 12_345, 20_001, 300)
    together = upstream.layers(waves)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    for row, wave in enumerate(waves[:-1]):
        given = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
        output = model(**given, output_hidden_states=True)
        *expected, _ = output.hidden_states
        expected.append(output.last_hidden_state)
        assert len(together) == len(expected)
        for state, reference in zip(together, expected):
            reference_TD = reference[0]
            if len(reference_TD) < 30 * len(wave) // 16_000:  # SEW's layers, of half the frames
                reference_TD = reference_TD.repeat_interleave(2, dim=0)
            own = min(len(reference_TD), len(wave) // 320 - (kind == "wav2vec2-bert"))
            assert own >= len(wave) // 320 - 2
            torch.testing.assert_close(state[row, :own], reference_TD[:own], rtol=1e-4, atol=1e-5)
    for row, wave in enumerate(waves):
        frames = -(-len(wave) // 320)
        for state, alone in zip(together, upstream.layers([wave])):
            assert alone.shape[1] == frames and bool(alone.isfinite().all())
            torch.testing.assert_close(state[row, :frames], alone[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_whisper_hears_windows_and_the_last_is_padded(
    folders: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Of two seconds here: one that is shorter, one exact, one of two windows and a half."""
    import transformers

    folder = folders("whisper", "")
    upstream = load(f"hf:{folder}")
    assert upstream.batched and upstream.rate == 320
    waves = noise(9_001, 32_000, 80_000)
    together = upstream.layers(waves)
    encoder = transformers.WhisperModel.from_pretrained(folder).eval().get_encoder()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    for row, wave in enumerate(waves):
        windows = []
        for part in wave.split(32_000):
            given = extractor(part.numpy(), sampling_rate=16_000, return_tensors="pt")
            windows.append(encoder(given["input_features"], output_hidden_states=True))
        frames = -(-len(wave) // 320)
        for layer, state in enumerate(together):
            reference_TD = torch.cat([one.hidden_states[layer][0] for one in windows])[:frames]
            torch.testing.assert_close(state[row, :frames], reference_TD, rtol=1e-4, atol=1e-5)
            assert not state[row, frames:].any()
    wrong = shutil.copytree(folder, tmp_path / "wrong")
    values = json.loads((wrong / "preprocessor_config.json").read_text())
    values |= {"chunk_length": 30, "n_samples": 480_000}
    (wrong / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(BarlowSpeechError, match=r"windows of 32000 samples.*makes 480000"):
        load(f"hf:{wrong}")


def test_s3prls_own_expert_is_found_to_hear_the_padding(
    folders: Callable[[str, str], Path],
) -> None:
    upstream = load(f"hf_wav2vec2_custom@{folders('Wav2Vec2', 'group')}")
    assert batch_difference(upstream) > 0.01
    assert not upstream.batched and not upstream.alone
    assert not depends_on_batch(upstream, equal=True)


def test_waveforms_are_normalised_as_the_folder_says(tmp_path: Path) -> None:
    plain = hugging_face_folder("Wav2Vec2", "layer", tmp_path / "plain", do_normalize=False)
    normal = hugging_face_folder("Wav2Vec2", "layer", tmp_path / "normal")
    (wave,) = noise(8_000)
    by_hand = (wave - wave.mean()) / wave.std(correction=0)
    raw, normalised = load(f"hf:{plain}"), load(f"hf:{normal}")
    torch.testing.assert_close(
        raw.layers([by_hand])[-1], normalised.layers([wave])[-1], rtol=1e-3, atol=1e-4
    )
    assert not torch.allclose(raw.layers([wave])[-1], normalised.layers([wave])[-1], atol=1e-3)
    assert raw.fingerprint != normalised.fingerprint
    assert load(f"hf:{normal}").fingerprint == normalised.fingerprint
    torch.testing.assert_close(
        normalised.layers([wave])[-1], normalised.layers([3 * wave + 0.2])[-1], rtol=1e-3, atol=1e-4
    )


def test_a_folder_is_fine_tuned_whole(folders: Callable[[str, str], Path]) -> None:
    """No SpecAugment, which fails on short recordings, and no layer drop."""
    upstream = HuggingFaceUpstream(folders("Wav2Vec2", "group")).train()
    hidden = upstream(noise(800, 800))["hidden_states"]
    sum(state.square().sum() for state in hidden).backward()
    without = [name for name, one in upstream.named_parameters() if one.grad is None]
    assert without == ["model.masked_spec_embed"]
    assert all(
        torch.isfinite(one.grad).all() for one in upstream.parameters() if one.grad is not None
    )


def test_an_old_bin_file_gives_the_same_and_is_not_unpickled(tmp_path: Path) -> None:
    safe = hugging_face_folder("Hubert", "group", tmp_path / "safe")
    old = hugging_face_folder("Hubert", "group", tmp_path / "old", safe=False)
    waves = noise(8_000)
    for one, other in zip(load(f"hf:{safe}").layers(waves), load(f"hf:{old}").layers(waves)):
        assert torch.equal(one, other)
    marker = tmp_path / "marker"
    torch.save({"weights": Harmful(marker)}, old / "pytorch_model.bin")
    with pytest.raises(BarlowSpeechError, match=r"pytorch_model.bin.*as safetensors"):
        load(f"hf:{old}")
    with pytest.raises(BarlowSpeechError):
        load(f"hf:{old}", trust=True)  # which is about s3prl's checkpoints
    assert not marker.exists()


def test_loading_a_folder_needs_no_network_and_moves_no_random_state(
    folders: Callable[[str, str], Path], no_network: list[Any]
) -> None:
    before = torch.random.get_rng_state()
    load(f"hf:{folders('WavLM', 'layer')}")
    assert no_network == []
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_a_checkpoint_lacks_is_drawn_alike_each_time(tmp_path: Path) -> None:
    """`masked_spec_embed` is often not saved, and no feature depends on it."""
    folder = hugging_face_folder("Wav2Vec2", "group", tmp_path / "model")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["masked_spec_embed"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    first = load(f"hf:{folder}")
    torch.rand(7)
    assert load(f"hf:{folder}").fingerprint == first.fingerprint
    del weights["encoder.layers.1.attention.k_proj.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BarlowSpeechError, match=r"lack 1 tensors.*k_proj.weight"):
        load(f"hf:{folder}")


def test_wrong_folders_are_one_sentence(
    tmp_path: Path, folders: Callable[[str, str], Path]
) -> None:
    good = folders("Wav2Vec2", "group")

    def copy(name: str, file: str, **changes: Any) -> Path:
        folder = shutil.copytree(good, tmp_path / name)
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**values, **changes}))
        return folder

    bert = copy("bert", "config.json", model_type="hubrt")
    slow = copy("slow", "preprocessor_config.json", sampling_rate=8_000)
    wide = copy("wide", "config.json", hidden_size=32)
    bare = shutil.copytree(good, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    cut = shutil.copytree(good, tmp_path / "cut")
    whole = (good / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    broken = shutil.copytree(good, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    deep = shutil.copytree(good, tmp_path / "deep")
    (deep / "config.json").write_text("[" * 99_999)
    for path, words in {
        tmp_path / "absent": "is not there",
        good / "model.safetensors": "is a safetensors file of another program",
        bert: "unknown model_type 'hubrt'.*did you mean 'hubert'",
        slow: "8000 Hz",
        wide: "wide",
        bare: "no preprocessor_config.json",
        cut: "cannot be loaded",
        broken: "config.json cannot be read",
        deep: "config.json cannot be read .it is nested too deeply",
    }.items():
        with pytest.raises(BarlowSpeechError, match=words) as caught:
            load(f"hf:{path}")
        assert "\n" not in str(caught.value) and path.name in str(caught.value)
    for path in (tmp_path / "absent", bert, slow, bare, broken, deep):
        with pytest.raises(BarlowSpeechError):
            check_name(f"hf:{path}", None)


# --- s3prl's hub ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family"),
    [("apc", "apc"), ("apc_local", "apc"), ("npc_960hr", "npc"), ("tera_100hr", "tera"),
     ("hubert_base", "hubert"), ("contentvec", "hubert"), ("wavlm_large", "wavlm"),
     ("wav2vec2", "wav2vec2"), ("xls_r_300m", "wav2vec2")],
)  # fmt: skip
def test_a_name_with_a_checkpoint_has_the_weights_of_that_file(
    name: str, family: str, checkpoints: dict[str, Path], no_network: list[Any], capsys: Any
) -> None:
    """s3prl's factory of that name would throw the file away and download the published weights."""
    upstream = load(f"{name}@{checkpoints[family]}")
    stored: list[torch.Tensor] = []
    waiting: list[Any] = [torch.load(checkpoints[family])]
    while waiting:
        one = waiting.pop()
        waiting += one.values() if isinstance(one, dict) else []
        stored += [one] if isinstance(one, torch.Tensor) else []
    loaded = list(upstream.module.state_dict().values())
    assert loaded and all(
        any(torch.equal(one, other) for other in stored if one.shape == other.shape)
        for one in loaded
    )
    assert no_network == []
    assert capsys.readouterr().out == ""  # --json promises nothing else there
    states = upstream.layers(noise(16_000))
    assert abs(states[0].shape[1] - 16_000 / upstream.rate) < 5


def test_another_checkpoint_is_another_fingerprint(tmp_path: Path) -> None:
    first = s3prl_checkpoint("apc", tmp_path / "first.pt", seed=0)
    second = s3prl_checkpoint("apc", tmp_path / "second.pt", seed=1)
    prints = [load(f"apc@{path}").fingerprint for path in (first, second, first)]
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize("family", ["apc", "wavlm"])
def test_features_are_those_of_each_recording_alone(
    family: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Whatever the lengths: these two give other features in a batch with longer ones."""
    upstream = load(f"{family}@{checkpoints[family]}")
    assert not upstream.batched
    recordings = []
    for number, wave in enumerate(noise(9_000, 16_000, 9_000, 12_000, 12_000, 800)):
        soundfile.write(tmp_path / f"{number}.wav", wave.numpy(), 16_000, subtype="FLOAT")
        recordings.append(Recording(tmp_path / f"{number}.wav"))
    found = features(upstream, recordings, tmp_path / "cache", tmp_path / "manifest.tsv")
    for row, recording in enumerate(recordings):
        wave = torch.from_numpy(soundfile.read(recording.path, dtype="float32")[0])
        mean_LD = found.means(np.array([row]))[0]
        for layer, mean_D in zip(upstream.layers([wave]), mean_LD):
            expected = upstream.frames(layer, 0, len(wave)).mean(dim=0)
            torch.testing.assert_close(mean_D, expected, rtol=1e-3, atol=1e-5)


class Together(nn.Module):
    """Its features depend on every other recording of the batch, of whatever length."""

    def get_downsample_rates(self, key: str) -> int:
        return 160

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
        waves_BN = nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        frames_BTD = waves_BN[:, : waves_BN.shape[1] // 160 * 160].unflatten(1, (-1, 160))
        frames_BTD = frames_BTD - frames_BTD.mean(dim=0)
        frames_BTD = frames_BTD + torch.arange(160) / 160
        return {"hidden_states": [frames_BTD], "embedding": frames_BTD.mean(dim=1)}


def test_an_upstream_that_hears_the_others_runs_one_by_one(hub: Callable[[str, Any], None]) -> None:
    hub("together", lambda: Together())
    upstream = load("together")
    assert upstream.alone and not upstream.batched
    waves = noise(8_000, 8_000, 4_800)
    outputs = upstream.outputs(waves)
    for row, wave in enumerate(waves):
        alone = Together()([wave])
        frames = alone["hidden_states"][0].shape[1]
        assert torch.equal(outputs["hidden_states"][0][row, :frames], alone["hidden_states"][0][0])
        assert torch.equal(outputs["embedding"][row], alone["embedding"][0])
    assert depends_on_batch(Upstream("x", Together(), 160, "", batched=False), equal=True)


def test_which_upstreams_depend_on_their_batch_is_found_out(checkpoint: Path) -> None:
    assert not depends_on_batch(load_upstream("barlow_speech", checkpoint, "cpu"))
    for name in ("fbank", "fbank_no_cmvn", "mfcc"):  # frames of nothing behind shorter recordings
        assert depends_on_batch(load(name))
        assert not depends_on_batch(load(name), equal=True)


def test_the_embedding_is_the_upstreams_own(checkpoint: Path) -> None:
    upstream = load_upstream("barlow_speech", checkpoint, "cpu")
    waves = noise(8_000, 5_000)
    with torch.no_grad():
        expected = upstream.module(waves)["embedding"]
    outputs = upstream.outputs(waves)
    assert set(outputs) == {"hidden_states", "embedding"}
    assert torch.equal(outputs["embedding"], expected)
    assert set(load("fbank").outputs(waves)) == {"hidden_states"}


def test_several_rates_are_refused(hub: Callable[[str, Any], None]) -> None:
    class Two(Together):
        def get_downsample_rates(self, key: str) -> Any:
            return [160, 320]

    hub("two", lambda: Two())
    with pytest.raises(BarlowSpeechError, match=r"several rates \(\[160, 320\]\)"):
        load("two")


def test_an_upstream_that_fails_is_one_sentence(hub: Callable[[str, Any], None]) -> None:
    class Failing(Together):
        def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
            raise RuntimeError("two\nlines")

    hub("failing", lambda: Failing())
    with pytest.raises(BarlowSpeechError, match=r"'failing' fails on .*\(two lines\).*check-up"):
        load("failing")


def test_a_forward_that_fails_names_the_recording(
    hub: Callable[[str, Any], None], tmp_path: Path
) -> None:
    class Choosy(Together):
        def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
            if any(len(wave) == 7_000 for wave in wavs):
                raise IndexError("no such thing")
            return super().forward(wavs)

    recordings = []
    for i, wave in enumerate(noise(6_000, 7_000, 6_000)):
        recordings.append(Recording(tmp_path / f"{i}.wav"))
        soundfile.write(recordings[-1].path, wave.numpy(), 16_000)
    hub("choosy", lambda: Choosy())
    words = r"'choosy' fails on .*1\.wav, 0\.4375 s long \(IndexError: no such thing\); drop"
    with pytest.raises(BarlowSpeechError, match=words):
        features(load("choosy"), recordings, tmp_path / "cache", tmp_path)


def test_weights_that_are_nan_are_blamed_and_no_recording(
    hub: Callable[[str, Any], None],
) -> None:
    class Broken(Together):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor([1.0, torch.nan]))

    hub("broken", lambda: Broken())
    with pytest.raises(BarlowSpeechError, match=r"'broken' has weights .*NaN, in 'scale'"):
        load("broken")


# --- what is refused --------------------------------------------------------------------------


def test_wrong_names_and_files_are_one_sentence(
    checkpoint: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.pt"
    text.write_text("hello\n")
    whole = checkpoints["hubert"].read_bytes()
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole[: len(whole) // 2])
    for name, words in {
        # An s3prl checkpoint given as ours, and the reverse.
        f"barlow_speech@{checkpoints['hubert']}": r"expects a safetensors file that `barlow-speech "
        r"pretrain` wrote, and .*hubert.pt is a PyTorch checkpoint \(torch.save\)",
        f"hubert@{checkpoint}": "'hubert' of s3prl expects a checkpoint that torch.save wrote, and "
        ".* is a safetensors file of barlow_speech; give it as barlow_speech@",
        f"hubert@{checkpoints['apc']}": r"hubert.*apc.pt, which is a PyTorch checkpoint.*task_cfg",
        f"hubert@{text}": "a file of an unknown format",
        f"hubert@{cut}": "a truncated archive",
        f"hubert@{tmp_path}": "is a folder",
        f"fbank@{checkpoints['apc']}": "'fbank' of s3prl takes no checkpoint",
        f"byol_a_512@{checkpoints['apc']}": "takes no checkpoint",
        f"hubert_url@{checkpoints['apc']}": "hubert_local@FILE",
        "hubert@nowhere.pt": "nowhere.pt of upstream 'hubert' does not exist",
        "barlow_speech@nowhere.safetensors": "nowhere.safetensors does not exist",
        "hubert_local": "give a checkpoint: hubert_local@FILE",
        "hf_wav2vec2_custom": "give a checkpoint",
        "stft_mag": "give a checkpoint",
        "hubret": "did you mean 'hubert'",
        "Path": "unknown upstream 'Path'",
        "options": "unknown upstream",
        "_hubert": "unknown upstream",
    }.items():
        with pytest.raises(BarlowSpeechError, match=words) as caught:
            load(name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    with pytest.raises(BarlowSpeechError, match="expects a safetensors file"):
        load_upstream("barlow_speech_random", checkpoints["hubert"], "cpu")


def test_what_is_wrong_with_a_name_is_known_before_anything_is_loaded(
    checkpoint: Path, checkpoints: dict[str, Path]
) -> None:
    for name in ("barlow_speech", "fbank", "hubert_base", f"apc@{checkpoints['apc']}"):
        check_name(name, None)
    for name in (
        f"barlow_speech@{checkpoints['apc']}", f"hubert@{checkpoint}", "hubert@nowhere.pt",
        "fbank@setup.cfg", "hubert_local", "Path",
    ):  # fmt: skip
        with pytest.raises(BarlowSpeechError):
            check_name(name, None)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["apc", "tera", "hubert_base", "wavlm", "xls_r_300m"])
def test_a_checkpoint_is_not_unpickled_unless_trusted(
    name: str, legacy: bool, tmp_path: Path
) -> None:
    """tera asks torch.load for unpickling by name, the others for nothing."""
    path, marker = tmp_path / "harmful.pt", tmp_path / "marker"
    torch.save({"x": Harmful(marker)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BarlowSpeechError) as caught:
        load(f"{name}@{path}")
    assert str(path) in str(caught.value) and "--trust-checkpoint" in str(caught.value)
    assert not marker.exists()
    with pytest.raises(BarlowSpeechError):
        load(f"{name}@{path}", trust=True)  # it runs, and then lacks the weights
    assert marker.exists()


def test_a_bare_pickle_is_not_unpickled(tmp_path: Path) -> None:
    path, marker = tmp_path / "bare.pt", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Harmful(marker), protocol=4))
    for name in ("apc", "tera"):
        with pytest.raises(BarlowSpeechError, match=r"bare\.pt"):
            load(f"{name}@{path}")
    assert not marker.exists()


@pytest.mark.parametrize("family", ["wavlm", "wav2vec2", "hubert", "tera"])
def test_no_text_of_a_checkpoint_is_run_unless_trusted(
    family: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """s3prl evaluates the layout of the convolutions, and the name of the filterbank, as Python."""
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    content = torch.load(checkpoints[family])
    run = f"__import__('os').mkdir({str(marker)!r})"
    if family == "tera":
        content["Config"]["audio"]["kaldi"]["feat_type"] = f"fbank if {run} else 0"
    else:
        key = {"wavlm": "cfg"}.get(family, "model_cfg")
        content[key]["conv_feature_layers"] = f"{run} or [(8,10,5)]"
    torch.save(content, path)
    name = f"{family}_local@{path}"
    with pytest.raises(BarlowSpeechError, match=r"evil\.pt.*evaluate.*--trust-checkpoint"):
        load(name)
    assert not marker.exists()
    with pytest.raises(BarlowSpeechError):
        load(name, trust=True)
    assert marker.exists()


def test_the_text_of_a_settings_file_is_not_run_either(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "settings.yaml"
    run = f"fbank if __import__('os').mkdir({str(marker)!r}) else 0"
    path.write_text(json.dumps({"kaldi": {"feat_type": run, "fbank": {}}}))
    with pytest.raises(BarlowSpeechError, match=r"settings\.yaml holds the text"):
        load(f"baseline_local@{path}")
    assert not marker.exists()
    path.write_text(json.dumps(
        {"kaldi": {"feat_type": "fbank", "fbank": {"frame_shift": 20.0, "num_mel_bins": 24}},
         "delta": {"order": 0}, "cmvn": {"use_cmvn": False}}
    ))  # fmt: skip
    upstream = load(f"baseline_local@{path}")
    assert upstream.rate == 320 and upstream.layers(noise(8_000))[0].shape[2] == 24


@pytest.mark.parametrize(
    ("text", "refused"),
    [("[(512,10,5)] + [(512,3,2)] * 4", False), ("(512, 2)", False), ("(", False),
     ("fbank", False), ("hello (world) there", False), ("f(1)", True), (" f(1)", True),
     ("[f(x) for x in y]", True), ("a.b['c'](d)", True), ("1 if f(2) else 3", True)],
)  # fmt: skip
def test_texts_that_call_something_are_told_from_others(text: str, refused: bool) -> None:
    nested = {"a": [({"b": text},)]}
    if refused:
        with pytest.raises(BarlowSpeechError, match="the file holds the text"):
            check_texts(nested, "the file")
    else:
        check_texts(nested, "the file")


def test_a_trusted_checkpoint_may_hold_more_than_weights(tmp_path: Path) -> None:
    content = {**FAMILIES["apc"](), "when": np.float64(3)}
    path = tmp_path / "old.pt"
    torch.save(content, path)
    with pytest.raises(BarlowSpeechError, match=r"old\.pt holds more than weights \(numpy"):
        load(f"apc@{path}")
    assert load(f"apc@{path}", trust=True).rate == 160


def test_a_loader_that_goes_on_without_a_refused_file_is_refused(
    hub: Callable[[str, Any], None], tmp_path: Path
) -> None:
    path = tmp_path / "harmful.pt"
    torch.save({"x": Harmful(tmp_path / "marker")}, path)

    def factory(ckpt: str) -> nn.Module:
        with contextlib.suppress(Exception):
            torch.load(ckpt, weights_only=False)
        return Together()

    hub("careless", factory)
    with pytest.raises(BarlowSpeechError, match=r"harmful\.pt"):
        load(f"careless@{path}")


def test_the_fence_holds_where_load_was_imported_before_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import load as imported_before

    marker, path = tmp_path / "marker", tmp_path / "harmful.pt"
    torch.save({"x": Harmful(marker)}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pickle.UnpicklingError), safe_load():
        imported_before(path, weights_only=False)
    assert not marker.exists()
    assert torch.load is imported_before
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


# --- the network ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm", "apc", "tera", "distilhubert"])
def test_weights_that_cannot_be_downloaded_are_one_sentence(
    name: str, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(BarlowSpeechError, match=r"add --download to let it, or .*@FILE"):
        load(name)
    assert no_network == []
    with pytest.raises(BarlowSpeechError) as caught:
        load(name, download=True)
    assert no_network and sum(slept) < 10  # it did try, and not for long
    message = str(caught.value)
    assert f"'{name}' of s3prl could not download" in message and f"{name}@FILE" in message
    assert "\n" not in message and len(message) < 300


def test_a_server_that_does_not_answer_is_not_waited_for(
    hub: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.request import urlopen

    monkeypatch.setattr(permissions, "NETWORK_TIMEOUT_S", 0.3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/weights.pt"
        hub("silent", lambda: urlopen(url).read())
        caught: list[BaseException] = []

        def run() -> None:
            try:
                load("silent", download=True)
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout=900)
    assert not thread.is_alive()
    assert isinstance(caught[0], BarlowSpeechError) and "could not download" in str(caught[0])
    assert socket.getdefaulttimeout() is None


def test_a_local_folder_is_not_looked_up_on_the_network(
    folders: Callable[[str, str], Path], tmp_path: Path, no_network: list[Any]
) -> None:
    """s3prl's expert would ask for a missing feature extractor for most of a minute."""
    folder = shutil.copytree(folders("Wav2Vec2", "group"), tmp_path / "bare")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BarlowSpeechError, match=r"bare, which is a folder with a Hugging Face"):
        load(f"hf_wav2vec2_custom@{folder}")
    assert no_network == []


def test_ours_is_found_without_s3prls_hub() -> None:
    """The packaged checkpoint by its path is the packaged checkpoint."""
    by_path = load(f"barlow_speech@{DEFAULT_CHECKPOINT}")
    assert by_path.fingerprint == load("barlow_speech").fingerprint


def test_a_name_is_of_one_family() -> None:
    """A file in the folder is a family; what no other claims is for s3prl's hub."""
    for name, family in {
        "barlow_speech": "ours", "barlow_speech_random": "ours", "barlow_speech@a/b.pt": "ours",
        "hf:models/x@1": "hugging_face", "hear:a.b@c": "hear", "mteb:a/b": "mteb",
        "fbank": "s3prl", "hubert@a.pt": "s3prl", "": "s3prl",
    }.items():  # fmt: skip
        assert family_of(name).__name__.rpartition(".")[2] == family
    for module in module_names(families.__path__):
        for function in ("matches", "check", "load", "identity"):
            assert callable(getattr(import_module(f"{families.__name__}.{module}"), function))
