"""Figures of a pretraining: two views of a recording, and C before and after the training.

They are the second and the third figure of Brima et al. 2024 (Information 15(2), 114).

Usage: views_figure(recipe, [Path("a.flac"), Path("b.flac")], Path("views.png"))
       correlation_figure(recipe, Path("results/toy"), Path("correlation.pdf"))

Shapes: V = 2 views of one item, N samples, F mel bands, T frames, D dimensions of the projector's
output.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from barlow_speech.benchmark.figures import DOT, DOTS_PER_INCH, figure_kind, write_figure
from barlow_speech.benchmark.table import printable
from barlow_speech.upstream.audio import SAMPLE_RATE
from barlow_speech.upstream.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.frontend import HIGH_HZ, HOP, LOW_HZ, FrontEnd, FrontEndSettings
from barlow_speech.upstream.manifest import Recording
from barlow_speech.upstream.model import seeded
from barlow_speech.upstream.objective import (
    ObjectiveSettings,
    cross_correlation,
    latents,
    off_diagonal,
)
from barlow_speech.upstream.packed import PackedCorpus, pack
from barlow_speech.upstream.pretrain import TRAINING, Pretraining, Twins
from barlow_speech.upstream.recipe import Family, Recipe
from barlow_speech.upstream.views import ViewSettings, item_keys

FORMATS = ("pdf", "png")  # of SVG, matplotlib never writes the same bytes twice
WIDTH = 6.4  # inches
MEL_TICKS = (125, 250, 500, 1000, 2000, 4000, 7000)  # Hz
SPECTROGRAM_VIEWS = ("mixup", "resized_crop", "fader", "mel_equaliser")  # the others: waveform
LONGEST_NAME = 54  # letters of a recording's name
PAST_ITEMS = 64  # crops of the other recordings that mixup may draw from

DIMENSIONS_SHOWN = 256  # of C, as more would have less than two dots each
DOTS_OF_MATRIX = 512  # about, along an edge

# Blue for what correlates, orange for the opposite: told apart by every kind of colour vision. The
# blue end is far darker than the orange one, so that in greyscale only a dark grey is positive.
DIVERGING = LinearSegmentedColormap.from_list(
    "correlation", ["#c96a00", "#fbbf73", "#ffffff", "#6fa3cc", "#0b2239"], N=511
)


# --- two views of a recording -----------------------------------------------------------------


@dataclass(frozen=True)
class ShownViews:
    """Both views of one recording as training makes them, and what they were made from.

    `plain` waveforms are the crops. `frames_VTF` is what the encoder is fed.
    """

    recording: Path
    seconds: float  # of the recording
    name: str  # of the family
    family: Family
    plain_VN: Tensor
    waves_VN: Tensor
    frames_VTF: Tensor
    frontend: FrontEnd
    past: int  # items that mixup could draw from

    def unchanged(self, view: int) -> tuple[bool, bool]:
        """Whether the waveform, and whether the log-mel, of a view is that of its crop."""
        plain_TF = self.frontend(self.plain_VN[view : view + 1])[0]
        return (
            torch.equal(self.waves_VN[view], self.plain_VN[view]),
            torch.allclose(self.frames_VTF[view], plain_TF, atol=1e-4),
        )


def views_of(
    recipe: Recipe,
    recordings: Sequence[Path],
    family: str | None = None,
    *,
    seed: int = 0,
    frontend: FrontEndSettings | None = None,
) -> ShownViews:
    """The two views that a family of the recipe makes of the first recording.

    They are `Pretraining`'s own, of a training with `seed` on these recordings alone: the same
    random crops, order and draws. Mixup takes its past items from the other recordings, or does
    nothing where there is none. A recording shorter than the crop is repeated. `family=None` is
    the first family; `frontend` has the normalisation of a trained encoder
    (`load_settings(checkpoint).frontend`), without which it is that of these recordings.

    Raises:
        BarlowSpeechError: there is no recording or no such family, or a recording cannot be read.
    """
    if not recordings:
        raise BarlowSpeechError("no recording was given; name one, and a second for mixup.")
    name = _family(recipe, family)
    # Of the other families only time would be spent.
    recipe = dataclasses.replace(recipe, families={name: recipe.families[name]}, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        packed = pack([Recording(path) for path in recordings], Path(folder) / "packed")
        corpus = PackedCorpus(packed, recipe.crop_s, recipe.seed)
        run = Pretraining(recipe, corpus, torch.device("cpu"))
        if frontend is not None:
            run.twins.model.frontend = FrontEnd(frontend)
        # In the second epoch the other recordings are in the past.
        epoch = len(corpus.items) + np.arange(len(corpus.items))
        numbers = corpus.recordings(epoch)
        position, past = epoch[numbers == 0][:1], epoch[numbers != 0][-PAST_ITEMS:]
        if run.memory is not None and len(past):
            run.memory.push(run.pairs(past)[1])
        pairs, _ = run.pairs(position)

        segments = 2 if recipe.families[name].segments == "different" else 1
        crops = torch.from_numpy(corpus.crops(position, segments))[:, 0].float() / 32768
        plain_VN = crops.expand(2, -1)
        keys = [item_keys(seed, 0, torch.from_numpy(position), view) for view in (0, 1)]
        waves = [run.views[name].waveform(plain_VN[v : v + 1], keys[v]) for v in (0, 1)]
        return ShownViews(
            recording=recordings[0],
            seconds=int(corpus.offsets[1]) / SAMPLE_RATE,
            name=name,
            family=recipe.families[name],
            plain_VN=plain_VN,
            waves_VN=torch.cat(waves),
            frames_VTF=torch.cat(pairs[name]),
            frontend=run.twins.model.frontend,
            past=0 if run.memory is None else len(run.memory),
        )


def views_figure(
    recipe: Recipe,
    recordings: Sequence[Path],
    path: Path,
    family: str | None = None,
    *,
    seed: int = 0,
    frontend: FrontEndSettings | None = None,
) -> Path:
    """Write `drawn_views` of what `views_of` returns to a path ending in .png or .pdf.

    The same input gives the same bytes. It is written whole or not at all, and the path returned.

    Raises:
        BarlowSpeechError: as `views_of`, or the ending is unknown, or `path` cannot be written.
    """
    figure_kind(path)  # before any work
    shown = views_of(recipe, recordings, family, seed=seed, frontend=frontend)
    return write_figure(drawn_views(shown), path)


def drawn_views(shown: ShownViews) -> Figure:
    """Both views of a recording: a column per view, waveform over log-mel.

    The views that are on stand beneath with their parameters, `p` being the probability of those
    that not every item goes through. Where nothing changed a waveform or a log-mel, it says so.
    """
    lines = _wrapped(_views_caption(shown), 112)
    title = _wrapped([f"{_short(shown.recording.name)} – view family {printable(shown.name)}"], 62)
    below, above = 0.2 + 0.135 * len(lines), 0.24 + 0.2 * len(title)
    height = above + 3.8 + below
    figure = Figure(figsize=(WIDTH, height))
    figure.suptitle(
        "\n".join(title), y=1 - 0.1 / height, va="top", fontsize=12, fontweight="bold",
        parse_math=False,
    )  # fmt: skip
    figure.text(
        0.02, 0.08 / height, "\n".join(lines), fontsize=7.5, color="#333333", parse_math=False
    )
    grid = figure.add_gridspec(
        2, 3, width_ratios=(1, 1, 0.035), height_ratios=(1, 1.7), hspace=0.17, wspace=0.13,
        left=0.105, right=0.91, top=1 - (above + 0.22) / height, bottom=(below + 0.4) / height,
    )  # fmt: skip

    seconds = shown.waves_VN.shape[1] / SAMPLE_RATE
    time_N = np.arange(shown.waves_VN.shape[1]) / SAMPLE_RATE
    loudest = max(float(shown.waves_VN.abs().max()), 1e-4)
    frames = shown.frames_VTF.numpy()
    # One scale for both views, without the few extremes that would leave the rest grey.
    low, high = np.percentile(frames, (1, 99.8))
    bands = frames.shape[2]
    ticks = [hertz for hertz in MEL_TICKS if 0 <= mel_band(hertz, bands) <= bands - 1]
    for view in (0, 1):
        same_wave, same_frames = shown.unchanged(view)
        axes = figure.add_subplot(grid[0, view])
        axes.plot(time_N, shown.waves_VN[view].numpy(), color=DOT, linewidth=0.35)
        axes.set(xlim=(0, seconds), ylim=(-1.08 * loudest, 1.08 * loudest))
        axes.set_title(f"view {'AB'[view]}", fontsize=10, pad=4)
        axes.tick_params(labelsize=8, labelbottom=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        mel = figure.add_subplot(grid[1, view])
        image = mel.imshow(
            frames[view].T, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high,
            extent=(0, frames.shape[1] * HOP / SAMPLE_RATE, -0.5, bands - 0.5),
            interpolation="nearest",
        )  # fmt: skip
        mel.set_xlim(0, seconds)
        mel.set_yticks([mel_band(hertz, bands) for hertz in ticks], [f"{hz:g}" for hz in ticks])
        mel.tick_params(labelsize=8)
        mel.set_xlabel("time (s)", fontsize=9)
        for box, same in ((axes, same_wave), (mel, same_frames)):
            if same:
                box.set_title("unchanged", loc="right", fontsize=8, fontstyle="italic", pad=4)
        if view == 0:
            axes.set_ylabel("waveform", fontsize=9)
            mel.set_ylabel("log-mel, frequency (Hz)", fontsize=9)
        else:
            axes.tick_params(labelleft=False)
            mel.tick_params(labelleft=False)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[1, 2]))
    bar.set_label("log-mel, standard deviations", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.align_ylabels()
    return figure


def mel_band(hertz: float, bands: int) -> float:
    """Which of the front-end's bands, counted from 0, has its peak at a frequency (HTK's mel)."""
    low, here, high = (math.log10(1 + one / 700) for one in (LOW_HZ, hertz, HIGH_HZ))
    return (here - low) / (high - low) * (bands + 1) - 1


def _views_caption(shown: ShownViews) -> list[str]:
    crop_s = shown.plain_VN.shape[1] / SAMPLE_RATE
    which = (
        "one random segment, seen twice"
        if shown.family.segments == "same"
        else "two random segments of the recording"
    )
    text = f"segments: {shown.family.segments} ({which}), {crop_s:g} s each"
    if shown.seconds < crop_s:
        text += f"; the recording, of {shown.seconds:.2f} s, is repeated to fill them"
        if shown.family.segments == "different":
            text += ", which makes them the same"
    if shown.family.level == "frames":
        text += "; what is paired is every state of the encoder's last layer"
    lines = [f"{text}."]
    settings = shown.family.views
    on = {one.name: getattr(settings, one.name) for one in dataclasses.fields(ViewSettings)}
    on = {name: view for name, view in on.items() if view is not None}
    for kind, place in (("waveform", False), ("log-mel", True)):
        views = [
            _described(name, view)
            for name, view in on.items()
            if (name in SPECTROGRAM_VIEWS) == place
        ]
        lines.append(f"{kind} views: {'; '.join(views) or 'none'}.")
    crop = settings.resized_crop
    if crop is not None and max(crop.freq_canvas, crop.time_canvas) > 1:
        lines.append("Where resized_crop reads beyond the segment, it finds the mean, 0.")
    if "mixup" in on and not shown.past:
        lines.append("Mixup had no past item to mix with: give a second recording.")
    return lines


def _described(name: str, view: Any) -> str:
    """A view and its parameters: `noise p 0.5, snr_db 5…30, exponent 0…2`."""
    parts = []
    for one in dataclasses.fields(view):
        value = getattr(view, one.name)
        if one.name == "p" and value == 1:
            continue
        shown = "…".join(f"{end:g}" for end in value) if isinstance(value, tuple) else f"{value:g}"
        parts.append(f"{one.name}\N{NO-BREAK SPACE}{shown}")
    return f"{name} ({', '.join(parts)})" if parts else name


# --- the cross-correlation matrix -------------------------------------------------------------


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
    name = _family(recipe, family)
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
    twins: Twins, views_BTF: tuple[Tensor, Tensor], name: str, settings: ObjectiveSettings
) -> tuple[Tensor, int]:
    """C, and of how many pairs."""
    with seeded(0):  # of dropout
        _, z_BD = twins.train()(torch.cat(views_BTF), name)
    return cross_correlation(*latents(z_BD, settings).chunk(2)), len(z_BD) // 2


def correlation_figure(
    recipe: Recipe,
    folder: Path,
    path: Path,
    *,
    packed: Path | None = None,
    family: str | None = None,
) -> Path:
    """Write `drawn_correlations` of what `correlations` returns to a path ending in .png or .pdf.

    The same input gives the same bytes. It is written whole or not at all, and the path returned.

    Raises:
        BarlowSpeechError: as `correlations`, or the ending is unknown, or `path` cannot be written.
    """
    figure_kind(path)  # before any work
    both = correlations(recipe, folder, packed=packed, family=family)
    return write_figure(drawn_correlations(both), path)


def drawn_correlations(both: Correlations) -> Figure:
    """C before and after, side by side on one colour scale from -1 to 1.

    Of more than 256 dimensions the first 256 are shown; the mean of the diagonal and the root mean
    square of the rest, beneath, are always over all.
    """
    size = len(both.trained_DD)
    shown = min(size, DIMENSIONS_SHOWN)
    # A whole number of dots an entry: rounding would make parts of the diagonal thicker.
    edge = max(round(DOTS_OF_MATRIX / shown), 1) * shown / DOTS_PER_INCH
    left, gap, right = 0.62, 0.3, 0.95
    width = left + edge + gap + edge + right
    lines = _wrapped(_correlation_caption(both, shown), round(17 * width))
    title = _wrapped([f"cross-correlation of two views – family {printable(both.family)}"], 56)
    below, above = 0.97 + 0.135 * len(lines), 0.42 + 0.2 * len(title)
    height = above + edge + below
    figure = Figure(figsize=(width, height))
    figure.suptitle(
        "\n".join(title), y=1 - 0.1 / height, va="top", fontsize=12, fontweight="bold",
        parse_math=False,
    )  # fmt: skip
    figure.text(0.02, 0.08 / height, "\n".join(lines), fontsize=7.5, color="#333333")
    panels = (
        ("untrained", both.untrained_DD, left),
        (f"trained for {both.steps} steps", both.trained_DD, left + edge + gap),
    )
    for label, matrix_DD, start in panels:
        axes = figure.add_axes((start / width, below / height, edge / width, edge / height))
        image = axes.imshow(
            matrix_DD[:shown, :shown].numpy(), cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_title(label, fontsize=10, pad=5)
        axes.tick_params(labelsize=8, labelleft=start == left)
        diagonal, rest = _figures(matrix_DD)
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


def _figures(matrix_DD: Tensor) -> tuple[float, float]:
    """The mean of the diagonal, and the root mean square of the rest."""
    size = len(matrix_DD)
    rest = off_diagonal(matrix_DD).square().sum() / max(size * (size - 1), 1)
    return float(matrix_DD.diagonal().mean()), float(rest.sqrt())


def _correlation_caption(both: Correlations, shown: int) -> list[str]:
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


# --- both -------------------------------------------------------------------------------------


def _family(recipe: Recipe, name: str | None) -> str:
    if name is None:
        return next(iter(recipe.families))
    if name not in recipe.families:
        raise unknown("view family", name, recipe.families, "the recipe")
    return name


def _short(name: str) -> str:
    name = printable(name)
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _wrapped(texts: Sequence[str], columns: int) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, columns, break_on_hyphens=False)]
