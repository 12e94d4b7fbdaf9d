"""As an encoder of X-ARES (Zhang et al. 2025) and of XARES-LLM, which take a path or a name:

    python -m xares.run barlow_speech/upstream/adapters/xares.py TASK.py --max-jobs 0
    python -m xares_llm.run barlow_speech.upstream.adapters.xares.BarlowSpeechEncoder

Another upstream is a subclass of its own, in a file where no other name ends so:

    from barlow_speech.upstream.adapters import xares
    class WavlmEncoder(xares.BarlowSpeechEncoder):
        upstream_name = "hf:models/wavlm"

X-ARES keeps what it encoded under the name of the class. It reads audio by `torchaudio.load`, which
without torchcodec reads nothing, and warns of each recording: this file puts a reader in its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from barlow_speech.upstream.adapters._adapted import Adapted
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.third_party.compatibility import import_torchaudio, patch_audio_files

patch_audio_files(import_torchaudio())
UNSAID = object()  # X-ARES gives no mask; XARES-LLM gives one, which may be None


class BarlowSpeechEncoder(Adapted):
    """The attributes that both ask for, and the frames of the last hidden state."""

    upstream_name = ""
    sampling_rate = SAMPLE_RATE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(kwargs.get("upstream_name", self.upstream_name))
        self.output_dim, self.hop_size_in_ms = self.width, self.hop_ms

    def forward(self, audio: Tensor, audio_attention_mask: Any = UNSAID) -> Any:
        """[B, N] → frames [B, T, D]; with a mask [B, N] (1: heard), frames and their mask [B, T].

        With a mask a recording is heard up to its own end, and has its own number of frames.

        Raises:
            BarlowSpeechError: the mask is of another shape, or has a zero before a one.
        """
        if audio_attention_mask is UNSAID:
            return self.frames_of(audio)
        mask = torch.ones_like(audio) if audio_attention_mask is None else audio_attention_mask
        lengths_B = mask.bool().sum(dim=1)
        ends_BN = torch.arange(audio.shape[1], device=mask.device) < lengths_B.unsqueeze(1)
        if mask.shape != audio.shape or not torch.equal(mask.bool(), ends_BN):
            raise BarlowSpeechError(
                f"a mask of shape {list(audio.shape)} is expected, with ones up to each "
                f"recording's end, and one of {list(mask.shape)} is given, or with other ones; pad "
                "at the end."
            )
        frames, _ = self.of([wave[: max(1, int(end))] for wave, end in zip(audio, lengths_B)])
        frames_BTD = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        own_B = torch.tensor([len(one) for one in frames], device=audio.device)
        steps_T = torch.arange(frames_BTD.shape[1], device=audio.device)
        return frames_BTD, (steps_T < own_B.unsqueeze(1)).long()
