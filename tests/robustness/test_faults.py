"""A command that is killed, or run by several processes at once, leaves what it always leaves.

A reduced run of the campaign in tests/robustness/faults.py, in a process of its own since it forks.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import faults
import pytest


def campaign(target: str, folder: Path, *faults: str) -> str:
    """What the campaign says of one command, in which nothing may end otherwise than it should."""
    program = Path(__file__).with_name("faults.py")
    command = [sys.executable, str(program), "--folder", str(folder), "--seed", "1"]
    command += ["--only", target, *faults]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 ends differ" in done.stdout
    assert not list(folder.iterdir())
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("target", ["prepare", "pretrain", "benchmark", "study"])
def test_what_was_killed_ends_as_if_nothing_had_happened(target: str, tmp_path: Path) -> None:
    """Slow: some twenty starts of four commands."""
    said = campaign(target, tmp_path, "--kills", "2", "--together", "2", "--damage", "2")
    assert "2 at once" in said and "files damaged: " in said


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a disk in memory, as root may."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False
    ).returncode:
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("target", ["pretrain", "benchmark"])  # the others are in the campaign
def test_a_full_disk_is_said_and_loses_nothing(target: str, tmp_path: Path) -> None:
    """Slow: some five starts of two commands."""
    if not may_mount(tmp_path):
        pytest.skip("needs the right to mount a tmpfs")
    said = campaign(target, tmp_path, "--kills", "0", "--together", "--full", "2")
    assert "1 read-only, said so" in said


def test_a_command_that_begins_anew_ends_on_a_machine_that_has_become_slower(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Now it takes three times as long as it did undisturbed."""
    sleep = shutil.which("sleep") or "sleep"

    def start(target: faults.Target, out: Path) -> int:
        return os.posix_spawn(sleep, ["sleep", "0.15"], os.environ, setpgroup=0)

    monkeypatch.setattr(faults, "start", start)
    slow = faults.Target("slow", lambda _: None, lambda _: [], lambda _: {}, lambda _: "sleep")
    tally = faults.Tally()
    kills = faults.one_round(slow, tmp_path, {}, 0.05, random.Random(0), tally)
    assert kills == tally.kills["sleep"] and tally.rounds == 1 and not tally.wrong
