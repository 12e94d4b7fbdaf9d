"""C before and after a pretraining: the third figure of Brima et al. 2024 (Information 15(2), 114).

Usage: drawn_correlations(correlations(recipe, Path("results/toy")))

Shapes: B pairs of views, T frames, F mel bands, D dimensions of the projector's output.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from barlow_speech.benchmark.figures.style import DOTS_PER_INCH, FRAME, captioned_figure, styled
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.pretraining.barlow_twins import BarlowTwins
from barlow_speech.upstream.pretraining.objective import (
    ObjectiveSettings,
    cross_correlation,
    latents,
    off_diagonal,
)
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import TRAINING, Pretraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIMENSIONS_SHOWN = 256  # of C, as more would have less than two dots each

DOTS_OF_MATRIX = 512  # about, along an edge

# Blue for what correlates, orange for the opposite: told apart by every kind of colour vision. The
# blue end is far darker than the orange one, so that in greyscale only a dark grey is positive.
DIVERGING = ["#c96a00", "#fbbf73", "#ffffff", "#6fa3cc", "#0b2239"]


@dataclass(frozen=True)
class Correlations:
    """C of the untrained and of the trained network, of one mini-batch of pairs of views."""

    untrained_DD: Tensor
    trained_DD: Tensor
    family: str
    pairs: int
    level: Literal["utterance", "frames"]
    steps: int  # that the trained one was trained for


def correlations(
    recipe: Recipe, folder: Path, *, packed: Path | None = None, family: str | None = None
) -> Correlations:
    """C before the first and after the last step of the pretraining that lies in `folder`.

    Both networks see the mini-batch that would come next, in float32 and with batch statistics as
    in training. `packed` is the speech it was trained on (default: `folder/packed`), `family` one
    of the recipe's (default: the first). Where the objective scales z to unit length, so is it
    here.

    Raises:
        BarlowSpeechError: there is no training in `folder`, it is of another recipe, there is no
            such family, or no packed speech.
    """
    name = recipe.family_name(family)
    if not (folder / TRAINING).is_file():
        raise BarlowSpeechError(
            f"{folder} holds no {TRAINING}; give the folder that `barlow-speech pretrain -o` wrote."
        )
    corpus = PackedCorpus(packed or folder / "packed", recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    untrained = copy.deepcopy(run.twins)
    run.load(folder)
    positions = run.steps_done * recipe.batch + np.arange(recipe.batch)
    views_BTF = run.pairs(positions, recipe.families)[0][name]
    settings = recipe.families[name].objective
    untrained_DD, pairs = _correlation(untrained, views_BTF, name, settings)
    trained_DD, _ = _correlation(run.twins, views_BTF, name, settings)
    return Correlations(
        untrained_DD=untrained_DD,
        trained_DD=trained_DD,
        family=name,
        pairs=pairs,
        level=recipe.families[name].level,
        steps=run.steps_done,
    )


@torch.no_grad()
def _correlation(
    twins: BarlowTwins, views_BTF: tuple[Tensor, Tensor], name: str, settings: ObjectiveSettings
) -> tuple[Tensor, int]:
    """C, and of how many pairs."""
    with seeded(0):  # of dropout
        _, z_BD = twins.train()(torch.cat(views_BTF), name)
    return cross_correlation(*latents(z_BD, settings).chunk(2)), len(z_BD) // 2


@styled(FRAME)
def drawn_correlations(both: Correlations) -> Figure:
    """C before and after, side by side on one colour scale from -1 to 1.

    Of more than 256 dimensions the first 256 are shown; the mean of the diagonal and the root mean
    square of the rest, beneath, are always over all.
    """
    from matplotlib.colors import LinearSegmentedColormap

    size = len(both.trained_DD)
    shown = min(size, DIMENSIONS_SHOWN)
    # A whole number of dots an entry: rounding would make parts of the diagonal thicker.
    edge = max(round(DOTS_OF_MATRIX / shown), 1) * shown / DOTS_PER_INCH
    left, gap, right = 0.62, 0.3, 0.95
    width = left + edge + gap + edge + right
    figure, _, below = captioned_figure(
        (width, 0.42 + edge + 0.97), f"cross-correlation of two views – family {both.family}",
        _caption(both, shown), (56, round(17 * width)),
    )  # fmt: skip
    below, height = below + 0.97, figure.get_figheight()
    colours = LinearSegmentedColormap.from_list("correlation", DIVERGING, N=511)
    panels = (
        ("untrained", both.untrained_DD, left),
        (f"trained for {both.steps} steps", both.trained_DD, left + edge + gap),
    )
    for label, matrix_DD, start in panels:
        axes = figure.add_axes((start / width, below / height, edge / width, edge / height))
        image = axes.imshow(
            matrix_DD[:shown, :shown].numpy(), cmap=colours, vmin=-1, vmax=1, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_title(label, fontsize=10, pad=5)
        axes.tick_params(labelsize=8, labelleft=start == left)
        diagonal, rest = diagonal_and_rest(matrix_DD)
        axes.set_xlabel(
            f"dimension of view B\nmean of the diagonal {diagonal:.3f}\n"
            f"rms off the diagonal {rest:.3f}",
            fontsize=9,
        )
        if start == left:
            axes.set_ylabel("dimension of view A", fontsize=9)
    place = (1 - (right - 0.12) / width, below / height, 0.12 / width, edge / height)
    bar = figure.colorbar(image, cax=figure.add_axes(place), ticks=(-1, -0.5, 0, 0.5, 1))
    bar.set_label("correlation", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def diagonal_and_rest(matrix_DD: Tensor) -> tuple[float, float]:
    """The mean of the diagonal, and the root mean square of the rest."""
    size = len(matrix_DD)
    rest = off_diagonal(matrix_DD).square().sum() / max(size * (size - 1), 1)
    return float(matrix_DD.diagonal().mean()), float(rest.sqrt())


def _caption(both: Correlations, shown: int) -> list[str]:
    size = len(both.trained_DD)
    lines = [
        f"C of the projector's output over the same {both.pairs} pairs of views. Off the diagonal, "
        f"independent dimensions would have an rms of {1 / math.sqrt(both.pairs):.3f} by chance."
    ]
    if both.level == "frames":  # those of one utterance are not independent
        lines = [
            f"C of the projector's output over the same {both.pairs} pairs of states, those of "
            "both views at one time."
        ]
    if shown < size:
        lines.append(
            f"Shown are the first {shown} of {size} dimensions; the numbers are over all {size}."
        )
    return lines
