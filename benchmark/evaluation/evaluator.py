"""A campaign: upstreams × tasks × corpora, each cell repeated, only what is missing computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from barlow_speech.benchmark.evaluation.end_to_end import (
    EndToEnd,
    Start,
    check_trainable,
    train_end_to_end,
)
from barlow_speech.benchmark.evaluation.head_training import Run, RunPlan, Split, train_runs
from barlow_speech.benchmark.evaluation.job import Job, Settings, Trainer
from barlow_speech.benchmark.evaluation.learning_rate import STEPS, _search
from barlow_speech.benchmark.evaluation.log_mels import LogMels
from barlow_speech.benchmark.evaluation.partial_runs import PartialRuns
from barlow_speech.benchmark.evaluation.pretrainings import pretrainings
from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.benchmark.evaluation.records import Record, Store, cell_of
from barlow_speech.benchmark.evaluation.task_data import (
    ON_DEV,
    TaskData,
    _check_selection,
    _identical,
    _input,
    _most_frequent,
    _on_dev,
    _splits,
)
from barlow_speech.benchmark.features.cost import measure_cost
from barlow_speech.benchmark.features.extraction import Features, Kind, features, features_key
from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples, read_corpus
from barlow_speech.downstream.heads import head_module
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.machine import environment
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.expert import UpstreamExpert

log = logging.getLogger(__name__)


class Evaluator:
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

    def piece(self, task: str, corpus: str) -> TaskData:
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
                f"corpus '{where.name}', task '{task}': {leaks[0]}; fix the column "
                f"'{folds[0].columns.split}' of {where.manifest.file}, or add --allow-leakage, "
                "which is then written into the record."
            )
        return TaskData(read, where, tuple(folds), (*read.fixed, *leaks))

    def run(self, job: Job) -> TaskResult:
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
        found = self._extract(upstreams, piece.corpus, _kind(protocol))
        notes = [*piece.notes, *_identical(piece, found[0], self.settings.allow_leakage)]
        if protocol.judge == "dev":
            piece, notes = _on_dev(piece), [*notes, ON_DEV]
        identity = _identity(job, piece, [one.key for one in found])
        record = self.store.load(job.upstream, job.task, piece.corpus.name, identity)
        path = self.store.path(record)
        partial_runs = PartialRuns(
            self.settings.results / "unfinished" / f"{path.parent.name}.{path.stem}"
        )
        if self.settings.overwrite:
            record = Record(job.upstream, job.task, piece.corpus.name, identity)
            partial_runs.clear()
        seeds = [protocol.seed + run for run in range(protocol.runs)]
        missing = [run for run, seed in enumerate(seeds) if seed not in record.runs]
        if missing:
            started = time.monotonic()
            try:
                if isinstance(protocol, EndToEnd):
                    fits = self._end_to_end(protocol, job, piece, upstreams, found, partial_runs)
                else:
                    fits = self._heads(job, piece, found)
                self._complete(record, job, piece, fits, missing)
            except BarlowSpeechError as error:
                raise BarlowSpeechError(
                    f"upstream '{job.upstream}', task '{job.task}', corpus "
                    f"'{piece.corpus.name}': {error}"
                ) from error
            seconds = time.monotonic() - started + partial_runs.seconds
            self._describe(record, job, piece, upstreams, found, notes, seconds)
            self.store.save(record)
            partial_runs.clear()
        return cell_of(record, seeds, self.settings.metric)

    def stored(self, job: Job) -> bool:
        """Whether every run of a job is recorded; no feature is computed for it.

        Raises:
            BarlowSpeechError: corpus, task or upstream is not there.
        """
        if not self.store.may_have(job.upstream, job.task):
            return False
        piece, protocol = self.piece(job.task, job.corpus), job.protocol
        where = piece.corpus
        if protocol.judge == "dev":
            piece = _on_dev(piece)
        keys = [
            features_key(one, where.recordings, where.manifest.file, _kind(protocol))
            for one in self._load(job.upstream, protocol)
        ]
        record = self.store.load(job.upstream, job.task, where.name, _identity(job, piece, keys))
        return all(protocol.seed + run in record.runs for run in range(protocol.runs))

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

    def _heads(self, job: Job, piece: TaskData, found: Sequence[Features]) -> list[list[Trainer]]:
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
        piece: TaskData,
        upstreams: Sequence[Upstream],
        found: Sequence[Features],
        partial_runs: PartialRuns,
    ) -> list[list[Trainer]]:
        """For each pretraining and fold: encoder and head together."""
        _check_selection(job, found[0].shape[0])
        # From scratch each run draws an encoder of its own, unless the protocol says which it has.
        scratch = job.upstream.partition("@")[0] == "barlow_speech_random"
        redraw = scratch and "pretrain_seed" not in protocol.varies
        if not any(name == piece.corpus.name for name, _ in self._log_mels):
            self._log_mels.clear()  # those of one corpus are kept
        fits: list[list[Trainer]] = []
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
                        partial_runs,
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
        piece: TaskData,
        fits: list[list[Trainer]],
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
                        "folds": [_fold(one[at]) for one in done],
                    }

    def _describe(
        self,
        record: Record,
        job: Job,
        piece: TaskData,
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
            "most_frequent": _most_frequent(piece.folds),
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


def _kind(protocol: Protocol) -> Kind:
    frames = _input(protocol) == "frames" and not isinstance(protocol, EndToEnd)
    return "frames" if frames else "pooled"


def _identity(job: Job, piece: TaskData, features: Sequence[str]) -> dict[str, Any]:
    """All that decides the numbers of a record."""
    return {
        "features": list(features),
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
        "protocol": job.protocol.identity(),
    }


def _head_note(protocol: Protocol) -> str:
    note = head_module(protocol.head["name"]).NOTE
    return f"{note}; {protocol.encoder.note()}" if isinstance(protocol, EndToEnd) else note


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


def _fold(run: Run) -> dict[str, Any]:
    """What a run gave on one fold."""
    return {
        "dev": run.dev,
        "step": run.step,
        "curve": [[step, round(score, 6)] for step, score in run.curve],
        "predicted": pack(run.predicted),
    }
