"""Views: stateless draws, and each transform against its definition or another implementation."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from torch import Tensor

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.pretraining.views import pipeline as module
from barlow_speech.upstream.pretraining.views import waveform
from barlow_speech.upstream.pretraining.views.memory import MixupBank
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.random import item_keys, uniforms, white_noise
from barlow_speech.upstream.pretraining.views.settings import ViewSettings

N, F, T = 4000, 16, 30  # samples, mel bands, frames
WAVE_VIEWS = [
    "speed",
    "reverb",
    "noise",
    "lowpass",
    "highpass",
    "bandpass",
    "equaliser",
    "gain",
    "polarity",
    "time_mask",
]
MEL_VIEWS = ["mixup", "resized_crop", "fader", "mel_equaliser"]
BIT_IDENTICAL = {"gain", "polarity", "time_mask", "fader"}  # under any split of a batch


def keys(count: int, seed: int = 7) -> Tensor:
    return item_keys(seed, 0, torch.arange(count), 0)


def some_waves(count: int, n: int = N) -> Tensor:
    return white_noise(keys(count, seed=100), "a test's waves", n) * 0.5


def some_frames(count: int, seed: int = 101) -> Tensor:
    return white_noise(keys(count, seed), "a test's frames", F * T).view(count, F, T) * 2


def settings(**trees: Any) -> ViewSettings:
    return build(ViewSettings, trees, "test")


def apply(views: Views, name: str, count: int | slice, memory: MixupBank | None = None) -> Tensor:
    """The view `name` of the test's first items, or of some of the first twelve."""
    part = slice(count) if isinstance(count, int) else count
    most = count if isinstance(count, int) else 12
    if name in WAVE_VIEWS:
        return views.waveform(some_waves(most)[part], keys(most)[part])
    return views.spectrogram(some_frames(most)[part], keys(most)[part], memory)


def full_memory() -> MixupBank:
    memory = MixupBank(8)
    memory.push(some_frames(6, seed=102))
    return memory


def inputs_of(name: str, count: int) -> Tensor:
    return some_waves(count) if name in WAVE_VIEWS else some_frames(count)


# --- the source of randomness -----------------------------------------------------------------


def test_uniforms_are_uniform_and_streams_uncorrelated() -> None:
    one = uniforms(keys(20_000), "gain", 2)
    other = uniforms(keys(20_000), "noise", 2)
    next_view = uniforms(item_keys(7, 0, torch.arange(20_000), 1), "gain", 2)
    assert one.dtype == torch.float64
    assert one.min() >= 0 and one.max() < 1
    for column in (one[:, 0], one[:, 1], other[:, 0], next_view[:, 0]):
        assert scipy.stats.kstest(column.numpy(), "uniform").pvalue > 0.001
    for column in (one[:, 1], other[:, 0], next_view[:, 0], one[:, 0].roll(1)):
        correlation = np.corrcoef(one[:, 0].numpy(), column.numpy())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(20_000)


def test_uniforms_depend_on_the_key_and_the_stream_alone() -> None:
    whole = uniforms(keys(9), "gain", 5)
    assert torch.equal(uniforms(keys(9)[4:6], "gain", 5), whole[4:6])
    assert torch.equal(uniforms(keys(9), "gain", 3), whole[:, :3])
    assert not torch.equal(uniforms(keys(9), 3, 5), uniforms(keys(9), "3", 5))


def test_the_hash_is_splitmix64() -> None:
    """Against the published algorithm in Python's own integers: no sign bit leaks into a shift."""

    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    golden = 0x9E3779B97F4A7C15
    word = 0
    for part in (-5, 2**40, 1):  # seed, step, view
        word = mix(((word ^ (part % 2**64)) + golden) % 2**64)
    expected = [mix(((index ^ word) + golden) % 2**64) for index in range(50)]
    got = item_keys(-5, 2**40, torch.arange(50), 1)
    assert [int(key) % 2**64 for key in got] == expected
    assert min(expected) < 2**63 < max(expected)


