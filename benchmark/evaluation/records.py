"""The result store: one JSON file per (upstream, task, corpus, protocol), with every run in it.

`results/records/<upstream>/<task>.<corpus>.<digest>.json`. The digest is over what decides the
numbers: features, labels and splits, protocol. A record grows when more runs are asked for and is
otherwise left alone. Predictions are kept, packed, so that any metric and any test can be redone.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from barlow_speech.benchmark.statistics.metrics import METRICS, confusion_matrix, metrics
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import digest, write_json
from barlow_speech.upstream.common.settings import shown

log = logging.getLogger(__name__)

FORMAT = 2

MAX_CLASSES = 64  # of a confusion matrix that a cell carries

MAX_PREDICTIONS = 1 << 24  # of one run; a few kilobytes can be unpacked into gigabytes

DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError)

SCORES = dict.fromkeys(METRICS, float)

# What a table or a page takes from a record.
SHAPE = {
    "upstream": str,
    "task": str,
    "corpus": str,
    "identity": {
        "features": [str],
        "selection": str,
        "examples": str,
        "protocol": {
            "learning_rates": [float],
            "steps": int,
            "batch": int,
            "accumulate": int,
            "varies": [str],
        },
    },
    "facts": {
        "protocol": str,
        "head": str,
        "classes": [str],
        "truth": [str],
        "recordings": {"train": int, "dev": int, "test": int},
        "chance": SCORES,
        "learning_rate": {"chosen": float},
        "layers": int,
        "width": int,
        "cost?": {
            "parameters?": int,
            "macs_per_second?": float,
            "real_time_factor?": float,
            "input_s?": float,
            "device?": str,
        },
        "corpus": {"licence": str},
        "notes": [str],
        "seconds": {str: float},
    },
    "runs": [
        {
            "seed": int,
            "sources": {str: (int, None)},
            "metrics": SCORES,
            "folds": [{"predicted": str, "curve": [[float]]}],
        }
    ],
}


@dataclass
class Record:
    """A cell's runs by their number, and the facts that a reader needs to judge them."""

    upstream: str
    task: str
    corpus: str
    identity: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)


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

        A file that is damaged, or of another cell, is named in a warning and counts as absent.
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
            log.warning("record %s is corrupt (%s); recomputing", path, _reason(error))
            return record

    def save(self, record: Record) -> Path:
        """Write a record, whole or not at all."""
        stored = {
            "format": FORMAT,
            "upstream": record.upstream,
            "task": record.task,
            "corpus": record.corpus,
            "identity": record.identity,
            "facts": record.facts,
            "runs": [record.runs[seed] for seed in sorted(record.runs)],
        }
        path = self.path(record)
        write_json(path, {**stored, "sha256": _checksum(stored)})
        return path

    def records(self) -> list[Record]:
        """Every whole record of the folder; a damaged one is named in a warning and left out."""
        found = []
        for path in sorted(self.folder.glob("records/*/*.json")):
            try:
                found.append(_read(path))
            except DAMAGE as error:
                log.warning("record %s is damaged (%s) and is left out", path, _reason(error))
        return found


def read_cells(results: Path, metric: str = "top1") -> list[TaskResult]:
    """Every stored record of a results folder as a cell, with all the runs that it has.

    Raises:
        BarlowSpeechError: the folder has no records, or the metric is unknown.
    """
    records = Store(results).records()
    if not records:
        raise BarlowSpeechError(
            f"{results} holds no records; give the folder that run_downstream.py wrote (-p)."
        )
    return [cell_of(record, sorted(record.runs), metric) for record in records]


