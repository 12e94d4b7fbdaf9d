"""Speech that is carried to another machine: lossy, but every recording in its place and length."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.benchmark.entry import run
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data import carried
from barlow_speech.upstream.data.audio import read_audio
from barlow_speech.upstream.data.carried import carry, unpack
from barlow_speech.upstream.data.manifest import Recording, read_manifest
from barlow_speech.upstream.data.packed import PackedCorpus


@pytest.fixture
def recordings(tones: Path, monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    monkeypatch.setattr(carried, "PART_S", 1.0)  # several parts
    return list(read_manifest(tones).recordings)


@pytest.fixture
def file(recordings: list[Recording], tmp_path: Path) -> Path:
    return carry(recordings, tmp_path / "speech.zip", 24)


def test_every_recording_comes_back_at_its_place(
    recordings: list[Recording], file: Path, tmp_path: Path
) -> None:
    folder = unpack(file, tmp_path / "packed", threads=3)
    assert unpack(file, folder) == folder  # what is there is kept
    corpus = PackedCorpus(folder, 0.2, 0)
    corpus.verify()
    assert corpus.index["recordings"] == len(recordings)
    waves = [read_audio(one.path) for one in recordings]
    assert np.diff(corpus.offsets).tolist() == [len(wave) for wave in waves]
    found = [
        corpus.samples(*span) / 32768
        for span in np.stack([corpus.offsets[:-1], corpus.offsets[1:]], 1)
    ]
    alike = [np.corrcoef(one, wave)[0, 1] for one, wave in zip(found, waves)]
    assert min(alike) > 0.8
    names = (folder / "recordings.txt").read_text().splitlines()
    assert names == [one.path.name for one in recordings]
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) > 3


def test_fewer_kbits_are_fewer_bytes(recordings: list[Recording], tmp_path: Path) -> None:
    sizes = [carry(recordings, tmp_path / f"{k}.zip", k).stat().st_size for k in (12, 24, 48)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    with pytest.raises(BarlowSpeechError, match="kbit/s"):
        carry(recordings, tmp_path / "none.zip", 0)


def test_what_was_damaged_is_named_and_nothing_is_left(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(members["speech.json"])
    index["parts"][0]["samples"][0] += 1

    def again(changed: dict[str, bytes]) -> bytes:
        path = tmp_path / "other.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        return path.read_bytes()

    broken = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:],
        "no archive": b"RIFF",
        "no index": again({"00000.opus": members["00000.opus"]}),
        "other lengths": again(members | {"speech.json": json.dumps(index).encode()}),
        "no mapping": again(members | {"speech.json": b"[]"}),
        "no part": again({key: members[key] for key in members if key != "00001.opus"}),
        "no audio": again(members | {"00001.opus": b"none"}),
    }
    for what, content in broken.items():
        file.write_bytes(content)
        with pytest.raises(BarlowSpeechError, match=r"speech\.zip"):
            unpack(file, tmp_path / "packed")
        assert not (tmp_path / "packed").exists(), what
    with pytest.raises(BarlowSpeechError, match="no file"):
        unpack(tmp_path / "none.zip", tmp_path / "packed")


def test_the_command_packs_and_unpacks(tones: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{steps: 1, data: {sources: [{manifest: manifest.tsv}]}}")
    file, folder = tmp_path / "speech.zip", tmp_path / "packed"
    root = ["--data-root", str(tones.parent)]
    run(["pack", str(recipe), *root, "--opus", "16", "-o", str(file)])
    run(["pack", str(file), "-o", str(folder)])
    assert PackedCorpus(folder, 0.2, 0).index["recordings"] == 72
