"""A command that is killed, or run by several processes at once, leaves what it always leaves.

A reduced run of the campaign in benchmark/faults.py, in a process of its own since it forks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("target", ["prepare", "pretrain", "benchmark", "study"])
def test_what_was_killed_ends_as_if_nothing_had_happened(target: str, tmp_path: Path) -> None:
    """Slow: some twenty starts of four commands."""
    command = [sys.executable, "-m", "barlow_speech.benchmark.faults", "--folder", str(tmp_path)]
    command += ["--kills", "3", "--together", "2", "--seed", "1", "--only", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 ends differ" in done.stdout and "2 at once" in done.stdout
    assert not list(tmp_path.iterdir())
