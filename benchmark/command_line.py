"""The command `barlow-speech`; its verbs are the files of benchmark/commands.

Usage: barlow-speech VERB ...
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Sequence

from barlow_speech.benchmark import commands


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
