"""The readout: which statistics of which layers are the embedding of an utterance.

Pretraining projects the mean and the maximum of the last layer. What users are given may be
something else: what a layer keeps for a task is known only after training, and is chosen on dev.

Shapes: B utterances, S states, D width, E embedding size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import pool, valid

Statistic = Literal["mean", "std", "max"]
SMALLEST_VARIANCE = 1e-12  # the root's slope at zero is infinite, and fine-tuning goes through it


@dataclass(frozen=True)
class Part:
    """Statistics over time of one layer, which counts as in `hidden_states`: -1 is the last.

    `std` is that of the population, at least 1e-6.
    """

    layer: int = -1
    statistics: tuple[Statistic, ...] = ("mean", "max")


LAST = (Part(),)  # the readout of a model that names none: what pretraining projects


def check(readout: Sequence[Part], layers: int) -> None:
    """Refuse a readout that a model of so many layers cannot have.

    Raises:
        BarlowSpeechError: it is empty, a layer is not there, or a statistic is missing or named
            twice.
    """
    if not readout or not all(part.statistics for part in readout):
        raise BarlowSpeechError("readout names no statistic; name at least one of a layer.")
    seen = set()
    for part in readout:
        if not -layers <= part.layer < layers:
            raise BarlowSpeechError(
                f"readout: there is no layer {part.layer}; the encoder has {layers}, 0 to "
                f"{layers - 1}."
            )
        for statistic in part.statistics:
            key = (part.layer % layers, statistic)
            if key in seen:
                raise BarlowSpeechError(
                    f"readout names the {statistic} of layer {part.layer} twice; once is enough."
                )
            seen.add(key)


def size(readout: Sequence[Part], width: int) -> int:
    """E."""
    return width * sum(len(part.statistics) for part in readout)


def read_out(readout: Sequence[Part], hidden: Sequence[Tensor], lengths_B: Tensor) -> Tensor:
    """Hidden states [B, S, D] of each layer and the valid number of each → embeddings [B, E]."""
    mask_BS1 = valid(lengths_B, hidden[0].shape[1]).unsqueeze(2)
    parts = []
    for part in readout:
        states_BSD = hidden[part.layer]
        mean_BD, max_BD = pool(states_BSD, mask_BS1).chunk(2, dim=1)
        columns = {"mean": mean_BD, "max": max_BD}
        if "std" in part.statistics:
            square_BSD = (states_BSD - mean_BD.unsqueeze(1)).square() * mask_BS1
            variance_BD = square_BSD.sum(dim=1) / mask_BS1.sum(dim=1)
            columns["std"] = variance_BD.clamp(min=SMALLEST_VARIANCE).sqrt()
        parts += [columns[statistic] for statistic in part.statistics]
    return torch.cat(parts, dim=1)


def read_out_chunks(readout: Sequence[Part], chunks: Iterable[Sequence[Tensor]]) -> Tensor:
    """The embedding [E] of one recording from stretches of its states, a list of [s, D] each.

    Moments are joined in double precision (Chan et al. 1979), so an hour is as exact as a second.
    """
    count = 0
    layers = sorted({part.layer for part in readout})
    mean: dict[int, Tensor] = {}
    squares: dict[int, Tensor] = {}  # summed deviations from the mean, squared
    most: dict[int, Tensor] = {}
    dtype = torch.float32
    for hidden in chunks:
        here = len(hidden[0])
        for layer in layers:
            states_SD = hidden[layer]
            dtype = states_SD.dtype
            max_D = states_SD.amax(dim=0)
            mean_D = states_SD.double().mean(dim=0)
            squares_D = (states_SD.double() - mean_D).square().sum(dim=0)
            if count:
                step_D = mean_D - mean[layer]
                squares_D += squares[layer] + step_D.square() * (count * here / (count + here))
                mean_D = mean[layer] + step_D * (here / (count + here))
                max_D = torch.maximum(max_D, most[layer])
            mean[layer], squares[layer], most[layer] = mean_D, squares_D, max_D
        count += here
    parts = []
    for part in readout:
        variance_D = squares[part.layer] / count
        columns = {
            "mean": mean[part.layer].to(dtype),
            "std": variance_D.clamp(min=SMALLEST_VARIANCE).sqrt().to(dtype),
            "max": most[part.layer],
        }
        parts += [columns[statistic] for statistic in part.statistics]
    return torch.cat(parts)
