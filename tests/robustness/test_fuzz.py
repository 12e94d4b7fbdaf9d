"""Bad input: some thousands of damaged files to every reader, and each fault that fuzzing found.

The campaign itself (`fuzz.py`) reads more; what it found is in README.md beside it. The cases are
the same in every run, but under `--hypothesis-profile=campaign`.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import faulty_readers
import fuzz
import fuzz_readers
import numpy as np
import pytest
import soundfile
import torch
from fuzz_readers import READERS, noise, record, wav
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from barlow_speech.benchmark.evaluation.records import Integer, Number, Store, read_results
from barlow_speech.benchmark.features.cache import entries
from barlow_speech.benchmark.statistics.predictions import unpack
from barlow_speech.downstream.corpus import read_corpus
from barlow_speech.downstream.preparation.from_table import prepare_table
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import build, read_yaml, shown
from barlow_speech.upstream.data import audio, sound_files
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio
from barlow_speech.upstream.data.manifest import Recording, Spans, manifest_text, parse_manifest
from barlow_speech.upstream.data.packed import INDEX, OFFSETS
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import TRAINING

CASES = {
    **{name: 30 if reader.renames else 200 for name, reader in READERS.items()},
    "record": 100, "checkpoint": 60, "training": 60, "manifest": 80, "protocol": 80, "table": 50,
}  # fmt: skip
LONG = settings.get_current_profile_name() == "campaign"
quickly = settings(max_examples=200, database=None)


# Every reader, damaged files


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_damaged_files_are_read_or_refused_by_name(
    reader: fuzz_readers.Reader, tmp_path: Path
) -> None:
    cases = settings.default.max_examples if LONG else CASES[reader.name]
    tally = fuzz.campaign(reader, cases, tmp_path)
    print(f"{reader.name}: {tally['accepted']} accepted, {tally['refused']} refused")
    assert tally["accepted"] > 0
    assert tally["refused"] > 0


# The campaign notices


@pytest.mark.parametrize("name", faulty_readers.FAULTS)
def test_every_kind_of_failure_is_noticed(name: str) -> None:
    expected = faulty_readers.FAULTS[name]
    limits = fuzz.Limits(0.5, 0.5 if name == "wait" else 200, 1 << 28)
    with fuzz.Worker(name, [faulty_readers.WHOLE], "faulty_readers", limits) as worker:
        for _ in range(2):  # the process that takes the place of one that died notices as well
            outcome = worker.read({"a.txt": b"z", "b.txt": b""})
            assert (outcome.where or outcome.kind).startswith(expected)
        assert worker.read(faulty_readers.WHOLE).kind == "accepted"


def test_a_whole_example_that_is_refused_ends_the_campaign(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="whole example"):
        fuzz.campaign(faulty_readers.READERS["unwhole"], 1, tmp_path, module="faulty_readers")


def test_the_input_of_each_failure_is_made_small_and_kept(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as failures:
        fuzz.campaign(faulty_readers.READERS["letters"], 300, tmp_path, module="faulty_readers")
    assert len(failures.value.exceptions) == 2
    for where, content in (("ZeroDivisionError", b"z"), ("KeyError", b"")):
        (folder,) = tmp_path.glob(f"letters-{where}*")
        assert (folder / "a.txt").read_bytes() == content
        assert failures.group_contains(fuzz.Failure, match=f"(?s){where}.*{folder.name}")


# What it found. Each of these was a traceback, a hang, gigabytes, a NaN in a table, or a message
# that named no file.


Change = bytes | Callable[[bytes], bytes]


def outcome(reader: str, folder: Path, changes: dict[str, Change], example: int = 0) -> Any:
    """What becomes of a whole example with changes to some of its files."""
    one = READERS[reader]
    files: damage.Files = dict(one.examples(folder)[example])
    for pattern, change in changes.items():
        name = next((name for name in files if Path(name).match(pattern)), pattern)
        files[name] = change if isinstance(change, bytes) else change(files[name])
    # What is of another form than an index has no checksum that could be right.
    sealed = one.seal is not None and f"packed/{INDEX}" not in changes
    return fuzz.tried(one, one.seal(files) if one.seal and sealed else files, folder)


def json_of(change: Callable[[Any], Any]) -> Change:
    """A change of what a JSON file holds; the checksum is made right afterwards."""

    def changed(content: bytes) -> bytes:
        tree = json.loads(content)
        result = change(tree)
        return damage.save_json(tree if result is None else result)

    return changed


def tensors_of(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change of the tensors and, at "", of the strings in the header of a safetensors file."""

    def changed(content: bytes) -> bytes:
        import safetensors.torch

        tree = {**damage.load_tensors(content), **safetensors.torch.load(content)}
        change(tree)
        header = {k: v if isinstance(v, str) else json.dumps(v) for k, v in tree.pop("").items()}
        return safetensors.torch.save(tree, header)

    return changed


