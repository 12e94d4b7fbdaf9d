"""The stages of a study: pretrainings, evaluations and measurements.

Each is named by what decides its outcome, and is done when its artefact is there.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.study.estimates import seconds_of_speech
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, write_json
from barlow_speech.upstream.data.packed import chosen, pack
from barlow_speech.upstream.model.checkpoint import load_tensors, save_tensors
from barlow_speech.upstream.model.readout import Part
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.run import pretrain
from barlow_speech.upstream.pretraining.trainer import ENCODER, TRAINING

log = logging.getLogger(__name__)

# Seconds of one step of one run of a linear head over a handful of layers, on two cores, before
# the study itself has measured anything.
HEAD_STEP_S = 0.0004
# The order in which stages are done.
PRETRAINING, EVALUATION, END_TO_END, MEASUREMENT = KINDS = (
    "pretraining", "evaluation", "end-to-end evaluation", "measurement",
)  # fmt: skip


class Stage(Protocol):
    """Something to do: equal keys are the same stage, whoever asks for it."""

    @property
    def kind(self) -> str:
        """One of `KINDS`: stages whose estimates are wrong by the same factor."""
        ...

    @property
    def title(self) -> str:
        """What a reader sees of it."""
        ...

    @property
    def key(self) -> str:
        """A digest of all that decides its outcome."""
        ...

    @property
    def needs(self) -> tuple[Stage, ...]:
        """What must be done before."""
        ...

    def done(self, workspace: Workspace) -> bool:
        """Whether its artefact is there, so that `run` has nothing to do."""
        ...

    def seconds(self, workspace: Workspace) -> float:
        """A rough estimate, before the study has measured anything of the kind."""
        ...

    def run(self, workspace: Workspace) -> None:
        """Do it, or see that it is done."""
        ...


@dataclass(frozen=True)
class Pretrain:
    """A pretraining; `label` is the upstream that first asked for it."""

    label: str
    recipe: Recipe
    folder: Path
    speech: str  # the data root, as text

    kind: ClassVar[str] = PRETRAINING
    needs: ClassVar[tuple[Stage, ...]] = ()

    @property
    def title(self) -> str:
        """Its upstream and its seed."""
        seed = f", seed {self.recipe.seed}" if self.recipe.seed else ""
        return f"pretrain {self.label}{seed}"

    @cached_property
    def key(self) -> str:
        """Of recipe, speech and place."""
        return digest(["pretraining", str(self.folder), self.recipe.as_dict(), self.speech])

    @property
    def encoder(self) -> Path:
        """The file."""
        return self.folder / ENCODER

    def packed(self, workspace: Workspace) -> Path:
        """The folder of its speech, which pretrainings on the same speech share."""
        source = digest([self.recipe.as_dict()["data"], self.speech])
        return workspace.folder / "speech" / source[:12]

    def done(self, workspace: Workspace) -> bool:
        """Whether the encoder is there, and the state of the training that some analyses need."""
        return self.encoder.is_file() and (self.folder / TRAINING).is_file()

    def seconds(self, workspace: Workspace) -> float:
        """By a step that is tried out."""
        speech_s = self.recipe.steps * self.recipe.batch * self.recipe.crop_s
        return speech_s * seconds_of_speech(self.recipe, workspace.device)

    def run(self, workspace: Workspace) -> None:
        """Pack the speech and train, from the last state that was saved."""
        packed = self.packed(workspace)
        with workspace.alone(packed.parent / f"{packed.name}.lock", "packing speech"):
            pack(chosen(self.recipe.data, workspace.speech), packed)
        with workspace.alone(self.folder, self.title):
            pretrain(self.recipe, self.folder, packed=packed, resume=True, device=workspace.device)


@dataclass(frozen=True)
class Reread:
    """A pretraining's checkpoint with another readout."""

    label: str
    base: Pretrain
    readout: tuple[Part, ...]

    kind: ClassVar[str] = PRETRAINING

    @property
    def title(self) -> str:
        """Its upstream."""
        return f"readout of {self.label}"

    @cached_property
    def key(self) -> str:
        """Of the pretraining and the readout."""
        return digest(["readout", self.base.key, self._readout])

    @property
    def needs(self) -> tuple[Stage, ...]:
        """The pretraining."""
        return (self.base,)

    @property
    def recipe(self) -> Recipe:
        """That of the pretraining."""
        return self.base.recipe

    @property
    def encoder(self) -> Path:
        """The file."""
        return self.base.folder / f"readout-{self.key[:10]}.safetensors"

    @property
    def _readout(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(part) for part in self.readout]

    def done(self, workspace: Workspace) -> bool:
        """Whether the encoder is there."""
        return self.encoder.is_file()

    def seconds(self, workspace: Workspace) -> float:
        """As long as a copy takes."""
        return 0.1

    def run(self, workspace: Workspace) -> None:
        """Write the checkpoint anew."""
        if self.done(workspace):
            return
        tensors, header = load_tensors(self.base.encoder)
        header["model"]["readout"] = self._readout
        save_tensors(self.encoder, tensors, header)


Checkpoint = Pretrain | Reread


@dataclass(frozen=True)
class Evaluate:
    """An upstream of the study on a task of a corpus."""

    label: str
    job: Job
    corpus: str  # as tables call it
    needs: tuple[Checkpoint, ...] = ()

    @property
    def kind(self) -> str:
        """Trainings of whole encoders take far longer than of heads."""
        return END_TO_END if self.job.protocol.encoder else EVALUATION

    @property
    def upstream(self) -> str:
        """The upstream, and how it is evaluated where that is not as usual."""
        protocol = self.job.protocol
        way = ", trained end to end" if protocol.encoder else ""
        share = protocol.label_fraction
        seeds = ", all its pretrainings" if "pretrain_seed" in protocol.varies else ""
        return f"{self.label}{way}{seeds}" + (f", {100 * share:g} % of labels" if share < 1 else "")

    @property
    def title(self) -> str:
        """Upstream, task and corpus."""
        return f"{self.upstream} on {self.job.task} of {self.corpus}"

    @cached_property
    def key(self) -> str:
        """Of the job."""
        job, protocol = self.job, self.job.protocol
        where = [job.upstream, job.task, job.corpus, str(job.selection), job.layer]
        return digest(["cell", where, protocol.identity(), protocol.runs])

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
        return runs * protocol.steps * HEAD_STEP_S

    def run(self, workspace: Workspace) -> None:
        """Train what is missing, and record it."""
        workspace.results([(self.label, self.job)])


@dataclass(frozen=True)
class Measure:
    """A measurement of an analysis; its outcome is JSON that is kept in the study's folder.

    `identity` is all that decides the outcome, JSON-able; `estimate` is in seconds.
    """

    title: str
    identity: Any
    compute: Callable[[], Any]
    needs: tuple[Checkpoint, ...] = ()
    estimate: float = 5.0

    kind: ClassVar[str] = MEASUREMENT

    @cached_property
    def key(self) -> str:
        """Of the identity."""
        return digest(["measurement", self.identity])

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
        if self.done(workspace):
            return
        file = self.file(workspace)
        if file.exists():
            log.warning("%s is corrupt; recomputing %s", file, self.title)
        write_json(file, {"identity": self.identity, "outcome": self.compute()})

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
        """What the file holds, or None if that is not this measurement, whole."""
        try:
            stored = json.loads(self.file(workspace).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(stored, dict) and {"identity", "outcome"} <= set(stored)
        return stored if whole and digest(stored["identity"]) == digest(self.identity) else None
