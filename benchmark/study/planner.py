"""From the requests of analyses to stages, and from the stages to a plan: what is done and left."""

from __future__ import annotations

import dataclasses
import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.analyses._requests import (
    CheckpointFacts,
    CheckpointRequest,
    Computation,
    Measurement,
    Pretrained,
    Request,
    ResultRequest,
    corpus_name,
)
from barlow_speech.benchmark.disentanglement.representations import Representations, represent
from barlow_speech.benchmark.evaluation.executor import check_executor
from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.evaluation.pretrainings import check_trainable, pretrainings
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.features.known import check_unknown
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.study.config import Study
from barlow_speech.benchmark.study.stages import (
    END_TO_END,
    EVALUATION,
    KINDS,
    MEASUREMENT,
    PRETRAINING,
    Checkpoint,
    Evaluate,
    Measure,
    Pretrain,
    Reread,
    Stage,
)
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.downstream.corpus import Corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.text import printable, shortened
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.model.readout import Part
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import ENCODER

RANDOM = "barlow_speech_random"
# What journals of before call kinds.
OLD_KINDS = {"cell": EVALUATION, "end-to-end cell": END_TO_END}


@dataclass(frozen=True)
class Planner:
    """A study in its workspace: makes the requests of analyses stages, and collects the outcomes.

    It is the `Sources` of their measurements.
    """

    study: Study
    workspace: Workspace

    def stages(self, request: Request) -> tuple[Stage, ...]:
        """What must be done for a request.

        Raises:
            BarlowSpeechError: the protocol, or a change of it, is wrong.
        """
        if isinstance(request, ResultRequest):
            return (self._evaluate(request),)
        if isinstance(request, Measurement):
            return (self._measure(request),)
        if isinstance(request, CheckpointRequest):
            return self.pretrainings(request.label)[:1]
        return self._loaded(request)

    def outcome(self, request: Request) -> Any:
        """What came of a request whose stages are done."""
        if isinstance(request, ResultRequest):
            stage = self._evaluate(request)
            return self.workspace.results([(request.shown or stage.label, stage.job)])[0]
        if isinstance(request, Measurement):
            return self._measure(request).outcome(self.workspace)
        if isinstance(request, CheckpointRequest):
            return self._facts(request.label)
        return request.compute(self)

    def pretrainings(self, label: str) -> tuple[Pretrain, ...]:
        """The pretrainings of an upstream, one for each of its seeds; none where it has none."""
        member = self.study.member(label, "the study")
        if member.untrained or member.of:
            return self.pretrainings(member.untrained or member.of)[:1]
        if not member.pretrained:
            return ()
        recipe = self.study.recipe(label)
        return tuple(
            self._pretrain(label, dataclasses.replace(recipe, seed=seed))
            for seed in range(recipe.seed, recipe.seed + member.seeds)
        )

    def _pretrain(self, label: str, recipe: Recipe) -> Pretrain:
        folder = self._folders[label] / f"seed{recipe.seed}"
        speech = digest([recipe.as_dict()["data"], self._speech])[:12]
        return Pretrain(
            kind=PRETRAINING,
            title=f"pretrain {label}" + (f", seed {recipe.seed}" if recipe.seed else ""),
            key=digest(["pretraining", str(folder), recipe.as_dict(), self._speech]),
            recipe=recipe,
            encoder=folder / ENCODER,
            packed=self.workspace.folder / "speech" / speech,
        )

    def checkpoints(self, label: str) -> tuple[Checkpoint, ...]:
        """What makes the checkpoints that an upstream is loaded from; none where it has none."""
        member = self.study.member(label, "the study")
        readout = member.readout or self.study.protocol.readout
        if not readout:
            return self.pretrainings(label)
        return tuple(_reread(label, base, readout) for base in self.pretrainings(label))

    @property
    def _speech(self) -> str:
        return str(self.workspace.data_root.resolve()) if self.workspace.data_root else "toy"

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Label → the folder of its pretrainings, which those of equal recipes share.

        It is called after the first of these; one that is there is taken under any name.
        """
        parent = self.workspace.folder / "pretraining"
        by_recipe: dict[str, Path] = {}
        folders: dict[str, Path] = {}
        for label, member in self.study.upstreams.items():
            if not member.pretrained:
                continue
            key = digest([{**self.study.recipe(label).as_dict(), "seed": None}, self._speech])[:10]
            stem = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "upstream"
            there = sorted(parent.glob(f"*-{key}")) or [parent / f"{stem}-{key}"]
            folders[label] = by_recipe.setdefault(key, there[0])
        return folders

    @property
    def shared(self) -> dict[str, str]:
        """Upstreams whose (first) pretraining is that of one before, and the first that has it."""
        first: dict[str, str] = {}
        owners = {
            label: first.setdefault(self.pretrainings(label)[0].key, label)
            for label in self._folders
        }
        return {label: owner for label, owner in owners.items() if label != owner}

    def name(self, label: str, every_seed: bool = False) -> str:
        """What `load_upstream` calls an upstream: its first pretraining, or all of them."""
        member = self.study.member(label, "the study")
        if member.name:
            return member.name
        trained = self.checkpoints(label)
        plain = RANDOM if member.untrained else "barlow_speech"
        file = trained[0].encoder
        if not every_seed or len(trained) == 1:
            return f"{plain}@{file}"
        first, last = trained[0].recipe.seed, trained[-1].recipe.seed
        return f"{plain}@{glob.escape(str(file.parent.parent))}/seed[{first}-{last}]/{file.name}"

    def _evaluate(self, request: ResultRequest) -> Evaluate:
        label, workspace, choice = request.label, self.workspace, self.study.protocol
        changes = dict(request.changes)
        sets = [*choice.set, *(request.end_to_end or ())]
        trained = request.end_to_end is not None
        protocol = read_protocol(choice.name, request.task, sets, changes, train_encoder=trained)
        member = self.study.member(label, "the study")
        own = not member.name
        # Of random weights there are as many draws as are wanted.
        one = own and not member.untrained and not request.every_seed
        if one and "pretrain_seed" in protocol.varies:
            raise BarlowSpeechError(
                f"the protocol '{protocol.name}' varies pretrain_seed, but '{label}' is evaluated "
                "by its first pretraining; choose another protocol, and let an analysis of kind "
                "seeds compare pretrainings."
            )
        job = Job(
            self.name(label, request.every_seed),
            request.task,
            workspace.corpus(request.corpus),
            protocol,
            choice.selection if own else "hidden_states",
        )
        upstream = label
        if request.end_to_end is not None:
            upstream += ", trained end to end"
        if request.every_seed:
            upstream += ", all its pretrainings"
        if protocol.label_fraction < 1:
            upstream += f", {100 * protocol.label_fraction:g} % of labels"
        where = [job.upstream, job.task, job.corpus, str(job.selection), job.layer]
        return Evaluate(
            kind=EVALUATION if request.end_to_end is None else END_TO_END,
            title=f"{upstream} on {request.task} of {corpus_name(request.corpus)}",
            key=digest(["cell", where, protocol.identity(), protocol.runs]),
            needs=self.checkpoints(label)[: None if request.every_seed else 1],
            label=label,
            upstream=upstream,
            job=job,
        )

    def _measure(self, request: Measurement) -> Measure:
        names = {label: self.name(label) for label in request.upstreams}
        identity = request.identity(names, self.workspace.corpus_digest(request.corpus))
        return Measure(
            kind=MEASUREMENT,
            title=request.title,
            key=digest(["measurement", identity]),
            needs=self._loaded(request),
            identity=identity,
            features=partial(self._features, [*names.values()], request.corpus),
            compute=partial(request.compute, self),
            estimate=request.seconds,
        )

    def _features(self, names: Sequence[str], corpus: str) -> list[str]:
        evaluator, corpus = self.workspace.evaluator, self.workspace.corpus(corpus)
        return [evaluator.features_of(name, corpus) for name in names]

    def _loaded(self, request: Computation) -> tuple[Checkpoint, ...]:
        return tuple(one for label in request.upstreams for one in self.checkpoints(label)[:1])

    def check_loadable(self, request: Computation) -> None:
        """Refuse a named upstream that a computation cannot load.

        Raises:
            BarlowSpeechError: as `check_name`.
        """
        for label in request.upstreams:
            if name := self.study.member(label, "the study").name:
                check_unknown(self.workspace.evaluator.settings.cache, name, None, 0)

    def _facts(self, label: str) -> CheckpointFacts:
        stage = self.pretrainings(label)[0]
        facts = load_tensors(stage.encoder)[1]["facts"]
        trained = not self.study.member(label, "the study").untrained
        return CheckpointFacts(
            parameters=facts["parameters"],
            steps=stage.recipe.steps if trained else 0,
            seconds=facts["seconds"] if trained else 0.0,
            hours=float(facts["hours"]),
        )

    @property
    def allow_leakage(self) -> bool:
        """Whether splits may share a speaker or a recording."""
        return self.workspace.allow_leakage

    def corpus(self, name: str) -> Corpus:
        """A corpus of the study."""
        return self.workspace.evaluator.corpus(self.workspace.corpus(name))

    def represent(
        self,
        label: str,
        corpus: Corpus,
        recordings: Sequence[Recording],
        as_trained: bool = False,
    ) -> Representations:
        """What an upstream, by its first pretraining, makes of recordings of a corpus.

        `as_trained` is with the readout of its recipe, whatever the study gives it.
        """
        workspace, name = self.workspace, self.name(label)
        if as_trained:
            name = f"barlow_speech@{self.pretrainings(label)[0].encoder}"
        upstream = load_upstream(name, None, workspace.device, permissions=workspace.permissions)
        cache = workspace.evaluator.settings.cache
        return represent(label, upstream, recordings, cache, corpus.manifest.file)

    def pretrained(self, label: str) -> Pretrained:
        """The first pretraining of an upstream."""
        stage = self.pretrainings(label)[0]
        return Pretrained(stage.recipe, stage.encoder.parent, stage.packed)

    def speech(self, label: str) -> list[Recording]:
        """The recordings that an upstream is trained on."""
        return self.workspace.speech(self.pretrainings(label)[0].recipe.data)


def _reread(label: str, base: Pretrain, readout: tuple[Part, ...]) -> Reread:
    parts = [dataclasses.asdict(part) for part in readout]
    seed = f", seed {base.recipe.seed}" if base.recipe.seed else ""
    # The file is called as that of every other seed, since one pattern names them all.
    return Reread(
        kind=PRETRAINING,
        title=f"readout of {label}{seed}",
        key=digest(["readout", base.key, parts]),
        needs=(base,),
        recipe=base.recipe,
        encoder=base.encoder.parent / f"readout-{digest(parts)[:10]}.safetensors",
        base=base,
        readout=readout,
    )


@dataclass(frozen=True)
class Step:
    """A stage of a plan: whether it is done, and the seconds that it took or may take."""

    stage: Stage
    done: bool
    seconds: float


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Every stage once, and those it needs before it; evaluations stand upstream by upstream.

    An evaluator holds the upstream that it used last.
    """
    unique: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for other in stage.needs:
            add(other)
        unique.setdefault(stage.key, stage)

    for stage in stages:
        add(stage)
    upstreams: dict[str, int] = {}
    for stage in unique.values():
        if isinstance(stage, Evaluate):
            upstreams.setdefault(stage.job.upstream, len(upstreams))

    def place(stage: Stage) -> tuple[int, int]:
        own = upstreams[stage.job.upstream] if isinstance(stage, Evaluate) else 0
        return KINDS.index(stage.kind), own

    return sorted(unique.values(), key=place)