def _put(tree: Any, *place: Any) -> None:
    *path, key, value = place
    for step in path:
        tree = tree[step]
    if value is LOST:
        del tree[key]
    else:
        tree[key] = value


def put(*place: Any) -> Change:
    """A change of one value of a JSON file: its place in the tree, and the value."""
    return json_of(lambda tree: _put(tree, *place))


def tensor(*place: Any) -> Change:
    """A change of one tensor of a safetensors file, or of a string in its header."""
    return tensors_of(lambda tree: _put(tree, *place))


def model(**sizes: Any) -> Change:
    """Other settings of the encoder over the same weights."""
    return tensors_of(lambda tree: tree[""]["model"]["encoder"].update(sizes))


def frontend(**sizes: Any) -> Change:
    """Other settings of the front-end over the same weights."""
    return tensors_of(lambda tree: tree[""]["model"]["frontend"].update(sizes))


def values(name: str, value: float, place: int = 0) -> Change:
    """One number of a tensor is another."""
    return tensors_of(lambda tree: tree[name].view(-1)[place].fill_(value))


def npy(array: Any, **options: Any) -> bytes:
    """A .npy file of an array."""
    return damage.save_npy([np.array(array, **options)])


def shaped(shape: str) -> Change:
    """A .npy file whose header promises another shape."""
    new = (f"({shape}), }}" + " " * 40).encode()[:27]
    return lambda content: content.replace(b"(7,), }" + b" " * 20, new)


LOST = object()
NAN, INFINITY = float("nan"), float("inf")
BOMB = base64.b64encode(zlib.compress(bytes(1 << 27), 9)).decode()
NESTED: Any = []
for _ in range(900):
    NESTED = [NESTED]
