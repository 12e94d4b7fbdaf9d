"""Bad input, by the thousand: damaged files to every reader of the project.

Usage: python tests/robustness/fuzz.py [--cases N] [--reader NAME …] [--seed S] [--kept DIR]

A case is a whole example of what a reader reads with one kind of damage or several
(`damage.py`, `fuzz_readers.py`); its number and the seed decide it. It is read as
the project reads it, in a process of its own. What may happen: the result is right, or the input is
refused by one of the project's own errors, or named in a warning, in one line that names the file.
Everything else is a failure: another exception, a crash, a hang of more than 10 s, more than 2 GB
of memory, a wrong result, a number that is not finite. The smallest input of each failure is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import importlib
import logging
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_readers
from fuzz_readers import Files, Reader, Wrong, case, write

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress

LIMIT_S = 10.0  # of computing for one case
WAITS = 20  # times as long may pass, since the machine may do something else as well
LIMIT_BYTES = 2 << 30  # that reading one case may ask for
MAX_LENGTH = 2000  # letters of a message
SHRINKS = 300  # tries to make a failing input smaller
OUTCOMES = ("accepted", "refused", "failed")
STACK, ERROR = "stack", "error"  # files of the process that reads


@dataclass(frozen=True)
class Outcome:
    """What became of a case: one of `OUTCOMES`; of a failure `where` it was, and its input."""

    kind: str
    text: str = ""
    where: str = ""
    files: Files | None = None
    damages: tuple[str, ...] = ()


@dataclass
class Tally:
    """What became of the cases of a reader; `failures` by where they were, the smallest of each."""

    reader: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Outcome] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    damages: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and keep its input if it fails and is the smallest so far."""
        self.outcomes[outcome.kind] += 1
        self.damages.update((one, outcome.kind) for one in set(outcome.damages))
        if outcome.kind == "failed":
            self.times[outcome.where] += 1
            other = self.failures.get(outcome.where)
            if other is None or size_of(outcome.files or {}) < size_of(other.files or {}):
                self.failures[outcome.where] = outcome


def size_of(files: Files) -> int:
    """Bytes of an input."""
    return sum(map(len, files.values()))


