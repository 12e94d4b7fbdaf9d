"""Numbers and names as sentences and tables have them."""

import numpy as np
import pytest

from barlow_speech.upstream.common.text import p_text


@pytest.mark.parametrize("p", [0.0494, 0.0495001, 0.0496, 0.04996, 0.0499999999, 0.0500000001,
                               0.05004, 0.0504, 0.0505])  # fmt: skip
def test_a_p_value_is_shown_on_its_side_of_the_level(p: float) -> None:
    shown = float(p_text(p).removeprefix("p = "))
    assert (shown < 0.05) == (p < 0.05) and shown == pytest.approx(p, abs=5e-4)


def test_p_values_have_three_places() -> None:
    assert [p_text(p) for p in (0.0, 0.00099, 0.0012, 0.05, 0.1234, 1.0)] == [
        "p < 0.001", "p < 0.001", "p = 0.001", "p = 0.050", "p = 0.123", "p = 1.000",
    ]  # fmt: skip
    for p in np.linspace(0.001, 1, 50):
        assert len(p_text(p)) == len("p = 0.123")
