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

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.pretraining.views.memory import MixupBank
from barlow_speech.upstream.pretraining.views.random import log_uniform_in, uniform_in, uniforms
from barlow_speech.upstream.pretraining.views.settings import (
    Fader,
    Gain,
    MelEqualiser,
    Noise,
    Polarity,
    ResizedCrop,
    Reverb,
    Speed,
    TimeMask,
    ViewSettings,
)
from barlow_speech.upstream.pretraining.views.spectrogram import (
    equalise_mels,
    fade,
    mix_frames,
    resize_crop,
)
from barlow_speech.upstream.pretraining.views.waveform import (
    BEFORE_DIRECT,
    add_noise,
    align_rirs,
    apply_response,
    band_response,
    change_gain,
    change_speed,
    coloured_noise,
    equaliser_response,
    filter_grid,
    mask_time,
    recordings,
    reverberate,
    synthetic_rir,
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
        BarlowSpeechError: a bank is not usable.
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
            waves_BN = self._each(("speed", "reverb", "noise"), waves_BN.float(), keys_B)
            waves_BN = self._filters(waves_BN, keys_B)
            return self._each(("gain", "polarity", "time_mask"), waves_BN, keys_B)

    @torch.no_grad()
    def spectrogram(
        self, frames_BFT: Tensor, keys_B: Tensor, memory: MixupBank | None = None
    ) -> Tensor:
        """The views of normalised log-mel frames [B, F, T], float32 on their device.

        `memory` is what mixup mixes with, and is left as it is; without one, or with an empty one,
        mixup does nothing. The input is never changed, but is returned itself where nothing was
        drawn.

        Raises:
            BarlowSpeechError: the memory holds items of other bands or of fewer frames.
        """
        keys_B = _keys_for(frames_BFT, keys_B)
        with torch.autocast(frames_BFT.device.type, enabled=False):
            frames_BFT = self._mixup(frames_BFT.float(), keys_B, memory)
            return self._each(("resized_crop", "fader", "mel_equaliser"), frames_BFT, keys_B)

    def _each(self, names: Sequence[str], signal: Tensor, keys_B: Tensor) -> Tensor:
        """The signal after the views of these settings that are on; `speed` is `_speed`."""
        for name in names:
            settings = getattr(self.settings, name)
            if settings is not None:
                signal = getattr(self, f"_{name}")(settings, signal, keys_B)
        return signal

    def _speed(self, speed: Speed, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        chosen_B, rate_B, start_B = uniforms(keys_B, "speed", 3).unbind(1)
        rate_B = uniform_in(rate_B, speed.rate)
        # A slower view reads only a part of the crop: which part is random.
        start_B = start_B * (1 - rate_B).clamp_min(0) * waves_BN.shape[-1]
        return _at_chosen(waves_BN, chosen_B < speed.p, change_speed, rate_B, start_B)

    def _reverb(self, reverb: Reverb, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        bank = self.rir_bank
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
            uniform_in(room_B, reverb.rt60_s),
            uniform_in(drr_B, reverb.drr_db),
        )

    def _noise(self, noise: Noise, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        bank, n = self.noise_bank, waves_BN.shape[-1]
        chosen_B, snr_B, kind_B, start_B = uniforms(keys_B, "noise", 4).unbind(1)
        chosen_B, snr_B = chosen_B < noise.p, uniform_in(snr_B, noise.snr_db)
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
            uniform_in(kind_B, noise.exponent),
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
            low_B = nothing_B if below is None else log_uniform_in(below_B, below)
            high_B = nothing_B + math.inf if above is None else log_uniform_in(above_B, above)
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
            gain_BK = uniform_in(unit_BK[:, 1:], equaliser.db)
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

    def _gain(self, gain: Gain, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        chosen_B, gain_B = uniforms(keys_B, "gain", 2).unbind(1)
        return _at_chosen(waves_BN, chosen_B < gain.p, change_gain, uniform_in(gain_B, gain.db))

    def _polarity(self, polarity: Polarity, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        return _at_chosen(waves_BN, uniforms(keys_B, "polarity", 1)[:, 0] < polarity.p, torch.neg)

    def _time_mask(self, mask: TimeMask, waves_BN: Tensor, keys_B: Tensor) -> Tensor:
        n = waves_BN.shape[-1]
        chosen_B, length_B, start_B = uniforms(keys_B, "time_mask", 3).unbind(1)
        length_B = (uniform_in(length_B, mask.length_s) * SAMPLE_RATE).round().long().clamp_max(n)
        start_B = (start_B * (n - length_B + 1)).long()
        return _at_chosen(waves_BN, chosen_B < mask.p, mask_time, start_B, length_B)

    def _mixup(self, frames_BFT: Tensor, keys_B: Tensor, memory: MixupBank | None) -> Tensor:
        mixup = self.settings.mixup
        if mixup is None or memory is None or not len(memory):
            return frames_BFT
        memory.check(frames_BFT, shorter=True)
        frames = frames_BFT.shape[-1]
        chosen_B, weight_B, past_B = uniforms(keys_B, "mixup", 3).unbind(1)
        return _at_chosen(
            frames_BFT,
            chosen_B < mixup.p,
            lambda frames_bFT, weight_b, past_b: mix_frames(
                frames_bFT, memory.pick(past_b, frames).to(frames_bFT), weight_b, mixup.scale
            ),
            mixup.ratio * weight_B,
            past_B,
        )

    def _resized_crop(self, crop: ResizedCrop, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        unit_B5 = uniforms(keys_B, "resized_crop", 5)
        box: list[Tensor] = []
        for axis, scale, canvas in (
            (1, crop.freq_scale, crop.freq_canvas),
            (2, crop.time_scale, crop.time_canvas),
        ):
            n = frames_BFT.shape[axis]
            size_B = (uniform_in(unit_B5[:, 2 * axis - 1], scale).clamp_max(canvas) * n).clamp_min(
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

    def _fader(self, fader: Fader, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        chosen_B, head_B, tail_B = uniforms(keys_B, "fader", 3).unbind(1)
        ends = (-fader.gain, fader.gain)
        return _at_chosen(
            frames_BFT,
            chosen_B < fader.p,
            fade,
            uniform_in(head_B, ends),
            uniform_in(tail_B, ends),
        )

    def _mel_equaliser(self, equaliser: MelEqualiser, frames_BFT: Tensor, keys_B: Tensor) -> Tensor:
        unit_BK = uniforms(keys_B, "mel_equaliser", 1 + equaliser.points)
        offset_BK = uniform_in(unit_BK[:, 1:], (-equaliser.gain, equaliser.gain))
        return _at_chosen(frames_BFT, unit_BK[:, 0] < equaliser.p, equalise_mels, offset_BK)
