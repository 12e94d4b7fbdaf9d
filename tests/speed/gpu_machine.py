"""The first phases of gpu.py: what the machine is, and the speech on it."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import torch
from gpu_record import Record
from pretraining import write_corpus

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.machine import environment, usable
from barlow_speech.upstream.data.carried import unpack
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import PackedCorpus, pack

NEEDED_GB = 8.0  # of a GPU's memory: what the largest phase takes, and some more
CARRIED, PACKED = "speech.zip", "packed"


def check_data(folder: Path) -> None:
    """Refuse a --data that holds no speech.

    Raises:
        BarlowSpeechError: it does not.
    """
    if not (folder / CARRIED).is_file() and not (folder / "packed.json").is_file():
        raise BarlowSpeechError(
            f"--data {folder} holds no {CARRIED} and is no packed folder; make one with "
            "`barlow-speech pack open_speech_core --opus 16 -o speech.zip`."
        )


def machine(record: Record, given: Any) -> None:
    """Versions and hardware, and whether the device can be used at all."""
    device = usable(given.device)
    facts = environment(device)
    values = {
        **facts["versions"],
        **facts["hardware"],
        "usable cores": len(os.sched_getaffinity(0)),
    }
    if device.startswith("cuda"):
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info(device))
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        values |= {"cuda": torch.version.cuda, "memory": f"{free:.1f} of {total:.1f} GB free"}
        values |= {"compute capability": capability, "gpus": torch.cuda.device_count()}
        check_memory(device, free)
    record.facts(**values)
    copied, multiplied = ceilings(torch.device(device), given.small)
    record.figures("machine", copy_gb_s=copied, bfloat16_tflop_s=multiplied)
    record.row("machine", "memory, read and written", f"{copied:.0f} GB/s", note="a large copy")
    note = "a large matrix product, random numbers"
    record.row("machine", "bfloat16", f"{multiplied:.2f} TFLOP/s", note=note)


def check_memory(device: str, free_gb: float) -> None:
    """Refuse a GPU whose free memory is less than what is needed.

    Raises:
        BarlowSpeechError: it is.
    """
    if free_gb < NEEDED_GB:
        raise BarlowSpeechError(
            f"{device} has {free_gb:.1f} GB of memory free and {NEEDED_GB:g} GB are needed; end "
            "what else runs on it, or choose another --device."
        )


def ceilings(device: torch.device, small: bool) -> tuple[float, float]:
    """GB/s that a large copy reads and writes, and TFLOP/s of a large bfloat16 matrix product."""
    size = 1 << (22 if small else 29)
    a = torch.randn(size, device=device)
    b = torch.empty_like(a)
    copied = 2 * 4 * size / best(functools.partial(b.copy_, a), device) / 1e9
    del a, b
    n = 256 if small else 8192
    x, y = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return copied, 2 * n**3 / best(functools.partial(torch.mm, x, y), device) / 1e12


def best(function: Any, device: torch.device, times: int = 10) -> float:
    """The least seconds of one call, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        finish(device)
        started = time.perf_counter()
        function()
        finish(device)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def finish(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speech(record: Record, given: Any) -> None:
    """The speech in a packed folder of `work`: unpacked by all cores, or drawn."""
    folder = given.work / PACKED
    cores = len(os.sched_getaffinity(0))
    started = time.monotonic()
    if given.data is None:
        write_corpus(
            given.work / "drawn", *((12, (0.5, 2.0)) if given.small else (400, (4.0, 12.0)))
        )
        pack([Recording(path) for path in sorted((given.work / "drawn").iterdir())], folder)
        note = "drawn, since there is no --data"
    elif (given.data / CARRIED).is_file():
        unpack(given.data / CARRIED, folder, cores)
        note = f"decoded from {(given.data / CARRIED).stat().st_size / (1 << 20):.1f} MiB of Opus"
    else:
        folder.symlink_to(given.data.resolve())
        note = "packed before"
    seconds = time.monotonic() - started
    hours = PackedCorpus(folder.resolve(), 1.0, 0).hours  # which messages name
    record.figures("speech", seconds=seconds, hours=hours, cores=cores)
    record.row(
        "speech", "speech", f"{hours:.2f} h in {seconds:.1f} s", note=f"{note}, {cores} cores"
    )
