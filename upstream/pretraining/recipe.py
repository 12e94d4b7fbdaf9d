"""A pretraining recipe: everything that decides the weights, as data.

A recipe is a YAML file; `extends:` makes an ablation a few lines. `barlow-speech pretrain` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import (
    LATER,
    as_plain,
    build,
    merged,
    override,
    read_layers,
)
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.packed import DataSettings
from barlow_speech.upstream.encoders import Size
from barlow_speech.upstream.model import readout
from barlow_speech.upstream.model.frontend import HOP
from barlow_speech.upstream.model.readout import LAST
from barlow_speech.upstream.model.speech_encoder import ModelSettings, depth
from barlow_speech.upstream.pretraining.objective import ObjectiveSettings
from barlow_speech.upstream.pretraining.views.settings import ViewSettings

Steps = Annotated[int, Field(ge=1, le=10**12)]
CropLength = Annotated[float, Field(ge=HOP / SAMPLE_RATE, le=3600)]  # seconds


@dataclass(frozen=True)
class Projector:
    """An MLP with batch norm: `layers` linear layers, all `width` wide."""

    width: Size = 1024
    layers: Annotated[int, Field(ge=1, le=100)] = 2


@dataclass(frozen=True)
class ViewFamily:
    """A set of views with a projector and a term of the objective of its own.

    `segments`: whether the two views are of the `same` segment of a recording, or of two
    `different` ones (which teaches the speaker and loses the words). `crop_s` is the length of the
    segments in seconds, at most the recipe's, which is the default: two long ones of a short
    recording share most of their sound. `level`: whether the items of the objective are utterances,
    each by its embedding, or `frames`, each state of the encoder's last layer paired with the state
    at the same time in the other view. `weight` is that of its term.
    """

    segments: Literal["same", "different"] = "same"
    crop_s: CropLength | None = field(default=None, metadata=LATER)
    level: Literal["utterance", "frames"] = "utterance"
    views: ViewSettings = field(default_factory=ViewSettings)
    projector: Projector = field(default_factory=Projector)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    weight: float = 1.0


@dataclass(frozen=True)
class Optimiser:
    """AdamW or LARS, with a linear warm-up over `warmup` steps and a cosine down to zero.

    With a `decay` the rate stays constant instead, until it falls linearly to zero over the last
    `decay` steps (Hu et al. 2024, arXiv 2404.06395): a training that is to go on as long as there
    is time can be ended at any step, by resuming it with other `steps`.
    """

    name: Literal["adamw", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: Annotated[int, Field(ge=0)] = 50
    decay: Annotated[int, Field(ge=0)] = field(default=0, metadata=LATER)
    clip: float = 0.0  # largest norm of the gradient; 0 for none


@dataclass(frozen=True)
class Recipe:
    """A pretraining run.

    `crop_s` is in seconds, `batch` in recordings over all processes together; a state is saved
    every `checkpoint_every` steps. Mixup draws from the last `memory` items. `precision` is that
    of the encoder and the projector; `auto` takes bfloat16 where the processor computes in it.
    `accumulate` parts of a batch go through the encoder one after the other, to save memory; the
    loss is that of the whole batch all the same, only batch norm sees one part at a time. With
    `rotate` each step trains one view family, in turn, at the cost of one.
    """

    steps: Steps
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    families: dict[str, ViewFamily] = field(default_factory=lambda: {"main": ViewFamily()})
    optimiser: Optimiser = field(default_factory=Optimiser)
    batch: Annotated[int, Field(ge=2, le=1 << 20)] = 128
    crop_s: CropLength = 1.0
    memory: Annotated[int, Field(ge=1, le=1 << 24)] = 1024
    seed: Annotated[int, Field(ge=0)] = 0
    checkpoint_every: Steps = 200
    log_every: Steps = 10
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    accumulate: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    rotate: bool = field(default=False, metadata=LATER)
    compile: bool = False

    def crop_of(self, family: str) -> float:
        """The length in seconds of the crops of a view family."""
        return self.families[family].crop_s or self.crop_s

    @property
    def speech_s(self) -> float:
        """Seconds of a recording in a step, the mean over the steps, as speed counts them.

        It counts once however many views and families see it, as the longest of their crops.
        """
        lengths = [self.crop_of(name) for name in self.families]
        return fmean(lengths) if self.rotate else max(lengths)

    def as_dict(self) -> dict[str, Any]:
        """As `as_plain`, with the encoder's own defaults too."""
        return {**as_plain(self), "model": self.model.as_dict()}

    def family_name(self, name: str | None) -> str:
        """The name of a view family; None is the first.

        Raises:
            BarlowSpeechError: there is none of that name.
        """
        if name is not None and name not in self.families:
            raise unknown("view family", name, self.families, "the recipe")
        return name or next(iter(self.families))


