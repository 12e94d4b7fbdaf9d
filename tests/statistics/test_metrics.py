"""Metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from barlow_speech.benchmark.statistics import metrics


@pytest.mark.parametrize("classes", [2, 5, 300])
def test_metrics_are_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    # Some classes are missing from the truth, others are never predicted.
    truth_N = rng.integers(0, max(2, classes - 2), 400)
    predicted_RN = np.where(rng.random((3, 400)) < 0.4, truth_N, rng.integers(0, classes, (3, 400)))
    present = np.unique(truth_N)
    for run, predicted_N in enumerate(predicted_RN):
        got = metrics.metrics(truth_N, predicted_N, classes)
        assert set(got) == set(metrics.METRICS)
        recall = np.mean([(predicted_N[truth_N == c] == c).mean() for c in present])
        assert got["top1"] == pytest.approx(np.mean(truth_N == predicted_N))
        assert got["uar"] == pytest.approx(recall)
        assert got["f1"] == pytest.approx(
            f1_score(truth_N, predicted_N, labels=present, average="macro", zero_division=0)
        )
        if set(predicted_N) <= set(present):
            assert got["uar"] == pytest.approx(balanced_accuracy_score(truth_N, predicted_N))
        for name, value in got.items():
            scored = metrics.score(
                torch.from_numpy(predicted_RN), torch.from_numpy(truth_N), classes, name
            )
            assert scored.dtype == torch.float64
            assert scored[run].item() == pytest.approx(value)
        np.testing.assert_array_equal(
            metrics.confusion_matrix(truth_N, predicted_N, classes),
            confusion_matrix(truth_N, predicted_N, labels=range(classes)),
        )
