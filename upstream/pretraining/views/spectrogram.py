"""Views of log-mel frames [B, T, F]: mixup, resized crop, fader, equaliser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from barlow_speech.upstream.pretraining.views.waveform import curve_basis


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
    return frames_BFT + (offset_BK.float() @ curve_basis(position_F, points))[:, :, None]
