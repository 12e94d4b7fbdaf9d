"""As an audio representation of EVAR (Niizumi et al. 2022): two lines in a clone of it.

In `lineareval.py`, beside the others: `import barlow_speech.upstream.adapters.evar`. And a
configuration, whose `weight_file` is the name of any upstream or a checkpoint of ours:

    {audio_repr: ar_barlow_speech.AR_BarlowSpeech, sample_rate: 16000, weight_file: '',
     temporal_pooling_type: mean, batch_size: 64, lr_lineareval: 0.0003,
     report_per_epochs: 20, early_stop_epochs: 20}

`temporal_pooling_type: embedding` takes the upstream's own embedding.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from barlow_speech.upstream.adapters._adapted import Adapted, needed

base = needed("evar.ar_base", "run it in a clone of nttcslab/eval-audio-repr, set up as it says.")
Base: Any = base.BaseAudioRepr
# EVAR looks representations up as attributes of its package.
needed("evar", "").ar_barlow_speech = sys.modules[__name__]


class AR_BarlowSpeech(Base):
    """The last hidden state, pooled as EVAR's configuration says, or the embedding."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg=cfg)
        self.adapted = Adapted(cfg.get("weight_file") or "")

    def encode_frames(self, batch_audio: Tensor) -> Tensor:
        """[B, N] → [B, D, T]."""
        return self.adapted.frames_of(batch_audio).transpose(1, 2)

    def forward(self, batch_audio: Tensor) -> Tensor:
        """[B, N] → [B, D]."""
        if self.cfg.temporal_pooling_type == "embedding":
            return self.adapted.of(batch_audio)[1]
        return base.temporal_pooling(self, self.encode_frames(batch_audio))
