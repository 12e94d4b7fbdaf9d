"""A campaign: upstreams × tasks × corpora, each cell repeated, only what is missing computed."""

from __future__ import annotations

import glob
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from barlow_speech.benchmark.cost import measure_cost
from barlow_speech.benchmark.end_to_end import EndToEnd, Start, check_trainable, train_end_to_end
from barlow_speech.benchmark.features import Features, Kind, Selection, features
from barlow_speech.benchmark.inputs import Frames, Inputs, Means
from barlow_speech.benchmark.log_mels import LogMels
from barlow_speech.benchmark.machine import environment
from barlow_speech.benchmark.metrics import METRICS, metrics
from barlow_speech.benchmark.protocol import Protocol
from barlow_speech.benchmark.runs import Run, RunPlan, Split, train_runs
from barlow_speech.benchmark.statistics import Cell
from barlow_speech.benchmark.store import Record, Store, cell_of, pack
from barlow_speech.benchmark.unfinished import Unfinished
from barlow_speech.benchmark.upstreams import Upstream, load_upstream
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples, read_corpus
from barlow_speech.downstream.heads import Input, head_module
from barlow_speech.downstream.task import Task, read_task
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.files import digest
from barlow_speech.upstream.permissions import NONE, Permissions
from barlow_speech.upstream.progress import progress

log = logging.getLogger(__name__)

# What trains runs of one pretraining on one fold: (plans, on_step, whether test is judged) → runs.
Fit = Callable[[Sequence[RunPlan], Callable[[float], Any], bool], list[Run]]


@dataclass(frozen=True)
class Settings:
    """What all cells of a campaign share; the folders are those of the results and the features."""

    results: Path
    cache: Path
    device: str = "cpu"
    metric: str = "top1"
    data_root: Path | None = None
    checkpoint: Path | None = None
    overwrite: bool = False
    allow_leakage: bool = False
    verify_cache: bool = False
    permissions: Permissions = NONE


@dataclass(frozen=True)
class Job:
    """One cell to be made, as names and numbers: it can be sent to another process."""

    upstream: str
    task: str
    corpus: str
    protocol: Protocol
    selection: Selection = "hidden_states"
    layer: int | None = None


@dataclass(frozen=True)
class Piece:
    """A task on a corpus, checked: its folds (mostly one); what it fixes and what may leak."""

    task: Task
    corpus: Corpus
    folds: tuple[Examples, ...]
    notes: tuple[str, ...]


