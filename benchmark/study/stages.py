"""The stages of a study: pretrainings, evaluations and measurements.

Each is named by what decides its outcome, and is done when its artefact is there.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.study.estimates import seconds_of_speech
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.downstream.heads import head_module, head_settings
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, parsed_json, write_json
from barlow_speech.upstream.data.packed import pack
from barlow_speech.upstream.model.checkpoint import load_tensors, save_tensors
from barlow_speech.upstream.model.readout import Part
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.run import pretrain
from barlow_speech.upstream.pretraining.trainer import TRAINING

log = logging.getLogger(__name__)

# Seconds on two cores, before the study itself has measured anything: of one step of one run of a
# linear head over a handful of layers; of one fit of a head that takes no steps; of the features of
# one pretraining, where two or three tasks share those of a thousand short recordings.
HEAD_STEP_S = 0.0004
FIT_S = 0.5
FEATURES_S = 4.0
# The order in which stages are done.
PRETRAINING, EVALUATION, END_TO_END, MEASUREMENT = KINDS = (
    "pretraining", "evaluation", "end-to-end evaluation", "measurement",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """Something to do: equal keys, digests of all that decides the outcome, are the same stage.

    Estimates of one `kind` are wrong by the same factor. `needs` must be done before.
    """

    kind: str
    title: str
    key: str
    needs: tuple[Stage, ...] = ()

    @abstractmethod
    def done(self, workspace: Workspace) -> bool:
        """Whether its artefact is there, so that `run` has nothing to do."""

    @abstractmethod
    def seconds(self, workspace: Workspace) -> float:
        """A rough estimate, before the study has measured anything of the kind."""

    @abstractmethod
    def run(self, workspace: Workspace) -> None:
        """Do it, or see that it is done."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Stage):
    """A stage that makes an encoder by a recipe."""

    recipe: Recipe
    encoder: Path


@dataclass(frozen=True, kw_only=True)
class Pretrain(Checkpoint):
    """A pretraining; its speech is packed into a folder that those on the same speech share."""

    packed: Path

    def done(self, workspace: Workspace) -> bool:
        """Whether the encoder is there, and the state of the training that some analyses need."""
        return self.encoder.is_file() and (self.encoder.parent / TRAINING).is_file()

    def seconds(self, workspace: Workspace) -> float:
        """By a step that is tried out."""
        speech_s = self.recipe.steps * self.recipe.batch * self.recipe.speech_s
        return speech_s * seconds_of_speech(self.recipe, workspace.device)

    def run(self, workspace: Workspace) -> None:
        """Pack the speech and train, from the last state that was saved."""
        folder, packed = self.encoder.parent, self.packed
        with workspace.alone(packed.parent / f"{packed.name}.lock", "packing speech"):
            pack(workspace.speech(self.recipe.data), packed)
        with workspace.alone(folder, self.title):
            pretrain(self.recipe, folder, packed=packed, resume=True, device=workspace.device)


@dataclass(frozen=True, kw_only=True)
class Reread(Checkpoint):
    """A pretraining's checkpoint with another readout."""

    base: Pretrain
    readout: tuple[Part, ...]

    def done(self, workspace: Workspace) -> bool:
        """Whether the encoder is there."""
        return self.encoder.is_file()

    def seconds(self, workspace: Workspace) -> float:
        """As long as a copy takes."""
        return 0.1

    def run(self, workspace: Workspace) -> None:
        """Write the checkpoint anew."""
        if not self.done(workspace):
            tensors, header = load_tensors(self.base.encoder)
            header["model"]["readout"] = [dataclasses.asdict(part) for part in self.readout]
            save_tensors(self.encoder, tensors, header)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """An upstream of the study on a task of a corpus.

    `upstream` is its label, and how it is evaluated where that is not as usual.
    """

    label: str
    upstream: str
    job: Job
    needs: tuple[Checkpoint, ...] = ()

    def done(self, workspace: Workspace) -> bool:
        """Whether every run is recorded, of the checkpoints that are there."""
        return all(need.done(workspace) for need in self.needs) and workspace.stored(self.job)

    def seconds(self, workspace: Workspace) -> float:
        """By the steps of its runs and of its search for a learning rate."""
        protocol = self.job.protocol
        rates = len(set(protocol.learning_rates))
        runs = protocol.runs + (rates * protocol.search_runs if rates > 1 else 0)
        if protocol.encoder and self.needs:
            speech_s = protocol.steps * protocol.batch * (protocol.encoder.crop_s or 2.0)
            # A pretraining sees two views of every second.
            return runs * speech_s * seconds_of_speech(self.needs[0].recipe, workspace.device) / 2
        settings = head_settings(protocol.head)
        steps = hasattr(head_module(protocol.head["name"]), "parts")
        fits = len(getattr(settings, "strengths", (1.0,)))
        of_one = protocol.steps * HEAD_STEP_S if steps else fits * FIT_S
        folds = protocol.split.folds if protocol.split else 1
        return max(1, len(self.needs)) * FEATURES_S + runs * folds * of_one

    def run(self, workspace: Workspace) -> None:
        """Train what is missing, and record it."""
        workspace.results([(self.label, self.job)])


@dataclass(frozen=True, kw_only=True)
class Measure(Stage):
    """A measurement of an analysis; its outcome is JSON that is kept in the study's folder.

    `identity` names all that decides the outcome, JSON-able; `features` is what is behind these
    names now, once what it needs is done. `estimate` is in seconds.
    """

    identity: Any
    features: Callable[[], list[str]]
    compute: Callable[[], Any]
    estimate: float

    def file(self, workspace: Workspace) -> Path:
        """Where the outcome is kept."""
        return workspace.folder / "measurements" / f"{self.key[:24]}.json"

    def done(self, workspace: Workspace) -> bool:
        """Whether the file is there and whole."""
        return self._stored(workspace) is not None

    def seconds(self, workspace: Workspace) -> float:
        """The analysis's estimate."""
        return self.estimate

    def run(self, workspace: Workspace) -> None:
        """Measure, unless the outcome is kept."""
        if not self.done(workspace):
            file = self.file(workspace)
            if file.exists():
                log.warning(
                    "%s is corrupt, or of other weights or recordings; recomputing %s",
                    file,
                    self.title,
                )
            of = {"identity": self.identity, "features": self.features()}
            write_json(file, {**of, "outcome": self.compute()})

    def outcome(self, workspace: Workspace) -> Any:
        """What was measured.

        Raises:
            BarlowSpeechError: it was not, or its file is corrupt.
        """
        stored = self._stored(workspace)
        if stored is None:
            raise BarlowSpeechError(
                f"{self.file(workspace)} holds no measurement; run the study again to make it."
            )
        return stored["outcome"]

    def _stored(self, workspace: Workspace) -> dict[str, Any] | None:
        """What the file holds, or None if that is not this measurement, whole.

        Of weights that are not there it cannot be told; they are made again first.
        """
        try:
            stored = parsed_json(self.file(workspace).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(stored, dict) and {"identity", "outcome"} <= set(stored)
        if not whole or digest(stored["identity"]) != digest(self.identity):
            return None
        if not all(need.done(workspace) for need in self.needs):
            return stored
        try:
            return stored if stored.get("features") == self.features() else None
        except BarlowSpeechError:  # of an upstream or a corpus that is not there yet
            return None
