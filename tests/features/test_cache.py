"""The feature cache: shared, resumed, verified, pruned; never stale, never computed twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import soundfile
import torch

from barlow_speech.benchmark import entry
from barlow_speech.benchmark.features import cache
from barlow_speech.benchmark.features import extraction as features
from barlow_speech.benchmark.features.cache import Folder, Shard, entries
from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.downstream.corpus import read_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data import audio, contents, packed
from barlow_speech.upstream.data.audio import read_audio, resample
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import pack


@pytest.fixture
def upstream(checkpoint: Path) -> Upstream:
    return load_upstream("barlow_speech", checkpoint, "cpu")


def recordings(tones: Path) -> list[Recording]:
    return read_corpus(str(tones)).recordings


def get(upstream: Upstream, some: list[Recording], cache: Path, **options: object):
    return features.features(upstream, some, cache, Path("manifest"), **options)  # type: ignore[arg-type]


def everything(found: features.Features) -> torch.Tensor:
    rows = np.arange(len(found.audio_N))
    return torch.cat(
        [found.means(rows, with_std=True), found.embeddings(rows).expand(
            -1, found.shape[0], -1
        )],
        dim=2,
    )  # fmt: skip


def test_features_are_those_of_each_recording_alone(
    upstream: Upstream, tones: Path, tmp_path: Path
) -> None:
    some = recordings(tones)
    found, kept = get(upstream, some, tmp_path), get(upstream, some, tmp_path, kind="frames")
    for row in range(0, len(some), 11):
        wave = torch.from_numpy(read_audio(some[row].path))
        with torch.no_grad():
            output = upstream.module([wave])
        count = max(1, round(len(wave) / upstream.rate))
        frames_LTD = torch.stack([one[0, :count] for one in output["hidden_states"]])
        rows = np.array([row])
        expected = torch.cat([frames_LTD.mean(1), frames_LTD.std(1, correction=0)], dim=1)
        got = found.means(rows, with_std=True)[0]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found.embeddings(rows)[0, 0], output["embedding"][0], rtol=1e-4, atol=1e-5
        )
        (frames_TLD,) = kept.frames(rows)
        assert frames_TLD.dtype == torch.float16
        torch.testing.assert_close(
            frames_TLD.float().transpose(0, 1), frames_LTD, rtol=2e-3, atol=1e-3
        )


@pytest.mark.parametrize("scale", [1e-25, 1e-7, 1e-3, 1.0, 1e3, 1e6, 1e25])
def test_frames_keep_their_digits_whatever_their_scale(
    upstream: Upstream, tones: Path, tmp_path: Path, scale: float
) -> None:
    """Half precision has none left for a spectrogram of quiet speech, whose values are 1e-7."""

    class Scaled(torch.nn.Module):
        def forward(self, wavs: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
            hidden = upstream.module(wavs)["hidden_states"]
            return {"hidden_states": [hidden[0], *(scale * one for one in hidden[1:])]}

    some = recordings(tones)[:2]
    scaled = replace(upstream, module=Scaled(), fingerprint=str(scale))
    rows = np.arange(2)
    plain = get(upstream, some, tmp_path, kind="frames").frames(rows)
    for one_TLD, other_TLD in zip(plain, get(scaled, some, tmp_path, kind="frames").frames(rows)):
        expected_TLD = one_TLD.double()[:, 1:] * scale
        assert (other_TLD.double()[:, 1:] - expected_TLD).norm() < 2e-3 * expected_TLD.norm()


def test_one_extraction_serves_every_list_of_the_same_recordings(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = recordings(tones)
    whole = get(upstream, some, tmp_path)
    computed: list[int] = []
    extract = features._extract

    def watch(upstream, recordings, rows, kind):
        computed.extend(rows)
        return extract(upstream, recordings, rows, kind)

    monkeypatch.setattr(features, "_extract", watch)
    backwards = get(upstream, some[::-1] + some[:3], tmp_path)
    assert computed == []
    order = [*range(len(some))[::-1], 0, 1, 2]
    assert torch.equal(everything(backwards), everything(whole)[order])
    part = Recording(some[0].path, 0.05, 0.2)
    more = get(upstream, [*some[:5], part, part], tmp_path)
    assert computed == [5]  # the span is new, and computed once though it is listed twice
    assert torch.equal(everything(more)[:5], everything(whole)[:5])
    assert torch.equal(everything(more)[5], everything(more)[6])


def test_an_interrupted_extraction_goes_on_where_it_was(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = recordings(tones)
    whole = get(upstream, some, tmp_path / "whole")
    monkeypatch.setattr(features, "FLUSH_BYTES", 0)  # a shard for every batch
    monkeypatch.setattr(features, "BATCH_S", 2.0)
    read, count = features.read_audio, 0

    def fail_late(*arguments):
        nonlocal count
        count += 1
        if count > 40:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(features, "read_audio", fail_late)
    with pytest.raises(KeyboardInterrupt):
        get(upstream, some, tmp_path / "cut")
    (entry,) = entries(tmp_path / "cut")
    assert 0 < entry.recordings < len(some)
    count = -1000
    again = get(upstream, some, tmp_path / "cut")
    assert 0 < count + 1000 <= len(some) - entry.recordings
    torch.testing.assert_close(everything(again), everything(whole), rtol=1e-4, atol=1e-5)
    assert sum(1 for _ in tmp_path.glob("cut/*/*.part")) == 0


def test_an_upstream_that_depends_on_its_batch_is_given_equal_lengths(tmp_path: Path) -> None:
    """Its result is that of each recording alone; equal lengths still run together."""
    rng = np.random.default_rng(0)
    some = []
    for i, samples in enumerate([8000, 6000, 8000, 6001, 8000, 6000]):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000)
        some.append(Recording(path))
    peer = load_upstream("fbank_no_cmvn", None, "cpu")
    assert not peer.batched
    together = get(peer, some, tmp_path / "cache").means(np.arange(6))
    for row, one in enumerate(some):
        alone = get(peer, [one], tmp_path / f"cache{row}").means(np.arange(1))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)
    batches = features._batches(
        False, {0: 0.5, 1: 0.375, 2: 0.5, 3: 0.3751, 4: 0.5, 5: 0.375}, 120.0
    )
    assert batches == [[0, 2, 4], [3], [1, 5]]


def test_two_processes_compute_each_recording_once(
    checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    """Two at once, twice over: all end well with equal features, and nothing is there twice."""
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from barlow_speech.benchmark.features import extraction as features\n"
        "from barlow_speech.benchmark.features.upstreams import load_upstream\n"
        "from barlow_speech.downstream.corpus import read_corpus\n"
        "features.FLUSH_BYTES, features.BATCH_S = 0, 2.0\n"
        "up = load_upstream('barlow_speech', Path(sys.argv[1]), 'cpu')\n"
        "some = read_corpus(sys.argv[2]).recordings\n"
        "found = features.features(up, some, Path(sys.argv[3]), Path('m'))\n"
        "print(float(found.means(np.arange(len(some))).double().sum()))\n"
    )
    command = [sys.executable, "-c", program, str(checkpoint), str(tones), str(tmp_path)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [one.communicate()[0] for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert printed[0] == printed[1] != ""
    (entry,) = entries(tmp_path)
    assert entry.recordings == len(recordings(tones))


def test_a_lock_of_a_dead_process_does_not_block(
    upstream: Upstream, tones: Path, tmp_path: Path
) -> None:
    folder = Folder(tmp_path, upstream.name, upstream.fingerprint, "pooled")
    program = (
        "import fcntl, os, sys\n"
        "os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)\n"
        "fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX)\n"
        "os._exit(9)\n"
    )
    dead = subprocess.run([sys.executable, "-c", program, str(folder.path / "lock")])
    assert dead.returncode == 9
    assert len(get(upstream, recordings(tones)[:2], tmp_path).audio_N) == 2


def test_a_second_process_says_that_it_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, entered = Folder(tmp_path, "mine", "f", "pooled"), threading.Event()

    def second() -> None:
        with folder.locked():
            entered.set()

    thread = threading.Thread(target=second)
    with folder.locked():
        thread.start()
        while "another process computes features of mine; waiting for it" not in caplog.text:
            time.sleep(0.01)
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()


def test_features_are_addressed_by_weights_and_version_not_by_source_text(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment in an encoder throws nothing away; raising the version does."""
    some = recordings(tones)[:3]
    first = get(upstream, some, tmp_path)

    def no_source(path: Path, *arguments: object, **options: object) -> str:
        assert path.suffix != ".py", f"{path} is read for a key"
        return read_text(path, *arguments, **options)  # type: ignore[arg-type]

    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", no_source)
    for name in ("barlow_speech", "fbank_no_cmvn"):
        load_upstream(name, None, "cpu")
    monkeypatch.setattr(cache, "FEATURES_VERSION", cache.FEATURES_VERSION + 1)
    second = get(upstream, some, tmp_path)
    assert first.key != second.key and len(entries(tmp_path)) == 2


