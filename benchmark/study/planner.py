"""From a study to its works, and from the works to a plan: in order, with what is done and left."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.features.extraction import Selection
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.study.config import Study
from barlow_speech.benchmark.study.stages import KINDS, Evaluate, Pretrain, Reread, Stage
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.text import printable, shortened
from barlow_speech.upstream.data.packed import chosen

RANDOM = "barlow_speech_random"


@dataclass(frozen=True)
class Planner:
    """A study in its workshop: what analyses ask for their works, and for the outcomes."""

    study: Study
    workspace: Workspace

    def upstreams(self, labels: Sequence[str], where: str) -> list[str]:
        """These labels, or all of the study where there is none.

        Raises:
            BarlowSpeechError: one is no upstream of the study.
        """
        for label in labels:
            self.study.member(label, where)
        return list(labels or self.study.upstreams)

    def pretrainings(self, label: str) -> tuple[Pretrain, ...]:
        """The pretrainings of an upstream, one for each of its seeds; none where it has none."""
        member = self.study.member(label, "the study")
        if member.untrained or member.of:
            return self.pretrainings(member.untrained or member.of)[:1]
        if not member.pretrained:
            return ()
        recipe = self.study.recipe(label)
        folder = self._folders[label]
        return tuple(
            Pretrain(
                label,
                dataclasses.replace(recipe, seed=recipe.seed + i),
                folder / f"seed{recipe.seed + i}",
                self._speech,
            )
            for i in range(member.seeds)
        )

    def checkpoints(self, label: str) -> tuple[Pretrain | Reread, ...]:
        """What makes the checkpoints that an upstream is judged by; none where it has none."""
        member = self.study.member(label, "the study")
        trained = self.pretrainings(label)
        readout = member.readout or self.study.protocol.readout
        return tuple(Reread(label, one, readout) for one in trained) if readout else trained

    @property
    def _speech(self) -> str:
        return str(self.workspace.data_root.resolve()) if self.workspace.data_root else "toy"

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Label → the folder of its pretrainings, which those of equal recipes share.

        It is called after the first of these; one that is there is taken under any name.
        """
        parent = self.workspace.folder / "pretraining"
        found: dict[str, Path] = {}
        folders: dict[str, Path] = {}
        for label, member in self.study.upstreams.items():
            if not member.pretrained:
                continue
            key = digest([{**self.study.recipe(label).as_dict(), "seed": None}, self._speech])[:10]
            stem = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "upstream"
            there = sorted(parent.glob(f"*-{key}")) or [parent / f"{stem}-{key}"]
            folders[label] = found.setdefault(key, there[0])
        return folders

    def name(self, label: str, every_seed: bool = False) -> str:
        """What a campaign calls an upstream: its first pretraining, or all of them."""
        member = self.study.member(label, "the study")
        if member.name:
            return member.name
        trained = self.checkpoints(label)
        plain = RANDOM if member.untrained else "barlow_speech"
        if not every_seed or len(trained) == 1:
            return f"{plain}@{trained[0].encoder}"
        first, last = trained[0].recipe.seed, trained[-1].recipe.seed
        file = trained[0].encoder
        return f"{plain}@{file.parent.parent}/seed[{first}-{last}]/{file.name}"

    def cell(
        self,
        label: str,
        task: str,
        corpus: str,
        changes: dict[str, Any] | None = None,
        *,
        end_to_end: Sequence[str] | None = None,
        protocol: str = "",
        every_seed: bool = False,
        selection: Selection | None = None,
        layer: int | None = None,
    ) -> Evaluate:
        """The work that makes a cell by the study's protocol with `changes` over it.

        `protocol` names another one. With `end_to_end`, assignments such as `encoder.crop_s=1`, the
        encoder is trained too.

        Raises:
            BarlowSpeechError: as `read_protocol`.
        """
        choice = self.study.protocol
        name, assignments = protocol or choice.name, [] if protocol else list(choice.set)
        assignments += end_to_end or ()
        read = read_protocol(name, task, assignments, changes, end_to_end is not None)
        if selection is None:
            own = not self.study.member(label, "the study").name
            selection = choice.selection if own else "hidden_states"
        job = Job(
            self.name(label, every_seed),
            task,
            self.workspace.corpus(corpus),
            read,
            selection,
            layer,
        )
        trained = self.checkpoints(label)
        needs = trained if every_seed else trained[:1]
        return Evaluate(label, job, self.workspace.corpus_name(corpus), needs)

    def cells(self, stages: Iterable[Evaluate]) -> list[TaskResult]:
        """Their outcomes, each under the label of its upstream."""
        return self.workspace.cells([(stage.label, stage.job) for stage in stages])