CNN1D, CNN2D, TRANSFORMER = 1, 2, 4
PREDICTED = ("runs", 0, "folds", 0, "predicted")
CURVE = ("runs", 0, "folds", 0, "curve")
STATE = ("", "training")
CARD = b"name: x\nmanifest: my.tsv\ntasks: {emotion: {label: a"
VIEWS = b"steps: 9\nfamilies: {main: "
# By reader, example, the file, and what its error says.
REFUSED: dict[tuple[str, int, str, str], tuple[Change, ...]] = {
    ("recipe", 0, "a.yaml", ""): (
        damage.rows_of_aliases("x", "[{}]").encode(),
        damage.rows_of_aliases("{x: 1}", "{{<<: [{}]}}").encode(),
        b"steps: &a [*a]", b"model: &a {encoder: *a}", b"steps: !!bool x", b"steps: !!int ''",
        b"steps: !!timestamp x", b"steps: !!float ''", b"extends: /dev/zero",
        b"extends: /proc/self/mem", b"# a long file\n" + b"steps: 1\n" * 20_000,
        b"steps: 0x" + b"f" * 50_000, b"steps: -0x" + b"f" * 20,
        b"steps: {a: 1, b: {c: [" + b"1, " * 9000 + b"]}}", b"? " + b"y" * 1000 + b"\n: 1",
        b'"a\\nb": 1', b"steps: 9\nfamilies: {train: {}}", b"steps: 9\nfamilies: {a.b: {}}",
        VIEWS + b"{projector: {layers: 1000000000}}}", VIEWS + b"{projector: {width: 0}}}",
        VIEWS + b"{views: {gain: {p: 2}}}}", VIEWS + b"{views: {noise: {snr_db: [9, 1]}}}}",
        b"steps: 9\ncrop_s: 1e300", b"steps: 9\nbatch: 4611686018427387904",
        b"steps: 9\noptimiser: {warmup: -1}", b"steps: 9\nmodel: {encoder: {name: cnn3d}}",
        b"steps: 9\nmodel: {encoder: {name: cnn2d, channels: 1000000}}",
        b"steps: 9\nmodel: {frontend: {n_mels: 0}}",
        b"steps: 9\nmodel: {frontend: {n_mels: 100000}}",
        b"steps: 9\nmodel: {frontend: {std: 0}}", b"steps: 9\nmodel: {frontend: {mean: 1e30}}",
    ),
    ("card", 0, "card.yaml", "card.yaml"): (
        b"name: x\nmanifest: /dev/zero\ntasks: {}", b'name: x\nmanifest: "a\\0b"\ntasks: {}',
        b"name: x\nmanifest: no.tsv\ntasks: {}",
    ),
    ("card", 0, "card.yaml", "'emotion'"): (CARD.replace(b"emotion", b"emotoin") + b"}}",),
    ("card", 0, "card.yaml", "no split"): (CARD + b"}}", CARD + b", folds: ['']}}"),
    ("record", 0, "records/barlow_speech/*", ".json"): (
        put("runs", 0, "seed", "x"), put("runs", 0, "seed", 1338),
        put("runs", 0, "sources", {"init": 1}), put("runs", 0, "folds", []),
        put(*PREDICTED, "%%%"), put(*PREDICTED, BOMB), put(*PREDICTED, LOST),
        put(*PREDICTED, fuzz_readers.pack(np.arange(36))),
        put(*PREDICTED, fuzz_readers.pack(np.zeros(35))),
        put(*CURVE, LOST), put(*CURVE, [[20]]), put(*CURVE, [[20, 1.5]]), put(*CURVE, [[20, NAN]]),
        put("runs", []), put("runs", {}), put("facts", "truth", [BOMB]), put("facts", "truth", []),
        put("facts", "classes", ["one"]), put("facts", "classes", ["a", "a", "b"]),
        put("facts", "classes", 3), put("facts", "most_frequent", [3]),
        put("facts", "most_frequent", []), put("facts", "chance", {"top1": NAN}),
        put("facts", "chance", {"top1": 2}), put("recorded", "today"),
        put("facts", "recordings", "test", -5), put("facts", "seconds", "heads", INFINITY),
        put("facts", "seconds", "heads", -1), put("facts", "cost", "parameters", "many"),
        put("facts", "cost", ["x"]), put("facts", "corpus", None), put("facts", "notes", NESTED),
        put("facts", "layers", 0), put("facts", "learning_rate", {}), put("facts", LOST),
        put("identity", "protocol", "learning_rates", [NAN]), put("identity", "protocol", LOST),
        put("task", 7), json_of(lambda tree: [tree]), b"[" * 100_000,
    ),
    ("checkpoint", CNN1D, "*.safetensors", ""): (model(layers=60_000), model(width=60_000)),
    ("checkpoint", TRANSFORMER, "*.safetensors", ""): (
        model(feed_forward=65_000, width=65_536), model(heads=3),
    ),
    ("checkpoint", CNN2D, "*.safetensors", ""): (
        model(channels=60_000), model(channels=0), model(name="nobody"), model(name=["cnn2d"]),
        model(name="transformer", channels=4), frontend(n_mels=512), frontend(n_mels=10**9),
        frontend(std=0.0), frontend(std=1e-30), frontend(mean=1e30),
        values("encoder.first.weight", NAN), values("encoder.first.weight", INFINITY),
        # Finite, and its features are not.
        tensors_of(lambda tree: tree["encoder.convolutions.0.weight"].fill_(3e38)),
        values("encoder.norms.0.running_var", -1.0), tensor("encoder.first.weight", LOST),
        tensor("more", torch.zeros(3)), tensor("encoder.first.bias", torch.zeros(())),
        tensor("encoder.first.bias", torch.zeros(8, dtype=torch.complex64)),
        tensor("encoder.first.bias", torch.zeros(8, dtype=torch.bool)),
        tensor("", "model", "[" * 100_000), tensor("", "model", [1]), tensor("", "model", None),
        lambda content: struct.pack("<Q", 1 << 60) + content[8:],
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ),
    ("training", 0, TRAINING, TRAINING): (
        tensor(*STATE, [1]), tensor(*STATE, LOST), tensor(*STATE, "steps_done", "2"),
        tensor(*STATE, "steps_done", -1), tensor(*STATE, "steps_done", 10**9),
        tensor(*STATE, "memory_pushed", None), tensor(*STATE, "memory_pushed", 2**70),
        tensor(*STATE, "memory_pushed", LOST), tensor("memory", LOST),
        tensor(*STATE, "figures", [1]), tensor(*STATE, "figures", {"loss": "low"}),
        tensor(*STATE, "seconds", None),
        tensor("memory", torch.zeros(8, 3, 3)), tensor("optimiser.0.exp_avg", LOST),
        tensor("optimiser.0.exp_avg", torch.zeros(3)),
        tensor("optimiser.x.exp_avg", torch.zeros(3)),
        tensor("optimiser.99.exp_avg", torch.zeros(3)),
        tensor("optimiser.0.exp_avg.x", torch.zeros(3)),
        tensor("optimiser.0.step", torch.tensor(-1e9)), values("optimiser.0.exp_avg_sq", -1.0),
        values("optimiser.0.exp_avg", NAN), values("memory", INFINITY),
        values("twins.model.encoder.first.weight", NAN),
        tensor("twins.projectors.main.0.weight", LOST),
    ),
    ("features", 0, "*.safetensors", ".safetensors|several sizes"): (
        values("mean", NAN), values("std", INFINITY), values("embedding", NAN),
        tensor("", "seconds", "nan"), tensor("", "seconds", "-1"), tensor("", "seconds", LOST),
        tensor("audio", LOST), tensor("std", LOST), tensor("more", torch.zeros(3)),
        tensors_of(lambda tree: tree.update(keys=tree["keys"].view(-1))),
        tensors_of(lambda tree: tree.update(keys=tree["keys"].float())),
        tensors_of(lambda tree: tree.update(audio=tree["audio"][:1])),
        tensors_of(lambda tree: tree.update(mean=tree["mean"][:1], std=tree["std"][:1])),
        tensors_of(lambda tree: tree.update(mean=tree["mean"].long())),
        tensors_of(lambda tree: tree.update(mean=tree["mean"].bfloat16())),
        tensors_of(lambda tree: tree.update(mean=tree["mean"].double())),
        tensors_of(lambda tree: tree.update(
            {k: tree[k][:, :, :2].contiguous() for k in ("mean", "std")})),
    ),
    ("features", 1, "*.safetensors", ".safetensors|several sizes"): (
        values("frames", NAN), values("offsets", 0, 1), values("offsets", 10**9, -1),
        values("offsets", -1),
        tensors_of(lambda tree: tree.update(offsets=tree["offsets"][:-1])),
        tensors_of(lambda tree: tree.update(frames=tree["frames"][:, 0].contiguous())),
    ),
    ("packed", 0, f"packed/{OFFSETS}", ""): (
        npy([0.0, 1.0]), npy([True, False]), npy([0, 1], dtype=">i8"), npy([0, 1], dtype=object),
        npy(0), npy([]), npy(np.zeros(3, dtype=[("a", "i8")])), npy([0, 2**62, -(2**62), 5]),
        npy([0, -(2**63)]), shaped("1099511627776,"), shaped("-5,"), shaped("7, 7,"), shaped("7"),
        lambda content: content.replace(b"descr", b"des\0r"),
        lambda content: content.replace(b"(7,)", b"(((("), lambda content: content[:40],
        lambda content: b"PK\x03\x04" + content, b"",
    ),
    ("packed", 0, f"packed/{INDEX}", ""): (
        put("sha256", LOST), put("offsets_sha256", 5), put("format", "1"),
        json_of(lambda tree: [tree]), b"[" * 100_000, b"NaN",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "change"),
    [
        pytest.param(case, change, id=f"{case[0]}{case[1]}-{number}")
        for case, changes in REFUSED.items()
        for number, change in enumerate(changes)
    ],
)
def test_what_once_got_through_is_refused(
    tmp_path: Path, case: tuple[str, int, str, str], change: Change
) -> None:
    reader, example, pattern, said = case
    found = outcome(reader, tmp_path / "case", {pattern: change}, example)
    assert found.kind == "refused"
    assert re.search(said, found.text)
    if reader == "record":  # the others are read all the same
        others = {cell.upstream for cell in read_results(tmp_path / "case")}
        assert others == {"fbank_no_cmvn", "barlow_speech_random"}


