"""A phase of gpu.py: fifty heads of SUPERB's keyword spotting, against s3prl's own program."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_machine import finish
from gpu_record import Record
from harness import BATCH, generate, s3prl_step_seconds

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.benchmark.evaluation.training import head_training
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.upstream.common.captured import Record as Recorder

RUNS, CLASSES, LAYERS, WIDTH, PROJECTOR = 50, 12, 5, 512, 256
STEPS = 200_000  # of SUPERB's keyword spotting
AIM_MS, AIM_RATIO = 0.3, 3000


def heads(record: Record, given: Any) -> None:
    """The time of a step, recorded as a graph and not, its floor, and the ratio."""
    device = torch.device(given.device)
    runs, recordings, width = (3, 200, 16) if given.small else (RUNS, 51_094, WIDTH)
    split = drawn(recordings, width, device)
    record.row("heads", "size", f"{runs} runs", note=f"{LAYERS} layers of {width}, batch {BATCH}")
    plain = step_ms(split, runs, given, recorder=None)
    record.row("heads", "a step, launched piece by piece", f"{plain:.3f} ms")
    graph = step_ms(split, runs, given, recorder=head_training.recorder(device))
    aim = f"at most {AIM_MS} ms"
    record.row("heads", "a step, as it is trained", f"{graph:.3f} ms", aim)
    whole = graph * STEPS / 1000
    record.row("heads", f"{STEPS:,} steps of all runs", f"{whole:.0f} s", "60 s", "by that step")
    moved = bytes_of_step(runs, width)
    floor = 1000 * moved / (record.found["figures"]["machine"]["copy_gb_s"] * 1e9)
    note = f"{moved / 1e6:.0f} MB at the speed of a large copy, {floor / graph:.0%} of the step"
    record.row("heads", "floor by memory traffic", f"{floor:.3f} ms", note=note)
    figures = {"runs": runs, "step_ms": graph, "piecewise_ms": plain, "floor_ms": floor}
    record.figures("heads", **figures)
    if device.type == "cuda":
        for what, recorder in (
            ("piece by piece", None),
            ("as trained", head_training.recorder(device)),
        ):
            count, busy = launches(split, runs, recorder)
            note = f"the GPU computes {busy:.3f} ms of it"
            record.row("heads", f"launches of a step, {what}", f"{count:.1f}", note=note)
            record.figures("heads", **{f"launches, {what}": count, f"busy_ms, {what}": busy})
    else:
        record.row("heads", "launches of a step", "-", note="a CPU launches nothing")
    folder = given.work / "s3prl"
    folder.mkdir()
    generate(folder, 60 if given.small else 480)
    measured = min(given.most_steps, 3 if given.small else 60)
    step = s3prl_step_seconds(folder, ["-u", "barlow_speech"], measured, given.device)
    record.row("heads", "a step of s3prl's program, one run", f"{1000 * step:.1f} ms")
    ratio = 1000 * step * runs / graph
    note = f"{runs} of its steps over one of ours"
    record.row("heads", "ratio", f"{ratio:.0f}", f"at least {AIM_RATIO}", note)
    record.figures("heads", s3prl_ms=1000 * step, ratio=ratio)


def drawn(recordings: int, width: int, device: torch.device) -> Split:
    """Features and labels."""
    labels_N = torch.randint(CLASSES, (recordings,), device=device)
    return Split(Means(torch.randn(recordings, LAYERS, width, device=device)), labels_N)


def trained(split: Split, runs: int, steps: int, on_step: Callable[[float], Any]) -> None:
    """A training of so many runs; a look at dev, of 64 recordings, only at its end."""
    few = Split(Means(split.inputs.x_NLD[:64]), split.labels_N[:64])  # type: ignore[attr-defined]
    plans = [RunPlan(seed, seed, seed, lr=1e-4) for seed in range(runs)]
    training = Training(steps, BATCH, steps, sampling="balanced")
    train_runs({"name": "linear"}, split, few, None, CLASSES, training, plans, on_step)


def step_ms(split: Split, runs: int, given: Any, recorder: Recorder | None) -> float:
    """Milliseconds of a step of all runs, between step 20 and the last, when all is done."""
    device = split.inputs.device
    steps = int(min(given.most_steps, 200 if given.small else 5000)) + 20
    marks = []

    def mark(share: float) -> None:
        marks.append(None)
        if len(marks) in (20, steps):
            finish(device)
            times.append(time.perf_counter())

    times: list[float] = []
    before, head_training.recorder = head_training.recorder, lambda where: recorder
    try:
        trained(split, runs, steps, mark)
    finally:
        head_training.recorder = before
    return 1000 * (times[1] - times[0]) / (steps - 20)


def launches(split: Split, runs: int, recorder: Recorder | None) -> tuple[float, float]:
    """What the CPU launches in a step (kernels, copies, graphs), and the GPU's milliseconds."""
    steps, first = 120, 20
    profile = torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    )
    count = 0

    def mark(share: float) -> None:
        nonlocal count
        count += 1
        if count in (first, steps):
            torch.cuda.synchronize()
            (profile.start if count == first else profile.stop)()

    before, head_training.recorder = head_training.recorder, lambda where: recorder
    try:
        trained(split, runs, steps, mark)
    finally:
        head_training.recorder = before
    made = [one.name for one in profile.events() or ()]
    calls = [
        name
        for name in made
        if name.startswith(
            ("cudaLaunch", "cudaMemcpy", "cudaGraphLaunch", "cuLaunch", "cudaMemset")
        )
    ]
    busy = sum(
        one.time_range.elapsed_us()
        for one in profile.events() or ()
        if one.device_type == torch.autograd.DeviceType.CUDA and not one.is_user_annotation
    )
    return len(calls) / (steps - first), busy / 1000 / (steps - first)


def bytes_of_step(runs: int, width: int) -> int:
    """The fewest bytes that a step of float32 reads and writes, each thing once per use.

    Adam reads weights, gradients and two moments and writes all but the gradients; the gradients
    are written once; the way there and the way back read the weights; a batch is read twice.
    """
    numbers = runs * (LAYERS + width * PROJECTOR + PROJECTOR + PROJECTOR * CLASSES + CLASSES)
    batch = runs * BATCH * LAYERS * width
    return 4 * (7 * numbers + numbers + 2 * numbers + 2 * batch)
