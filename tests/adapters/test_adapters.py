"""What other benchmarks are given of an upstream, by their own checkers where there are any."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.upstream.adapters import hear
from barlow_speech.upstream.adapters._adapted import Adapted
from barlow_speech.upstream.adapters.xares import BarlowSpeechEncoder
from barlow_speech.upstream.common.errors import BarlowSpeechError


def noise(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


@pytest.mark.parametrize("name", ["", "fbank", "barlow_speech_random"])
def test_what_is_given_is_the_upstreams_own_and_no_batch_changes_it(name: str) -> None:
    """Ours has an embedding, and runs together; fbank has none, and does not."""
    adapted = Adapted(name)
    upstream = load_upstream(name or "barlow_speech", None, "cpu")
    waves = noise(16_000, 9_000, 9_000, 5_000)
    frames, embeddings_BE = adapted.of(waves)
    assert embeddings_BE.shape == (4, adapted.embedding_size)
    for row, wave in enumerate(waves):
        alone = upstream.outputs([wave])
        last_TD = upstream.frames(alone["hidden_states"][-1], 0, len(wave))
        torch.testing.assert_close(frames[row], last_TD, rtol=1e-4, atol=1e-5)
        expected_E = alone["embedding"][0] if "embedding" in alone else last_TD.mean(dim=0)
        torch.testing.assert_close(embeddings_BE[row], expected_E, rtol=1e-4, atol=1e-5)
    assert not embeddings_BE.requires_grad and frames[0].shape[1] == adapted.width


def test_a_checkpoint_is_known_by_its_path(checkpoint: Path) -> None:
    assert Adapted(str(checkpoint)).name == f"barlow_speech@{checkpoint}"
    for wrong in ("nowhere.safetensors", "fbnk", "hf:nowhere"):
        with pytest.raises(BarlowSpeechError):
            Adapted(wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.zeros(2, 800, dtype=torch.int16), r"torch.int16 of shape \[800\]"),
        (torch.zeros(2, 800, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(800), r"torch.float32 of shape \[\]"),
        (torch.zeros(2, 2, 800), r"torch.float32 of shape \[2, 800\]"),
        (torch.zeros(2, 0), r"torch.float32 of shape \[0\]"),
        (torch.zeros(()), r"torch.float32 of shape \[\]"),
        (torch.zeros(2, 800).numpy(), "one of them is ndarray"),
        (None, "one of them is NoneType"),
        (torch.zeros(0, 800), "no recording in the batch"),
    ],
)
def test_what_is_no_batch_of_waveforms_is_one_sentence(wrong: Any, words: str) -> None:
    """Integers, too, which nobody would see unscaled."""
    model = hear.load_model("barlow_speech_random")
    for call in (hear.get_timestamp_embeddings, hear.get_scene_embeddings):
        with pytest.raises(BarlowSpeechError, match=words):
            call(wrong, model)


def test_batches_of_one_sample_of_one_recording_and_of_other_floats() -> None:
    model = hear.load_model("barlow_speech_random")
    (wave,) = noise(16_000)
    for audio in (wave[None], wave[None, :1], wave[None].double(), wave[None].half()):
        frames_BTD, starts_BT = hear.get_timestamp_embeddings(audio, model)
        assert frames_BTD.shape[:2] == starts_BT.shape and len(starts_BT) == 1
        assert frames_BTD.dtype == torch.float32 and bool(frames_BTD.isfinite().all())
    with pytest.raises(BarlowSpeechError, match="device nowhere cannot be used"):
        Adapted("barlow_speech_random", "nowhere")


def test_hear_has_timestamps_within_the_recording(checkpoint: Path) -> None:
    model = hear.load_model(str(checkpoint))
    audio = torch.stack(noise(20_000, 20_000))
    frames_BTD, starts_BT = hear.get_timestamp_embeddings(audio, model)
    assert frames_BTD.shape == (*starts_BT.shape, model.timestamp_embedding_size)
    assert frames_BTD.dtype == torch.float32
    assert starts_BT[0, 0] == 0 and starts_BT.max() < 1000 * 20_000 / model.sample_rate
    torch.testing.assert_close(
        starts_BT.diff(), torch.full_like(starts_BT[:, 1:], 1000 * model.upstream.rate / 16_000)
    )
    assert hear.get_scene_embeddings(audio, model).shape == (2, model.scene_embedding_size)


def test_hears_own_validator_passes(checkpoint: Path) -> None:
    validate = pytest.importorskip("hearvalidator.validate")
    for file in (str(checkpoint), "fbank"):
        validate.ValidateModel("barlow_speech.upstream.adapters.hear", file, device="cpu")()


def test_xares_is_given_frames_and_its_llm_a_true_mask(checkpoint: Path) -> None:
    class Own(BarlowSpeechEncoder):
        upstream_name = str(checkpoint)

    encoder = Own()
    long, short = noise(16_000, 7_000)
    padded = torch.nn.utils.rnn.pad_sequence([long, short], batch_first=True)
    frames_BTD = encoder(padded)
    assert frames_BTD.shape == (2, frames_BTD.shape[1], encoder.output_dim)
    assert frames_BTD.shape[1] == pytest.approx(1000 / encoder.hop_size_in_ms, abs=1)
    mask = (torch.arange(16_000) < torch.tensor([[16_000], [7_000]])).long()
    masked_BTD, mask_BT = encoder(padded, mask)
    own_TD = encoder(short.unsqueeze(0))[0]
    assert mask_BT.tolist()[1] == [1] * len(own_TD) + [0] * (masked_BTD.shape[1] - len(own_TD))
    torch.testing.assert_close(masked_BTD[1, : len(own_TD)], own_TD, rtol=1e-4, atol=1e-5)
    assert not masked_BTD[1, len(own_TD) :].any()
    _, whole_BT = encoder(padded, None)
    assert bool(whole_BT.all())
    for wrong in (mask[:, :800], mask[:1], mask.flip(1), torch.arange(32_000).view(2, -1) % 2):
        with pytest.raises(BarlowSpeechError, match=r"mask of shape \[2, 16000\].*pad at the end"):
            encoder(padded, wrong)
    module = importlib.import_module("barlow_speech.upstream.adapters.xares")
    assert [one for one in dir(module) if one.endswith("Encoder")] == ["BarlowSpeechEncoder"]


def test_xares_own_check_passes_and_its_reader_reads(tmp_path: Path) -> None:
    check = pytest.importorskip("xares.audio_encoder_checker").check_audio_encoder
    assert check(BarlowSpeechEncoder())
    import soundfile
    from xares.audiowebdataset import create_rawaudio_webdataset, write_audio_tar

    paths = []
    for number, wave in enumerate(noise(8_000, 6_000, 4_000)):
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], wave.numpy(), 16_000)
    write_audio_tar(paths, ["a", "b", "a"], str(tmp_path / "a-*.tar"), num_shards=1)
    loader = create_rawaudio_webdataset([str(tmp_path / "a-*.tar")], 16_000, num_workers=0)
    ((audio, lengths), labels, _) = next(iter(loader))
    assert lengths.tolist() == [8_000, 6_000, 4_000] and len(labels) == 3
    assert BarlowSpeechEncoder()(audio).shape[0] == 3


def test_mtebs_mock_tasks_pass() -> None:
    """All seven of audio; with torchcodec, which MTEB's data sets decode by."""
    mteb = pytest.importorskip("mteb")
    pytest.importorskip("torchcodec.decoders")
    adapter = importlib.import_module("barlow_speech.upstream.adapters.mteb")
    model = adapter.load_model("fbank_no_cmvn")
    results = mteb.mock_run(model)
    run = [name for name, status in results.items() if status is not None]
    assert len(run) == 7 and results.all_passed
    meta = model.mteb_model_meta
    assert meta.name == "barlow-speech/fbank_no_cmvn" and meta.modalities == ["audio"]


