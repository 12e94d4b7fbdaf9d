"""The toy corpus: what its tasks rest on, and that nothing half-made is ever trusted."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from barlow_speech.downstream.toy import corpus as toy
from barlow_speech.downstream.toy import kept
from barlow_speech.downstream.toy.corpus import ToySettings, toy_corpus
from barlow_speech.downstream.toy.synthesis import EMOTIONS
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio
from barlow_speech.upstream.data.manifest import Manifest, read_manifest

SMALL = ToySettings(speakers_per_gender=3, keywords=("yes", "left", "go"), repetitions=1)
SPLITS = {"train", "dev", "test"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus that no test changes."""
    return toy_corpus(tmp_path_factory.mktemp("toy") / "corpus", SMALL).parent


@pytest.fixture(scope="module")
def manifest(made: Path) -> Manifest:
    return read_manifest(made / "manifest.tsv")


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of the small corpus, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_speaker_says_every_keyword_in_every_emotion(manifest: Manifest) -> None:
    said = list(zip(*(manifest.column(name) for name in ("speaker", "keyword", "emotion"))))
    speakers = set(manifest.column("speaker"))
    assert len(speakers) == 2 * SMALL.speakers_per_gender
    assert sorted(said) == sorted(product(speakers, SMALL.keywords, EMOTIONS))
    assert len({recording.path for recording in manifest.recordings}) == len(manifest)


def test_no_speaker_is_in_two_disjoint_splits_and_each_split_has_every_class(
    manifest: Manifest,
) -> None:
    splits = manifest.column("split_speaker_disjoint")
    assert manifest.column("split") == splits
    assert len(set(zip(manifest.column("speaker"), splits))) == 2 * SMALL.speakers_per_gender
    for label in ("gender", "emotion", "keyword"):
        labels = manifest.column(label)
        assert set(zip(labels, splits)) == set(product(set(labels), SPLITS))


def test_speaker_id_hears_every_speaker_in_each_split_and_no_word_in_two(
    manifest: Manifest,
) -> None:
    splits = manifest.column("split_speaker_id")
    speakers = manifest.column("speaker")
    assert set(zip(speakers, splits)) == set(product(set(speakers), SPLITS))
    assert len(set(zip(manifest.column("text"), splits))) == len(SMALL.keywords)


def test_full_size_splits_are_60_20_20_and_hold_back_timbres() -> None:
    for voices in toy.SPEAKERS.values():
        assert len(voices) == len(set(voices)) == ToySettings().speakers_per_gender
        assert len(toy.KEYWORDS) == len(voices)  # so that the ranges below are the keywords' too
        splits = {"train": voices[:6], "dev": voices[6:8], "test": voices[8:]}
        timbres = [{voice.variant for voice in part} for part in splits.values()]
        assert sum(map(len, timbres)) == len(set.union(*timbres))


def test_clips_are_short_audible_recordings(manifest: Manifest) -> None:
    stated = manifest.column("duration_s")
    noise = []  # before the word, against the whole clip
    for recording, seconds in zip(manifest.recordings, stated):
        assert math.isclose(duration_s(recording.path), float(seconds), abs_tol=1e-4)
        assert 0.35 < float(seconds) < 1.6
        wave = read_audio(recording.path)
        assert 0.02 < np.abs(wave).max() <= 1
        assert np.mean(np.abs(wave) > 0.999) < 0.01  # hardly any clipping
        noise.append(wave[: round(0.05 * SAMPLE_RATE)].std() / wave.std())
    assert min(noise) > 0
    assert np.median(noise) < 0.5


def test_prosody_is_what_the_label_says_on_average(manifest: Manifest) -> None:
    loudness: dict[str, list[float]] = {emotion: [] for emotion in EMOTIONS}
    seconds: dict[str, list[float]] = {emotion: [] for emotion in EMOTIONS}
    for recording, emotion in zip(manifest.recordings, manifest.column("emotion")):
        wave = read_audio(recording.path)
        loudness[emotion].append(20 * math.log10(float(wave.std())))
        seconds[emotion].append(len(wave) / SAMPLE_RATE)
    assert np.mean(loudness["anger"]) > np.mean(loudness["sadness"]) + 3  # dB
    assert np.mean(seconds["anger"]) < np.mean(seconds["sadness"])
    assert min(loudness["anger"]) < max(loudness["sadness"])  # and yet they overlap


def test_the_card_names_columns_of_the_manifest(made: Path, manifest: Manifest) -> None:
    card = yaml.safe_load((made / "card.yaml").read_text())
    assert card["name"] == "toy"
    assert card["manifest"] == "manifest.tsv"
    assert card["main_score"] == "top1"
    assert card["revision"] == SMALL.revision
    assert set(card["tasks"]) == {"speaker_id", "gender", "emotion", "keyword_spotting"}
    for task in card["tasks"].values():
        assert {task["label"], task["split"]} <= set(manifest.columns)
    assert {"licence", "citation", "description"} <= set(card)