def test_item_keys_differ_in_each_part() -> None:
    index_B = torch.arange(1000)
    sets = [item_keys(*parts[:2], index_B, parts[2]) for parts in ((0, 0, 0), (1, 0, 0), (0, 1, 0))]
    sets += [item_keys(0, 0, index_B, 1), item_keys(1, 1, index_B, 1)]
    assert len(torch.cat(sets).unique()) == 5000


def test_white_noise_is_white_and_uniform() -> None:
    noise = white_noise(keys(2), "x", 20_001)
    assert noise.shape == (2, 20_001)
    assert scipy.stats.kstest(noise[0].numpy(), "uniform", args=(-1, 2)).pvalue > 0.001
    lagged = np.corrcoef(noise[0, 1:].numpy(), noise[0, :-1].numpy())[0, 1]
    assert abs(lagged) < 4 / math.sqrt(20_000)
    assert torch.equal(white_noise(keys(2), "x", 11), noise[:, :11])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares CPU with CUDA; no GPU here")
def test_cuda_draws_the_same_bits_and_makes_the_same_views() -> None:
    assert torch.equal(uniforms(keys(9).cuda(), "gain", 5).cpu(), uniforms(keys(9), "gain", 5))
    everything = settings(**{name: {"p": 0.5} for name in WAVE_VIEWS + MEL_VIEWS})
    waves = Views(everything).cuda().waveform(some_waves(12).cuda(), keys(12))
    torch.testing.assert_close(waves.cpu(), Views(everything).waveform(some_waves(12), keys(12)))
    memory = MixupBank(8)
    memory.push(some_frames(6, seed=102).cuda())
    frames = Views(everything).cuda().spectrogram(some_frames(12).cuda(), keys(12), memory)
    expected = Views(everything).spectrogram(some_frames(12), keys(12), full_memory())
    torch.testing.assert_close(frames.cpu(), expected, atol=1e-5, rtol=1e-5)


# --- what holds for every view ----------------------------------------------------------------


@pytest.mark.parametrize("name", WAVE_VIEWS + MEL_VIEWS)
def test_a_view_is_the_same_on_any_batch_split(name: str) -> None:
    views, memory = Views(settings(**{name: {"p": 0.7}})), full_memory()
    whole = apply(views, name, 12, memory)
    cuts = ((0, 1), (1, 4), (4, 12))
    parts = torch.cat([apply(views, name, slice(*cut), memory) for cut in cuts])
    if name in BIT_IDENTICAL:
        assert torch.equal(whole, parts)
    else:
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", WAVE_VIEWS + MEL_VIEWS)
def test_an_item_is_independent_of_its_neighbours_and_left_alone_where_not_drawn(name: str) -> None:
    views, memory = Views(settings(**{name: {"p": 0.5}})), full_memory()
    drawn = uniforms(keys(12), name, 1)[:, 0] < 0.5
    assert 0 < drawn.sum() < 12
    before = inputs_of(name, 12)
    after = apply(views, name, 12, memory)
    changed = (after != before).flatten(1).any(dim=1)
    assert torch.equal(changed, drawn)

    other = before.clone()
    other[::2] *= 0.1
    run = views.waveform if name in WAVE_VIEWS else views.spectrogram
    rest = (memory,) if name in MEL_VIEWS else ()
    assert torch.equal(run(other, keys(12), *rest)[1::2], after[1::2])


@pytest.mark.parametrize("name", WAVE_VIEWS + MEL_VIEWS)
def test_probability_zero_and_one(name: str) -> None:
    before = inputs_of(name, 12)
    never = apply(Views(settings(**{name: {"p": 0.0}})), name, 12, full_memory())
    always = apply(Views(settings(**{name: {"p": 1.0}})), name, 12, full_memory())
    assert torch.equal(never, before)
    assert (always != before).flatten(1).any(dim=1).all()
    assert always.shape == before.shape and always.dtype == torch.float32


def test_one_view_more_leaves_the_draws_of_the_others() -> None:
    both = Views(settings(gain={}, polarity={})).waveform(some_waves(12), keys(12))
    gained = Views(settings(gain={})).waveform(some_waves(12), keys(12))
    turned = Views(settings(polarity={})).waveform(gained, keys(12))
    assert torch.equal(both, turned)


