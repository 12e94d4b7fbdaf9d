"""What a result was computed on: versions and hardware, for records and pages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.s3prl_package import find_s3prl

PACKAGES = ("barlow-speech", "torch", "torchaudio", "numpy", "scipy", "soxr", "transformers")


def environment(device: str) -> dict[str, Any]:
    """`versions` and `hardware`, JSON-able; of s3prl the version, which says whose it is.

    Raises:
        BarlowSpeechError: the s3prl that is here is of neither kind.
    """
    s3prl = find_s3prl()
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
            "s3prl": s3prl.version if s3prl else "(not installed)",
        },
        "hardware": {
            "machine": platform.machine(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        },
    }


def usable(device: str) -> str:
    """The device itself if something can be computed on it; `auto` is a GPU where there is one.

    Raises:
        BarlowSpeechError: nothing can.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA
        reason = str(error).splitlines()[0].rstrip(".")
        raise BarlowSpeechError(f"--device {device} cannot be used ({reason}); try cpu.") from error
    return device


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def peak_mb() -> float:
    """The highest resident memory of this process so far, in MB (Linux).

    Not that of getrusage, which of a new program counts the memory of the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024  # kB there are KiB
