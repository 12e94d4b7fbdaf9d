"""Bad input: some thousands of damaged files to every reader, and each fault that fuzzing found.

The campaign itself (`python tests/robustness/fuzz.py`) reads more than 100,000; its table is
in benchmark/RESULTS.md. Seeds are fixed: the same cases in every run.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faulty_readers
import fuzz
import fuzz_readers
import numpy as np
import pytest
import soundfile
import torch
from fuzz_readers import READERS, Files, record, wav
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from barlow_speech.benchmark.evaluation.records import Integer, Number, Store, read_cells
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

# The cases of each reader; those of the others are cheaper.
CASES = {
    "record": 60, "checkpoint": 60, "training": 60, "manifest": 80, "protocol": 80, "table": 50,
    "librispeech": 30, "voxceleb1": 30, "speech_commands_v1": 30, "crema_d": 30, "emodb": 30,
    "ravdess": 30, "timit": 30, "iemocap": 30, "common_voice": 30,
}  # fmt: skip
MANY = 200
quickly = settings(max_examples=200, deadline=None, derandomize=True, database=None)


# Every reader, damaged files


@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_damaged_files_are_read_or_refused_by_name(name: str) -> None:
    count = CASES.get(name, MANY)
    (tally,) = fuzz.campaign([name], count, seed=2024)
    assert not tally.failures, "\n".join(
        f"{where}\n{outcome.text}" for where, outcome in tally.failures.items()
    )
    assert tally.outcomes.total() == count
    assert tally.outcomes["accepted"] > 0
    assert tally.outcomes["refused"] > 0


# The campaign notices


def test_every_kind_of_failure_is_noticed(tmp_path: Path) -> None:
    names = [reader.name for reader in faulty_readers.READERS[:-1]]
    found = fuzz.campaign(names, 2, module="faulty_readers", limits=(0.5, 1 << 28))
    tallies = {tally.reader: tally for tally in found}
    for name in ("refuse", "warn"):
        assert tallies.pop(name).outcomes == {"refused": 2}
    where = {
        "raise_": "ZeroDivisionError",
        "name_nothing": "names no file",
        "warn_in_lines": "several lines",
        "talk": "too long",
        "be_wrong": "two and two are five",
        "compute": "hang",
        "wait": "hang",
        "crash": "signal 11",
        "eat": "MemoryError",
        "leave": "SystemExit",
    }
    assert set(tallies) == set(where)
    for name, tally in tallies.items():
        assert tally.outcomes == {"failed": 2}, name
        (failure,) = tally.failures
        assert where[name] in failure
    # The input of each is kept, and the table counts it.
    lines = fuzz.keep(found, tmp_path)
    assert len(lines) == len(where)
    assert (tmp_path / "crash-0" / "input" / "a.txt").read_bytes() != faulty_readers.WHOLE
    rows = {line.split()[0]: line.split()[1:] for line in fuzz.table(found).splitlines() if line}
    assert rows["all"] == [str(2 * len(names)), "0", "4", str(2 * len(where))]
    assert rows["crash"] == ["2", "0", "0", "2"]
    assert rows["flipped"] == rows["all"]


def test_a_whole_example_that_is_refused_ends_the_campaign() -> None:
    with pytest.raises(RuntimeError, match="whole"):
        fuzz.campaign(["unwhole"], 1, module="faulty_readers")


def test_a_case_is_the_same_whoever_makes_it() -> None:
    (reader,) = (one for one in READERS if one.name == "protocol")
    examples = reader.examples(Path())
    first, second = (
        [fuzz_readers.case(reader, examples, random.Random(f"0 protocol {n}")) for n in range(20)]
        for _ in range(2)
    )
    assert first == second
    assert len({json.dumps(damages) for _, damages in first}) > 5


def test_a_failing_input_is_made_small(tmp_path: Path) -> None:
    reader = dataclasses.replace(faulty_readers.READERS[0], read=faulty_readers.only_z)
    files = {"a.txt": b"a" * 1000 + b"zz" + b"b" * 500, "b.txt": b"c"}
    failure = fuzz.tried(reader, files, tmp_path / "case")
    assert failure.kind == "failed"
    assert fuzz.shrunk(reader, files, tmp_path / "case", failure.where) == {"a.txt": b"z"}


# What it found. Each of these was a traceback, a hang, gigabytes, a NaN in a table, or a message
# that named no file.


Change = bytes | Callable[[bytes], bytes]


def outcome(reader: str, folder: Path, changes: dict[str, Change], example: int = 0) -> Any:
    """What becomes of a whole example with changes to some of its files."""
    (one,) = (one for one in READERS if one.name == reader)
    files: Files = dict(one.examples(folder)[example])
    for pattern, change in changes.items():
        name = next((name for name in files if Path(name).match(pattern)), pattern)
        files[name] = change if isinstance(change, bytes) else change(files[name])
    return fuzz.tried(one, one.seal(files) if one.seal else files, folder)


def aliases(first: str, of: str) -> bytes:
    """Nine times nine times … nine."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {of.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, 12)]
    return "\n".join([*lines, "steps: *a11"]).encode()


