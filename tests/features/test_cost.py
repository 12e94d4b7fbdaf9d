"""What an upstream costs, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from barlow_speech.benchmark.features import cost
from barlow_speech.benchmark.features.cost import INPUT_S, count_macs, measure_cost
from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.upstream.data.audio import SAMPLE_RATE

T, D, H = 25, 8, 12  # frames, width of the input, width of the layer
HEADS = 2


class Framed(nn.Module):
    """An upstream of one layer over frames of a fixed width."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def get_downsample_rates(self, key: str) -> int:
        return D

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        frames_BTD = torch.stack(wavs).unflatten(1, (-1, D))
        return {"hidden_states": [self.call(self.layer, frames_BTD)]}


def upstream(layer: nn.Module, call: Callable[[nn.Module, Tensor], Any]) -> Upstream:
    return Upstream("toy", Framed(layer, call).eval(), D, "", batched=True)


def packed(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    lengths = torch.full((len(x_BTD),), x_BTD.shape[1])
    sequence = nn.utils.rnn.pack_padded_sequence(x_BTD, lengths, batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(layer(sequence)[0], batch_first=True)[0]


def plain(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    return layer(x_BTD)


def first(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    return layer(x_BTD)[0]


def attending(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    return layer(x_BTD, x_BTD, x_BTD, need_weights=False)[0]


def scaled_dot_product(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    heads = x_BTD.unflatten(2, (HEADS, -1)).transpose(1, 2)
    return nn.functional.scaled_dot_product_attention(heads, heads, heads).flatten(2)


def as_image(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    return layer(x_BTD.unsqueeze(1).expand(-1, 4, -1, -1)).flatten(2)


def over_time(layer: nn.Module, x_BTD: Tensor) -> Tensor:
    return layer(x_BTD.mT).mT


ATTENTION = 2 * T * T * D  # scores, and the values they weigh
GATE = D * H + H * H  # a gate sees its input and its last state
BY_HAND: dict[str, tuple[nn.Module, Callable[[nn.Module, Tensor], Any], int]] = {
    "linear": (nn.Linear(D, H), plain, T * D * H),
    # Padding keeps T × D places; 4 channels in, 6 out, a kernel of 3 × 5.
    "conv2d": (nn.Conv2d(4, 6, (3, 5), padding=(1, 2)), as_image, T * D * 6 * 4 * 15),
    "conv2d grouped": (
        nn.Conv2d(4, 6, 3, padding=1, groups=2), as_image, T * D * 6 * (4 // 2) * 9,
    ),
    "conv1d depthwise": (nn.Conv1d(D, D, 3, padding=1, groups=D), over_time, T * D * 3),
    "conv1d strided": (nn.Conv1d(D, H, 5, stride=5), over_time, T // 5 * H * D * 5),
    "gru": (nn.GRU(D, H, batch_first=True), first, T * 3 * GATE),
    "gru packed": (nn.GRU(D, H, batch_first=True), packed, T * 3 * GATE),
    "bigru, two layers": (
        nn.GRU(D, H, 2, batch_first=True, bidirectional=True), first,
        T * 2 * 3 * (GATE + 2 * H * H + H * H),
    ),
    "lstm": (nn.LSTM(D, H, batch_first=True), first, T * 4 * GATE),
    "lstm packed": (nn.LSTM(D, H, batch_first=True), packed, T * 4 * GATE),
    "attention": (nn.Identity(), scaled_dot_product, ATTENTION),
    # Four projections: query, key, value and what comes out.
    "multi-head attention": (
        nn.MultiheadAttention(D, HEADS, batch_first=True), attending, 4 * T * D * D + ATTENTION,
    ),
    "transformer layer": (
        nn.TransformerEncoderLayer(D, HEADS, H, batch_first=True), plain,
        4 * T * D * D + ATTENTION + 2 * T * D * H,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_macs_are_those_counted_by_hand(name: str) -> None:
    layer, call, expected = BY_HAND[name]
    assert count_macs(upstream(layer, call), torch.randn(T * D)) == expected


def test_counting_leaves_torchs_switches_alone() -> None:
    def switches() -> tuple[bool, ...]:
        return (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cudnn.enabled,
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        )

    def failing(layer: nn.Module, x_BTD: Tensor) -> Tensor:
        raise RuntimeError("no")

    before = switches()
    with pytest.raises(RuntimeError, match="no"):
        count_macs(upstream(nn.Identity(), failing), torch.randn(T * D))
    assert switches() == before


def test_cost_is_per_second_of_audio_and_attention_pays_for_the_length() -> None:
    linear = measure_cost(upstream(nn.Linear(D, H), plain))
    assert linear["macs_per_second"] == SAMPLE_RATE * H
    assert linear["parameters"] == D * H + H
    frames = INPUT_S * 400

    def thinned(layer: nn.Module, x_BTD: Tensor) -> Tensor:
        return scaled_dot_product(layer, x_BTD[:, ::5])

    attention = measure_cost(upstream(nn.Identity(), thinned))
    assert attention["macs_per_second"] == 2 * frames * frames * D // INPUT_S
    assert attention["parameters"] == 0


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cost, "time", made)
    return made


def test_the_time_is_that_of_one_forward(clock: Clock) -> None:
    calls: list[int] = []

    def slow(layer: nn.Module, x_BTD: Tensor) -> Tensor:
        calls.append(x_BTD.shape[0] * x_BTD.shape[1] * D)
        clock.now += 0.05 if len(calls) != 4 else 0.5  # one that stands out changes nothing
        return x_BTD

    found = measure_cost(upstream(nn.Identity(), slow))
    assert set(calls) == {INPUT_S * SAMPLE_RATE}  # a batch of one
    assert len(calls) == found["repeats"] + 2  # one to count, one to warm up
    assert found["real_time_factor"] == 0.05 / INPUT_S
    assert found["threads"] == torch.get_num_threads() and found["device"] == "cpu"
    assert found["input_s"] == INPUT_S


def test_an_upstream_that_takes_long_is_timed_less_often(clock: Clock) -> None:
    def slow(layer: nn.Module, x_BTD: Tensor) -> Tensor:
        clock.now += 0.8 * cost.PATIENCE_S
        return x_BTD

    assert measure_cost(upstream(nn.Identity(), slow))["repeats"] == cost.MIN_COUNT < cost.REPEATS


def test_real_upstreams_have_a_cost(checkpoint: Path) -> None:
    """A filterbank has no weights, but its bands are a matrix product; its FFT is not counted."""
    ours = load_upstream("barlow_speech", checkpoint, "cpu")
    found = measure_cost(ours)
    assert found["parameters"] == sum(one.numel() for one in ours.module.parameters())
    assert found["macs_per_second"] > 0 and found["real_time_factor"] > 0
    fbank = measure_cost(load_upstream("fbank", None, "cpu"))
    assert fbank["parameters"] == 0 and 0 < fbank["macs_per_second"] < 1e7
