"""Run a study: its stages in order, then its report."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.analyses import Analysis, read_analyses
from barlow_speech.benchmark.analyses._requests import Computation, Measurement, Results
from barlow_speech.benchmark.analyses._tables import metric_name
from barlow_speech.benchmark.reporting.document import Document, Section, Table
from barlow_speech.benchmark.reporting.files import write_document
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.study.config import Study
from barlow_speech.benchmark.study.planner import (
    Planner,
    Step,
    check,
    duration,
    in_order,
    plan,
    timed,
)
from barlow_speech.benchmark.study.stages import KINDS, Evaluate
from barlow_speech.benchmark.study.workspace import Entry, Workspace
from barlow_speech.upstream.common.machine import environment
from barlow_speech.upstream.common.text import listed


def planned(study: Study, workspace: Workspace, where: str) -> tuple[list[Analysis], list[Step]]:
    """The analyses of a study, and the plan of all their stages; nothing is computed.

    Raises:
        BarlowSpeechError: an analysis, an upstream, a protocol or a recipe is wrong.
    """
    planner = Planner(study, workspace)
    analyses = read_analyses(study.analyses, where)
    requests = [request for one in analyses for request in one.requests(study)]
    stages = in_order(stage for request in requests for stage in planner.stages(request))
    return analyses, plan(stages, workspace)


def run_study(
    study: Study,
    workspace: Workspace,
    analyses: Sequence[Analysis],
    steps: Sequence[Step],
    command: str,
) -> Path:
    """Do what the plan says, and write the report; the path of its page.

    What was done before is not done again: pretrainings go on from their last state, results and
    measurements are kept one by one.

    Raises:
        BarlowSpeechError: as the stages raise.
    """
    check([step.stage for step in steps], workspace)
    planner, done = Planner(study, workspace), {step.stage.key for step in steps if step.done}
    for request in (request for one in analyses for request in one.requests(study)):
        if isinstance(request, Computation) and not _measured_before(request, planner, done):
            planner.check_loadable(request)
            request.check(planner)
    seconds: dict[str, float] = {}
    for batch in _batches(steps, workspace):
        if not all(step.done for step in batch):
            first, last = len(seconds) + 1, len(seconds) + len(batch)
            # Timed anew, since what is done by now says how long the rest will take.
            rest = timed(steps[len(seconds) :], workspace)
            ahead = sum(step.seconds for step in rest[: len(batch)] if not step.done)
            left = sum(step.seconds for step in rest if not step.done)
            which = f"{first}–{last}" if len(batch) > 1 else f"{last}"
            what = batch[0].stage.title if len(batch) == 1 else f"{len(batch)} evaluations"
            _print(
                f"[{which}/{len(steps)}] {what}: about {duration(ahead)}, "
                f"{duration(left)} left in all"
            )
        started = time.monotonic()
        if len(batch) == 1:
            batch[0].stage.run(workspace)
        else:
            stages = [step.stage for step in batch if isinstance(step.stage, Evaluate)]
            workspace.results([(stage.label, stage.job) for stage in stages])
        took = (time.monotonic() - started) / len(batch)
        for step in batch:
            stage = step.stage
            if not step.done:
                workspace.note(Entry(stage.key, stage.kind, took, stage.seconds(workspace)))
            seconds[stage.key] = step.seconds if step.done else took
    _print("writing the report")
    found = [_results(one, planner) for one in analyses]
    document = Document(
        title=study.title,
        introduction=study.introduction,
        sections=(
            *(analysis.section(results) for analysis, results in zip(analyses, found)),
            *_measured([result for results in found for result in results.tasks]),
        ),
        commands=(command,),
        facts=_facts(planner, steps),
        spent=_spent(steps, seconds),
        warnings=study.warnings,
        overview=True,
    )
    return write_document(document, workspace.folder)


def _measured_before(request: Computation, planner: Planner, done: Container[str]) -> bool:
    """Whether an outcome is there, for which nothing is computed again."""
    return isinstance(request, Measurement) and planner.stages(request)[0].key in done


def _results(analysis: Analysis, planner: Planner) -> Results:
    requests = analysis.requests(planner.study)
    return Results(tuple((one, planner.outcome(one)) for one in requests))


def _measured(results: Sequence[TaskResult]) -> list[Section]:
    """What is to be known of the results, whichever analysis shows them; none without any."""
    if not results:
        return []
    places: dict[str, dict[str, None]] = {}
    for result in results:
        for note in result.notes:
            places.setdefault(note, {})[result.place] = None
    notes = [f"On {listed(list(where), most=4)}: {note}." for note, where in places.items()]
    scores = f"Scores are {metric_name(results)}, where nothing else is said."
    return [Section("How results were measured", (), (scores, *notes), ())]


def _batches(steps: Sequence[Step], workspace: Workspace) -> list[list[Step]]:
    """One stage at a time; on a cluster all evaluations of a kind together."""

    def batch(step: Step) -> str:
        spread = workspace.executor != "local" and isinstance(step.stage, Evaluate)
        return step.stage.kind if spread else step.stage.key

    return [list(group) for _, group in itertools.groupby(steps, key=batch)]


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _spent(steps: Sequence[Step], seconds: Mapping[str, float]) -> Table:
    rows: list[tuple[str | float | int | None, ...]] = []
    for kind in KINDS:
        took = [seconds[step.stage.key] for step in steps if step.stage.kind == kind]
        if took:
            rows.append((f"{kind}s", len(took), round(sum(took), 1)))
    rows.append(("all", len(steps), round(sum(seconds.values()), 1)))
    return Table(
        "time_spent",
        "Time spent, in seconds, over all calls of the command; waiting for a busy machine counts.",
        ("stages", "number", "seconds"),
        tuple(rows),
    )


def _facts(planner: Planner, steps: Sequence[Step]) -> dict[str, dict[str, str]]:
    study = planner.study
    machine: dict[str, Any] = environment(planner.workspace.device)
    facts = {
        part: {name: str(value) for name, value in machine[part].items()}
        for part in ("versions", "hardware")
    }
    jobs = [step.stage.job for step in steps if isinstance(step.stage, Evaluate)]
    # Several analyses change the protocol each in its own way.
    seeds: dict[str, dict[str, None]] = {}
    for one in (job.protocol for job in jobs):
        text = f"{one.seed} to {one.seed + one.runs - 1}, varying {', '.join(one.varies)}"
        seeds.setdefault(one.name, {})[text] = None
    facts["seeds of the runs"] = {name: "; ".join(texts) for name, texts in seeds.items()}
    shared = planner.shared
    facts["upstreams"] = {label: _origin(study, label, shared) for label in study.upstreams}
    return facts


def _origin(study: Study, label: str, shared: Mapping[str, str]) -> str:
    member = study.upstreams[label]
    if not member.pretrained:
        return (
            member.name
            or (member.untrained and f"{member.untrained}, random weights")
            or f"{member.of}, with another readout"
        )
    recipe, overrides, changes = study.origin(label)
    parts = [f"recipe {recipe}"]
    parts += [f"--with {name}" for name in overrides]
    parts += [f"--set {one}" for one in changes]
    parts += [f"{member.seeds} seeds"] * (member.seeds > 1)
    parts += [f"(the same pretraining as {one})" for one in [shared.get(label)] if one]
    return " ".join(parts)
