"""Bad input, by the thousand: damaged files to every reader of the project.

Usage: python -m pytest tests/robustness/test_fuzz.py -k damaged -s --hypothesis-profile=campaign
       [--hypothesis-seed=S]

A case is a whole example of what a reader reads with one kind of damage or several (`damage.py`,
`fuzz_readers.py`), drawn by hypothesis. It is read as the project reads it, in a process of its
own. What may happen: the result is right, or the input is refused by one of the project's own
errors, or named in a warning, in one line that names the file. Everything else is a failure:
another exception, a crash, a hang of more than 10 s, more than 2 GB of memory, a wrong result, a
number that is not finite. Hypothesis makes the input of each failure small.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import importlib
import logging
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from damage import Files, damaged
from fuzz_readers import Reader, Wrong, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barlow_speech.upstream.common.errors import BarlowSpeechError

MAX_LENGTH = 2000  # letters of a message
STACK, ERROR = "stack", "printed"  # files of the process that reads


class Limits(NamedTuple):
    """Of reading one case: seconds of computing, seconds that may pass, bytes."""

    computes_s: float = 10.0
    waits_s: float = 200.0  # the machine may do something else as well
    bytes: int = 2 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of a case: "accepted", "refused" or "failed"; of a failure `where` it was."""

    kind: str
    text: str = ""
    where: str = ""


class Failure(AssertionError):
    """A reader failed. Hypothesis tells failures apart by their class: one for each place."""


@functools.cache
def failure_in(where: str) -> type[Failure]:
    """The class of the failures in a place."""
    return type("Failure", (Failure,), {"__doc__": where})


def campaign(reader: Reader, cases: int, kept: Path, module: str = "fuzz_readers") -> Counter[str]:
    """Read `cases` cases of a reader, which `module` holds; how many were accepted and refused.

    The smallest input of each failure is written to a folder in `kept`.

    Raises:
        Failure (a group of them, where there are several): a case failed.
        RuntimeError: a whole example is refused.
    """
    tally: Counter[str] = Counter()
    examples = reader.examples(kept / "case")

    @settings(max_examples=cases, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def read(data: st.DataObject) -> None:
        files = damaged(data.draw, examples, reader.damages, reader.renames, reader.seal)
        outcome = worker.read(files)
        tally[outcome.kind] += files not in examples
        if outcome.kind == "failed":
            folder = kept / re.sub(r"\W+", "-", f"{reader.name} {outcome.where}")[:100]
            place(files, folder)  # of several that fail there hypothesis reads the smallest at last
            raise failure_in(outcome.where)(f"{outcome.where}; see {folder}\n{outcome.text}")

    with Worker(reader.name, examples, module) as worker:
        worker.read(examples[0])
        read()
    return tally


def place(files: Files, folder: Path) -> None:
    """Write the files of an input to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        # Damage may make a file's name the name of a folder as well.
        with contextlib.suppress(OSError):
            write(folder / name, content)


def tried(reader: Reader, files: Files, folder: Path) -> Outcome:
    """Read one input in this process; it is written to `folder`, which is emptied first."""
    place(files, folder)
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
    frames = ((Path(one.filename), one.name) for one in traceback.extract_tb(error.__traceback__))
    places = [f"{path.parent.name}/{path.name}, {name}" for path, name in frames
              if {"upstream", "downstream", "benchmark"} & set(path.parts)
              and "site-packages" not in path.parts]  # fmt: skip
    return f"{type(error).__name__} in {places[-1] if places else '?'}"


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


@contextlib.contextmanager
def _limited(limits: Limits, stack: Any) -> Iterator[None]:
    """End the process, with its stack in a file, when it computes or waits for too long."""
    signal.setitimer(signal.ITIMER_PROF, limits.computes_s)
    faulthandler.dump_traceback_later(limits.waits_s, exit=True, file=stack)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)


def _serve(
    pipe: Any, module: str, name: str, examples: list[Files], limits: Limits, workspace: Path
) -> None:
    """Inputs come in, `Outcome`s go out; what it prints is left in `workspace`."""
    for stream in (1, 2):  # libraries in C print there as well
        os.dup2(os.open(workspace / ERROR, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(workspace)
    stack = (workspace / STACK).open("w")
    faulthandler.enable(stack)
    faulthandler.register(signal.SIGPROF, stack, chain=True)
    reader = importlib.import_module(module).READERS[name]
    folder = workspace / "case"
    # The limits hold from here on: importing torch takes longer and more than a case may.
    for files in examples:
        outcome = tried(reader, files, folder)
        if outcome.kind != "accepted":
            raise RuntimeError(f"a whole example of {name} is {outcome.kind}: {outcome.text}")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + limits.bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    while True:
        files = pipe.recv()
        with _limited(limits, stack):
            outcome = tried(reader, files, folder)
        pipe.send(outcome)


class Worker:
    """The process that reads; when it dies, another takes its place."""

    def __init__(
        self, name: str, examples: list[Files], module: str, limits: Limits | None = None
    ) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # saves waiting for the disk
        self.workspace = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory))
        self.arguments = (module, name, examples, limits or Limits(), self.workspace)
        self.context = multiprocessing.get_context("forkserver")
        # By name, and tests/ is not on the path of the server that forks.
        ours = [one for one in sys.modules if one.startswith("barlow_speech.")]
        self.context.set_forkserver_preload(ours)
        self.process: Any = None

    def read(self, files: Files) -> Outcome:
        """What becomes of an input.

        Raises:
            RuntimeError: a whole example is refused.
        """
        if self.process is None or not self.process.is_alive():
            self.pipe, other = self.context.Pipe()
            self.process = self.context.Process(
                target=_serve, args=(other, *self.arguments), daemon=True
            )
            self.process.start()
            other.close()
        try:
            self.pipe.send(files)
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            return self._death()

    def _death(self) -> Outcome:
        self.process.join()
        code, stack = self.process.exitcode, (self.workspace / STACK).read_text()
        if code == 1 and not stack:
            raise RuntimeError((self.workspace / ERROR).read_text())
        slow = "Timeout" in stack or code == -signal.SIGPROF
        current = stack.rpartition("Current thread")[2] or stack
        places = re.findall(r'/((?:up|down)stream/.*|benchmark/.*)", line \d+ in (.*)', current)
        what = "hang" if slow else f"died of signal {-code}"
        return Outcome("failed", stack[-4000:], f"{what}: {', '.join((places or ['?'])[0])}")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
        shutil.rmtree(self.workspace, ignore_errors=True)