def test_mteb_can_load_a_model_again_by_its_metadata(checkpoint: Path) -> None:
    pytest.importorskip("mteb")
    adapter = importlib.import_module("barlow_speech.upstream.adapters.mteb")
    meta = adapter.load_model(str(checkpoint)).mteb_model_meta
    again = meta.load_model(device="cpu").mteb_model_meta
    assert (again.name, again.revision) == (meta.name, meta.revision)


def evar_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """EVAR is no package that can be installed: the two names that it gives an adapter."""

    class BaseAudioRepr(torch.nn.Module):
        def __init__(self, cfg: Any) -> None:
            super().__init__()
            self.cfg = cfg

    def temporal_pooling(model: Any, frames_BDT: Tensor) -> Tensor:
        return frames_BDT.mean(dim=2)

    base: Any = ModuleType("evar.ar_base")
    base.BaseAudioRepr, base.temporal_pooling = BaseAudioRepr, temporal_pooling
    monkeypatch.setitem(sys.modules, "evar", ModuleType("evar"))
    monkeypatch.setitem(sys.modules, "evar.ar_base", base)


def test_evar_finds_a_representation(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    evar_package(monkeypatch)
    monkeypatch.delitem(sys.modules, "barlow_speech.upstream.adapters.evar", raising=False)
    importlib.import_module("barlow_speech.upstream.adapters.evar")

    class Cfg(dict):
        temporal_pooling_type = "mean"

    cfg = Cfg(weight_file=str(checkpoint))
    model = sys.modules["evar"].ar_barlow_speech.AR_BarlowSpeech(cfg)
    audio = torch.stack(noise(16_000, 16_000))
    frames_BDT = model.encode_frames(audio)
    assert frames_BDT.shape[:2] == (2, model.adapted.width)
    torch.testing.assert_close(model(audio), frames_BDT.mean(dim=2))
    cfg.temporal_pooling_type = "embedding"
    assert model(audio).shape == (2, model.adapted.embedding_size)
    del sys.modules["barlow_speech.upstream.adapters.evar"]


@pytest.mark.parametrize(("name", "words"), [("mteb", r"barlow-speech\[mteb\]"), ("evar", "clone")])
def test_a_package_that_is_missing_is_one_sentence(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"barlow_speech.upstream.adapters.{name}", raising=False)
    with pytest.raises(BarlowSpeechError, match=f"needs {name}.*cannot be imported.*{words}"):
        importlib.import_module(f"barlow_speech.upstream.adapters.{name}")
