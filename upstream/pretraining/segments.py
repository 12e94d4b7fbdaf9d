"""Which crops of a recording a step cuts, and which of them the views of a family are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.pretraining.recipe import ViewFamily


@dataclass(frozen=True)
class Segments:
    """Segments of a recording, each drawn alone.

    `lengths` are in samples; the first is as long as the recipe's crops, and what mixup remembers.
    `of` a family are the places in `lengths` of what its first and its second view are of.
    """

    lengths: tuple[int, ...]
    of: Mapping[str, tuple[int, int]]

    def needed(self, names: Iterable[str]) -> list[int]:
        """The places in `lengths` of what these families need, with what mixup remembers."""
        return sorted({0}.union(*(self.of[name] for name in names)))


def chosen_segments(families: Mapping[str, ViewFamily], crop: int) -> Segments:
    """As few segments as do for all families, where a recipe's crops have `crop` samples."""
    lengths = [crop]
    of = {}
    for name, family in families.items():
        length = crop if family.crop_s is None else round(family.crop_s * SAMPLE_RATE)
        wanted = 2 if family.segments == "different" else 1
        lengths += [length] * (wanted - lengths.count(length))
        places = [place for place, one in enumerate(lengths) if one == length]
        of[name] = (places[0], places[wanted - 1])
    return Segments(tuple(lengths), of)
