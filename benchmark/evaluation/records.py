"""The result store: one JSON file per (upstream, task, corpus, protocol), with every run in it.

`results/records/<upstream>/<task>.<corpus>.<digest>.json`. The digest is over what decides the
numbers: features, labels and splits, protocol. A record grows when more runs are asked for and is
otherwise left alone. Predictions are kept, packed, so that any metric and any test can be redone.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from barlow_speech.benchmark.statistics.metrics import METRICS, metrics
from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.benchmark.statistics.predictions import Predictions, unpack
from barlow_speech.benchmark.statistics.results import Cost, Setup, TaskResult
from barlow_speech.downstream.corpus import SPLITS
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line, unknown
from barlow_speech.upstream.common.files import digest, parsed_json, write_json

log = logging.getLogger(__name__)

FORMAT = 2

DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError)

Integer = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Number = Annotated[float, Field(gt=-(2.0**63), lt=2.0**63)]
Count = Annotated[Integer, Field(ge=0)]
Seconds = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


class Shape(BaseModel):
    """What is read of a JSON object; other keys are left alone, and a number is finite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Protocol(Shape):
    learning_rates: list[Number]
    steps: Integer
    batch: Integer
    accumulate: Integer
    varies: list[str]


class _Identity(Shape):
    features: list[str]
    selection: str
    examples: str
    protocol: _Protocol


class _Recordings(Shape):
    train: Count
    dev: Count
    test: Count


class _LearningRate(Shape):
    chosen: Annotated[Number, Field(gt=0)]


class _Cost(Shape):
    parameters: Integer = 0
    macs_per_second: Number = 0
    real_time_factor: Number = 0
    input_s: Number = 0
    device: str = ""
    threads: Integer = 0


class _Corpus(Shape):
    licence: str


class _Facts(Shape):
    protocol: str
    head: str
    classes: Annotated[list[str], Field(min_length=2)]
    truth: Annotated[list[str], Field(min_length=1)]
    recordings: _Recordings
    speakers: list[str] = []  # of the test recordings of each fold; records of before have none
    most_frequent: list[Count] = []
    chance: dict[str, Share] = {}
    learning_rate: _LearningRate
    layers: Annotated[Integer, Field(gt=0)]
    width: Annotated[Integer, Field(gt=0)]
    cost: _Cost = _Cost()
    corpus: _Corpus
    notes: list[str]
    seconds: dict[str, Seconds]
    features_version: Count = 0
    parts_version: Count = 0
    audio: str = ""


class _Fold(Shape):
    predicted: str
    curve: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]


class _Run(Shape):
    seed: Integer
    sources: dict[str, Integer | None]
    folds: list[_Fold]


class _Stored(Shape):
    """What a table or a page takes from a record."""

    upstream: str
    task: str
    corpus: str
    recorded: Number = 0
    identity: _Identity
    facts: _Facts
    runs: Annotated[list[_Run], Field(min_length=1)]


