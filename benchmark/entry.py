"""The installed commands: checks that must come before the heavy imports, then the real thing.

Nothing here imports torch at the top: a torch and a torchaudio that do not fit each other make
every import of torchaudio fail, and the user is told so in one sentence instead.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from barlow_speech.upstream.compatibility import import_torchaudio
from barlow_speech.upstream.errors import run_command


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
