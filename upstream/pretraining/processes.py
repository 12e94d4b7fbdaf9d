"""A call in several processes of this machine that train together, with one error when it fails.

torchrun starts them too, also over several machines; there a user's mistake is said by each
process, and torchrun's own traceback follows. Here torch's agent, which torchrun runs, reports it.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError

OURS = f"{BarlowSpeechError.__name__}: "


def together(count: int, call: Callable[..., Any], *arguments: Any) -> None:
    """Call a function, at the top of a module, in `count` processes, and wait for all of them.

    When one fails the others are stopped.

    Raises:
        BarlowSpeechError: a process raised one, or was killed.
        SystemExit: a process raised something else; its traceback is on stderr.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for talks in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(talks).setLevel(logging.CRITICAL)
    # As torchrun has it, or every process takes all cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="barlow_speech.") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id="barlow_speech",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, _call)(call, *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            said: dict[str, Any] = failure.message if isinstance(failure.message, dict) else {}
            sentence = said.get("message", "")
            if sentence.startswith(OURS):
                raise BarlowSpeechError(sentence.removeprefix(OURS)) from error
            if failure.exitcode < 0:
                raise BarlowSpeechError(
                    f"process {rank} of {count} was killed by signal {-failure.exitcode} (is there "
                    "too little memory?); add --resume to go on from the last state."
                ) from error
            print(said.get("extraInfo", {}).get("py_callstack", sentence), file=sys.stderr)
            raise SystemExit(failure.exitcode) from error
        except SignalException as error:
            raise KeyboardInterrupt from error


def _call(call: Callable[..., Any], *arguments: Any) -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    call(*arguments)
