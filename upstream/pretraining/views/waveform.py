"""Views of waveforms [B, N]: gain, noise, rooms, filters, speed, masks."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.pretraining.views.random import white_noise

NYQUIST = SAMPLE_RATE / 2  # Hz

FILTER_PAD = 1024  # samples of zeros, 64 ms, that keep a filter's ringing from wrapping around

BEFORE_DIRECT = 40  # samples, 2.5 ms, of an impulse response kept before its direct path

NOISE_FLOOR_HZ = 20.0  # coloured noise is flat below it

EQUALISER_LOW_HZ = 60.0  # the equaliser's first point; the last is at the Nyquist frequency


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


def curve_basis(position_W: Tensor, points: int) -> Tensor:
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
    curve_BW = gain_db_BK.float() @ curve_basis(position_W.clamp_max(points - 1), points)
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
