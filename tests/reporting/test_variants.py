"""Across tasks each task of a corpus counts once, in however many ways it was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barlow_speech.benchmark.evaluation.records import Record, Store, read_results
from barlow_speech.benchmark.reporting.leaderboard import leaderboard, notes
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.benchmark.statistics.ranking import ranking
from barlow_speech.benchmark.statistics.results import Setup, TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError

UPSTREAMS = ("best", "middle", "worst")


def identity(steps: int = 300, label_fraction: float = 1.0, examples: str = "manifest") -> Any:
    protocol = {"learning_rates": [0.001], "steps": steps, "label_fraction": label_fraction,
                "batch": 4, "accumulate": 1, "varies": ["init", "order"]}  # fmt: skip
    return {"features": ["f"], "selection": "hidden_states", "examples": examples,
            "protocol": protocol}  # fmt: skip


VARIANTS: dict[str, list[Any]] = {
    "steps": [identity(steps=100 * (1 + i)) for i in range(6)],
    "label_fraction": [identity(label_fraction=part) for part in (0.01, 0.1, 0.25, 0.5, 1.0)],
    "manifest": [identity(examples=f"edit {i}") for i in range(6)],
}


def store(folder: Path, identity: Any, task: str = "emotion") -> None:
    """A record of each upstream; the first is better than the second in every run, and so on."""
    generator = np.random.default_rng(0)
    truth = np.arange(200) % 2
    facts = {
        "protocol": "quick", "head": "linear", "classes": ["calm", "excited"],
        "truth": [pack(truth)], "recordings": {"train": 80, "dev": 40, "test": 200},
        "most_frequent": [0], "learning_rate": {"chosen": 0.001}, "layers": 2, "width": 4,
        "seconds": {}, "notes": [], "corpus": {"licence": "CC0"},
    }  # fmt: skip
    for place, upstream in enumerate(UPSTREAMS):
        runs = {}
        for seed in range(10):
            wrong = generator.choice(200, 20 + 40 * place + int(generator.integers(5)), False)
            predicted = truth.copy()
            predicted[wrong] = 1 - predicted[wrong]
            runs[seed] = {
                "seed": seed, "sources": {"init": seed, "order": seed},
                "folds": [{"predicted": pack(predicted), "curve": [[10, 0.5]]}],
            }  # fmt: skip
        Store(folder).save(Record(upstream, task, "toy", identity, facts, runs))


@pytest.mark.parametrize("variants", VARIANTS.values(), ids=VARIANTS)
def test_one_task_measured_in_many_ways_is_one_task(tmp_path: Path, variants: list[Any]) -> None:
    for one in variants:
        store(tmp_path, one)
    cells = read_results(tmp_path)
    assert len(cells) == 3 * len(variants)
    (board,) = leaderboard(cells).boards
    assert len(board.columns) == len(variants)
    assert board.ranking is None
    assert {row.average_rank for row in board.rows} == {None}
    assert "One task has no average rank" in " ".join(notes(board))
    ranked = ranking(cells, variant=lambda cell: cell.setup.comparison)
    assert len(ranked.blocks) == 1 and ranked.pairs == () and ranked.friedman is None
    # Beside other tasks it counts once, and which way was taken is said.
    for task in ("gender", "speaker_id"):
        store(tmp_path, variants[0], task)
    cells = read_results(tmp_path)
    (board,) = leaderboard(cells).boards
    assert board.ranking is not None and len(board.ranking.blocks) == 3
    assert [pair.blocks for pair in board.ranking.pairs] == [3, 3, 3]
    newest = max(cells, key=lambda one: (one.task == "emotion", one.recorded))
    assert (
        f"counts once: by the newest that all upstreams have, #{newest.setup.comparison[:6]}"
        in (" ".join(notes(board)))
    )
    assert board.ranking.ranks == (1.0, 2.0, 3.0)


def result(upstream: str, task: str, way: str, value: float, recorded: float = 0.0) -> TaskResult:
    return TaskResult(
        upstream, task, "toy", "top1", (value,), setup=Setup(comparison=way), recorded=recorded
    )


def by_way(cell: TaskResult) -> str:
    return cell.setup.comparison


def test_the_newest_variant_that_all_have_is_taken() -> None:
    cells = [result(name, "y", "y1", value) for name, value in zip("abc", (0.7, 0.6, 0.5))]
    cells += [result(name, "x", "old", value, 1.0) for name, value in zip("abc", (0.7, 0.6, 0.5))]
    cells += [result(name, "x", "new", value, 2.0) for name, value in zip("abc", (0.5, 0.6, 0.7))]
    cells += [result(name, "x", "part", value, 3.0) for name, value in zip("ab", (0.1, 0.9))]
    got = ranking(cells, variant=by_way)
    assert got.blocks == (("y", "toy"), ("x", "toy"))
    assert dict(zip(got.upstreams, got.ranks)) == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert "x of toy was measured in 3 ways and counts once" in " ".join(got.notes)
    assert "#new." in " ".join(got.notes)
    older = ranking(
        [replace(cell, recorded=9.0) if by_way(cell) == "old" else cell for cell in cells],
        variant=by_way,
    )
    assert older.upstreams == ("a", "b", "c")


def test_a_task_that_no_variant_has_of_all_is_left_out_and_named() -> None:
    cells = [
        result(name, task, "same", value)
        for task in ("y", "z")
        for name, value in zip("abc", (0.7, 0.6, 0.5))
    ]
    cells += [result("a", "x", "one", 0.5), result("b", "x", "one", 0.4)]
    cells += [result("c", "x", "two", 0.9)]
    got = ranking(cells, variant=by_way)
    assert got.blocks == (("y", "toy"), ("z", "toy"))
    assert got.left_out == (
        "x of toy is not ranked: none of the 2 ways in which it was measured has all upstreams.",
    )
    (board,) = leaderboard(cells).boards
    assert board.ranking is not None and board.ranking.left_out == got.left_out


@pytest.mark.parametrize("rank", [ranking, lambda cells: ranking(cells, variant=by_way)])
def test_what_is_given_twice_never_counts_twice(rank: Callable[..., Any]) -> None:
    cells = [result(name, "x", "same", 0.5) for name in "abc"]
    with pytest.raises(BarlowSpeechError, match="given twice"):
        rank([*cells, cells[0]])
    # Pages and studies rank what stands in one table, where each upstream has one place.
    other = [result(name, "x", "another", 0.5) for name in "abc"]
    with pytest.raises(BarlowSpeechError, match="given twice"):
        ranking([*cells, *other])
