"""A campaign: upstreams × tasks × corpora, each cell repeated, only what is missing computed."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from barlow_speech.benchmark.features import Features, features
from barlow_speech.benchmark.protocol import Protocol
from barlow_speech.benchmark.runs import Run, Split, Training, train_runs
from barlow_speech.benchmark.statistics import Cell
from barlow_speech.benchmark.store import Record, Store
from barlow_speech.benchmark.upstreams import Upstream
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples
from barlow_speech.downstream.task import Task
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.files import digest
from barlow_speech.upstream.progress import progress

log = logging.getLogger(__name__)

SEARCH_SEEDS = 1 << 31  # distance of the seeds of a learning-rate search from those of the runs


@dataclass(frozen=True)
class Settings:
    """What all cells of a campaign share; the folders are those of the results and the features."""

    runs: int
    results: Path
    cache: Path
    device: str = "cpu"
    overwrite: bool = False
    allow_leakage: bool = False


@dataclass(frozen=True)
class Piece:
    """A task on a corpus, checked, with its protocol."""

    task: Task
    corpus: Corpus
    examples: Examples
    protocol: Protocol
    notes: tuple[str, ...]


def piece(task: Task, corpus: Corpus, protocol: Protocol, allow_leakage: bool) -> Piece:
    """Check labels and splits before anything is computed.

    Raises:
        BarlowSpeechError: as `Corpus.examples`, and for a leak between splits unless it is allowed.
    """
    examples = corpus.examples(task)
    leaks = corpus.leaks(task, examples)
    if leaks and not allow_leakage:
        raise BarlowSpeechError(
            f"corpus '{corpus.name}', task '{task.name}': {leaks[0]}; mend the column "
            f"'{examples.columns.split}' of {corpus.manifest.file}, or add --allow-leakage, "
            "which is then written into the record."
        )
    return Piece(task, corpus, examples, protocol, tuple(leaks))


def run_upstream(upstream: Upstream, pieces: Sequence[Piece], settings: Settings) -> list[Cell]:
    """The cells of one upstream, in the order of the pieces; each corpus is read once.

    Raises:
        BarlowSpeechError: as `features`, and when an identical recording stands in two splits.
    """
    pooled: dict[str, Features] = {}
    cells = []
    for piece in pieces:
        name = piece.corpus.name
        if name not in pooled:
            pooled[name] = features(upstream, piece.corpus, settings.cache)
        cells.append(_run_piece(piece, upstream, pooled[name], settings))
    return cells


def _run_piece(piece: Piece, upstream: Upstream, pooled: Features, settings: Settings) -> Cell:
    """The cell of one upstream on one piece: from the store, or computed and stored."""
    notes = [*piece.notes, *_identical(piece, pooled, settings.allow_leakage)]
    examples, protocol = piece.examples, piece.protocol
    identity = {
        "features": pooled.key,
        "examples": digest(
            {
                "classes": examples.classes,
                "rows": {split: examples.rows[split].tolist() for split in SPLITS},
                "labels": {split: examples.labels[split].tolist() for split in SPLITS},
            }
        ),
        "protocol": protocol.as_dict(),
        "metric": "top1",
    }
    store = Store(settings.results)
    record = store.load(upstream.name, piece.task.name, piece.corpus.name, identity)
    if settings.overwrite:
        record = Record(upstream.name, piece.task.name, piece.corpus.name, identity)
    seeds = [protocol.seed + run for run in range(settings.runs)]
    missing = [seed for seed in seeds if seed not in record.runs]
    if missing:
        splits = _splits(pooled, examples, settings.device)
        started = time.monotonic()
        searched = record.facts.get("learning_rate")
        rate = searched or _search(piece, upstream, splits)
        done = _train(piece, upstream, splits, rate["chosen"], missing)
        seconds = time.monotonic() - started
        record.facts = _facts(piece, upstream, pooled, rate, notes, settings, record, seconds)
        for run in done:
            record.runs[run.seed] = dataclasses.asdict(run)
        store.save(record)
    values = tuple(float(record.runs[seed]["test"]) for seed in seeds)
    return Cell(
        upstream=upstream.name,
        task=piece.task.name,
        corpus=piece.corpus.name,
        metric="top1",
        values=values,
        details=_details(record, seeds),
    )


def _identical(piece: Piece, pooled: Features, allowed: bool) -> list[str]:
    """Recordings of one split whose samples are, bit for bit, those of a recording of another."""
    seen: dict[int, tuple[str, int]] = {}
    audio_N = pooled.audio_N.numpy()
    for split in SPLITS:
        for row in piece.examples.rows[split].tolist():
            other, at = seen.setdefault(int(audio_N[row]), (split, row))
            if other != split:
                recordings = piece.corpus.recordings
                sentence = (
                    f"{recordings[at]} in {other} is, to the bit, {recordings[row]} in {split}"
                )
                if not allowed:
                    raise BarlowSpeechError(
                        f"corpus '{piece.corpus.name}', task '{piece.task.name}': {sentence}; drop "
                        f"one of them from {piece.corpus.manifest.file}, or add --allow-leakage."
                    )
                return [sentence]
    return []


def _splits(pooled: Features, examples: Examples, device: str) -> dict[str, Split]:
    return {
        split: Split(
            pooled.pooled_NLD[torch.from_numpy(examples.rows[split])].to(device),
            torch.from_numpy(examples.labels[split]).to(device),
        )
        for split in SPLITS
    }


def _training(protocol: Protocol, rate: float) -> Training:
    return Training(
        steps=protocol.steps,
        batch=protocol.batch,
        lr=rate,
        eval_step=protocol.eval_step,
        clip=protocol.clip,
        projector_dim=protocol.projector_dim,
    )


def _search(piece: Piece, upstream: Upstream, splits: dict[str, Split]) -> dict[str, Any]:
    """The learning rate with the best mean dev accuracy; the smallest of equals."""
    protocol = piece.protocol
    if len(protocol.learning_rates) == 1:
        return {"chosen": protocol.learning_rates[0], "how": "fixed"}
    # Far from those of the runs that are reported: they must not be the ones that were chosen on.
    seeds = [protocol.seed + SEARCH_SEEDS + run for run in range(protocol.search_runs)]
    means = {}
    what = f"{piece.task.name}, learning rate for {upstream.name}"
    with progress(protocol.steps * len(protocol.learning_rates), what, "step") as bar:
        for rate in protocol.learning_rates:
            runs = train_runs(
                splits["train"], splits["dev"], None, len(piece.examples.classes),
                _training(protocol, rate), seeds, bar.update,
            )  # fmt: skip
            means[rate] = float(np.mean([run.dev for run in runs]))
    chosen = max(means, key=lambda rate: means[rate])
    if chosen in (protocol.learning_rates[0], protocol.learning_rates[-1]):
        log.debug("%s: the best learning rate %g lies at the edge of the grid", what, chosen)
    return {
        "chosen": chosen,
        "how": f"best mean dev top-1 of {protocol.search_runs} runs each",
        "dev": {f"{rate:g}": round(mean, 6) for rate, mean in means.items()},
    }


def _train(
    piece: Piece, upstream: Upstream, splits: dict[str, Split], rate: float, seeds: Sequence[int]
) -> list[Run]:
    what = f"{piece.task.name}, {len(seeds)} runs for {upstream.name}"
    with progress(piece.protocol.steps, what, "step") as bar:
        runs = train_runs(
            splits["train"], splits["dev"], splits["test"], len(piece.examples.classes),
            _training(piece.protocol, rate), seeds, bar.update,
        )  # fmt: skip
    if not all(math.isfinite(run.test) for run in runs):
        raise BarlowSpeechError(
            f"upstream '{upstream.name}', task '{piece.task.name}': a result is not finite; "
            "lower --lr."
        )
    return runs


def _facts(
    piece: Piece,
    upstream: Upstream,
    pooled: Features,
    rate: dict[str, Any],
    notes: list[str],
    settings: Settings,
    record: Record,
    seconds: float,
) -> dict[str, Any]:
    card = piece.corpus.card
    return {
        "learning_rate": rate,
        "classes": piece.examples.classes,
        "recordings": {split: len(piece.examples.rows[split]) for split in SPLITS},
        "columns": dataclasses.asdict(piece.examples.columns),
        "majority_top1": piece.examples.chance(),
        "layers": pooled.pooled_NLD.shape[1],
        "width": pooled.pooled_NLD.shape[2],
        "upstream_fingerprint": upstream.fingerprint,
        "corpus": {
            "revision": card.revision,
            "licence": card.licence,
            "citation": card.citation,
            "description": card.description,
        },
        "notes": notes,
        "seconds": {
            "features": pooled.seconds,
            "heads": round(record.facts.get("seconds", {}).get("heads", 0.0) + seconds, 3),
        },
        **environment(settings.device),
    }


def environment(device: str) -> dict[str, Any]:
    """Versions and hardware, for a record."""
    packages = ("barlow-speech", "torch", "torchaudio", "s3prl", "numpy", "scipy")
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        },
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _details(record: Record, seeds: list[int]) -> dict[str, Any]:
    facts, protocol = record.facts, record.identity["protocol"]
    return {
        "chance": facts["majority_top1"],
        "classes": len(facts["classes"]),
        **{f"{split}_recordings": count for split, count in facts["recordings"].items()},
        "lr": facts["learning_rate"]["chosen"],
        "lr_grid": list(protocol["learning_rates"]),
        "steps": protocol["steps"],
        "batch": protocol["batch"],
        "head": protocol["head"],
        "varied": list(protocol["varies"]),
        "seeds": seeds,
        "layers": facts["layers"],
        "width": facts["width"],
        "seconds": facts["seconds"],
        "notes": facts["notes"],
        "licence": facts["corpus"]["licence"],
    }
