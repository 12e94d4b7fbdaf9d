"""What people wait for: short commands of this build against another, in turn on one machine.

Usage: python tests/speed/commands.py --before PYTHON [--repeats 5] [--only NAME …]

PYTHON is that of an environment with the other build (`git worktree add ../before COMMIT`, an
environment there, `pip install -e .`). Each command runs in both, one after the other, so many
times; a row has the medians of CPU seconds (of all threads) and of peak memory, and the ratio of
the former. Each build has a cache and folders of its own, filled before anything is timed. The last
line is the ratio of the row that gained least.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

RECORDINGS = 60
STORED = ["-u", "barlow_speech", "fbank_no_cmvn", "-d", "emotion", "gender", "--runs", "10"]
STORED += ["--steps", "20", "--lr", "0.001", "--corpus", "tones/manifest.tsv", "-p", "results"]

# A row's name, the command, its arguments.
ROWS: dict[str, tuple[str, list[str]]] = {
    "run_downstream.py -h": ("run_downstream.py", ["-h"]),
    "barlow-speech -h": ("barlow-speech", ["-h"]),
    "pretrain -h": ("barlow-speech", ["pretrain", "-h"]),
    "a wrong flag": ("run_downstream.py", ["--nosuch"]),
    "an unknown task": ("run_downstream.py", ["-u", "barlow_speech", "-d", "emotoin"]),
    "an unknown upstream": ("run_downstream.py", ["-u", "fbankk", "-d", "emotion"]),
    "an unknown recipe": ("barlow-speech", ["pretrain", "tooy"]),
    "an unknown card": ("run_downstream.py", ["-u", "fbank", "-d", "emotion", "--corpus", "tooy"]),
    "prepare, a table": (
        "barlow-speech",
        ["prepare", "--from-table", "tones/mine.csv", "-o", "prepared", "--corpus-name", "mine"],
    ),
    "leaderboard": ("barlow-speech", ["leaderboard", "results"]),
    "cache": ("barlow-speech", ["cache"]),
    "all is stored": ("run_downstream.py", STORED),
}


def write_tones(folder: Path) -> None:
    """Recordings of noise, their manifest, and the same as a table."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["path\tspeaker\tgender\temotion\tsplit"]
    for number in range(RECORDINGS):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(8000), 16_000)
        speaker, split = number % 12, ("train", "train", "dev", "test")[number % 12 // 3]
        gender = ("female", "male")[speaker % 2]
        lines.append(f"{number}.wav\ts{speaker}\t{gender}\te{number // 12 % 2}\t{split}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    (folder / "mine.csv").write_text("\n".join(lines).replace("\t", ",") + "\n")


def measure(python: Path, command: str, arguments: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of one call, which may end well or with status 2."""
    program = [str(python), str(python.with_name(command)), *arguments]
    status, seconds, peak = call(program, folder, subprocess.DEVNULL)
    if status not in (0, 2):
        raise RuntimeError(f"{' '.join(program)} ended with status {status}")
    return seconds, peak


def call(
    program: list[str], folder: Path, output: int | IO[str], without: Sequence[str] = (),
    **variables: str,
) -> tuple[int, float, float]:  # fmt: skip
    """Run a program in a folder that holds its cache: status, CPU seconds, peak memory in MB."""
    environment = {**os.environ, "BARLOW_SPEECH_CACHE": str(folder / "cache")}
    # Nobody compiles the sources at each call.
    for name in ("PYTHONDONTWRITEBYTECODE", *without):
        environment.pop(name, None)
    child = subprocess.Popen(
        program, cwd=folder, env={**environment, **variables}, stdout=output, stderr=output
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def print_machine(repeats: int) -> None:
    """The machine, and what a child's peak counts from: the memory of the process that forks it."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; medians of {repeats}; peaks are at least {own:.0f} MB"
    )


def main() -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS))
    given = parser.parse_args()
    builds = {"before": given.before.absolute(), "now": Path(sys.executable).absolute()}
    print_machine(given.repeats)
    print(f"{'':22}{'CPU s before':>13}{'now':>8}{'ratio':>8}{'MB before':>11}{'now':>7}")
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = {build: Path(scratch) / build for build in builds}
        for build, folder in folders.items():
            write_tones(folder / "tones")
            for _ in range(2):  # the second call says what the first one made
                measure(builds[build], "run_downstream.py", STORED, folder)
        for name in given.only:
            command, arguments = ROWS[name]
            found: dict[str, list[tuple[float, float]]] = {build: [] for build in builds}
            for _ in range(given.repeats):
                for build, python in builds.items():
                    found[build].append(measure(python, command, arguments, folders[build]))
            before, now = (
                [statistics.median(values) for values in zip(*found[build])] for build in builds
            )
            ratios.append(before[0] / now[0])
            print(
                f"{name:22}{before[0]:13.2f}{now[0]:8.2f}{ratios[-1]:8.1f}"
                f"{before[1]:11.0f}{now[1]:7.0f}",
                flush=True,
            )
    print(f"ratio: {min(ratios):.1f}")


if __name__ == "__main__":
    main()