def read_recipe(
    path: Path, assignments: Sequence[str] = (), overrides: Sequence[Path] = ()
) -> Recipe:
    """The recipe in a YAML file, with the files `overrides` and then `--set` assignments over it.

    `encoder.…` is short for `model.encoder.…`. A view family set to null is left out.

    Raises:
        BarlowSpeechError: the file or a key is wrong; the key and the file are named. So is a view
            family that is to be left out, or changed by `--set`, and is not there.
    """
    short = [f"model.{one}" if one.startswith("encoder.") else one for one in assignments]
    files = [(path, read_layers(path, configs.files("recipe")))]
    files += [(file, read_layers(file, configs.files("override"))) for file in overrides]
    tree = override(merged(merged(layers) for _, layers in files), short)
    _check_families(files, short)
    if isinstance(families := tree.get("families"), dict):
        tree["families"] = {name: one for name, one in families.items() if one is not None}
    recipe = build(Recipe, tree, str(path))
    _check(recipe, str(path))
    return recipe


def _check_families(
    files: Sequence[tuple[Path, list[dict[str, Any]]]], assignments: Sequence[str]
) -> None:
    """Refuse null for a family that nothing before has, and a key of one, which would add it."""
    # Where each layer stands, and whether the families in it are given whole.
    layers = [(str(file), True, layer) for file, inside in files for layer in inside]
    if not any(layer.get("families") for _, _, layer in layers):
        layers.insert(0, ("", True, {"families": Recipe(steps=1).families}))
    for assignment in assignments:
        whole = assignment.partition("=")[0].count(".") < 2
        layers.append((f"--set {assignment}", whole, override({}, [assignment])))
    known: set[str] = set()
    for where, whole, layer in layers:
        families = layer.get("families")
        for name, one in families.items() if isinstance(families, dict) else ():
            if name not in known and (one is None or not whole):
                raise unknown("view family", str(name), known, where)
            if one is None:
                known.remove(name)
            else:
                known.add(name)


def _check(recipe: Recipe, where: str) -> None:
    if not recipe.families:
        raise BarlowSpeechError(f"{where}: families is empty; name at least one view family.")
    try:
        recipe.model.as_dict()  # the encoder's own keys are checked here
        if recipe.model.readout != LAST:
            readout.check(recipe.model.readout, depth(recipe.model))
        for name, family in recipe.families.items():
            if not name or "." in name or hasattr(nn.ModuleDict(), name):
                raise BarlowSpeechError(
                    f"a view family cannot be called '{name}', which PyTorch does not take as the "
                    "name of a module; rename it."
                )
            check_alignment(name, family)
            if (crop_s := recipe.crop_of(name)) > recipe.crop_s:
                raise BarlowSpeechError(
                    f"families.{name}.crop_s is {crop_s:g} and more than the recipe's crops "
                    f"of {recipe.crop_s:g} s; lower it, or raise crop_s."
                )
    except BarlowSpeechError as error:
        raise BarlowSpeechError(f"{where}: {error}") from error


def check_alignment(name: str, family: ViewFamily) -> None:
    """Refuse a family over frames whose two views are not of the same moments.

    Raises:
        BarlowSpeechError: its level is `frames` and it has two segments, or a view that moves time.
    """
    if family.level != "frames":
        return
    speed, crop = family.views.speed, family.views.resized_crop
    if family.segments == "different":
        cause, remedy = "segments: different takes them from two places", "set segments: same"
    elif speed is not None and speed.p > 0 and speed.rate != (1, 1):
        cause, remedy = "views.speed stretches time", "set views.speed: null"
    # A canvas as long as the input and a box of at least its length leave time as it is, exactly;
    # on a longer canvas the box lies anywhere.
    elif crop and crop.p > 0 and (crop.time_canvas != 1 or crop.time_scale[0] < 1):
        cause = "views.resized_crop moves and stretches time"
        remedy = "give it time_scale: [1, 1] and time_canvas: 1"
    else:
        return
    raise BarlowSpeechError(
        f"families.{name} has level: frames, whose two views must be aligned in time, but {cause}; "
        f"{remedy}, or level: utterance."
    )
