"""Embeddings of files, arrays and tensors of any rate and shape, by every way in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import soundfile
import torch
from torch import Tensor

import barlow_speech
from barlow_speech.benchmark import entry
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import resample
from barlow_speech.upstream.embedder import Embedder

ROOT = Path(__file__).resolve().parent.parent.parent
RATE = 16_000


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Embedder:
    return barlow_speech.load(checkpoint)


def sound(samples: int, channels: int = 0, seed: int = 0) -> np.ndarray:
    """Noise in [-0.9, 0.9] that 16 bits hold exactly, [N] or [N, C]."""
    rng = np.random.default_rng(seed)
    shape = (samples, channels) if channels else (samples,)
    return (rng.integers(-29_000, 29_000, shape) / 32768).astype(np.float32)


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_an_embedding_is_that_of_the_upstream(encoder: Embedder) -> None:
    """Whatever it is batched with, in the order given."""
    waves = [sound(n, seed=n) for n in (9000, 40_000, 1, 500, 16_000, 700_000)]
    embeddings_NE = encoder.embed(waves, RATE)
    assert embeddings_NE.shape == (6, encoder.embedding_dim)
    assert not embeddings_NE.requires_grad
    for wave, embedding_E in zip(waves, embeddings_NE):
        with torch.no_grad():
            same(encoder([torch.from_numpy(wave)])["embedding"][0], embedding_E)
    assert encoder.embed([]).shape == (0, encoder.embedding_dim)


def test_frames_are_the_hidden_states(encoder: Embedder) -> None:
    waves = [sound(n, seed=n) for n in (9000, 700_000, 1)]
    for layer in (-1, 0):
        for wave, states_SD in zip(waves, encoder.frames(waves, RATE, layer)):
            with torch.no_grad():
                expected = encoder([torch.from_numpy(wave)])["hidden_states"][layer][0]
            same(states_SD, expected)
    with pytest.raises(BarlowSpeechError, match="no layer 5; the encoder has 5"):
        encoder.frames(waves, RATE, 5)


def test_one_sound_in_every_guise(encoder: Embedder, tmp_path: Path) -> None:
    """Arrays and tensors, float and integer, with and without channels, and files."""
    wave = sound(8000)
    whole = np.round(wave * 32768)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, RATE)
    expected = encoder.embed(wave, RATE)
    guises: list[Any] = [
        torch.from_numpy(wave),
        torch.from_numpy(wave).double().requires_grad_(),
        wave.astype(np.float64),
        wave[::-1].copy()[::-1],
        whole.astype(np.int16),
        torch.from_numpy(whole).to(torch.int16),
        (whole * 65536).astype(np.int32),
        wave[None],
        wave[:, None],
        np.stack([wave, wave]),
        torch.from_numpy(np.stack([wave] * 3, axis=1)),
        path,
        str(path),
    ]
    for guise in guises:
        same(encoder.embed(guise, RATE), expected)
    same(encoder.embed(guises, RATE), expected.expand(len(guises), -1))
    same(encoder.embed(path), expected)
    rounded = np.round(wave * 127)
    for eight in (rounded.astype(np.int8), (rounded + 128).astype(np.uint8)):
        same(
            encoder.embed(eight, RATE),
            encoder.embed((rounded / 128).astype(np.float32), RATE),
        )


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_other_rates_and_stereo(encoder: Embedder, tmp_path: Path, rate: int) -> None:
    """A file and an array alike: mixed down, then resampled."""
    stereo = sound(rate // 2, channels=2)
    path = tmp_path / "stereo.flac"
    soundfile.write(path, stereo, rate)
    expected = encoder.embed(resample(stereo.mean(axis=1), rate), RATE)
    for given in (stereo, stereo.T, torch.from_numpy(stereo.T.copy())):
        same(encoder.embed(given, rate), expected)
        same(encoder.embed(given, float(rate)), expected)
    same(encoder.embed(path), expected)
    same(encoder.embed([path, stereo], rate), expected.expand(2, -1))
    (states_SD,) = encoder.frames(stereo, rate)
    assert len(states_SD) == -(-RATE // 2 // encoder.model.rate)


BAD: list[tuple[Any, float | None, str]] = [
    (sound(800), None, "the waveform does not say its sampling rate; give it, as in embed"),
    ([sound(800), torch.zeros(5)], None, r"waves\[0\] does not say"),
    ([sound(800), np.zeros(0)], RATE, r"waves\[1\] has no sample"),
    (np.zeros((2, 0)), RATE, "no sample"),
    (np.array([0.0, np.nan, 0.1]), RATE, "not finite"),
    (np.array([0.0, np.inf]), RATE, "not finite"),
    (np.array([0.0, 1e300]), RATE, "not finite"),
    (np.array([12_345.0, -3.0]), RATE, "up to 12345, and full scale is 1; divide"),
    (np.arange(5), RATE, "int64 values, whose full scale is not known"),
    (torch.ones(5, dtype=torch.bool), RATE, "bool values"),
    (np.ones(5, dtype=complex), RATE, "complex128 values"),
    (np.float32(1), RATE, r"is a float32; give the path"),
    (torch.tensor(0.5), RATE, r"shape \[\]"),
    (np.zeros((32, 16_000)), RATE, r"shape \[32, 16000\].*as a list"),
    (np.zeros((2, 2)), RATE, r"shape \[2, 2\]"),
    (np.zeros((4, 1, 16_000)), RATE, r"shape \[4, 1, 16000\]"),
    (np.broadcast_to(np.float32(0), 24 * 3600 * RATE), RATE, r"24\.0 h long, more than the 2\.3 h"),
    ([0.1, 0.2], RATE, r"waves\[0\] is a float"),
    (None, RATE, "waves is a NoneType"),
    (3, RATE, "waves is a int"),
    (sound(800), 0, "sample_rate of 0 Hz cannot be"),
    (sound(800), -16_000, "sample_rate of -16000"),
    (sound(800), float("nan"), "sample_rate of nan"),
    (sound(800), 16_000.5, "sample_rate of 16000.5"),
    (sound(800), 999, "sample_rate of 999"),
    (sound(800), 16, "sample_rate of 16 Hz"),
    ("nowhere.wav", None, "nowhere.wav does not exist"),
    (Path(__file__), None, "test_embedder.py cannot be read"),
]


@pytest.mark.parametrize(("waves", "rate", "words"), BAD)
def test_bad_input_is_refused_in_one_sentence(
    encoder: Embedder, waves: Any, rate: float | None, words: str
) -> None:
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        encoder.embed(waves, rate)
    assert "\n" not in str(caught.value)


def test_files_too_long_or_empty_are_refused(encoder: Embedder, tmp_path: Path) -> None:
    """A day of silence is a few megabytes of FLAC; headers are looked at before anything runs."""
    path = tmp_path / "day.flac"
    with soundfile.SoundFile(path, "w", 1000, 1) as file:
        block = np.zeros(1000 * 3600, dtype=np.int16)
        for _ in range(24):
            file.write(block)
    with pytest.raises(BarlowSpeechError, match=r"day.flac is 24\.0 h long"):
        encoder.embed([sound(800), path], RATE)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), RATE)
    with pytest.raises(BarlowSpeechError, match=r"empty.wav has no sample"):
        encoder.embed(empty)


def test_silence_and_the_shortest_are_finite(encoder: Embedder) -> None:
    waves = [np.zeros(RATE), np.array([0.3]), np.zeros(1, dtype=np.int16), sound(2)]
    assert encoder.embed(waves, RATE).isfinite().all()


def test_training_mode_is_refused(checkpoint: Path) -> None:
    encoder = barlow_speech.load(checkpoint)
    with pytest.raises(BarlowSpeechError, match=r"call .eval\(\) first"):
        encoder.train().embed(sound(800), RATE)
    assert encoder.eval().embed(sound(800), RATE).isfinite().all()


def test_load_names_what_is_wrong() -> None:
    with pytest.raises(BarlowSpeechError, match="does not exist"):
        barlow_speech.load("nowhere.safetensors")
    with pytest.raises(BarlowSpeechError, match="device nowhere cannot be used"):
        barlow_speech.load(device="nowhere")
    assert barlow_speech.load().embedding_dim > 0


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, barlow_speech; barlow_speech.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd="/").returncode == 0


# torch.hub


def clone(folder: Path) -> Path:
    """A checkout that is not installed, under another name than the package's."""
    folder.mkdir()
    for name in ("__init__.py", "hubconf.py"):
        shutil.copy(ROOT / name, folder)
    (folder / "upstream").symlink_to(ROOT / "upstream")
    return folder


