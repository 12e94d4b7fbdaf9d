"""How results were measured: facts of each task, and where the spread of the runs is from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from barlow_speech.benchmark.analyses._scores import Groups
from barlow_speech.benchmark.figures.variance import variance_figure
from barlow_speech.benchmark.reporting.document import Facts, Part, Picture, Section, Table
from barlow_speech.benchmark.reporting.numbers import ABSENT, cost_text
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.planning import parts_of, plan_text, pretrainings_text
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.sources import usable
from barlow_speech.benchmark.statistics.variance import split_variance, variance_text

# How the facts of a setup are called on the page; any other keeps its own name.
LABELS = {
    "lr": "learning rate",
    "varied": "varied between runs",
    "chance": "chance (%)",
    "classes": "classes",
    "train_recordings": "training recordings",
    "dev_recordings": "dev recordings",
    "test_recordings": "test recordings",
}
VARIANCE_NOTE = (
    "A score is a mean over runs and recordings; what it would vary by with other heads, speakers "
    "and recordings of theirs is split by crossed variance components. Runs on recordings: what is "
    "of neither alone. Other pretrainings and other corpora are in none of it, unless named."
)
COST_LABELS = {
    "parameters": "parameters of the upstream",
    "macs_per_second": "multiply-accumulates per second of speech",
    "real_time_factor": "real-time factor",
    "device": "real-time factor measured on",
    "threads": "threads of the real-time factor",
}


def measured(groups: Groups) -> Section:
    """Facts that all results of a task share as a list, the others as a table."""
    parts: list[Part] = []
    for (task, corpus), group in groups.items():
        rows = [_facts(result) for result in group]
        names = list(dict.fromkeys(name for row in rows for name in row))
        shared = {n: rows[0][n] for n in names if len({row.get(n) for row in rows}) == 1}
        remarks = dict.fromkeys(
            note if all(note in other.notes for other in group) else f"{result.upstream}: {note}"
            for result in group
            for note in result.notes
        )
        parts.append(Facts(f"{task} – {corpus}", shared, tuple(remarks)))
        differing = [name for name in names if name not in shared]
        if differing:
            body = tuple(
                (result.upstream, *(row.get(name, ABSENT) for name in differing))
                for result, row in zip(group, rows)
            )
            columns = ("upstream", *differing)
            parts.append(Table(f"facts {task} {corpus}", "", columns, body, texts=len(columns)))
    return Section("How it was measured", (), (), tuple(parts))


def variances(groups: Groups) -> Section | None:
    """Where the spread comes from, and what a plan follows from it; None where nothing tells."""
    every = [one for group in groups.values() for one in group]
    splits = [(one, split_variance(one)) for one in every]
    lines = [variance_text(result, split) for result, split in splits if split.components]
    lines += filter(None, map(plan_text, groups.values()))
    lines += filter(None, map(pretrainings_text, every))
    picture = variance_picture("variance", every)
    if not lines and picture is None:
        return None
    shown = () if picture is None else (picture,)
    return Section("Where the spread comes from", tuple(lines), (VARIANCE_NOTE,), shown)


def variance_picture(name: str, results: Sequence[TaskResult]) -> Picture | None:
    """A bar for each result whose predictions are stored; None where there is none."""
    bars = []
    for result in results:
        parts = {part.name: part.variance for part in parts_of(result)}
        if sum(parts.values()) > 0:
            label = f"{result.upstream}, {result.task} {result.corpus}"
            bars.append((label, 100 * math.sqrt(sum(parts.values())), parts))
    if not bars:
        return None
    words = "; ".join(
        f"{label}: "
        + ", ".join(f"{part} {100 * v / sum(parts.values()):.0f} %" for part, v in parts.items())
        for label, _, parts in bars
    )
    caption = "What part of the variance of a score each source has."
    return Picture(name, caption, f"Bars of shares. {words}.", variance_figure(bars))


def _facts(result: TaskResult) -> dict[str, str]:
    """How a result was measured, as label and text."""
    shown = {"metric": METRICS.get(result.metric, result.metric), "runs": str(len(result.values))}
    for key, value in vars(result.setup).items():
        if value in (None, "", ()):
            continue
        if key == "test_recordings" and result.setup.eval_split != "test":
            continue  # those of dev, which stand under their name
        if key == "chance":
            value = f"{100 * value:.3g}"
        elif key in ("comparison", "audio"):
            value = value[:12]
        shown[LABELS.get(key, key.replace("_", " "))] = _plain(value)
    if result.seeds is not None:
        shown["seeds"] = seed_ranges(result.seeds)
    if result.seconds:
        shown["seconds for all runs"] = _plain(result.seconds)
    for key, label in COST_LABELS.items():
        if (value := getattr(result.cost, key)) is not None:
            shown[label] = cost_text(key, value)
    kept = usable(result)
    if kept is not None and kept.speaker_count:
        shown["test speakers"] = str(kept.speaker_count)
    return shown


def seed_ranges(seeds: Iterable[Any]) -> str:
    """Seeds as "0–49, 60": consecutive whole numbers are joined."""
    runs: list[list[Any]] = []
    for seed in seeds:
        if runs and isinstance(seed, int) and runs[-1][-1] == seed - 1:
            runs[-1] = [runs[-1][0], seed]
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, tuple) else str(value)