def cell_of(record: Record, seeds: Sequence[int], metric: str = "top1") -> TaskResult:
    """The runs with these seeds as a cell, with what a table or a page says about them.

    Raises:
        BarlowSpeechError: the metric is unknown.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    facts, protocol = record.facts, record.identity["protocol"]
    runs = [record.runs[seed] for seed in seeds]
    details = {
        "chance": facts["chance"][metric],
        "classes": len(facts["classes"]),
        **{f"{split}_recordings": count for split, count in facts["recordings"].items()},
        "protocol": facts["protocol"],
        "head": facts["head"],
        "selection": record.identity["selection"],
        "judged": protocol.get("judge", "test"),
        "lr": facts["learning_rate"]["chosen"],
        "lr_grid": list(protocol["learning_rates"]),
        "steps": protocol["steps"],
        "batch": protocol["batch"] * protocol["accumulate"],
        "varied": list(protocol["varies"]),
        "seeds": list(seeds),
        "sources": [run["sources"] for run in runs],
        "metrics": {
            name: float(np.mean([run["metrics"][name] for run in runs])) for name in METRICS
        },
        "curves": [_curve(run) for run in runs],
        "layers": facts["layers"],
        "width": facts["width"],
        "seconds": facts["seconds"],
        "cost": facts.get("cost"),
        "notes": facts["notes"],
        "licence": facts["corpus"]["licence"],
        "comparison": digest(
            {key: record.identity[key] for key in ("examples", "protocol", "selection")}
        ),
    }
    if len(facts["classes"]) <= MAX_CLASSES:
        details["confusion"] = _confusion(record, runs)
        details["class_names"] = list(facts["classes"])
    values = tuple(float(run["metrics"][metric]) for run in runs)
    return TaskResult(record.upstream, record.task, record.corpus, metric, values, details)


def _curve(run: dict[str, Any]) -> list[tuple[int, float]]:
    """[step, score on dev] of a run, the mean over its folds."""
    folds = [fold["curve"] for fold in run["folds"]]
    return [(looks[0][0], float(np.mean([score for _, score in looks]))) for looks in zip(*folds)]


def _confusion(record: Record, runs: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Counts [truth][predicted] over all runs and folds."""
    classes = len(record.facts["classes"])
    counts = np.zeros((classes, classes), dtype=np.int64)
    for fold, truth in enumerate(record.facts["truth"]):
        truth_N = unpack(truth)
        for run in runs:
            counts += confusion_matrix(truth_N, unpack(run["folds"][fold]["predicted"]), classes)
    return counts.tolist()


def pack(classes_N: np.ndarray) -> str:
    """Class numbers as compact text: zlib over 32-bit little-endian integers, in base64."""
    # Byte by byte of all numbers, since the high bytes are nearly all zero.
    planes = np.ascontiguousarray(classes_N.astype("<u4")).view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack(text: str, most: int = MAX_PREDICTIONS) -> np.ndarray:
    """What `pack` packed, int64; at most so many numbers.

    Raises:
        ValueError: it is not what `pack` writes.
    """
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(text, validate=True), 4 * most + 1)
    except zlib.error as error:
        raise ValueError(f"packed predictions are broken: {error}") from error
    if len(content) > 4 * most or not unpacking.eof:
        raise ValueError("packed predictions are broken: they are cut short or too many")
    planes = np.frombuffer(content, np.uint8)
    if len(planes) % 4:
        raise ValueError("packed predictions are broken: their length is odd")
    return np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4").reshape(-1).astype(np.int64)


def _read(path: Path) -> Record:
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["format"] != FORMAT:
        raise ValueError(f"its format is {stored['format']!r}, not {FORMAT}")
    if stored["sha256"] != _checksum(stored):
        raise ValueError("its checksum does not match")
    check_shape(stored, SHAPE, "it")
    json.dumps(stored, allow_nan=False)  # a ValueError where a number is not finite
    _check_runs(stored["facts"], stored["runs"])
    runs = {int(run["seed"]): run for run in stored["runs"]}
    named = {key: stored[key] for key in ("upstream", "task", "corpus", "identity", "facts")}
    return Record(**named, runs=runs)


