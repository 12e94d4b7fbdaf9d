"""The contract of the base encoders, held by every file of upstream/encoders."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.encoders import build_encoder, complete, names, shorter
from barlow_speech.upstream.encoders.cnn2d import Conv2d
from barlow_speech.upstream.model.frontend import HOP, FrontEndSettings, frame_count
from barlow_speech.upstream.model.speech_encoder import (
    ModelSettings,
    SpeechEncoder,
    parameter_count,
    random_model,
)

# Settings under which an encoder is another network, each held to the contract as a file is.
VARIANTS: dict[str, dict[str, Any]] = {
    "cnn2d, 20 ms": {"name": "cnn2d", "stride_ms": 20, "dilation": 4, "kernel": 3},
}

every = pytest.mark.parametrize("name", [*names(), *VARIANTS])

TOLERANCE = 1e-5  # between the features of an utterance in two batches, in float32
SECONDS = (0.05, 0.3, 1.0, 2.37)
FRONTEND = FrontEndSettings(mean=-4.0, std=4.0)  # about that of speech


def settings_of(name: str) -> dict[str, Any]:
    """What `encoder` says in a recipe, of a file or of one of `VARIANTS`."""
    return VARIANTS.get(name, {"name": name})


@functools.cache
def model(name: str) -> SpeechEncoder:
    """An encoder in eval mode whose norms do something, as after a training.

    With fresh batch norms (mean 0, variance 1, no shift) a missing mask can go unnoticed.
    """
    result = random_model(ModelSettings(frontend=FRONTEND, encoder=settings_of(name)), seed=3)
    generator = torch.Generator().manual_seed(4)

    def draw(like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for module in result.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
                module.weight.copy_(draw(module.weight, 0.5, 1.5))
                module.bias.copy_(draw(module.bias, -0.5, 0.5))
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.copy_(draw(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(draw(module.running_var, 0.5, 1.5))
    return result.eval()


def some_waves(*seconds: float) -> list[Tensor]:
    """Noise of so many seconds each, louder and softer."""
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(round(16_000 * one), generator=generator) * 0.1 / (1 + index)
        for index, one in enumerate(seconds)
    ]


def assert_same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


@every
@pytest.mark.parametrize("grad", [False, True])  # torch.nn has a fast path for the first
@torch.no_grad()
def test_alone_is_as_in_any_batch(name: str, grad: bool) -> None:
    encoder, waves = model(name), some_waves(*SECONDS)
    with torch.set_grad_enabled(grad):
        together, lengths_B, embedding_BE = encoder(waves)
        turned, turned_lengths_B, turned_embedding_BE = encoder(waves[::-1])
        alone = [encoder([wave]) for wave in waves]
    for index, (hidden, (length,), (embedding_E,)) in enumerate(alone):
        mirror = len(waves) - 1 - index
        assert length == lengths_B[index] == turned_lengths_B[mirror]
        assert_same(embedding_E, embedding_BE[index])
        assert_same(embedding_E, turned_embedding_BE[mirror])
        for layer, (state_1SD, batch_BSD, turned_BSD) in enumerate(zip(hidden, together, turned)):
            assert state_1SD.abs().max() > 0.01, f"layer {layer} says nothing"
            assert_same(state_1SD[0], batch_BSD[index, :length])
            assert_same(state_1SD[0], turned_BSD[mirror, :length])


@every
@pytest.mark.parametrize("frames", [48, 97, 100, 102])  # whole states, and ends of every kind
def test_without_lengths_it_is_the_same_function_in_training_too(name: str, frames: int) -> None:
    """As with lengths that are all the same: states, embedding, gradients and batch statistics."""
    frames_BTF = torch.randn(3, frames, FRONTEND.n_mels, generator=torch.Generator().manual_seed(1))
    results = []
    for lengths_B in (torch.full((3,), frames), None):
        encoder = copy.deepcopy(model(name).encoder).train()
        torch.manual_seed(0)
        hidden, embedding_BE = encoder(frames_BTF, lengths_B)
        (sum(one.square().mean() for one in hidden) + embedding_BE.square().mean()).backward()
        gradients = [one.grad for one in encoder.parameters() if one.grad is not None]
        results.append([*hidden, embedding_BE, *gradients, *encoder.buffers()])
    assert len(results[0]) == len(results[1])
    for padded, whole in zip(*results):
        torch.testing.assert_close(whole, padded, rtol=1e-4, atol=1e-5)
        if name.startswith("cnn"):
            assert torch.equal(whole, padded)


@every
@torch.no_grad()
def test_nothing_behind_the_end_is_seen(name: str) -> None:
    """However many frames follow an utterance and whatever they hold."""
    encoder = model(name).encoder
    frames_BTF = model(name).frontend(torch.stack(some_waves(0.43, 0.43)))  # 43 frames
    lengths_B = torch.tensor([43, 30])
    hidden, embedding_BE = encoder(frames_BTF, lengths_B)
    for behind in (1, 5, 8, 57):
        longer_BTF = nn.functional.pad(frames_BTF, (0, 0, 0, behind), value=1e3)
        longer_BTF[1, 30:] = -1e3
        other_hidden, other_BE = encoder(longer_BTF, lengths_B)
        assert_same(other_BE, embedding_BE)
        for state_BSD, other_BSD in zip(hidden, other_hidden):
            assert_same(other_BSD[:, : state_BSD.shape[1]], state_BSD)
            for length, other_SD in zip(shorter(lengths_B, encoder.stride), other_BSD):
                assert not other_SD[length:].any(), "a state behind the end is not zero"


@every
@torch.no_grad()
def test_embedding_is_mean_and_maximum_of_the_last_layer(name: str) -> None:
    hidden, lengths_B, embedding_BE = model(name)(some_waves(0.3, 1.0))
    assert embedding_BE.shape == (2, model(name).encoder.embedding_dim)
    for state_SD, length, embedding_E in zip(hidden[-1], lengths_B, embedding_BE):
        valid_SD = state_SD[:length]
        assert_same(embedding_E, torch.cat([valid_SD.mean(0), valid_SD.amax(0)]))


@every
@torch.no_grad()
def test_lengths_width_and_stride(name: str) -> None:
    """ceil(n / rate) states of one width, around every boundary there is."""
    encoder = model(name)
    rate = encoder.rate
    assert rate == HOP * encoder.encoder.stride
    boundaries = [HOP, rate, 2 * rate, 5 * rate, 16_000]
    sizes = [1, 2, *(n + more for n in boundaries for more in (-1, 0, 1))]
    waves = [torch.full((n,), 0.1) for n in sizes]
    hidden, lengths_B, embedding_BE = encoder(waves)
    assert lengths_B.tolist() == [-(-n // rate) for n in sizes]
    longest = -(-max(sizes) // rate)
    width = encoder.encoder.width
    assert len(hidden) == encoder.encoder.depth > 1
    assert {tuple(state.shape) for state in hidden} == {(len(sizes), longest, width)}
    assert embedding_BE.isfinite().all()
    for n in (1, HOP + 1, rate, rate + 1):
        assert encoder([torch.full((n,), 0.1)])[0][0].shape == (1, -(-n // rate), width)


@every
def test_size(name: str) -> None:
    assert 100_000 < parameter_count(model(name).encoder) <= 10_000_000


@every
def test_seed_alone_decides(name: str) -> None:
    settings = ModelSettings(encoder=settings_of(name))
    waves = some_waves(0.3, 0.05)
    before = torch.get_rng_state()
    one, same, other = (random_model(settings, seed).eval() for seed in (1, 1, 2))
    embedding_BE, same_BE, other_BE = (encoder(waves)[2] for encoder in (one, same, other))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    assert torch.equal(embedding_BE, same_BE)
    assert not torch.allclose(embedding_BE, other_BE)


@every
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_finite(name: str, training: bool) -> None:
    """For silence, for 0.05 s and for one frame."""
    encoder = random_model(ModelSettings(frontend=FRONTEND, encoder=settings_of(name)), seed=0)
    encoder.train(training)
    noise = some_waves(0.05, 0.01)
    batches = [[torch.zeros(16_000)], noise[:1], [torch.zeros(800)], [*noise, torch.zeros(1)]]
    if not training:  # a batch norm cannot take the variance of one value
        batches += [noise[1:], [torch.zeros(1)]]
    for waves in batches:
        encoder.zero_grad()
        waves = [wave.clone().requires_grad_() for wave in waves]
        hidden, _, embedding_BE = encoder(waves)
        (embedding_BE.square().sum() + sum(state.square().sum() for state in hidden)).backward()
        for tensor in [*encoder.parameters(), *waves]:
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()


@every
def test_one_step_in_bfloat16(name: str) -> None:
    """Autocast changes neither the parameters' type nor, much, the result; all of them learn."""
    encoder = random_model(ModelSettings(frontend=FRONTEND, encoder=settings_of(name)), seed=0)
    waves = some_waves(0.3, 0.3, 0.2)
    with torch.no_grad():
        exact_BE = encoder(waves)[2]
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        _, _, embedding_BE = encoder(waves)
        loss = (embedding_BE.float() - 1).square().mean()
    loss.backward()
    assert loss.isfinite()
    difference = (embedding_BE.float() - exact_BE).norm() / exact_BE.norm()
    assert difference < 0.1
    for key, parameter in encoder.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"{key} has a gradient that is not finite"
        assert parameter.grad.any(), f"{key} does not learn"