def plan(stages: Sequence[Stage], workspace: Workspace) -> list[Step]:
    """What is done, by the artefacts that are there, and estimates of the rest."""
    return timed([Step(stage, stage.done(workspace), 0.0) for stage in stages], workspace)


def timed(steps: Sequence[Step], workspace: Workspace) -> list[Step]:
    """The steps with what the journal says of their times.

    An estimate is a stage's own, times what stages of its kind took so far against theirs.
    """
    took = workspace.journal()
    factors = {}
    for kind in KINDS:
        entries = [one for one in took.values() if OLD_KINDS.get(one.kind, one.kind) == kind]
        expected = sum(entry.estimate for entry in entries if entry.estimate > 0)
        spent = sum(entry.seconds for entry in entries if entry.estimate > 0)
        factors[kind] = spent / expected if expected else 1.0

    def seconds(step: Step) -> float:
        if not step.done:
            return factors[step.stage.kind] * step.stage.seconds(workspace)
        return took[step.stage.key].seconds if step.stage.key in took else 0.0

    return [dataclasses.replace(step, seconds=seconds(step)) for step in steps]


def plan_text(steps: Sequence[Step], shared: Mapping[str, str]) -> str:
    """The plan as a table for a terminal, and what is left in all.

    Evaluations of one upstream, evaluated alike, share a line. `shared` is `Planner.shared`.
    """
    lines = []
    for kind in KINDS:
        groups: dict[str, list[Step]] = {}
        for step in steps:
            if step.stage.kind == kind:
                stage = step.stage
                name = stage.upstream if isinstance(stage, Evaluate) else stage.title
                groups.setdefault(name, []).append(step)
        if groups:
            lines.append(f"{kind}s")
        for name, group in groups.items():
            left = [step for step in group if not step.done]
            state = "to do" if len(left) == len(group) else f"{len(left)} to do"
            state = state if left else "done"
            number = f"{len(group)} results" if len(group) > 1 else ""
            time = duration(sum(step.seconds for step in left or group))
            lines.append(
                f"  {shortened(printable(name), 52):52s}  {number:>11s}  {state:>8s}  {time:>7s}"
            )
    left = [step for step in steps if not step.done]
    lines += [
        "",
        *(
            f"{printable(label)} has the recipe of {printable(owner)}, and is the same pretraining."
            for label, owner in shared.items()
        ),
        f"{len(steps) - len(left)} of {len(steps)} stages are done; the others will take about "
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
        BarlowSpeechError: as `Evaluator.task_data`, `check_executor`, `check_name` and
            `pretrainings`; or a corpus, or the speech of a recipe, is missing.
    """
    check_executor(workspace.executor, workspace.address)
    evaluations = [one for one in stages if isinstance(one, Evaluate)]
    jobs = {(one.job.task, one.job.corpus): one.job for one in evaluations}
    for (task, corpus), job in sorted(jobs.items()):
        if workspace.data_root is None and Path(corpus).suffix and not Path(corpus).exists():
            raise BarlowSpeechError(
                f"the study's corpus {corpus} is not here; say by --data-root in which folder it "
                "lies."
            )
        workspace.evaluator.task_data(task, corpus, job.protocol)
    for one in evaluations:
        if one.job.protocol.encoder is not None:
            check_trainable(one.job.upstream)
    named = {one.job.upstream: one.job.protocol for one in evaluations if not one.needs}
    for upstream, protocol in named.items():
        for name, seed in pretrainings(upstream, protocol):
            check_unknown(workspace.evaluator.settings.cache, name, None, seed)
    trained = [stage for stage in stages if isinstance(stage, Pretrain)]
    for stage in {digest(one.recipe.as_dict()["data"]): one for one in trained}.values():
        try:
            workspace.speech(stage.recipe.data)
        except BarlowSpeechError as error:
            raise BarlowSpeechError(f"{stage.title}: {error}") from error
