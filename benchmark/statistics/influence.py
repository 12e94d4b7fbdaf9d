"""A result as an array of runs × test recordings: what each recording is worth to each run's score.

A metric is not a mean over recordings, but moves with the weight of each as if it were one: by its
influence (`metrics.influences`). Every metric so has one array, whose row r sums to 0 about the
score of run r, and the difference between two upstreams on the same recordings is the difference
of their arrays. Recordings of one speaker are added up.

Shapes: R runs, N recordings, K clusters (speakers, or recordings).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from barlow_speech.benchmark.statistics.metrics import influences
from barlow_speech.benchmark.statistics.predictions import ItemScores, Predictions, unpack

Clusters = Literal["speakers", "recordings"]

KEPT = 1 << 18  # numbers of an array that is kept (1 MB); a larger one is made anew, run by run


@dataclass(frozen=True)
class Influence:
    """The clusters of a result, means over all runs, and the array where it is small."""

    cluster_N: np.ndarray  # of each recording
    weight_K: np.ndarray  # of each cluster in the score; they sum to 1
    size_K: np.ndarray  # recordings
    mean_N: np.ndarray  # influence of each recording on the mean score of the runs
    right_N: np.ndarray  # the share of the runs that are right
    part_RK: np.ndarray | None


def parts(
    predictions: Predictions | ItemScores, metric: str, clusters: Clusters, runs: Sequence[int]
) -> Iterator[np.ndarray]:
    """Of each of these runs, by place: the influence of every cluster on its score, [K]."""
    known = influence(predictions, metric, clusters)
    for run in runs:
        if known.part_RK is not None:
            yield known.part_RK[run]
        else:
            row_N, _ = _row(predictions, metric, clusters, run)
            yield np.bincount(known.cluster_N, row_N)


# A result is compared with each other one of its task: all ask for the same.
@lru_cache(maxsize=512)
def influence(predictions: Predictions | ItemScores, metric: str, clusters: Clusters) -> Influence:
    """The clusters of a result, and the means over its runs.

    A metric of several folds is the mean over them, as scores are.
    """
    cluster_N = predictions.speaker_N
    if cluster_N is None or clusters == "recordings":
        cluster_N = np.arange(predictions.size)
    size_K, runs = np.bincount(cluster_N), len(predictions.runs)
    part_RK = np.zeros((runs, len(size_K)), np.float32) if runs * len(size_K) <= KEPT else None
    mean_N, right_N = np.zeros(predictions.size), np.zeros(predictions.size)
    for run in range(runs):
        row_N, correct_N = _row(predictions, metric, clusters, run)
        mean_N += row_N
        right_N += correct_N
        if part_RK is not None:
            part_RK[run] = np.bincount(cluster_N, row_N)
    weight_K = np.bincount(cluster_N, _weights(predictions, metric))
    return Influence(cluster_N, weight_K, size_K, mean_N / runs, right_N / runs, part_RK)


def _row(
    predictions: Predictions | ItemScores, metric: str, clusters: Clusters, run: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of one run: every recording's influence, and whether (or how far) it is right."""
    if isinstance(predictions, ItemScores):
        score_N = predictions.score_RN[run]
        return (score_N - score_N.mean()) / len(score_N), score_N
    folds, classes = len(predictions.truth), len(predictions.class_names)
    rows, right = [], []
    for truth, said in zip(predictions.truth, predictions.runs[run]):
        truth_N, predicted_N = unpack(truth), unpack(said)
        rows.append(influences(truth_N, predicted_N, classes, metric) / folds)
        right.append(truth_N == predicted_N)
    row_N, right_N = np.concatenate(rows), np.concatenate(right)
    if clusters == "speakers" and metric != "top1" and _speakers_are_classes(predictions):
        # Weight within a class moves no mean over classes; another speaker is another class.
        weight_N, speaker_N = _weights(predictions, metric), predictions.speaker_N
        assert speaker_N is not None
        recall_K = np.bincount(speaker_N, weight_N * right_N) / np.bincount(speaker_N, weight_N)
        row_N = row_N + weight_N * (recall_K[speaker_N] - float(np.dot(weight_N, right_N)))
    return row_N, right_N


def _speakers_are_classes(predictions: Predictions) -> bool:
    """Whether every class is one speaker, as where speakers are to be told apart."""
    truth_N, speaker_N = np.concatenate(list(map(unpack, predictions.truth))), predictions.speaker_N
    assert speaker_N is not None
    together = len(np.unique(truth_N * (1 + speaker_N.max()) + speaker_N))
    return together == len(np.unique(truth_N)) == len(np.unique(speaker_N))


def _weights(predictions: Predictions | ItemScores, metric: str) -> np.ndarray:
    """How much of the score each recording decides, [N]: what one more that is right adds."""
    if isinstance(predictions, ItemScores):
        return np.full(predictions.size, 1 / predictions.size)
    folds, weights = len(predictions.truth), []
    for truth in predictions.truth:
        truth_N = unpack(truth)
        if metric == "top1":
            weights.append(np.full(len(truth_N), 1 / len(truth_N) / folds))
        else:  # of a mean over the classes, each recording of a class has its share
            support = np.bincount(truth_N)
            weights.append(1 / support[truth_N] / np.count_nonzero(support) / folds)
    return np.concatenate(weights)