@every
@pytest.mark.parametrize("n_mels", [40, 80, 129])
def test_other_numbers_of_mel_bands(name: str, n_mels: int) -> None:
    """Each either works or is refused by name."""
    try:
        encoder = build_encoder(settings_of(name), n_mels).eval()
    except BarlowSpeechError as error:
        assert n_mels % 2, "only an odd number may be too much to ask"
        assert "n_mels" in str(error)
        return
    hidden, _ = encoder(torch.randn(2, 9, n_mels), torch.tensor([9, 4]))
    assert hidden[-1].shape == (2, -(-9 // encoder.stride), encoder.width)


@every
def test_settings_round_trip(name: str) -> None:
    full = complete(settings_of(name), "a test")
    assert full["name"] == settings_of(name)["name"]
    assert complete(full, "a test") == full
    rebuilt, plain = build_encoder(full, 64), build_encoder(settings_of(name), 64)
    shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (rebuilt, plain)]
    assert shapes[0] == shapes[1]
    key = list(full)[-1]
    with pytest.raises(BarlowSpeechError, match=rf"'{key}x'.*recipe\.yaml.*'{key}'"):
        build_encoder({**settings_of(name), f"{key}x": 1}, 64, "recipe.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "conformr"}, "'conformer'"),
        ({}, "None"),
        ({"name": "cnn1d", "kernel": 4}, "3 or 5"),
        ({"name": "bigru", "width": 255}, "even"),
        ({"name": "cnn2d", "stride_ms": 40}, "20 or 80 ms, not 40"),
        ({"name": "cnn2d", "kernel": 4}, "odd kernel"),
        ({"name": "transformer", "heads": 3}, "3 heads"),
        ({"name": "transformer", "width": 100}, "16 position groups"),
        ({"name": "conformer", "heads": 5}, "5 heads"),
        ({"name": "conformer", "kernel": 8}, "7 or 9"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BarlowSpeechError, match=said):
        build_encoder(settings, 64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 41])
def test_a_convolution_of_one_channel_is_a_product_of_matrices(stride: int, frames: int) -> None:
    """What a GPU computes, on the CPU: the same values and gradients."""
    layer = Conv2d(1, 5, 3, stride=stride, padding=(1, 1)).double()
    x_B1TF = torch.randn(2, 1, frames, 16, dtype=torch.float64)
    found = []
    for compute in (layer, layer.as_product):
        layer.zero_grad()
        y_BCTF = compute(x_B1TF)
        y_BCTF.square().sum().backward()
        found.append([y_BCTF, *(one.grad.clone() for one in layer.parameters())])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other)


