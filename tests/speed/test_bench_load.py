"""The benchmark of large corpora: its phases are those of a study, on features that are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from load import CLASSES, phases_of_leaderboard, phases_of_study, write_corpus

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.evaluation.training import head_training as runs
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means


def test_a_study_of_drawn_features_is_run_and_ranked(tmp_path: Path) -> None:
    write_corpus(tmp_path, 2_000)
    phases = [name for name, seconds, peak in phases_of_study(tmp_path, 3) if peak > 0]
    assert phases == ["read the manifest", "check the splits", "plan", "train and record", "report"]
    assert [name for name, _, _ in phases_of_leaderboard(tmp_path, 3)][-1] == "read and rank"
    (cell,) = read_results(tmp_path / "3" / "study")
    assert min(cell.values) > 2 / CLASSES  # nothing was decoded, and the labels are learnt
    assert (tmp_path / "3" / "study" / "report.html").exists()


def test_runs_on_a_large_corpus_are_trained_in_parts_with_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a run keeps of its training set counts, not only its weights."""
    generator = torch.Generator().manual_seed(0)
    split = Split(
        Means(torch.randn(400, 2, 4, generator=generator)),
        torch.randint(3, (400,), generator=generator),
    )
    plans = [RunPlan(seed, seed, seed) for seed in range(6)]
    training = Training(steps=6, batch=8, eval_step=3)
    together = []
    build = runs.batched_heads

    def counted(module, settings, inputs, classes, inits):
        together.append(len(inits))
        return build(module, settings, inputs, classes, inits)

    monkeypatch.setattr(runs, "batched_heads", counted)
    head = {"name": "linear", "projector_dim": 4}
    whole = train_runs(head, split, split, split, 3, training, plans)
    assert together == [1, 6]  # the first is only measured
    monkeypatch.setattr(runs, "TOGETHER_BYTES", 2 * 12 * 400 + 2 * 16 * 400 + 4_000)
    parts = train_runs(head, split, split, split, 3, training, plans)
    assert max(together[3:]) < 6 and sum(together[3:]) == 6
    assert parts == whole
    for one, other in zip(parts, whole):
        assert (one.predicted == other.predicted).all()
