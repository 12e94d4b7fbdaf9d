"""Whole runs of this build against another, in turn on one machine, and whether they say the same.

Usage: python tests/speed/builds.py ROW --before PYTHON [--corpus MANIFEST …] [--repeats 1]

ROW: `cold` (run_downstream.py on three upstreams and all tasks, nothing stored), `busy` (the same
on one task, beside programs that keep all cores busy; wall clock) or `demo` (barlow-speech demo).
PYTHON is that of an environment with the other build, as for commands.py. Without `--corpus` the
corpus is noise. The last line is the ratio of seconds before to now; above it stand the peaks of
memory and how many test predictions of all runs differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from commands import call, print_machine, write_tones

from barlow_speech.benchmark.statistics.predictions import unpack
from barlow_speech.upstream.common.files import WEIGHTS

UPSTREAMS = ["barlow_speech", "barlow_speech_random", "fbank_no_cmvn"]
BUSY = "while True: pass"


def command(row: str, corpora: list[str], python: Path) -> list[str]:
    """The program and its arguments."""
    if row == "demo":
        return [str(python), str(python.with_name("barlow-speech")), "demo", "-o", "results"]
    upstreams, tasks = (UPSTREAMS[:1], ["emotion"]) if row == "busy" else (UPSTREAMS, ["all"])
    if not corpora:
        corpora = ["../tones/manifest.tsv"]
        tasks = ["emotion"] if row == "busy" else ["emotion", "gender"]
    program = [str(python), str(python.with_name("run_downstream.py")), "-u", *upstreams]
    # The same weights in both, whichever are the default.
    weights = ["-k", str(WEIGHTS / "coarse_states.safetensors")]
    return [*program, "-d", *tasks, "--corpus", *corpora, "-p", "results", *weights]


@contextlib.contextmanager
def busy_cores(wanted: bool) -> Iterator[None]:
    """Programs that compute for nothing, one for each core."""
    count = (os.cpu_count() or 1) if wanted else 0
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in programs:
            one.kill()
            one.wait()


def measure(row: str, corpora: list[str], python: Path, folder: Path) -> tuple[float, float]:
    """Seconds (of the processor; of the clock for `busy`) and peak memory in MB of a run."""
    folder.mkdir()
    # Seconds of the processor are of work then, not of waiting.
    waiting = {} if row == "busy" else {"OMP_WAIT_POLICY": "PASSIVE"}
    with busy_cores(row == "busy"), (folder / "log").open("w") as log:
        start = time.perf_counter()
        threads = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
        status, seconds, peak = call(command(row, corpora, python), folder, log, threads, **waiting)
        taken = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{folder}: {(folder / 'log').read_text()[-2000:]}")
    return taken if row == "busy" else seconds, peak


def said(folder: Path) -> dict[str, np.ndarray]:
    """The predictions of all runs of every result, one after the other, by upstream and file."""
    found = {}
    for path in sorted((folder / "results" / "records").glob("*/*.json")):
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        name = f"{path.parent.name} {path.name.rsplit('.', 2)[0]}"
        folds = [fold["predicted"] for run in runs for fold in run["folds"]]
        found[name] = np.concatenate([unpack(one) for one in folds])
    return found


def main() -> None:
    """Run both builds in turn and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("row", choices=("cold", "busy", "demo"))
    parser.add_argument("--before", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--corpus", type=Path, nargs="+", default=[])
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    builds = {"before": given.before.absolute(), "now": Path(sys.executable).absolute()}
    print_machine(given.repeats)
    with tempfile.TemporaryDirectory() as scratch:
        write_tones(Path(scratch) / "tones")
        corpora = [str(one.absolute()) for one in given.corpus]
        found: dict[str, list[tuple[float, float]]] = {build: [] for build in builds}
        for turn in range(given.repeats):
            for build, python in builds.items():
                folder = Path(scratch) / f"{build}-{turn}"
                found[build].append(measure(given.row, corpora, python, folder))
        medians = {
            build: [statistics.median(values) for values in zip(*found[build])] for build in builds
        }
        for build, (seconds, peak) in medians.items():
            print(f"{build:8}{seconds:9.1f} s {peak:8.0f} MB")
        before, now = (said(Path(scratch) / f"{build}-0") for build in builds)
        for name in sorted(before.keys() & now.keys()):
            differ = int((before[name] != now[name]).sum())
            print(f"{name}: {differ} of {len(now[name])} predictions differ")
        alone = len(before.keys() ^ now.keys())
        print(f"results in both: {len(before.keys() & now.keys())}, in one: {alone}")
    print(f"ratio: {medians['before'][0] / medians['now'][0]:.2f}")


if __name__ == "__main__":
    main()
