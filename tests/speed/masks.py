"""An encoder's forward and backward in pretraining, where nothing is padded: without masks, with.

Usage: python tests/speed/masks.py [--recipe coarse_states] [--threads 2] [--items 64] [--rounds 9]

Both take turns on the same frames, crops of the recipe's length: with lengths, which are all the
same, and without, as pretraining calls it. Same bits with convolutions alone (tests/encoders). The
last line is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from barlow_speech import configs
from barlow_speech.upstream.common.machine import environment
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.frontend import HOP
from barlow_speech.upstream.model.speech_encoder import random_model
from barlow_speech.upstream.pretraining.recipe import read_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="coarse_states")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    recipe = read_recipe(configs.find("recipe", given.recipe))
    frames = round(recipe.crop_s * SAMPLE_RATE / HOP)
    encoder = random_model(recipe.model, 0).encoder.train().to(memory_format=torch.channels_last)
    frames_BTF = torch.randn(given.items, frames, recipe.model.frontend.n_mels)
    ways = {"masks": torch.full((given.items,), frames), "none": None}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):
        for name, lengths_B in ways.items():
            start = time.perf_counter()
            hidden, embedding_BE = encoder(frames_BTF, lengths_B)
            (embedding_BE.square().mean() + hidden[-1].square().mean()).backward()
            if turn:  # the first is a warm-up
                taken[name].append(time.perf_counter() - start)
    print(environment("cpu"))
    seconds = {name: statistics.median(some) for name, some in taken.items()}
    for name, one in seconds.items():
        print(f"{name}: {given.items * recipe.crop_s / one:.0f} audio-seconds a second")
    print(f"ratio: {seconds['masks'] / seconds['none']:.2f}")


if __name__ == "__main__":
    main()