@pytest.mark.parametrize("level", [0.0, 1e-30])
def test_silence_stays_finite(level: float) -> None:
    all_views = settings(**{name: {"p": 1.0} for name in WAVE_VIEWS + MEL_VIEWS})
    rirs = torch.zeros(1, 50)
    rirs[0, 3] = 1
    for banks in ((None, None), (torch.zeros(2, 100), rirs)):
        views = Views(all_views, *banks)
        assert torch.isfinite(views.waveform(torch.full((5, N), level), keys(5))).all()
    memory = MixupBank(4)
    memory.push(torch.full((4, F, T), 300.0))
    frames = views.spectrogram(torch.full((5, F, T), -300.0), keys(5), memory)
    assert torch.isfinite(frames).all()


def test_global_random_state_and_inputs_are_untouched() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    all_views = Views(settings(**{name: {"p": 1.0} for name in WAVE_VIEWS + MEL_VIEWS}))
    waves, frames, memory = some_waves(4), some_frames(4), full_memory()
    all_views.waveform(waves, keys(4))
    all_views.spectrogram(frames, keys(4), memory)
    assert torch.equal(waves, some_waves(4)) and torch.equal(frames, some_frames(4))
    assert torch.equal(memory.state_dict()["items"], full_memory().state_dict()["items"])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_autocast_does_not_reach_inside() -> None:
    views = Views(settings(resized_crop={}, mel_equaliser={}))
    plain = views.spectrogram(some_frames(4), keys(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views.spectrogram(some_frames(4), keys(4)), plain)


def test_settings_are_checked() -> None:
    with pytest.raises(BarlowSpeechError, match="did you mean 'snr_db'"):
        settings(noise={"snr": [0, 10]})
    with pytest.raises(BarlowSpeechError, match="did you mean 'reverb'"):
        settings(reverbs={})
    for wrong in ({"db": [3, -3]}, {"p": 1.5}, {"db": [float("nan"), 0]}):
        with pytest.raises(BarlowSpeechError, match=r"gain[.:]"):
            Views(settings(gain=wrong))
    with pytest.raises(BarlowSpeechError, match="row 1 of the RIR bank is silent"):
        Views(settings(reverb={}), rir_bank=torch.eye(3)[:2] * torch.tensor([[1.0], [0.0]]))
    with pytest.raises(BarlowSpeechError, match="noise bank"):
        Views(settings(noise={}), noise_bank=torch.zeros(5))
    with pytest.raises(ValueError, match="as many keys"):
        Views(settings()).waveform(some_waves(3), keys(2))


def test_every_setting_is_a_view_of_these_tests() -> None:
    assert [one.name for one in dataclasses.fields(ViewSettings)] == WAVE_VIEWS + MEL_VIEWS


def test_banks_stay_out_of_checkpoints() -> None:
    views = Views(settings(), noise_bank=torch.ones(2, 5), rir_bank=torch.ones(2, 5))
    assert not views.state_dict()


# --- waveforms --------------------------------------------------------------------------------


def test_gain_is_exact_in_db() -> None:
    views = Views(settings(gain={"p": 1.0, "db": [-12, 3]}))
    out = views.waveform(some_waves(12), keys(12))
    drawn_db = -12 + 15 * uniforms(keys(12), "gain", 2)[:, 1]
    got_db = 20 * torch.log10(out.double().norm(dim=1) / some_waves(12).double().norm(dim=1))
    torch.testing.assert_close(got_db, drawn_db, atol=1e-5, rtol=0)


@pytest.mark.parametrize("banked", [False, True])
def test_measured_snr_is_the_drawn_one(banked: bool) -> None:
    bank = (white_noise(keys(3), "a bank", 9000) * 20_000).to(torch.int16) if banked else None
    waves = some_waves(12)
    views = Views(settings(noise={"p": 1.0, "snr_db": [-5, 40]}), noise_bank=bank)
    noise = (views.waveform(waves, keys(12)) - waves).double()
    got_db = 10 * torch.log10(waves.double().square().mean(1) / noise.square().mean(1))
    drawn_db = -5 + 45 * uniforms(keys(12), "noise", 4)[:, 1]
    torch.testing.assert_close(got_db, drawn_db, atol=0.01, rtol=0)


def test_a_long_recording_is_read_from_a_drawn_place_and_never_over_its_end() -> None:
    ramp = torch.arange(1.0, 1.0 + 3 * N)[None]
    waves = some_waves(12)
    views = Views(settings(noise={"p": 1.0, "snr_db": [0, 0]}), noise_bank=ramp)
    noise = (views.waveform(waves, keys(12)) - waves).double()
    step = (noise[:, -1] - noise[:, 0]) / (N - 1)  # the scale, as the ramp has a slope of 1
    assert (step > 0).all()
    start = (noise[:, 0] / step - 1).round().long()
    drawn = (uniforms(keys(12), "noise", 4)[:, 3] * (2 * N + 1)).long()
    assert (start - drawn).abs().max() <= 2 and drawn.max() > N


def test_noise_comes_from_the_bank_and_short_recordings_repeat() -> None:
    bank = torch.arange(1.0, 8.0)[None].repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    got = module.recordings(bank, torch.tensor([0, 1]), torch.tensor([5, 0]), 9)
    assert got.tolist() == [[6, 7, 1, 2, 3, 4, 5, 6, 7], [-1, -2, -3, -4, -5, -6, -7, -1, -2]]


def test_coloured_noise_has_the_asked_slope() -> None:
    exponent_B = torch.tensor([0.0, 1.0, 2.0]).repeat_interleave(40)
    noise = module.coloured_noise(keys(120), exponent_B, 16_000)
    power = torch.fft.rfft(noise.double()).abs().square().view(3, 40, -1).mean(1)
    hertz = torch.fft.rfftfreq(16_000, 1 / SAMPLE_RATE, dtype=torch.float64)
    band = (hertz > 100) & (hertz < 7000)
    for row, exponent in zip(power, (0, 1, 2)):
        slope = np.polyfit(hertz[band].log().numpy(), row[band].log().numpy(), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.05)
    assert abs(scipy.stats.kurtosis(noise[0].numpy())) < 0.1  # Gaussian


@pytest.mark.parametrize("n", [4000, 3999])
def test_filters_have_butterworths_magnitude(n: int) -> None:
    """An impulse through each filter against scipy's analogue prototype, at some frequencies."""
    waves = torch.zeros(1, n)
    waves[0, n // 2] = 1
    cases = {
        "lowpass": ({"cutoff_hz": [2000, 2000], "order": 4}, "low", 2000),
        "highpass": ({"cutoff_hz": [300, 300], "order": 2}, "high", 300),
    }
    hertz = np.array([40.0, 150, 300, 500, 1000, 1900, 2100, 3000, 6000])
    phase = np.exp(-2j * np.pi * np.outer(hertz, np.arange(n)) / SAMPLE_RATE)
    expected = {}
    for name, (tree, kind, cutoff) in cases.items():
        out = Views(settings(**{name: {"p": 1.0, **tree}})).waveform(waves, keys(1))
        order = tree["order"]
        b, a = scipy.signal.butter(order, 2 * np.pi * cutoff, kind, analog=True)
        expected[name] = np.abs(scipy.signal.freqs(b, a, 2 * np.pi * hertz)[1])
        np.testing.assert_allclose(np.abs(phase @ out[0].numpy()), expected[name], atol=2e-3)
    # A band-pass is both in a row, and two views at once are one pass through both.
    band = {"low_hz": [300, 300], "high_hz": [2000, 2000], "order": 2, "p": 1.0}
    out = Views(settings(bandpass=band)).waveform(waves, keys(1))
    b, a = scipy.signal.butter(2, 2 * np.pi * 2000, "low", analog=True)
    low = np.abs(scipy.signal.freqs(b, a, 2 * np.pi * hertz)[1])
    got = np.abs(phase @ out[0].numpy())
    np.testing.assert_allclose(got, expected["highpass"] * low, atol=2e-3)
    pair = settings(**{name: {"p": 1.0, **tree} for name, (tree, _, _) in cases.items()})
    got = np.abs(phase @ Views(pair).waveform(waves, keys(1))[0].numpy())
    np.testing.assert_allclose(got, expected["lowpass"] * expected["highpass"], atol=2e-3)


def test_a_filter_that_was_not_drawn_does_nothing_in_the_joint_pass() -> None:
    alone = Views(settings(lowpass={"p": 1.0})).waveform(some_waves(6), keys(6))
    off = {"p": 0.0}
    joint = settings(lowpass={"p": 1.0}, highpass=off, bandpass=off, equaliser=off)
    torch.testing.assert_close(
        Views(joint).waveform(some_waves(6), keys(6)), alone, atol=1e-6, rtol=0
    )


def test_the_equaliser_passes_through_its_points() -> None:
    gain_db = torch.tensor([[-6.0, 3.0, 5.0]])
    middle = math.sqrt(waveform.EQUALISER_LOW_HZ * waveform.NYQUIST)
    hertz = torch.tensor([10.0, waveform.EQUALISER_LOW_HZ, middle, waveform.NYQUIST])
    got_db = 20 * torch.log10(module.equaliser_response(gain_db, hertz))
    torch.testing.assert_close(got_db, torch.tensor([[-6.0, -6.0, 3.0, 5.0]]), atol=1e-4, rtol=0)
    flat = Views(settings(equaliser={"p": 1.0, "db": [6, 6]})).waveform(some_waves(3), keys(3))
    torch.testing.assert_close(flat, some_waves(3) * 10 ** (6 / 20), atol=1e-5, rtol=0)


def test_reverberation_is_convolution_aligned_to_the_direct_path() -> None:
    rir = np.zeros(1500, dtype=np.float32)
    rir[100:] = white_noise(keys(1), "a room", 1400)[0].numpy() * np.exp(-np.arange(1400) / 300)
    rir[100] = 4.0
    wave = some_waves(1)
    views = Views(settings(reverb={"p": 1.0}), rir_bank=torch.from_numpy(rir)[None])
    wet = scipy.signal.fftconvolve(wave[0].numpy(), rir)[100 : 100 + N]
    wet *= np.sqrt(np.mean(wave[0].numpy() ** 2) / np.mean(wet**2))
    np.testing.assert_allclose(views.waveform(wave, keys(1))[0].numpy(), wet, atol=1e-5)


def test_rirs_of_different_delays_are_aligned_and_a_click_stays_in_place() -> None:
    bank = torch.zeros(3, 400)
    for row, delay in enumerate((0, 10, 350)):
        bank[row, delay] = -2.0 if row == 1 else 2.0
    waves = some_waves(12)
    out = Views(settings(reverb={"p": 1.0}), rir_bank=bank).waveform(waves, keys(12))
    row_B = (uniforms(keys(12), "reverb", 3)[:, 1] * 3).long()
    sign_B = torch.where(row_B == 1, -1.0, 1.0)
    assert len(row_B.unique()) == 3
    torch.testing.assert_close(out, waves * sign_B[:, None], atol=1e-5, rtol=0)


def test_a_synthetic_room_has_its_rt60_and_ratio() -> None:
    rt60_s = torch.tensor([0.2, 0.5])
    drr_db = torch.tensor([3.0, -2.0])
    rir = module.synthetic_rir(keys(2), rt60_s, drr_db, 8000).double()
    assert (rir[:, 0] == 1).all()
    torch.testing.assert_close(
        -10 * torch.log10(rir[:, 1:].square().sum(1)), drr_db.double(), atol=1e-3, rtol=0
    )
    for row, seconds in zip(rir, rt60_s):
        level_db = 10 * torch.log10(row[1:].unfold(0, 200, 200).square().mean(1))
        times = (np.arange(len(level_db)) + 0.5) * 200 / SAMPLE_RATE
        slope = np.polyfit(times, level_db.numpy(), 1)[0]  # dB per second
        assert slope * float(seconds) == pytest.approx(-60, abs=2)


@pytest.mark.parametrize("rate", [0.8, 1.0, 1.1])
@pytest.mark.parametrize("n", [16_000, 15_999])
def test_speed_moves_a_sine(rate: float, n: int) -> None:
    time = torch.arange(n, dtype=torch.float64)
    for hertz, tolerance in ((1000, 1e-3), (4000, 3e-3)):
        angle = 2 * math.pi * hertz / SAMPLE_RATE
        start = 2.25
        out = module.change_speed(
            torch.sin(angle * time).float()[None], torch.tensor([rate]), torch.tensor([start])
        )
        expected = torch.sin(angle * (start + time * rate)).float()
        # The crop is one period: away from the seam (n need not hold whole periods of the sine).
        inside = (start + time * rate > 300) & (start + time * rate < n - 300)
        assert (out[0] - expected)[inside].abs().max() < tolerance
        peak = int(torch.fft.rfft(out[0] * torch.hann_window(n)).abs().argmax())
        assert peak * SAMPLE_RATE / n == pytest.approx(hertz * rate, abs=1.5)


def test_speed_one_is_the_identity_up_to_the_nyquist_frequency() -> None:
    for n in (N, N - 1):
        out = module.change_speed(some_waves(2, n), torch.ones(2), torch.tensor([0.0, 5.0]))
        torch.testing.assert_close(out[0], some_waves(2, n)[0], atol=0.02, rtol=0)
        torch.testing.assert_close(out[1], some_waves(2, n)[1].roll(-5), atol=0.02, rtol=0)
    nyquist = torch.ones(1, N)
    nyquist[:, 1::2] = -1
    out = module.change_speed(nyquist, torch.ones(1), torch.zeros(1))
    torch.testing.assert_close(out, nyquist, atol=0.05, rtol=0)


def test_a_slower_view_reads_a_drawn_part_of_the_crop() -> None:
    waves = torch.linspace(-1, 1, N)[None].repeat(12, 1)
    out = Views(settings(speed={"p": 1.0, "rate": [0.5, 0.5]})).waveform(waves, keys(12))
    start = uniforms(keys(12), "speed", 3)[:, 2] * 0.5
    middle = -1 + 2 * (start + 0.25)  # of the part that is read, away from the crop's seam
    torch.testing.assert_close(out[:, N // 2].double(), middle, atol=5e-3, rtol=0)


def test_speed_removes_what_would_fold_back_and_wraps() -> None:
    time = torch.arange(16_000, dtype=torch.float64)
    high = torch.sin(2 * math.pi * 7600 / SAMPLE_RATE * time).float()[None]
    faster = module.change_speed(high, torch.tensor([1.2]), torch.zeros(1))
    assert faster.abs().max() < 1e-3
    low = torch.sin(2 * math.pi * 100 / SAMPLE_RATE * time).float()[None]  # 100 whole periods
    faster = module.change_speed(low, torch.tensor([1.5]), torch.zeros(1))
    expected = torch.sin(2 * math.pi * 150 / SAMPLE_RATE * time).float()[None]
    torch.testing.assert_close(faster, expected, atol=1e-3, rtol=0)


def test_a_time_mask_is_one_span_of_the_drawn_length() -> None:
    tree = {"p": 1.0, "length_s": [0.01, 0.1]}
    out = Views(settings(time_mask=tree)).waveform(torch.ones(12, N), keys(12))
    length_s = 0.01 + 0.09 * uniforms(keys(12), "time_mask", 3)[:, 1]
    zero = out == 0
    assert torch.equal(zero.sum(1), (length_s * SAMPLE_RATE).round().long())
    edges = torch.nn.functional.pad(zero.int(), (1, 1)).diff(dim=1).abs().sum(1)
    assert (edges == 2).all()
    gone = Views(settings(time_mask={"p": 1.0, "length_s": [9, 9]}))
    assert not gone.waveform(torch.ones(2, N), keys(2)).any()


# --- log-mel frames ---------------------------------------------------------------------------


def test_a_crop_of_the_whole_is_the_identity() -> None:
    tree = {"freq_scale": [1, 1], "time_scale": [1, 1], "freq_canvas": 1.0, "time_canvas": 1.0}
    out = Views(settings(resized_crop=tree)).spectrogram(some_frames(5), keys(5))
    torch.testing.assert_close(out, some_frames(5), atol=1e-6, rtol=0)


def test_a_crop_is_torchs_bicubic_grid_sample_on_a_wide_canvas() -> None:
    frames = some_frames(3)
    freq_start, freq_size = torch.tensor([-3.2, 0.0, 4.7]), torch.tensor([10.5, 20.0, 16.0])
    time_start, time_size = torch.tensor([5.0, -8.3, 0.4]), torch.tensor([12.0, 44.0, 30.0])
    out = module.resize_crop(frames, (freq_start, freq_size), (time_start, time_size), (4.0, 4.0))
    row = freq_start[:, None] + torch.linspace(0, 1, F) * (freq_size[:, None] - 1)
    column = time_start[:, None] + torch.linspace(0, 1, T) * (time_size[:, None] - 1)
    grid = torch.stack(
        (
            (2 * column / (T - 1) - 1)[:, None, :].expand(3, F, T),
            (2 * row / (F - 1) - 1)[:, :, None].expand(3, F, T),
        ),
        dim=-1,
    )
    expected = torch.nn.functional.grid_sample(
        frames[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=True
    )[:, 0]
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


def test_the_input_lies_at_the_canvas_centre_and_its_edge_is_no_cliff() -> None:
    """Every box in the canvas: those of the whole canvas hold the input between equal margins."""
    frames = torch.ones(1, F, T)
    tree = {"freq_scale": [1, 1], "time_scale": [2, 2], "time_canvas": 2.0}
    row = Views(settings(resized_crop=tree)).spectrogram(frames, keys(1))[0, 3]
    torch.testing.assert_close(row, row.flip(0), atol=1e-5, rtol=0)
    assert row[: T // 4 - 1].abs().max() < 1e-6 and row[T // 2] == pytest.approx(1, abs=1e-5)
    # A canvas of 1 ends with the input: a constant stays one up to the last band.
    tree = {"freq_scale": [0.6, 0.9], "time_scale": [0.6, 0.9], "time_canvas": 1.0}
    out = Views(settings(resized_crop=tree)).spectrogram(frames.repeat(12, 1, 1), keys(12))
    torch.testing.assert_close(out, frames.repeat(12, 1, 1), atol=1e-5, rtol=0)


def test_crop_scales_of_the_axes_are_separate() -> None:
    ramp = torch.arange(F, dtype=torch.float32)[:, None].expand(F, T)[None].repeat(6, 1, 1)
    whole = {"freq_scale": [1, 1], "time_scale": [0.5, 0.7], "time_canvas": 1.0}
    torch.testing.assert_close(
        Views(settings(resized_crop=whole)).spectrogram(ramp, keys(6)), ramp, atol=1e-4, rtol=0
    )
    half = {"freq_scale": [0.5, 0.5], "time_scale": [1, 1], "time_canvas": 1.0}
    out = Views(settings(resized_crop=half)).spectrogram(ramp, keys(6))
    # Half of the bands spread over all: cubic interpolation keeps the ramp's middle a ramp.
    slope = (out[:, -5, 0] - out[:, 4, 0]) / (F - 9)
    torch.testing.assert_close(slope, torch.full((6,), (F / 2 - 1) / (F - 1)), atol=0.05, rtol=0)
    assert out.min() > -1 and out.max() < F


@pytest.mark.parametrize("scale", [1.0, 4.5])
def test_mixup_is_byol_as_formula(scale: float) -> None:
    memory = full_memory()
    views = Views(settings(mixup={"p": 1.0, "ratio": 0.4, "scale": scale}))
    out = views.spectrogram(some_frames(12), keys(12), memory)
    _, weight, past = uniforms(keys(12), "mixup", 3).numpy().T
    weight = 0.4 * weight[:, None, None]
    items = memory.state_dict()["items"].double().numpy()[(past * 6).astype(int)]
    frames = some_frames(12).double().numpy()
    mixed = (1 - weight) * np.exp(scale * frames) + weight * np.exp(scale * items)
    np.testing.assert_allclose(out.numpy(), np.log(mixed) / scale, atol=2e-6)


def test_mixup_without_a_past_does_nothing() -> None:
    views = Views(settings(mixup={"p": 1.0}))
    for memory in (None, MixupBank(4)):
        assert torch.equal(views.spectrogram(some_frames(3), keys(3), memory), some_frames(3))
    zero = Views(settings(mixup={"p": 1.0, "ratio": 0.0}))
    assert torch.equal(zero.spectrogram(some_frames(3), keys(3), full_memory()), some_frames(3))


def test_fader_is_a_line_over_time() -> None:
    out = Views(settings(fader={"p": 1.0, "gain": 2.0})).spectrogram(some_frames(5), keys(5))
    line = (out - some_frames(5)).double()
    _, head, tail = (4 * uniforms(keys(5), "fader", 3) - 2).unbind(1)
    expected = head[:, None] + (tail - head)[:, None] * torch.linspace(0, 1, T).double()
    torch.testing.assert_close(line, expected[:, None].expand(5, F, T), atol=1e-5, rtol=0)


def test_mel_equaliser_is_a_smooth_curve_through_its_points() -> None:
    offset = torch.tensor([[1.0, -0.5, 2.0, 0.0]])
    curve = module.equalise_mels(torch.zeros(1, 31, T), offset)[0]
    torch.testing.assert_close(curve[::10, 0], offset[0], atol=1e-6, rtol=0)
    assert (curve == curve[:, :1]).all()
    assert curve[:, 0].diff().abs().max() < 2.5 * 1.6 / 10


def test_shorter_frames_are_mixed_with_the_beginning_of_what_is_remembered() -> None:
    views, frames_BFT = Views(settings(mixup={})), some_frames(6)
    whole = views.spectrogram(frames_BFT, keys(6), full_memory())
    part = views.spectrogram(frames_BFT[..., :-5], keys(6), full_memory())
    torch.testing.assert_close(part, whole[..., :-5])
    for other in (torch.cat([frames_BFT] * 2, dim=2), frames_BFT[:, 1:]):
        with pytest.raises(BarlowSpeechError, match="memory holds items of"):
            views.spectrogram(other, keys(6), full_memory())


# --- the memory -------------------------------------------------------------------------------


def test_memory_keeps_the_last_items_in_a_ring() -> None:
    memory = MixupBank(5)
    items = torch.arange(20.0).view(20, 1, 1)
    memory.push(items[:3])
    assert len(memory) == 3
    memory.push(items[3:7])
    assert len(memory) == 5
    assert sorted(memory.pick(torch.arange(5) / 5).flatten().tolist()) == [2, 3, 4, 5, 6]
    memory.push(items[7:20])  # more than it can hold
    assert sorted(memory.pick(torch.arange(5) / 5).flatten().tolist()) == [15, 16, 17, 18, 19]
    with pytest.raises(BarlowSpeechError, match="memory holds items of"):
        memory.push(torch.zeros(1, 2, 1))
    long = MixupBank(2)
    long.push(torch.arange(6.0).view(2, 1, 3))
    assert long.pick(torch.tensor([0.0, 0.5]), 2).tolist() == [[[0, 1]], [[3, 4]]]


@pytest.mark.parametrize("pushes", [0, 1, 3])
def test_memory_resumes_from_its_state(pushes: int, tmp_path: Path) -> None:
    memory = MixupBank(10)
    for number in range(pushes):
        memory.push(some_frames(4, seed=number))
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    resumed = MixupBank(10)
    resumed.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    views = Views(settings(mixup={}))
    for number in range(10, 14):
        outs = []
        for one in (memory, resumed):
            outs.append(views.spectrogram(some_frames(6), keys(6, seed=number), one))
            one.push(some_frames(4, seed=number))
        assert torch.equal(*outs)
    with pytest.raises(BarlowSpeechError, match="capacity"):
        MixupBank(11).load_state_dict(memory.state_dict())


def test_mixup_refuses_a_memory_of_another_shape() -> None:
    views = Views(settings(mixup={}))
    with pytest.raises(BarlowSpeechError, match="crop length"):
        views.spectrogram(torch.zeros(2, F, T + 1), keys(2), full_memory())
