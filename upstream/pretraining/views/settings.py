"""The settings of every view, as a recipe's YAML has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator

from barlow_speech.upstream.pretraining.views.waveform import NYQUIST


def within(low: float, high: float) -> AfterValidator:
    """Of a value, or of a pair [low, high], both with these limits."""

    def check(value: Any) -> Any:
        first, last = value if isinstance(value, tuple) else (value, value)
        if not low <= first <= last <= high:
            shape = "[low, high], both" if isinstance(value, tuple) else "a value"
            raise ValueError(f"must be {shape} from {low:g} to {high:g}")
        return value

    return AfterValidator(check)


Pair = tuple[float, float]
Probability = Annotated[float, within(0, 1)]


@dataclass(frozen=True)
class Speed:
    """Tempo and pitch together, as a tape played faster (`rate` above 1) or slower."""

    p: Probability = 1.0
    rate: Annotated[Pair, within(0.25, 4)] = (0.9, 1.1)


@dataclass(frozen=True)
class Reverb:
    """A room. `rt60_s` and `drr_db` shape the synthetic one; a bank makes them unused."""

    p: Probability = 0.5
    rt60_s: Annotated[Pair, within(0.01, 10)] = (0.1, 0.6)  # time to decay by 60 dB
    drr_db: Annotated[Pair, within(-40, 60)] = (
        0.0,
        15.0,
    )  # energy, direct over reverberant


@dataclass(frozen=True)
class Noise:
    """Noise at an SNR over the crop; `exponent` colours it where there is no bank."""

    p: Probability = 0.5
    snr_db: Annotated[Pair, within(-60, 120)] = (5.0, 30.0)
    exponent: Annotated[Pair, within(-2, 4)] = (
        0.0,
        2.0,
    )  # power ~ f^-exponent; 0 is white


@dataclass(frozen=True)
class LowPass:
    """Butterworth magnitude, zero phase; the -3 dB point is drawn uniformly in log frequency."""

    p: Probability = 0.3
    cutoff_hz: Annotated[Pair, within(1, NYQUIST)] = (1500.0, 7000.0)
    order: Annotated[int, within(1, 16)] = 4


@dataclass(frozen=True)
class HighPass:
    """Butterworth magnitude, zero phase; the -3 dB point is drawn uniformly in log frequency."""

    p: Probability = 0.3
    cutoff_hz: Annotated[Pair, within(1, NYQUIST)] = (60.0, 500.0)
    order: Annotated[int, within(1, 16)] = 2


@dataclass(frozen=True)
class BandPass:
    """A high-pass at `low_hz` followed by a low-pass at `high_hz`: the telephone's channel."""

    p: Probability = 0.2
    low_hz: Annotated[Pair, within(1, NYQUIST)] = (150.0, 500.0)
    high_hz: Annotated[Pair, within(1, NYQUIST)] = (2500.0, 4500.0)
    order: Annotated[int, within(1, 16)] = 4


@dataclass(frozen=True)
class Equaliser:
    """A smooth random gain through `points` nodes evenly spaced in log frequency."""

    p: Probability = 0.5
    db: Annotated[Pair, within(-60, 60)] = (-6.0, 6.0)
    points: Annotated[int, within(2, 64)] = 6


@dataclass(frozen=True)
class Gain:
    """A level change; nothing is clipped."""

    p: Probability = 1.0
    db: Annotated[Pair, within(-120, 120)] = (-6.0, 6.0)


@dataclass(frozen=True)
class Polarity:
    """The waveform's sign, turned."""

    p: Probability = 0.5


@dataclass(frozen=True)
class TimeMask:
    """One span of silence, anywhere in the crop."""

    p: Probability = 0.5
    length_s: Annotated[Pair, within(0, 3600)] = (0.05, 0.2)


@dataclass(frozen=True)
class Mixup:
    """A past item in the background (BYOL-A).

    `scale` multiplies normalised frames before the exponential. 1 is BYOL-A's code; the standard
    deviation that the front-end divided by makes it a mixture of powers.
    """

    p: Probability = 1.0
    ratio: Annotated[float, within(0, 1)] = 0.2  # the most that the past item weighs
    scale: Annotated[float, within(1e-3, 100)] = 1.0


@dataclass(frozen=True)
class ResizedCrop:
    """A random box of a virtual canvas, resized to the whole (BYOL-A).

    Sizes and canvases are relative to the input's; a size is cut to its canvas. With BYOL-A's
    `freq_canvas` of 1 a `freq_scale` above 1 leaves the frequency axis as it is.
    """

    p: Probability = 1.0
    freq_scale: Annotated[Pair, within(0.05, 20)] = (0.6, 1.5)
    time_scale: Annotated[Pair, within(0.05, 20)] = (0.6, 1.5)
    freq_canvas: Annotated[float, within(1, 20)] = 1.0
    time_canvas: Annotated[float, within(1, 20)] = 1.5


@dataclass(frozen=True)
class Fader:
    """A level that goes linearly from one random value to another (BYOL-A v2)."""

    p: Probability = 1.0
    gain: Annotated[float, within(0, 100)] = 1.0  # the ends are in ±gain, units of the frames


@dataclass(frozen=True)
class MelEqualiser:
    """A smooth random offset over the mel bands, the same in all frames: another microphone."""

    p: Probability = 1.0
    gain: Annotated[float, within(0, 100)] = 0.5  # the points are in ±gain, units of the frames
    points: Annotated[int, within(2, 64)] = 4


@dataclass(frozen=True)
class ViewSettings:
    """The views in the order in which they are applied; None is off, `{}` in YAML is the default.

    `p` is each view's probability per item; a pair is a range from which an item draws uniformly.
    """

    speed: Speed | None = None
    reverb: Reverb | None = None
    noise: Noise | None = None
    lowpass: LowPass | None = None
    highpass: HighPass | None = None
    bandpass: BandPass | None = None
    equaliser: Equaliser | None = None
    gain: Gain | None = None
    polarity: Polarity | None = None
    time_mask: TimeMask | None = None
    mixup: Mixup | None = None
    resized_crop: ResizedCrop | None = None
    fader: Fader | None = None
    mel_equaliser: MelEqualiser | None = None