def _check_runs(facts: dict[str, Any], runs: Sequence[dict[str, Any]]) -> None:
    """Check that the runs are of the test recordings and as good as their predictions make them.

    A checksum can be computed anew by whoever changes a file; this holds whatever it says.

    Raises:
        ValueError: they are not.
    """
    classes = len(facts["classes"])
    truth = [unpack(one) for one in facts["truth"]]
    counts = [len(one) for one in truth]
    if classes < 2 or len(set(facts["classes"])) != classes:
        raise ValueError("its classes are not two or more, each once")
    if not truth or min(counts) == 0 or sum(counts) // len(truth) != facts["recordings"]["test"]:
        raise ValueError("its test recordings are not as many as it says")
    if any(one.max() >= classes for one in truth):
        raise ValueError("a test recording is of a class that it does not have")
    if not all(0 <= facts["chance"][name] <= 1 for name in METRICS):
        raise ValueError("chance is no share")
    if min(facts["layers"], facts["width"], facts["learning_rate"]["chosen"]) <= 0:
        raise ValueError("layers, width and learning rate must be above zero")
    if min([0, *facts["recordings"].values(), *facts["seconds"].values()]) < 0:
        raise ValueError("recordings and seconds must not be below zero")
    if len({run["seed"] for run in runs}) != len(runs) or not runs:
        raise ValueError("it has no run, or two of one seed")
    if len({frozenset(run["sources"]) for run in runs}) > 1:
        raise ValueError("its runs name different sources")
    for run in runs:
        seed = run["seed"]
        if len(run["folds"]) != len(truth):
            raise ValueError(f"run {seed} has not as many folds as there are")
        scores = []
        for fold, truth_N in zip(run["folds"], truth):
            if any(len(look) != 2 or not 0 <= look[1] <= 1 for look in fold["curve"]):
                raise ValueError(f"a look at dev of run {seed} is not a step and a score")
            predicted_N = unpack(fold["predicted"], len(truth_N))
            if len(predicted_N) != len(truth_N) or predicted_N.max() >= classes:
                raise ValueError(f"the predictions of run {seed} are not of its test recordings")
            scores.append(metrics(truth_N, predicted_N, classes))
        for name in METRICS:
            if abs(run["metrics"][name] - np.mean([one[name] for one in scores])) > 1e-9:
                raise ValueError(f"the {name} of run {seed} is not that of its predictions")


def _reason(error: BaseException) -> str:
    """What an error says, in one line; a bare KeyError says no more than a key."""
    said = " ".join(str(error).split())[:300]
    return f"it lacks {said}" if isinstance(error, KeyError) else said


def _checksum(stored: dict[str, Any]) -> str:
    return digest({key: value for key, value in stored.items() if key != "sha256"})


def _plain(name: str) -> str:
    """A name as a part of a path: letters, digits, dashes and underscores, the rest is dashes."""
    plain = re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")[:80]
    return plain if plain == name else f"{plain}-{digest(name)[:6]}"


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Check that a value has a shape; `where` names the value.

    Raises:
        ValueError: it has not; the place is named. A number that is not finite fits nothing.
    """
    if isinstance(shape, tuple):
        _check_one_of(value, shape, where)
    elif isinstance(shape, list):
        _check_type(value, list, where)
        for place, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{place}]")
    elif isinstance(shape, dict) and str in shape:
        _check_type(value, dict, where)
        for key, item in value.items():
            check_shape(item, shape[str], f"{where}.{key}")
    elif isinstance(shape, dict):
        _check_type(value, dict, where)
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value:
                check_shape(value[name], inner, f"{where}.{name}")
            elif name == key:
                raise ValueError(f"{where} lacks '{name}'")
    else:
        _check_type(value, shape, where)


def _check_one_of(value: Any, shapes: tuple[Any, ...], where: str) -> None:
    for place, shape in enumerate(shapes):
        try:
            return check_shape(value, shape, where)
        except ValueError:
            if place == len(shapes) - 1:
                raise
    raise ValueError(f"{where} may be nothing at all")


def _check_type(value: Any, kind: type | None, where: str) -> None:
    if kind is None:
        right = value is None
    elif kind is float:
        right = type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)
    elif kind is int:
        right = type(value) is int and abs(value) < 2**63
    else:
        right = type(value) is kind
    if not right:
        raise ValueError(f"{where} is {shown(value)}, which is no {kind and kind.__name__}")
