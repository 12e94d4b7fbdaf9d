"""Make s3prl know our tasks, as `barlow_<task>`, without touching its files."""

from __future__ import annotations

import importlib
import sys

from barlow_speech.downstream import task
from barlow_speech.upstream.compatibility import s3prl_hub

PREFIX = "barlow_"  # s3prl has an `emotion` of its own, which keeps its name


def register_downstream() -> None:
    """Let `s3prl.downstream.barlow_<task>.expert` be our expert; a second call changes nothing."""
    s3prl_hub()
    import s3prl.downstream

    for name in task.names():
        ours = f"barlow_speech.downstream.{name}"
        theirs = f"s3prl.downstream.{PREFIX}{name}"
        sys.modules[theirs] = importlib.import_module(ours)
        sys.modules[f"{theirs}.expert"] = importlib.import_module(f"{ours}.expert")
        setattr(s3prl.downstream, PREFIX + name, sys.modules[theirs])