@dataclass
class Record:
    """A result's runs by their number, and the facts that a reader needs to weigh them."""

    upstream: str
    task: str
    corpus: str
    identity: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    recorded: float = 0.0  # when it was written, in seconds since 1970; 0 is not yet
    _scores: dict[int, dict[str, float]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def eval_split(self) -> str:
        """What the scores are of: test, or dev where choices are made."""
        split: str = self.identity["protocol"].get("judge", "test")
        return split

    def scores(self, seeds: Sequence[int]) -> list[dict[str, float]]:
        """Every metric of these runs, from their predictions."""
        missing = [seed for seed in seeds if seed not in self._scores]
        truth = [unpack(one) for one in self.facts["truth"]] if missing else []
        for seed in missing:
            folds = [unpack(fold["predicted"]) for fold in self.runs[seed]["folds"]]
            self._scores[seed] = _means(truth, folds, len(self.facts["classes"]))
        return [self._scores[seed] for seed in seeds]


class Store:
    """Records under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, record: Record) -> Path:
        """Where a record lives."""
        name = f"{_plain(record.task)}.{_plain(record.corpus)}.{digest(record.identity)[:12]}.json"
        return self.folder / "records" / _plain(record.upstream) / name

    def may_have(self, upstream: str, task: str) -> bool:
        """Whether there is any record of the upstream on the task, of whatever identity."""
        return any((self.folder / "records" / _plain(upstream)).glob(f"{_plain(task)}.*.json"))

    def load(self, upstream: str, task: str, corpus: str, identity: dict[str, Any]) -> Record:
        """The stored record of that identity, or an empty one.

        A file that is corrupt, or of another result, is named in a warning and counts as absent.
        """
        record = Record(upstream, task, corpus, identity)
        path = self.path(record)
        if not path.exists():
            return record
        try:
            stored = _read(path)
            if self.path(stored) != path or (stored.upstream, stored.task) != (upstream, task):
                raise ValueError(f"it is of {stored.upstream} on {stored.task} of {stored.corpus}")
            return stored
        except DAMAGE as error:
            log.warning("record %s is corrupt (%s); recomputing", path, reason_of(error))
            return record

    def save(self, record: Record, recorded: float | None = None) -> Path:
        """Write a record, whole or not at all; `recorded` is when it was measured (now)."""
        record.recorded = round(time.time(), 3) if recorded is None else recorded
        stored = {
            "format": FORMAT,
            "upstream": record.upstream,
            "task": record.task,
            "corpus": record.corpus,
            "identity": record.identity,
            "facts": record.facts,
            "recorded": record.recorded,
            "runs": [record.runs[seed] for seed in sorted(record.runs)],
        }
        path = self.path(record)
        write_json(path, {**stored, "sha256": _checksum(stored)})
        return path

    def records(self) -> list[Record]:
        """Every whole record of the folder; a corrupt one is named in a warning and left out."""
        records = []
        for path in sorted(self.folder.glob("records/*/*.json")):
            try:
                records.append(_read(path))
            except DAMAGE as error:
                log.warning("record %s is corrupt (%s) and is left out", path, reason_of(error))
        return records


def read_results(results: Path, metric: str = "top1", over: Over = DEFAULT) -> list[TaskResult]:
    """Every stored record of a results folder as a result, with all the runs that it has.

    Raises:
        BarlowSpeechError: as `read_records`, or the metric is unknown.
    """
    records = read_records(results)
    return [result_of(record, sorted(record.runs), metric, over) for record in records]


def read_records(results: Path) -> list[Record]:
    """Every stored record of a results folder.

    Of records that were made again of features of a later version, the later ones count.

    Raises:
        BarlowSpeechError: the folder has no records.
    """
    records = _latest(Store(results).records())
    if not records:
        raise BarlowSpeechError(
            f"{results} holds no records; give the folder that run_downstream.py wrote (-p)."
        )
    return records


def _latest(records: Sequence[Record]) -> list[Record]:
    def version(record: Record) -> tuple[int, int]:
        return record.facts.get("features_version", 0), record.facts.get("parts_version", 0)

    groups: dict[str, list[Record]] = {}
    for record in records:
        other = {key: value for key, value in record.identity.items() if key != "features"}
        key = digest([record.upstream, record.task, record.corpus, other])
        groups.setdefault(key, []).append(record)
    return [
        record
        for group in groups.values()
        for record in group
        if version(record) == max(map(version, group))
    ]


def result_of(
    record: Record, seeds: Sequence[int], metric: str = "top1", over: Over = DEFAULT
) -> TaskResult:
    """The runs with these seeds as a result, with what a table or a page says about them.

    Raises:
        BarlowSpeechError: the metric is unknown.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    facts, protocol = record.facts, record.identity["protocol"]
    runs = [record.runs[seed] for seed in seeds]
    scores = record.scores(seeds)
    cost = facts.get("cost") or {}
    return TaskResult(
        record.upstream,
        record.task,
        record.corpus,
        metric,
        tuple(one[metric] for one in scores),
        seeds=tuple(seeds),
        sources=tuple(run["sources"] for run in runs),
        setup=Setup(
            lr=facts["learning_rate"]["chosen"],
            varied=(*protocol["varies"], *_divisions(protocol)),
            chance=_chance(facts, metric),
            classes=len(facts["classes"]),
            **{f"{split}_recordings": facts["recordings"].get(split) for split in SPLITS},
            protocol=facts["protocol"],
            head=facts["head"],
            selection=record.identity["selection"],
            eval_split=record.eval_split,
            lr_grid=tuple(protocol["learning_rates"]),
            steps=protocol["steps"],
            batch=protocol["batch"] * protocol["accumulate"],
            layers=facts["layers"],
            width=facts["width"],
            licence=facts["corpus"]["licence"],
            comparison=digest(
                {key: record.identity[key] for key in ("examples", "protocol", "selection")}
            ),
            audio=facts.get("audio", ""),
        ),
        metrics={name: float(np.mean([one[name] for one in scores])) for name in METRICS},
        predictions=Predictions(
            tuple(facts["classes"]),
            tuple(facts["truth"]),
            tuple(tuple(fold["predicted"] for fold in run["folds"]) for run in runs),
            tuple(facts.get("speakers", ())),
            record.identity["examples"],
        ),
        curves=tuple(_curve(run) for run in runs),
        cost=Cost(**{one.name: cost.get(one.name) for one in fields(Cost)}),
        seconds=facts["seconds"] if len(runs) == len(record.runs) else {},
        notes=tuple(facts["notes"]),
        recorded=record.recorded,
        over=over,
    )


def _divisions(protocol: dict[str, Any]) -> tuple[str, ...]:
    """The split, where runs have several."""
    return ("split",) if (protocol.get("split") or {}).get("repeats", 1) > 1 else ()


def _chance(facts: dict[str, Any], metric: str) -> float | None:
    """The metric of always saying the most frequent class of train.

    Records of before hold that number in place of the class: None for a metric of later.
    """
    if "most_frequent" not in facts:
        return facts.get("chance", {}).get(metric)
    scores = []
    for truth, most in zip(facts["truth"], facts["most_frequent"]):
        truth_N = unpack(truth)
        scores.append(metrics(truth_N, np.full_like(truth_N, most), len(facts["classes"]))[metric])
    return float(np.mean(scores))


def _curve(run: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    """(step, score on dev) of a run, the mean over its folds."""
    folds = [fold["curve"] for fold in run["folds"]]
    return tuple(
        (points[0][0], float(np.mean([score for _, score in points]))) for points in zip(*folds)
    )


def _read(path: Path) -> Record:
    stored = parsed_json(path.read_text(encoding="utf-8"))
    if stored["format"] != FORMAT:
        raise ValueError(f"its format is {stored['format']!r}, not {FORMAT}")
    if stored["sha256"] != _checksum(stored):
        raise ValueError("its checksum does not match")
    _Stored.model_validate(stored)
    json.dumps(stored, allow_nan=False)  # a ValueError where a number is not finite
    scores = _checked_scores(stored["facts"], stored["runs"])
    for run in stored["runs"]:
        run.pop("metrics", None)  # of before: predictions are what counts
    runs = {int(run["seed"]): run for run in stored["runs"]}
    named = {key: stored[key] for key in ("upstream", "task", "corpus", "identity", "facts")}
    recorded = stored.get("recorded", path.stat().st_mtime)
    return Record(**named, runs=runs, recorded=recorded, _scores=scores)


def _means(
    truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], classes: int
) -> dict[str, float]:
    """Every metric of one run, the mean over its folds."""
    folds = [
        metrics(truth_N, predicted_N, classes) for truth_N, predicted_N in zip(truth, predicted)
    ]
    return {name: float(np.mean([one[name] for one in folds])) for name in METRICS}


def _checked_scores(
    facts: dict[str, Any], runs: Sequence[dict[str, Any]]
) -> dict[int, dict[str, float]]:
    """Every metric of each run, once it is sure that the runs are of the test recordings.

    A checksum can be computed anew by whoever changes a file; this holds whatever it says.

    Raises:
        ValueError: they are not.
    """
    classes = len(facts["classes"])
    truth = [unpack(one) for one in facts["truth"]]
    counts = [len(one) for one in truth]
    if len(set(facts["classes"])) != classes:
        raise ValueError("its classes are not there once each")
    if min(counts) == 0 or sum(counts) // len(truth) != facts["recordings"]["test"]:
        raise ValueError("its test recordings are not as many as it says")
    if any(one.max() >= classes for one in truth):
        raise ValueError("a test recording is of a class that it does not have")
    if facts.get("speakers") and [len(unpack(one)) for one in facts["speakers"]] != counts:
        raise ValueError("its speakers are not those of its test recordings")
    most = facts.get("most_frequent", [0] * len(truth))
    if len(most) != len(truth) or max(most) >= classes:
        raise ValueError("its most frequent classes are not one of its own for each fold")
    if len({run["seed"] for run in runs}) != len(runs):
        raise ValueError("it has two runs of one seed")
    if len({frozenset(run["sources"]) for run in runs}) > 1:
        raise ValueError("its runs name different sources")
    scores = {}
    for run in runs:
        seed = run["seed"]
        if len(run["folds"]) != len(truth):
            raise ValueError(f"run {seed} has not as many folds as there are")
        predicted = []
        for fold, truth_N in zip(run["folds"], truth):
            if any(not 0 <= dev_score <= 1 for _, dev_score in fold["curve"]):
                raise ValueError(f"an evaluation of run {seed} on dev is not a step and a score")
            predicted_N = unpack(fold["predicted"], len(truth_N))
            if len(predicted_N) != len(truth_N) or predicted_N.max() >= classes:
                raise ValueError(f"the predictions of run {seed} are not of its test recordings")
            predicted.append(predicted_N)
        scores[int(seed)] = _means(truth, predicted, classes)
    return scores


def reason_of(error: BaseException) -> str:
    """Why a file is corrupt, in one line; a bare KeyError says no more than a key."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    said = one_line(error, 300)
    return f"it lacks {said}" if isinstance(error, KeyError) else said


def _checksum(stored: dict[str, Any]) -> str:
    return digest({key: value for key, value in stored.items() if key != "sha256"})


def _plain(name: str) -> str:
    """A name as a part of a path: letters, digits, dashes and underscores, the rest is dashes."""
    plain = re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")[:80]
    return plain if plain == name else f"{plain}-{digest(name)[:6]}"
