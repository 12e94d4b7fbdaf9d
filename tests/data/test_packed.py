"""Packed speech: the same crops from the same seed, every recording in proportion, whole or not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.data import packed
from barlow_speech.upstream.data.allowed_folders import VARIABLE
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import (
    AUDIO,
    FORMAT,
    INDEX,
    OFFSETS,
    DataSettings,
    PackedCorpus,
    Source,
    chosen,
    pack,
)

CROP_S = 0.1
CROP = 1600  # samples
LENGTHS = [500, 1600, 1601, 4000, 16_000, 700]  # samples


def speech(path: Path, length: int, seed: int) -> np.ndarray:
    """A WAV file of int16 noise; no two stretches of it are alike."""
    samples = np.random.default_rng(seed).integers(-32768, 32768, length).astype(np.int16)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    return samples


@pytest.fixture
def samples(tmp_path: Path) -> list[np.ndarray]:
    """The samples of `0.wav`, `1.wav`, … in `tmp_path`."""
    return [speech(tmp_path / f"{n}.wav", length, n) for n, length in enumerate(LENGTHS)]


@pytest.fixture
def recordings(tmp_path: Path, samples: list[np.ndarray]) -> list[Recording]:
    return [Recording(tmp_path / f"{n}.wav") for n in range(len(samples))]


@pytest.fixture
def folder(tmp_path: Path, recordings: list[Recording]) -> Path:
    return pack(recordings, tmp_path / "made" / "packed")


def test_what_went_in_is_there_to_the_last_bit(folder: Path, samples: list[np.ndarray]) -> None:
    corpus = PackedCorpus(folder, CROP_S, seed=0)
    np.testing.assert_array_equal(corpus.samples(0, corpus.offsets[-1]), np.concatenate(samples))
    np.testing.assert_array_equal(np.diff(corpus.offsets), LENGTHS)
    assert corpus.hours == sum(LENGTHS) / SAMPLE_RATE / 3600
    assert corpus.index["recordings"] == len(LENGTHS)
    corpus.verify()


def test_a_crop_depends_on_seed_and_position_only(folder: Path) -> None:
    positions = np.arange(100)

    def crops(corpus: PackedCorpus, positions: np.ndarray) -> np.ndarray:
        return np.stack(corpus.crops(positions, [CROP, CROP]))

    whole = crops(PackedCorpus(folder, CROP_S, seed=3), positions)
    assert whole.shape == (2, 100, CROP)
    for order in (positions[::-1], np.random.default_rng(0).permutation(100)):
        other = crops(PackedCorpus(folder, CROP_S, seed=3), order)
        np.testing.assert_array_equal(other, whole[:, order])
    for size in (1, 7, 64):
        corpus = PackedCorpus(folder, CROP_S, seed=3)
        split = [crops(corpus, part) for part in np.split(positions, range(size, 100, size))]
        np.testing.assert_array_equal(np.concatenate(split, axis=1), whole)
    one, short = PackedCorpus(folder, CROP_S, seed=3).crops(positions, [CROP, 100])
    np.testing.assert_array_equal(one, whole[0])  # whatever is drawn after it
    assert short.shape == (100, 100)
    assert (crops(PackedCorpus(folder, CROP_S, seed=4), positions) != whole).any()


def test_crops_are_stretches_of_their_recording(folder: Path, samples: list[np.ndarray]) -> None:
    corpus = PackedCorpus(folder, CROP_S, seed=0)
    positions = np.arange(200)
    crops = np.stack(corpus.crops(positions, [CROP, CROP]))
    starts: dict[int, list[list[int]]] = {}
    for position, recording in zip(positions, corpus.recordings(positions)):
        wave, pair = samples[recording], crops[:, position]
        if len(wave) <= CROP:
            repeated = np.tile(wave, CROP // len(wave) + 1)[:CROP]
            np.testing.assert_array_equal(pair, [repeated, repeated])
        else:
            windows = np.lib.stride_tricks.sliding_window_view(wave, CROP)
            found = [np.flatnonzero((windows[:, :20] == crop[:20]).all(axis=1)) for crop in pair]
            assert [len(one) for one in found] == [1, 1]
            np.testing.assert_array_equal(pair, windows[np.concatenate(found)])
            starts.setdefault(int(recording), []).append([int(one[0]) for one in found])
    longest = np.array(starts[LENGTHS.index(16_000)])
    assert longest.min() < 2000  # from the beginning
    assert longest.max() > 16_000 - CROP - 2000  # to the end
    assert abs(np.corrcoef(longest.T)[0, 1]) < 0.4  # the segments are drawn each on its own
    assert set(np.ravel(starts[LENGTHS.index(1601)])) == {0, 1}  # the last start is among them


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_holds_each_recording_in_proportion_to_its_length(
    folder: Path, epoch: int
) -> None:
    corpus = PackedCorpus(folder, CROP_S, seed=0)
    size = len(corpus.items)
    counts = np.bincount(corpus.recordings(np.arange(size) + epoch * size))
    np.testing.assert_array_equal(counts, [max(1, round(length / CROP)) for length in LENGTHS])


def test_each_epoch_and_seed_has_an_order_of_its_own(folder: Path) -> None:
    corpus = PackedCorpus(folder, CROP_S, seed=0)
    size = len(corpus.items)
    orders = [corpus.recordings(np.arange(size) + epoch * size) for epoch in range(3)]
    orders.append(PackedCorpus(folder, CROP_S, seed=1).recordings(np.arange(size)))
    assert len({tuple(order) for order in orders}) == 4


def test_parts_of_a_file_are_packed_alone(tmp_path: Path, samples: list[np.ndarray]) -> None:
    parts = [Recording(tmp_path / "4.wav", 0.25, 0.5), Recording(tmp_path / "4.wav", 0.75)]
    corpus = PackedCorpus(pack(parts, tmp_path / "packed"), CROP_S, seed=0)
    np.testing.assert_array_equal(
        corpus.samples(0, corpus.offsets[-1]),
        np.concatenate([samples[4][4000:8000], samples[4][12_000:]]),
    )


# What to pretrain on


@pytest.fixture
def corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two manifests over the same files, one of whole files and one of parts, under other paths."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "all.tsv").write_text(
        "path\tsplit\tsex\n1.wav\ttrain\tf\n2.wav\ttrain\tm\n3.wav\tdev\tf\n4.wav\ttest\tm\n"
    )
    (tmp_path / "b" / "parts.tsv").write_text(
        "path\tstart_s\tend_s\tsplit\n"
        "../a/1.wav\t0\t1\ttrain\n../a/1.wav\t1\t2\ttest\n../a/1.wav\t2\t\ttrain\n"
        "../a/2.wav\t0.5\t1\tdev\n"
    )
    return tmp_path


def names(settings: DataSettings, root: Path) -> list[str]:
    return [
        f"{one.path.name}@{one.start_s:g}" if one.start_s else one.path.name
        for one in chosen(settings, root)
    ]


ALL, PARTS = "a/all.tsv", "b/parts.tsv"


DEV, TEST, WOMEN = {"split": ("dev",)}, {"split": ("test",)}, {"split": ("train",), "sex": ("f",)}
TRAIN_DEV, MEN = {"split": ("train", "dev")}, {"split": ("train", "dev"), "sex": ("m",)}


@pytest.mark.parametrize(
    ("sources", "held_out", "expected"),
    [
        ([Source(ALL)], [], ["1.wav", "2.wav", "3.wav", "4.wav"]),
        ([Source(ALL, TRAIN_DEV)], [], ["1.wav", "2.wav", "3.wav"]),
        ([Source(ALL, MEN)], [], ["2.wav"]),
        ([Source(ALL, DEV), Source(PARTS, TEST)], [], ["3.wav", "1.wav@1"]),
        # A whole file overlaps each part of it, whatever path leads there.
        ([Source(ALL)], [Source(PARTS, DEV)], ["1.wav", "3.wav", "4.wav"]),
        ([Source(ALL)], [Source(PARTS)], ["3.wav", "4.wav"]),
        ([Source(PARTS)], [Source(ALL, WOMEN)], ["2.wav@0.5"]),
        # Parts that only touch do not overlap.
        ([Source(PARTS)], [Source(PARTS, TEST)], ["1.wav", "1.wav@2", "2.wav@0.5"]),
    ],
)
def test_chosen(
    corpora: Path, sources: list[Source], held_out: list[Source], expected: list[str]
) -> None:
    assert names(DataSettings(tuple(sources), tuple(held_out)), corpora) == expected


def test_a_share_of_the_speech_is_among_every_larger_one(corpora: Path) -> None:
    every = names(DataSettings((Source(ALL),)), corpora)
    shares = [names(DataSettings((Source(ALL),), (), share), corpora) for share in (0.01, 0.5, 1.0)]
    assert [len(one) for one in shares] == [1, -(-len(every) // 2), len(every)]
    assert set(shares[0]) < set(shares[1]) < set(shares[2]) == set(every)
    assert shares[1] == [one for one in every if one in shares[1]]  # in the order of the manifest
    for share in (0.0, 1.5):
        with pytest.raises(BarlowSpeechError, match="share must be"):
            build(DataSettings, {"share": share}, "data")


def test_a_link_to_a_held_out_file_is_held_out(corpora: Path) -> None:
    (corpora / "a" / "1.wav").write_bytes(b"")
    (corpora / "a" / "other_name.wav").symlink_to(corpora / "a" / "1.wav")
    (corpora / "link.tsv").write_text("path\na/other_name.wav\na/3.wav\n")
    assert names(DataSettings((Source("link.tsv"),), (Source(PARTS),)), corpora) == ["3.wav"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DataSettings(), "no recording"),
        (DataSettings((Source(ALL, {"split": ("trian",)}),)), "no recording"),
        (DataSettings((Source(ALL),), (Source(ALL),)), "no recording"),
        (DataSettings((Source(ALL, {"spilt": ("train",)}),)), "did you mean 'split'"),
        (DataSettings((Source("a/none.tsv"),)), "none.tsv"),
    ],
)
def test_nothing_to_choose_is_an_error(corpora: Path, settings: DataSettings, message: str) -> None:
    with pytest.raises(BarlowSpeechError, match=message):
        chosen(settings, corpora)


# Whole or not at all


def test_packing_again_does_nothing(
    folder: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.stat() for path in folder.iterdir()}
    monkeypatch.setattr(packed, "read_audio", None)
    assert pack(recordings, folder) == folder
    assert {path.name: path.stat() for path in folder.iterdir()} == before


def test_the_same_speech_elsewhere_is_kept(
    folder: Path, recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    moved = []
    for one in recordings:
        path = one.path.rename(one.path.with_suffix(".moved"))
        os.utime(path, (1, 1))
        moved.append(replace(one, path=path))
    monkeypatch.setattr(packed, "read_audio", None)  # nothing is decoded
    assert pack(moved, folder, verify=True) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_index_of_before_is_brought_up_to_date(
    folder: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a digest of places and times; the speech itself is compared once."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    index = json.loads(before[INDEX])
    (folder / INDEX).write_text(json.dumps({**index, "contents": "of before"}))
    assert pack(recordings, folder) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}")]
    monkeypatch.setattr(packed, "read_audio", None)
    assert pack(recordings, folder) == folder


def test_packed_speech_is_not_stale(folder: Path, recordings: list[Recording]) -> None:
    """Other sound of the same name, length and times, as when an archive is unpacked anew."""
    path = recordings[0].path
    times = path.stat()
    speech(path, LENGTHS[0], 99)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    with pytest.raises(BarlowSpeechError, match="other recordings"):
        pack(recordings, folder)


def test_other_contents_are_refused(folder: Path, recordings: list[Recording]) -> None:
    before = (folder / INDEX).read_bytes()
    shorter = Recording(recordings[-1].path, 0, 0.01)
    for others in (recordings[1:], recordings[::-1], [*recordings[:-1], shorter]):
        with pytest.raises(BarlowSpeechError, match="other recordings"):
            pack(others, folder)
    speech(recordings[0].path, LENGTHS[0] + 1, 0)
    with pytest.raises(BarlowSpeechError, match="other recordings"):
        pack(recordings, folder)
    assert (folder / INDEX).read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"RIFF and nothing more"])
def test_an_unreadable_recording_leaves_nothing_behind(
    tmp_path: Path, recordings: list[Recording], content: bytes | None
) -> None:
    if content is None:
        recordings[3].path.unlink()
    else:
        recordings[3].path.write_bytes(content)
    out = tmp_path / "out"
    with pytest.raises(BarlowSpeechError, match=r"3\.wav"):
        pack(recordings, out / "packed")
    assert not out.exists() or list(out.iterdir()) == []


def test_a_name_too_long_for_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="xxxx"):
        pack([Recording(tmp_path / ("x" * 300))], tmp_path / "packed")


def test_an_interrupted_packing_leaves_nothing_behind(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "read_audio", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(recordings, tmp_path / "out" / "packed")
    assert list((tmp_path / "out").iterdir()) == []


def test_where_it_cannot_be_written(tmp_path: Path, recordings: list[Recording]) -> None:
    with pytest.raises(BarlowSpeechError, match="cannot write"):
        pack(recordings, recordings[0].path / "below" / "a_file")
    with pytest.raises(BarlowSpeechError, match="in use"):
        pack(recordings, recordings[0].path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(BarlowSpeechError, match="in use"):
        pack(recordings, tmp_path / "taken")
    assert (tmp_path / "taken" / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_taken_and_others_may_read_it(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    (tmp_path / "empty").mkdir()
    pack(recordings, tmp_path / "empty")
    (tmp_path / "ordinary").mkdir()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("empty", "ordinary")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("name", [AUDIO, OFFSETS])
def test_a_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-16] ^= 1  # in the offsets: the lowest byte of the last but one
    (folder / name).write_bytes(content)
    with pytest.raises(BarlowSpeechError, match="was changed"):
        PackedCorpus(folder, CROP_S, seed=0).verify()


@pytest.mark.parametrize("cut", [2, 1001, sum(LENGTHS) * 2])
def test_truncated_audio_is_refused_at_opening(folder: Path, cut: int) -> None:
    os.truncate(folder / AUDIO, (folder / AUDIO).stat().st_size - cut)
    with pytest.raises(BarlowSpeechError, match=str(folder)):
        PackedCorpus(folder, CROP_S, seed=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (INDEX, b""),
        (INDEX, b"\xff\xfe"),
        (INDEX, b"[1]"),
        (INDEX, b'{"format": 999}'),
        (OFFSETS, b""),
        (OFFSETS, b"not numpy"),
        (AUDIO, b""),
        (INDEX, None),
        (OFFSETS, None),
        (AUDIO, None),
    ],
)
def test_a_damaged_folder_is_refused_at_opening(
    folder: Path, recordings: list[Recording], name: str, content: bytes | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=str(folder)):
        PackedCorpus(folder, CROP_S, seed=0)
    if name == INDEX:
        with pytest.raises(BarlowSpeechError, match=str(folder)):
            pack(recordings, folder)


@pytest.mark.parametrize(
    "offsets", [[], [0], [0, 9, 5, 10], [5, 10], [0, 5, 5, 10], [[0, 10]], [0, 9]]
)
def test_offsets_that_do_not_fit_are_refused(folder: Path, offsets: list[int]) -> None:
    np.zeros(10, dtype="<i2").tofile(folder / AUDIO)
    np.save(folder / OFFSETS, np.array(offsets, dtype=np.int64))
    with pytest.raises(BarlowSpeechError, match="incomplete"):
        PackedCorpus(folder, CROP_S, seed=0)


def test_no_folder_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="barlow-speech pack"):
        PackedCorpus(tmp_path / "nowhere", CROP_S, seed=0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory use in /proc")
def test_sampling_does_not_read_the_file_in(tmp_path: Path) -> None:
    size, count = 1 << 32, 5000  # bytes, recordings
    if shutil.disk_usage(tmp_path).free < 1 << 28:
        pytest.skip("needs some space on the disk")
    with (tmp_path / AUDIO).open("wb") as audio:
        audio.truncate(size)  # sparse: holes take no space
    np.save(tmp_path / OFFSETS, np.linspace(0, size // 2, count + 1).astype(np.int64))
    (tmp_path / INDEX).write_text(json.dumps({"format": FORMAT}))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    corpus = PackedCorpus(tmp_path, 1.0, seed=0)
    for first in (0, 64):
        crops = corpus.crops(np.arange(first, first + 64), [SAMPLE_RATE] * 2)
    assert [one.shape for one in crops] == [(64, SAMPLE_RATE)] * 2
    assert resident() - before < 128 << 20


def test_a_folder_of_format_1_is_read_whoever_wrote_it(tmp_path: Path) -> None:
    """What stands in such a folder, written out here: those of before are read."""
    samples = np.arange(5000, dtype="<i2")
    (tmp_path / "audio.i16").write_bytes(samples.tobytes())
    np.save(tmp_path / "offsets.npy", np.array([0, 2000, 5000], dtype=np.int64))
    (tmp_path / "recordings.txt").write_text("one.wav\ntwo.wav\n")
    sums = {
        "sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        "offsets_sha256": hashlib.sha256((tmp_path / "offsets.npy").read_bytes()).hexdigest(),
    }
    index = {"format": 1, "contents": "", "recordings": 2, "hours": 0.0001, **sums}
    (tmp_path / "packed.json").write_text(json.dumps(index))
    corpus = PackedCorpus(tmp_path, CROP_S, seed=0)
    corpus.verify()
    np.testing.assert_array_equal(corpus.samples(2000, 5000), samples[2000:])
    assert sorted(set(corpus.names(np.arange(9)))) == ["one.wav", "two.wav"]


def test_packed_by_another_meanwhile(
    folder: Path, recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder comes whole, by renaming: at any moment, and if equal it is taken as it is."""
    late = tmp_path / "late"
    replace = Path.replace

    def second(self: Path, target: Path) -> Path:
        if not late.exists():
            shutil.copytree(folder, late)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", second)
    assert pack(recordings, late) == late
    assert PackedCorpus(late, CROP_S, 0).index == PackedCorpus(folder, CROP_S, 0).index
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    shutil.rmtree(late)
    with pytest.raises(BarlowSpeechError, match="late holds other recordings than these"):
        pack(recordings[1:], late)
