"""One command for a GPU: is it right, how fast is it, and does it train.

Usage: python tests/speed/gpu.py [--minutes 9] [--device cuda] [--data FOLDER] [-o OUT]
           [--phases NAME …]

Phases, each in a process of its own with a share of the time: the machine, the speech, right
(against the CPU), the heads, the pretraining, and a training with the rest. What a phase finds
stands in OUT/gpu.json and OUT/gpu.html at once, so that a run which is cut short loses nothing.
FOLDER holds `speech.zip` (`barlow-speech pack --opus`), or is a packed folder; without it speech is
drawn. `--phases` runs only these, after the machine and the speech, and gives the last of them what
time is left. With `--device cpu` everything is small: it shows that the phases work, no figure of a
GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_heads
import gpu_machine
import gpu_pretraining
import gpu_right
import gpu_trains
from gpu_record import Record, short_of_memory, unexpected

from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command, unknown

# By share of the time: those of a phase that ends early go to the training, which has what is left.
PHASES: dict[str, tuple[float, Callable[..., None]]] = {
    "machine": (0.1, gpu_machine.machine),
    "speech": (0.1, gpu_machine.speech),
    "right": (0.25, gpu_right.right),
    "heads": (0.25, gpu_heads.heads),
    "pretraining": (0.25, gpu_pretraining.pretraining),
    "trains": (1.0, gpu_trains.trains),
}
NEEDED = ("machine", "speech")  # without which no other phase begins
ENDING = (signal.SIGINT, signal.SIGTERM)  # what a run is ended by
LEAST_S = 1.0  # a phase with less is not begun


@dataclass(frozen=True)
class Given:
    """What a phase gets. `work` is a folder for what need not be kept; `most_steps` of a training
    or of a measurement keep it short whatever the clock says."""

    device: str
    data: Path | None
    out: Path
    work: Path
    seconds: float
    most_steps: int

    @property
    def small(self) -> bool:
        """Whether sizes are such that a CPU can be waited for."""
        return self.device == "cpu"


def run_phase(name: str, given: Given) -> int:
    """One phase in this process; the exit status: 0, or 2 with a sentence in the record."""
    started = time.monotonic()
    record = Record(given.out)

    def ended(state: str, status: int) -> int:
        record.state(name, state, time.monotonic() - started)
        return status

    try:
        PHASES[name][1](record, given)
    except BarlowSpeechError as error:
        return ended(str(error), 2)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            return ended(unexpected(error), 2)
        return ended(f"the memory of {given.device} is too small for this phase; free some.", 2)
    except Exception as error:
        return ended(unexpected(error), 2)
    return ended("done", 0)


def _child(name: str, given: Given) -> None:
    os.setsid()  # so that what it starts can be ended with it
    for one in ENDING:
        signal.signal(one, signal.SIG_DFL)
    sys.exit(run_phase(name, given))


def supervise(name: str, given: Given) -> str:
    """Run a phase in a process of its own, ended when its time is over; what went wrong, or ""."""
    started = time.monotonic()
    # Forked before anything has touched the GPU, which is why no phase runs in this process.
    process = multiprocessing.get_context("fork").Process(target=_child, args=(name, given))
    # What ends the run meanwhile is heard when the process is known, and can be ended with it.
    heard: list[int] = []
    handlers = {one: signal.signal(one, lambda number, _: heard.append(number)) for one in ENDING}
    process.start()
    try:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        if heard:
            raise KeyboardInterrupt
        process.join(given.seconds)
    finally:  # of a run that is ended too, nothing is left on the GPU
        over = process.is_alive()
        if over:
            process.kill()
            with contextlib.suppress(ProcessLookupError):  # it has no session of its own yet
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
    record = Record(given.out)
    if over:
        sentence = f"its time of {given.seconds:.0f} s was over; give more --minutes."
        record.state(name, sentence, time.monotonic() - started)
    elif process.exitcode not in (0, 2):
        sentence = f"its process ended with status {process.exitcode}."
        record.state(name, sentence, time.monotonic() - started)
    state: str = record.found["phases"][name]["state"]
    return "" if state == "done" else state


def gpu(arguments: Sequence[str]) -> None:
    """Run all phases; what they found is in OUT.

    Raises:
        BarlowSpeechError: an argument is wrong, or a phase did not end well; the rest was run.
    """
    given = parser().parse_args(arguments)
    chosen = _chosen(given.phases)
    if not 0 < given.minutes < math.inf:
        raise BarlowSpeechError(f"--minutes must be a number above 0, not {given.minutes:g}.")
    if given.most_steps < 1:
        raise BarlowSpeechError(f"--most-steps must be 1 or more, not {given.most_steps}.")
    if given.data is not None:
        gpu_machine.check_data(given.data)
    if (given.out / "gpu.json").exists():
        raise BarlowSpeechError(f"{given.out} holds a run already; choose another -o.")
    ends = time.monotonic() + 60 * given.minutes
    record = Record(given.out)
    command = f"python tests/speed/gpu.py {' '.join(arguments)}"
    record.facts(command=command, python=platform.python_version())
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, share in chosen.items():
            left = ends - time.monotonic()
            larger = 1.6 if given.device == "cpu" else 1.0  # to start programs takes it longer
            seconds = min(left, larger * share * 60 * given.minutes)
            if seconds < LEAST_S:
                failed[name] = "no time was left for it; give more --minutes."
                Record(given.out).state(name, failed[name], 0)
                break
            here = Given(given.device, given.data, given.out, Path(work), seconds, given.most_steps)
            wrong = supervise(name, here)
            if wrong:
                failed[name] = wrong
                if name in NEEDED:
                    break
    first = next(iter(failed), None)
    which = "All phases" if len(chosen) == len(PHASES) else f"The phases {', '.join(chosen)}"
    sentence = f"{which} are done."
    if given.device == "cpu":
        sentence = f"{which} are done, at a small size: that they work is shown, no aim is."
    if first is not None:
        names = ", ".join(failed)
        sentence = f"{names} did not end well: of {first}, {failed[first]}"
    Record(given.out).end(sentence)
    print(f"{given.out / 'gpu.html'}: {sentence}")
    if first is not None:
        raise BarlowSpeechError(f"{sentence.rstrip('.')}; the rest is in {given.out / 'gpu.html'}.")


def _chosen(names: Sequence[str]) -> dict[str, float]:
    """The share of the time of each phase to run; what the others would take goes to the last."""
    shares = {name: share for name, (share, _) in PHASES.items()}
    if not names:
        return shares
    if wrong := [name for name in names if name not in shares]:
        raise unknown("phase", wrong[0], shares, "--phases")
    kept = {name: share for name, share in shares.items() if name in {*NEEDED, *names}}
    return kept | {list(kept)[-1]: 1.0}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python tests/speed/gpu.py", description="Is a GPU right, fast, and does it train?"
    )
    result.add_argument("--minutes", type=float, default=9.0, help="for everything (default: 9)")
    result.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu: small (cuda)")
    result.add_argument("--data", type=Path, metavar="FOLDER", help="with speech.zip, or packed")
    result.add_argument(
        "-o", "--out", type=Path, default=Path("results/gpu-run"), metavar="OUT",
        help="folder of the page, the JSON and the checkpoint (default: results/gpu-run)",
    )  # fmt: skip
    result.add_argument(
        "--most-steps", type=int, default=1 << 40, metavar="N",
        help="of the training, and of a round of a measurement (default: what there is time for)",
    )  # fmt: skip
    result.add_argument(
        "--phases", nargs="+", default=[], metavar="NAME",
        help=f"only these, after {' and '.join(NEEDED)} (default: all of {', '.join(PHASES)})",
    )  # fmt: skip
    result.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return result


def main() -> Any:
    """The command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_command(gpu, sys.argv[1:]))


if __name__ == "__main__":
    main()
