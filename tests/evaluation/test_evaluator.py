"""The evaluator: what it checks, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from barlow_speech.benchmark.evaluation import evaluator as module
from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.executor import run_jobs
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.evaluation.task_data import TaskData
from barlow_speech.benchmark.features import cost
from barlow_speech.downstream.corpus import Corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from tests.conftest import tone_corpus


def test_splits_are_checked_once_for_a_task_on_a_corpus(
    checkpoint: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds, leaks and identical recordings: not again for another upstream, protocol or call."""
    calls: Counter[str] = Counter()

    def counted(owner: type, name: str) -> None:
        method: Callable[..., Any] = getattr(owner, name)

        def count(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, count)

    for owner, name in ((Corpus, "folds"), (Corpus, "leaks"), (TaskData, "with_identical")):
        counted(owner, name)
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    ours = Evaluator(Settings(tmp_path / "out", tmp_path / "cache", checkpoint=checkpoint))
    short = ["runs=2", "steps=2", "learning_rates=[0.01]"]
    jobs = [
        Job(upstream, task, str(tones), read_protocol("quick", task, [*short, f"batch={batch}"]))
        for upstream in ("barlow_speech", "barlow_speech_random")
        for task in ("gender", "emotion")
        for batch in (4, 8)
    ]
    first = run_jobs(jobs, ours)
    assert len({(cell.upstream, cell.task) for cell in first}) == 4
    assert calls == {"folds": 2, "leaks": 2, "with_identical": 2}
    assert [one.values for one in run_jobs(jobs, ours)] == [one.values for one in first]
    assert calls == {"folds": 2, "leaks": 2, "with_identical": 2}


def test_recordings_are_looked_at_once_and_may_not_change_meanwhile(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tones = tone_corpus(tmp_path / "tones")
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    settings = Settings(tmp_path / "out", tmp_path / "cache", checkpoint=checkpoint)
    short = ["runs=2", "steps=2", "learning_rates=[0.01]"]
    jobs = [
        Job(upstream, task, str(tones), read_protocol("quick", task, short))
        for upstream in ("barlow_speech", "barlow_speech_random")
        for task in ("gender", "emotion")
    ]
    first = run_jobs(jobs, Evaluator(settings))
    looked: list[int] = []
    keys = module.recording_keys
    monkeypatch.setattr(module, "recording_keys", lambda *a: looked.append(1) or keys(*a))
    ours = Evaluator(settings)
    assert [one.values for one in run_jobs(jobs, ours)] == [one.values for one in first]
    assert len(looked) == 1
    path = ours.corpus(str(tones)).recordings[0].path
    wave, rate = soundfile.read(path)
    soundfile.write(path, -wave, rate)
    more = [
        Job(
            job.upstream, job.task, job.corpus, read_protocol("quick", job.task, [*short, "seed=7"])
        )
        for job in jobs
    ]
    with pytest.raises(BarlowSpeechError, match="changed while they were used; run it again"):
        run_jobs(more, ours)
    later = run_jobs(more, Evaluator(settings))
    assert len(later) == 4
    (before,), (after,) = ({one.setup.audio for one in results} for results in (first, later))
    assert before != after and before and after  # though the manifest is the same
