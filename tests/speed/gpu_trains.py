"""The last phase of gpu.py: the default recipe, for the time that is left."""

from __future__ import annotations

import dataclasses
import itertools
import time
from statistics import median
from typing import Any

import torch
from gpu_machine import PACKED, finish
from gpu_pretraining import SMALL
from gpu_record import Record

from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import ENCODER, Pretraining

EVERY_S = 30.0  # from one checkpoint to the next
SHARE = 0.85  # of the time, for which steps are planned; the rate then has come down to zero
TRIAL = 30  # steps that tell how long one takes


def trains(record: Record, given: Any) -> None:
    """A whole training of as many steps as there is time for; checkpoints in OUT/training.

    Raises:
        BarlowSpeechError: the loss is not finite, or time was over before the last step.
    """
    ends = time.monotonic() + 0.95 * given.seconds
    changes = SMALL if given.small else ["log_every=50"]
    recipe = read_recipe(configs.find("recipe", "default"), changes)
    corpus = PackedCorpus(given.work / PACKED, recipe.crop_s, recipe.seed)
    device = torch.device(given.device)
    step_s = trial(recipe, corpus, device, int(min(TRIAL, given.most_steps)))
    planned = SHARE * (ends - time.monotonic()) / step_s
    steps = int(max(2, min(planned, given.most_steps)))
    recipe = dataclasses.replace(recipe, steps=steps, checkpoint_every=steps)
    run = Pretraining(recipe, corpus, device)
    out = given.out / "training"
    record.row("trains", "steps", f"{steps}", note=f"{1000 * step_s:.1f} ms each in a trial")
    started = saved = time.monotonic()
    figures: dict[str, float] = {}
    curve: list[tuple[int, float, float, float]] = []

    def keep() -> None:
        out.mkdir(parents=True, exist_ok=True)
        run.save(out)
        facts = {"recipe": recipe.as_dict(), "steps_done": run.steps_done, "figures": figures}
        save_model(out / ENCODER, run.twins.model, facts)
        rate = run.steps_done * recipe.batch * recipe.crop_s / (time.monotonic() - started)
        rank = figures.get("effective_rank", 0.0)
        curve.append((run.steps_done, figures.get("loss", 0.0), rank, rate))
        note = f"loss {curve[-1][1]:.3f}, RankMe {rank:.1f}"
        record.row("trains", f"step {run.steps_done}", f"{rate:.0f} audio-s/s", note=note)
        record.figures("trains", curve=curve)

    while not run.done:
        figures |= run.step()
        now = time.monotonic()
        if not run.done and now - saved > EVERY_S:
            keep()
            saved = now
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
            f"its time was over at step {run.steps_done} of {steps}; what was trained is in {out}."
        )


def trial(recipe: Recipe, corpus: PackedCorpus, device: torch.device, steps: int) -> float:
    """The median seconds of the second half of some steps."""
    run = Pretraining(recipe, corpus, device)
    times = [time.monotonic()]
    for _ in range(steps):
        run.step()
        finish(device)
        times.append(time.monotonic())
    spent = [after - before for before, after in itertools.pairwise(times)]
    return median(spent[len(spent) // 2 :])