def test_aliases_that_are_few_are_settings_like_others(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: [*a, *b]\n")
    one, both = {"x": 1}, {"x": 1, "y": 2}
    assert read_yaml(file) == {"a": one, "b": both, "c": [one, both]}


def test_the_record_of_another_cell_is_none_of_this_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = record("a", 3, 1), record("b", 3, 1, seed=1)
    store.save(one)
    store.save(other)
    store.path(one).write_bytes(store.path(other).read_bytes())
    with fuzz.warned() as warnings:
        found = store.load(one.upstream, one.task, one.corpus, one.identity)
    assert (found.upstream, found.runs) == ("a", {})
    assert len(warnings) == 1 and str(store.path(one)) in warnings[0]


def test_a_whole_record_is_read(tmp_path: Path) -> None:
    store, one = Store(tmp_path), record("a", 3, 1)
    store.save(one)
    with fuzz.warned() as warnings:
        found = store.load(one.upstream, one.task, one.corpus, one.identity)
    assert not warnings
    assert found.runs == one.runs
    (cell,) = read_results(tmp_path)
    assert cell.values == tuple(run["top1"] for run in one.scores(sorted(one.runs)))


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"upstream": [1], "kind": {}}', b"[" * 100_000])
def test_a_list_of_the_cache_says_what_it_does_not_know(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "case"
    outcome("features", folder, {})
    (about,) = folder.glob("features/*/about.json")
    about.write_bytes(text)
    (entry,) = entries(folder / "features")
    assert (entry.upstream, entry.kind, entry.recordings) == ("?", "?", 5)


# Audio and waveforms


def sound(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: Any) -> Path:
    path.write_bytes(wav(samples, rate, **options))
    return path


@pytest.mark.parametrize("value", [1e11, -1e20, 3e38, math.nan, -math.inf])
@pytest.mark.parametrize("rate", [8000, SAMPLE_RATE])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_no_sound_is_so_loud(tmp_path: Path, value: float, rate: int, subtype: str) -> None:
    samples = noise(2000).astype(np.float64)
    samples[700] = value
    path = sound(tmp_path / "a.wav", samples, rate, subtype=subtype)
    with pytest.raises(BarlowSpeechError, match="louder than any sound"):
        read_audio(path)


def test_integers_that_became_floats_are_sound(tmp_path: Path) -> None:
    samples = noise(2000) * 2**31
    path = sound(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert np.isfinite(read_audio(path)).all()


@quickly
@given(
    start=st.floats(),
    end=st.none() | st.floats(),
    gain_db=st.floats(-120, 120),
)
def test_any_span_is_a_slice_or_refused(
    ramp: Path, start: float, end: float | None, gain_db: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        path, samples = ramp, 5000
        patch.setattr(sound_files, "BLOCK", 1000)
        try:
            wave = read_audio(path, start, end, gain_db)
        except BarlowSpeechError as error:
            assert str(path) in str(error)
            count = 0
        else:
            count = len(wave)
    if math.isfinite(start) and (end is None or math.isfinite(end)):
        first = round(max(-1.0, min(start, 10.0)) * SAMPLE_RATE)
        last = samples if end is None else round(max(-1.0, min(end, 10.0)) * SAMPLE_RATE)
        if last > samples + 0.1 * SAMPLE_RATE:
            last = -1  # refused
        assert count == (max(0, min(last, samples) - first) if first >= 0 else 0)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 samples."""
    return sound(tmp_path_factory.mktemp("ramp") / "a.wav", np.linspace(-1, 1, 5000))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("length", [40_001, 52_200])
def test_a_long_recording_is_resampled_in_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rate: int, length: int
) -> None:
    """What comes is the same to the bit, and as long as it was."""
    wave = noise(length).astype(np.float32)
    path = sound(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    whole = audio.resample(wave, rate)
    assert len(whole) == math.ceil(length * SAMPLE_RATE / rate)
    monkeypatch.setattr(sound_files, "BLOCK", 977)
    np.testing.assert_array_equal(read_audio(path), whole)


def test_a_codec_without_places_is_read_from_its_middle(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", noise(8000), 8000, subtype="GSM610")
    whole, _ = soundfile.read(path, dtype="float32")
    part = read_audio(path, 0.25, 0.5)
    assert len(part) == SAMPLE_RATE // 4
    np.testing.assert_allclose(part, audio.resample(whole[2000:4000], 8000), atol=1e-6)


def test_a_length_that_a_header_only_promises_is_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", noise(100), format="FLAC")
    assert duration_s(path) == 100 / SAMPLE_RATE
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the number of samples: 36 bits from here
    path.write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=r"a\.flac cannot hold"):
        duration_s(path)


def test_a_small_file_of_endless_silence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sound(tmp_path / "a.flac", np.zeros(2_000_000), format="FLAC")
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(audio, "MAX_SAMPLES", 1_000_000)
    monkeypatch.setattr(sound_files, "BLOCK", 1 << 18)
    with pytest.raises(BarlowSpeechError, match="too long to be read at once"):
        read_audio(path)
    assert len(read_audio(path, 100, 110)) == 10 * SAMPLE_RATE


@pytest.mark.parametrize(
    "wave",
    [[], [math.nan], [0.1, math.inf], [0.0] * 800 + [-math.inf], [1e11], [3e38] * 900],
    ids=range(6),
)
def test_waveforms_that_are_none_are_refused_in_a_sentence(
    wave: list[float],
) -> None:
    for expert in map(fuzz_readers.expert_of, fuzz_readers.encoder_names()):
        with pytest.raises(BarlowSpeechError, match=r"waveform .*\.$"):
            expert([torch.zeros(900), torch.tensor(wave)])
        with pytest.raises(BarlowSpeechError, match="no sample"):
            expert([])
        with pytest.raises(BarlowSpeechError, match="one axis"):
            expert([torch.zeros(1, 900)])


@quickly
@given(
    lengths=st.lists(st.integers(1, 2500), min_size=1, max_size=3),
    level=st.sampled_from([0.0, 1e-45, 1e-38, 1e-20, 1e-5, 1.0, 1e3, 1e9]),
    clipped=st.booleans(),
    seed=st.integers(0, 99),
    which=st.integers(0, 4),
)
def test_waveforms_of_any_level_give_finite_states_and_gradients(
    lengths: list[int], level: float, clipped: bool, seed: int, which: int
) -> None:
    expert = fuzz_readers.expert_of(fuzz_readers.encoder_names()[which])
    batch = []
    for row, length in enumerate(lengths):
        wave = torch.from_numpy(noise(length, seed + row)) * 10 * level
        batch.append((wave.clamp(-1, 1) if clipped else wave).requires_grad_())
    given_ = expert(batch)
    states = [*given_["hidden_states"], given_["embedding"]]
    assert all(bool(torch.isfinite(one).all()) for one in states)
    assert given_["last_hidden_state"].shape[1] == -(-max(lengths) // expert.model.rate)
    if level >= 1e-5:
        sum(one.sum() for one in states).backward()
        assert all(bool(torch.isfinite(one.grad).all()) for one in batch)


# Tables and corpora


@pytest.mark.parametrize(
    "row",
    [f"{'x' * 300}.wav,s,f,w", "a/0.wav\t,s,f,w", "a\0b,s,f,w", '"a/\n0.wav",s,f,w', ",s,f,w"],
    ids=range(5),
)
def test_a_path_that_no_file_has_is_left_out_or_refused_by_name(tmp_path: Path, row: str) -> None:
    found = outcome("table", tmp_path / "case", {"my.csv": lambda text: text + row.encode()})
    assert found.kind in ("accepted", "refused")
    (tmp_path / "a").mkdir()
    (tmp_path / "my.csv").write_text(f"path,speaker,gender,keyword\n{row}\n")
    (tmp_path / "a" / "0.wav\t").write_bytes(b"")
    with pytest.raises(BarlowSpeechError, match=r"my\.csv"):
        prepare_table(tmp_path / "my.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("corpus", "changes", "kind"),
    [
        ("voxceleb1", {"vox1_meta.csv": lambda text: text + b"id10009"}, "refused"),
        ("voxceleb1", {"vox1_meta.csv": lambda text: text + b'\n"' + b"x" * 200_000}, "refused"),
        ("crema_d", {"*.csv": lambda text: text + b"1003"}, "refused"),
        ("crema_d", {"*.csv": lambda text: text + b'"' + b"x\n" * 100_000}, "refused"),
        ("librispeech", {"*.trans.txt": lambda text: text + b"\tAND A TAB"}, "accepted"),
        ("timit", {"DOC/*": lambda text: text + b"a\ttab (sx2)\n"}, "accepted"),
        ("common_voice", {"counts.json": b"[" * 100_000}, "refused"),
        ("common_voice", {"counts.json": b'{"locales": {"case": {"buckets": {"train": 1e999}}}}'},
         "refused"),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_corpus_with_a_damaged_table_is_prepared_or_refused(
    tmp_path: Path, corpus: str, changes: dict[str, Change], kind: str
) -> None:
    assert outcome(corpus, tmp_path / "case", changes).kind == kind


def test_thousands_of_parts_of_one_file_are_compared_at_once(tmp_path: Path) -> None:
    lines = ["path\tstart_s\tend_s\tspeaker\tsplit"]
    for number in range(20_000):
        split = ("train", "dev", "test")[number % 3]
        lines.append(f"a.wav\t{number}\t{number + 1}\ts{number % 2}\t{split}")
    (tmp_path / "my.tsv").write_text("\n".join([*lines, "a.wav\t4.5\t\ts0\ttest"]))
    corpus = read_corpus(str(tmp_path / "my.tsv"))
    task = fuzz_readers.read_task("speaker_id")
    leaks = corpus.leaks(task, corpus.examples(task))
    assert [leak.split()[0] for leak in leaks] == ["6665", "6666"]  # train and test, dev and test


# Properties of what the readers are made of


words = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=8)
numbers = st.floats(0, 1e6).map(lambda x: f"{x:g}")


@quickly
@given(st.data())
def test_a_manifest_that_is_written_is_read_back(data: st.DataObject) -> None:
    names = ["path", *data.draw(st.lists(words, unique=True, max_size=4).map(set)) - {
        "path", "start_s", "end_s", "gain_db"}]  # fmt: skip
    count = data.draw(st.integers(1, 5))
    columns = {name: data.draw(st.lists(words, min_size=count, max_size=count)) for name in names}
    columns["path"] = [f"x{one}".replace("\0", "0") for one in columns["path"]]
    columns["start_s"] = data.draw(st.lists(numbers, min_size=count, max_size=count))
    read = parse_manifest(manifest_text(columns), Path("my.tsv"))
    assert read.columns == columns
    assert [one.start_s for one in read.recordings] == list(map(float, columns["start_s"]))


@quickly
@given(st.text(max_size=300) | st.lists(st.text(max_size=20)).map("\t".join))
def test_any_text_is_a_manifest_or_refused_by_name(text: str) -> None:
    try:
        manifest = parse_manifest(f"path\tend_s\n{text}", Path("folder/my.tsv"))
    except BarlowSpeechError as error:
        assert "folder/my.tsv" in str(error) and "\n" not in str(error)
    else:
        assert len(manifest) == len(manifest.columns["path"]) > 0


spans = st.lists(
    st.tuples(st.floats(0, 9), st.floats(0.1, 3) | st.none()).map(
        lambda one: Recording(Path("a"), one[0], None if one[1] is None else one[0] + one[1])
    ),
    max_size=12,
)


@quickly
@given(spans, spans)
def test_sorted_spans_overlap_as_pairs_do(ones: list[Recording], others: list[Recording]) -> None:
    sorted_ = Spans(others)
    for one in ones:
        assert sorted_.overlap(one) == any(one.overlaps(other) for other in others)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["steps", "model", "encoder", "name", "families", "main", "views", "data"])
        | st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@quickly
@given(trees)
def test_any_tree_is_settings_or_refused_by_name(tree: Any) -> None:
    try:
        recipe = build(Recipe, tree, "my.yaml")
    except BarlowSpeechError as error:
        assert "my.yaml" in str(error) and "\n" not in str(error) and len(str(error)) <= 2000
    else:
        assert isinstance(recipe.steps, int)


@quickly
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda one: one.decode("latin-1")))
def test_any_text_is_a_mapping_or_refused_by_name(scratch: Path, text: str) -> None:
    path = scratch / "my.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(read_yaml(path), dict)
    except BarlowSpeechError as error:
        assert "my.yaml" in str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the cases of a property share."""
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, 2**63, 10**400, 1e300])
def test_what_is_no_number_is_refused_where_a_record_has_one(value: Any) -> None:
    for kind in (Integer, Number):
        config = ConfigDict(strict=True, allow_inf_nan=False)
        with pytest.raises(ValueError):
            TypeAdapter(kind, config=config).validate_python(value)


@quickly
@given(st.text() | st.binary().map(lambda one: base64.b64encode(zlib.compress(one)).decode()))
def test_any_text_is_unpacked_or_refused(text: str) -> None:
    try:
        assert unpack(text).dtype == np.int64
    except ValueError as error:
        assert not isinstance(error, UnicodeError) or text


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="too many"):
        unpack(base64.b64encode(zlib.compress(bytes(4 << 20))).decode(), most=1000)
    content = base64.b64decode(fuzz_readers.pack(np.arange(1000)))
    with pytest.raises(ValueError, match="cut short"):
        unpack(base64.b64encode(content[:-5]).decode())


@quickly
@given(st.text(), st.text(max_size=3000))
def test_a_message_is_one_line_of_a_length_that_is_read(kind: str, name: str) -> None:
    for error in (BarlowSpeechError(name), unknown(kind, name, [name[:5], "b"], "a/place")):
        assert len(str(error).splitlines()) <= 1
        assert len(str(error)) <= 2000


def test_a_value_is_shown_short_whatever_it_holds() -> None:
    ring: list[Any] = []
    ring.append(ring)
    wide: Any = 1
    for _ in range(60):
        wide = [wide] * 9
    for value in (ring, wide, "x" * 10**6, 1 << 100_000, {"a": wide}, list(range(10**5))):
        assert 0 < len(shown(value)) < 2000