def test_torch_hub_loads_a_clone_that_is_not_installed(
    encoder: Embedder, checkpoint: Path, tmp_path: Path
) -> None:
    """With the package hidden: without its finder and without the folder on the path."""
    folder = clone(tmp_path / "some-clone")
    code = """
        import importlib.util, json, sys
        sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one).lower()]
        sys.path = [one for one in sys.path if one != ""]
        assert importlib.util.find_spec("barlow_speech") is None, "it is not hidden"
        import torch
        folder, checkpoint = sys.argv[1:]
        standard = torch.hub.load(folder, "barlow_speech", source="local")
        encoder = torch.hub.load(folder, "barlow_speech", source="local", checkpoint=checkpoint)
        wave = torch.sin(torch.arange(8000) / 20)
        assert "s3prl" not in sys.modules
        import barlow_speech
        assert barlow_speech.__file__ == folder + "/__init__.py", barlow_speech.__file__
        import barlow_speech.upstream.common.errors
        print(json.dumps([standard.embed(wave, 16000).shape[0],
                          encoder.embed(wave, 16000)[0].tolist()]))
    """
    script = tmp_path / "script.py"
    script.write_text("\n".join(line[8:] for line in code.splitlines()))
    done = subprocess.run(
        [sys.executable, script, folder, checkpoint],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    count, embedding = json.loads(done.stdout)
    assert count == 1
    same(torch.tensor(embedding), encoder.embed(torch.sin(torch.arange(8000) / 20), RATE)[0])


# barlow-speech embed


def test_the_command_writes_embeddings_and_names(
    encoder: Embedder, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "audio"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("b.wav", "a.FLAC", "sub/c.ogg")):
        soundfile.write(folder / name, sound(4000 + 900 * i, seed=i), RATE)
    (folder / "notes.txt").write_text("no audio")
    names = tmp_path / "names.txt"
    names.write_text("audio/b.wav\n\naudio/sub/c.ogg\n")
    out = tmp_path / "deep" / "out.safetensors"
    b = folder / "b.wav"
    entry.run(
        ["embed", str(b), str(folder), "--list", str(names), "-o", str(out), "-k", str(checkpoint)]
    )
    assert "6 embeddings of" in capsys.readouterr().out
    expected = [b, folder / "a.FLAC", b, folder / "sub" / "c.ogg", b, folder / "sub" / "c.ogg"]
    with safetensors.safe_open(out, framework="np") as file:
        metadata = file.metadata()
        assert json.loads(metadata["names"]) == [str(path) for path in expected]
        assert json.loads(metadata["checkpoint"])["name"] == checkpoint.name
        embeddings = file.get_tensor("embeddings")
    assert embeddings.dtype == np.float32
    same(torch.from_numpy(embeddings), encoder.embed(expected))


def test_the_command_leaves_nothing_half_done(checkpoint: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, sound(4000), RATE)
    bad.write_bytes(good.read_bytes()[:20])
    out = tmp_path / "out" / "out.safetensors"
    end = ["-o", str(out), "-k", str(checkpoint)]
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ([str(good), str(bad)], "bad.wav cannot be read"),
        ([str(good), str(tmp_path / "none.wav")], "none.wav does not exist"),
        ([], "there is no recording to embed"),
        ([str(empty)], "holds no audio file"),
        (["--list", str(tmp_path / "none.txt")], "none.txt cannot be read"),
        (["--list", str(good)], "good.wav cannot be read"),
        ([str(good), "--device", "nowhere"], "device nowhere cannot be used"),
    ):
        with pytest.raises(BarlowSpeechError, match=words):
            entry.run(["embed", *arguments, *end])
    with pytest.raises(BarlowSpeechError, match="is a folder"):
        entry.run(["embed", str(good), "-o", str(tmp_path), "-k", str(checkpoint)])
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("good.wav", r"good.wav is read, and what is written would replace it"),
        ("inside/../good.wav", r"good.wav is read, and what is written would replace it"),
        ("names.txt", r"names.txt is read, and what is written would replace it"),
        (
            "encoder.safetensors",
            r"encoder.safetensors is read, and what is written would replace it",
        ),
        ("other.wav", "other.wav has the name of a recording; name a file such as other.safet"),
    ],
)
def test_the_command_replaces_nothing_that_it_reads(
    checkpoint: Path, tmp_path: Path, written: str, words: str
) -> None:
    (tmp_path / "inside").mkdir()
    for name in ("good.wav", "other.wav"):
        soundfile.write(tmp_path / name, sound(4000), RATE)
    (tmp_path / "names.txt").write_text("good.wav\n")
    shutil.copy(checkpoint, tmp_path / "encoder.safetensors")
    before = {one: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()}
    given = ["--list", str(tmp_path / "names.txt"), "-k", str(tmp_path / "encoder.safetensors")]
    with pytest.raises(BarlowSpeechError, match=words):
        entry.run(["embed", *given, "-o", str(tmp_path / written)])
    assert {one: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()} == before
