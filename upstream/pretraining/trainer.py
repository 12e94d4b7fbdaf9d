"""Pretrain an encoder by Barlow Twins on a packed corpus.

Usage: barlow-speech pretrain toy -o results/toy [--set steps=500] [--resume]
       barlow-speech pretrain librispeech360 --data-root /data --processes 8
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from barlow_speech.upstream.common.ahead import Ahead
from barlow_speech.upstream.common.captured import Captured, recorder
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.model.checkpoint import load_tensors, save_tensors
from barlow_speech.upstream.model.frontend import HOP, FrontEnd
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model, seeded
from barlow_speech.upstream.pretraining import distributed
from barlow_speech.upstream.pretraining.barlow_twins import BarlowTwins
from barlow_speech.upstream.pretraining.lars import LARS
from barlow_speech.upstream.pretraining.objective import (
    cross_correlation,
    effective_rank,
    latents,
    objective,
)
from barlow_speech.upstream.pretraining.recipe import Optimiser, Recipe, ViewFamily, check_alignment
from barlow_speech.upstream.pretraining.segments import chosen_segments
from barlow_speech.upstream.pretraining.views.memory import MixupBank
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.random import item_keys

log = logging.getLogger(__name__)

ENCODER, TRAINING = "encoder.safetensors", "training.safetensors"

NORMALISATION_CROPS = 512  # crops that the mean and std of log-mel are taken over

# What an optimiser keeps of each parameter.
OPTIMISER_STATES = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "lars": {"momentum"}}

NAMED = 3  # recordings of a batch that a message names

COLLAPSED = 4.0  # an effective rank of the embedding below this is warned of


class Pretraining:
    """A run of a recipe: `step()` until `done`, `save()` and `load()` in between.

    Everything random is a function of the recipe's seed and the step, so a run that was stopped
    and loaded goes on as if nothing had happened: on a CPU with as many threads, to the same bits.
    """

    def __init__(self, recipe: Recipe, corpus: PackedCorpus, device: torch.device) -> None:
        for name, family in recipe.families.items():
            check_alignment(name, family)
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.segments = chosen_segments(recipe)
        self.steps_done = 0
        frontend = _normalised(recipe.model, corpus, recipe.seed)
        model = random_model(dataclasses.replace(recipe.model, frontend=frontend), recipe.seed)
        with seeded(recipe.seed + 1):
            self.twins = BarlowTwins(model, recipe.families)
        parts = distributed.world_size() * recipe.accumulate
        if recipe.batch % parts or recipe.batch // parts < 2:
            raise BarlowSpeechError(
                f"batch {recipe.batch} cannot be divided among {distributed.world_size()} processes"
                f" times accumulate {recipe.accumulate} with 2 items or more in each; change batch."
            )
        distributed.join_batch_norms(self.twins)
        # Convolutions over four axes are two to three times as fast with channels last.
        convert_conv2d_weight_memory_format(self.twins, torch.channels_last).to(device).train()
        # Not dynamic, where torch 2.11 fails on a second length: a family's crops are of one.
        self.forward = torch.compile(self.twins, dynamic=False) if recipe.compile else self.twins
        self.views = {name: Views(one.views).to(device) for name, one in recipe.families.items()}
        mixes = any(one.views.mixup is not None for one in recipe.families.values())
        self.memory = MixupBank(recipe.memory) if mixes else None
        self.half = recipe.precision == "bfloat16" or (
            recipe.precision == "auto" and computes_bfloat16(device)
        )
        self.optimiser = _optimiser(recipe.optimiser, self.twins)
        self.correlations: dict[str, Tensor] = {}
        # Facts of the checkpoint, over all calls: the last of each figure, and what was spent.
        self.figures: dict[str, float] = {}
        self.seconds = 0.0
        self._ahead = Ahead(self._cut, device)
        # How a step is recorded on a GPU; without it, it is launched piece by piece.
        self.record = recorder(device)
        self._recorded: dict[tuple[str, ...], Captured] = {}  # by the families that a step trains

    @property
    def done(self) -> bool:
        """Whether all steps were made."""
        return self.steps_done >= self.recipe.steps

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then down to zero at the last step: a cosine, or over `decay` steps.

        Where fewer than `decay` steps are left behind the warm-up, it falls over these.
        """
        settings = self.recipe.optimiser
        if step < settings.warmup:
            return settings.lr * (step + 1) / settings.warmup
        rest = max(self.recipe.steps - settings.warmup, 1)
        if settings.decay:
            return settings.lr * min(1.0, (self.recipe.steps - step) / min(settings.decay, rest))
        return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / rest))

    @property
    def families(self) -> dict[str, ViewFamily]:
        """The view families that the step that comes next trains."""
        return self._families_at(self.steps_done)

    def _families_at(self, step: int) -> dict[str, ViewFamily]:
        families = self.recipe.families
        if not self.recipe.rotate:
            return families
        name = list(families)[step % len(families)]
        return {name: families[name]}

    @property
    def should_log(self) -> bool:
        """Whether the step that comes next is one whose figures are read.

        Reading waits for the device. A CPU has nothing to wait for; a GPU is left to run ahead
        between the steps that are logged or saved.
        """
        step, recipe = self.steps_done, self.recipe
        return (
            self.device.type == "cpu"
            or step % recipe.log_every == 0
            or (step + 1) % recipe.checkpoint_every == 0
            or step + 1 == recipe.steps
        )

    def step(self) -> dict[str, float]:
        """One optimiser step: the loss, its parts and health figures (by family if several).

        Empty where the figures are not read (see `should_log`).

        After the first and the last step `correlations` holds the cross-correlation matrix of
        each family that the step trained.

        Raises:
            BarlowSpeechError: the loss is not finite (recordings of the batch are named; nothing
                was updated by this step, and no state is saved between the first such loss and
                this).
        """
        recipe, step = self.recipe, self.steps_done
        share = recipe.batch // distributed.world_size()
        positions = step * recipe.batch + share * distributed.rank() + np.arange(share)
        should_log = self.should_log
        with seeded(0):  # restores what dropout draws from
            parts, embedding_BE, clean_BFT = self._gradients(positions)
        figures: dict[str, float] = {}
        if should_log:
            figures = dict(zip(parts, torch.stack(list(parts.values())).tolist()))
        if should_log and not math.isfinite(figures["loss"]):
            names = self.corpus.names(positions)
            several = ", ".join(names[:NAMED]) + (
                f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
            )
            raise BarlowSpeechError(
                f"the loss is not finite at step {step}, with {several}; look at these, or "
                "train anew with a lower optimiser.lr, or precision: float32."
            )
        distributed.average_gradients(self.twins.parameters())
        if recipe.optimiser.clip > 0:
            nn.utils.clip_grad_norm_(self.twins.parameters(), recipe.optimiser.clip)
        rate = self.learning_rate(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        if self.memory is not None:
            self.memory.push(distributed.all_gather(clean_BFT))
        self.steps_done += 1
        if should_log:
            figures["lr"] = rate
        if self.done or step % recipe.log_every == 0:
            figures["effective_rank"] = effective_rank(embedding_BE)
        self.figures |= figures
        return figures

    def pairs(
        self, positions: np.ndarray, families: Mapping[str, ViewFamily] | None = None
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        """Both views of the items at `positions`, and their plain log-mel.

        Of each of `families`, or of those of the step that comes next.

        Views are log-mel [B, T, F], plain log-mel is [B, F, T]; mixup takes from the memory as it
        is, and leaves it so.
        """
        families = self.families if families is None else families
        *crops, keys_2B = self.crops(positions, families)
        return self._views_of(crops, keys_2B, families)

    def crops(self, positions: np.ndarray, families: Mapping[str, ViewFamily]) -> list[Tensor]:
        """int16 crops [B, N] of the segments that the families need, and the views' keys [2, B].

        Those of the step after the one that comes next are begun.
        """
        after = None
        if self.steps_done + 1 < self.recipe.steps:
            needed = self.segments.needed(self._families_at(self.steps_done + 1))
            after = (tuple((positions + self.recipe.batch).tolist()), tuple(needed))
        wanted = (tuple(positions.tolist()), tuple(self.segments.needed(families)))
        return self._ahead.take(wanted, after)

    def _cut(self, wanted: tuple[tuple[int, ...], tuple[int, ...]]) -> list[Tensor]:
        positions = np.array(wanted[0], dtype=np.int64)
        rows_B = torch.from_numpy(positions)
        keys_2B = torch.stack([item_keys(self.recipe.seed, 0, rows_B, view) for view in (0, 1)])
        lengths, pinned = self.segments.lengths, self.device.type == "cuda"
        # Read to where a GPU copies it from: pinned afterwards, it would be copied once more.
        crops = {
            place: torch.empty(len(positions), lengths[place], dtype=torch.int16, pin_memory=pinned)
            for place in wanted[1]
        }
        self.corpus.cut(positions, lengths, {place: one.numpy() for place, one in crops.items()})
        return [*crops.values(), keys_2B]

    def _views_of(
        self, crops: Sequence[Tensor], keys_2B: Tensor, families: Mapping[str, ViewFamily]
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        places = self.segments.needed(families)
        waves_BN = {place: crop_BN / 32768 for place, crop_BN in zip(places, crops)}
        with torch.no_grad():
            clean_BFT = {
                place: self.twins.model.frontend(one).transpose(1, 2)
                for place, one in waves_BN.items()
            }
        result = {}
        for name in families:
            first_BTF, second_BTF = (
                self._view(name, waves_BN[place], clean_BFT[place], keys_2B[view])
                for view, place in enumerate(self.segments.of[name])
            )
            result[name] = (first_BTF, second_BTF)
        return result, clean_BFT[0]

    @property
    def _recordable(self) -> bool:
        """Whether nothing in the step that comes next waits, and all it reads stays in its place.

        The first and the last step hand out correlations; mixup's memory grows until it is full.
        """
        return (
            self.record is not None
            and self.recipe.accumulate == 1
            and distributed.world_size() == 1
            and self.steps_done not in (0, self.recipe.steps - 1)
            and (self.memory is None or len(self.memory) == self.memory.capacity)
        )

    def _gradients(self, positions: np.ndarray) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The terms by name, embeddings and plain log-mel of a batch; gradients are in `.grad`."""
        self.optimiser.zero_grad(set_to_none=True)
        if not self._recordable:
            views, clean_BFT = self.pairs(positions)
            return (*self._backward(views), clean_BFT)
        families = self.families
        if tuple(families) not in self._recorded:
            self._recorded[tuple(families)] = Captured(self._from_crops, self.record)
        self._seed(0)
        recorded = self._recorded[tuple(families)]
        gradients, *result = recorded(*self.crops(positions, families))
        for parameter, gradient in zip(self.twins.parameters(), gradients):
            parameter.grad = gradient  # where the recording writes it
        parts, embedding_BE, clean_BFT = result
        return parts, embedding_BE, clean_BFT

    def _from_crops(self, *crops_and_keys: Tensor) -> tuple[Any, ...]:
        """What `_gradients` gives, behind the gradients of all parameters."""
        *crops, keys_2B = crops_and_keys
        views, clean_BFT = self._views_of(crops, keys_2B, self.families)
        parts, embedding_BE = self._backward(views)
        return [one.grad for one in self.twins.parameters()], parts, embedding_BE, clean_BFT

    def _backward(
        self, views: Mapping[str, tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms by name, and the embeddings, of the last of the step's families."""
        parts: dict[str, Tensor] = {}
        losses = []
        for name, family in self.families.items():
            passes = self._whole if self.recipe.accumulate == 1 else self._in_parts
            terms, embedding_BE = passes(name, family, *views[name])
            losses.append(family.weight * terms["loss"].detach())
            prefix = f"{name}/" if len(self.recipe.families) > 1 else ""
            parts |= {prefix + key: value.detach() for key, value in terms.items()}
        parts["loss"] = torch.stack(losses).sum()
        return parts, embedding_BE

    def _whole(
        self, name: str, family: ViewFamily, first_BTF: Tensor, second_BTF: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Forward and backward of a family in one pass: the terms, and the embeddings."""
        embedding_BE, z_ND = self._embed(torch.cat([first_BTF, second_BTF]), name, 0)
        terms = self._objective(name, family, *z_ND.chunk(2))
        (family.weight * terms["loss"]).backward()
        return terms, embedding_BE.detach()

    def _in_parts(
        self, name: str, family: ViewFamily, first_BTF: Tensor, second_BTF: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The same with one part of the batch in memory at a time (Gao et al. 2021, 2101.06983).

        A first pass without gradients gives z of the whole batch; the loss over it gives dL/dz,
        with which a second pass goes backward part by part.
        """
        parts = [
            torch.cat(pair)
            for pair in zip(
                first_BTF.chunk(self.recipe.accumulate), second_BTF.chunk(self.recipe.accumulate)
            )
        ]
        with torch.no_grad(), _still_statistics(self.twins):
            embeddings, projected = zip(
                *(self._embed(part, name, index) for index, part in enumerate(parts))
            )
        z_A, z_B = (
            torch.cat([z.chunk(2)[view] for z in projected]).float().requires_grad_()
            for view in (0, 1)
        )
        terms = self._objective(name, family, z_A, z_B)
        (family.weight * terms["loss"]).backward()
        assert z_A.grad is not None
        assert z_B.grad is not None
        sizes = [len(z) // 2 for z in projected]
        gradients = zip(z_A.grad.split(sizes), z_B.grad.split(sizes))
        for index, (part, pair) in enumerate(zip(parts, gradients)):
            _, z_ND = self._embed(part, name, index)
            z_ND.backward(torch.cat(pair).to(z_ND.dtype))
        return terms, torch.cat(embeddings)

    def _embed(self, frames_BTF: Tensor, family: str, part: int) -> tuple[Tensor, Tensor]:
        """Both views in one pass: half the launches, and one set of batch statistics.

        The first half of what is returned is of the first view, at either level.
        """
        if not (self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
            self._seed(part)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.forward(frames_BTF, family)

    def _seed(self, part: int) -> None:
        """Dropout must draw the same on resuming, and in both passes over a part of a batch."""
        key = (self.recipe.seed, self.steps_done, distributed.rank(), part)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def _objective(
        self, name: str, family: ViewFamily, a_ND: Tensor, b_ND: Tensor
    ) -> dict[str, Tensor]:
        if self.steps_done in (0, self.recipe.steps - 1):
            with torch.no_grad():
                self.correlations[name] = cross_correlation(
                    latents(a_ND, family.objective), latents(b_ND, family.objective)
                ).cpu()
        return objective(a_ND, b_ND, family.objective)

    @torch.no_grad()
    def _view(self, family: str, waves_BN: Tensor, clean_BFT: Tensor, keys_B: Tensor) -> Tensor:
        """Log-mel [B, T, F] of one view of a segment, whose plain log-mel is `clean_BFT`."""
        views = self.views[family]
        changed_BN = views.waveform(waves_BN, keys_B)
        frames_BFT = clean_BFT
        if changed_BN is not waves_BN:
            frames_BFT = self.twins.model.frontend(changed_BN).transpose(1, 2)
        return views.spectrogram(frames_BFT, keys_B, self.memory).transpose(1, 2)

    def _digest(self, steps_done: int) -> str:
        """Of what must be equal for a state after so many steps to go on.

        That is the recipe; but where the learning rate ends in a decay of its own, a state before
        it does not depend on where that begins, and goes on with other `steps` and `decay`.
        """
        recipe = self.recipe.as_dict()
        if 0 < self.recipe.optimiser.decay <= recipe["steps"] - steps_done:
            recipe["optimiser"]["decay"] = recipe["steps"] = "open"
        return digest(recipe)

    def save(self, folder: Path) -> None:
        """Write the state of the training, from which `load` goes on."""
        tensors = {f"twins.{key}": value for key, value in self.twins.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in state.items()}
        header = {
            "steps_done": self.steps_done,
            "recipe": self._digest(self.steps_done),
            "speech": self.corpus.index["sha256"],
            "figures": self.figures,
            "seconds": self.seconds,
        }
        if self.memory is not None:
            memory = self.memory.state_dict()
            header["memory_pushed"] = memory["pushed"]
            if memory["items"] is not None:
                tensors["memory"] = memory["items"]
        save_tensors(folder / TRAINING, tensors, {"training": header})

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            BarlowSpeechError: the file is broken, or of another recipe or other speech.
        """
        file = folder / TRAINING
        tensors, header = load_tensors(file)
        state: Any = header.get("training")  # a broken file may hold anything
        try:
            steps = state["steps_done"]
            if type(steps) is not int or steps < 0:
                raise ValueError(f"{steps} steps are none")
            if state["recipe"] != self._digest(steps):
                falls = (
                    " (steps and optimiser.decay may change before its learning rate begins to "
                    "fall, in the old recipe and in the new)"
                )
                raise BarlowSpeechError(
                    f"{file} is of another recipe than the one given, --with and --set included; "
                    f"give the one it was trained by{falls if self.recipe.optimiser.decay else ''}"
                    ", or choose another folder."
                )
            speech = self.corpus.index["sha256"]
            if state.get("speech", speech) != speech:  # states of before do not say it
                raise BarlowSpeechError(
                    f"{file} was trained on other speech than is packed now; choose another "
                    "folder, or put the recordings back as they were."
                )
            if steps > self.recipe.steps:
                raise ValueError(f"{steps} steps are none")
            # States of before have neither.
            figures, seconds = state.get("figures", {}), state.get("seconds", 0.0)
            if any(type(one) is not float for one in (seconds, *figures.values())):
                raise TypeError("its figures are no numbers")
            self.twins.load_state_dict(_under(tensors, "twins."))
            self._load_optimiser(_under(tensors, "optimiser."))
            if self.memory is not None:
                self._load_memory(self.memory, state["memory_pushed"], tensors.get("memory"))
        except (AttributeError, TypeError, ValueError, RuntimeError, LookupError) as error:
            raise BarlowSpeechError(
                f"{file} is no whole state of a training ({error}); remove it to start anew."
            ) from error
        self._recorded.clear()  # it reads the memory where it was
        self.steps_done, self.figures, self.seconds = steps, figures, seconds

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        groups = self.optimiser.param_groups
        parameters = [one for group in groups for one in group["params"]]
        saved = {**self.optimiser.state_dict(), "state": {}}
        for key, value in tensors.items():
            index, name = key.split(".")
            if value.shape not in ((), parameters[int(index)].shape):
                raise ValueError(f"optimiser.{key} has the shape {tuple(value.shape)}")
            if name == "step" and not 0 <= float(value) <= self.recipe.steps:
                raise ValueError(f"optimiser.{key} is no step")
            if value.shape:  # in the order of memory of its parameter, as a fused step wants it
                value = torch.empty_like(parameters[int(index)], device="cpu").copy_(value)
            saved["state"].setdefault(int(index), {})[name] = value
        kept = OPTIMISER_STATES[self.recipe.optimiser.name]
        if any(set(one) != kept for one in saved["state"].values()):
            raise ValueError(f"its optimiser is not {self.recipe.optimiser.name}'s")
        self.optimiser.load_state_dict(saved)

    def _load_memory(self, memory: MixupBank, pushed: Any, items: Tensor | None) -> None:
        held = min(pushed, memory.capacity)
        frames = -(-self.corpus.crop // HOP)
        shape = (held, self.recipe.model.frontend.n_mels, frames)
        most = self.recipe.steps * self.recipe.batch
        if type(pushed) is not int or not 0 <= pushed <= most or (items is None) != (pushed == 0):
            raise ValueError(f"a memory of {pushed} items is none")
        if items is not None and (tuple(items.shape) != shape or not items.is_floating_point()):
            raise ValueError(f"its memory has the shape {tuple(items.shape)}, not {shape}")
        memory.load_state_dict(
            {"capacity": memory.capacity, "pushed": pushed, "items": items}, self.device
        )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _normalised(model: ModelSettings, corpus: PackedCorpus, seed: int) -> Any:
    """The front-end's settings with the corpus's mean and std, over crops that the seed draws."""
    positions = np.random.default_rng([seed, 2]).integers(
        len(corpus.items), size=NORMALISATION_CROPS
    )
    crops_BN = torch.from_numpy(corpus.crops(np.sort(positions), [corpus.crop])[0]).float() / 32768
    plain = FrontEnd(dataclasses.replace(model.frontend, mean=0.0, std=1.0))
    values = plain.log_mel(crops_BN)
    mean, std = round(float(values.mean()), 4), round(float(values.std()), 4)
    if std == 0:
        raise BarlowSpeechError(
            f"the packed speech in {corpus.folder} is silent; pack other speech."
        )
    return dataclasses.replace(model.frontend, mean=mean, std=std)


def _optimiser(settings: Optimiser, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a module. Only matrices and filters decay, as usual: for a norm's scale and
    a bias, weight decay (and LARS's adaptation) has no use."""
    parameters = list(module.parameters())
    matrices: dict[str, Any] = {"params": [p for p in parameters if p.ndim > 1]}
    vectors: dict[str, Any] = {
        "params": [p for p in parameters if p.ndim <= 1],
        "weight_decay": 0.0,
    }
    if settings.name == "lars":
        groups = [matrices, {**vectors, "adapt": False}]
        return LARS(groups, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(
        [matrices, vectors],
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        fused=parameters[0].is_cuda or None,  # None is torch's choice
    )


@contextlib.contextmanager
def _still_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms inside keep their running statistics as they are."""
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = 0.0
    yield
    for one, momentum in zip(norms, momenta):
        one.momentum = momentum


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is the faster there: on a GPU, or a CPU with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