def tried(reader: Reader, files: Files, folder: Path) -> Outcome:
    """Read one input in this process; it is written to `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        try:
            write(folder / name, content)
        except OSError:  # damage made a file's name the name of a folder as well
            continue
    with warned() as messages:
        try:
            reader.read(folder)
        except BarlowSpeechError as error:
            messages.append(str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # among them SystemExit, and the panics of Rust
            text = "".join(traceback.format_exception(error))[-4000:]
            return Outcome("failed", text, _where(error))
    for message in messages:
        fault = _fault(reader, message, folder, files)
        if fault:
            return Outcome("failed", f"{fault}: {message[:MAX_LENGTH]!r}", fault)
    return Outcome("refused", messages[0]) if messages else Outcome("accepted")


def _fault(reader: Reader, message: str, folder: Path, files: Files) -> str:
    """What is wrong with a message; nothing, mostly."""
    if "\n" in message or "\r" in message:
        return "a message of several lines"
    if len(message) > MAX_LENGTH:
        return "a message that is too long"
    names = [str(folder), *(name.rpartition("/")[2] for name in files)]
    names += [repr(one)[1:-1] for one in names]
    # A message is one line of what can be printed, in which a tab of a name is written otherwise.
    letters = re.sub(r"\W", "", message)
    odd = [re.sub(r"\W", "", one) for one in names if not re.fullmatch(r"[\w./-]+", one, re.ASCII)]
    named = any(one in message for one in names) or any(one in letters for one in odd if one)
    if reader.names_file and not named:
        return f"a message that names no file: {' '.join(message.split()[:2])}"
    return ""


def _where(error: BaseException) -> str:
    """The kind of an exception and the last function of the project that it came through."""
    if isinstance(error, Wrong):
        return f"wrong: {error}"
    place = "?"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if "fuzz" not in path.stem and path.parent.name != "site-packages" and any(
            one in path.parts for one in ("upstream", "downstream", "benchmark")
        ) and "site-packages" not in path.parts:  # fmt: skip
            place = f"{path.parent.name}/{path.name}, {frame.name}"
    return f"{type(error).__name__} in {place}"


@contextlib.contextmanager
def warned() -> Iterator[list[str]]:
    """The warnings that the project logs meanwhile."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, logger = Handler(), logging.getLogger("barlow_speech")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def shrunk(reader: Reader, files: Files, folder: Path, where: str) -> Files:
    """A smaller input that fails in the same place: halves, quarters, … of its files are left out.

    A file that is large and fails nowhere else is cut first.
    """
    left = SHRINKS

    def fails(smaller: Files) -> bool:
        nonlocal left
        left -= 1
        outcome = tried(reader, smaller, folder)
        return outcome.kind == "failed" and outcome.where == where

    for name in sorted(files, key=lambda one: -len(files[one])):
        without = {key: value for key, value in files.items() if key != name}
        if left > 0 and without and fails(without):
            files = without
            continue
        part = max(1, len(files[name]) // 2)
        while left > 0 and files[name]:
            content, at = files[name], 0
            while at < len(content) and left > 0:
                smaller = content[:at] + content[at + part :]
                if fails({**files, name: smaller}):
                    content = smaller
                else:
                    at += part
            files = {**files, name: content}
            if part == 1:
                break
            part = max(1, part // 2)
    return files


# The process that reads. Its limits are set once it has read whole examples, since importing torch
# takes longer and more than a case may.


def _limit(bytes_more: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


@contextlib.contextmanager
def _limited(limit_s: float, stacks: Any) -> Iterator[None]:
    """End the process, with its stack in a file, when it computes or waits for too long."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    faulthandler.dump_traceback_later(WAITS * limit_s, exit=True, file=stacks)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)


def _work(pipe: Any, module: str, workspace: Path, limits: tuple[float, int]) -> None:
    """Read cases as they are asked for; an error of the campaign's own is left in `workspace`."""
    try:
        _serve(pipe, module, workspace, limits)
    except Exception:
        (workspace / ERROR).write_text(traceback.format_exc())
        raise


def _serve(pipe: Any, module: str, workspace: Path, limits: tuple[float, int]) -> None:
    """(reader, seed, first, last, read) come in, `Outcome`s go out."""
    limit_s, limit_bytes = limits
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # libraries in C print there
    os.dup2(silence, 2)
    os.chdir(workspace)
    stacks = (workspace / STACK).open("w")
    faulthandler.enable(stacks)
    faulthandler.register(signal.SIGPROF, stacks, chain=True)
    readers = {one.name: one for one in importlib.import_module(module).READERS}
    examples: dict[str, list[Files]] = {}
    shrinks: Counter[str] = Counter()
    folder = workspace / "case"
    while True:
        name, seed, first, last, read = pipe.recv()
        reader = readers[name]
        if name not in examples:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            examples[name] = reader.examples(folder)
            for files in examples[name]:
                outcome = tried(reader, files, folder)
                if outcome.kind != "accepted":
                    raise AssertionError(f"a whole example of {name} is refused: {outcome.text}")
            _limit(limit_bytes)
        for number in range(first, last):
            rng = random.Random(f"{seed} {name} {number}")
            with _limited(limit_s, stacks):
                files, damages = case(reader, examples[name], rng)
            if not read:  # only to know what it was
                pipe.send(Outcome("failed", files=files, damages=tuple(damages)))
                continue
            with _limited(limit_s, stacks):
                outcome = tried(reader, files, folder)
            if outcome.kind != "failed":
                pipe.send(dataclasses.replace(outcome, damages=tuple(damages)))
                continue
            shrinks[outcome.where] += 1
            if shrinks[outcome.where] <= 3:
                with _limited(SHRINKS * limit_s, stacks):
                    files = shrunk(reader, files, folder, outcome.where)
            pipe.send(dataclasses.replace(outcome, files=files, damages=tuple(damages)))


class Worker:
    """The process that reads; when it dies, another takes its place."""

    def __init__(self, module: str, limits: tuple[float, int]) -> None:
        self.module, self.limits = module, limits
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # saves waiting for the disk
        self.workspace = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory))
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, module])
        self.process: Any = None

    def start(self) -> None:
        """A fresh process."""
        self.pipe, other = self.context.Pipe()
        self.process = self.context.Process(
            target=_work, args=(other, self.module, self.workspace, self.limits), daemon=True
        )
        self.process.start()
        other.close()

    def outcomes(self, reader: str, seed: int, first: int, last: int) -> Iterator[Outcome]:
        """Those of cases `first` to `last` of a reader.

        Raises:
            RuntimeError: a whole example is refused.
        """
        while first < last:
            if self.process is None or not self.process.is_alive():
                self.start()
            self.pipe.send((reader, seed, first, last, True))
            try:
                while first < last:
                    outcome = self.pipe.recv()
                    first += 1
                    yield outcome
            except EOFError:
                yield self._death(reader, seed, first)
                first += 1

    def _death(self, reader: str, seed: int, number: int) -> Outcome:
        self.process.join()
        code, stack = self.process.exitcode, (self.workspace / STACK).read_text()
        if (self.workspace / ERROR).exists():
            said = (self.workspace / ERROR).read_text()
            raise RuntimeError(f"the reader {reader} cannot be tried:\n{said}")
        slow = "Timeout" in stack or code == -signal.SIGPROF
        what = "hang" if slow else f"died of signal {-code}"
        current = stack.rpartition("Current thread")[2] or stack
        places = re.findall(r'/((?:up|down)stream/.*|benchmark/.*)", line \d+ in (.*)', current)
        at = ", ".join(places[0]) if places else "?"
        self.start()
        self.pipe.send((reader, seed, number, number + 1, False))
        try:
            lost = self.pipe.recv()
        except EOFError:
            raise RuntimeError(f"case {number} of {reader} cannot be made:\n{stack}") from None
        return Outcome("failed", stack[-4000:], f"{what}: {at}", lost.files, lost.damages)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        shutil.rmtree(self.workspace, ignore_errors=True)


