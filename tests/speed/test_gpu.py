"""The command for a GPU, on a CPU: every phase at small size, and what ends it early."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gpu as program
import gpu_machine
import gpu_right
import numpy as np
import pytest
import torch
from gpu import Given, gpu, run_phase, supervise
from gpu_heads import bytes_of_step
from gpu_record import Record
from gpu_right import relative

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.carried import carry
from barlow_speech.upstream.data.manifest import read_manifest
from barlow_speech.upstream.model.checkpoint import load_model


@pytest.fixture
def given(tmp_path: Path) -> Given:
    (tmp_path / "work").mkdir()
    return Given("cpu", None, tmp_path / "out", tmp_path / "work", 100.0, 1)


@pytest.mark.slow
def test_all_phases_run_on_a_cpu(tones: Path, tmp_path: Path) -> None:
    """Half a minute: s3prl's program and two more processes are started, none waits for a clock."""
    carry(read_manifest(tones).recordings, tmp_path / "speech.zip", 24)
    out = tmp_path / "out"
    command = [sys.executable, program.__file__, "--device", "cpu", "--minutes", "600"]
    command += ["--most-steps", "2", "--data", str(tmp_path), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "gpu.json").read_text())
    assert list(found["phases"]) == list(program.PHASES)
    assert all(phase["state"] == "done" and phase["rows"] for phase in found["phases"].values())
    assert found["figures"]["speech"]["hours"] > 0
    assert found["figures"]["heads"]["ratio"] > 0
    assert found["figures"]["trains"]["curve"][-1][0] == 2
    page = (out / "gpu.html").read_text()
    assert "All phases are done" in page and "view reverb" in page
    load_model(out / "training" / "encoder.safetensors")


def test_phases_can_be_chosen_and_the_last_of_them_has_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {}

    def supervised(name: str, given: Given) -> str:
        seconds[name] = given.seconds
        return ""

    monkeypatch.setattr(program, "supervise", supervised)
    monkeypatch.setattr(Record, "end", lambda self, sentence: None)
    command = ["--device", "cuda", "--minutes", "1", "-o", str(tmp_path), "--phases"]
    gpu([*command, "pretraining"])
    assert list(seconds) == ["machine", "speech", "pretraining"]
    assert "The phases machine, speech, pretraining are done." in capsys.readouterr().out
    assert seconds["machine"] < 10 and seconds["pretraining"] > 50
    with pytest.raises(BarlowSpeechError, match="did you mean 'heads'"):
        gpu([*command, "head"])


def test_a_check_that_breaks_keeps_no_other_from_its_turn(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("nothing was there")

    names = ("base_encoders", "features", "heads", "several", "training")
    for name in names:
        monkeypatch.setattr(gpu_right, name, lambda device, given, check: None)
    broken.__name__ = "objectives"
    monkeypatch.setattr(gpu_right, "objectives", broken)
    monkeypatch.setattr(gpu_right, "views", lambda device, given, check: check("view", 1.0, 0.5))
    record = Record(given.out)
    with pytest.raises(BarlowSpeechError, match=r"^view, objectives: farther from the CPU"):
        gpu_right.right(record, given)
    rows = record.found["phases"]["right"]["rows"]
    assert [row[:2] for row in rows[:1] + rows[2:]] == [
        ["view", "1.0e+00 WRONG"],
        ["objectives", "did not end"],
    ]
    assert rows[1][0] == "log-mel" and "nothing was there" in rows[2][3]


def fake(monkeypatch: pytest.MonkeyPatch, **phases: Any) -> None:
    monkeypatch.setattr(program, "PHASES", {name: (1.0, one) for name, one in phases.items()})


def nothing(record: Record, given: Given) -> None:
    record.row("any", "what", "found")


def hangs(record: Record, given: Given) -> None:
    record.row("hangs", "before it hung", "1")
    time.sleep(1000)


def dies(record: Record, given: Given) -> None:
    record.row("dies", "before it died", "2")
    os._exit(7)


def outgrows(record: Record, given: Given) -> None:
    record.row("outgrows", "before it was full", "3")
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def breaks(record: Record, given: Given) -> None:
    raise ZeroDivisionError


def test_what_goes_wrong_in_a_phase_is_a_sentence_and_the_others_run(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, any=nothing, hangs=hangs, dies=dies, outgrows=outgrows, breaks=breaks)
    short = dataclasses.replace(given, seconds=0.2)
    said = {name: supervise(name, short if name == "hangs" else given) for name in program.PHASES}
    assert said["any"] == ""
    assert "its time of 0 s was over" in said["hangs"]
    assert "status 7" in said["dies"]
    assert "memory of cpu is too small" in said["outgrows"]
    assert "ZeroDivisionError at test_gpu.py" in said["breaks"]
    rows = [one for phase in Record(given.out).found["phases"].values() for one in phase["rows"]]
    assert {one[1] for one in rows} >= {"found", "2", "3"}  # nothing was lost


def test_a_run_ends_on_a_sentence_that_names_what_was_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, any=nothing, outgrows=outgrows)
    with pytest.raises(BarlowSpeechError, match="outgrows did not end well"):
        gpu(["--device", "cpu", "--minutes", "60", "-o", str(tmp_path / "one")])
    found = json.loads((tmp_path / "one" / "gpu.json").read_text())
    assert found["phases"]["any"]["state"] == "done"
    with pytest.raises(BarlowSpeechError, match="no time was left"):
        gpu(["--device", "cpu", "--minutes", "0.001", "-o", str(tmp_path / "two")])
    with pytest.raises(BarlowSpeechError, match="holds a run already"):
        gpu(["--device", "cpu", "-o", str(tmp_path / "two")])
    with pytest.raises(BarlowSpeechError, match="above 0"):
        gpu(["--minutes", "0", "-o", str(tmp_path / "three")])
    with pytest.raises(BarlowSpeechError, match=r"speech\.zip"):
        gpu(["--data", str(tmp_path), "-o", str(tmp_path / "three")])
    assert not (tmp_path / "three").exists()


