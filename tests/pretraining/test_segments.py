"""Which crops a step cuts, and which of them the views of a family are of."""

from __future__ import annotations

import pytest

from barlow_speech.upstream.pretraining.recipe import Recipe, ViewFamily
from barlow_speech.upstream.pretraining.segments import chosen_segments

CROP = 16_000


@pytest.mark.parametrize(
    ("families", "lengths", "of"),
    [
        ({"a": ViewFamily()}, (CROP,), {"a": (0, 0)}),
        (
            {"a": ViewFamily(), "b": ViewFamily(segments="different")},
            (CROP, CROP),
            {"a": (0, 0), "b": (0, 1)},
        ),
        (
            {"a": ViewFamily(segments="different", crop_s=0.5), "b": ViewFamily()},
            (CROP, 8000, 8000),
            {"a": (1, 2), "b": (0, 0)},
        ),
        (
            {"a": ViewFamily(crop_s=0.5), "b": ViewFamily(crop_s=1.0, segments="different")},
            (CROP, 8000, CROP),
            {"a": (1, 1), "b": (0, 2)},
        ),
    ],
)
def test_no_more_segments_are_cut_than_the_families_need(
    families: dict[str, ViewFamily], lengths: tuple[int, ...], of: dict[str, tuple[int, int]]
) -> None:
    segments = chosen_segments(Recipe(steps=1, families=families))  # of 1 s
    assert segments.lengths == lengths
    assert segments.of == of


def test_a_family_needs_its_own_segments_and_what_mixup_remembers() -> None:
    families = {"voice": ViewFamily(segments="different", crop_s=0.5), "words": ViewFamily()}
    segments = chosen_segments(Recipe(steps=1, families=families))
    assert segments.needed(["words"]) == [0]
    assert segments.needed(["voice"]) == segments.needed(families) == [0, 1, 2]
