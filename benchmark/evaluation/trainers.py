"""What trains the runs of a job: heads on frozen features, or encoder and head together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.evaluation.protocol import Run, RunPlan, Training
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Frames, Inputs, Means
from barlow_speech.benchmark.features.extraction import Features
from barlow_speech.downstream.corpus import SPLITS, Examples
from barlow_speech.upstream.common.errors import BarlowSpeechError


class Trainer(Protocol):
    """Trains runs of one pretraining on one fold."""

    def train(
        self, plans: Sequence[RunPlan], on_step: Callable[[float], Any], with_test: bool
    ) -> list[Run]:
        """One run for each plan, in their order; none depends on the others.

        `on_step` is called with the steps that were made, as a share of those of all plans
        together; predictions for test are made if `with_test`.

        Raises:
            BarlowSpeechError: the loss of a run is not finite, and test is asked for.
        """
        ...


@dataclass(frozen=True)
class HeadTrainer:
    """Trains heads on the frozen features of a fold, all runs side by side: a `Trainer`."""

    head: dict[str, Any]
    splits: dict[str, Split]
    classes: int
    training: Training

    def train(
        self, plans: Sequence[RunPlan], on_step: Callable[[float], Any], with_test: bool
    ) -> list[Run]:
        """See `Trainer`."""
        return train_runs(
            self.head,
            self.splits["train"],
            self.splits["dev"],
            self.splits["test"] if with_test else None,
            self.classes,
            self.training,
            plans,
            on_step,
        )


def head_trainer(job: Job, fold: Examples, features: Features, device: str) -> HeadTrainer:
    """The trainer of a job's heads on one fold."""
    splits = {
        split: Split(
            _inputs(job, features, fold.rows[split], torch.device(device)),
            torch.from_numpy(fold.labels[split]).to(device),
        )
        for split in SPLITS
    }
    return HeadTrainer(job.protocol.head, splits, len(fold.classes), job.protocol.training())


def _inputs(job: Job, features: Features, rows: np.ndarray, device: torch.device) -> Inputs:
    """The recordings of a split as the protocol's head sees them."""
    if job.selection == "embedding":
        return Means(features.embeddings(rows).to(device))
    kind, layers = job.input, features.shape[0]
    chosen = slice(None) if job.layer is None else slice(job.layer % layers, job.layer % layers + 1)
    if kind == "frames":
        return Frames([one[:, chosen] for one in features.frames(rows)], device)
    return Means(features.means(rows, with_std=kind == "mean_std")[:, chosen].to(device))


def check_selection(job: Job, layers: int) -> None:
    """Refuse what the head of a job cannot see of an upstream with so many layers.

    Raises:
        BarlowSpeechError: there is no such layer, or an embedding where the head needs frames.
    """
    if job.selection == "embedding":
        if job.input == "frames":
            raise BarlowSpeechError(
                f"the head '{job.protocol.head['name']}' reads frames, of which an embedding "
                "has none; use -s hidden_states, or another head."
            )
    elif job.layer is not None and not -layers <= job.layer < layers:
        raise BarlowSpeechError(
            f"there is no layer {job.layer}; upstream '{job.upstream}' has {layers}, from 0."
        )
