"""Freed memory is there for the next step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from barlow_speech.upstream.common.allocator import kept_memory

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(64 << 20, dtype=torch.uint8) * 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

mapped = faults(4)
before = resident()
with kept_memory():
    faults(8)  # until the gaps have found their sizes
    kept = faults(4)
    held = resident() - before
print(mapped, kept, held, resident() - before, faults(4))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_pages_are_cleared_once() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    mapped, kept, held, afterwards, again = map(int, done.stdout.split())
    assert mapped > 4 * (64 << 20) / 2**21  # pages are 4 KiB, or 2 MiB where they are huge
    assert kept < mapped / 3
    assert held > 100 << 20  # two tensors,
    assert afterwards < 32 << 20  # and then none
    assert again > kept  # as before
