"""The settings of every view, as a recipe's YAML has them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.pretraining.views.waveform import NYQUIST


def _setting(default: Any, low: float, high: float) -> Any:
    """A settings field with a default and the limits that `Views` holds a user's value to."""
    return field(default=default, metadata={"limits": (low, high)})


@dataclass(frozen=True)
class Speed:
    """Tempo and pitch together, as a tape played faster (`rate` above 1) or slower."""

    p: float = _setting(1.0, 0, 1)
    rate: tuple[float, float] = _setting((0.9, 1.1), 0.25, 4)


@dataclass(frozen=True)
class Reverb:
    """A room. `rt60_s` and `drr_db` shape the synthetic one; a bank makes them unused."""

    p: float = _setting(0.5, 0, 1)
    rt60_s: tuple[float, float] = _setting((0.1, 0.6), 0.01, 10)  # time to decay by 60 dB
    drr_db: tuple[float, float] = _setting((0.0, 15.0), -40, 60)  # energy, direct over reverberant


@dataclass(frozen=True)
class Noise:
    """Noise at an SNR over the crop; `exponent` colours it where there is no bank."""

    p: float = _setting(0.5, 0, 1)
    snr_db: tuple[float, float] = _setting((5.0, 30.0), -60, 120)
    exponent: tuple[float, float] = _setting((0.0, 2.0), -2, 4)  # power ~ f^-exponent; 0 is white


@dataclass(frozen=True)
class LowPass:
    """Butterworth magnitude, zero phase; the -3 dB point is drawn uniformly in log frequency."""

    p: float = _setting(0.3, 0, 1)
    cutoff_hz: tuple[float, float] = _setting((1500.0, 7000.0), 1, NYQUIST)
    order: int = _setting(4, 1, 16)


@dataclass(frozen=True)
class HighPass:
    """Butterworth magnitude, zero phase; the -3 dB point is drawn uniformly in log frequency."""

    p: float = _setting(0.3, 0, 1)
    cutoff_hz: tuple[float, float] = _setting((60.0, 500.0), 1, NYQUIST)
    order: int = _setting(2, 1, 16)


@dataclass(frozen=True)
class BandPass:
    """A high-pass at `low_hz` followed by a low-pass at `high_hz`: the telephone's channel."""

    p: float = _setting(0.2, 0, 1)
    low_hz: tuple[float, float] = _setting((150.0, 500.0), 1, NYQUIST)
    high_hz: tuple[float, float] = _setting((2500.0, 4500.0), 1, NYQUIST)
    order: int = _setting(4, 1, 16)


@dataclass(frozen=True)
class Equaliser:
    """A smooth random gain through `points` nodes evenly spaced in log frequency."""

    p: float = _setting(0.5, 0, 1)
    db: tuple[float, float] = _setting((-6.0, 6.0), -60, 60)
    points: int = _setting(6, 2, 64)


@dataclass(frozen=True)
class Gain:
    """A level change; nothing is clipped."""

    p: float = _setting(1.0, 0, 1)
    db: tuple[float, float] = _setting((-6.0, 6.0), -120, 120)


@dataclass(frozen=True)
class Polarity:
    """The waveform's sign, turned."""

    p: float = _setting(0.5, 0, 1)


@dataclass(frozen=True)
class TimeMask:
    """One span of silence, anywhere in the crop."""

    p: float = _setting(0.5, 0, 1)
    length_s: tuple[float, float] = _setting((0.05, 0.2), 0, 3600)


@dataclass(frozen=True)
class Mixup:
    """A past item in the background (BYOL-A).

    `scale` multiplies normalised frames before the exponential. 1 is BYOL-A's code; the standard
    deviation that the front-end divided by makes it a mixture of powers.
    """

    p: float = _setting(1.0, 0, 1)
    ratio: float = _setting(0.2, 0, 1)  # the most that the past item weighs
    scale: float = _setting(1.0, 1e-3, 100)


@dataclass(frozen=True)
class ResizedCrop:
    """A random box of a virtual canvas, resized to the whole (BYOL-A).

    Sizes and canvases are relative to the input's; a size is cut to its canvas. With BYOL-A's
    `freq_canvas` of 1 a `freq_scale` above 1 leaves the frequency axis as it is.
    """

    p: float = _setting(1.0, 0, 1)
    freq_scale: tuple[float, float] = _setting((0.6, 1.5), 0.05, 20)
    time_scale: tuple[float, float] = _setting((0.6, 1.5), 0.05, 20)
    freq_canvas: float = _setting(1.0, 1, 20)
    time_canvas: float = _setting(1.5, 1, 20)


@dataclass(frozen=True)
class Fader:
    """A level that goes linearly from one random value to another (BYOL-A v2)."""

    p: float = _setting(1.0, 0, 1)
    gain: float = _setting(1.0, 0, 100)  # the ends are in ±gain, units of the frames


@dataclass(frozen=True)
class MelEqualiser:
    """A smooth random offset over the mel bands, the same in all frames: another microphone."""

    p: float = _setting(1.0, 0, 1)
    gain: float = _setting(0.5, 0, 100)  # the points are in ±gain, units of the frames
    points: int = _setting(4, 2, 64)


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


def _check_settings(settings: ViewSettings) -> None:
    for view in dataclasses.fields(settings):
        chosen = getattr(settings, view.name)
        for one in dataclasses.fields(chosen) if chosen is not None else ():
            low, high = one.metadata["limits"]
            value = getattr(chosen, one.name)
            pair = value if isinstance(value, tuple) else (value, value)
            if not low <= pair[0] <= pair[1] <= high:  # false for NaN too
                shape = "[low, high], both" if isinstance(value, tuple) else "a value"
                raise BarlowSpeechError(
                    f"views: {view.name}.{one.name} must be {shape} from {low:g} to {high:g}, "
                    f"not {value!r}; change it."
                )
