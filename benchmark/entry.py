"""The installed commands: checks that must come before the heavy imports, then the real thing.

`barlow-speech`'s verbs are the files of benchmark/commands. Nothing here imports torch at the top:
a torch and a torchaudio that do not fit each other make every import of torchaudio fail, and the
user is told so in one sentence instead.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Sequence

from barlow_speech.benchmark import commands
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import run_command
from barlow_speech.upstream.third_party.compatibility import import_torchaudio


def run_downstream() -> None:
    """The command `run_downstream.py`: our harness, or with `-m` s3prl's own program."""
    with_mode = any(one.startswith("-m") or one.split("=")[0] == "--mode" for one in sys.argv[1:])
    module = "downstream.s3prl.program" if with_mode else "benchmark.run_downstream"
    _command(lambda given: importlib.import_module(f"barlow_speech.{module}").run(given))


def barlow_speech() -> None:
    """The command `barlow-speech`."""
    _command(run)


def parser() -> argparse.ArgumentParser:
    """The command line of all verbs."""
    result = argparse.ArgumentParser(
        prog="barlow-speech",
        description="Barlow Twins speech encoders, and a benchmark of repeated runs.",
    )
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in module_names(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{name}")
        summary, _, more = (module.__doc__ or "").partition("\n")
        verb = verbs.add_parser(
            name.replace("_", "-"),
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=more.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb.set_defaults(run=module.run)
    return result


def run(arguments: Sequence[str]) -> None:
    """Do what the command line of `barlow-speech` says.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    given = parser().parse_args(arguments)
    given.run(given)


def _command(work: Callable[[Sequence[str]], None]) -> None:
    def run_it(arguments: Sequence[str]) -> None:
        import_torchaudio()
        work(arguments)

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(run_it, sys.argv[1:]))


if __name__ == "__main__":
    barlow_speech()
