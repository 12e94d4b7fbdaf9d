"""Records of before and after: metrics come from predictions, whatever a record says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barlow_speech.benchmark.evaluation.records import Store, read_results, result_of
from barlow_speech.benchmark.statistics import metrics as registry
from barlow_speech.benchmark.statistics.metrics import METRICS, Counts, metric, metrics
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.upstream.common.files import digest

CLASSES = ["anger", "joy", "sorrow"]
IDENTITY = {
    "features": ["f" * 64],
    "selection": "hidden_states",
    "examples": "e" * 64,
    "protocol": {
        "steps": 300, "batch": 32, "eval_step": 20, "head": {"name": "linear"},
        "learning_rates": [1e-4, 1e-3], "accumulate": 1, "varies": ["init", "order"], "levels": {},
    },
}  # fmt: skip


def stored_before(seed: int = 0) -> dict[str, Any]:
    """A record as it was written while metrics and chance were stored in it."""
    rng = np.random.default_rng(seed)
    truth_N = np.repeat(np.arange(3), (20, 12, 8))
    runs = []
    for number in range(4):
        predicted_N = np.where(rng.random(40) < 0.7, truth_N, rng.integers(0, 3, 40))
        runs.append(
            {
                "seed": 1337 + number,
                "sources": {"init": 1337 + number, "order": 1337 + number, "pretrain_seed": 0},
                "metrics": metrics(truth_N, predicted_N, 3),
                "folds": [
                    {
                        "dev": 0.6, "step": 40, "curve": [[20, 0.5], [40, 0.6]],
                        "predicted": pack(predicted_N),
                    }
                ],
            }
        )  # fmt: skip
    return {
        "format": 2,
        "upstream": "barlow_speech",
        "task": "emotion",
        "corpus": "toy",
        "identity": IDENTITY,
        "facts": {
            "learning_rate": {"chosen": 0.001, "how": "best", "dev": {"0.001": 0.6}},
            "protocol": "quick",
            "head": "linear",
            "classes": CLASSES,
            "truth": [pack(truth_N)],
            "recordings": {"train": 100, "dev": 40, "test": 40},
            "folds": [{"label": "emotion", "split": "split"}],
            "chance": metrics(truth_N, np.zeros(40, dtype=int), 3),
            "layers": 5,
            "width": 256,
            "upstream_fingerprints": ["u" * 64],
            "cost": {"parameters": 5, "macs_per_second": 7, "real_time_factor": 0.01,
                     "input_s": 10, "repeats": 5, "threads": 2, "device": "cpu"},
            "corpus": {"revision": "1", "licence": "CC0", "citation": "us", "description": "toys"},
            "notes": ["a note"],
            "seconds": {"features": 1.5, "heads": 2.5},
            "versions": {"python": "3.11"},
            "hardware": {"cores": 2},
        },
        "runs": runs,
    }  # fmt: skip


def write(folder: Path, stored: dict[str, Any]) -> Path:
    path = folder / "records" / "barlow_speech" / f"emotion.toy.{digest(IDENTITY)[:12]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**stored, "sha256": digest(stored)}), encoding="utf-8")
    return path


def test_a_record_of_before_is_found_and_says_what_it_said(tmp_path: Path) -> None:
    stored = stored_before()
    path = write(tmp_path, stored)
    store = Store(tmp_path)
    record = store.load("barlow_speech", "emotion", "toy", IDENTITY)
    assert store.path(record) == path and sorted(record.runs) == [1337, 1338, 1339, 1340]
    for name in METRICS:
        (result,) = read_results(tmp_path, name)
        assert result.values == tuple(run["metrics"][name] for run in stored["runs"])
        assert result.setup.chance == stored["facts"]["chance"][name]
        assert result.metrics[name] == pytest.approx(np.mean(result.values))
    assert result.seeds == (1337, 1338, 1339, 1340) and result.notes == ("a note",)
    assert result.cost.threads == 2 and result.setup.lr_grid == (1e-4, 1e-3)
    assert result.curves[0] == ((20, 0.5), (40, 0.6))
    assert result.predictions is not None and result.predictions.confusion is not None
    assert result.predictions.confusion.sum(axis=1).tolist() == [80, 48, 32]
    assert result.recorded == path.stat().st_mtime
    # Written again it holds predictions alone, and says the same.
    store.save(record)
    assert "metrics" not in json.loads(path.read_text())["runs"][0]
    (again,) = read_results(tmp_path, name)
    assert again.values == result.values and again.recorded > 1.7e9


def test_the_seconds_of_all_runs_are_not_said_of_some(tmp_path: Path) -> None:
    write(tmp_path, stored_before())
    record = Store(tmp_path).load("barlow_speech", "emotion", "toy", IDENTITY)
    assert result_of(record, sorted(record.runs)).seconds == {"features": 1.5, "heads": 2.5}
    assert result_of(record, [1337, 1338]).seconds == {}


def test_a_record_made_again_of_later_features_counts_and_both_are_kept(tmp_path: Path) -> None:
    write(tmp_path, stored_before())
    store = Store(tmp_path)
    again = store.load("barlow_speech", "emotion", "toy", IDENTITY)
    again.identity = {**IDENTITY, "features": ["of a later version"]}
    again.facts["features_version"] = 4
    for run in again.runs.values():
        run["folds"] = again.runs[1337]["folds"]
    store.save(again)
    assert len(store.records()) == 2
    (result,) = read_results(tmp_path)
    assert len(set(result.values)) == 1
    again.identity["features"] = ["of parts that are cut otherwise"]
    again.facts["parts_version"] = 2
    store.save(again)
    assert len(store.records()) == 3 and len(read_results(tmp_path)) == 1
    # Of one version they are told apart by nothing: whoever reads them must say which counts.
    again.identity["features"] = ["of other weights"]
    store.save(again)
    assert len(read_results(tmp_path)) == 2


def test_what_a_record_says_of_its_metrics_does_not_count(tmp_path: Path) -> None:
    stored = stored_before()
    write(tmp_path, stored)
    (before,) = read_results(tmp_path)
    for run in stored["runs"]:
        run["metrics"] = {"top1": 0.123, "bleu": "high"}
    stored["facts"]["chance"] = {"f1": 0.5}
    write(tmp_path, stored)
    (after,) = read_results(tmp_path)
    assert after.values == before.values and after.metrics == before.metrics
    assert after.setup.chance is None  # not known of top1


def test_a_new_metric_is_one_function_and_stored_records_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, stored_before())
    content = path.read_bytes()
    monkeypatch.setattr(registry, "_FUNCTIONS", dict(registry._FUNCTIONS))
    for name in ("kappa",):
        monkeypatch.setitem(METRICS, name, "")  # taken out again after the test

    @metric("Cohen's kappa")
    def kappa(counts: Counts) -> Any:
        total = counts.support.sum()
        by_chance = (counts.support * counts.predicted_count).sum(-1) / total**2
        return (counts.true_positives.sum(-1) / total - by_chance) / (1 - by_chance)

    (result,) = read_results(tmp_path, "kappa")
    assert not caplog.text and path.read_bytes() == content
    assert 0 < min(result.values) <= max(result.values) < 1
    assert set(result.metrics) == set(METRICS) and result.setup.chance is None
    record = Store(tmp_path).load("barlow_speech", "emotion", "toy", IDENTITY)
    assert len(record.runs) == 4
    # Once its most frequent classes are known, chance is computed too.
    record.facts["most_frequent"] = [0]
    Store(tmp_path).save(record)
    (result,) = read_results(tmp_path, "kappa")
    assert result.setup.chance == 0.0
    (result,) = read_results(tmp_path, "top1")
    assert result.setup.chance == 0.5
