"""Upstreams × tasks × corpora: each result repeated, and only what is missing computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.evaluation.partial_runs import PartialRuns
from barlow_speech.benchmark.evaluation.pretrainings import check_trainable, pretrainings
from barlow_speech.benchmark.evaluation.protocol import Protocol, Run
from barlow_speech.benchmark.evaluation.records import Record, Store, result_of
from barlow_speech.benchmark.evaluation.task_data import ON_DEV, TaskData, read_task_data
from barlow_speech.benchmark.features.cache import FEATURES_VERSION, features_key, recording_keys
from barlow_speech.benchmark.features.known import recall, remember
from barlow_speech.benchmark.statistics.predictions import pack, same_numbers
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples, check_names, read_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import PARTS_VERSION

if TYPE_CHECKING:
    from barlow_speech.benchmark.evaluation.trainers import Trainer
    from barlow_speech.benchmark.evaluation.training.log_mels import LogMels
    from barlow_speech.benchmark.features.extraction import Features, Kind
    from barlow_speech.benchmark.features.upstreams import Upstream

log = logging.getLogger(__name__)


class Evaluator:
    """Makes results, and keeps at hand what the next one may need again.

    Corpora, tasks on them and what is in their recordings stay for good (one that changes meanwhile
    is refused), the upstream that was used last and its features until another is used: jobs are
    best given upstream by upstream.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.results)
        self._corpora: dict[str, Corpus] = {}
        self._recordings: dict[str, list[bytes]] = {}
        self._task_data: dict[tuple[str, str, bool], TaskData] = {}
        self._divisions: dict[tuple[Any, ...], TaskData] = {}
        self._heard: dict[tuple[str, str], TaskData] = {}
        self._upstreams: tuple[str, list[Upstream]] = ("", [])
        self._features: dict[tuple[str, Kind], list[Features]] = {}
        self._costs: dict[str, dict[str, Any]] = {}
        self._log_mels: dict[tuple[str, int], LogMels] = {}

    @cached_property
    def device(self) -> str:
        """Where it is computed, found when something is.

        Raises:
            BarlowSpeechError: as `usable`.
        """
        from barlow_speech.upstream.common.machine import usable

        return usable(self.settings.device)

    def corpus(self, name: str) -> Corpus:
        """A corpus, read once.

        Raises:
            BarlowSpeechError: as `read_corpus` and `check_names`.
        """
        if name not in self._corpora:
            read = read_corpus(name, self.settings.data_root)
            check_names([*self._corpora.values(), read])
            self._corpora[name] = read
        return self._corpora[name]

    def task_data(self, task: str, corpus: str, protocol: Protocol | None = None) -> TaskData:
        """A task on a corpus, its labels and splits checked once, before anything is computed.

        A protocol that divides it anew by speaker gives the first of its divisions.

        Raises:
            BarlowSpeechError: as `read_task_data` and `TaskData.by_speaker`.
        """
        if protocol is not None and protocol.split is not None:
            return self._division(task, corpus, protocol, 0)
        return self._read(task, corpus, to_divide=False)

    def _read(self, task: str, corpus: str, to_divide: bool) -> TaskData:
        key = (task, corpus, to_divide)
        if key not in self._task_data:
            self._task_data[key] = read_task_data(
                task, self.corpus(corpus), self.settings.allow_leakage, to_divide
            )
        return self._task_data[key]

    def _division(self, task: str, corpus: str, protocol: Protocol, number: int) -> TaskData:
        key = (task, corpus, protocol.split, protocol.seed + number)
        if key not in self._divisions:
            assert protocol.split is not None
            self._divisions[key] = self._read(task, corpus, to_divide=True).by_speaker(
                protocol.split, protocol.seed + number, self.settings.allow_leakage
            )
        return self._divisions[key]

    def run(self, job: Job, task_data: TaskData | None = None) -> TaskResult:
        """The result of a job: from the store, or computed and stored.

        `task_data` is by default what the job names.

        Raises:
            BarlowSpeechError: as `task_data` and `features`, for an identical recording in two
                splits, when the loss of a run is not finite, and when the protocol trains the
                upstream and it is not one of ours.
        """
        protocol = job.protocol
        task_data = task_data or self.task_data(job.task, job.corpus, protocol)
        if protocol.encoder is not None:
            check_trainable(job.upstream)
        seeds = [protocol.seed + run for run in range(protocol.runs)]
        if not self.settings.overwrite and not self.settings.verify_cache:
            whole = self._stored(job, task_data)
            # The long way goes a leak that was allowed, to be refused if it is no more.
            leaks = whole and set(whole.facts["notes"]) - {*task_data.notes, ON_DEV}
            if whole and not leaks:
                self._name_speakers(whole, task_data.evaluated_on(protocol.eval_split))
                return result_of(whole, seeds, self.settings.metric, self.settings.over)
        return self._completed(job, task_data, seeds)

    def _completed(self, job: Job, task_data: TaskData, seeds: Sequence[int]) -> TaskResult:
        """The result of a job of which something is missing, computed and stored."""
        from barlow_speech.benchmark.evaluation.trainers import check_selection

        protocol = job.protocol
        upstreams = self._load(job.upstream, protocol)
        extracted = self._extract(upstreams, task_data.corpus, job.kind)
        task_data = self._without_identical(task_data, extracted[0])
        task_data = task_data.evaluated_on(protocol.eval_split)
        corpus = task_data.corpus.name
        record = self._record(job, task_data, [one.key for one in extracted])
        path = self.store.path(record)
        partial_runs = PartialRuns(
            self.settings.results / "unfinished" / f"{path.parent.name}.{path.stem}"
        )
        if self.settings.overwrite:
            record = Record(job.upstream, job.task, corpus, record.identity)
            partial_runs.clear()
        missing = [run for run, seed in enumerate(seeds) if seed not in record.runs]
        if missing:
            started = time.monotonic()
            try:
                check_selection(job, extracted[0].shape[0])
                if protocol.encoder is not None:
                    trainers = self._end_to_end(job, task_data, upstreams, partial_runs)
                else:
                    trainers = self._heads(job, task_data, extracted)
                _complete(
                    record,
                    job,
                    task_data,
                    trainers,
                    missing,
                    partial(self._trained_on, job, extracted, (task_data, trainers)),
                )
            except BarlowSpeechError as error:
                raise BarlowSpeechError(
                    f"upstream '{job.upstream}', task '{job.task}', corpus '{corpus}': {error}"
                ) from error
            seconds = time.monotonic() - started + partial_runs.seconds
            self._describe(record, job, task_data, upstreams, extracted, seconds)
            self.store.save(record)
            partial_runs.clear()
        else:
            self._name_speakers(record, task_data)
        return result_of(record, seeds, self.settings.metric, self.settings.over)

    def _name_speakers(self, record: Record, task_data: TaskData) -> None:
        """Let a record have the speakers that the manifest names now: no run depends on them."""
        if record.facts.get("speakers") != task_data.packed_speakers:
            record.facts["speakers"] = task_data.packed_speakers
            self.store.save(record, record.recorded)

    def _without_identical(self, task_data: TaskData, first: Features) -> TaskData:
        """The same, checked once: samples are the same whichever upstream hears them."""
        key = (task_data.corpus.name, task_data.digest)
        if key not in self._heard:
            allowed = self.settings.allow_leakage
            self._heard[key] = task_data.with_identical(first.audio_N, allowed)
        return self._heard[key]

    def stored(self, job: Job) -> bool:
        """Whether every run of a job is recorded; no feature is computed for it.

        Raises:
            BarlowSpeechError: corpus, task or upstream is not there.
        """
        return self._stored(job, self.task_data(job.task, job.corpus, job.protocol)) is not None

    def _stored(self, job: Job, task_data: TaskData) -> Record | None:
        """The record of a job if it has every run; an upstream that is known is not loaded."""
        protocol, corpus = job.protocol, task_data.corpus
        if not self.store.may_have(job.upstream, job.task):
            return None
        task_data = task_data.evaluated_on(protocol.eval_split)
        keys = [
            features_key(name, fingerprint, self._keys(corpus), job.kind)
            for name, fingerprint in self._fingerprints(job.upstream, protocol)
        ]
        record = self._record(job, task_data, keys)
        whole = all(protocol.seed + run in record.runs for run in range(protocol.runs))
        return record if whole else None

    def _keys(self, corpus: Corpus) -> list[bytes]:
        """What is in the recordings of a corpus, looked at once."""
        if corpus.name not in self._recordings:
            self._recordings[corpus.name] = recording_keys(corpus.recordings, corpus.manifest.file)
        return self._recordings[corpus.name]

    def features_of(self, upstream: str, corpus: str) -> str:
        """The key of an upstream's means over time of a corpus, as both are now.

        Raises:
            BarlowSpeechError: as `corpus` and `load_upstream`.
        """
        known = recall(self.settings.cache, upstream, self.settings.checkpoint, 0)
        fingerprint = known or self._load_one(upstream, 0).fingerprint
        return features_key(upstream, fingerprint, self._keys(self.corpus(corpus)), "pooled")

    def _fingerprints(self, name: str, protocol: Protocol) -> list[tuple[str, str]]:
        """Name and fingerprint of an upstream, or of its several pretrainings."""
        given, members = self.settings, pretrainings(name, protocol)
        known = [(one, recall(given.cache, one, given.checkpoint, seed)) for one, seed in members]
        found = [(one, fingerprint) for one, fingerprint in known if fingerprint]
        if len(found) == len(members):
            return found
        return [(one.name, one.fingerprint) for one in self._load(name, protocol)]

    def _record(self, job: Job, task_data: TaskData, features: list[str]) -> Record:
        """The record of a job, stored or empty; its identity is all that decides its numbers."""
        identity = {
            "features": features,
            "selection": job.selection if job.layer is None else f"layer {job.layer}",
            "examples": task_data.digest,
            "protocol": job.protocol.identity(),
        }
        corpus = task_data.corpus.name
        record = self.store.load(job.upstream, job.task, corpus, identity)
        known = record.facts.get("speakers", task_data.packed_speakers)
        # Who is in which fold follows from who speaks: of other speakers all runs are others.
        if task_data.pool is not None and not same_numbers(known, task_data.packed_speakers):
            return Record(job.upstream, job.task, corpus, identity)
        return record

    def _load(self, name: str, protocol: Protocol) -> list[Upstream]:
        """The upstream, or its several pretrainings."""
        wanted = f"{name}\0{protocol.varies}\0{protocol.levels}\0{protocol.runs}"
        if self._upstreams[0] != wanted:
            self._features.clear()
            members = pretrainings(name, protocol)
            self._upstreams = (wanted, [self._load_one(member, seed) for member, seed in members])
        return self._upstreams[1]

    def _load_one(self, name: str, seed: int) -> Upstream:
        """An upstream; its fingerprint is remembered."""
        from barlow_speech.benchmark.features.upstreams import load_upstream

        given = self.settings
        loaded = load_upstream(name, given.checkpoint, self.device, seed, given.permissions)
        remember(given.cache, name, given.checkpoint, seed, loaded.fingerprint)
        return loaded

    def _extract(self, upstreams: list[Upstream], corpus: Corpus, kind: Kind) -> list[Features]:
        from barlow_speech.benchmark.features.extraction import features

        if (corpus.name, kind) not in self._features:
            cache, verify, listed_in = (
                self.settings.cache, self.settings.verify_cache, corpus.manifest.file
            )  # fmt: skip
            extracted = [
                features(one, corpus.recordings, cache, listed_in, kind, verify)
                for one in upstreams
            ]
            known = self._recordings.get(corpus.name)
            if known and extracted[0].key != features_key(
                upstreams[0].name, upstreams[0].fingerprint, known, kind
            ):
                raise BarlowSpeechError(
                    f"recordings of {listed_in} changed while they were used; run it again."
                )
            self._features[corpus.name, kind] = extracted
        return self._features[corpus.name, kind]

    def _heads(
        self, job: Job, task_data: TaskData, extracted: Sequence[Features]
    ) -> list[list[Trainer]]:
        """For each pretraining and fold: heads on its features."""
        from barlow_speech.benchmark.evaluation.trainers import head_trainer

        device = self.device
        return [
            [head_trainer(job, fold, one, device) for fold in task_data.folds] for one in extracted
        ]

    def _trained_on(
        self,
        job: Job,
        extracted: Sequence[Features],
        first: tuple[TaskData, list[list[Trainer]]],
        member: int,
        division: int,
    ) -> tuple[TaskData, list[Trainer]]:
        """The folds of a division, and their trainers for a pretraining; those of the first are at
        hand."""
        task_data, trainers = first
        if division == 0:
            return task_data, trainers[member]
        task_data = self._division(job.task, job.corpus, job.protocol, division)
        self._without_identical(task_data, extracted[member])
        return task_data, self._heads(job, task_data, [extracted[member]])[0]

    def _end_to_end(
        self, job: Job, task_data: TaskData, upstreams: list[Upstream], partial_runs: PartialRuns
    ) -> list[list[Trainer]]:
        """For each pretraining and fold: encoder and head together."""
        import torch

        from barlow_speech.benchmark.evaluation.training.end_to_end import EndToEndTrainer, Start
        from barlow_speech.benchmark.evaluation.training.log_mels import LogMels
        from barlow_speech.upstream.expert import UpstreamExpert

        protocol, corpus = job.protocol, task_data.corpus
        assert protocol.encoder is not None
        # From scratch each run draws an encoder of its own, unless the protocol says which it has.
        scratch = job.upstream.partition("@")[0] == "barlow_speech_random"
        redraw = scratch and "pretrain_seed" not in protocol.varies
        if not any(name == corpus.name for name, _ in self._log_mels):
            self._log_mels.clear()  # those of one corpus are kept
        trainers: list[list[Trainer]] = []
        for member, upstream in enumerate(upstreams):
            assert isinstance(upstream.module, UpstreamExpert)
            model = upstream.module.model
            bands = model.frontend.settings.n_mels
            mels = self._log_mels.setdefault(
                (corpus.name, bands), LogMels(corpus.recordings, bands)
            )
            trainers.append(
                [
                    EndToEndTrainer(
                        Start(model, protocol.head, redraw, job.selection, job.layer),
                        {s: mels.speech(fold.rows[s], fold.labels[s]) for s in SPLITS},
                        len(fold.classes),
                        protocol.training(),
                        protocol.encoder,
                        torch.device(self.device),
                        partial_runs,
                        {"pretraining": member, "fold": i},
                    )
                    for i, fold in enumerate(task_data.folds)
                ]
            )
        return trainers

    def _describe(
        self,
        record: Record,
        job: Job,
        task_data: TaskData,
        upstreams: Sequence[Upstream],
        extracted: Sequence[Features],
        seconds: float,
    ) -> None:
        from barlow_speech.benchmark.features.cost import measure_cost
        from barlow_speech.upstream.common.machine import environment

        card, folds = task_data.corpus.card, task_data.folds
        upstream = upstreams[0]
        if upstream.fingerprint not in self._costs:
            self._costs[upstream.fingerprint] = measure_cost(upstream)
        heads = record.facts.get("seconds", {}).get("heads", 0.0) + seconds
        layers, width = extracted[0].shape
        record.facts |= {
            "protocol": job.protocol.name,
            "head": job.protocol.head_note(),
            "classes": folds[0].classes,
            "truth": [pack(fold.labels["test"]) for fold in task_data.evaluated],
            "recordings": {
                split: sum(len(fold.rows[split]) for fold in folds) // len(folds)
                for split, folds in zip(SPLITS, (folds, folds, task_data.evaluated))
            },
            # Of a task whose speakers are its classes there is nothing to count.
            "class_counts": [
                task_data.corpus.class_counts(fold)
                for fold in folds
                if task_data.task.speakers_disjoint
            ],
            "folds": [{"label": f.columns.label, "split": f.columns.split} for f in folds],
            "speakers": task_data.packed_speakers,
            "most_frequent": task_data.most_frequent,
            "layers": layers,
            "width": width,
            "features_version": FEATURES_VERSION,
            "parts_version": PARTS_VERSION,
            "audio": digest(extracted[0].audio_N.tolist()),
            "padded_to_samples": upstream.least,
            "upstream_fingerprints": [one.fingerprint for one in upstreams],
            "cost": self._costs[upstream.fingerprint],
            "corpus": {
                "revision": card.revision,
                "licence": card.licence,
                "citation": card.citation,
                "description": card.description,
            },
            "notes": list(task_data.notes),
            "seconds": {
                "features": round(sum(one.seconds for one in extracted), 3),
                "heads": round(heads, 3),
            },
            **environment(self.device),
        }


