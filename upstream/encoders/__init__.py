"""The contract of the base encoders, and how one is chosen by name.

Each file beside this one is one encoder: a frozen dataclass `Settings` of its sizes and a class
`Encoder` that keeps the contract below. Adding a file adds an encoder; `encoder.name` in a recipe
is the file's name.

Shapes: B utterances, T front-end frames, F mel bands, S = ceil(T / stride) states, D width,
E embedding size.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import unknown
from barlow_speech.upstream.common.settings import as_plain, build

# A larger size is a slip, or a broken file.
Size = Annotated[int, Field(ge=1, le=1 << 16)]
# Frames of each utterance [B], or of all.
Lengths = Tensor | int
Dropout = Annotated[float, Field(ge=0, lt=1)]


class BaseEncoder(nn.Module):
    """Log-mel frames → hidden states of every layer, and one embedding per utterance.

    A subclass sets `stride` (frames per state), `width` (D of every hidden state), `depth` (how
    many layers have hidden states) and implements `states`. One whose states depend on a bounded
    part of an utterance sets `receptive_field`: the frames on either side of a state's own that it
    depends on. Whatever it does, no state and no embedding of an utterance may depend on the other
    utterances of its batch nor on the padding behind it; tests/encoders holds every file of this
    folder to it.
    """

    stride: int
    width: int
    depth: int
    receptive_field: int | None = None

    @property
    def embedding_dim(self) -> int:
        """E of what pretraining projects: mean and maximum over time of the last layer."""
        return 2 * self.width

    def states(self, frames_BTF: Tensor, lengths: Lengths) -> list[Tensor]:
        """Hidden states [B, S, D] of each layer.

        T is a multiple of `stride`; frames at and behind an utterance's length are zero.
        """
        raise NotImplementedError

    def forward(
        self, frames_BTF: Tensor, lengths_B: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """frames_BTF and their valid lengths → (hidden states [B, S, D] of each layer, [B, E]).

        States behind an utterance's own ceil(length / stride) are zero. Without lengths all T
        frames are valid: the same function to the bit, without masks.
        """
        lengths = frames_BTF.shape[1] if lengths_B is None else lengths_B
        missing = -frames_BTF.shape[1] % self.stride
        frames_BTF = nn.functional.pad(frames_BTF, (0, 0, 0, missing))
        if lengths_B is not None:  # else there are zeros already
            frames_BTF = cleared(frames_BTF, lengths, 1)
        hidden = self.states(frames_BTF, lengths)
        if lengths_B is None:  # every state has a frame of its own
            return hidden, pool(hidden[-1])
        mask_BS1 = valid(shorter(lengths_B, self.stride), hidden[-1].shape[1]).unsqueeze(2)
        hidden = [state * mask_BS1 for state in hidden]
        return hidden, pool(hidden[-1], mask_BS1)


def pool(states_BSD: Tensor, mask_BS1: Tensor | None = None) -> Tensor:
    """Mean and maximum over the valid states, [B, 2 D]; without a mask all are."""
    if mask_BS1 is None:
        mean_BD, max_BD = states_BSD.sum(dim=1) / states_BSD.shape[1], states_BSD.amax(dim=1)
    else:
        mean_BD = states_BSD.sum(dim=1) / mask_BS1.sum(dim=1)
        max_BD = states_BSD.masked_fill(~mask_BS1, -torch.inf).amax(dim=1)
    return torch.cat([mean_BD, max_BD], dim=1)


def cleared(x: Tensor, lengths: Lengths, grid: int, dim: int = 1) -> Tensor:
    """x with zeros behind each utterance's end along `dim`, a step of which is `grid` frames."""
    if isinstance(lengths, int):
        end = -(-lengths // grid)
        if end >= x.shape[dim]:
            return x
        mask = (torch.arange(x.shape[dim], device=x.device) < end).unsqueeze(0)
    else:
        mask = valid(shorter(lengths, grid), x.shape[dim])
    for _ in range(1, dim):
        mask = mask.unsqueeze(1)
    while mask.ndim < x.ndim:
        mask = mask.unsqueeze(-1)
    return x * mask


def valid(lengths_B: Tensor, size: int) -> Tensor:
    """[B, size], true before each length."""
    return torch.arange(size, device=lengths_B.device) < lengths_B.unsqueeze(1)


def shorter(lengths_B: Tensor, factor: int) -> Tensor:
    """ceil(length / factor)."""
    return torch.div(lengths_B + factor - 1, factor, rounding_mode="floor")


def names() -> list[str]:
    """The encoders there are."""
    return module_names(__path__)


def complete(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """The settings of an encoder with its defaults filled in: `name` and its own `Settings`,
    as `as_plain` has them.

    Raises:
        BarlowSpeechError: an unknown name or key, or a value out of its bounds.
    """
    own = {key: value for key, value in settings.items() if key != "name"}
    full = as_plain(build(_module(settings, where).Settings, own, where))
    return {"name": settings.get("name"), **full}


def build_encoder(settings: dict[str, Any], n_mels: int, where: str = "encoder") -> BaseEncoder:
    """The encoder that `settings` describe: `name` and the keys of that file's `Settings`.

    Raises:
        BarlowSpeechError: as `complete`, or sizes that do not fit together.
    """
    module = _module(settings, where)
    own = {key: value for key, value in complete(settings, where).items() if key != "name"}
    return module.Encoder(module.Settings(**own), n_mels)


def _module(settings: dict[str, Any], where: str) -> Any:
    name = str(settings.get("name"))
    if name not in names():
        raise unknown("encoder", name, names(), where)
    return importlib.import_module(f"{__name__}.{name}")
