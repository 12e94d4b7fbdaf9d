"""Make s3prl know our tasks, as `barlow_<task>`, without touching its files."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl import ctc_corpora
from barlow_speech.upstream.third_party.compatibility import s3prl_hub

PREFIX = "barlow_"  # s3prl has an `emotion` of its own, which keeps its name
CTC_CORPORA = ("libriphone", "librispeech", "snips")  # modules of s3prl's downstream/ctc/corpus


def register_downstream() -> None:
    """Let `s3prl.downstream.barlow_<task>.expert` be our expert; a second call changes nothing.

    Also stands in for `s3prl.downstream.ctc.corpus` where the installed s3prl lacks it.
    """
    s3prl_hub()
    import s3prl.downstream

    for name in task.names():
        ours = f"barlow_speech.downstream.{name}"
        theirs = f"s3prl.downstream.{PREFIX}{name}"
        sys.modules[theirs] = importlib.import_module(ours)
        sys.modules[f"{theirs}.expert"] = importlib.import_module(f"{ours}.expert")
        setattr(s3prl.downstream, PREFIX + name, sys.modules[theirs])
    folder = "s3prl.downstream.ctc.corpus"
    if folder not in sys.modules and importlib.util.find_spec(folder) is None:
        package = types.ModuleType(folder, "What s3prl's archive has left out.")
        package.__path__ = []
        sys.modules[folder] = package
        for name in CTC_CORPORA:
            sys.modules[f"{folder}.{name}"] = ctc_corpora