def _complete(
    record: Record,
    job: Job,
    task_data: TaskData,
    trainers: Sequence[Sequence[Trainer]],
    missing: Sequence[int],
    trained_on: Callable[[int, int], tuple[TaskData, Sequence[Trainer]]],
) -> None:
    """Search the learning rate if that is not done, and add the missing runs."""
    from barlow_speech.benchmark.evaluation.learning_rate import STEPS, search

    protocol = job.protocol
    if "learning_rate" not in record.facts:
        record.facts["learning_rate"] = search(job, trainers)
    rate = record.facts["learning_rate"]["chosen"]
    # Runs that share a pretraining and a division are trained together.
    groups: dict[tuple[int, int], list[int]] = {}
    for run in missing:
        member = (protocol.sources(run)["pretrain_seed"] or 0) % len(trainers)
        groups.setdefault((member, protocol.division(run)), []).append(run)
    total = protocol.steps * len(task_data.folds)
    what = f"{job.task}, {len(missing)} runs for {job.upstream}"
    with progress(total, what, "step", bar_format=STEPS) as bar:
        for (member, division), runs in groups.items():
            plans = [protocol.plan(run, rate) for run in runs]
            on_step = partial(_advance, bar, len(runs) / len(missing))
            divided, of_division = trained_on(member, division)
            folds = [trainer.train(plans, on_step, True) for trainer in of_division]
            for run, plan, *of_folds in zip(runs, plans, *folds):
                whole = [_fold(one) for one in of_folds]
                if divided.pool is not None:
                    whole = [_together(divided, divided.pool, of_folds)]
                record.runs[plan.seed] = {
                    "seed": plan.seed,
                    "sources": {**protocol.sources(run), "pretrain_seed": member},
                    "folds": whole,
                }


def _together(task_data: TaskData, pool: Examples, folds: Sequence[Run]) -> dict[str, Any]:
    """What a run gave on all folds of a division: each recording is in the test of one."""
    predicted_N = np.zeros(len(pool.rows["test"]), dtype=np.int64)
    for fold, run in zip(task_data.folds, folds):
        predicted_N[np.searchsorted(pool.rows["test"], fold.rows["test"])] = run.predicted
    mean = {step: float(np.mean([dict(run.curve)[step] for run in folds]))
            for step, _ in folds[0].curve}  # fmt: skip
    return {
        "dev": float(np.mean([run.dev for run in folds])),
        "steps": [run.step for run in folds],
        "curve": [[step, round(score, 6)] for step, score in mean.items()],
        "predicted": pack(predicted_N),
    }


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