def campaign(
    names: Iterable[str],
    cases: int,
    seed: int = 0,
    first: int = 0,
    module: str = fuzz_readers.__name__,
    limits: tuple[float, int] = (LIMIT_S, LIMIT_BYTES),
    done: Callable[[Tally], object] = lambda tally: None,
) -> list[Tally]:
    """Read `cases` cases of each reader, from number `first` on, and tell what became of them.

    `module` holds `READERS`; `limits` are the seconds and bytes for one case; `done` hears of each
    reader when its cases are.

    Raises:
        RuntimeError: a whole example of a reader is refused.
    """
    names = list(names)
    tallies = [Tally(name) for name in names]
    worker = Worker(module, limits)
    try:
        with progress(cases * len(names), "fuzz", "case") as bar:
            for tally in tallies:
                bar.set_description(f"fuzz {tally.reader}")
                for outcome in worker.outcomes(tally.reader, seed, first, first + cases):
                    tally.add(outcome)
                    bar.update()
                done(tally)
    finally:
        worker.stop()
    return tallies


def table(tallies: Sequence[Tally]) -> str:
    """What became of the cases, by reader and by damage."""
    lines = [f"{'reader':20} {'cases':>8} {'accepted':>9} {'refused':>9} {'failures':>9}"]
    damages: Counter[tuple[str, str]] = Counter()
    whole: Counter[str] = Counter()
    for tally in tallies:
        lines.append(_row(tally.reader, tally.outcomes))
        whole += tally.outcomes
        damages += tally.damages
    lines += [_row("all", whole), "", lines[0].replace("reader", "damage")]
    for name in sorted({name for name, _ in damages}):
        lines.append(_row(name, Counter({kind: damages[name, kind] for kind in OUTCOMES})))
    return "\n".join(lines)


def _row(name: str, counts: Counter[str]) -> str:
    numbers = (counts.total(), *(counts[kind] for kind in OUTCOMES))
    return f"{name:20} {numbers[0]:8,} " + " ".join(f"{number:9,}" for number in numbers[1:])


def keep(tallies: Sequence[Tally], kept: Path) -> list[str]:
    """Write the smallest input of each failure and its traceback; a line for each."""
    lines = []
    for tally in tallies:
        for number, (where, outcome) in enumerate(sorted(tally.failures.items())):
            folder = kept / f"{tally.reader}-{number}"
            for name, content in (outcome.files or {}).items():
                with contextlib.suppress(OSError):
                    write(folder / "input" / name, content)
            write(folder / "failure.txt", f"{where}\n\n{outcome.text}\n".encode("utf-8", "replace"))
            lines.append(f"{tally.reader}: {where} ({tally.times[where]} times); see {folder}")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run the campaign, print its table, and return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = [reader.name for reader in fuzz_readers.READERS]
    parser.add_argument("--cases", type=int, default=4000, help="of each reader (default: 4000)")
    parser.add_argument("--reader", nargs="+", choices=every, default=every, metavar="NAME",
                        help=f"of {', '.join(every)} (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-failures"),
                        help="folder for failing inputs (default: fuzz-failures)")  # fmt: skip
    given = parser.parse_args(arguments)

    def done(tally: Tally) -> None:
        print(_row(tally.reader, tally.outcomes), *keep([tally], given.kept), sep="\n", flush=True)

    tallies = campaign(given.reader, given.cases, given.seed, given.first, done=done)
    print(f"\n{table(tallies)}")
    return 1 if any(tally.failures for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
