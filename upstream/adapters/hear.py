"""As a module of HEAR (Turian et al. 2022): `hear-validator barlow_speech.upstream.adapters.hear`.

Its model file is a checkpoint of ours or the name of any upstream: `-m hf:models/wavlm`.
A timestamp is where a frame starts, since the centre of the last one may lie behind the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from barlow_speech.upstream.adapters._adapted import Adapted
from barlow_speech.upstream.data.audio import SAMPLE_RATE


class HearModel(Adapted):
    """The attributes that HEAR asks for."""

    sample_rate = SAMPLE_RATE

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.scene_embedding_size, self.timestamp_embedding_size = self.embedding_size, self.width


def load_model(model_file_path: str = "") -> HearModel:
    """The upstream of a name or file; without one the encoder of the package.

    Raises:
        BarlowSpeechError: there is none such.
    """
    return HearModel(model_file_path)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """[B, N] → frames [B, T, D] and where each starts, in milliseconds, [B, T]."""
    frames_BTD = model.frames_of(audio)
    starts_T = model.hop_ms * torch.arange(frames_BTD.shape[1], device=audio.device)
    return frames_BTD, starts_T.repeat(len(audio), 1)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """[B, N] → [B, E]."""
    return model.of(audio)[1]
