"""Two views of one recording, as spectrograms and to listen to (the paper's second figure)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torchaudio

from barlow_speech.benchmark.figures.views import drawn_views, views_of
from barlow_speech.benchmark.reporting.document import Picture, Section, Sound
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Pretrain
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.packed import chosen
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


def stages(settings: Settings, planner: Planner) -> tuple[Pretrain, ...]:
    """Its pretraining."""
    found = planner.pretrainings(settings.upstream)
    if not found:
        raise BarlowSpeechError(
            f"views: the upstream '{settings.upstream}' is not pretrained by this study."
        )
    return found[:1]


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """A picture a family of views, the crop and both views as sounds."""
    (stage,) = stages(settings, planner)
    every = chosen(stage.recipe.data, planner.workspace.speech)
    first = settings.recording % len(every)
    step = max(1, len(every) // OTHERS)
    paths = [every[first].path, *(one.path for one in every[first + 1 :: step][:OTHERS])]
    parts: list[Picture | Sound] = []
    for family in settings.families or tuple(stage.recipe.families):
        shown = views_of(stage.recipe, paths, family, seed=settings.seed)
        parts.append(
            Picture(
                f"{title} {family}",
                f"Two views of {paths[0].name}, view family {family}.",
                "Waveforms and log-mel spectrograms of both views; what was done to them is "
                "written beneath.",
                drawn_views(shown),
            )
        )
        plain_BTF = shown.frontend(shown.plain_VN)
        parts.append(
            Sound(f"{title} {family} crop", "the crop as recorded", shown.plain_VN[0].numpy())
        )
        parts.append(
            Sound(
                f"{title} {family} crop through log-mel", "the crop, through log-mel and back",
                audible(plain_BTF[0], shown.frontend),
            )
        )  # fmt: skip
        for view in (0, 1):
            parts.append(
                Sound(
                    f"{title} {family} view {'AB'[view]}", f"view {'AB'[view]}",
                    audible(shown.frames_VTF[view], shown.frontend),
                )
            )  # fmt: skip
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
