"""A phase of gpu.py: a step of pretraining, part by part, against the usual pipeline."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pretraining as bench
import soundfile
import torch
from gpu_machine import PACKED
from gpu_record import Record
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from barlow_speech import configs
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import PackedCorpus, pack
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining

AIM_RATIO, AIM_IDLE, AIM_EPOCH_S = 5.0, 0.1, 60.0
SMALL = [
    "compile=false",
    "batch=8", "memory=8", "encoder.channels=4", "model.frontend.n_mels=16",
    "families.main.projector.width=16", "crop_s=0.5",
]  # fmt: skip
LARGE = ["crop_s=2", "log_every=50", "compile=true"]  # reading figures waits for the GPU
WORKERS = 16


def pretraining(record: Record, given: Any) -> None:
    """Ours, the baseline, the parts, and what of the card's ceilings is reached."""
    ends = time.monotonic() + 0.8 * given.seconds
    changes = SMALL if given.small else LARGE
    recipe = read_recipe(configs.find("recipe", "coarse_states"), changes)
    device = torch.device(given.device)
    files = written(given.work / PACKED, given.work / "files", 6 if given.small else 400)
    packed = pack([Recording(one) for one in files], given.work / "same")
    operations, moved = counted(recipe, packed, device)
    facts = bench.measure(
        recipe,
        files,
        packed,
        device=given.device,
        steps=int(min(given.most_steps, 2 if given.small else 60)),
        rounds=int(min(given.most_steps, 2 if given.small else 6)),
        warm_up=2 if given.small else 20,  # mixup's memory fills, then a graph is recorded
        workers=1 if given.small else min(WORKERS, bench.cores()),
        budget_s=max(0.0, ends - time.monotonic()),
    )
    (given.work / "bench.txt").write_text(bench.report(facts))
    print(bench.report(facts))
    audio_s = recipe.batch * recipe.crop_s
    rate = median(facts["rates"][bench.OURS])
    note = f"batch {recipe.batch} of {recipe.crop_s:g} s, {facts['computes']}"
    record.row("pretraining", "ours", f"{rate:.0f} audio-s/s", note=note)
    for name in (bench.BASELINE, bench.MATCHED):
        theirs = median(facts["rates"][name])
        note = f"{facts['workers']} workers"
        record.row("pretraining", name, f"{theirs:.0f} audio-s/s", note=note)
    ratio = facts["ratio"]
    note = f"{ratio['least']:.2f} to {ratio['greatest']:.2f}"
    aim = f"at least {AIM_RATIO:g}"
    record.row("pretraining", "ours / baseline", f"{ratio['median']:.2f}", aim, note)
    alone = facts["ratio_data_path"]["median"]
    record.row("pretraining", "the data path alone", f"{alone:.2f}")
    epoch = bench.EPOCH_S / rate
    record.row("pretraining", "100 h", f"{epoch:.0f} s", f"under {AIM_EPOCH_S:g} s")
    idle = facts["gpu_idle"]
    found = "-" if idle is None else f"{idle:.1%}"
    record.row("pretraining", "GPU idle", found, f"under {AIM_IDLE:.0%}")
    for part, seconds in facts["parts_s"][bench.OURS].items():
        found = f"{1000 * seconds:.2f} ms"
        record.row("pretraining", f"part: {part}", found, note="of a step that no graph replays")
    ceilings = record.found["figures"]["machine"]
    step_s = audio_s / rate
    shares = {
        "of bfloat16's ceiling": operations / step_s / 1e12 / ceilings["bfloat16_tflop_s"],
        "of memory's ceiling": moved / step_s / 1e9 / ceilings["copy_gb_s"],
    }
    notes = (
        f"{operations / 1e9:.1f} GFLOP of matrix products and convolutions a step",
        f"{moved / 1e9:.2f} GB that its operations read and write, one by one",
    )
    for (what, share), note in zip(shares.items(), notes):
        record.row("pretraining", what, f"{share:.1%}", note=note)
    record.figures(
        "pretraining", bench=facts, **shares, step_s=step_s, flop=operations, bytes=moved
    )


def written(packed: Path, folder: Path, most: int) -> list[Path]:
    """Up to so many recordings of a packed folder, drawn, as FLAC files."""
    corpus = PackedCorpus(packed, 1.0, 0)
    rows = np.random.default_rng(0).permutation(len(corpus.offsets) - 1)[:most]
    folder.mkdir()
    paths = []
    for row in rows.tolist():
        wave = corpus.samples(corpus.offsets[row], corpus.offsets[row + 1])
        paths.append(folder / f"{row:06d}.flac")
        soundfile.write(paths[-1], wave, SAMPLE_RATE)
    return paths


class Traffic(TorchDispatchMode):
    """The bytes of all tensors that operations are given and give, views not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):
            tensors = [one for one in tree_leaves((args, kwargs, result)) if torch.is_tensor(one)]
            self.bytes += sum(one.numel() * one.element_size() for one in tensors)
        return result


def counted(recipe: Recipe, packed: Path, device: torch.device) -> tuple[int, int]:
    """FLOP and bytes of a step that is neither compiled nor replayed by a graph."""
    recipe = dataclasses.replace(recipe, compile=False)
    run = Pretraining(recipe, PackedCorpus(packed, recipe.crop_s, recipe.seed), device)
    run.record = None
    run.step()
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        run.step()
    return flop.get_total_flops(), traffic.bytes
