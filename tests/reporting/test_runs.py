"""The runs of stored results as a table that other programs read."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barlow_speech.benchmark import entry
from barlow_speech.benchmark.evaluation.records import Record, Store
from barlow_speech.benchmark.statistics.metrics import METRICS, metrics
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.benchmark.statistics.results import Cost
from barlow_speech.upstream.common.errors import run_command

CLASSES = ["calm", 'quoted, "loud"\nand long']
TRUTH = [np.array([0, 1, 0]), np.array([1, 1, 0, 0])]
SPEAKERS = [np.array([1, 1, 0]), np.array([2, 2, 2, 0])]  # 0 has no name


def predicted(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, len(one)) for one in TRUTH]


def store(
    folder: Path, upstream: str, speakers: bool = True, rate: float = 0.01, **sources: int
) -> None:
    protocol = {"learning_rates": [0.01], "steps": 10, "batch": 4, "accumulate": 1,
                "varies": ["init"], "head": {"name": "linear"}}  # fmt: skip
    identity: dict[str, Any] = {"features": [upstream], "examples": "e", "protocol": protocol,
                                "selection": "hidden_states"}  # fmt: skip
    facts: dict[str, Any] = {
        "protocol": "quick", "head": "linear", "classes": CLASSES, "truth": [*map(pack, TRUTH)],
        "recordings": {"train": 8, "dev": 4, "test": 3}, "most_frequent": [0, 0],
        "learning_rate": {"chosen": rate}, "layers": 2, "width": 4, "seconds": {}, "notes": [],
        "cost": asdict(Cost(1, 1.0, 0.1, "cpu", 1)), "corpus": {"licence": "CC0"},
    }  # fmt: skip
    if speakers:
        facts["speakers"] = [*map(pack, SPEAKERS)]
    runs = {
        seed: {
            "seed": seed, "sources": {"init": seed, "train_resample": None, **sources},
            "folds": [{"predicted": pack(one), "curve": [[10, 0.5]]} for one in predicted(seed)],
        }
        for seed in (7, 8, 9)
    }  # fmt: skip
    Store(folder).save(Record(upstream, "emotion", "toy", identity, facts, runs))


def write(*arguments: object) -> int:
    return run_command(entry.run, ["runs", *map(str, arguments)])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_run_has_its_seeds_and_every_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path / "a", "one")
    store(tmp_path / "b", "two, with a comma")
    assert write(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "runs.csv") == 0
    assert "6 rows of 2 results" in capsys.readouterr().out
    found = rows(tmp_path / "runs.csv")
    assert [(row["upstream"], row["seed"]) for row in found] == [
        (name, str(seed)) for name in ("one", "two, with a comma") for seed in (7, 8, 9)
    ]
    for row in found:
        folds = [metrics(t, p, 2) for t, p in zip(TRUTH, predicted(int(row["seed"])))]
        for name in METRICS:
            assert float(row[name]) == pytest.approx(np.mean([one[name] for one in folds]))
        assert row["init"] == row["seed"] and row["train_resample"] == ""
        assert row["learning_rate"] == "0.01" and row["head"] == "linear"
        assert row["eval_split"] == "test"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_records_of_unlike_sources_stand_in_one_table(suffix: str, tmp_path: Path) -> None:
    store(tmp_path, "one", rate=1)
    store(tmp_path, "two", rate=0.5, split=3)
    out = tmp_path / f"runs{suffix}"
    if suffix == ".csv":
        assert write(tmp_path, "-o", out) == 0
        found = rows(out)
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        assert write(tmp_path, "-o", out) == 0
        found = parquet.read_table(out).to_pylist()
    said = {
        (row["upstream"], str(row["split"] or ""), float(row["learning_rate"])) for row in found
    }
    assert said == {("one", "", 1.0), ("two", "3", 0.5)}


@pytest.mark.parametrize("speakers", [True, False])
def test_a_row_a_recording_says_what_it_is_and_what_it_was_given(
    tmp_path: Path, speakers: bool
) -> None:
    store(tmp_path, "one", speakers)
    assert write(tmp_path, "--predictions", "-o", tmp_path / "p.csv") == 0
    found = iter(rows(tmp_path / "p.csv"))
    for seed in (7, 8, 9):
        for fold, said_N in enumerate(predicted(seed)):
            for number, said in enumerate(said_N):
                row, right = next(found), TRUTH[fold][number]
                assert (row["seed"], row["fold"], row["recording"]) == (
                    str(seed), str(fold), str(number),
                )  # fmt: skip
                assert row["truth"] == CLASSES[right] and row["predicted"] == CLASSES[said]
                assert row["correct"] == str(bool(right == said))
                named = speakers and SPEAKERS[fold][number]
                assert row["speaker"] == (str(SPEAKERS[fold][number]) if named else "")
    assert next(found, None) is None


def test_parquet_has_the_same_rows_with_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    store(tmp_path, "one")
    for flag in ((), ("--predictions",)):
        assert write(tmp_path, *flag, "-o", tmp_path / "t.csv") == 0
        assert write(tmp_path, *flag, "-o", tmp_path / "t.parquet") == 0
        table = parquet.read_table(tmp_path / "t.parquet").to_pylist()
        texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table]
        assert texts == rows(tmp_path / "t.csv")
        assert all(isinstance(row["seed"], int) for row in table)


def test_wrong_calls_are_one_sentence_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "a", "one")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for arguments, said in (
        ((tmp_path / "a", "-o", tmp_path / "x.txt"), "end it in .csv or .parquet"),
        ((tmp_path, "-o", tmp_path / "x.csv"), "holds no records"),
        ((tmp_path / "a", "-o", tmp_path / "x.parquet"), "pip install pyarrow"),
    ):
        assert write(*arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