@dataclass(frozen=True)
class Step:
    """A work of a plan: whether it was done before, and the seconds that it took or may take."""

    stage: Stage
    done: bool
    seconds: float


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Every work once, and those it needs before it; upstream by upstream among the cells.

    A campaign holds the upstream that it used last, so that cells of one upstream stand together.
    """
    found: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for other in stage.needs:
            add(other)
        found.setdefault(stage.key, stage)

    for stage in stages:
        add(stage)
    upstreams: dict[str, int] = {}
    for stage in found.values():
        if isinstance(stage, Evaluate):
            upstreams.setdefault(stage.job.upstream, len(upstreams))

    def place(stage: Stage) -> tuple[int, int]:
        own = upstreams[stage.job.upstream] if isinstance(stage, Evaluate) else 0
        return KINDS.index(stage.kind), own

    return sorted(found.values(), key=place)


def plan(stages: Sequence[Stage], workspace: Workspace) -> list[Step]:
    """What is done by the journal, and estimates of the rest.

    An estimate is a work's own, times what works of its kind took so far against theirs.
    """
    took = {entry["key"]: entry for entry in workspace.journal() if _whole(entry)}
    factors = {}
    for kind in KINDS:
        done = [one for one in took.values() if one["kind"] == kind and one["estimate"] > 0]
        expected = sum(one["estimate"] for one in done)
        factors[kind] = sum(one["seconds"] for one in done) / expected if expected else 1.0
    steps = []
    for stage in stages:
        past = took.get(stage.key)
        makes = stage.encoder if isinstance(stage, (Pretrain, Reread)) else None
        there = past is not None and (makes is None or makes.is_file())
        if past is not None and there:
            steps.append(Step(stage, True, past["seconds"]))
        else:
            steps.append(Step(stage, False, factors[stage.kind] * stage.seconds(workspace)))
    return steps


def _whole(entry: dict[str, Any]) -> bool:
    numbers = (entry.get("seconds"), entry.get("estimate"))
    return (
        entry.get("kind") in KINDS
        and isinstance(entry.get("key"), str)
        and all(isinstance(one, (int, float)) and 0 <= one < 1e12 for one in numbers)
    )


def plan_text(steps: Sequence[Step]) -> str:
    """The plan as a table for a terminal, and what is left in all.

    Cells that differ in task and corpus alone share a line.
    """
    lines = []
    for kind in KINDS:
        groups: dict[str, list[Step]] = {}
        for step in steps:
            if step.stage.kind == kind:
                stage = step.stage
                name = stage.who if isinstance(stage, Evaluate) else stage.title
                groups.setdefault(name, []).append(step)
        if groups:
            lines.append(f"{kind}s")
        for name, group in groups.items():
            left = [step for step in group if not step.done]
            state = "to do" if len(left) == len(group) else f"{len(left)} to do"
            state = state if left else "done"
            number = f"{len(group)} cells" if len(group) > 1 else ""
            time = duration(sum(step.seconds for step in left or group))
            lines.append(
                f"  {shortened(printable(name), 52):52s}  {number:>9s}  {state:>8s}  {time:>7s}"
            )
    left = [step for step in steps if not step.done]
    lines += [
        "",
        f"{len(steps) - len(left)} of {len(steps)} works are done; the others will take about "
        f"{duration(sum(step.seconds for step in left))} (an estimate).",
    ]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3 min, 2.5 h, 4 days."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 72 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def check(stages: Sequence[Stage], workspace: Workspace) -> None:
    """Refuse what cannot be done before anything is computed.

    Raises:
        BarlowSpeechError: as `Evaluator.task_data`; or the speech of a recipe is missing.
    """
    pieces = {(w.job.task, w.job.corpus) for w in stages if isinstance(w, Evaluate)}
    for task, corpus in sorted(pieces):
        workspace.evaluator.task_data(task, corpus)
    sources = {digest(w.recipe.as_dict()["data"]): w for w in stages if isinstance(w, Pretrain)}
    for stage in sources.values():
        try:
            chosen(stage.recipe.data, workspace.speech)
        except BarlowSpeechError as error:
            raise BarlowSpeechError(f"{stage.title}: {error}") from error
