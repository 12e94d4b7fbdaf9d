"""The s3prl upstream expert: what `s3prl.hub.barlow_speech()` returns.

The contract is that of s3prl's `upstream/example/expert.py` and `nn/upstream.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import MAX_LEVEL
from barlow_speech.upstream.model.checkpoint import load_model
from barlow_speech.upstream.model.speech_encoder import SpeechEncoder, random_model
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT


class UpstreamExpert(nn.Module):
    """A speech encoder as s3prl knows it; frozen or, with s3prl's `-f`, fine-tuned.

    `ckpt` is a checkpoint of ours, by default the one that comes with the package. With
    `random_seed` the weights are thrown away and drawn anew, which is the baseline that every
    claim of pretraining needs; the sizes and the input normalisation stay.

    Raises:
        BarlowSpeechError: the checkpoint is missing or is not one of ours.
    """

    def __init__(
        self, ckpt: str | Path | None = None, random_seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        model = load_model(Path(ckpt) if ckpt else DEFAULT_CHECKPOINT)
        if random_seed is not None:
            model = random_model(model.settings, random_seed).eval()
        # The same numbers in an order that convolutions on a CPU take 1.6 times as fast.
        self.model: SpeechEncoder = convert_conv2d_weight_memory_format(model, torch.channels_last)

    def get_downsample_rates(self, key: str) -> int:
        """Samples per hidden state, of every `key`."""
        return self.model.rate

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """1-D waveforms at 16 kHz → `hidden_states` (a list of [B, T, D], one per layer).

        T = ceil(longest / rate). Also `last_hidden_state` [B, T, D] and `embedding` [B, E], what
        the checkpoint's readout gives.

        Raises:
            BarlowSpeechError: there is no waveform, one has no sample or more than one axis, or
                holds a value that is not finite or louder than any sound.
        """
        if not wavs or any(wave.ndim != 1 or len(wave) == 0 for wave in wavs):
            raise BarlowSpeechError(
                "a waveform has no sample; drop empty recordings from the batch, and give each "
                "waveform one axis."
            )
        loudest = torch.stack([wave.detach().abs().amax() for wave in wavs]).amax()
        if not loudest <= MAX_LEVEL:  # false for NaN too
            raise BarlowSpeechError(
                "a waveform holds values that are not finite, or louder than any sound "
                f"({float(loudest):g}); drop it from the batch."
            )
        hidden, _, embedding_BE = self.model(wavs)
        return {
            "hidden_states": hidden,
            "last_hidden_state": hidden[-1],
            "embedding": embedding_BE,
        }
