"""s3prl's own downstream program, unmodified, on today's PyTorch and with our names in it.

Usage: run_downstream.py -m train -u barlow_speech -d barlow_emotion -p results/s3prl --device cpu
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import barlow_speech
from barlow_speech.downstream import task
from barlow_speech.downstream.registry import PREFIX


def run(arguments: Sequence[str]) -> None:
    """Run s3prl's `run_downstream.py` with its own flags.

    For one of our tasks without `-c`, its own config.yaml is given; s3prl looks for its configs
    under the working directory, where an installed one has none.

    Raises:
        BarlowSpeechError: s3prl cannot be imported.
        SystemExit: as s3prl's own program exits.
    """
    barlow_speech.register()
    import s3prl.run_downstream

    given = list(arguments)
    if not any(one in ("-c", "--config", "-e", "--past_exp") for one in given):
        for flag, name in itertools.pairwise(given):
            ours = name.startswith(PREFIX) and name.removeprefix(PREFIX) in task.names()
            if flag in ("-d", "--downstream") and ours:
                given += ["-c", str(task.FOLDER / name.removeprefix(PREFIX) / "config.yaml")]
    # s3prl reads the command line from sys.argv alone, and asks for the place of its config there.
    sys.argv = ["run_downstream.py", *given]
    s3prl.run_downstream.main()
