"""Pretrain an encoder by Barlow Twins on a packed corpus.

Usage: barlow-speech pretrain configs/pretrain/toy.yaml -o results/toy [--set steps=500] [--resume]
"""

from __future__ import annotations

import dataclasses
import logging
import math
import platform
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from barlow_speech.upstream.checkpoint import load_tensors, save_model, save_tensors
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.files import digest
from barlow_speech.upstream.frontend import FrontEnd
from barlow_speech.upstream.model import ModelSettings, SpeechEncoder, parameter_count, random_model
from barlow_speech.upstream.objective import effective_rank, objective
from barlow_speech.upstream.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.progress import progress
from barlow_speech.upstream.recipe import Family, Projector, Recipe
from barlow_speech.upstream.views import Memory, Views, item_keys

log = logging.getLogger(__name__)

ENCODER, TRAINING = "encoder.safetensors", "training.safetensors"
NORMALISATION_CROPS = 512  # crops that the mean and std of log-mel are taken over
COLLAPSED = 4.0  # an effective rank of the embedding below this is warned of


def projector(settings: Projector, size: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, …, linear: embedding [N, E] → z [N, width]."""
    layers: list[nn.Module] = []
    for _ in range(settings.layers - 1):
        layers += [nn.Linear(size, settings.width, bias=False), nn.BatchNorm1d(settings.width)]
        layers += [nn.ReLU()]
        size = settings.width
    return nn.Sequential(*layers, nn.Linear(size, settings.width, bias=False))


class Twins(nn.Module):
    """The encoder with one projector per view family: what is trained."""

    def __init__(self, model: SpeechEncoder, families: dict[str, Family]) -> None:
        super().__init__()
        self.model = model
        self.projectors = nn.ModuleDict(
            {
                name: projector(family.projector, model.encoder.embedding_dim)
                for name, family in families.items()
            }
        )

    def forward(self, frames_BTF: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Log-mel of one view, all of one length → (embedding [B, E], z [B, width])."""
        lengths_B = torch.full((len(frames_BTF),), frames_BTF.shape[1], device=frames_BTF.device)
        _, embedding_BE = self.model.encoder(frames_BTF, lengths_B)
        return embedding_BE, self.projectors[family](embedding_BE)


class Pretraining:
    """A run of a recipe: `step()` until `done`, `save()` and `load()` in between.

    Everything random is a function of the recipe's seed and the step, so a run that was stopped
    and loaded goes on as if nothing had happened: on a CPU with as many threads, to the same bits.
    """

    def __init__(self, recipe: Recipe, corpus: PackedCorpus, device: torch.device) -> None:
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.steps_done = 0
        frontend = _normalised(recipe.model, corpus, recipe.seed)
        model = random_model(dataclasses.replace(recipe.model, frontend=frontend), recipe.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            self.twins = Twins(model, recipe.families)
        # Convolutions of a single process are two to three times as fast with channels last.
        cast(Any, self.twins).to(device, memory_format=torch.channels_last).train()
        self.views = {name: Views(one.views).to(device) for name, one in recipe.families.items()}
        mixes = any(one.views.mixup is not None for one in recipe.families.values())
        self.memory = Memory(recipe.memory) if mixes else None
        self.half = recipe.precision == "bfloat16" or (
            recipe.precision == "auto" and computes_bfloat16(device)
        )
        # Only matrices and filters decay, as usual: a norm's scale and a bias have no use for it.
        parameters = list(self.twins.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=recipe.optimiser.lr, weight_decay=recipe.optimiser.weight_decay
        )

    @property
    def done(self) -> bool:
        """Whether all steps were made."""
        return self.steps_done >= self.recipe.steps

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to zero at the last step."""
        settings = self.recipe.optimiser
        if step < settings.warmup:
            return settings.lr * (step + 1) / settings.warmup
        rest = max(self.recipe.steps - settings.warmup, 1)
        return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / rest))

    def step(self) -> dict[str, float]:
        """One optimiser step: the loss, its parts and health figures (by family if several).

        Raises:
            BarlowSpeechError: the loss is not finite (nothing was updated by this step).
        """
        recipe, step = self.recipe, self.steps_done
        positions = step * recipe.batch + np.arange(recipe.batch)
        segments = 2 if any(f.segments == "different" for f in recipe.families.values()) else 1
        crops = torch.from_numpy(self.corpus.crops(positions, segments)).to(self.device)
        waves_SBN = crops.float() / 32768
        with torch.no_grad():
            clean_SBFT = torch.stack(
                [self.twins.model.frontend(waves_BN).transpose(1, 2) for waves_BN in waves_SBN]
            )
        figures: dict[str, float] = {}
        loss = torch.zeros((), device=self.device)
        for name, family in recipe.families.items():
            views = []
            for view in (0, 1):
                segment = view if family.segments == "different" else 0
                keys_B = item_keys(recipe.seed, 0, torch.from_numpy(positions), view)
                views.append(self._view(name, waves_SBN[segment], clean_SBFT[segment], keys_B))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                # Both views in one pass: half the launches, and one set of batch statistics.
                embedding_BE, z_BD = self.twins(torch.cat(views), name)
            first_BD, second_BD = z_BD.chunk(2)
            terms = objective(first_BD, second_BD, family.objective)
            loss = loss + family.weight * terms["loss"]
            prefix = f"{name}/" if len(recipe.families) > 1 else ""
            figures |= {prefix + key: value.item() for key, value in terms.items()}
        if not torch.isfinite(loss):
            raise BarlowSpeechError(
                f"the loss is not finite at step {step}; lower optimiser.lr, or precision: float32."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.optimiser.clip > 0:
            nn.utils.clip_grad_norm_(self.twins.parameters(), recipe.optimiser.clip)
        rate = self.learning_rate(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        if self.memory is not None:
            self.memory.push(clean_SBFT[0])
        self.steps_done += 1
        figures |= {"loss": loss.item(), "lr": rate}
        if self.done or step % recipe.log_every == 0:
            figures["effective_rank"] = effective_rank(embedding_BE)
        return figures

    @torch.no_grad()
    def _view(self, family: str, waves_BN: Tensor, clean_BFT: Tensor, keys_B: Tensor) -> Tensor:
        """Log-mel [B, T, F] of one view of a segment, whose plain log-mel is `clean_BFT`."""
        views = self.views[family]
        changed_BN = views.waveform(waves_BN, keys_B)
        frames_BFT = clean_BFT
        if changed_BN is not waves_BN:
            frames_BFT = self.twins.model.frontend(changed_BN).transpose(1, 2)
        return views.spectrogram(frames_BFT, keys_B, self.memory).transpose(1, 2)

    def save(self, folder: Path) -> None:
        """Write the state of the training, from which `load` goes on."""
        tensors = {f"twins.{key}": value for key, value in self.twins.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in state.items()}
        header = {"steps_done": self.steps_done, "recipe": digest(self.recipe.as_dict())}
        if self.memory is not None:
            memory = self.memory.state_dict()
            tensors["memory"] = memory["items"]
            header["memory_pushed"] = memory["pushed"]
        save_tensors(folder / TRAINING, tensors, {"training": header})

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            BarlowSpeechError: the file is broken, or of another recipe.
        """
        tensors, header = load_tensors(folder / TRAINING)
        state = header.get("training", {})
        if state.get("recipe") != digest(self.recipe.as_dict()):
            raise BarlowSpeechError(
                f"{folder / TRAINING} is of another recipe; choose another -o, or remove it."
            )
        self.twins.load_state_dict(_under(tensors, "twins."))
        optimiser = self.optimiser.state_dict()
        for key, value in _under(tensors, "optimiser.").items():
            index, name = key.split(".")
            optimiser["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(optimiser)
        if self.memory is not None:
            memory = {"capacity": self.recipe.memory, "pushed": state["memory_pushed"]}
            self.memory.load_state_dict({**memory, "items": tensors["memory"]}, self.device)
        self.steps_done = state["steps_done"]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _normalised(model: ModelSettings, corpus: PackedCorpus, seed: int) -> Any:
    """The front-end's settings with the corpus's mean and std, over crops that the seed draws."""
    positions = np.random.default_rng([seed, 2]).integers(
        len(corpus.items), size=NORMALISATION_CROPS
    )
    crops = torch.from_numpy(corpus.crops(np.sort(positions)))[0].float() / 32768
    plain = FrontEnd(dataclasses.replace(model.frontend, mean=0.0, std=1.0))
    values = plain.log_mel(crops)
    mean, std = round(float(values.mean()), 4), round(float(values.std()), 4)
    return dataclasses.replace(model.frontend, mean=mean, std=std)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is the faster there: on a GPU, or a CPU with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


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
    folder = packed or pack(chosen(recipe.data, data_root), out / "packed")
    corpus = PackedCorpus(folder, recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, torch.device(device))
    if (out / TRAINING).exists():
        run.load(out)
    if run.done and (out / ENCODER).exists():
        return out / ENCODER
    started, first = time.monotonic(), run.steps_done
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=first)
    figures: dict[str, float] = {}
    with progress(recipe.steps, "pretrain", "step", initial=first) as bar:
        while not run.done:
            figures |= run.step()
            bar.set_postfix(loss=f"{figures['loss']:.1f}", refresh=False)
            bar.update()
            if run.done or (run.steps_done - 1) % recipe.log_every == 0:
                seconds = time.monotonic() - started
                speed = (run.steps_done - first) * recipe.batch * recipe.crop_s / seconds
                for name, value in (figures | {"audio_seconds_per_second": speed}).items():
                    writer.add_scalar(name, value, run.steps_done)
            if run.done or run.steps_done % recipe.checkpoint_every == 0:
                run.save(out)
    writer.close()
    if figures.get("effective_rank", math.inf) < COLLAPSED:
        log.warning(
            "the embedding has collapsed: its effective rank is %.1f; "
            "raise families.*.objective.redundancy or make the views harder.",
            figures["effective_rank"],
        )
    facts = {
        "recipe": recipe.as_dict(),
        "hours": round(corpus.hours, 4),
        "speech_sha256": corpus.index["sha256"],
        "parameters": parameter_count(run.twins.model),
        "seconds": round(time.monotonic() - started, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device}",
        "torch": torch.__version__,
        "figures": {name: round(value, 6) for name, value in figures.items()},
    }
    save_model(out / ENCODER, run.twins.model, facts)
    return out / ENCODER
