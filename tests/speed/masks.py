"""An encoder's forward and backward in pretraining on a CPU: with masks, without, with memory kept.

Usage: python tests/speed/masks.py [--recipe coarse_states] [--threads 2] [--items 64] [--rounds 9]

Three processes take turns on frames of crops of the recipe's length: with lengths, which are all
the same; without, since nothing is padded (the same bits with convolutions alone, tests/encoders);
and without, the freed memory being kept for the next step, as pretraining does. The last line is
the ratio of the medians of the first and the last.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from barlow_speech import configs
from barlow_speech.upstream.common.allocator import kept_memory
from barlow_speech.upstream.common.machine import environment
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.frontend import HOP
from barlow_speech.upstream.model.speech_encoder import random_model
from barlow_speech.upstream.pretraining.recipe import read_recipe

WAYS = {"masks": (True, False), "no masks": (False, False), "memory kept": (False, True)}
WARM_UP = 3  # rounds, until the gaps in the memory have found their sizes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="coarse_states")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args(arguments)
    crop_s = read_recipe(configs.find("recipe", given.recipe)).crop_s
    context = multiprocessing.get_context("spawn")
    ends = {}
    for name, way in WAYS.items():
        ends[name], other = context.Pipe()
        context.Process(target=steps, args=(other, given, *way), daemon=True).start()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for turn in range(WARM_UP + given.rounds):
        for name, end in ends.items():
            end.send(True)
            one = end.recv()
            if turn >= WARM_UP:
                taken[name].append(one)
    for end in ends.values():
        end.send(False)
    print(environment("cpu"))
    median = {}
    for name, some in taken.items():
        median[name] = statistics.median(seconds for seconds, _ in some)
        print(
            f"{name}: {given.items * crop_s / median[name]:.0f} audio-seconds a second, "
            f"{statistics.median(cpu for _, cpu in some):.2f} s of the processor a step"
        )
    print(f"masks alone: {median['masks'] / median['no masks']:.2f}")
    print(f"ratio: {median['masks'] / median['memory kept']:.2f}")


def steps(end: Connection, given: Any, masks: bool, kept: bool) -> None:
    """Make a step whenever `end` asks for one, and say its seconds: by the clock, and of the
    processor."""
    torch.set_num_threads(given.threads)
    recipe = read_recipe(configs.find("recipe", given.recipe))
    frames = round(recipe.crop_s * SAMPLE_RATE / HOP)
    encoder = random_model(recipe.model, 0).encoder.train().to(memory_format=torch.channels_last)
    frames_BTF = torch.randn(given.items, frames, recipe.model.frontend.n_mels)
    lengths_B = torch.full((given.items,), frames) if masks else None
    with kept_memory(kept):
        while end.recv():
            start = time.perf_counter(), time.process_time()
            hidden, embedding_BE = encoder(frames_BTF, lengths_B)
            (embedding_BE.square().mean() + hidden[-1].square().mean()).backward()
            end.send((time.perf_counter() - start[0], time.process_time() - start[1]))


if __name__ == "__main__":
    main()
