"""The plain structure that every format is read into, and how it becomes results.

A *cell* is one system on one task: a score for each seed, each item, or each item of each seed.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.benchmark.statistics.predictions import ItemScores
from barlow_speech.benchmark.statistics.results import Setup, TaskResult, place
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, parsed_json, read_text
from barlow_speech.upstream.common.text import listed

RUNS = Over("runs", "")
DRAWS = Over("draws", "")

Key = tuple[str, str]  # seed and item, "" where there is none

ROUNDING = 1e-9  # of a mean


@dataclass(frozen=True)
class Asked:
    """What is wanted of the files; empty is what a format takes by itself."""

    metric: str = ""
    split: str = ""
    subset: str = ""
    percent: bool = False  # scores are 0..100
    lower_is_better: bool = False  # a score becomes 1 - score, or without bounds -score
    unbounded: bool = False  # scores are in a unit of their own


@dataclass
class Cell:
    """The scores of one system on one task; `file` is where they stand.

    Only what has the same `dataset` and the same items is ranked together. `draws` says that what
    is called a seed is a draw of training examples, the same for every system.
    """

    system: str
    task: str
    metric: str
    file: Path
    corpus: str = ""
    dataset: str = ""
    draws: bool = False
    # Protocol, head, selection and split, where they are known.
    setup: Setup = field(default_factory=lambda: Setup(eval_split=""))
    scores: dict[Key, float] = field(default_factory=dict)
    speakers: dict[str, str] = field(default_factory=dict)  # of items, where they are known

    def add(self, score: float, where: str, seed: str = "", item: str = "") -> None:
        """One more score.

        Raises:
            BarlowSpeechError: that seed and item has one already.
        """
        if (seed, item) in self.scores:
            which = _which(seed, item)
            remedy = "leave one out" if which else "give each run a seed, or each item its name"
            raise BarlowSpeechError(
                f"{where}: {self}{which} has two scores, {self.scores[seed, item]:g} and "
                f"{score:g}; {remedy}."
            )
        self.scores[seed, item] = score

    @property
    def seeds(self) -> list[str]:
        """In the order of their numbers: draws of runs, and so intervals, know no order of rows."""
        return sorted({seed for seed, _ in self.scores}, key=_by_number)

    @property
    def items(self) -> list[str]:
        """Sorted; none where scores are of whole runs."""
        return sorted({item for _, item in self.scores if item})

    def __str__(self) -> str:
        return f"{self.system} on {place(self.task, self.corpus)}"


@dataclass(frozen=True)
class Table:
    """All cells of some files; `remarks` are what a reader of the page must know of them."""

    cells: Sequence[Cell]
    remarks: tuple[str, ...] = ()


def results_of(table: Table, over: Over, asked: Asked) -> tuple[list[TaskResult], tuple[str, ...]]:
    """The cells as results, and a sentence for each thing that was done to them or limits them.

    Raises:
        BarlowSpeechError: a score is no number from 0 to 1, or no number where there are no bounds,
            a seed lacks items that another of its cell has, or there is nothing.
    """
    remarks = list(table.remarks)
    if asked.percent:
        remarks.append("Scores were given in percent.")
    if asked.lower_is_better:
        minus = "1 − what was given" if not asked.unbounded else "what was given with a minus"
        remarks.append(f"Scores are {minus}, which is better the lower.")
    remarks += [*_metrics(table), *_items(table), *_items_apart(table), *_together(table)]
    return [_result(cell, over, asked) for cell in table.cells], tuple(remarks)


def _result(cell: Cell, over: Over, asked: Asked) -> TaskResult:
    scores = {key: _checked(cell, key, asked) for key in cell.scores}
    seeds, items = cell.seeds, cell.items
    for seed, item in itertools.product(seeds, items):
        if (seed, item) not in scores:
            other = next(one for one in seeds if (one, item) in scores)
            raise BarlowSpeechError(
                f"{cell.file}: {cell}, seed {seed} has no score of item '{item}', which seed "
                f"{other} has; give every seed the same items."
            )
    score_RN = np.array(
        [[scores[seed, item] for item in items or [""]] for seed in seeds], np.float64
    )
    mean_R = score_RN.mean(axis=1)
    if not asked.unbounded and (mean_R < -ROUNDING).any():
        worst = 1.0 - float(mean_R.min())
        raise BarlowSpeechError(
            f"{cell.file}: {cell} has a mean {cell.metric} of {worst:.4g}, and errors above 1 on "
            "the whole have no place among shares of 1; add --unbounded, or leave out the task, or "
            f"{cell.system}."
        )
    dataset = ", ".join(filter(None, (cell.dataset, _items_text(items))))
    who = [cell.speakers.get(item, "") for item in items]
    speaker_N = np.unique(who, return_inverse=True)[1] if who and all(who) else None
    # Unknown speakers are those of nobody.
    apart = [cell.task, cell.corpus, cell.dataset, items, who if speaker_N is not None else []]
    default = DEFAULT if items else DRAWS if cell.draws and len(seeds) > 1 else RUNS
    minus = "−" if asked.unbounded else "1 − "
    metric = f"{minus}{cell.metric}" if asked.lower_is_better else cell.metric
    bounds = (-math.inf, math.inf) if asked.unbounded else (0.0, 1.0)
    return TaskResult(
        cell.system,
        cell.task,
        cell.corpus,
        metric,
        tuple(np.clip(mean_R, *bounds).tolist()),
        seeds=tuple(seeds),
        sources=tuple({"train_resample": place} for place in range(len(seeds)))
        if cell.draws
        else (),
        setup=replace(cell.setup, comparison=digest(apart), dataset=dataset),
        predictions=ItemScores(score_RN, tuple(items), speaker_N) if items else None,
        over=default if over == DEFAULT else over,
        bounds=bounds,
    )


def _checked(cell: Cell, key: Key, asked: Asked) -> float:
    """A score of at most 1, better the higher; below 0 for an error of an item that is above 1, as
    the word error rate of one utterance may be."""
    given = cell.scores[key]
    if asked.unbounded and math.isfinite(given):
        return -given if asked.lower_is_better else given
    score = given / 100.0 if asked.percent else given
    above = asked.lower_is_better and bool(key[1]) and math.isfinite(score)
    if not 0.0 <= score <= (math.inf if above else 1.0):  # nor is NaN
        remedy = f"leave out the task, or {cell.system}"
        if not asked.percent:
            remedy = f"say --unbounded if scores have another unit, or {remedy}"
        if not math.isfinite(given):
            remedy = f"evaluate it again, or leave out the task, or {cell.system}"
        elif not asked.percent and 1.0 < given <= 100.0:
            remedy = (
                "say --percent if all scores are in percent, --unbounded if they have another "
                "unit, or leave it out"
            )
        limits = "0 and 100" if asked.percent else "0 and 1"
        raise BarlowSpeechError(
            f"{cell.file}: {cell}{_which(*key)} has the {cell.metric} {given:g}, which is not "
            f"between {limits}; {remedy}."
        )
    return 1.0 - score if asked.lower_is_better else score


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts "draw 2" before "draw 10"."""
    parts = re.split(r"([0-9]+)", name)
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in filter(None, parts)
    ]


