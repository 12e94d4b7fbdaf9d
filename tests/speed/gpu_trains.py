"""The last phase of gpu.py: the default recipe, for the time that is left."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from gpu_machine import PACKED, finish
from gpu_pretraining import SMALL
from gpu_record import Record

from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.pretraining.recipe import read_recipe
from barlow_speech.upstream.pretraining.trainer import ENCODER, Pretraining

EVERY_S = 30.0  # from one checkpoint to the next
CONSTANT, FALL = 0.75, 0.15  # of the time: at the recipe's rate, and while it falls to zero
LONG = 1 << 39  # steps, until it is known how many there is time for


def trains(record: Record, given: Any) -> None:
    """A whole training of as many steps as there is time for; checkpoints in OUT/training.

    The rate is constant and falls linearly at the end (`optimiser.decay`), in place of the recipe's
    cosine, for which the number of steps would have to be known before.

    Raises:
        BarlowSpeechError: the loss is not finite, or time was over before the last step.
    """
    ends = time.monotonic() + 0.95 * given.seconds
    changes = SMALL if given.small else ["log_every=50", "compile=true"]
    recipe = read_recipe(configs.find("recipe", "default"), changes)
    corpus = PackedCorpus(given.work / PACKED, recipe.crop_s, recipe.seed)
    device = torch.device(given.device)
    constant = dataclasses.replace(recipe.optimiser, decay=1)
    most = min(LONG, given.most_steps)
    recipe = dataclasses.replace(recipe, steps=most, checkpoint_every=LONG, optimiser=constant)
    run = Pretraining(recipe, corpus, device)
    out = given.out / "training"
    started = saved = time.monotonic()
    falls = started + CONSTANT * (ends - started)
    curve: list[tuple[int, float, float, float]] = []

    def keep() -> None:
        out.mkdir(parents=True, exist_ok=True)
        run.save(out)
        facts = {"recipe": recipe.as_dict(), "steps_done": run.steps_done, "figures": run.figures}
        save_model(out / ENCODER, run.twins.model, facts)
        rate = run.steps_done * recipe.batch * recipe.crop_s / (time.monotonic() - started)
        rank = run.figures.get("effective_rank", 0.0)
        curve.append((run.steps_done, run.figures.get("loss", 0.0), rank, rate))
        note = f"loss {curve[-1][1]:.3f}, RankMe {rank:.1f}"
        record.row("trains", f"step {run.steps_done}", f"{rate:.0f} audio-s/s", note=note)
        record.figures("trains", curve=curve)

    while not run.done:
        run.step()
        now = time.monotonic()
        if not run.done and now - saved > EVERY_S:
            keep()
            saved = now
        if run.recipe.steps == most and now > falls:
            left = max(1, int(run.steps_done * FALL / CONSTANT))
            fall = dataclasses.replace(constant, decay=left)
            steps = min(most - 1, run.steps_done + left)
            run.recipe = dataclasses.replace(recipe, steps=steps, optimiser=fall)
        if now > ends:
            break
    finish(device)
    keep()
    graphs = list(run._recorded.values())
    refused = next((one.refused for one in graphs if one.refused), "")
    if device.type == "cuda":
        record.row("trains", "recorded as graphs", refused or f"{len(graphs)}")
    if not run.done:
        raise BarlowSpeechError(
            f"its time was over at step {run.steps_done}; what was trained is in {out}."
        )
