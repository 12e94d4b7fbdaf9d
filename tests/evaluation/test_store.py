"""Records: packed predictions, and what becomes of damaged files."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barlow_speech.benchmark.evaluation.records import Record, Store, read_results
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.predictions import pack, unpack
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, write_json


@pytest.mark.parametrize("classes", [2, 300, 100_000])
@pytest.mark.parametrize("count", [0, 1, 777])
def test_packed_predictions_come_back(classes: int, count: int) -> None:
    numbers = np.random.default_rng(0).integers(0, classes, count)
    back = unpack(pack(numbers))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, numbers)


def test_predictions_are_compact() -> None:
    numbers = np.random.default_rng(0).integers(0, 12, 10_000)
    assert len(pack(numbers)) < 10_000  # under a byte each, in text


@pytest.mark.parametrize(
    "text", ["%%%", "abcd", "", base64.b64encode(zlib.compress(b"12345")).decode()]
)
def test_what_was_not_packed_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)


def test_names_of_any_kind_have_paths_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = ["a", "../a", "a/../../b", "a@b", "a-b", "x" * 500, "é", ".", ""]
    paths = set()
    for name in names:
        record = Record(name, name, name, {"protocol": {}})
        path = store.save(record)
        assert tmp_path in path.resolve().parents
        paths.add(path)
        assert store.load(name, name, name, {"protocol": {}}).upstream == name
    assert len(paths) == len(names)


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="holds no records"):
        read_results(tmp_path)


def record_of_before(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A record as builds before wrote it: metrics and chance are stored beside predictions."""
    truth, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    scores = {"top1": 0.75, "uar": 0.75, "f1": 0.7333333333333334}
    protocol = {"learning_rates": [0.001], "steps": 5, "batch": 2, "accumulate": 1,
                "varies": ["init", "order"], "clip": 1.0}  # fmt: skip
    facts = {
        "protocol": "paper", "head": "linear", "classes": ["a", "b"], "truth": [pack(truth)],
        "recordings": {"train": 8, "dev": 4, "test": 4}, "chance": dict.fromkeys(scores, 0.5),
        "learning_rate": {"chosen": 0.001, "how": "fixed"}, "layers": 2, "width": 3,
        "corpus": {"licence": "CC0", "revision": "1"}, "notes": [],
        "seconds": {"features": 1.0, "heads": 2},
    }  # fmt: skip
    fold = {"dev": 0.5, "step": 5, "curve": [[5, 0.5]], "predicted": pack(predicted)}
    sources = {"init": 1337, "order": 1337, "train_resample": None, "pretrain_seed": 0}
    stored = {
        "format": 2, "upstream": "u", "task": "gender", "corpus": "c",
        "identity": {"features": ["f"], "selection": "hidden_states", "examples": "e",
                     "protocol": protocol},
        "facts": facts,
        "runs": [{"seed": 1337, "sources": sources, "metrics": scores, "folds": [fold]}],
    }  # fmt: skip
    path = Store(folder).path(Record("u", "gender", "c", stored["identity"]))
    return path, stored


def write(path: Path, stored: dict[str, Any]) -> None:
    write_json(path, {**stored, "sha256": digest(stored)})


def test_a_record_of_before_is_read_whatever_metrics_it_stored(tmp_path: Path) -> None:
    path, stored = record_of_before(tmp_path)
    for metrics in (stored["runs"][0]["metrics"], {"top1": 0.75}, {}):
        stored["runs"][0]["metrics"] = metrics
        write(path, stored)
        (result,) = read_results(tmp_path)
        assert result.values == (0.75,) and set(result.metrics) == set(METRICS)
        found = Store(tmp_path).load("u", "gender", "c", stored["identity"])
        assert list(found.runs) == [1337]


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("facts", "layers"), 0, "facts.layers"),
        (("facts", "seconds", "heads"), "2", "facts.seconds.heads"),
        (("facts", "chance", "top1"), 1.5, "facts.chance.top1"),
        (("facts", "classes"), ["a", "a"], "once each"),
        (("facts", "recordings", "test"), 5, "not as many"),
        (("facts", "corpus"), {}, "facts.corpus.licence: Field required"),
        (("runs",), [], "runs"),
        (("runs", 0, "seed"), True, "runs.0.seed"),
        (("runs", 0, "sources", "init"), 0.5, "runs.0.sources.init"),
        (("runs", 0, "folds", 0, "curve"), [[5]], "runs.0.folds.0.curve.0"),
        (("runs", 0, "folds", 0, "predicted"), pack(np.array([0, 1])), "not of its test"),
    ],
)
def test_a_corrupt_record_is_left_out_and_its_place_is_named(
    keys: tuple[Any, ...], value: Any, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, stored = record_of_before(tmp_path)
    parent: Any = stored
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = value
    write(path, stored)
    assert Store(tmp_path).records() == []
    assert path.name in caplog.text and words in caplog.text