class Campaign:
    """Makes cells, and keeps at hand what the next cell may need again.

    Corpora stay for good, the upstream that was used last and its features until another is used:
    jobs are best given upstream by upstream.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.results)
        self._corpora: dict[str, Corpus] = {}
        self._upstreams: tuple[str, list[Upstream]] = ("", [])
        self._features: dict[tuple[str, Kind], list[Features]] = {}
        self._costs: dict[str, dict[str, Any]] = {}
        self._log_mels: dict[tuple[str, int], LogMels] = {}

    def corpus(self, name: str) -> Corpus:
        """A corpus, read once.

        Raises:
            BarlowSpeechError: as `read_corpus`.
        """
        if name not in self._corpora:
            self._corpora[name] = read_corpus(name, self.settings.data_root)
        return self._corpora[name]

    def piece(self, task: str, corpus: str) -> Piece:
        """Check labels and splits before anything is computed.

        Raises:
            BarlowSpeechError: as `Corpus.folds`, and for a leak between splits unless it is
                allowed.
        """
        read, where = read_task(task), self.corpus(corpus)
        folds = where.folds(read)
        leaks = [leak for fold in folds for leak in where.leaks(read, fold)]
        if leaks and not self.settings.allow_leakage:
            raise BarlowSpeechError(
                f"corpus '{where.name}', task '{task}': {leaks[0]}; mend the column "
                f"'{folds[0].columns.split}' of {where.manifest.file}, or add --allow-leakage, "
                "which is then written into the record."
            )
        return Piece(read, where, tuple(folds), (*read.fixed, *leaks))

    def run(self, job: Job) -> Cell:
        """The cell of a job: from the store, or computed and stored.

        Raises:
            BarlowSpeechError: as `piece` and `features`, for an identical recording in two splits,
                when the loss of a run is not finite, and when the protocol trains the upstream and
                it is not one of ours.
        """
        piece, protocol = self.piece(job.task, job.corpus), job.protocol
        trained = isinstance(protocol, EndToEnd)
        if trained:
            check_trainable(job.upstream)
        upstreams = self._load(job.upstream, protocol)
        # Of an upstream that is trained, the features say what it starts from, and its size.
        kind: Kind = "frames" if _input(protocol) == "frames" and not trained else "pooled"
        found = self._extract(upstreams, piece.corpus, kind)
        notes = [*piece.notes, *_identical(piece, found[0], self.settings.allow_leakage)]
        if protocol.judge == "dev":
            piece, notes = _on_dev(piece), [*notes, ON_DEV]
        identity = {
            "features": [one.key for one in found],
            "selection": job.selection if job.layer is None else f"layer {job.layer}",
            "examples": digest(
                [
                    {
                        "classes": fold.classes,
                        "rows": {split: fold.rows[split].tolist() for split in SPLITS},
                        "labels": {split: fold.labels[split].tolist() for split in SPLITS},
                    }
                    for fold in piece.folds
                ]
            ),
            "protocol": protocol.identity(),
        }
        record = self.store.load(job.upstream, job.task, piece.corpus.name, identity)
        path = self.store.path(record)
        unfinished = Unfinished(
            self.settings.results / "unfinished" / f"{path.parent.name}.{path.stem}"
        )
        if self.settings.overwrite:
            record = Record(job.upstream, job.task, piece.corpus.name, identity)
            unfinished.clear()
        seeds = [protocol.seed + run for run in range(protocol.runs)]
        missing = [run for run, seed in enumerate(seeds) if seed not in record.runs]
        if missing:
            started = time.monotonic()
            try:
                if isinstance(protocol, EndToEnd):
                    fits = self._end_to_end(protocol, job, piece, upstreams, found, unfinished)
                else:
                    fits = self._heads(job, piece, found)
                self._complete(record, job, piece, fits, missing)
            except BarlowSpeechError as error:
                raise BarlowSpeechError(
                    f"upstream '{job.upstream}', task '{job.task}', corpus "
                    f"'{piece.corpus.name}': {error}"
                ) from error
            seconds = time.monotonic() - started + unfinished.seconds
            self._describe(record, job, piece, upstreams, found, notes, seconds)
            self.store.save(record)
            unfinished.clear()
        return cell_of(record, seeds, self.settings.metric)

    def _load(self, name: str, protocol: Protocol) -> list[Upstream]:
        """The upstream, or its several pretrainings."""
        wanted = f"{name}\0{protocol.varies}\0{protocol.levels}\0{protocol.runs}"
        if self._upstreams[0] != wanted:
            self._features.clear()
            settings = self.settings
            self._upstreams = (
                wanted,
                [
                    load_upstream(
                        member,
                        settings.checkpoint,
                        settings.device,
                        seed=seed,
                        permissions=settings.permissions,
                    )
                    for member, seed in pretrainings(name, protocol)
                ],
            )
        return self._upstreams[1]

    def _extract(self, upstreams: list[Upstream], corpus: Corpus, kind: Kind) -> list[Features]:
        if (corpus.name, kind) not in self._features:
            self._features[corpus.name, kind] = [
                features(
                    one,
                    corpus.recordings,
                    self.settings.cache,
                    corpus.manifest.file,
                    kind,
                    self.settings.verify_cache,
                )
                for one in upstreams
            ]
        return self._features[corpus.name, kind]

    def _heads(self, job: Job, piece: Piece, found: Sequence[Features]) -> list[list[Fit]]:
        """For each pretraining and fold: heads alone, on its frozen features."""
        device, protocol = self.settings.device, job.protocol
        return [
            [
                partial(_train, _splits(one, fold, job, device), fold, protocol)
                for fold in piece.folds
            ]
            for one in found
        ]

    def _end_to_end(
        self,
        protocol: EndToEnd,
        job: Job,
        piece: Piece,
        upstreams: Sequence[Upstream],
        found: Sequence[Features],
        unfinished: Unfinished,
    ) -> list[list[Fit]]:
        """For each pretraining and fold: encoder and head together."""
        _check_selection(job, found[0].shape[0])
        # From scratch each run draws an encoder of its own, unless the protocol says which it has.
        scratch = job.upstream.partition("@")[0] == "barlow_speech_random"
        redraw = scratch and "pretrain_seed" not in protocol.varies
        if not any(name == piece.corpus.name for name, _ in self._log_mels):
            self._log_mels.clear()  # those of one corpus are kept
        fits: list[list[Fit]] = []
        for member, upstream in enumerate(upstreams):
            assert isinstance(upstream.module, UpstreamExpert)
            model = upstream.module.model
            bands = model.frontend.settings.n_mels
            mels = self._log_mels.setdefault(
                (piece.corpus.name, bands), LogMels(piece.corpus.recordings, bands)
            )
            start = Start(model, protocol.head, redraw, job.selection, job.layer)
            fits.append(
                [
                    partial(
                        train_end_to_end,
                        start,
                        {
                            split: mels.speech(fold.rows[split], fold.labels[split])
                            for split in SPLITS
                        },
                        len(fold.classes),
                        protocol.training(),
                        protocol.encoder,
                        torch.device(self.settings.device),
                        unfinished,
                        {"pretraining": member, "fold": i},
                    )
                    for i, fold in enumerate(piece.folds)
                ]
            )
        return fits

    def _complete(
        self,
        record: Record,
        job: Job,
        piece: Piece,
        fits: list[list[Fit]],
        missing: Sequence[int],
    ) -> None:
        """Search the learning rate if that is not done, and add the missing runs."""
        protocol = job.protocol
        if "learning_rate" not in record.facts:
            record.facts["learning_rate"] = _search(job, fits)
        rate = record.facts["learning_rate"]["chosen"]
        # Runs that share a pretraining are trained together.
        members: dict[int, list[int]] = {}
        for run in missing:
            member = (protocol.sources(run)["pretrain_seed"] or 0) % len(fits)
            members.setdefault(member, []).append(run)
        total = protocol.steps * len(piece.folds)
        what = f"{job.task}, {len(missing)} runs for {job.upstream}"
        with progress(total, what, "step", bar_format=STEPS) as bar:
            for member, runs in members.items():
                plans = [protocol.plan(run, rate) for run in runs]
                share = len(runs) / len(missing)
                done = [fit(plans, partial(_advance, bar, share), True) for fit in fits[member]]
                for at, run in enumerate(runs):
                    record.runs[plans[at].seed] = {
                        "seed": plans[at].seed,
                        "sources": {**protocol.sources(run), "pretrain_seed": member},
                        **_judged([one[at] for one in done], piece.folds),
                    }

    def _describe(
        self,
        record: Record,
        job: Job,
        piece: Piece,
        upstreams: Sequence[Upstream],
        found: Sequence[Features],
        notes: list[str],
        seconds: float,
    ) -> None:
        card, first = piece.corpus.card, piece.folds[0]
        upstream = upstreams[0]
        if upstream.fingerprint not in self._costs:
            self._costs[upstream.fingerprint] = measure_cost(upstream)
        heads = record.facts.get("seconds", {}).get("heads", 0.0) + seconds
        layers, width = found[0].shape
        record.facts |= {
            "protocol": job.protocol.name,
            "head": _head_note(job.protocol),
            "classes": first.classes,
            "truth": [pack(fold.labels["test"]) for fold in piece.folds],
            "recordings": {
                split: sum(len(fold.rows[split]) for fold in piece.folds) // len(piece.folds)
                for split in SPLITS
            },
            "folds": [{"label": f.columns.label, "split": f.columns.split} for f in piece.folds],
            "chance": _chance(piece.folds),
            "layers": layers,
            "width": width,
            "upstream_fingerprints": [one.fingerprint for one in upstreams],
            "cost": self._costs[upstream.fingerprint],
            "corpus": {
                "revision": card.revision,
                "licence": card.licence,
                "citation": card.citation,
                "description": card.description,
            },
            "notes": notes,
            "seconds": {
                "features": round(sum(one.seconds for one in found), 3),
                "heads": round(heads, 3),
            },
            **environment(self.settings.device),
        }


ON_DEV = "scores are of dev, which also chose the head's settings: to compare trials, no results"
STEPS = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}]"


def pretrainings(name: str, protocol: Protocol) -> list[tuple[str, int]]:
    """The (name, seed) of each pretraining of an upstream; one, unless `pretrain_seed` varies.

    `name@some/*/encoder.safetensors` stands for every file that it matches, in their order;
    `barlow_speech_random` for as many draws of its weights as the protocol has levels or runs.

    Raises:
        BarlowSpeechError: nothing matches, or the number does not fit the protocol.
    """
    varies = "pretrain_seed" in protocol.varies
    wanted = protocol.levels.get("pretrain_seed", protocol.runs)
    plain, _, pattern = name.partition("@")
    if plain == "barlow_speech_random" and varies:
        return [(name, seed) for seed in range(wanted)]
    if not any(mark in pattern for mark in "*?["):
        if varies:
            raise BarlowSpeechError(
                f"upstream '{name}' is one pretraining, but the protocol '{protocol.name}' varies "
                f"pretrain_seed; give several as '{plain}@folder/*/encoder.safetensors'."
            )
        return [(name, 0)]
    files = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not files:
        raise BarlowSpeechError(f"upstream '{name}': no file matches {pattern}; check the path.")
    if not varies:
        raise BarlowSpeechError(
            f"upstream '{name}' is {len(files)} pretrainings; choose a protocol whose runs vary in "
            "pretrain_seed, such as --protocol pretraining, or give one file."
        )
    if protocol.levels and len(files) != wanted:
        raise BarlowSpeechError(
            f"upstream '{name}' is {len(files)} pretrainings, but the protocol '{protocol.name}' "
            f"has {wanted} levels of pretrain_seed; let them agree."
        )
    return [(f"{plain}@{file}", 0) for file in files]


def _head_note(protocol: Protocol) -> str:
    note = head_module(protocol.head["name"]).NOTE
    return f"{note}; {protocol.encoder.note()}" if isinstance(protocol, EndToEnd) else note


def _input(protocol: Protocol) -> Input:
    return head_module(protocol.head["name"]).INPUT


def _on_dev(piece: Piece) -> Piece:
    """The piece without its test recordings: dev is judged in their place."""
    folds = [
        replace(
            fold,
            rows={**fold.rows, "test": fold.rows["dev"]},
            labels={**fold.labels, "test": fold.labels["dev"]},
        )
        for fold in piece.folds
    ]
    return replace(piece, folds=tuple(folds))


def _identical(piece: Piece, found: Features, allowed: bool) -> list[str]:
    """Recordings of one split whose samples are, bit for bit, those of a recording of another."""
    for fold in piece.folds:
        seen: dict[int, tuple[str, int]] = {}
        for split in SPLITS:
            for row in fold.rows[split].tolist():
                other, at = seen.setdefault(int(found.audio_N[row]), (split, row))
                if other == split:
                    continue
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


def _splits(found: Features, fold: Examples, job: Job, device: str) -> dict[str, Split]:
    return {
        split: Split(
            _inputs(found, fold.rows[split], job, torch.device(device)),
            torch.from_numpy(fold.labels[split]).to(device),
        )
        for split in SPLITS
    }


def _inputs(found: Features, rows: np.ndarray, job: Job, device: torch.device) -> Inputs:
    """The recordings of a split as the protocol's head sees them."""
    kind, layers = _input(job.protocol), found.shape[0]
    _check_selection(job, layers)
    if job.selection == "embedding":
        return Means(found.embeddings(rows).to(device))
    chosen = slice(None) if job.layer is None else slice(job.layer % layers, job.layer % layers + 1)
    if kind == "frames":
        return Frames([one[:, chosen] for one in found.frames(rows)], device)
    return Means(found.means(rows, with_std=kind == "mean_std")[:, chosen].to(device))


