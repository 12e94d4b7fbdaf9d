"""Views: the random changes of an item that pretraining teaches the encoder to ignore.

Every view is a pure function of (signals, parameters per item), batched, without a loop over the
items, and without any global random state. The parameters are counter-based: an item's draws are a
hash of its own int64 key and of the view's name, so they are the same alone, in any batch, on any
device and after any restart, and switching one view on or off leaves the draws of the others alone.

    views = Views(build(ViewSettings, tree["views"], "recipe.yaml"))
    keys_B = item_keys(seed, step, index_B, view=0)
    waves_BN = views.waveform(waves_BN, keys_B)
    frames_BFT = views.spectrogram(log_mel(waves_BN), keys_B, memory)
    memory.push(clean_frames_BFT)

Order on waveforms, from the mouth to the wire: speed, reverb, noise, then the filters in one pass
(low-pass, high-pass, band-pass, equaliser), gain, polarity, time mask. Order on log-mel frames, as
in BYOL-A: mixup, resized crop, fader, mel equaliser.

Sources: BYOL-A is Niizumi et al. 2021, "BYOL for Audio" (arXiv 2103.06695), for mixup and resized
crop; BYOL-A v2 is Niizumi et al. 2023, "BYOL for Audio: Exploring Pre-trained General-purpose Audio
Representations" (arXiv 2204.07402), for the fader.

An item for which a view is not drawn passes through it bit-identical. How far a changed item is
the same under another split of the batch: bit by bit for gain, polarity, time mask and fader; to
about 1e-6 of full scale for what goes through an FFT, a matrix product or a mean, whose order of
summation is the library's and may follow the batch size (TF32, where a caller switched it on,
widens that to 1e-3 for resized crop and equalisers).

Shapes: B items, N samples, F mel bands (or frequency bins), T frames, R samples of a room impulse
response, K points of a curve, M recordings of a bank, W FFT bins.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from barlow_speech.upstream.audio import SAMPLE_RATE
from barlow_speech.upstream.errors import BarlowSpeechError

NYQUIST = SAMPLE_RATE / 2  # Hz
FILTER_PAD = 1024  # samples of zeros, 64 ms, that keep a filter's ringing from wrapping around
BEFORE_DIRECT = 40  # samples, 2.5 ms, of an impulse response kept before its direct path
NOISE_FLOOR_HZ = 20.0  # coloured noise is flat below it
EQUALISER_LOW_HZ = 60.0  # the equaliser's first point; the last is at the Nyquist frequency


# --- settings ---------------------------------------------------------------------------------


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


# --- the source of randomness -----------------------------------------------------------------


def _signed(value: int) -> int:
    """The int64 with the low 64 bits of `value`: torch has no arithmetic on uint64."""
    return (value + 2**63) % 2**64 - 2**63


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MULTIPLIERS = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _mix_(words: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al. 2014, Stafford's mix 13) on int64, in place.

    int64 products wrap on CPU and CUDA alike; `>>` carries the sign, so the mask makes it logical.
    """
    for shift, multiplier in zip((30, 27), _MULTIPLIERS):
        words ^= (words >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        words *= multiplier
    words ^= (words >> 31).bitwise_and_((1 << 33) - 1)
    return words


@functools.cache
def _stream_word(stream: int | str) -> int:
    kind = "name" if isinstance(stream, str) else "number"
    digest = hashlib.blake2b(f"{kind} {stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def item_keys(seed: int, step: int, index_B: Tensor, view: int) -> Tensor:
    """The int64 keys [B] of items, on the device of `index_B` (int64 [B]).

    `step` is what changes from one visit of an item to the next (a step or an epoch) and `view` the
    number of the view within the item. Keys of one call differ wherever the indices differ.
    """
    word = torch.zeros((), dtype=torch.int64, device=index_B.device)
    for part in (seed, step, view):
        word = _mix_((word ^ _signed(part)) + _GOLDEN)
    return _mix_((index_B.to(torch.int64) ^ word) + _GOLDEN)


def _bits(keys_B: Tensor, stream: int | str, n: int) -> Tensor:
    """64 random bits [B, n], int64: SplitMix64 started at a hash of the key and the stream."""
    if keys_B.dtype != torch.int64 or keys_B.dim() != 1:
        raise ValueError(f"keys must be int64 [B], not {keys_B.dtype} {list(keys_B.shape)}")
    state_B = _mix_((keys_B ^ _stream_word(stream)) + _GOLDEN)
    counter_n = torch.arange(1, n + 1, device=keys_B.device) * _GOLDEN
    return _mix_(state_B[:, None] + counter_n)


def uniforms(keys_B: Tensor, stream: int | str, n: int) -> Tensor:
    """Uniform float64 [B, n] in [0, 1), a stateless hash of each key and the stream alone.

    The same bits on CPU and CUDA; the first columns do not depend on `n`.
    """
    bits_Bn = (_bits(keys_B, stream, n) >> 11).bitwise_and_((1 << 53) - 1)
    return bits_Bn.to(torch.float64) * 2.0**-53


def white_noise(keys_B: Tensor, stream: int | str, n: int) -> Tensor:
    """Uniform float32 [B, n] in [-1, 1], white; two values a hash, for signals."""
    words_Bn = _bits(keys_B, stream, (n + 1) // 2).view(torch.int32)
    return words_Bn[:, :n].to(torch.float32) * 2.0**-31


def _uniform_in(unit_B: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = limits
    return low + (high - low) * unit_B


def _log_uniform_in(unit_B: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = limits
    return low * (high / low) ** unit_B


# --- views of waveforms -----------------------------------------------------------------------


@functools.cache
def _fast_length(n: int) -> int:
    """The smallest even length >= n without a prime factor above 5, which FFTs are fast at."""
    length = n + n % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _power(waves_BN: Tensor) -> Tensor:
    return waves_BN.square().mean(dim=-1)


def _ratio_or_zero(above_B: Tensor, below_B: Tensor) -> Tensor:
    """above / below, and 0 where `below` is too small to divide by."""
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(below_B > tiny, above_B / below_B.clamp_min(tiny), 0.0)


def change_gain(waves_BN: Tensor, gain_db_B: Tensor) -> Tensor:
    """Waveforms louder by `gain_db_B` dB; not clipped."""
    return waves_BN * (10 ** (gain_db_B / 20)).to(waves_BN.dtype)[:, None]


def coloured_noise(keys_B: Tensor, exponent_B: Tensor, n: int) -> Tensor:
    """Noise [B, n] with a power spectrum ~ f^-exponent, flat below 20 Hz, of arbitrary level.

    Independent random Fourier coefficients make samples that are Gaussian by the central limit
    theorem.
    """
    bins = n // 2 + 1
    parts_BW2 = white_noise(keys_B, "noise samples", 2 * bins).view(-1, bins, 2)
    hertz_W = torch.arange(bins, device=keys_B.device, dtype=torch.float32) * (SAMPLE_RATE / n)
    octaves_W = (hertz_W.clamp_min(NOISE_FLOOR_HZ) / 1000).log()
    weight_BW = torch.exp(octaves_W * (-0.5 * exponent_B.float())[:, None])
    weight_BW[:, 0] = 0  # no offset
    return torch.fft.irfft(torch.view_as_complex(parts_BW2 * weight_BW[..., None]), n=n)


def add_noise(waves_BN: Tensor, noise_BN: Tensor, snr_db_B: Tensor) -> Tensor:
    """Waveforms with noise scaled so that the power ratio over the crop is `snr_db_B`.

    Silence stays silence, since no level of noise has an SNR to it; silent noise adds nothing.
    """
    ratio_B = _ratio_or_zero(_power(waves_BN), _power(noise_BN)) * 10 ** (-snr_db_B.float() / 10)
    return torch.addcmul(waves_BN, noise_BN, ratio_B.sqrt()[:, None])


def synthetic_rir(keys_B: Tensor, rt60_s_B: Tensor, drr_db_B: Tensor, length: int) -> Tensor:
    """Impulse responses [B, length]: a unit direct path at sample 0, then exponentially decaying
    noise (Polack's model) that loses 60 dB in `rt60_s_B` and holds the direct path's energy less
    `drr_db_B` dB.
    """
    if length < 2:
        return torch.ones(len(keys_B), length, device=keys_B.device)
    tail_BR = white_noise(keys_B, "reverb samples", length - 1)
    time_R = torch.arange(1, length, device=keys_B.device, dtype=torch.float32) / SAMPLE_RATE
    tail_BR *= torch.exp(time_R * (-3 * math.log(10) / rt60_s_B.float())[:, None])
    energy_B = 10 ** (-drr_db_B.float() / 10)
    tail_BR *= _ratio_or_zero(energy_B, tail_BR.square().sum(dim=-1)).sqrt()[:, None]
    return functional.pad(tail_BR, (1, 0), value=1.0)


def reverberate(waves_BN: Tensor, rir_BR: Tensor, direct: int) -> Tensor:
    """Waveforms convolved with impulse responses whose direct path is at sample `direct`.

    The output has the input's length, is aligned to the direct path and keeps the input's power.
    """
    n = waves_BN.shape[-1]
    rir_BR = rir_BR[:, : n + direct]  # what comes later falls behind the crop's end
    length = _fast_length(n + rir_BR.shape[-1] - 1)
    spectrum_BW = torch.fft.rfft(waves_BN, n=length).mul_(torch.fft.rfft(rir_BR, n=length))
    wet_BN = torch.fft.irfft(spectrum_BW, n=length)[:, direct : direct + n]
    return wet_BN * _ratio_or_zero(_power(waves_BN), _power(wet_BN)).sqrt()[:, None]


def align_rirs(rir_MR: Tensor) -> Tensor:
    """Impulse responses with their largest peak, the direct path, all at sample BEFORE_DIRECT.

    What precedes that start by more is the way through the air and is cut.

    Raises:
        BarlowSpeechError: the bank is not [M, R] with a finite, non-zero response in each row.
    """
    if rir_MR.dim() != 2 or rir_MR.numel() == 0:
        raise BarlowSpeechError(f"the RIR bank must be [M, R], not {list(rir_MR.shape)}.")
    rir_MR = rir_MR.float()
    peak_M, direct_M = rir_MR.abs().max(dim=-1)
    bad = ~(torch.isfinite(rir_MR).all(dim=-1) & (peak_M > 0))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise BarlowSpeechError(f"row {row} of the RIR bank is silent or not finite; remove it.")
    rows = rir_MR.shape[-1]
    padded_MR = functional.pad(rir_MR / peak_M[:, None], (BEFORE_DIRECT, rows))
    length = BEFORE_DIRECT + rows - int(direct_M.min())
    index_MR = direct_M[:, None] + torch.arange(length, device=rir_MR.device)
    return padded_MR.gather(1, index_MR)


def band_response(low_B: Tensor, high_B: Tensor, order: int, hertz_W: Tensor) -> Tensor:
    """The squared reciprocal of a Butterworth band's magnitude, [B, W] at `hertz_W` (above 0).

    A high-pass at `low_B` Hz (0: none) times a low-pass at `high_B` Hz (inf: none).
    """
    low_B1, high_B1 = low_B.float()[:, None], high_B.float()[:, None]
    above_BW = (low_B1 / hertz_W).pow(2 * order).add_(1)
    return above_BW.mul_((hertz_W / high_B1).pow(2 * order).add_(1))


def _curve_basis(position_W: Tensor, points: int) -> Tensor:
    """Weights [K, W] that ease smoothly from one of K points to the next; they sum to 1.

    `position_W` counts in points, from 0 to K - 1.
    """
    grid_K1 = torch.arange(points, device=position_W.device, dtype=torch.float32)[:, None]
    hat_KW = (1 - (position_W - grid_K1).abs()).clamp_min(0)
    return hat_KW * hat_KW * (3 - 2 * hat_KW)


def equaliser_response(gain_db_BK: Tensor, hertz_W: Tensor) -> Tensor:
    """Magnitudes [B, W] of a smooth curve through K gains evenly spaced in log frequency."""
    points = gain_db_BK.shape[-1]
    octaves_W = (hertz_W.clamp(EQUALISER_LOW_HZ, NYQUIST) / EQUALISER_LOW_HZ).log2()
    position_W = octaves_W * ((points - 1) / math.log2(NYQUIST / EQUALISER_LOW_HZ))
    curve_BW = gain_db_BK.float() @ _curve_basis(position_W.clamp_max(points - 1), points)
    return torch.exp(curve_BW * (math.log(10) / 20))


def filter_grid(n: int, device: torch.device | str = "cpu") -> Tensor:
    """The frequencies [W] in Hz at which `apply_response` wants a response for N samples.

    The first is 1e-3 Hz in place of 0, so that a cut-off may be divided by it.
    """
    length = _fast_length(n + FILTER_PAD)
    hertz_W = torch.arange(length // 2 + 1, device=device, dtype=torch.float32)
    return (hertz_W * (SAMPLE_RATE / length)).clamp_min(1e-3)


def apply_response(waves_BN: Tensor, response_BW: Tensor) -> Tensor:
    """Waveforms through zero-phase filters given by their magnitudes at `filter_grid`."""
    n = waves_BN.shape[-1]
    length = 2 * (response_BW.shape[-1] - 1)
    spectrum_BW = torch.fft.rfft(waves_BN, n=length).mul_(response_BW)
    return torch.fft.irfft(spectrum_BW, n=length)[:, :n]


def change_speed(waves_BN: Tensor, rate_B: Tensor, start_B: Tensor) -> Tensor:
    """Sample n of the result is the input at `start + n * rate` samples; the length is kept.

    No start may be negative. The crop is taken as one period: reading past its end goes on at its
    start, so that a faster view has neither a gap nor another length. Frequencies that a faster
    rate would fold back are removed first. In between the samples stand cubic B-splines on a twice
    finer grid, whose droop the spectrum makes up for; their images lie 67 dB below a tone at 4 kHz
    and 38 dB below one at 8 kHz.
    """
    n = waves_BN.shape[-1]
    fine = 2 * n
    spectrum_BW = torch.fft.rfft(waves_BN)
    bin_W = torch.arange(spectrum_BW.shape[-1], device=waves_BN.device, dtype=torch.float64)
    droop_W = torch.special.sinc(bin_W / fine) ** 4
    if n % 2 == 0:
        droop_W[-1] *= 2  # the Nyquist bin is two bins on the finer grid
    spectrum_BW.masked_fill_(bin_W > (n / 2 / rate_B.double())[:, None], 0)
    spectrum_BW *= (2 / droop_W).float()
    fine_BN = torch.fft.irfft(spectrum_BW, n=fine)
    fine_BN = torch.cat((fine_BN[:, -1:], fine_BN, fine_BN[:, :2]), dim=1)

    # In float64: float32 has no sub-sample positions far into a long crop.
    step_N = torch.arange(n, device=waves_BN.device, dtype=torch.float64) * 2
    position_BN = torch.addcmul(2 * start_B.double()[:, None], step_N, rate_B.double()[:, None])
    index_BN = position_BN.long()  # rounds down, since no position is negative
    t = position_BN.sub_(index_BN).float()
    index_BN.remainder_(fine)
    s = 1 - t
    t2 = t * t
    result_BN = fine_BN.gather(1, index_BN) * (s * s * s)
    result_BN.addcmul_(fine_BN.gather(1, index_BN.add_(1)), (3 * t - 6).mul_(t2).add_(4))
    result_BN.addcmul_(
        fine_BN.gather(1, index_BN.add_(1)), (1 - t).mul_(t2).add_(t).mul_(3).add_(1)
    )
    result_BN.addcmul_(fine_BN.gather(1, index_BN.add_(1)), t2.mul_(t))
    return result_BN.div_(6)


def mask_time(waves_BN: Tensor, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Waveforms with the samples from `start` to before `start + length` set to zero."""
    index_N = torch.arange(waves_BN.shape[-1], device=waves_BN.device)
    inside_BN = (index_N >= start_B[:, None]) & (index_N < (start_B + length_B)[:, None])
    return waves_BN.masked_fill(inside_BN, 0.0)


def recordings(bank_MK: Tensor, row_B: Tensor, start_B: Tensor, n: int) -> Tensor:
    """`n` samples of bank rows from `start` on, float32 [B, n]; the end goes on at the start."""
    width = bank_MK.shape[-1]
    index_BN = start_B[:, None] + torch.arange(n, device=bank_MK.device)
    index_BN.remainder_(width).add_(row_B[:, None] * width)
    return bank_MK.reshape(-1)[index_BN].float()


# --- views of log-mel frames ------------------------------------------------------------------


def mix_frames(
    frames_BFT: Tensor, past_BFT: Tensor, weight_B: Tensor, scale: float = 1.0
) -> Tensor:
    """log((1 - a) exp(s x) + a exp(s m)) / s, with a = `weight_B` in [0, 1) (BYOL-A)."""
    weight_B11 = weight_B.double()[:, None, None]
    odds_B11 = torch.log(weight_B11 / (1 - weight_B11)).float()
    kept_B11 = torch.log1p(-weight_B11).float()
    # As x + log(1 - a) + softplus: finite for any pair of levels, and faster than logaddexp.
    louder_BFT = functional.softplus((past_BFT - frames_BFT).mul_(scale).add_(odds_B11))
    return louder_BFT.add_(kept_B11).div_(scale).add_(frames_BFT)


def _resize_weights(start_B: Tensor, size_B: Tensor, canvas: float, n: int) -> Tensor:
    """Cubic interpolation of one axis as matrices [B, n, n] (output, input).

    Output i reads at start + i (size - 1) / (n - 1). Beyond the input lie zeros up to the canvas'
    end, beyond that the canvas' last value.
    """
    device = start_B.device
    step_n = torch.arange(n, device=device, dtype=torch.float64)
    stride_B1 = ((size_B.double() - 1) / max(n - 1, 1))[:, None]
    position_Bn = start_B.double()[:, None] + step_n * stride_B1
    whole_Bn = position_Bn.floor()
    t = (position_Bn - whole_Bn).float()
    a = -0.75  # the cubic of torch's and OpenCV's bicubic
    far = [((a * s - 5 * a) * s + 8 * a) * s - 4 * a for s in (t + 1, 2 - t)]
    near = [((a + 2) * s - (a + 3)) * s * s + 1 for s in (t, 1 - t)]
    margin = int((canvas - 1) / 2 * n)
    weights_Bnn = torch.zeros(len(start_B), n, n, device=device)
    for tap, value_Bn in zip((-1, 0, 1, 2), (far[0], *near, far[1])):
        index_Bn = (whole_Bn.long() + tap).clamp_(-margin, n - 1 + margin)
        value_Bn = value_Bn.masked_fill((index_Bn < 0) | (index_Bn >= n), 0.0)
        # One entry a row and tap: no two additions race on CUDA.
        weights_Bnn.scatter_add_(2, index_Bn.clamp_(0, n - 1)[..., None], value_Bn[..., None])
    return weights_Bnn


def resize_crop(
    frames_BFT: Tensor,
    freq_box: tuple[Tensor, Tensor],
    time_box: tuple[Tensor, Tensor],
    canvas: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Boxes of the frames resized to [F, T] by bicubic interpolation (BYOL-A's resized crop).

    A box is (start [B], size [B]) in bands or frames, not rounded. A start may be negative and a
    box may reach over the end: there the canvas (so many times the input in frequency and in time,
    with the input at its centre) holds zeros, the mean of normalised frames. Corners are aligned,
    as in BYOL-A's code. Boxes follow the axes, so two small matrix products do what a 16-tap grid
    would.
    """
    freq_BFF = _resize_weights(*freq_box, canvas[0], frames_BFT.shape[1])
    time_BTT = _resize_weights(*time_box, canvas[1], frames_BFT.shape[2])
    return freq_BFF @ (frames_BFT @ time_BTT.transpose(1, 2))


def fade(frames_BFT: Tensor, head_B: Tensor, tail_B: Tensor) -> Tensor:
    """Frames plus a line from `head` at the first frame to `tail` at the last (BYOL-A v2)."""
    ramp_T = torch.linspace(0, 1, frames_BFT.shape[-1], device=frames_BFT.device)
    head_B1, tail_B1 = head_B.float()[:, None], tail_B.float()[:, None]
    return frames_BFT + (head_B1 + (tail_B1 - head_B1) * ramp_T)[:, None, :]


def equalise_mels(frames_BFT: Tensor, offset_BK: Tensor) -> Tensor:
    """Frames plus a smooth curve over the mel bands through K evenly spaced offsets."""
    points = offset_BK.shape[-1]
    position_F = torch.linspace(0, points - 1, frames_BFT.shape[1], device=frames_BFT.device)
    return frames_BFT + (offset_BK.float() @ _curve_basis(position_F, points))[:, :, None]


class Memory:
    """The last `capacity` log-mel items, which mixup draws its backgrounds from.

    The caller pushes, so that `Views.spectrogram` stays a pure function: first make all views of a
    batch, then push its clean frames. Shape, dtype and device are those of the first push.
    """

    def __init__(self, capacity: int = 2048) -> None:
        if capacity < 1:
            raise BarlowSpeechError(f"the memory's capacity must be 1 or more, not {capacity}.")
        self.capacity = capacity
        self._items_MFT: Tensor | None = None
        self._pushed = 0  # since the start, so that the ring's next place is its remainder

    def __len__(self) -> int:
        """How many items it holds."""
        return min(self._pushed, self.capacity)

    @torch.no_grad()
    def push(self, frames_BFT: Tensor) -> None:
        """Take in a batch, in its order; the oldest items go. The frames are copied.

        Raises:
            BarlowSpeechError: the items are of another shape than those held.
        """
        if self._items_MFT is None:
            self._items_MFT = frames_BFT.new_zeros(self.capacity, *frames_BFT.shape[1:])
        self.check(frames_BFT)
        first = self._pushed + max(len(frames_BFT) - self.capacity, 0)
        self._pushed += len(frames_BFT)
        place_B = torch.arange(first, self._pushed, device=frames_BFT.device) % self.capacity
        if len(place_B):
            kept_BFT = frames_BFT[-len(place_B) :]
            self._items_MFT.index_copy_(0, place_B, kept_BFT.to(self._items_MFT.dtype))

    def pick(self, unit_B: Tensor) -> Tensor:
        """The items [B, F, T] at the fractions `unit_B`, in [0, 1), of what is held."""
        if self._items_MFT is None or not len(self):
            raise ValueError("the memory is empty")
        return self._items_MFT[(unit_B * len(self)).long()]

    def check(self, frames_BFT: Tensor) -> None:
        """Raise a BarlowSpeechError where the items held are of another shape than these."""
        if self._items_MFT is None:
            return
        held, given = list(self._items_MFT.shape[1:]), list(frames_BFT.shape[1:])
        if held != given:
            raise BarlowSpeechError(
                f"mixup's memory holds items of {held} bands and frames, not {given}; keep one "
                "crop length, or start with an empty memory."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to draw the same items; tensors are copies."""
        items = self._items_MFT
        return {
            "capacity": self.capacity,
            "pushed": self._pushed,
            "items": None if items is None else items[: len(self)].clone(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Go on where `state_dict` was taken, with the items on `device`.

        Raises:
            BarlowSpeechError: the state is of a memory of another capacity.
        """
        if state["capacity"] != self.capacity:
            raise BarlowSpeechError(
                f"the saved memory holds {state['capacity']} items and this one {self.capacity}; "
                "resume with the capacity it was saved with."
            )
        self._pushed = state["pushed"]
        items_MFT = state["items"]
        if items_MFT is None:
            self._items_MFT = None
            return
        held_MFT = torch.zeros(self.capacity, *items_MFT.shape[1:], dtype=items_MFT.dtype)
        held_MFT[: len(items_MFT)] = items_MFT
        self._items_MFT = held_MFT.to(device)


# --- all together -----------------------------------------------------------------------------


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


def _keys_for(signal: Tensor, keys_B: Tensor) -> Tensor:
    if keys_B.shape != signal.shape[:1]:
        raise ValueError(f"{len(signal)} items need as many keys, not {list(keys_B.shape)}")
    return keys_B.to(signal.device)


def _at_chosen(
    signal: Tensor, chosen_B: Tensor, view: Callable[..., Tensor], *parameters: Tensor
) -> Tensor:
    """`view(signal, *parameters)` at the chosen items, the others bit-identical.

    A CPU works on the chosen items only. Elsewhere all are computed, since asking a device how many
    are chosen would wait for it, and every new batch size would cost an FFT plan.
    """
    if signal.device.type != "cpu":
        mask = chosen_B.view(-1, *[1] * (signal.dim() - 1))
        return torch.where(mask, view(signal, *parameters), signal)
    index_b = chosen_B.nonzero()[:, 0]
    if len(index_b) == 0:
        return signal
    if len(index_b) == len(signal):
        return view(signal, *parameters)
    part = view(signal[index_b], *(parameter[index_b] for parameter in parameters))
    return signal.index_copy(0, index_b, part)


class Views(nn.Module):
    """The views of a `ViewSettings`, applied in their fixed order (see the top of this file).

    Args:
        settings: what is on, and the ranges.
        noise_bank: [M, K] recordings of noise at 16 kHz, float or integer (only their shape counts,
            the SNR sets the level); None makes coloured noise.
        rir_bank: [M, R] room impulse responses at 16 kHz; None makes synthetic rooms.

    The banks are buffers outside the state dict: they follow `.to(device)` and no checkpoint holds
    them.

    Raises:
        BarlowSpeechError: a setting lies outside its limits, or a bank is not usable.
    """

    noise_bank: Tensor | None
    rir_bank: Tensor | None

    def __init__(
        self,
        settings: ViewSettings,
        noise_bank: Tensor | None = None,
        rir_bank: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check_settings(settings)
        if noise_bank is not None and (noise_bank.dim() != 2 or noise_bank.numel() == 0):
            raise BarlowSpeechError(f"the noise bank must be [M, K], not {list(noise_bank.shape)}.")
        self.settings = settings
        self.register_buffer("noise_bank", noise_bank, persistent=False)
        self.register_buffer(
            "rir_bank", None if rir_bank is None else align_rirs(rir_bank), persistent=False
        )

    @torch.no_grad()
    def waveform(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        """The waveform views of crops [B, N] in [-1, 1] at 16 kHz, float32 on their device.

        The result is not clipped to [-1, 1]. The input is never changed, but is returned itself
        where nothing was drawn.
        """
        keys_B = _keys_for(waves_BN, keys_B)
        with torch.autocast(waves_BN.device.type, enabled=False):
            waves_BN = waves_BN.float()
            for view in (
                self._speed,
                self._reverb,
                self._noise,
                self._filters,
                self._gain,
                self._polarity,
                self._time_mask,
            ):
                waves_BN = view(waves_BN, keys_B)
        return waves_BN

    @torch.no_grad()
    def spectrogram(
        self, frames_BFT: Tensor, keys_B: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """The views of normalised log-mel frames [B, F, T], float32 on their device.

        `memory` is what mixup mixes with, and is left as it is; without one, or with an empty one,
        mixup does nothing. The input is never changed, but is returned itself where nothing was
        drawn.

        Raises:
            BarlowSpeechError: the memory holds items of another shape.
        """
        keys_B = _keys_for(frames_BFT, keys_B)
        with torch.autocast(frames_BFT.device.type, enabled=False):
            frames_BFT = self._mixup(frames_BFT.float(), keys_B, memory)
            for view in (self._resized_crop, self._fader, self._mel_equaliser):
                frames_BFT = view(frames_BFT, keys_B)
        return frames_BFT

    def _speed(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        speed = self.settings.speed
        if speed is None:
            return waves_BN
        chosen_B, rate_B, start_B = uniforms(keys_B, "speed", 3).unbind(1)
        rate_B = _uniform_in(rate_B, speed.rate)
        # A slower view reads only a part of the crop: which part is random.
        start_B = start_B * (1 - rate_B).clamp_min(0) * waves_BN.shape[-1]
        return _at_chosen(waves_BN, chosen_B < speed.p, change_speed, rate_B, start_B)

    def _reverb(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        reverb, bank = self.settings.reverb, self.rir_bank
        if reverb is None:
            return waves_BN
        chosen_B, room_B, drr_B = uniforms(keys_B, "reverb", 3).unbind(1)
        chosen_B = chosen_B < reverb.p
        if bank is not None:
            row_B = (room_B * len(bank)).long()
            return _at_chosen(
                waves_BN,
                chosen_B,
                lambda waves_bN, row_b: reverberate(waves_bN, bank[row_b], BEFORE_DIRECT),
                row_B,
            )
        length = min(math.ceil(reverb.rt60_s[1] * SAMPLE_RATE), waves_BN.shape[-1])
        return _at_chosen(
            waves_BN,
            chosen_B,
            lambda waves_bN, keys_b, rt60_b, drr_b: reverberate(
                waves_bN, synthetic_rir(keys_b, rt60_b, drr_b, length), direct=0
            ),
            keys_B,
            _uniform_in(room_B, reverb.rt60_s),
            _uniform_in(drr_B, reverb.drr_db),
        )

    def _noise(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        noise, bank, n = self.settings.noise, self.noise_bank, waves_BN.shape[-1]
        if noise is None:
            return waves_BN
        chosen_B, snr_B, kind_B, start_B = uniforms(keys_B, "noise", 4).unbind(1)
        chosen_B, snr_B = chosen_B < noise.p, _uniform_in(snr_B, noise.snr_db)
        if bank is not None:
            rows, width = bank.shape
            # A recording longer than the crop is not read over its end; a shorter one is repeated.
            starts = width - n + 1 if width > n else width
            return _at_chosen(
                waves_BN,
                chosen_B,
                lambda waves_bN, snr_b, row_b, start_b: add_noise(
                    waves_bN, recordings(bank, row_b, start_b, n), snr_b
                ),
                snr_B,
                (kind_B * rows).long(),
                (start_B * starts).long(),
            )
        return _at_chosen(
            waves_BN,
            chosen_B,
            lambda waves_bN, snr_b, keys_b, exponent_b: add_noise(
                waves_bN, coloured_noise(keys_b, exponent_b, n), snr_b
            ),
            snr_B,
            keys_B,
            _uniform_in(kind_B, noise.exponent),
        )

    def _filters(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        """The four filters as one response and one FFT; a filter not drawn is a response of 1."""
        settings = self.settings
        low, high, band = settings.lowpass, settings.highpass, settings.bandpass
        equaliser = settings.equaliser
        drawn: list[Tensor] = []
        parameters: list[Tensor] = []
        orders: list[int] = []
        nothing_B = torch.zeros(len(keys_B), dtype=torch.float64, device=keys_B.device)

        def add(name: str, p: float, order: int, below: Any, above: Any) -> None:
            chosen_B, below_B, above_B = uniforms(keys_B, name, 3).unbind(1)
            drawn.append(chosen_B < p)
            low_B = nothing_B if below is None else _log_uniform_in(below_B, below)
            high_B = nothing_B + math.inf if above is None else _log_uniform_in(above_B, above)
            parameters.append(torch.where(drawn[-1], low_B, 0.0))
            parameters.append(torch.where(drawn[-1], high_B, math.inf))
            orders.append(order)

        if low is not None:
            add("lowpass", low.p, low.order, None, low.cutoff_hz)
        if high is not None:
            add("highpass", high.p, high.order, high.cutoff_hz, None)
        if band is not None:
            add("bandpass", band.p, band.order, band.low_hz, band.high_hz)
        if equaliser is not None:
            unit_BK = uniforms(keys_B, "equaliser", 1 + equaliser.points)
            drawn.append(unit_BK[:, 0] < equaliser.p)
            gain_BK = _uniform_in(unit_BK[:, 1:], equaliser.db)
            parameters.append(torch.where(drawn[-1][:, None], gain_BK, 0.0))
        if not drawn:
            return waves_BN

        def filtered(waves_bN: Tensor, *parameters: Tensor) -> Tensor:
            hertz_W = filter_grid(waves_bN.shape[-1], waves_bN.device)
            response_bW = torch.ones(len(waves_bN), len(hertz_W), device=waves_bN.device)
            for place, order in enumerate(orders):
                low_b, high_b = parameters[2 * place : 2 * place + 2]
                response_bW *= band_response(low_b, high_b, order, hertz_W)
            response_bW = response_bW.rsqrt_()
            if equaliser is not None:
                response_bW *= equaliser_response(parameters[-1], hertz_W)
            return apply_response(waves_bN, response_bW)

        return _at_chosen(waves_BN, torch.stack(drawn).any(dim=0), filtered, *parameters)

    def _gain(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        gain = self.settings.gain
        if gain is None:
            return waves_BN
        chosen_B, gain_B = uniforms(keys_B, "gain", 2).unbind(1)
        return _at_chosen(waves_BN, chosen_B < gain.p, change_gain, _uniform_in(gain_B, gain.db))

    def _polarity(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        polarity = self.settings.polarity
        if polarity is None:
            return waves_BN
        return _at_chosen(waves_BN, uniforms(keys_B, "polarity", 1)[:, 0] < polarity.p, torch.neg)

    def _time_mask(self, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        mask, n = self.settings.time_mask, waves_BN.shape[-1]
        if mask is None:
            return waves_BN
        chosen_B, length_B, start_B = uniforms(keys_B, "time_mask", 3).unbind(1)
        length_B = (_uniform_in(length_B, mask.length_s) * SAMPLE_RATE).round().long().clamp_max(n)
        start_B = (start_B * (n - length_B + 1)).long()
        return _at_chosen(waves_BN, chosen_B < mask.p, mask_time, start_B, length_B)

    def _mixup(self, frames_BFT: Tensor, keys_B: Tensor, memory: Memory | None) -> Tensor:
        mixup = self.settings.mixup
        if mixup is None or memory is None or not len(memory):
            return frames_BFT
        memory.check(frames_BFT)
        chosen_B, weight_B, past_B = uniforms(keys_B, "mixup", 3).unbind(1)
        return _at_chosen(
            frames_BFT,
            chosen_B < mixup.p,
            lambda frames_bFT, weight_b, past_b: mix_frames(
                frames_bFT, memory.pick(past_b).to(frames_bFT), weight_b, mixup.scale
            ),
            mixup.ratio * weight_B,
            past_B,
        )

    def _resized_crop(self, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        crop = self.settings.resized_crop
        if crop is None:
            return frames_BFT
        unit_B5 = uniforms(keys_B, "resized_crop", 5)
        box: list[Tensor] = []
        for axis, scale, canvas in (
            (1, crop.freq_scale, crop.freq_canvas),
            (2, crop.time_scale, crop.time_canvas),
        ):
            n = frames_BFT.shape[axis]
            size_B = (_uniform_in(unit_B5[:, 2 * axis - 1], scale).clamp_max(canvas) * n).clamp_min(
                1
            )
            box.append(unit_B5[:, 2 * axis] * (canvas * n - size_B) - (canvas - 1) / 2 * n)
            box.append(size_B)
        return _at_chosen(
            frames_BFT,
            unit_B5[:, 0] < crop.p,
            lambda frames_bFT, f_start_b, f_size_b, t_start_b, t_size_b: resize_crop(
                frames_bFT,
                (f_start_b, f_size_b),
                (t_start_b, t_size_b),
                (crop.freq_canvas, crop.time_canvas),
            ),
            *box,
        )

    def _fader(self, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        fader = self.settings.fader
        if fader is None:
            return frames_BFT
        chosen_B, head_B, tail_B = uniforms(keys_B, "fader", 3).unbind(1)
        ends = (-fader.gain, fader.gain)
        return _at_chosen(
            frames_BFT,
            chosen_B < fader.p,
            fade,
            _uniform_in(head_B, ends),
            _uniform_in(tail_B, ends),
        )

    def _mel_equaliser(self, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        equaliser = self.settings.mel_equaliser
        if equaliser is None:
            return frames_BFT
        unit_BK = uniforms(keys_B, "mel_equaliser", 1 + equaliser.points)
        offset_BK = _uniform_in(unit_BK[:, 1:], (-equaliser.gain, equaliser.gain))
        return _at_chosen(frames_BFT, unit_BK[:, 0] < equaliser.p, equalise_mels, offset_BK)
