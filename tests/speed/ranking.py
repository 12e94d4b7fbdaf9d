"""What a board of many results takes: intervals, tests and ranks over runs × speakers.

    python tests/speed/ranking.py                                  # 20 upstreams, 10 tasks, 50 runs
    python tests/speed/ranking.py --upstreams 2 --tasks 1 --recordings 1000000 --speakers 0

Predictions are drawn, packed as records hold them, and ranked as a leaderboard ranks them. With no
speakers each recording stands for itself, which is the largest array that there can be.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from barlow_speech.benchmark.reporting.leaderboard import leaderboard
from barlow_speech.benchmark.statistics.predictions import Predictions, pack
from barlow_speech.benchmark.statistics.results import Setup, TaskResult

CLASSES = 8


def drawn_board(
    upstreams: int, tasks: int, runs: int, recordings: int, speakers: int
) -> list[TaskResult]:
    """Results of runs that are right on some 7 of 10 recordings; upstreams differ by little."""
    generator = np.random.default_rng(0)
    names = tuple(f"class {i}" for i in range(CLASSES))
    results = []
    for task in range(tasks):
        truth_N = generator.integers(0, CLASSES, recordings)
        who = (pack(np.arange(recordings) * speakers // recordings + 1),) if speakers else ()
        for upstream in range(upstreams):
            hard_N = generator.random(recordings, dtype=np.float32) * 0.5
            packed, values = [], []
            for _ in range(runs):
                wrong_N = generator.random(recordings, dtype=np.float32) < hard_N + upstream / 200
                said_N = np.where(wrong_N, (truth_N + 1) % CLASSES, truth_N)
                packed.append((pack(said_N),))
                values.append(float(1 - wrong_N.mean()))
            kept = Predictions(names, (pack(truth_N),), tuple(packed), who, f"task {task}")
            setup = Setup(protocol="drawn", selection="none", comparison=f"task {task}")
            results.append(
                TaskResult(
                    f"upstream {upstream}", "emotion", f"corpus {task}", "top1", tuple(values),
                    setup=setup, predictions=kept,
                )
            )  # fmt: skip
    return results


def main() -> None:
    """Draw a board, rank it, and print seconds and memory."""
    parser = argparse.ArgumentParser()
    for name, default in (("upstreams", 20), ("tasks", 10), ("runs", 50), ("recordings", 2_000),
                          ("speakers", 40)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    results = drawn_board(**vars(given))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    clock, work = time.monotonic(), time.process_time()
    (board,) = leaderboard(results).boards
    clock, work = time.monotonic() - clock, time.process_time() - work
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    apart = sum(score.rank != 1 for row in board.rows for score in row.scores if score)
    print(
        f"{len(results)} results of {given.runs} runs × {given.recordings} recordings: "
        f"{work:.1f} s of computing, {clock:.1f} s by the clock; peak {peak:.0f} MB, "
        f"{before:.0f} MB with the results in memory; {apart} not of rank 1"
    )


if __name__ == "__main__":
    main()