def _which(seed: str, item: str) -> str:
    named = (f", seed {seed}" if seed else "", f", item '{item}'" if item else "")
    return "".join(named)


def _items_text(items: Sequence[str]) -> str:
    return f"{len(items):,} items (#{digest(items)[:6]})" if items else ""


def _metrics(table: Table) -> Iterator[str]:
    """Which tasks have which metric, where they have several."""
    tasks: dict[str, list[str]] = {}
    for cell in table.cells:
        tasks.setdefault(cell.metric, []).append(cell.task)
    if len(tasks) > 1:
        each = (
            f"{metric} on {listed(list(dict.fromkeys(names)), most=6)}"
            for metric, names in tasks.items()
        )
        yield f"Main scores: {'; '.join(each)}."


def _items(table: Table) -> Iterator[str]:
    """How many items each task has."""
    each = []
    for task, cells in _by_task(table).items():
        counts = sorted({len(cell.items) for cell in cells})
        if counts[-1]:
            each.append(f"{place(*task)} {' or '.join(f'{count:,}' for count in counts)}")
    if each:
        yield f"Test items: {listed(each, most=12)}."


def _items_apart(table: Table) -> Iterator[str]:
    """Where systems that share most items of a task lack some that others have."""
    for task, cells in _by_task(table).items():
        sets = [set(cell.items) for cell in cells]
        every = set.union(*sets)
        for cell, items in zip(cells, sets):
            missing = sorted(every - items)
            if items and missing:
                first = next(c for c, other in zip(cells, sets) if missing[0] in other)
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                yield (
                    f"{place(*task)}: {cell.system} has no score of item '{missing[0]}'{more}, "
                    f"which {first.system} has; only systems with the same items are ranked "
                    "together."
                )


def _together(table: Table) -> Iterator[str]:
    """How far the draws of two systems go up and down together: what their pairing is worth."""
    found = []
    for cells in _by_task(table).values():
        groups: dict[tuple[str, int], list[list[float]]] = {}
        for cell in cells:
            if cell.draws and len(cell.scores) > 2:
                key = cell.dataset, len(cell.scores)
                groups.setdefault(key, []).append(list(cell.scores.values()))
        for rows in groups.values():
            values_SD = np.array(rows)
            values_SD = values_SD[np.ptp(values_SD, axis=1) > 0]
            if len(values_SD) > 1:
                both_SS = np.corrcoef(values_SD)
                found.append(both_SS[np.triu_indices(len(both_SS), 1)])
    if found:
        every = np.concatenate(found)
        yield (
            f"Over the draws of a task the scores of two systems have a correlation of "
            f"{every.mean():.2f} (the mean of {len(every):,}): the more, the more there is to "
            "pairing; of draws that are not the same it would be about 0, and tests would see less."
        )


def _by_task(table: Table) -> dict[tuple[str, str], list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in table.cells:
        groups.setdefault((cell.task, cell.corpus), []).append(cell)
    return groups


def files_of(paths: Sequence[Path], pattern: str, called: str) -> list[Path]:
    """The files themselves, and what in the folders, at any depth, has such a name; each once.

    Raises:
        BarlowSpeechError: a path is not there, or a folder has no such file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BarlowSpeechError(f"{path} is not there; check the path.")
        inside = sorted(path.rglob(pattern)) if path.is_dir() else [path]
        inside = [one for one in inside if one.is_file()]
        if not inside:
            raise BarlowSpeechError(
                f"{path} holds no {pattern} of {called}; check the folder, and --from."
            )
        found |= {one.resolve(): one for one in inside if one.resolve() not in found}
    return list(found.values())


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        BarlowSpeechError: it cannot be read or is no JSON.
    """
    text = read_text(path)
    try:
        return parsed_json(text)
    except ValueError as error:
        raise BarlowSpeechError(
            f"{path} is no JSON ({error}); it may be cut short: fetch it again, or leave it out."
        ) from error


def renamed(cells: Sequence[Cell], name: Mapping[str, str]) -> list[Cell]:
    """The cells with other names of systems."""
    return [replace(cell, system=name.get(cell.system, cell.system)) for cell in cells]
