"""A long recording in chunks gives what the whole of it gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import names
from barlow_speech.upstream.model import chunks
from barlow_speech.upstream.model.chunks import (
    forward_in_chunks,
    frames_in_chunks,
    margin,
    states_in_chunks,
)
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.readout import Part, read_out_chunks
from barlow_speech.upstream.model.speech_encoder import ModelSettings, SpeechEncoder, random_model

TOLERANCE = 1e-4  # between chunked and whole
BOUNDED = ("cnn1d", "cnn2d")
FINE = {"stride_ms": 20, "dilation": 4, "kernel": 3}  # of cnn2d


def model(name: str, **sizes: int) -> SpeechEncoder:
    """In evaluation mode, with norms that shift zeros, as after a training."""
    readout = (Part(0, ("std", "mean")), Part(-1, ("max", "mean", "std")))
    settings = ModelSettings(FrontEndSettings(32, -4.0, 4.0), {"name": name, **sizes}, readout)
    result = random_model(settings, seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in result.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, low in ((module.running_mean, -0.3), (module.running_var, 0.5)):
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
            module.bias.data.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
    return result.eval()


def noise(samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(samples)
    swell = 1 + torch.sin(torch.arange(samples) / 5000)
    return 0.1 * swell * torch.randn(samples, generator=generator)


@pytest.mark.parametrize(("name", "sizes"), [*((name, {}) for name in names()), ("cnn2d", FINE)])
@pytest.mark.parametrize("samples", [1, 640, 1281, 51_234])
@torch.no_grad()
def test_chunks_give_what_the_whole_gives(name: str, sizes: dict[str, int], samples: int) -> None:
    encoder, wave = model(name, **sizes), noise(samples)
    whole, _, embedding_1E = encoder([wave])
    for chunk_s in (0.001, 0.5, 1.0, 60.0):
        if samples > 2000 and chunk_s < 0.1:
            continue
        hidden, other_1E = forward_in_chunks(encoder, wave, chunk_s)
        torch.testing.assert_close(other_1E, embedding_1E, rtol=0, atol=TOLERANCE)
        assert len(hidden) == len(whole)
        for one, other in zip(whole, hidden):
            torch.testing.assert_close(other, one, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cnn1d", {}),
        ("cnn1d", {"layers": 2, "kernel": 9, "width": 64}),
        ("cnn2d", {}),
        ("cnn2d", {"dilation": 3, "kernel": 5}),
        ("cnn2d", FINE),
        ("cnn2d", {"stride_ms": 20}),
    ],
)
def test_the_reach_is_the_encoder_s_own(name: str, sizes: dict[str, int]) -> None:
    """The samples that a state has a gradient to lie inside it and, but for rounding, fill it."""
    encoder = model(name, **sizes)
    sides = margin(encoder)
    assert sides is not None
    middle = 2 * sides
    wave = noise((4 * sides + 1) * encoder.rate).requires_grad_()
    sum(state[0, middle].sum() for state in encoder([wave])[0]).backward()
    assert wave.grad is not None
    seen = wave.grad.nonzero().flatten()
    first, last = int(seen[0]) // encoder.rate, int(seen[-1]) // encoder.rate
    assert middle - sides <= first <= middle - sides + 1
    assert middle + sides - 2 <= last <= middle + sides


def test_only_convolutional_encoders_have_a_reach() -> None:
    assert [name for name in names() if margin(model(name)) is not None] == list(BOUNDED)


@torch.no_grad()
def test_a_chunk_is_all_that_is_in_the_encoder_at_once() -> None:
    encoder, longest = model("cnn2d", channels=4), 0

    def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal longest
        longest = max(longest, inputs[0].shape[1])

    encoder.frontend.register_forward_pre_hook(watch)
    sides = margin(encoder)
    assert sides is not None
    stretches = list(states_in_chunks(encoder, noise(160_000), 1.0))
    assert longest <= 16_000 + (2 * sides + 1) * encoder.rate
    assert sum(len(one[0]) for one in stretches) == math.ceil(160_000 / encoder.rate)


@torch.no_grad()
def test_the_front_end_in_chunks_is_exact() -> None:
    frontend, wave = model("bigru").frontend, noise(33_333)
    whole_TF = frontend(wave.unsqueeze(0))[0]
    for chunk_s in (0.01, 0.333, 5.0):
        chunked_TF = torch.cat(list(frames_in_chunks(frontend, wave, chunk_s)))
        torch.testing.assert_close(chunked_TF, whole_TF, rtol=0, atol=1e-5)


def test_the_mean_over_many_chunks_is_that_of_all_states() -> None:
    generator = torch.Generator().manual_seed(0)
    states_SD = 1000 + torch.rand(5003, 7, generator=generator)
    readout = (Part(-1, ("mean", "std", "max")),)
    embedding_E = read_out_chunks(readout, ([one] for one in states_SD.split(11)))
    assert embedding_E.dtype == torch.float32
    mean_D, std_D, max_D = embedding_E.split(7)
    torch.testing.assert_close(mean_D.double(), states_SD.double().mean(0), rtol=1e-7, atol=0)
    expected_D = states_SD.double().std(0, correction=0)
    torch.testing.assert_close(std_D.double(), expected_D, rtol=1e-7, atol=0)
    assert torch.equal(max_D, states_SD.amax(0))


@pytest.mark.parametrize("name", ["transformer", "conformer"])
@torch.no_grad()
def test_attention_refuses_what_it_cannot_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_ATTENDED", 25)
    encoder = model(name)
    forward_in_chunks(encoder, noise(25 * encoder.rate))
    with pytest.raises(BarlowSpeechError, match=f"too long for the encoder {name}.*at most 1 s"):
        forward_in_chunks(encoder, noise(25 * encoder.rate + 1))
