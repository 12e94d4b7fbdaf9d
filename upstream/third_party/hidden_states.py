"""The hidden states of transformers' speech models as its version 4 gave them.

Published numbers on HuBERT, wav2vec 2.0 and WavLM are of these: the input of the first layer and
the output of every layer, the last after the encoder's final norm. Since version 5 hooks record
what layers return: where the norm comes last (`do_stable_layer_norm`, the large models) the last
state is that before it, a layer that layer drop skips in training leaves no state, and weights
stay in the precision of their file.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def as_published(model: Model) -> Model:
    """A `HubertModel`, `Wav2Vec2Model` or `WavLMModel`, in float32 and with every hidden state.

    Layer drop is switched off. In version 4 nothing but that changes.
    """
    encoder: Any = model.encoder
    config: Any = model.config
    config.layerdrop = 0.0
    last: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        last[:] = [output[0]]

    def mend(module: nn.Module, inputs: Any, output: Any) -> Any:
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = (*output.hidden_states[:-1], last[0])
        last.clear()
        return output

    encoder.register_forward_hook(keep)
    model.register_forward_hook(mend)
    return model.float()
