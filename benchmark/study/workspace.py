"""Where the work of a study is done: its folders, its device, and what is at hand between works."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.executor import Executor, run_jobs
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream.corpus import CARDS, named_after
from barlow_speech.downstream.toy.corpus import toy_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, file_digest
from barlow_speech.upstream.third_party.permissions import NONE, Permissions

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Workspace:
    """The folder of a study, and how its works are run.

    `data_root` holds corpora and the speech for pretraining; None is the toy corpus.
    """

    folder: Path
    data_root: Path | None = None
    device: str = "cpu"
    metric: str = "top1"
    executor: Executor = "local"
    address: str | None = None
    allow_leakage: bool = False
    permissions: Permissions = NONE

    @cached_property
    def evaluator(self) -> Evaluator:
        """The one that makes every cell."""
        return Evaluator(
            Settings(
                results=self.folder,
                cache=cache_dir() / "features",
                device=self.device,
                metric=self.metric,
                data_root=self.data_root,
                allow_leakage=self.allow_leakage,
                permissions=self.permissions,
            )
        )

    @cached_property
    def speech(self) -> Path:
        """The folder that recipes' manifests are relative to; the toy corpus is spoken for it.

        Raises:
            BarlowSpeechError: it is no folder.
        """
        if self.data_root is None:
            return toy_corpus().parent
        if not self.data_root.is_dir():
            raise BarlowSpeechError(f"--data-root {self.data_root} is no folder; check the path.")
        return self.data_root

    def corpus(self, name: str) -> str:
        """A corpus of the study as a campaign takes it: paths are relative to the data root."""
        path = Path(name)
        if path.suffix not in (".tsv", ".yaml", ".yml") or path.is_absolute():
            return name
        return str((self.data_root or Path()) / path)

    def corpus_name(self, name: str) -> str:
        """What tables call a corpus of the study, without reading it."""
        path = Path(name)
        return named_after(path) if path.suffix == ".tsv" else path.stem

    def corpus_digest(self, name: str) -> str:
        """A name and a digest of manifest and card; the name alone where they are not there yet."""
        path = Path(self.corpus(name))
        if name == "toy":
            path = toy_corpus()
        elif path.suffix not in (".tsv", ".yaml", ".yml"):
            path = CARDS / f"{name}.yaml"
        try:
            corpus = self.evaluator.corpus(self.corpus(name))
        except BarlowSpeechError:
            return name
        return name + file_digest(path)[:16] + file_digest(corpus.manifest.file)[:16]

    @cached_property
    def _made(self) -> dict[str, TaskResult]:
        return {}

    def cells(self, wanted: Sequence[tuple[str, Job]]) -> list[TaskResult]:
        """The cells of (label, job), made where they are missing; each bears its label.

        Raises:
            BarlowSpeechError: as `Evaluator.run`.
        """
        missing = {repr(one): one for one in wanted if repr(one) not in self._made}
        if missing:
            jobs = [job for _, job in missing.values()]
            cells = run_jobs(jobs, self.evaluator, self.executor, self.address)
            for (label, _), key, cell in zip(missing.values(), missing, cells):
                self._made[key] = replace(cell, upstream=label)
        return [self._made[repr(one)] for one in wanted]

    def note(self, entry: dict[str, Any]) -> None:
        """Add a line to the journal: what was done, and how long it took."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(entry, allow_nan=False) + "\n").encode()
        # One write to a file that is open for appending: lines of two processes do not mix.
        handle = os.open(self.folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def journal(self) -> list[dict[str, Any]]:
        """Its lines; one that was cut short is left out."""
        try:
            lines = (self.folder / JOURNAL).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
        entries = []
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    entries.append(entry)
        return entries

    @contextlib.contextmanager
    def alone(self, folder: Path, what: str) -> Iterator[None]:
        """Inside, no other process works in `folder`; the system frees it when a process dies."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("another process is at %s; waiting for it", what)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
