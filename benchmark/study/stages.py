"""The works of a study: pretrainings, cells and measurements, each named by what decides it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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
from barlow_speech.upstream.pretraining.trainer import ENCODER

log = logging.getLogger(__name__)

# Seconds of one step of one run of a linear head over a handful of layers, on two cores: what
# `bench_harness` measures, before the study itself has measured anything.
HEAD_STEP_S = 0.0004
# The order in which works are done.
KINDS = ("pretraining", "cell", "end-to-end cell", "measurement")


class Stage(Protocol):
    """Something to do: equal keys are the same work, whoever asks for it.

    `needs` are the works that must be done before.
    """

    @property
    def kind(self) -> str:
        """One of `KINDS`: works whose estimates are wrong by the same factor."""
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

    @property
    def kind(self) -> str:
        """See `Work`."""
        return "pretraining"

    @property
    def title(self) -> str:
        """See `Work`."""
        seed = f", seed {self.recipe.seed}" if self.recipe.seed else ""
        return f"pretrain {self.label}{seed}"

    @property
    def key(self) -> str:
        """See `Work`."""
        return digest(["pretraining", str(self.folder), self.recipe.as_dict(), self.speech])

    @property
    def needs(self) -> tuple[Stage, ...]:
        """See `Work`."""
        return ()

    @property
    def encoder(self) -> Path:
        """Its checkpoint."""
        return self.folder / ENCODER

    def packed(self, workspace: Workspace) -> Path:
        """The folder of its speech, which pretrainings on the same speech share."""
        source = digest([self.recipe.as_dict()["data"], self.speech])
        return workspace.folder / "speech" / source[:12]

    def seconds(self, workspace: Workspace) -> float:
        """See `Work`."""
        recipe = self.recipe
        per_second = seconds_of_speech(recipe, workspace.device)
        return recipe.steps * recipe.batch * recipe.crop_s * per_second

    def run(self, workspace: Workspace) -> None:
        """See `Work`."""
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

    @property
    def kind(self) -> str:
        """See `Work`."""
        return "pretraining"

    @property
    def title(self) -> str:
        """See `Work`."""
        return f"readout of {self.label}"

    @property
    def key(self) -> str:
        """See `Work`."""
        return digest(["readout", self.base.key, [dataclasses.asdict(one) for one in self.readout]])

    @property
    def needs(self) -> tuple[Stage, ...]:
        """See `Work`."""
        return (self.base,)

    @property
    def recipe(self) -> Recipe:
        """That of the pretraining."""
        return self.base.recipe

    @property
    def encoder(self) -> Path:
        """Its checkpoint."""
        return self.base.folder / f"readout-{self.key[:10]}.safetensors"

    def seconds(self, workspace: Workspace) -> float:
        """See `Work`."""
        return 0.1

    def run(self, workspace: Workspace) -> None:
        """See `Work`."""
        tensors, header = load_tensors(self.base.encoder)
        header["model"]["readout"] = [dataclasses.asdict(one) for one in self.readout]
        save_tensors(self.encoder, tensors, header)


@dataclass(frozen=True)
class Evaluate:
    """A cell: an upstream of the study on a task of a corpus."""

    label: str
    job: Job
    corpus: str  # as tables call it
    needs: tuple[Pretrain | Reread, ...] = ()

    @property
    def kind(self) -> str:
        """See `Work`."""
        return "end-to-end cell" if self.job.protocol.encoder else "cell"

    @property
    def who(self) -> str:
        """The upstream, and how it is judged where that is not as usual."""
        protocol = self.job.protocol
        way = ", trained end to end" if protocol.encoder else ""
        share = protocol.label_fraction
        seeds = ", all its pretrainings" if "pretrain_seed" in protocol.varies else ""
        return f"{self.label}{way}{seeds}" + (f", {100 * share:g} % of labels" if share < 1 else "")

    @property
    def title(self) -> str:
        """See `Work`."""
        return f"{self.who} on {self.job.task} of {self.corpus}"

    @property
    def key(self) -> str:
        """See `Work`."""
        job, protocol = self.job, self.job.protocol
        where = [job.upstream, job.task, job.corpus, str(job.selection), job.layer]
        return digest(["cell", where, protocol.identity(), protocol.runs])

    def seconds(self, workspace: Workspace) -> float:
        """See `Work`."""
        protocol = self.job.protocol
        rates = len(set(protocol.learning_rates))
        runs = protocol.runs + (rates * protocol.search_runs if rates > 1 else 0)
        if protocol.encoder and self.needs:
            speech_s = protocol.steps * protocol.batch * (protocol.encoder.crop_s or 2.0)
            # A pretraining sees two views of every second.
            return runs * speech_s * seconds_of_speech(self.needs[0].recipe, workspace.device) / 2
        return runs * protocol.steps * HEAD_STEP_S

    def run(self, workspace: Workspace) -> None:
        """See `Work`."""
        workspace.cells([(self.label, self.job)])


@dataclass(frozen=True)
class Measure:
    """A measurement of an analysis; its outcome is JSON that is kept in the study's folder.

    `identity` is all that decides the outcome, JSON-able; `estimate` is in seconds.
    """

    title: str
    identity: Any
    compute: Callable[[Workspace], Any]
    needs: tuple[Pretrain, ...] = ()
    estimate: float = 5.0

    @property
    def kind(self) -> str:
        """See `Work`."""
        return "measurement"

    @property
    def key(self) -> str:
        """See `Work`."""
        return digest(["measurement", self.identity])

    def file(self, workspace: Workspace) -> Path:
        """Where the outcome is kept."""
        return workspace.folder / "measurements" / f"{self.key[:24]}.json"

    def seconds(self, workspace: Workspace) -> float:
        """See `Work`."""
        return self.estimate

    def run(self, workspace: Workspace) -> None:
        """See `Work`."""
        file = self.file(workspace)
        if file.exists() and self._read(file) is None:
            log.warning("%s is damaged; measuring %s again", file, self.title)
        if self._read(file) is None:
            write_json(file, {"identity": self.identity, "outcome": self.compute(workspace)})

    def outcome(self, workspace: Workspace) -> Any:
        """What was measured.

        Raises:
            BarlowSpeechError: it was not, or its file is damaged.
        """
        stored = self._read(self.file(workspace))
        if stored is None:
            raise BarlowSpeechError(
                f"{self.file(workspace)} holds no measurement; run the study again to make it."
            )
        return stored["outcome"]

    def _read(self, file: Path) -> dict[str, Any] | None:
        """What the file holds, or None if that is not this measurement, whole."""
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(stored, dict) and {"identity", "outcome"} <= set(stored)
        return stored if whole and digest(stored["identity"]) == digest(self.identity) else None
