"""Two views of one recording, as spectrograms and to listen to (the paper's second figure)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torchaudio

from barlow_speech.benchmark.analyses._requests import (
    Computation,
    Results,
    Sources,
    Study,
    check_trained,
)
from barlow_speech.benchmark.figures.views import ShownViews, drawn_views, views_of
from barlow_speech.benchmark.reporting.document import Picture, Section, Sound
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.frontend import FLOOR, HIGH_HZ, HOP, LOW_HZ, N_FFT, FrontEnd

NOTES = (
    "What the encoder is fed are log-mel spectrograms. The views are made audible again from them "
    "(Griffin-Lim), which adds an echo of its own: the crop is played through the same way beside "
    "it.",
)
OTHERS = 24  # recordings that mixup may draw from
LOUDEST = 0.7


@dataclass(frozen=True)
class Settings:
    """Of which pretrained upstream; the `recording` counts in its training speech, from 0."""

    upstream: str
    families: tuple[str, ...] = ()
    recording: int = 0
    seed: int = 0


def requests(settings: Settings, study: Study) -> list[Computation]:
    """The views of its pretraining."""
    check_trained(study, settings.upstream, "views")
    checked = partial(_check, settings)
    return [Computation((settings.upstream,), partial(_views, settings), check=checked)]


def _check(settings: Settings, sources: Sources) -> None:
    families = sources.pretrained(settings.upstream).recipe.families
    for family in settings.families:
        if family not in families:
            raise unknown("view family", family, families, f"the recipe of {settings.upstream}")
    count = len(sources.speech(settings.upstream))
    if not 0 <= settings.recording < count:
        raise BarlowSpeechError(
            f"views: there is no recording {settings.recording} of the {count} that "
            f"{settings.upstream} is trained on; they count from 0."
        )


def _views(settings: Settings, sources: Sources) -> list[ShownViews]:
    """Of each family, as training makes them; mixup draws from other recordings."""
    recipe, speech = sources.pretrained(settings.upstream).recipe, sources.speech(settings.upstream)
    first = settings.recording
    others = [*speech[first + 1 :], *speech[:first]][:: max(1, len(speech) // OTHERS)][:OTHERS]
    paths = [speech[first].path, *(other.path for other in others)]
    return [
        views_of(recipe, paths, family, seed=settings.seed)
        for family in settings.families or tuple(recipe.families)
    ]


def section(title: str, settings: Settings, results: Results) -> Section:
    """A picture a family of views, the crop and both views as sounds."""
    parts: list[Picture | Sound] = []
    ((_, families),) = results.requested(Computation)
    for shown in families:
        name = f"{title} {shown.name}"
        parts.append(
            Picture(
                name,
                f"Two views of {shown.recording.name}, view family {shown.name}.",
                "Waveforms and log-mel spectrograms of both views; what was done to them is "
                "written beneath.",
                drawn_views(shown),
            )
        )
        plain_TF = shown.frontend(shown.plain_VN)[0]
        parts += [
            Sound(f"{name} crop", "the crop as recorded", shown.plain_VN[0].numpy()),
            Sound(
                f"{name} crop through log-mel", "the crop, through log-mel and back",
                audible(plain_TF, shown.frontend),
            ),
        ]  # fmt: skip
        parts += [
            Sound(f"{name} view {view}", f"view {view}", audible(frames_TF, shown.frontend))
            for view, frames_TF in zip("AB", shown.frames_VTF)
        ]
    return Section(title, (), NOTES, tuple(parts))


def audible(frames_TF: torch.Tensor, frontend: FrontEnd) -> np.ndarray:
    """A waveform [N] whose log-mel is about `frames_TF` [T, F], the front-end's normalised output.

    Mel bands are spread over frequencies by least squares, phases are found by Griffin and Lim
    (1984), both torchaudio's. The loudest sample is at 0.7.
    """
    settings = frontend.settings
    power_TF = (frames_TF * settings.std + settings.mean).exp() - FLOOR
    spread = torchaudio.transforms.InverseMelScale(
        N_FFT // 2 + 1, settings.n_mels, SAMPLE_RATE, LOW_HZ, HIGH_HZ
    )
    griffin_lim = torchaudio.transforms.GriffinLim(N_FFT, hop_length=HOP, rand_init=False)
    wave_N = griffin_lim(spread(power_TF.clamp(min=0).T).clamp(min=0))
    return (LOUDEST * wave_N / wave_N.abs().max().clamp(min=1e-6)).numpy()