def begins(record: Record, given: Given) -> None:
    (given.out / "began").write_text(str(os.getpid()))
    time.sleep(1000)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_running_of_a_run_that_is_ended(by: signal.Signals, tmp_path: Path) -> None:
    """A phase has a session of its own, which neither Ctrl-C nor `timeout` reaches."""
    out = tmp_path / "out"
    code = f"""
import signal, sys
sys.path[:0] = {sys.path!r}
import gpu, test_gpu
signal.signal(signal.SIGINT, signal.default_int_handler)
gpu.PHASES = {{"any": (1.0, test_gpu.nothing), "begins": (1.0, test_gpu.begins)}}
sys.argv[1:] = ["--device", "cpu", "--minutes", "60", "-o", {str(out)!r}]
gpu.main()
"""
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    began = out / "began"
    while not (began.exists() and began.read_text()) and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(by)
    _, said = run.communicate()
    assert run.returncode == 130 and "what was finished is kept" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
    assert Record(out).found["phases"]["any"]["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--minutes", "inf"], "number above 0, not inf"),
        (["--minutes", "nan"], "number above 0, not nan"),
        (["--most-steps", "0"], "1 or more, not 0"),
    ],
)
def test_a_number_that_is_none_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match=said):
        gpu(["--device", "cpu", *arguments, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Found no NVIDIA driver on your system.", "Found no NVIDIA driver"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "is too old"),
    ],
)
def test_a_gpu_that_cannot_be_used_ends_the_run_at_once(
    message: str, kept: str, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "zeros", refuse)
    assert run_phase("machine", dataclasses.replace(given, device="cuda")) == 2
    state = Record(given.out).found["phases"]["machine"]["state"]
    assert kept in state and "--device cuda cannot be used" in state


def test_a_gpu_with_too_little_memory_is_refused() -> None:
    gpu_machine.check_memory("cuda:0", 20)
    with pytest.raises(BarlowSpeechError, match=r"1\.5 GB of memory free"):
        gpu_machine.check_memory("cuda:0", 1.5)


def test_an_error_is_relative_and_never_hidden_by_a_number_that_is_none() -> None:
    reference = torch.tensor([3.0, 4.0])
    assert relative(reference + torch.tensor([0.0, 0.5]), reference) == pytest.approx(0.1)
    assert relative([reference, reference], [reference, reference]) == 0
    assert relative(torch.tensor([np.nan, 4.0]), reference) == np.inf
    assert relative(torch.zeros(2), torch.zeros(2)) == np.inf  # nothing was computed


def test_the_least_traffic_of_a_step_is_its_weights_ten_times_and_its_batch_twice() -> None:
    weights = 5 + 256 * 512 + 256 + 12 * 256 + 12
    assert bytes_of_step(50, 512) == 4 * 50 * (10 * weights + 2 * 32 * 5 * 512)
