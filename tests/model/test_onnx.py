"""What onnxruntime makes of an exported encoder is what torch makes of the encoder."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from barlow_speech.benchmark import entry
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.model import onnx_export
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.onnx_export import export_onnx
from barlow_speech.upstream.model.readout import Part
from barlow_speech.upstream.model.speech_encoder import ModelSettings, SpeechEncoder, random_model

SIZES: dict[str, dict[str, Any]] = {
    "cnn2d": {"channels": 4},
    "cnn2d, 20 ms": {"name": "cnn2d", "channels": 4, "stride_ms": 20, "dilation": 4, "kernel": 3},
    "cnn1d": {"width": 16, "layers": 2, "kernel": 3},
    "bigru": {"width": 16, "layers": 1},
    "transformer": {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32},
    "conformer": {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "kernel": 3},
}
READOUT = (Part(0, ("std", "mean")), Part(-1, ("max",)))


def model(name: str) -> SpeechEncoder:
    settings = ModelSettings(
        FrontEndSettings(16, -4.0, 4.0), {"name": name, **SIZES[name]}, READOUT
    )
    return random_model(settings, seed=1).eval()


@pytest.mark.parametrize("name", sorted(SIZES))
@torch.no_grad()
def test_onnxruntime_agrees_on_lengths_that_were_not_exported(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    encoder, path = model(name), tmp_path / "encoder.onnx"
    assert export_onnx(encoder, path, {"whose": "test"}) <= onnx_export.TOLERANCE
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["sample_rate"], facts["whose"]) == ("16000", "test")
    assert facts["samples_per_state"] == str(encoder.rate)
    axes = [one.shape for one in (*session.get_inputs(), *session.get_outputs())]
    width = encoder.encoder.width
    wide = encoder.embedding_dim
    assert axes == [["batch", "samples"], ["batch", wide], ["batch", "states", width]]
    generator = torch.Generator().manual_seed(7)
    for batch, samples in ((1, 161), (4, 12_345), (2, 50_001)):
        waves_BN = 0.1 * torch.randn(batch, samples, generator=generator)
        hidden, _, embedding_BE = encoder(list(waves_BN))
        found = session.run(["embedding", "last_hidden_state"], {"waves": waves_BN.numpy()})
        for one, wanted in zip(found, (embedding_BE, hidden[-1])):
            assert one.shape == tuple(wanted.shape)
            scale = float(wanted.abs().max())
            np.testing.assert_allclose(one / scale, wanted.numpy() / scale, rtol=0, atol=1e-4)


def test_what_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(BarlowSpeechError, match="differs from the encoder cnn2d"):
        export_onnx(model("cnn2d"), tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "encoder.safetensors", model("cnn2d"), {})
    find = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return find(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    out = tmp_path / "encoder.onnx"
    given = ["export-onnx", "-k", str(tmp_path / "encoder.safetensors"), "-o", str(out)]
    with pytest.raises(BarlowSpeechError, match=r"pip install 'barlow-speech\[onnx\]'"):
        entry.run(given)
    assert not out.exists()


def test_the_checkpoint_that_is_read_is_not_replaced(tmp_path: Path) -> None:
    save_model(tmp_path / "encoder.safetensors", model("cnn2d"), {})
    before = (tmp_path / "encoder.safetensors").read_bytes()
    given = [str(tmp_path / "encoder.safetensors")] * 2
    with pytest.raises(BarlowSpeechError, match=r"is read, and what is written would replace it"):
        entry.run(["export-onnx", "-k", given[0], "-o", given[1]])
    assert (tmp_path / "encoder.safetensors").read_bytes() == before
