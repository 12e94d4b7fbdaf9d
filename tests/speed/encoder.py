"""Speed and memory of the package's encoder, beside log-mel and a model of wav2vec 2.0 base's size.

Usage: python tests/speed/encoder.py [--threads 1] [--device cpu] [--rounds 5]
           [--hours 1] [-k FILE]

The three take turns on the same 10 s, so that what else the machine does meets all of them alike.
The large model has random weights (its speed does not depend on them) and is never downloaded. The
memory is that of a process of its own which embeds one recording of `--hours`; the difference
between chunked and unchunked is taken on ten minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from harness import base_sized

from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.upstream.common.machine import environment, peak_mb
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.embedder import load
from barlow_speech.upstream.model.chunks import forward_in_chunks
from barlow_speech.upstream.model.speech_encoder import parameter_count
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT

INPUT_S = 10
COMPARED_S = 600


def noise(seconds: float) -> np.ndarray:
    """Noise that swells, float32 [N]."""
    count = round(seconds * SAMPLE_RATE)
    swell = 0.05 * (1 + np.sin(np.arange(count, dtype=np.float32) / 5000))
    return swell * np.random.default_rng(0).standard_normal(count, dtype=np.float32)


def factors(upstreams: Sequence[Upstream], rounds: int) -> list[list[float]]:
    """Seconds of computing per second of audio, of each upstream in each round."""
    found: list[list[float]] = [[] for _ in upstreams]
    with progress((rounds + 1) * len(upstreams), "forwards", "forward") as bar:
        for turn in range(rounds + 1):
            for times, upstream in zip(found, upstreams):
                wave = torch.from_numpy(noise(INPUT_S)).to(upstream.device)
                started = time.perf_counter()
                with torch.inference_mode():
                    upstream.outputs([wave])
                if wave.is_cuda:
                    torch.cuda.synchronize()
                if turn:  # the first warms up
                    times.append((time.perf_counter() - started) / INPUT_S)
                bar.update()
    return found


def long_recording(hours: float, checkpoint: Path) -> dict[str, float]:
    """Embed one recording in this process: its peak memory in MB, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
            for _ in range(round(hours * 60)):
                file.write(noise(60))
        before = peak_mb()
        started = time.perf_counter()
        load(checkpoint).embed(path)
        seconds = time.perf_counter() - started
    peak = peak_mb()
    return {"peak_mb": peak, "before_mb": before, "seconds": seconds}


@torch.no_grad()
def chunk_difference(checkpoint: Path) -> float:
    """The largest difference between chunked and whole, relative to the largest value."""
    model = load(checkpoint).model
    wave = torch.from_numpy(noise(COMPARED_S))
    hidden, _, embedding_1E = model([wave])
    chunked, other_1E = forward_in_chunks(model, wave)
    pairs = [*zip(hidden, chunked), (embedding_1E, other_1E)]
    return max(float((one - two).abs().max() / one.abs().max()) for one, two in pairs)


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("-k", "--checkpoint", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--long", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    if given.long:
        print(json.dumps(long_recording(given.hours, given.checkpoint)))
        return
    with tempfile.TemporaryDirectory() as folder:
        names = ("fbank", "barlow_speech", f"hf:{base_sized(Path(folder) / 'base')}")
        upstreams = [load_upstream(name, given.checkpoint, given.device) for name in names]
    labels = ("fbank", "barlow_speech", "wav2vec 2.0 base's sizes")
    found = factors(upstreams, given.rounds)
    machine = environment(given.device)
    print(f"{machine}, {given.threads} threads; {INPUT_S} s, median of {given.rounds}")
    last = statistics.median(found[-1])
    for label, upstream, times in zip(labels, upstreams, found):
        middle = statistics.median(times)
        print(
            f"{label:26s} {parameter_count(upstream.module):>11,} parameters  real-time factor "
            f"{middle:.5f} ({min(times):.5f} to {max(times):.5f})  1/{last / middle:.1f} of it"
        )
    command = [sys.executable, __file__, "--long"]
    command += ["--hours", str(given.hours), "--threads", str(given.threads)]
    command += ["-k", str(given.checkpoint)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory = json.loads(done.stdout)
    print(
        f"{given.hours:g} h in one recording: peak {memory['peak_mb']:.0f} MB "
        f"({memory['before_mb']:.0f} MB before), {memory['seconds']:.1f} s"
    )
    print(f"chunked against whole, {COMPARED_S} s: {chunk_difference(given.checkpoint):.1g}")


if __name__ == "__main__":
    main(sys.argv[1:])
