"""Where a study is made: its folders, its device, and what is at hand between stages."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import Field

from barlow_speech import configs
from barlow_speech.benchmark.arguments import speech_folder
from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.executor import Executor, run_jobs
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream.toy.corpus import toy_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, file_digest, parsed_json
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import DataSettings, chosen
from barlow_speech.upstream.third_party.permissions import NONE, Permissions

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
Seconds = Annotated[float, Field(ge=0, lt=1e12)]


@dataclass(frozen=True)
class Entry:
    """A line of the journal: how long a stage took, and what was expected."""

    key: str
    kind: str
    seconds: Seconds
    estimate: Seconds


@dataclass(frozen=True)
class Workspace:
    """The folder of a study, and how its stages are run.

    `data_root` holds corpora and the speech for pretraining; None is the toy corpus.
    """

    folder: Path
    data_root: Path | None = None
    device: str = "cpu"
    metric: str = "top1"
    over: Over = DEFAULT
    executor: Executor = "local"
    address: str | None = None
    allow_leakage: bool = False
    permissions: Permissions = NONE

    @cached_property
    def evaluator(self) -> Evaluator:
        """The one that makes every result."""
        return Evaluator(
            Settings(
                results=self.folder,
                cache=cache_dir() / "features",
                device=self.device,
                metric=self.metric,
                over=self.over,
                data_root=self.data_root,
                allow_leakage=self.allow_leakage,
                permissions=self.permissions,
            )
        )

    def speech(self, data: DataSettings) -> list[Recording]:
        """The recordings that a recipe trains on; the toy corpus is spoken where it is that.

        Raises:
            BarlowSpeechError: as `speech_folder` and `chosen`.
        """
        return chosen(data, speech_folder(self.data_root, data))

    def corpus(self, name: str) -> str:
        """A corpus of the study as jobs name it: paths are relative to the data root."""
        path = Path(name)
        if path.suffix not in (".tsv", ".yaml", ".yml") or path.is_absolute():
            return name
        return str((self.data_root or Path()) / path)

    def corpus_digest(self, name: str) -> str:
        """A name and a digest of manifest and card; the name alone where they are not there yet."""
        path = Path(self.corpus(name))
        if name == "toy":
            path = toy_corpus()
        elif path.suffix not in (".tsv", ".yaml", ".yml"):
            path = configs.find("corpus", name)
        try:
            corpus = self.evaluator.corpus(self.corpus(name))
        except BarlowSpeechError:
            return name
        return name + file_digest(path)[:16] + file_digest(corpus.manifest.file)[:16]

    @cached_property
    def _results(self) -> dict[str, TaskResult]:
        return {}

    def results(self, wanted: Sequence[tuple[str, Job]]) -> list[TaskResult]:
        """The results of (label, job), made where they are missing; each bears its label.

        Raises:
            BarlowSpeechError: as `Evaluator.run`.
        """
        missing = {repr(job): job for _, job in wanted if repr(job) not in self._results}
        if missing:
            results = run_jobs([*missing.values()], self.evaluator, self.executor, self.address)
            self._results.update(zip(missing, results))
        return [replace(self._results[repr(job)], upstream=label) for label, job in wanted]

    def stored(self, job: Job) -> bool:
        """Whether all runs of a job are recorded, of upstream and corpus as they are now."""
        try:
            return self.evaluator.stored(job)
        except BarlowSpeechError:  # of an upstream or a corpus that is not there yet
            return False

    def note(self, entry: Entry) -> None:
        """Add a line to the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # One short write to a file that is open for appending: lines of two processes do not mix.
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry), allow_nan=False) + "\n")

    def journal(self) -> dict[str, Entry]:
        """The last entry of each stage; a line that was cut short is left out."""
        entries = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (self.folder / JOURNAL).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, BarlowSpeechError):
                    entry = build(Entry, parsed_json(line), JOURNAL)
                    entries[entry.key] = entry
        return entries

    @contextlib.contextmanager
    def alone(self, folder: Path, what: str) -> Iterator[None]:
        """Inside, no other process works in `folder`; the system frees it when a process dies.

        Raises:
            BarlowSpeechError: the folder cannot be made or written.
        """
        lock = FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                log.warning("another process is at %s; waiting for it", what)
                lock.acquire()
        except OSError as error:
            raise BarlowSpeechError(
                f"cannot write {folder}: {error.strerror or error}; choose another --out."
            ) from error
        try:
            yield
        finally:
            lock.release()
