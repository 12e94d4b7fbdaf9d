"""Which crops of a recording a step cuts, and which of them the views of a family are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.pretraining.recipe import Recipe


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


def chosen_segments(recipe: Recipe) -> Segments:
    """As few segments as do for all families of a recipe."""
    lengths = [round(recipe.crop_s * SAMPLE_RATE)]
    of = {}
    for name, family in recipe.families.items():
        length = round(recipe.crop_of(name) * SAMPLE_RATE)
        wanted = 2 if family.segments == "different" else 1
        lengths += [length] * (wanted - lengths.count(length))
        places = [place for place, one in enumerate(lengths) if one == length]
        of[name] = (places[0], places[wanted - 1])
    return Segments(tuple(lengths), of)
