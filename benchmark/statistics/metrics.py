"""What a set of predictions is worth: top-1, macro recall (UAR), macro F1, confusion.

Shapes: R runs, N utterances, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

METRICS = {"top1": "top-1 accuracy", "uar": "macro recall", "f1": "macro F1"}


def confusion_matrix(truth_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts [truth, predicted], C × C."""
    cells = np.bincount(classes * truth_N.astype(np.int64) + predicted_N, minlength=classes**2)
    return cells.reshape(classes, classes)


def metrics(truth_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> dict[str, float]:
    """Every metric of `METRICS` for one run, from 0 to 1.

    `uar` and `f1` are means over the classes that the truth has, as scikit-learn's
    balanced_accuracy_score and f1_score(average="macro", labels=those classes, zero_division=0).
    """
    # Three counts, and not the whole matrix: of many classes that takes gigabytes.
    right, there, said = (
        np.bincount(one, minlength=classes)
        for one in (truth_N[truth_N == predicted_N], truth_N, predicted_N)
    )
    present = there > 0
    return {
        "top1": float(right.sum() / there.sum()),
        "uar": float(np.mean(right[present] / there[present])),
        "f1": float(np.mean(2 * right[present] / (there + said)[present])),
    }


def score(predicted_RN: Tensor, truth_N: Tensor, classes: int, metric: str) -> Tensor:
    """One metric of every run, [R] in float64, on the tensors' device."""
    right_RN = predicted_RN == truth_N
    if metric == "top1":
        return right_RN.sum(dim=1).double() / len(truth_N)
    if metric == "uar":
        return recalls(right_RN, truth_N, classes)
    values = [
        metrics(truth_N.cpu().numpy(), one.cpu().numpy(), classes)[metric] for one in predicted_RN
    ]
    return torch.tensor(values, dtype=torch.float64, device=predicted_RN.device)


def recalls(right_RN: Tensor, truth_N: Tensor, classes: int) -> Tensor:
    """The mean recall [R] of the classes that the truth has."""
    there_C = torch.bincount(truth_N, minlength=classes)
    right_RC = torch.zeros(len(right_RN), classes, dtype=torch.float64, device=right_RN.device)
    right_RC.index_add_(1, truth_N, right_RN.double())
    present = there_C > 0
    return (right_RC[:, present] / there_C[present]).mean(dim=1)
