"""A Ray cluster of two nodes gives the records of the local loop, also when one of them dies."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.executor import run_jobs
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

TASKS = ("emotion", "gender", "keyword_spotting", "speaker_id")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for work, and no node yet."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8},
    )
    yield made
    ray.shutdown()
    made.shutdown()


def settings(folder: Path, checkpoint: Path) -> Settings:
    return Settings(folder / "results", folder / "cache", checkpoint=checkpoint)


def jobs(tones: Path, steps: int = 20) -> list[Job]:
    protocol = Protocol("short", runs=3, steps=steps, batch=8, eval_step=10)
    return [
        Job(upstream, task, str(tones), protocol)
        for task in TASKS
        for upstream in ("barlow_speech", "barlow_speech_random")
    ]


def records(folder: Path) -> dict[str, Any]:
    """What the store holds, less what no two computations share: times and places."""
    found = {}
    for path in (folder / "results" / "records").glob("*/*.json"):
        record = json.loads(path.read_text())
        for name in ("seconds", "cost", "hardware"):
            record["facts"].pop(name)
        del record["sha256"], record["recorded"]
        found[f"{path.parent.name}/{path.name}"] = record
    return found


def test_a_lost_worker_changes_nothing(
    cluster: Any, checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    """One of two nodes is killed in the midst of a campaign; its cells are made by the other."""
    some = jobs(tones, steps=400)
    local = run_jobs(some, Evaluator(settings(tmp_path / "local", checkpoint)))
    doomed = cluster.add_node(num_cpus=1, object_store_memory=10**8)
    cluster.add_node(num_cpus=1, object_store_memory=10**8)
    done: list[list[TaskResult]] = []

    def spread() -> None:
        evaluator = Evaluator(settings(tmp_path / "ray", checkpoint))
        done.append(run_jobs(some, evaluator, "ray", cluster.address))

    at_work = threading.Thread(target=spread)
    at_work.start()
    while at_work.is_alive() and not records(tmp_path / "ray"):
        time.sleep(0.05)
    finished = len(records(tmp_path / "ray"))
    cluster.remove_node(doomed, allow_graceful=False)
    at_work.join(timeout=900)
    assert not at_work.is_alive()
    assert 0 < finished < len(some)  # it was in the midst
    assert records(tmp_path / "ray") == records(tmp_path / "local")
    assert [cell.values for cell in done[0]] == [cell.values for cell in local]
    assert [str(cell) for cell in done[0]] == [str(cell) for cell in local]


def test_an_error_of_ours_is_passed_on_and_not_tried_again(
    cluster: Any, checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    evaluator = Evaluator(settings(tmp_path, checkpoint))
    (job, *_) = jobs(tones)
    wrong = Job(job.upstream, job.task, job.corpus, job.protocol, layer=99)
    node = cluster.add_node(num_cpus=1, object_store_memory=10**8)  # whichever test comes first
    with pytest.raises(BarlowSpeechError, match="there is no layer 99"):
        run_jobs([wrong], evaluator, "ray", cluster.address)
    cluster.remove_node(node)


def test_a_cluster_that_is_not_there_is_one_sentence(
    checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    evaluator = Evaluator(settings(tmp_path, checkpoint))
    with pytest.raises(BarlowSpeechError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        run_jobs(jobs(tones), evaluator, "ray", "127.0.0.1:1")


def test_the_local_loop_goes_upstream_by_upstream(
    checkpoint: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def note(self: Evaluator, job: Job) -> TaskResult:
        order.append(job.upstream)
        return TaskResult(job.upstream, job.task, job.corpus, "top1", (0.5,))

    monkeypatch.setattr(Evaluator, "run", note)
    some = jobs(tones)
    cells = run_jobs(some, Evaluator(settings(tmp_path, checkpoint)))
    assert order == sorted(order) and len(set(order)) == 2
    assert [(c.upstream, c.task) for c in cells] == [(j.upstream, j.task) for j in some]
