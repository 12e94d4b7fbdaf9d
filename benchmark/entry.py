"""The installed commands: checks that must come before the heavy imports, then the real thing.

Nothing here imports torch at the top: a torch and a torchaudio that do not fit each other make
every import of torchaudio fail, and the user is told so in one sentence instead.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import pkgutil
import sys
from collections.abc import Sequence

from barlow_speech.benchmark import commands
from barlow_speech.upstream.common.errors import run_command
from barlow_speech.upstream.third_party.compatibility import import_torchaudio


def run_downstream() -> None:
    """The command `run_downstream.py`: our harness, or with `-m` s3prl's own program."""
    with_mode = any(one.startswith("-m") or one.split("=")[0] == "--mode" for one in sys.argv[1:])
    _command("s3prl_program" if with_mode else "run_downstream")


def barlow_speech() -> None:
    """The command `barlow-speech`."""
    _command("command_line")


def _command(module: str) -> None:
    def run(arguments: Sequence[str]) -> None:
        import_torchaudio()
        importlib.import_module(f"barlow_speech.benchmark.{module}").run(arguments)

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(run, sys.argv[1:]))


if __name__ == "__main__":
    barlow_speech()


def parser() -> argparse.ArgumentParser:
    """The command line of all verbs."""
    result = argparse.ArgumentParser(
        prog="barlow-speech",
        description="Barlow Twins speech encoders, and a benchmark of repeated runs.",
    )
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in sorted(one.name for one in pkgutil.iter_modules(commands.__path__)):
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
    """Do what the command line says.

    Raises:
        BarlowSpeechError: on anything that the user can mend.
    """
    given = parser().parse_args(arguments)
    given.run(given)
