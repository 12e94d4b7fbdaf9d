"""How long pretraining takes, from a step that is tried out on noise."""

from __future__ import annotations

import time

import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.frontend import HOP
from barlow_speech.upstream.model.speech_encoder import random_model
from barlow_speech.upstream.pretraining.barlow_twins import BarlowTwins
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import computes_bfloat16

ITEMS = 16  # of the batch that is tried out
GAIN = 0.8  # of what as many threads could bring
VIEWS = 1.15  # what views, front-end, objective and optimiser add to encoder and projector

_measured: dict[str, float] = {}


def seconds_of_speech(recipe: Recipe, device: str) -> float:
    """Seconds of training per second of speech, as `Recipe.speech_s` has it, both views, roughly.

    Forward and backward of the recipe's encoder on a small batch of noise, measured once in a
    process for each encoder and set of families.
    """
    what = recipe.as_dict()
    of = [what["model"], recipe.precision, device]
    for name, one in recipe.families.items():
        of.append([name, recipe.crop_of(name), one.level, vars(one.projector)])
    key = digest(of)
    if key not in _measured:
        _measured[key] = _measure(recipe, device)
    # In turn, a step costs one of the families that were measured together.
    item_s = _measured[key] / (len(recipe.families) if recipe.rotate else 1)
    return item_s / recipe.speech_s


def _measure(recipe: Recipe, device: str) -> float:
    """Seconds of training of an item, all families together."""
    where = torch.device(device)
    twins = BarlowTwins(random_model(recipe.model, 0), recipe.families)
    convert_conv2d_weight_memory_format(twins, torch.channels_last).to(where).train()
    half = recipe.precision == "bfloat16" or (
        recipe.precision == "auto" and computes_bfloat16(where)
    )
    frames = {name: round(recipe.crop_of(name) * SAMPLE_RATE / HOP) for name in recipe.families}
    threads = torch.get_num_threads()
    # On a busy machine two threads wait for each other, which says nothing about a long training.
    torch.set_num_threads(1)
    x_BTF = torch.randn(2 * ITEMS, max(frames.values()), recipe.model.frontend.n_mels, device=where)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        for name in recipe.families:
            with torch.autocast(where.type, torch.bfloat16, enabled=half):
                _, z_BD = twins(x_BTF[:, : frames[name]], name)
            z_BD.float().square().sum().backward()
        if where.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    gain = 1.0 if where.type != "cpu" else max(1.0, GAIN * threads)
    return VIEWS * min(seconds) / ITEMS / gain
