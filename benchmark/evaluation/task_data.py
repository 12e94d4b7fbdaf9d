"""A task on a corpus: its folds, what it fixes, and what may leak between its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from barlow_speech.benchmark.evaluation.head_training import Split
from barlow_speech.benchmark.evaluation.inputs import Frames, Inputs, Means
from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.benchmark.features.extraction import Features
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples
from barlow_speech.downstream.heads import Input, head_module
from barlow_speech.downstream.task import Task
from barlow_speech.upstream.common.errors import BarlowSpeechError


@dataclass(frozen=True)
class TaskData:
    """A task on a corpus, checked: its folds (mostly one); what it fixes and what may leak."""

    task: Task
    corpus: Corpus
    folds: tuple[Examples, ...]
    notes: tuple[str, ...]


ON_DEV = "scores are of dev, which also chose the head's settings: to compare trials, no results"


def _input(protocol: Protocol) -> Input:
    return head_module(protocol.head["name"]).INPUT


def _on_dev(piece: TaskData) -> TaskData:
    """The piece without its test recordings: dev is judged in their place."""
    folds = [
        replace(
            fold,
            rows={**fold.rows, "test": fold.rows["dev"]},
            labels={**fold.labels, "test": fold.labels["dev"]},
        )
        for fold in piece.folds
    ]
    return replace(piece, folds=tuple(folds))


def _identical(piece: TaskData, found: Features, allowed: bool) -> list[str]:
    """Recordings of one split whose samples are, bit for bit, those of a recording of another."""
    for fold in piece.folds:
        seen: dict[int, tuple[str, int]] = {}
        for split in SPLITS:
            for row in fold.rows[split].tolist():
                other, at = seen.setdefault(int(found.audio_N[row]), (split, row))
                if other == split:
                    continue
                recordings = piece.corpus.recordings
                sentence = (
                    f"{recordings[at]} in {other} is, to the bit, {recordings[row]} in {split}"
                )
                if not allowed:
                    raise BarlowSpeechError(
                        f"corpus '{piece.corpus.name}', task '{piece.task.name}': {sentence}; drop "
                        f"one of them from {piece.corpus.manifest.file}, or add --allow-leakage."
                    )
                return [sentence]
    return []


def _splits(found: Features, fold: Examples, job: Job, device: str) -> dict[str, Split]:
    return {
        split: Split(
            _inputs(found, fold.rows[split], job, torch.device(device)),
            torch.from_numpy(fold.labels[split]).to(device),
        )
        for split in SPLITS
    }


def _inputs(found: Features, rows: np.ndarray, job: Job, device: torch.device) -> Inputs:
    """The recordings of a split as the protocol's head sees them."""
    kind, layers = _input(job.protocol), found.shape[0]
    _check_selection(job, layers)
    if job.selection == "embedding":
        return Means(found.embeddings(rows).to(device))
    chosen = slice(None) if job.layer is None else slice(job.layer % layers, job.layer % layers + 1)
    if kind == "frames":
        return Frames([one[:, chosen] for one in found.frames(rows)], device)
    return Means(found.means(rows, with_std=kind == "mean_std")[:, chosen].to(device))


def _check_selection(job: Job, layers: int) -> None:
    if job.selection == "embedding":
        if _input(job.protocol) == "frames":
            raise BarlowSpeechError(
                f"the head '{job.protocol.head['name']}' looks at frames, of which an embedding "
                "has none; use -s hidden_states, or another head."
            )
    elif job.layer is not None and not -layers <= job.layer < layers:
        raise BarlowSpeechError(
            f"there is no layer {job.layer}; upstream '{job.upstream}' has {layers}, from 0."
        )


def _most_frequent(folds: Sequence[Examples]) -> list[int]:
    """The most frequent class of the train split of each fold; always saying it is chance."""
    return [int(np.bincount(fold.labels["train"]).argmax()) for fold in folds]
