"""What an upstream costs: its size, its arithmetic and its speed.

Everything is measured on one recording of `INPUT_S` seconds, in a batch of one, because the cost of
attention grows with the square of the length: per second of audio, a longer recording would cost
more and a shorter one less.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.speech_encoder import parameter_count

INPUT_S = 10  # seconds of audio
REPEATS = 5  # timed forwards, after one to warm up
MIN_COUNT = 3  # of them, however long they take
PATIENCE_S = 10.0  # of timing, after which the fewest have to do


def measure_cost(upstream: Upstream) -> dict[str, Any]:
    """The cost of an upstream on the device where it is, from a forward without gradients.

    `parameters`: the numbers that its module could train; 0 for filterbanks. `macs_per_second`:
    multiply-accumulates per second of audio in matrix products and convolutions, those of
    recurrent layers and attention included; FFTs, norms, activations and other elementwise work
    are not counted. `real_time_factor`: seconds of computing per second of audio, the median of
    `repeats` forwards, with that many `threads` on that `device`; below 1 is faster than speech.
    `input_s` is the length of the recording.
    """
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(INPUT_S * SAMPLE_RATE, generator=generator)
    wave = wave.to(upstream.device)
    with progress(REPEATS + 2, f"cost of {upstream.name}", "forward") as bar:
        macs = count_macs(upstream, wave)
        bar.update()
        _seconds(upstream, wave)
        bar.update()
        seconds: list[float] = []
        while len(seconds) < (REPEATS if sum(seconds) < PATIENCE_S else MIN_COUNT):
            seconds.append(_seconds(upstream, wave))
            bar.update()
    return {
        "parameters": parameter_count(upstream.module),
        "macs_per_second": round(macs / INPUT_S),
        "real_time_factor": float(f"{statistics.median(seconds) / INPUT_S:.3g}"),
        "input_s": INPUT_S,
        "repeats": len(seconds),
        "threads": torch.get_num_threads(),
        "device": str(upstream.device),
    }


def count_macs(upstream: Upstream, wave: torch.Tensor) -> int:
    """Multiply-accumulates of one forward of one waveform: half of what torch's counter counts.

    The counter knows matrix products and convolutions. Kernels that fuse them with other work (the
    LSTM of oneDNN and cuDNN, attention on a CPU, the fast path of nn.TransformerEncoderLayer) would
    count as nothing, so they are switched off meanwhile.
    """
    with _unfused(), FlopCounterMode(display=False) as counter:
        upstream.outputs([wave])
    return counter.get_total_flops() // 2


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # Of switching oneDNN off and on again, about GPUs of Intel.
            warnings.filterwarnings("ignore", message="TF32 acceleration")
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
                sdpa_kernel(SDPBackend.MATH),
            ):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _seconds(upstream: Upstream, wave: torch.Tensor) -> float:
    _wait(upstream.device)
    started = time.perf_counter()
    upstream.outputs([wave])
    _wait(upstream.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """A GPU returns before it has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
