"""Where the results of an evaluation are made: in this process, or spread over a Ray cluster.

Both give the same records, in one store: on a cluster the results and the features lie in folders
that every node sees.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.progress import progress

if TYPE_CHECKING:
    from barlow_speech.benchmark.evaluation.evaluator import Evaluator

Executor = Literal["local", "ray"]


def run_jobs(
    jobs: Sequence[Job],
    evaluator: Evaluator,
    executor: Executor = "local",
    address: str | None = None,
) -> list[TaskResult]:
    """The results of the jobs, in their order.

    `address` is that of a running Ray cluster; without it `ray` starts one on this machine. A job
    whose worker is lost is given to another one.

    Raises:
        BarlowSpeechError: as `Evaluator.run`; or Ray is not installed or has no such cluster, or
            is not asked for where an address is given.
    """
    check_executor(executor, address)
    if executor == "local":
        # Upstream by upstream, since an upstream and its features are what is costly to hold.
        first = {job.upstream: i for i, job in reversed(list(enumerate(jobs)))}
        order = sorted(range(len(jobs)), key=lambda i: first[jobs[i].upstream])
        results = {i: evaluator.run(jobs[i]) for i in order}
        return [results[i] for i in range(len(jobs))]
    settings = dataclasses.replace(evaluator.settings, device=evaluator.device)
    return _run_on_ray(jobs, settings, address)


def check_executor(executor: Executor, address: str | None) -> None:
    """Refuse what cannot run jobs, before anything is computed.

    Raises:
        BarlowSpeechError: Ray is not installed, or is not asked for where an address is given.
    """
    if executor == "local" and address:
        raise BarlowSpeechError(
            "--address is of a Ray cluster; add --executor ray, or leave it out."
        )
    if executor == "ray" and importlib.util.find_spec("ray") is None:
        raise BarlowSpeechError("--executor ray needs Ray; run: pip install 'barlow-speech[ray]'")


def _run_on_ray(jobs: Sequence[Job], settings: Settings, address: str | None) -> list[TaskResult]:
    import ray

    started = not ray.is_initialized()
    if started:
        try:
            _check_reachable(address)
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise BarlowSpeechError(
                f"no Ray cluster answers at {address or 'this machine'} ({one_line(error, 200)}); "
                "start one with `ray start --head`."
            ) from error
    try:
        gpus = 1 if settings.device.startswith("cuda") else 0
        # -1: as often as workers are lost. An error of ours is no loss, and is not tried again.
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1)(_run_job)
        waiting = {remote.remote(job, settings): i for i, job in enumerate(jobs)}
        results: dict[int, TaskResult] = {}
        with progress(len(jobs), "results on Ray", "result") as bar:
            while waiting:
                (done, *_), _ = ray.wait(list(waiting))
                try:
                    results[waiting.pop(done)] = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, BarlowSpeechError):
                        raise error.cause from None
                    raise
                bar.update()
        return [results[i] for i in range(len(jobs))]
    finally:
        if started:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Ray itself waits for minutes for a cluster that is not there.

    Raises:
        OSError: nothing listens at HOST:PORT.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _run_job(job: Job, settings: Settings) -> TaskResult:
    return _evaluator(settings).run(job)


@lru_cache(maxsize=1)
def _evaluator(settings: Settings) -> Evaluator:
    """One for all jobs that a worker is given: it keeps the upstream and its features at hand."""
    from barlow_speech.benchmark.evaluation.evaluator import Evaluator

    return Evaluator(settings)
