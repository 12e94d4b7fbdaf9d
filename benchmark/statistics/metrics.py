"""What a set of predictions is worth: top-1, macro recall (UAR), macro F1, confusion.

A metric is one function of `Counts` under `@metric`: tables, flags and the choice of the best step
on dev know it from then on, and records of before have it too, since it is computed when they are
read. Shapes: R runs, N recordings, C classes; `...` is R or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every command line names the metrics, and most end before they count anything
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """What one run predicted, as arrays [N], or several on a device, as tensors [R, N].

    Counted only when a metric asks, and never as a whole matrix: of many classes that takes
    gigabytes.
    """

    truth_N: Any
    predicted: Any
    classes: int

    @cached_property
    def support(self) -> Any:
        """Recordings of each class [C]."""
        return self._bincount(self.truth_N)

    @cached_property
    def true_positives(self) -> Any:
        """Those of them that were predicted as such [..., C]."""
        right = self.predicted == self.truth_N
        if self._several:
            return self._zeros_RC.index_add_(1, self.truth_N, right.double())
        return self._bincount(self.truth_N[right])

    @cached_property
    def predicted_count(self) -> Any:
        """How often each class was predicted [..., C]."""
        if self._several:
            ones_RN = self.predicted.new_ones(self.predicted.shape).double()
            return self._zeros_RC.scatter_add_(1, self.predicted, ones_RN)
        return self._bincount(self.predicted)

    @property
    def _several(self) -> bool:
        return self.predicted.ndim == 2

    @property
    def _zeros_RC(self) -> Tensor:
        zeros_RC: Tensor = self.predicted.new_zeros(len(self.predicted), self.classes).double()
        return zeros_RC

    def _bincount(self, x: Any) -> Any:
        if hasattr(x, "bincount"):
            return x.bincount(minlength=self.classes).double()
        import numpy as np

        return np.bincount(x, minlength=self.classes)


Function = Callable[[Counts], Any]

METRICS: dict[str, str] = {}  # name → what a reader calls it
_FUNCTIONS: dict[str, Function] = {}


def metric(title: str) -> Callable[[Function], Function]:
    """Make a function a metric under its own name: from 0 to 1, better the higher, one a run."""

    def register(function: Function) -> Function:
        METRICS[function.__name__] = title
        _FUNCTIONS[function.__name__] = function
        return function

    return register


@metric("top-1 accuracy")
def top1(counts: Counts) -> Any:
    """The share of the recordings that are right."""
    return counts.true_positives.sum(-1) / counts.support.sum()


@metric("macro recall")
def uar(counts: Counts) -> Any:
    """Mean recall of the classes that the truth has: scikit-learn's balanced_accuracy_score."""
    there = counts.support > 0
    return (counts.true_positives[..., there] / counts.support[there]).mean(-1)


@metric("macro F1")
def f1(counts: Counts) -> Any:
    """Mean F1 of the classes that the truth has.

    That is scikit-learn's f1_score(average="macro", labels=those); without `labels` it counts a
    class that was only predicted as 0.
    """
    there = counts.support > 0
    among = counts.support[there] + counts.predicted_count[..., there]
    return (2 * counts.true_positives[..., there] / among).mean(-1)


def metrics(truth_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> dict[str, float]:
    """Every metric of one run."""
    counts = Counts(truth_N, predicted_N, classes)
    return {name: float(function(counts)) for name, function in _FUNCTIONS.items()}


def score(predicted_RN: Tensor, truth_N: Tensor, classes: int, metric: str) -> Tensor:
    """One metric of every run, [R] in float64, on the tensors' device."""
    scores_R: Tensor = _FUNCTIONS[metric](Counts(truth_N, predicted_RN, classes))
    return scores_R


def influences(
    truth_N: np.ndarray, predicted_N: np.ndarray, classes: int, metric: str
) -> np.ndarray:
    """How much more weight on each recording moves a metric of one run, [N]; their sum is 0.

    The derivatives of the metric by the weights of the recordings, all 1 (the infinitesimal
    jackknife: Jaeckel 1972; Efron, "The jackknife, the bootstrap and other resampling plans",
    1982, chapter 6). A metric knows recordings by its `Counts` alone, so that they follow from its
    derivatives by these, and a new metric has them too. Of accuracy it is (right − accuracy) / N.
    """
    if metric == "top1":  # what most tables are of, without the seconds that torch takes to load
        right_N = truth_N == predicted_N
        return (right_N - right_N.mean()) / len(truth_N)
    import numpy as np
    import torch

    plain, weighted = (Counts(truth_N, predicted_N, classes) for _ in range(2))
    names = ("true_positives", "support", "predicted_count")
    counts = [torch.tensor(getattr(plain, name), dtype=torch.float64) for name in names]
    leaves = [one.requires_grad_() for one in counts]
    weighted.__dict__.update(zip(names, leaves))  # where cached properties keep what they counted
    with torch.enable_grad():
        value = _FUNCTIONS[metric](weighted)
        found = torch.autograd.grad(value, leaves, allow_unused=True)
    right, support, said = (np.zeros(classes) if one is None else one.numpy() for one in found)
    return (
        np.where(predicted_N == truth_N, right[truth_N], 0.0)
        + support[truth_N]
        + (said[predicted_N])
    )


def confusion_matrix(truth_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts [truth, predicted], C × C."""
    import numpy as np

    cells = np.bincount(classes * truth_N.astype(np.int64) + predicted_N, minlength=classes**2)
    return cells.reshape(classes, classes)
