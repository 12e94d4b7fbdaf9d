"""As an audio encoder of MTEB and MAEB (needs `pip install 'barlow-speech[mteb]'`):

import mteb
from barlow_speech.upstream.adapters.mteb import load_model
mteb.evaluate(load_model("hf:models/wavlm"), mteb.get_tasks(tasks=["CREMA_D"]))
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from barlow_speech.upstream.adapters._adapted import Adapted, needed
from barlow_speech.upstream.data.audio import SAMPLE_RATE

REMEDY = "run: pip install 'barlow-speech[mteb]'"
model_meta = needed("mteb.models.model_meta", REMEDY)
collators = needed("mteb.models.modality_collators", REMEDY)
AbsEncoder: Any = needed("mteb.models.abs_encoder", REMEDY).AbsEncoder


class BarlowSpeechEncoder(AbsEncoder):
    """An upstream's embeddings, [N, E], compared by their cosine.

    `upstream` is its name, where MTEB's own `ModelMeta.load_model` gives another as `model_name`.
    """

    def __init__(
        self,
        model_name: str = "",
        revision: str | None = None,
        *,
        device: str | None = None,
        upstream: str | None = None,
        **_: Any,
    ) -> None:
        name = model_name if upstream is None else upstream
        self.model = Adapted(name, device or "cpu")
        parameters = sum(one.numel() for one in self.model.module.parameters())
        self.mteb_model_meta = model_meta.ModelMeta(
            loader=BarlowSpeechEncoder, loader_kwargs={"upstream": name},
            name=f"barlow-speech/{re.sub(r'[^A-Za-z0-9_.-]+', '-', self.model.name)}",
            # Its weights, so that no result is taken for that of others.
            revision=self.model.upstream.fingerprint[:16],
            release_date=None, languages=None, n_parameters=parameters, memory_usage_mb=None,
            max_tokens=None, embed_dim=self.model.embedding_size, license=None, open_weights=True,
            public_training_code=None, public_training_data=None, framework=["PyTorch"],
            similarity_fn_name="cosine", use_instructions=False, training_datasets=None,
            modalities=["audio"],
        )  # fmt: skip

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        """Batches of recordings, resampled by MTEB's own collator → [N, E]."""
        inputs.collate_fn = collators.AudioCollator(target_sampling_rate=SAMPLE_RATE)
        rows = [torch.empty(0, self.model.embedding_size)]
        for batch in inputs:
            waves = [np.ascontiguousarray(one["array"]).reshape(-1) for one in batch["audio"]]
            rows.append(self.model.of([torch.from_numpy(one) for one in waves])[1])
        return torch.cat(rows).numpy()


def load_model(name: str = "", device: str = "cpu") -> BarlowSpeechEncoder:
    """The upstream of a name or file; without one the encoder of the package.

    Raises:
        BarlowSpeechError: there is none such.
    """
    return BarlowSpeechEncoder(name, device=device)
