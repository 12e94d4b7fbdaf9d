"""A whole pretraining: from a recipe and packed speech to a checkpoint, with resume."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tensorboardX import SummaryWriter

from barlow_speech.upstream.common.allocator import kept_memory
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import made_folder
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.speech_encoder import parameter_count
from barlow_speech.upstream.pretraining import distributed
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import (
    COLLAPSED,
    ENCODER,
    TRAINING,
    Pretraining,
    log,
)


def pretrain(
    recipe: Recipe,
    out: Path,
    *,
    data_root: Path = Path(),
    packed: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> Path:
    """Run a recipe and return the path of the encoder's checkpoint, `out/encoder.safetensors`.

    The speech is packed under `out` first unless `packed` names a packed folder. With `resume` a
    run that was stopped goes on, and one that is finished is left alone.

    Raises:
        BarlowSpeechError: `out` holds another run and `resume` is not set, or as the parts raise.
    """
    if (out / TRAINING).exists() and not resume:
        raise BarlowSpeechError(
            f"{out} holds a training already; add --resume to go on with it, or choose another -o."
        )
    device = distributed.start(device)
    leads = distributed.rank() == 0
    if packed is None:
        packed = out / "packed"
        if leads:
            pack(chosen(recipe.data, data_root), packed)
        distributed.barrier()
    corpus = PackedCorpus(packed, recipe.crop_s, recipe.seed)
    with _enough_memory(recipe):
        run = Pretraining(recipe, corpus, torch.device(device))
        if (out / TRAINING).exists():
            run.load(out)
        if run.done and (out / ENCODER).exists():
            return out / ENCODER
        with kept_memory(run.device.type == "cpu"):  # every step needs as much as the last
            _train(run, out, leads)
    if leads:
        facts = {
            "recipe": recipe.as_dict(),
            "hours": round(corpus.hours, 4),
            "speech_sha256": corpus.index["sha256"],
            "parameters": parameter_count(run.twins.model),
            "seconds": round(run.seconds, 1),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device}, "
            f"{distributed.world_size()} processes",
            "torch": torch.__version__,
            "figures": {name: round(value, 6) for name, value in run.figures.items()},
        }
        save_model(out / ENCODER, run.twins.model, facts)
    distributed.barrier()
    return out / ENCODER


@contextlib.contextmanager
def _enough_memory(recipe: Recipe) -> Iterator[None]:
    """What says inside that the memory does not suffice becomes an error for people."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class for it on a GPU; on a CPU it has these words, of Linux and of Windows.
        said = re.search("can't allocate memory|not enough memory", str(error))
        if not (said or isinstance(error, (MemoryError, torch.OutOfMemoryError))):
            raise
        raise BarlowSpeechError(
            f"the memory is too small for batches of {recipe.batch} crops of {recipe.crop_s:g} s; "
            "lower batch or crop_s, or raise accumulate."
        ) from error


def _event_log(folder: Path, first: int) -> SummaryWriter:
    """TensorBoard's log from step `first` on.

    tensorboardX 2.6 looks whether its folder is there before it makes it, and names its file by the
    second alone: of two processes that start together one dies, or both write one file.
    """
    return SummaryWriter(
        str(made_folder(folder)), purge_step=first, filename_suffix=f".{os.getpid()}"
    )


def _train(run: Pretraining, out: Path, leads: bool) -> None:
    """All steps that are left; the process that `leads` shows, logs and saves."""
    recipe, first, before = run.recipe, run.steps_done, run.seconds
    started = time.monotonic()
    warned = not leads
    writer = _event_log(out / "tensorboard", first) if leads else None
    with progress(recipe.steps if leads else 0, "pretrain", "step", initial=first) as bar:
        while not run.done:
            run.step()
            figures = run.figures
            bar.set_postfix(loss=f"{figures['loss']:.2f}", refresh=False)
            bar.update()
            if writer and (run.done or (run.steps_done - 1) % recipe.log_every == 0):
                seconds = time.monotonic() - started
                speed = (run.steps_done - first) * recipe.batch * recipe.speech_s / seconds
                for name, value in (figures | {"audio_seconds_per_second": speed}).items():
                    writer.add_scalar(name, value, run.steps_done)
                for name, matrix_DD in run.correlations.items():
                    image = (matrix_DD.clamp(-1, 1) + 1) / 2
                    writer.add_image(f"correlation/{name}", image.unsqueeze(0), run.steps_done)
                run.correlations.clear()
            rank = figures.get("effective_rank", math.inf)
            if not warned and run.steps_done > recipe.optimiser.warmup and rank < COLLAPSED:
                log.warning(
                    "the embedding is collapsing: its effective rank at step %d is %.1f, under %g; "
                    "raise families.*.objective.redundancy or make the views harder.",
                    run.steps_done, rank, COLLAPSED,
                )  # fmt: skip
                warned = True
            if leads and (run.done or run.steps_done % recipe.checkpoint_every == 0):
                run.seconds = before + time.monotonic() - started
                run.save(out)
    if writer:
        writer.close()
