"""Which phone single states hold: a linear probe of every layer, frame by frame.

The probe is the logistic regression (softmax) of downstream/heads/logistic_regression.py, on one
state at a time; its strength is picked on dev, and so is the layer that stands for an upstream.
States of all upstreams are compared at the same moments, every 20 ms: of each the one that is
nearest in time (benchmark/features/frame_times.py).

Shapes: N recordings, F moments of all recordings, D width of a layer, R draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from barlow_speech.benchmark.features.extraction import Features, features
from barlow_speech.benchmark.features.frame_times import frame_centre, nearest_frames
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate, estimate, group_weights
from barlow_speech.downstream.heads.logistic_regression import Settings, fit
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording

HOP = 320  # samples between the moments, 20 ms: where the states of a 20 ms encoder are
STRENGTHS = (0.001, 0.01, 0.1)  # C of scikit-learn, on standardised states
ITERATIONS = 50  # L-BFGS; of one layer, a third of train: 0.35 points on dev from convergence
DRAWS = 1000  # of the test recordings' speakers
RARE = 0.005  # of the frames of train: phones with fewer are one class, OTHER
OTHER = "other"
ALL = "all"  # layers, one behind the other
EACH = "each"


@dataclass(frozen=True)
class FrameTask:
    """Recordings with the phone of every moment: `phones_N` has an array [T] of each recording."""

    recordings: Sequence[Recording]
    listed_in: Path
    phones_N: Sequence[np.ndarray]
    splits_N: np.ndarray
    speakers_N: np.ndarray
    silence: str

    def rows(self, split: str) -> np.ndarray:
        """The recordings of a split."""
        return np.flatnonzero(self.splits_N == split)


@dataclass(frozen=True)
class LayerProbe:
    """The probe of one layer: accuracies, as fractions, at the strength that is best on dev.

    `right_N` and `sounding_right_N` count the moments of each test recording that are right: all,
    and those that are no silence.
    """

    layer: str
    width: int
    strength: float
    dev: float
    right_N: np.ndarray
    sounding_right_N: np.ndarray


@dataclass(frozen=True)
class Scale:
    """Moments of each test recording, `sounding_N` those without silence, and draws of them."""

    frames_N: np.ndarray
    sounding_N: np.ndarray
    weights_RN: np.ndarray

    def accuracy(self, right_N: np.ndarray, less_N: np.ndarray | float = 0.0) -> Estimate:
        """Of all moments, with its spread over draws of speakers; or a paired difference."""
        return self._share(right_N - less_N, self.frames_N)

    def sounding(self, right_N: np.ndarray, less_N: np.ndarray | float = 0.0) -> Estimate:
        """Of the moments that are no silence."""
        return self._share(right_N - less_N, self.sounding_N)

    def _share(self, right_N: np.ndarray, of_N: np.ndarray) -> Estimate:
        draws_R = (self.weights_RN @ right_N) / (self.weights_RN @ of_N)
        return estimate(right_N.sum() / of_N.sum(), draws_R)


def class_names(task: FrameTask) -> list[str]:
    """The classes, most frequent first: phones with 0.5 % of the frames of train, and `OTHER`."""
    counts = Counter(np.concatenate([task.phones_N[row] for row in task.rows("train")]).tolist())
    least = RARE * sum(counts.values())
    return [*(name for name, count in counts.most_common() if count >= least), OTHER]


def scale(task: FrameTask) -> Scale:
    """What the test recordings of a task are."""
    rows = task.rows("test")
    return Scale(
        np.array([len(task.phones_N[row]) for row in rows]),
        np.array([(task.phones_N[row] != task.silence).sum() for row in rows]),
        group_weights(task.speakers_N[rows], DRAWS),
    )


@dataclass(frozen=True)
class Probed:
    """The probes of an upstream; `centre` is that of its frames. `seed` drew random weights."""

    upstream: str
    seed: int | None
    rate: int
    centre: int
    layers: tuple[LayerProbe, ...]

    @property
    def label(self) -> str:
        """Its name, with the seed of random weights."""
        return self.upstream + ("" if self.seed is None else f", seed {self.seed}")

    @property
    def best(self) -> LayerProbe:
        """The layer that stands for it: the best on dev."""
        return max(self.layers, key=lambda one: one.dev)


def check_layers(upstream: Upstream, layers: Sequence[str]) -> None:
    """Refuse numbers of layers that an upstream does not have, by what it makes of 0.1 s.

    Raises:
        BarlowSpeechError: it has no such layer.
    """
    wave = torch.full((SAMPLE_RATE // 10,), 0.01, device=upstream.device)
    _chosen(layers, len(upstream.layers([wave])), upstream.name)


def probe_upstream(
    upstream: Upstream, seed: int | None, task: FrameTask, cache: Path, layers: Sequence[str]
) -> Probed:
    """The probes of `layers`: numbers from 1, `EACH` and `ALL`.

    Raises:
        BarlowSpeechError: it has no such layer or no frames, or as `features`.
    """
    if upstream.rate > SAMPLE_RATE:
        raise BarlowSpeechError(
            f"upstream '{upstream.name}' has no states of single moments; leave it out, or "
            "evaluate its embedding by run_downstream.py -s embedding."
        )
    kept = features(upstream, list(task.recordings), cache, task.listed_in, "frames")
    chosen = _chosen(layers, kept.shape[0], upstream.name)
    centre = frame_centre(upstream)
    probes = []
    with progress(len(chosen) * len(STRENGTHS), f"phones of {upstream.name}", "probe") as bar:
        for name, places in chosen.items():
            x = {
                split: _states(kept, task, split, upstream.rate, centre, places)
                for split in ("train", "dev", "test")
            }
            probes.append(probe_states(name, x, task, bar.update))
    return Probed(upstream.name, seed, upstream.rate, centre, tuple(probes))


def probe_states(
    layer: str, x: Mapping[str, np.ndarray], task: FrameTask, step: Callable[[], Any] = int
) -> LayerProbe:
    """The probe of states [F, D] by split; `step` is called after each strength."""
    names = {name: number for number, name in enumerate(class_names(task))}
    other = names[OTHER]
    phones = {split: [task.phones_N[row] for row in task.rows(split)] for split in x}
    y = {
        split: np.array([names.get(phone, other) for phone in np.concatenate(parts).tolist()])
        for split, parts in phones.items()
    }
    fitted = []
    for strength in STRENGTHS:
        settings = Settings((strength,), ITERATIONS)
        predict = fit(settings, x["train"], y["train"], x["dev"], y["dev"], 0)
        fitted.append((float(np.mean(predict(x["dev"]) == y["dev"])), strength, predict))
        step()
    dev, strength, predict = max(fitted, key=lambda one: one[0])
    ends = np.cumsum([len(part) for part in phones["test"]])[:-1]
    right = np.split(predict(x["test"]) == y["test"], ends)
    sounding = [part != task.silence for part in phones["test"]]
    return LayerProbe(
        layer,
        x["train"].shape[1],
        strength,
        dev,
        np.array([one.sum() for one in right]),
        np.array([(one & heard).sum() for one, heard in zip(right, sounding)]),
    )


def _chosen(layers: Sequence[str], count: int, label: str) -> dict[str, list[int]]:
    """The places of the layers that each probe sees, by its name."""
    result: dict[str, list[int]] = {}
    for name in layers:
        if name == EACH:
            result.update({f"layer {one + 1}": [one] for one in range(count)})
        elif name == ALL:
            if count > 1:
                result["all layers"] = list(range(count))
        elif 1 <= int(name) <= count:
            result[f"layer {int(name)}"] = [int(name) - 1]
        else:
            raise BarlowSpeechError(
                f"upstream '{label}' has layers 1 to {count}, and no layer {name}."
            )
    return result or {"layer 1": [0]}


def _states(
    kept: Features, task: FrameTask, split: str, rate: int, centre: int, places: list[int]
) -> np.ndarray:
    """[F, D] in single precision, at the moments of a split."""
    parts = []
    rows = task.rows(split)
    for row, frames_TLD in zip(rows, kept.frames(rows)):
        moments = HOP * np.arange(len(task.phones_N[row]))
        near = nearest_frames(moments, rate, centre, len(frames_TLD))
        parts.append(frames_TLD[near][:, places].flatten(1).float().numpy())
    return np.concatenate(parts)
