"""The corpus with the times of its phones: they are where the sound says, and splits are apart."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.downstream.toy.phones import (
    SILENCE,
    TIMBRES,
    PhoneSettings,
    phone_corpus,
    phone_labels,
    phones_at,
    read_phones,
    segments,
)
from barlow_speech.downstream.toy.synthesis import EMOTIONS, Espeak, Speaker
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.data.manifest import Manifest, read_manifest

SMALL = PhoneSettings(speakers=2, sentences=4)
RATE = 22_050


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(phone_corpus(SMALL, tmp_path_factory.mktemp("phones") / "corpus"))


def test_times_rise_and_lie_inside_the_recording_between_silences(manifest: Manifest) -> None:
    for recording, written in zip(manifest.recordings, manifest.column("phones")):
        parts = read_phones(written)
        starts = [start for start, _ in parts]
        assert starts[0] == 0 and all(a < b for a, b in itertools.pairwise(starts))
        assert starts[-1] < len(read_audio(recording.path))
        assert parts[0][1] == parts[-1][1] == SILENCE
        assert all(a[1] != b[1] for a, b in itertools.pairwise(parts))
        assert len(parts) > 10


def test_silence_is_silent_and_the_labels_are_not_moved_against_the_sound(
    manifest: Manifest,
) -> None:
    step = SAMPLE_RATE // 1000
    gaps = {}  # dB between sound and silence, by how many ms the labels are moved
    for ms in range(-12, 13):
        quiet, loud = [], []
        for recording, written in zip(manifest.recordings, manifest.column("phones")):
            wave = read_audio(recording.path)
            count = len(wave) // step
            power = 10 * np.log10((wave[: count * step].reshape(count, step) ** 2).mean(1) + 1e-9)
            places = (np.arange(count) - ms) * step + step // 2
            silent = phones_at(read_phones(written), np.clip(places, 0, None)) == SILENCE
            quiet.append(power[silent])
            loud.append(power[~silent])
        gaps[ms] = np.concatenate(loud).mean() - np.concatenate(quiet).mean()
    assert gaps[0] > 8
    assert abs(max(gaps, key=lambda ms: gaps[ms])) <= 1


def test_a_consonant_begins_on_the_first_sample_that_is_not_zero() -> None:
    espeak = Espeak(0)
    assert espeak.rate == RATE
    count = 0
    for timbre in TIMBRES["test"].split()[:6]:
        voice = Speaker("en-us", timbre, 50, 140)
        espeak.choose(voice)
        wave = espeak.say("tapa, sona, keepa, feeda", voice, EMOTIONS["neutral"])
        sounding = np.flatnonzero(wave)
        for (_, before), (start, phone) in itertools.pairwise([(0, ""), *espeak.phones]):
            if not before and phone:
                onset = sounding[np.searchsorted(sounding, start - RATE // 100)]
                assert abs(onset - start) < RATE / 1000, (timbre, phone)
                count += 1
    assert count == 24


def test_segments_correct_the_events() -> None:
    wave = np.ones(10_000)
    wave[:1000] = wave[3000:3600] = wave[9000:] = 0  # before, a closure, behind
    wave[5000:5050] = 0  # within a sound: too short to be silence
    events = [(1000, "s"), (2000, "ˈiː"), (3600, "t"), (4200, "l"), (4200, "n"), (6000, "a"),
              (7000, ""), (8000, "ˌuː")]  # fmt: skip
    assert segments(wave, events, RATE) == [
        (0, SILENCE), (1000, "s"), (2000, "iː"), (3000, SILENCE), (3600, "t"), (4200, "n"),
        (6000 - round(0.04 * RATE), "a"), (7000, "uː"), (9000, SILENCE),
    ]  # fmt: skip
    near = segments(np.ones(3000), [(0, "m"), (500, "a"), (1000, "m")], RATE)
    assert near == [(0, "m"), (250, "a"), (1000, "m")]


def test_each_moment_has_the_phone_that_sounds_there(manifest: Manifest) -> None:
    short = phones_at([(0, "a"), (320, "b"), (700, "c")], np.array([0, 319, 320, 640, 960]))
    assert short.tolist() == ["a", "a", "b", "b", "c"]
    labels = phone_labels(manifest, 320)
    for recording, written, label in zip(manifest.recordings, manifest.column("phones"), labels):
        assert len(label) == -(-len(read_audio(recording.path)) // 320)
        parts = read_phones(written)
        for place, phone in enumerate(label):
            assert [name for start, name in parts if start <= 320 * place][-1] == phone


def test_no_speaker_sentence_or_word_is_in_two_splits(manifest: Manifest) -> None:
    splits = manifest.column("split")
    assert {split: splits.count(split) for split in TIMBRES} == {"train": 8, "dev": 4, "test": 4}
    words = [
        (word, split)
        for text, split in zip(manifest.column("text"), splits)
        for word in text.replace(",", "").split()
    ]
    for pairs in (words, zip(manifest.column("speaker"), splits)):
        split_of: dict[str, str] = {}
        assert all(split_of.setdefault(one, split) == split for one, split in pairs)
    timbres = " ".join(TIMBRES.values()).split()
    assert len(timbres) == len(set(timbres))


def test_two_generations_have_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    again = phone_corpus(SMALL, tmp_path / "again").parent
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) == 16 + 3
    assert all((again / one).read_bytes() == (manifest.file.parent / one).read_bytes()
               for one in files)  # fmt: skip


def test_the_speaking_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from barlow_speech.downstream.toy.phones import *;"
        "phone_corpus(PhoneSettings(16, 1000), pathlib.Path(sys.argv[1]))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "corpus")])

    def wait_until(clips: bool) -> None:
        deadline = time.monotonic() + 300
        while any(tmp_path.glob(".corpus.*.part/made/flac/*")) != clips:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    try:
        wait_until(True)
    finally:
        starter.kill()
        starter.wait()
    wait_until(False)


def test_settings_that_leave_a_split_empty_are_refused(tmp_path: Path) -> None:
    for settings in (PhoneSettings(speakers=0), PhoneSettings(sentences=1)):
        with pytest.raises(BarlowSpeechError, match="phones corpus"):
            phone_corpus(settings, tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