def test_evaluation_of_a_transformer_is_by_the_kernels_of_its_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch's others take another GELU on a GPU (1.8e-4 off)."""

    def other(*arguments: Any) -> None:
        raise AssertionError("it is by the others")

    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", other)
    encoder = build_encoder({"name": "transformer"}, 64).eval()
    with torch.no_grad():
        hidden, _ = encoder(torch.randn(2, 48, 64), torch.tensor([48, 24]))
    assert len(hidden) == encoder.depth
    torch_own = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True).eval()
    with torch.no_grad(), pytest.raises(AssertionError, match="by the others"):
        torch_own(torch.randn(2, 3, 8))  # the name is still the one that torch takes


def test_cnn2d_has_states_every_20_ms_of_the_same_width() -> None:
    """For as many parameters where its last layers see one state, as a checkpoint of before has."""
    coarse, fine = (build_encoder({"name": "cnn2d", "stride_ms": ms}, 64) for ms in (80, 20))
    assert (coarse.stride, fine.stride) == (8, 2)
    assert (coarse.width, coarse.depth) == (fine.width, fine.depth)
    assert parameter_count(coarse) == parameter_count(fine) == 600_192
    shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (coarse, fine)]
    assert shapes[0] == shapes[1]


@every
def test_dropout_is_of_the_training_only(name: str) -> None:
    if "dropout" not in complete(settings_of(name), "a test"):
        pytest.skip(f"{name} has no dropout")
    frames_BTF, lengths_B = torch.ones(2, 16, 64), torch.tensor([16, 9])
    encoder = build_encoder({**settings_of(name), "dropout": 0.5}, 64)
    assert not torch.equal(*(encoder(frames_BTF, lengths_B)[1] for _ in range(2)))
    encoder.eval()
    assert torch.equal(*(encoder(frames_BTF, lengths_B)[1] for _ in range(2)))


def test_frames_are_counted_as_states_are() -> None:
    """ceil(ceil(n / HOP) / stride) = ceil(n / (HOP · stride)), for every n."""
    n = torch.arange(1, 20_000)
    for stride in (2, 4, 8):
        states = shorter(frame_count(n), stride)
        assert torch.equal(states, (n + HOP * stride - 1) // (HOP * stride))
