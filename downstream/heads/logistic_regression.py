"""A quick look: logistic regression on standardised means, its regularisation picked on dev.

scikit-learn's solver runs to its optimum, so nothing depends on an initialisation or an order; only
a resampled training set or another pretraining makes runs differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

INPUT = "mean_std"
NOTE = "probe: logistic regression on standardised mean and standard deviation; C picked on dev"


@dataclass(frozen=True)
class Settings:
    """`strengths` is the grid of inverse regularisation, C of scikit-learn."""

    strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    iterations: int = 1000


def accuracy(labels_N: np.ndarray, predicted_N: np.ndarray) -> float:
    """The share of the labels that are predicted."""
    return float((labels_N == predicted_N).mean())


def fit(
    settings: Settings,
    train_NX: np.ndarray,
    labels_N: np.ndarray,
    dev_NX: np.ndarray,
    dev_labels_N: np.ndarray,
    seed: int,
    score: Callable[[np.ndarray, np.ndarray], float] = accuracy,
) -> Callable[[np.ndarray], np.ndarray]:
    """The classifier of the best score on dev; the strongest regularisation among equals."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best, best_score = None, -1.0
    for strength in sorted(settings.strengths):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=settings.iterations)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a weak C may not converge
            model.fit(train_NX, labels_N)
        on_dev = score(dev_labels_N, model.predict(dev_NX))
        if on_dev > best_score:
            best, best_score = model, on_dev
    assert best is not None
    return best.predict
