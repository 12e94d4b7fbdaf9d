"""Generated audio, a tiny corpus and a tiny checkpoint, shared by the tests."""

from __future__ import annotations

import os

# The tests' matrices are small: two threads that wait for each other on a busy machine take ten
# times as long as one. Read by OpenMP when torch is imported, and by every process the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model

# A busy machine makes every example late. `--hypothesis-profile=campaign` is the long one
# (tests/robustness/README.md); the suite has the same examples in every run.
settings.register_profile("busy", deadline=None, derandomize=True)
settings.register_profile("campaign", deadline=None, max_examples=4000, print_blob=True)
settings.load_profile("busy")

EMOTIONS = ("calm", "excited")
KEYWORDS = ("low", "middle", "high")


@pytest.hookimpl(trylast=True)  # behind what shuffles them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those with most: what ends last should be short.

    Processes take whole files, in this order (`--no-loadscope-reorder`).
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -count[item.path]))


@pytest.fixture(autouse=True, scope="session")
def own_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's list of audio folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, and no test finds another's features."""
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path_factory.mktemp("cache")))


def tone_corpus(folder: Path, seed: int = 0) -> Path:
    """A corpus of tones in noise with every label of the four tasks; the path of its manifest.

    Six speakers (pitches), two genders, two emotions (tremolo), three keywords (second tone), two
    repetitions: 72 recordings of some 0.3 s. Both split columns mean what they mean everywhere.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    header = ("path", "speaker", "gender", "emotion", "keyword")
    lines = ["\t".join((*header, "split_speaker_id", "split_speaker_disjoint", "split"))]
    for speaker in range(6):
        gender = ("female", "male")[speaker % 2]
        disjoint = ("train", "train", "train", "train", "dev", "test")
        for emotion in range(2):
            for keyword in range(3):
                for repetition in range(2):
                    count = int(rng.integers(4000, 6400))
                    time = np.arange(count) / SAMPLE_RATE
                    pitch = (220 if gender == "female" else 110) * (1 + 0.07 * speaker)
                    wave = np.sin(2 * np.pi * pitch * time)
                    wave += 0.7 * np.sin(2 * np.pi * (700 + 900 * keyword) * time)
                    wave *= 1 + 0.8 * emotion * np.sin(2 * np.pi * 9 * time)
                    wave = 0.1 * wave + 0.02 * rng.standard_normal(count)
                    name = f"{speaker}-{emotion}-{keyword}-{repetition}.wav"
                    soundfile.write(folder / name, wave, SAMPLE_RATE)
                    by_speaker = disjoint[speaker]
                    by_recording = ("train", ("dev", "test")[(emotion + keyword) % 2])[repetition]
                    row = (name, f"speaker{speaker}", gender, EMOTIONS[emotion], KEYWORDS[keyword])
                    lines.append("\t".join((*row, by_recording, by_speaker, by_speaker)))
    manifest = folder / "manifest.tsv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a tone corpus, not to be changed."""
    return tone_corpus(tmp_path_factory.mktemp("data") / "tones")


def tiny_settings() -> ModelSettings:
    """A model small enough for any test."""
    return ModelSettings(FrontEndSettings(16, -6.0, 4.0), {"name": "cnn2d", "channels": 4})


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model with random weights and non-trivial statistics."""
    model = random_model(tiny_settings(), seed=3)
    generator = torch.Generator().manual_seed(4)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    path = tmp_path_factory.mktemp("checkpoint") / "encoder.safetensors"
    save_model(path, model, {"note": "random"})
    return path