def test_two_fresh_generations_have_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = toy_corpus(tmp_path / "again", SMALL).parent
    assert contents(again) == contents(made)


def test_another_seed_gives_other_speech_and_another_revision(made: Path, tmp_path: Path) -> None:
    other = ToySettings(3, SMALL.keywords, 1, seed=1)
    card = toy_corpus(tmp_path / "other", other)
    assert other.revision != SMALL.revision
    checksums = [json.loads((f / "checksum.json").read_text()) for f in (made, card.parent)]
    assert checksums[0]["audio"] != checksums[1]["audio"]


def test_reuse_makes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept.subprocess, "run", lambda *_, **__: pytest.fail("made again"))
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert toy_corpus(made, SMALL) == made / "card.yaml"
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def a_clip(folder: Path) -> Path:
    return sorted((folder / "flac").iterdir())[5]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a clip is gone": lambda folder: a_clip(folder).unlink(),
    "a clip is truncated": lambda folder: truncate(a_clip(folder)),
    "a clip has another name": lambda folder: a_clip(folder).rename(folder / "flac" / "x.flac"),
    "the manifest is edited": lambda folder: (folder / "manifest.tsv").write_text(
        (folder / "manifest.tsv").read_text().replace("sadness\t", "neutral\t", 1)
    ),
    "the card is truncated": lambda folder: truncate(folder / "card.yaml"),
    "half-made: no checksum": lambda folder: (folder / "checksum.json").unlink(),
    "the checksum is no JSON": lambda folder: truncate(folder / "checksum.json"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_damaged_is_made_again(
    copy: Path,
    made: Path,
    damage: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(copy)
    # Stands in for the synthesis, whose own bytes another test compares: this one is about trust.
    monkeypatch.setattr(
        kept.subprocess,
        "run",
        lambda *_, cwd, **__: (
            shutil.copytree(made, cwd, dirs_exist_ok=True),
            subprocess.CompletedProcess([], 0, "", ""),
        )[1],
    )
    assert toy_corpus(copy, SMALL) == copy / "card.yaml"
    assert contents(copy) == contents(made)
    assert [entry.name for entry in copy.parent.iterdir()] == ["corpus"]  # nothing left beside it


def test_a_run_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('no such wheel')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "cache").mkdir()
    with pytest.raises(BarlowSpeechError, match="pip install") as caught:
        toy_corpus(tmp_path / "cache" / "toy", SMALL)
    assert "no such wheel" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["card.yaml", "manifest.tsv", "thesis.tex"])
def test_somebody_elses_folder_is_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("name: mine\n")
    with pytest.raises(BarlowSpeechError, match="not of the toy corpus"):
        toy_corpus(tmp_path, SMALL)
    assert contents(tmp_path) == {name: b"name: mine\n"}


def test_two_processes_at_once_are_harmless(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    program = (
        "from pathlib import Path; import sys\n"
        "from barlow_speech.downstream.toy.corpus import ToySettings, toy_corpus\n"
        f"print(toy_corpus(Path(sys.argv[1]), {SMALL!r}))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers == [str(folder / "card.yaml")] * 2
    assert contents(folder) == contents(made)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def test_what_a_killed_run_left_is_neither_trusted_nor_kept(copy: Path, made: Path) -> None:
    abandoned = copy.rename(copy.with_name(".corpus.abc.part"))
    os.utime(abandoned, (0, 0))
    living = copy.with_name(".corpus.def.part")
    living.mkdir()
    assert contents(toy_corpus(copy, SMALL).parent) == contents(made)
    assert {entry.name for entry in copy.parent.iterdir()} == {"corpus", living.name}


def test_the_default_folder_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path))
    assert toy_corpus(settings=SMALL) == tmp_path / f"toy-{SMALL.revision}" / "card.yaml"


@pytest.mark.parametrize(
    "settings",
    [
        ToySettings(speakers_per_gender=2),
        ToySettings(speakers_per_gender=99),
        ToySettings(keywords=("yes", "no")),
        ToySettings(keywords=("yes", "no", "supercalifragilistic")),
        ToySettings(repetitions=0),
        ToySettings(seed=-1),
    ],
)
def test_settings_that_cannot_be_split_are_refused(tmp_path: Path, settings: ToySettings) -> None:
    with pytest.raises(BarlowSpeechError, match="toy corpus"):
        toy_corpus(tmp_path / "corpus", settings)
    assert list(tmp_path.iterdir()) == []