@pytest.mark.parametrize(
    "text",
    [
        aliases("x", "[{}]"),
        aliases("{x: 1}", "{{<<: [{}]}}"),
        b"steps: &a [*a]",
        b"model: &a {encoder: *a}",
        b"steps: !!bool x",
        b"steps: !!int ''",
        b"steps: !!timestamp x",
        b"steps: !!float ''",
        b"extends: /dev/zero",
        b"extends: /proc/self/mem",
        b"# a long file\n" + b"steps: 1\n" * 20_000,
        b"steps: 0x" + b"f" * 50_000,
        b"steps: -0x" + b"f" * 20,
        b"steps: {a: 1, b: {c: [" + b"1, " * 9000 + b"]}}",
        b"? " + b"y" * 1000 + b"\n: 1",
        b'"a\\nb": 1',
        b"steps: 9\nfamilies: {train: {}}",
        b"steps: 9\nfamilies: {a.b: {}}",
        b"steps: 9\nfamilies: {main: {projector: {layers: 1000000000}}}",
        b"steps: 9\nfamilies: {main: {projector: {width: 0}}}",
        b"steps: 9\nfamilies: {main: {views: {gain: {p: 2}}}}",
        b"steps: 9\nfamilies: {main: {views: {noise: {snr_db: [9, 1]}}}}",
        b"steps: 9\ncrop_s: 1e300",
        b"steps: 9\nbatch: 4611686018427387904",
        b"steps: 9\noptimiser: {warmup: -1}",
        b"steps: 9\nmodel: {encoder: {name: cnn3d}}",
        b"steps: 9\nmodel: {encoder: {name: cnn2d, channels: 1000000}}",
        b"steps: 9\nmodel: {frontend: {n_mels: 0}}",
        b"steps: 9\nmodel: {frontend: {n_mels: 100000}}",
        b"steps: 9\nmodel: {frontend: {std: 0}}",
        b"steps: 9\nmodel: {frontend: {mean: 1e30}}",
    ],
    ids=range(31),
)
def test_a_recipe_that_none_can_run_is_refused(tmp_path: Path, text: bytes) -> None:
    assert outcome("recipe", tmp_path / "case", {"a.yaml": text}).kind == "refused"


def test_aliases_that_are_few_are_settings_like_others(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: [*a, *b]\n")
    one, both = {"x": 1}, {"x": 1, "y": 2}
    assert read_yaml(file) == {"a": one, "b": both, "c": [one, both]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"card.yaml": b"name: x\nmanifest: /dev/zero\ntasks: {}"}, "card.yaml"),
        ({"card.yaml": b'name: x\nmanifest: "a\\0b"\ntasks: {}'}, "card.yaml"),
        ({"card.yaml": b"name: x\nmanifest: no.tsv\ntasks: {}"}, "card.yaml"),
        ({"card.yaml": b"name: x\nmanifest: my.tsv\ntasks: {emotoin: {label: a}}"}, "'emotion'"),
        ({"card.yaml": b"name: x\nmanifest: my.tsv\ntasks: {emotion: {label: a}}"}, "no split"),
        (
            {"card.yaml": b"name: x\nmanifest: my.tsv\ntasks: {emotion: {label: a, folds: ['']}}"},
            "no split",
        ),
    ],
)
def test_a_card_that_is_wrong_is_named(
    tmp_path: Path, changes: dict[str, Change], said: str
) -> None:
    found = outcome("card", tmp_path / "case", changes)
    assert found.kind == "refused"
    assert said in found.text


