"""Counter-based random numbers: what an item draws depends on its key alone, not on its batch."""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor


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


def uniform_in(unit_B: Tensor, limits: tuple[float, float]) -> Tensor:
    """Numbers in [0, 1) spread evenly over the limits."""
    low, high = limits
    return low + (high - low) * unit_B


def log_uniform_in(unit_B: Tensor, limits: tuple[float, float]) -> Tensor:
    """The same, evenly in the logarithm."""
    low, high = limits
    return low * (high / low) ** unit_B
