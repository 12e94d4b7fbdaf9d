"""Run a study: its works in order, then its report."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.analyses import Analysis, read_analyses
from barlow_speech.benchmark.reporting.document import Table
from barlow_speech.benchmark.reporting.study_page import Report, write_study
from barlow_speech.benchmark.study.config import Study
from barlow_speech.benchmark.study.planner import Planner, Step, check, duration, in_order, plan
from barlow_speech.benchmark.study.stages import KINDS, MakeCell
from barlow_speech.benchmark.study.workspace import Workshop
from barlow_speech.upstream.common.machine import environment


def planned(study: Study, shop: Workshop, where: str) -> tuple[list[Analysis], list[Step]]:
    """The analyses of a study, and the plan of all their works; nothing is computed.

    Raises:
        BarlowSpeechError: an analysis, an upstream, a protocol or a recipe is wrong.
    """
    planner = Planner(study, shop)
    analyses = read_analyses(study.analyses, where)
    works = in_order(work for one in analyses for work in one.works(planner))
    return analyses, plan(works, shop)


def run_study(
    study: Study, shop: Workshop, analyses: Sequence[Analysis], steps: Sequence[Step], command: str
) -> Path:
    """Do what the plan says, and write the report; the path of its page.

    What was done before is not done again: pretrainings go on from their last state, cells and
    measurements are kept one by one.

    Raises:
        BarlowSpeechError: as the works raise.
    """
    check([step.work for step in steps], shop)
    seconds: dict[str, float] = {}
    for batch in _batches(steps, shop):
        if not all(step.done for step in batch):
            first, last = len(seconds) + 1, len(seconds) + len(batch)
            # Planned anew, since what is done by now says how long the rest will take.
            rest = plan([step.work for step in steps[len(seconds) :]], shop)
            ahead = sum(step.seconds for step in rest[: len(batch)] if not step.done)
            left = sum(step.seconds for step in rest if not step.done)
            which = f"{first}–{last}" if len(batch) > 1 else f"{last}"
            what = batch[0].work.title if len(batch) == 1 else f"{len(batch)} cells"
            _say(
                f"[{which}/{len(steps)}] {what}: about {duration(ahead)}, "
                f"{duration(left)} left in all"
            )
        started = time.monotonic()
        if len(batch) == 1:
            batch[0].work.run(shop)
        else:
            made = [one.work for one in batch if isinstance(one.work, MakeCell)]
            shop.cells([(work.label, work.job) for work in made])
        took = (time.monotonic() - started) / len(batch)
        for step in batch:
            work = step.work
            if not step.done:
                estimate = work.seconds(shop)
                shop.note(
                    {"key": work.key, "kind": work.kind, "seconds": took, "estimate": estimate}
                )
            seconds[work.key] = step.seconds if step.done else took
    planner = Planner(study, shop)
    _say("writing the report")
    report = Report(
        title=study.title,
        introduction=study.introduction,
        sections=tuple(one.present(planner) for one in analyses),
        commands=(command,),
        facts=_facts(study, shop, steps),
        spent=_spent(steps, seconds),
        warnings=study.warnings,
    )
    return write_study(report, shop.folder)


def _batches(steps: Sequence[Step], shop: Workshop) -> list[list[Step]]:
    """One work at a time; on a cluster all cells of a kind together, to be spread over it."""
    if shop.executor == "local":
        return [[step] for step in steps]
    batches: list[list[Step]] = []
    for step in steps:
        same = batches and step.work.kind == batches[-1][0].work.kind
        if same and isinstance(step.work, MakeCell):
            batches[-1].append(step)
        else:
            batches.append([step])
    return batches


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _spent(steps: Sequence[Step], seconds: Mapping[str, float]) -> Table:
    rows: list[tuple[str | float | int | None, ...]] = []
    for kind in KINDS:
        took = [seconds[step.work.key] for step in steps if step.work.kind == kind]
        if took:
            rows.append((f"{kind}s", len(took), round(sum(took), 1)))
    rows.append(("all", len(steps), round(sum(seconds.values()), 1)))
    return Table(
        "time_spent",
        "Time spent, in seconds, over all calls of the command; waiting for a busy machine counts.",
        ("works", "number", "seconds"),
        tuple(rows),
    )


def _facts(study: Study, shop: Workshop, steps: Sequence[Step]) -> dict[str, dict[str, str]]:
    facts: dict[str, Any] = environment(shop.device)
    result = {
        part: {name: str(value) for name, value in facts[part].items()}
        for part in ("versions", "hardware")
    }
    seeds = {}
    for step in steps:
        if isinstance(step.work, MakeCell):
            protocol = step.work.job.protocol
            last = protocol.seed + protocol.runs - 1
            seeds[protocol.name] = (
                f"{protocol.seed} to {last}, varying {', '.join(protocol.varies)}"
            )
    result["seeds of the runs"] = seeds
    result["upstreams"] = {
        label: member.name
        or (f"{member.untrained}, random weights" if member.untrained else "")
        or " ".join(
            [
                f"recipe {member.recipe or study.pretraining.recipe}",
                *(f"--with {one}" for one in member.deltas),
                *(f"--set {one}" for one in (*study.pretraining.set, *member.set)),
                *([f"{member.seeds} seeds"] if member.seeds > 1 else []),
            ]
        )
        for label, member in study.upstreams.items()
    }
    return result
