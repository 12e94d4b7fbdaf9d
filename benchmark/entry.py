"""The installed commands. A command line is read, or refused, before what it would need is loaded.

`barlow-speech`'s verbs are the files of benchmark/commands. What takes long to load (torch, scipy,
matplotlib, s3prl) is imported where it is used, in a verb's `run`: help and a wrong flag need none
of it.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import contextlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from barlow_speech.benchmark import commands
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import run_command


def run_downstream() -> None:
    """The command `run_downstream.py`: our harness, or with `-m` s3prl's own program."""
    with_mode = any(one.startswith("-m") or one.split("=")[0] == "--mode" for one in sys.argv[1:])
    module = "downstream.s3prl.program" if with_mode else "benchmark.run_downstream"
    _command(lambda given: importlib.import_module(f"barlow_speech.{module}").run(given))


def barlow_speech() -> None:
    """The command `barlow-speech`."""
    _command(run)


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line of all verbs; with its flags that of the one that `arguments` begin with."""
    result = argparse.ArgumentParser(
        prog="barlow-speech",
        description="Barlow Twins speech encoders, and a benchmark of repeated runs.",
    )
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in module_names(commands.__path__):
        verb = name.replace("_", "-")
        summary, _, more = _docstring(name).partition("\n")
        shown = verbs.add_parser(
            verb,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=more.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb in arguments[:1]:
            module = importlib.import_module(f"{commands.__name__}.{name}")
            module.add_arguments(shown)
            shown.set_defaults(run=module.run)
        shown.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return result


def _docstring(name: str) -> str:
    """That of a verb's file, which is not imported for it."""
    source = Path(next(iter(commands.__path__)), f"{name}.py").read_bytes()
    return ast.get_docstring(ast.parse(source)) or ""


def run(arguments: Sequence[str]) -> None:
    """Do what the command line of `barlow-speech` says.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    given = parser(arguments).parse_args(arguments)
    given.run(given)


def _command(work: Callable[[Sequence[str]], None]) -> None:
    def run_it(arguments: Sequence[str]) -> None:
        try:
            work(arguments)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of a file; a library that does not load has no number
            # If torch and torchaudio do not fit each other, that is the sentence to say.
            from barlow_speech.upstream.third_party.compatibility import import_torchaudio

            import_torchaudio()
            raise

    # Before torch is loaded: its threads would spin while they wait for each other, which takes the
    # cores from other programs, and from the very threads that are waited for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    _leave(run_command(run_it, sys.argv[1:]))


def _leave(status: int) -> None:
    """End the process as `sys.exit` would, without taking torch apart piece by piece."""
    if threading.active_count() > 1 or sys.gettrace() or sys.getprofile():
        sys.exit(status)  # a thread is waited for, and a tracer has its own end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody is left to be told
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    barlow_speech()
