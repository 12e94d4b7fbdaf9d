"""Records: packed predictions, and what becomes of damaged files."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.benchmark.evaluation.records import Record, Store, read_cells
from barlow_speech.benchmark.statistics.predictions import pack, unpack
from barlow_speech.upstream.common.errors import BarlowSpeechError


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
        read_cells(tmp_path)
