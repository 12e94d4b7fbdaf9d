"""The device of a command: one that computes, or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from barlow_speech.benchmark import entry, run_downstream
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.machine import peak_mb, usable


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert usable("auto") == device
    assert usable("cpu") == "cpu"


@pytest.mark.parametrize(
    "command",
    [
        ["pretrain", "toy", "-o", "out"],
        ["study", "toy", "-o", "out"],
        ["check-upstream", "barlow_speech"],
        ["disentangle", "-u", "barlow_speech", "-o", "out"],
        ["run_downstream", "-u", "barlow_speech", "-d", "gender", "-p", "out"],
    ],
    ids=lambda command: command[0],
)
def test_a_device_that_is_not_there_is_one_sentence(
    command: list[str], tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    verb, *rest = command
    given = [*rest, "--device", "nowhere"]
    if verb in ("disentangle", "run_downstream"):
        given += ["--corpus", str(tones)]
    run = run_downstream.run if verb == "run_downstream" else entry.run
    with pytest.raises(
        BarlowSpeechError, match=r"--device nowhere cannot be used .*try cpu"
    ) as one:
        run(given if verb == "run_downstream" else [verb, *given])
    assert "\n" not in str(one.value)
    assert not list(tmp_path.iterdir())


def test_the_peak_of_memory_grows_with_what_is_taken() -> None:
    """More than the process ever held, whatever its earlier tests took."""
    before = peak_mb()
    taken = torch.ones(int(before + 50) * (1 << 18))
    assert taken[-1] == 1 and peak_mb() > before