def test_the_resampler_is_that_of_the_version() -> None:
    """Where this fails, features are no longer those of before: raise FEATURES_VERSION."""
    wave = np.sin(np.arange(441) ** 1.5 / 50).astype(np.float32)
    expected = {4: [0.945465, -0.917343, -0.992522, 0.469104, -0.400400, 0.796886]}
    np.testing.assert_allclose(
        resample(wave, 44_100)[20:140:20], expected[cache.FEATURES_VERSION], atol=1e-5
    )


def test_what_is_kept_of_parts_is_of_how_they_are_cut(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of whole files stays."""
    whole = recordings(tones)[:1]
    parts = [replace(whole[0], start_s=0.1), replace(whole[0], end_s=0.2)]
    keys = [cache.recording_keys(some, tones) for some in (whole, parts)]
    folder = pack(parts, tmp_path / "packed")
    monkeypatch.setattr(audio, "PARTS_VERSION", audio.PARTS_VERSION + 1)
    assert cache.recording_keys(whole, tones) == keys[0]
    assert set(cache.recording_keys(parts, tones)).isdisjoint(keys[1])
    assert pack(parts, folder) == folder  # they are the same, after all
    monkeypatch.setattr(audio, "PARTS_VERSION", audio.PARTS_VERSION + 1)
    monkeypatch.setattr(packed, "read_audio", lambda *part: 0.5 * read_audio(*part))
    with pytest.raises(BarlowSpeechError, match="as an earlier version read them"):
        pack(parts, folder)


def replaced(path: Path) -> None:
    """Another sound under the same name, length and times, as when an archive is unpacked anew."""
    info, times = soundfile.info(path), path.stat()
    noise = 0.1 * np.random.default_rng(9).standard_normal(info.frames)
    soundfile.write(path, noise, info.samplerate)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)


@pytest.mark.parametrize("kind", ["pooled", "frames"])
def test_another_sound_of_the_same_name_length_and_time_is_another(
    kind: str, upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "SETTLED_NS", -(1 << 62))  # remembered at once
    shutil.copytree(tones.parent, tmp_path / "corpus")
    some = recordings(tmp_path / "corpus" / tones.name)[:4]
    before = get(upstream, some, tmp_path / "cache", kind=kind)
    replaced(some[1].path)
    after = get(upstream, some, tmp_path / "cache", kind=kind)
    empty = get(upstream, some, tmp_path / "empty", kind=kind)
    assert after.key == empty.key != before.key
    assert (before.audio_N != after.audio_N).tolist() == [False, True, False, False]
    for row in map(np.array, ([0], [1])):
        if kind == "frames":
            found = [one.frames(row)[0] for one in (after, empty)]
        else:
            found = [one.means(row, with_std=True) for one in (after, empty)]
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_a_corpus_that_moved_finds_its_features(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tones.parent, tmp_path / "here")
    first = get(upstream, recordings(tmp_path / "here" / tones.name), tmp_path / "cache")
    (tmp_path / "here").rename(tmp_path / "there")
    some = [replace(one) for one in recordings(tmp_path / "there" / tones.name)]
    for number, one in enumerate(some):
        os.utime(one.path, (number, number))
    monkeypatch.setattr(features, "read_audio", None)  # nothing is decoded
    second = get(upstream, some, tmp_path / "cache", verify=True)
    assert second.key == first.key and torch.equal(everything(second), everything(first))


def test_a_recording_that_changes_while_it_is_read_leaves_no_features(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tones.parent, tmp_path / "corpus")
    some = recordings(tmp_path / "corpus" / tones.name)[:4]
    read = features.read_audio

    def late(path: Path, *arguments: object) -> np.ndarray:
        if path == some[2].path:
            replaced(path)
        return read(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "read_audio", late)
    with pytest.raises(BarlowSpeechError, match="changed while they were read"):
        get(upstream, some, tmp_path / "cache")
    assert [one.recordings for one in entries(tmp_path / "cache")] == [0]


def one_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.unlink()  # never in place: what is mapped must not change
    path.write_bytes(data)


@pytest.mark.parametrize(("kind", "verify"), [("pooled", False), ("frames", True)])
def test_a_flipped_bit_is_found_and_mended(
    kind: str, verify: bool, upstream: Upstream, tones: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    some = recordings(tones)
    get(upstream, some, tmp_path, kind=kind)
    (path,) = tmp_path.glob("*/*.safetensors")
    whole = path.read_bytes()
    one_flipped_bit(path)
    get(upstream, some, tmp_path, kind=kind, verify=verify)
    assert "corrupt" in caplog.text and path.name in caplog.text
    (fixed,) = tmp_path.glob("*/*.safetensors")
    assert fixed.read_bytes()[-1000:] == whole[-1000:]


def test_the_verb_lists_verifies_and_prunes(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path))
    monkeypatch.setattr(contents, "SETTLED_NS", -(1 << 62))
    root = tmp_path / "features"
    get(upstream, recordings(tones), root)
    other = load_upstream("fbank_no_cmvn", None, "cpu")
    get(other, recordings(tones)[:4], root)
    old = next(one for one in entries(root) if one.upstream == "fbank_no_cmvn")
    os.utime(old.path / "about.json", (0, 0))
    entry.run(["cache"])
    listed = capsys.readouterr().out
    assert "72 recordings" in listed and "fbank_no_cmvn" in listed
    entry.run(["cache", "verify"])
    assert "72 recordings: every file is what it was" in capsys.readouterr().out
    some = recordings(tones)
    monkeypatch.setattr(contents, "contents", lambda paths, anew: dict.fromkeys(paths, "other"))
    with pytest.raises(BarlowSpeechError, match="72 of 72 recordings are other files"):
        entry.run(["cache", "verify"])
    assert f"changed: {some[0].path}" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path))
    (path,) = old.path.glob("*.safetensors")
    one_flipped_bit(path)
    with pytest.raises(BarlowSpeechError, match="1 files"):
        entry.run(["cache", "verify"])
    assert str(path) in capsys.readouterr().out
    with pytest.raises(BarlowSpeechError, match="say what to prune"):
        entry.run(["cache", "prune"])
    entry.run(["cache", "prune", "--older-than", "30"])
    assert [one.upstream for one in entries(root)] == ["barlow_speech"]
    entry.run(["cache", "prune", "--keep-gb", "1"])
    assert len(entries(root)) == 1
    entry.run(["cache", "prune", "--keep-gb", "0"])
    assert entries(root) == []


def test_a_shard_says_what_it_is(upstream: Upstream, tones: Path, tmp_path: Path) -> None:
    get(upstream, recordings(tones)[:3], tmp_path)
    (path,) = tmp_path.glob("*/*.safetensors")
    shard = Shard(path)
    shard.verify()
    assert shard.names == {"keys", "mean", "std", "embedding", "audio"}
    assert len(shard.keys) == 3 and shard.seconds >= 0


def test_an_unwritable_cache_is_one_sentence(
    upstream: Upstream, tones: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BarlowSpeechError, match="BARLOW_SPEECH_CACHE"):
        get(upstream, recordings(tones), tmp_path / "file")


def test_a_full_disk_is_one_sentence(
    upstream: Upstream, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors says so by an error of its own."""

    def full(*args: object, **options: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(BarlowSpeechError, match=r"No space left.*free some space"):
        get(upstream, recordings(tones), tmp_path)
    assert not list(tmp_path.glob("*/*.safetensors*"))