def _check_selection(job: Job, layers: int) -> None:
    if job.selection == "embedding":
        if _input(job.protocol) == "frames":
            raise BarlowSpeechError(
                f"the head '{job.protocol.head['name']}' looks at frames, of which an embedding "
                "has none; use -s hidden_states, or another head."
            )
    elif job.layer is not None and not -layers <= job.layer < layers:
        raise BarlowSpeechError(
            f"there is no layer {job.layer}; upstream '{job.upstream}' has {layers}, from 0."
        )


def _search(job: Job, fits: list[list[Fit]]) -> dict[str, Any]:
    """The learning rate with the best mean dev score; the smallest of equals.

    All rates are trained in one pass, for every fold and pretraining.
    """
    protocol = job.protocol
    rates = tuple(sorted(set(protocol.learning_rates)))
    if len(rates) == 1:
        return {"chosen": rates[0], "how": "fixed"}
    plans = protocol.search_plans()
    scores: dict[float, list[float]] = {rate: [] for rate in rates}
    what = f"{job.task}, learning rate for {job.upstream}"
    total = protocol.steps * sum(map(len, fits))
    with progress(total, what, "step", bar_format=STEPS) as bar:
        for fit in itertools.chain.from_iterable(fits):
            for plan, run in zip(plans, fit(plans, bar.update, False)):
                scores[plan.lr].append(run.dev)
    means = {rate: float(np.mean(values)) for rate, values in scores.items()}
    chosen = max(rates, key=lambda rate: means[rate])
    result = {
        "chosen": chosen,
        "how": f"best mean dev {METRICS[protocol.selection]} of {protocol.search_runs} runs each",
        "dev": {f"{rate:g}": round(mean, 6) for rate, mean in means.items()},
    }
    if chosen in (rates[0], rates[-1]):
        result["at_edge"] = True  # a wider grid might have given more
    return result


