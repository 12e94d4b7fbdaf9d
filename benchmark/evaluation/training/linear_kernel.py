"""The linear heads' training step as one pass over each run: linear_kernel.c, compiled once.

What `batched_heads.BatchedLinear` and torch's Adam do to all runs one operation after the other,
moving every weight through memory each time, it does run by run in the cache of a core. It needs a
C compiler; without one, and for what it was not written for, the plain path trains the same.

Shapes: R runs, B batch, N utterances.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from barlow_speech.benchmark.evaluation.protocol import Training
from barlow_speech.benchmark.evaluation.training.batched_heads import BatchedHeads, BatchedLinear
from barlow_speech.benchmark.evaluation.training.inputs import Inputs, Means
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, digest, file_digest, written_whole

SOURCE = Path(__file__).with_suffix(".c")
# Sums may be taken in any order, as in every product of matrices; NaN stays NaN.
FLAGS = [
    *("-O3", "-march=native", "-shared", "-fPIC", "-fassociative-math"),
    *("-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
]
VECTOR = 16  # floats, of which the width is a multiple
# From some 30 classes on, torch's products over the whole batch are as fast.
MOST_CLASSES = 24
# Steps times parameters of a run: below, the compiler would take longer than it saves. The number
# of runs must not count, since a run gives the same alone and among others.
LEAST_WORK = 1 << 24
BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults, and s3prl's

log = logging.getLogger(__name__)


class LinearKernel:
    """R linear heads on a CPU in float32, trained by Adam or AdamW."""

    def __init__(
        self, heads: BatchedLinear, inputs: Means, labels_N: Tensor, training: Training,
        rates: Sequence[float],
    ) -> None:  # fmt: skip
        self.inputs, self.labels_N, self.training = inputs, labels_N, training
        self.values = heads.parameters
        self.moments = [[torch.zeros_like(one) for one in self.values] for _ in range(2)]
        for one in self.values:
            one.grad = None
        self.rates_R = torch.tensor(rates, dtype=torch.float32)
        self.steps = 0
        self.function = _library()
        # Where all that stays in its place lies.
        self.places = [*map(_places, (self.values, *self.moments))]
        threads = min(torch.get_num_threads(), len(rates))
        edges = [len(rates) * i // threads for i in range(threads + 1)]
        self.parts = list(itertools.pairwise(edges))  # of the runs, a thread each
        self.map = ThreadPoolExecutor(threads).map if threads > 1 else map

    def step(self, rows_RB: Tensor, weights_B: Tensor) -> Tensor:
        """One step of every run on its own rows; the losses [R] before it (`BatchedHeads.step`)."""
        self.steps += 1
        training = self.training
        runs, batch = rows_RB.shape
        _, projector, width = self.values[1].shape
        losses_R = torch.empty(runs)
        (beta1, beta2), decay = BETAS, training.weight_decay
        options = torch.tensor([
            training.clip, 1 - beta1, beta2, 1 - beta2, 1 - beta1**self.steps,
            1 / math.sqrt(1 - beta2**self.steps), EPSILON,
            *((decay, 0) if training.optimiser == "adam" else (0, decay)),
        ])  # fmt: skip
        rows_RB, weights_B = rows_RB.contiguous(), weights_B.float().contiguous()
        labels_RB = self.labels_N[rows_RB]
        given = [
            batch, self.inputs.layers, width, projector, self.values[3].shape[1],
            *map(_place, (self.inputs.x_NLD, rows_RB, labels_RB, weights_B, self.rates_R, options)),
            *self.places, _place(losses_R),
        ]  # fmt: skip
        if any([*self.map(lambda part: self.function(*part, *given), self.parts)]):
            raise MemoryError
        return losses_R


def linear_kernel(
    heads: BatchedHeads, inputs: Inputs, labels_N: Tensor, training: Training,
    rates: Sequence[float],
) -> LinearKernel | None:  # fmt: skip
    """The kernel for these heads and the rates of their runs, or None where it does not serve."""
    serves = (
        isinstance(heads, BatchedLinear)
        and isinstance(inputs, Means)
        and inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and inputs.width % VECTOR == 0
        and heads.w2_RCP.shape[1] <= MOST_CLASSES
        and training.optimiser in ("adam", "adamw")
        and training.steps * sum(one[0].numel() for one in heads.parameters) >= LEAST_WORK
        and _library() is not None
    )
    if not serves:
        return None
    assert isinstance(heads, BatchedLinear) and isinstance(inputs, Means)
    return LinearKernel(heads, inputs, labels_N, training, rates)


@functools.cache
def _library() -> Any:
    """The function of the compiled source; None without a compiler, or where it fails."""
    folder, stem = cache_dir() / "kernels", f"linear-{_identity()}-"
    try:
        # Its name ends in its digest: what a disk has changed is not run, but compiled again.
        whole = (one for one in folder.glob(f"{stem}*.so") if _checksum(one) in one.name)
        built = next(whole, None) or _compiled(folder, stem)
        if built is None:
            return None
        function = ctypes.CDLL(str(built)).linear_steps
    except (subprocess.SubprocessError, OSError, BarlowSpeechError) as error:
        log.debug("the heads' step is not compiled: %s", error)
        return None
    place, places = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    function.argtypes = [*[ctypes.c_int] * 7, *[place] * 6, *[places] * 3, place]
    return function


def _compiled(folder: Path, stem: str) -> Path | None:
    names = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "linear.so")
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        built = folder / f"{stem}{_checksum(made)}.so"
        with written_whole(built) as part:
            shutil.copyfile(made, part)
    return built


def _checksum(built: Path) -> str:
    return file_digest(built)[:16]


def _identity() -> str:
    """A digest of the source, the flags and the processor: another one may lack instructions."""
    processor = platform.machine() + platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        processor += "".join(
            sorted({one for one in lines if one.startswith(("flags", "Features"))})
        )
    return digest([SOURCE.read_text(encoding="utf-8"), FLAGS, processor])[:16]


def _place(one: Tensor) -> int:
    return one.data_ptr()


def _places(ones: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(ones))(*map(_place, ones))