def json_of(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """A change of what a JSON file holds; the checksum is made right afterwards."""

    def changed(content: bytes) -> bytes:
        tree = json.loads(content)
        result = change(tree)
        return json.dumps(tree if result is None else result).encode()

    return changed


def put(*place: Any) -> Callable[[bytes], bytes]:
    """A change of one value: its place in the tree, and the value."""

    def change(tree: Any) -> None:
        *path, key, value = place
        for step in path:
            tree = tree[step]
        if value is LOST:
            del tree[key]
        else:
            tree[key] = value

    return json_of(change)


LOST = object()
NAN, INFINITY = float("nan"), float("inf")
BOMB = base64.b64encode(zlib.compress(bytes(1 << 27), 9)).decode()
NESTED: Any = []
for _ in range(900):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "change",
    [
        put("runs", 0, "seed", "x"),
        put("runs", 0, "seed", 1338),
        put("runs", 0, "sources", {"init": 1}),
        put("runs", 0, "folds", []),
        put("runs", 0, "folds", 0, "predicted", "%%%"),
        put("runs", 0, "folds", 0, "predicted", BOMB),
        put("runs", 0, "folds", 0, "predicted", LOST),
        put("runs", 0, "folds", 0, "predicted", fuzz_readers.pack(np.arange(36))),
        put("runs", 0, "folds", 0, "predicted", fuzz_readers.pack(np.zeros(35))),
        put("runs", 0, "folds", 0, "curve", LOST),
        put("runs", 0, "folds", 0, "curve", [[20]]),
        put("runs", 0, "folds", 0, "curve", [[20, 1.5]]),
        put("runs", 0, "folds", 0, "curve", [[20, NAN]]),
        put("runs", []),
        put("runs", {}),
        put("facts", "truth", [BOMB]),
        put("facts", "truth", []),
        put("facts", "classes", ["one"]),
        put("facts", "classes", ["a", "a", "b"]),
        put("facts", "classes", 3),
        put("facts", "most_frequent", [3]),
        put("facts", "most_frequent", []),
        put("facts", "chance", {"top1": NAN}),
        put("facts", "chance", {"top1": 2}),
        put("recorded", "today"),
        put("facts", "recordings", "test", -5),
        put("facts", "seconds", "heads", INFINITY),
        put("facts", "seconds", "heads", -1),
        put("facts", "cost", "parameters", "many"),
        put("facts", "cost", ["x"]),
        put("facts", "corpus", None),
        put("facts", "notes", NESTED),
        put("facts", "layers", 0),
        put("facts", "learning_rate", {}),
        put("facts", LOST),
        put("identity", "protocol", "learning_rates", [NAN]),
        put("identity", "protocol", LOST),
        put("task", 7),
        json_of(lambda tree: [tree]),
        lambda content: b"[" * 100_000,
    ],
    ids=range(40),
)
def test_a_record_that_contradicts_itself_is_left_out(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "case"
    found = outcome("record", folder, {"records/barlow_speech/*": change})
    assert found.kind == "refused"
    assert {cell.upstream for cell in read_cells(folder)} == {
        "fbank_no_cmvn",
        "barlow_speech_random",
    }


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
    (cell,) = read_cells(tmp_path)
    assert cell.values == tuple(run["top1"] for run in one.scores(sorted(one.runs)))


def tensors_of(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A change of the tensors and the JSON in the header ("__metadata__") of a safetensors file."""

    def changed(content: bytes) -> bytes:
        import safetensors.torch

        parts = fuzz_readers.damage.split_safetensors(content)
        assert parts is not None
        strings = {k: _json(v) for k, v in parts[0]["__metadata__"].items()}
        tree = {"": strings, **safetensors.torch.load(content)}
        change(tree)
        header = {k: v if isinstance(v, str) else json.dumps(v) for k, v in tree.pop("").items()}
        return safetensors.torch.save(tree, header)

    return changed


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def model(**sizes: Any) -> Callable[[bytes], bytes]:
    """Other settings of the encoder over the same weights."""
    return tensors_of(lambda tree: tree[""]["model"]["encoder"].update(sizes))


def frontend(**sizes: Any) -> Callable[[bytes], bytes]:
    """Other settings of the front-end over the same weights."""
    return tensors_of(lambda tree: tree[""]["model"]["frontend"].update(sizes))


def values(name: str, value: float) -> Callable[[bytes], bytes]:
    """One number of a tensor is another."""
    return tensors_of(lambda tree: tree[name].view(-1)[:1].fill_(value))


CNN1D, CNN2D, TRANSFORMER = 1, 2, 4


@pytest.mark.parametrize(
    ("encoder", "change"),
    [
        (CNN2D, model(channels=60_000)),
        (CNN2D, model(channels=0)),
        (CNN2D, model(name="nobody")),
        (CNN2D, model(name=["cnn2d"])),
        (CNN2D, model(name="transformer", channels=4)),
        (CNN1D, model(layers=60_000)),
        (CNN1D, model(width=60_000)),
        (TRANSFORMER, model(feed_forward=65_000, width=65_536)),
        (TRANSFORMER, model(heads=3)),
        (CNN2D, frontend(n_mels=512)),
        (CNN2D, frontend(n_mels=10**9)),
        (CNN2D, frontend(std=0.0)),
        (CNN2D, frontend(std=1e-30)),
        (CNN2D, frontend(mean=1e30)),
        (CNN2D, values("encoder.first.weight", math.nan)),
        (CNN2D, values("encoder.first.weight", math.inf)),
        # Finite, and its features are not.
        (CNN2D, tensors_of(lambda tree: tree["encoder.convolutions.0.weight"].fill_(3e38))),
        (CNN2D, values("encoder.norms.0.running_var", -1.0)),
        (CNN2D, tensors_of(lambda tree: tree.pop("encoder.first.weight"))),
        (CNN2D, tensors_of(lambda tree: tree.update(more=torch.zeros(3)))),
        (CNN2D, tensors_of(lambda tree: tree.update({"encoder.first.bias": torch.zeros(()) }))),
        (CNN2D, tensors_of(lambda tree: tree.update({
            "encoder.first.bias": torch.zeros(8, dtype=torch.complex64)}))),
        (CNN2D, tensors_of(lambda tree: tree.update({
            "encoder.first.bias": torch.zeros(8, dtype=torch.bool)}))),
        (CNN2D, tensors_of(lambda tree: tree[""].update(model="[" * 100_000))),
        (CNN2D, tensors_of(lambda tree: tree[""].update(model=[1]))),
        (CNN2D, tensors_of(lambda tree: tree[""].update(model=None))),
        (CNN2D, lambda content: struct.pack("<Q", 1 << 60) + content[8:]),
        (CNN2D, lambda content: struct.pack("<Q", 100_000) + b"[" * 100_000),
    ],
    ids=range(28),
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_itself_is_refused(
    tmp_path: Path, encoder: int, change: Callable[[bytes], bytes]
) -> None:
    found = outcome("checkpoint", tmp_path / "case", {"*.safetensors": change}, encoder)
    assert found.kind == "refused"


@pytest.mark.parametrize(
    "change",
    [
        tensors_of(lambda tree: tree[""].update(training=[1])),
        tensors_of(lambda tree: tree[""].pop("training")),
        tensors_of(lambda tree: tree[""]["training"].update(steps_done="2")),
        tensors_of(lambda tree: tree[""]["training"].update(steps_done=-1)),
        tensors_of(lambda tree: tree[""]["training"].update(steps_done=10**9)),
        tensors_of(lambda tree: tree[""]["training"].update(memory_pushed=None)),
        tensors_of(lambda tree: tree[""]["training"].update(memory_pushed=2**70)),
        tensors_of(lambda tree: tree[""]["training"].pop("memory_pushed")),
        tensors_of(lambda tree: tree.pop("memory")),
        tensors_of(lambda tree: tree.update(memory=torch.zeros(8, 3, 3))),
        tensors_of(lambda tree: tree.pop("optimiser.0.exp_avg")),
        tensors_of(lambda tree: tree.update({"optimiser.0.exp_avg": torch.zeros(3)})),
        tensors_of(lambda tree: tree.update({"optimiser.x.exp_avg": torch.zeros(3)})),
        tensors_of(lambda tree: tree.update({"optimiser.99.exp_avg": torch.zeros(3)})),
        tensors_of(lambda tree: tree.update({"optimiser.0.exp_avg.x": torch.zeros(3)})),
        tensors_of(lambda tree: tree.update({"optimiser.0.step": torch.tensor(-1e9)})),
        values("optimiser.0.exp_avg_sq", -1.0),
        values("optimiser.0.exp_avg", math.nan),
        values("memory", math.inf),
        values("twins.model.encoder.first.weight", math.nan),
        tensors_of(lambda tree: tree.pop("twins.projectors.main.0.weight")),
    ],
    ids=range(21),
)
def test_a_state_of_training_that_is_not_whole_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    found = outcome("training", tmp_path / "case", {TRAINING: change})
    assert found.kind == "refused"
    assert TRAINING in found.text


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (0, values("mean", math.nan)),
        (0, values("std", math.inf)),
        (0, values("embedding", math.nan)),
        (0, tensors_of(lambda tree: tree[""].update(seconds="nan"))),
        (0, tensors_of(lambda tree: tree[""].update(seconds="-1"))),
        (0, tensors_of(lambda tree: tree[""].pop("seconds"))),
        (0, tensors_of(lambda tree: tree.pop("audio"))),
        (0, tensors_of(lambda tree: tree.pop("std"))),
        (0, tensors_of(lambda tree: tree.update(keys=tree["keys"].view(-1)))),
        (0, tensors_of(lambda tree: tree.update(keys=tree["keys"].float()))),
        (0, tensors_of(lambda tree: tree.update(audio=tree["audio"][:1]))),
        (0, tensors_of(lambda tree: tree.update(mean=tree["mean"][:1], std=tree["std"][:1]))),
        (0, tensors_of(lambda tree: tree.update(mean=tree["mean"].long()))),
        (0, tensors_of(lambda tree: tree.update(mean=tree["mean"].bfloat16()))),
        (0, tensors_of(lambda tree: tree.update(mean=tree["mean"].double()))),
        (0, tensors_of(lambda tree: tree.update({
            k: tree[k][:, :, :2].contiguous() for k in ("mean", "std")}))),
        (0, tensors_of(lambda tree: tree.update(more=torch.zeros(3)))),
        (1, values("frames", math.nan)),
        (1, tensors_of(lambda tree: tree["offsets"][1:2].fill_(0))),
        (1, tensors_of(lambda tree: tree["offsets"][-1:].fill_(10**9))),
        (1, tensors_of(lambda tree: tree["offsets"][:1].fill_(-1))),
        (1, tensors_of(lambda tree: tree.update(offsets=tree["offsets"][:-1]))),
        (1, tensors_of(lambda tree: tree.update(frames=tree["frames"][:, 0].contiguous()))),
    ],
    ids=range(23),
)  # fmt: skip
def test_features_that_are_no_features_are_named(
    tmp_path: Path, kind: int, change: Callable[[bytes], bytes]
) -> None:
    found = outcome("features", tmp_path / "case", {"*.safetensors": change}, kind)
    assert found.kind == "refused"
    assert ".safetensors" in found.text or "several sizes" in found.text


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"upstream": [1], "kind": {}}', b"[" * 100_000])
def test_a_list_of_the_cache_says_what_it_does_not_know(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "case"
    outcome("features", folder, {})
    (about,) = folder.glob("features/*/about.json")
    about.write_bytes(text)
    (entry,) = entries(folder / "features")
    assert (entry.upstream, entry.kind, entry.recordings) == ("?", "?", 5)


def npy(array: Any, **options: Any) -> Callable[[bytes], bytes]:
    """A .npy file of an array."""

    def made(content: bytes) -> bytes:
        import io

        file = io.BytesIO()
        np.save(file, np.array(array, **options))
        return file.getvalue()

    return made


def shaped(shape: str) -> Callable[[bytes], bytes]:
    """A .npy file whose header promises another shape."""

    def lied(content: bytes) -> bytes:
        return content.replace(b"(7,), }" + b" " * 20, (f"({shape}), }}" + " " * 40).encode()[:27])

    return lied


@pytest.mark.parametrize(
    "change",
    [
        npy([0.0, 1.0]),
        npy([True, False]),
        npy([0, 1], dtype=">i8"),
        npy([0, 1], dtype=object),
        npy(0),
        npy([]),
        npy(np.zeros(3, dtype=[("a", "i8")])),
        npy([0, 2**62, -(2**62), 5]),
        npy([0, -(2**63)]),
        shaped("1099511627776,"),
        shaped("-5,"),
        shaped("7, 7,"),
        shaped("7"),
        lambda content: content.replace(b"descr", b"des\0r"),
        lambda content: content.replace(b"(7,)", b"(((("),
        lambda content: content[:40],
        lambda content: b"PK\x03\x04" + content,
        lambda content: b"",
    ],
    ids=range(18),
)
def test_offsets_that_are_none_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    found = outcome("packed", tmp_path / "case", {f"packed/{OFFSETS}": change})
    assert found.kind == "refused"


@pytest.mark.parametrize(
    "change",
    [
        put("sha256", LOST),
        put("offsets_sha256", 5),
        put("format", "1"),
        json_of(lambda tree: [tree]),
        lambda content: b"[" * 100_000,
        lambda content: b"NaN",
    ],
    ids=range(6),
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    (reader,) = (one for one in READERS if one.name == "packed")
    files = dict(reader.examples(tmp_path)[0])
    files[f"packed/{INDEX}"] = change(files[f"packed/{INDEX}"])
    assert fuzz.tried(reader, files, tmp_path / "case").kind == "refused"


# Audio and waveforms


def sound(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: Any) -> Path:
    path.write_bytes(wav(samples, rate, **options))
    return path


@pytest.mark.parametrize("value", [1e11, -1e20, 3e38, math.nan, -math.inf])
@pytest.mark.parametrize("rate", [8000, SAMPLE_RATE])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_no_sound_is_so_loud(tmp_path: Path, value: float, rate: int, subtype: str) -> None:
    samples = fuzz_readers.noise(2000).astype(np.float64)
    samples[700] = value
    path = sound(tmp_path / "a.wav", samples, rate, subtype=subtype)
    with pytest.raises(BarlowSpeechError, match="louder than any sound"):
        read_audio(path)


def test_integers_that_became_floats_are_sound(tmp_path: Path) -> None:
    samples = fuzz_readers.noise(2000) * 2**31
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
    wave = fuzz_readers.noise(length).astype(np.float32)
    path = sound(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    whole = audio.resample(wave, rate)
    assert len(whole) == math.ceil(length * SAMPLE_RATE / rate)
    monkeypatch.setattr(sound_files, "BLOCK", 977)
    np.testing.assert_array_equal(read_audio(path), whole)


def test_a_codec_without_places_is_read_from_its_middle(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", fuzz_readers.noise(8000), 8000, subtype="GSM610")
    whole, _ = soundfile.read(path, dtype="float32")
    part = read_audio(path, 0.25, 0.5)
    assert len(part) == SAMPLE_RATE // 4
    np.testing.assert_allclose(part, audio.resample(whole[2000:4000], 8000), atol=1e-6)


def test_a_length_that_a_header_only_promises_is_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.flac", fuzz_readers.noise(100), format="FLAC")
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
        wave = torch.from_numpy(fuzz_readers.noise(length, seed + row)) * 10 * level
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