def _train(
    splits: dict[str, Split],
    fold: Examples,
    protocol: Protocol,
    plans: Sequence[RunPlan],
    on_step: Callable[[float], Any],
    judged: bool,
) -> list[Run]:
    return train_runs(
        protocol.head,
        splits["train"],
        splits["dev"],
        splits["test"] if judged else None,
        len(fold.classes),
        protocol.training(),
        plans,
        on_step,
    )


def _advance(bar: Any, share: float, part: float) -> None:
    bar.update(share * part)


def _judged(runs: Sequence[Run], folds: Sequence[Examples]) -> dict[str, Any]:
    """What a run gave: the mean over its folds of every metric, and its predictions."""
    scores = [
        metrics(fold.labels["test"], run.predicted, len(fold.classes))
        for run, fold in zip(runs, folds)
    ]
    return {
        "metrics": {name: float(np.mean([one[name] for one in scores])) for name in METRICS},
        "folds": [
            {
                "dev": run.dev,
                "step": run.step,
                "curve": [[step, round(score, 6)] for step, score in run.curve],
                "predicted": pack(run.predicted),
            }
            for run in runs
        ],
    }


def _chance(folds: Sequence[Examples]) -> dict[str, float]:
    """Every metric of always saying the most frequent class of the train split."""
    scores = []
    for fold in folds:
        most = np.bincount(fold.labels["train"]).argmax()
        truth = fold.labels["test"]
        scores.append(metrics(truth, np.full(len(truth), most), len(fold.classes)))
    return {name: float(np.mean([one[name] for one in scores])) for name in METRICS}
