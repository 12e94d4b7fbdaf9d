"""Two views of a recording, as waveforms and log-mel spectrograms.

It is the second figure of Brima et al. 2024 (Information 15(2), 114).

Usage: drawn_views(views_of(recipe, [Path("a.flac"), Path("b.flac")]))

Shapes: V = 2 views of one item, N samples, T frames, F mel bands.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from barlow_speech.benchmark.figures.style import DOT, FRAME, captioned_figure, styled
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import printable, shortened
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import PackedCorpus, pack
from barlow_speech.upstream.model.frontend import HIGH_HZ, HOP, LOW_HZ, FrontEnd, FrontEndSettings
from barlow_speech.upstream.pretraining.recipe import Recipe, ViewFamily
from barlow_speech.upstream.pretraining.trainer import Pretraining
from barlow_speech.upstream.pretraining.views.random import item_keys
from barlow_speech.upstream.pretraining.views.settings import ViewSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.4  # inches

MAX_NAME = 54  # letters of a recording's name

MEL_TICKS = (125, 250, 500, 1000, 2000, 4000, 7000)  # Hz

SPECTROGRAM_VIEWS = ("mixup", "resized_crop", "fader", "mel_equaliser")  # the others: waveform

PAST_ITEMS = 64  # crops of the other recordings that mixup may draw from


@dataclass(frozen=True)
class ShownViews:
    """Both views of one recording as training makes them, and what they were made from.

    `plain` waveforms are the crops. `frames_VTF` is what the encoder is fed.
    """

    recording: Path
    seconds: float  # of the recording
    name: str  # of the family
    family: ViewFamily
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
    name = recipe.family_name(family)
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

        crops = corpus.crops(position, run.segments.lengths)
        plain_VN = torch.from_numpy(
            np.concatenate([crops[place] for place in run.segments.of[name]]) / np.float32(32768)
        )
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


@styled()
def drawn_views(shown: ShownViews) -> Figure:
    """Both views of a recording: a column per view, waveform over log-mel.

    The views that are on stand beneath with their parameters, `p` being the probability of those
    that not every item goes through. Where nothing changed a waveform or a log-mel, it says so.
    """
    name = shortened(printable(shown.recording.name), MAX_NAME)
    figure, above, below = captioned_figure(
        (WIDTH, 4.24), f"{name} – view family {shown.name}", _caption(shown), (62, 112)
    )
    height = figure.get_figheight()
    grid = figure.add_gridspec(
        2, 3, width_ratios=(1, 1, 0.035), height_ratios=(1, 1.7), hspace=0.17, wspace=0.13,
        left=0.105, right=0.91, top=1 - (above + 0.46) / height, bottom=(below + 0.6) / height,
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
        with styled(FRAME):
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


def _caption(shown: ShownViews) -> list[str]:
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
