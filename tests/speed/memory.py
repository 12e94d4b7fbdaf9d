"""Peak memory of pretraining against the size of the packed corpus: it must not grow.

Usage: python tests/speed/memory.py [--bytes 2e8 2e10] [--folder DIR]

Each size is written to disk as noise, trained on for 12 steps by a process of its own (batch 32, a
small encoder), and removed. The last line is the difference between the largest and the smallest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from barlow_speech import configs
from barlow_speech.upstream.common.machine import peak_mb
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.packed import AUDIO, FORMAT, INDEX, OFFSETS, PackedCorpus
from barlow_speech.upstream.pretraining.recipe import read_recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining

RECORDING = 12 * SAMPLE_RATE  # samples of each recording
BLOCK = 1 << 25  # samples of noise, written again and again
SMALL = ["steps=12", "batch=32", "memory=64", "encoder.channels=8", "log_every=100"]


def write_noise(folder: Path, size: int) -> None:
    """A packed corpus of `size` bytes of noise, in recordings of 12 s."""
    samples = size // 2
    block = (1000 * np.random.default_rng(0).standard_normal(BLOCK)).astype("<i2")
    with (folder / AUDIO).open("wb") as file, progress(samples, "write", "sample") as bar:
        for start in range(0, samples, BLOCK):
            part = block[: samples - start]
            file.write(part.tobytes())
            bar.update(len(part))
    offsets = np.append(np.arange(0, samples, RECORDING), samples).astype(np.int64)
    np.save(folder / OFFSETS, offsets)
    index = {"format": FORMAT, "contents": "noise", "sha256": "", "offsets_sha256": ""}
    (folder / INDEX).write_text(json.dumps(index))


def peak(folder: Path) -> float:
    """Train on a packed corpus in this process; its peak resident memory in MB."""
    recipe = read_recipe(configs.find("recipe", "toy"), SMALL)
    corpus = PackedCorpus(folder, recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    while not run.done:
        run.step()
    return peak_mb()


def main(arguments: Sequence[str]) -> None:
    """Measure every size and print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", nargs="+", type=float, default=[2e8, 2e10])
    parser.add_argument("--folder", type=Path, help="where there is room (default: /tmp)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        print(peak(given.measure))
        return
    peaks = []
    for size in given.bytes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            write_noise(Path(folder), int(size))
            command = [sys.executable, __file__]
            done = subprocess.run(
                [*command, "--measure", folder], check=True, capture_output=True, text=True
            )
            peaks.append(float(done.stdout))
            print(f"{size / 1e9:6.1f} GB packed: peak {peaks[-1]:.0f} MB", flush=True)
    print(f"difference: {max(peaks) - min(peaks):.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
