"""When a frame is: the moment that a state of an upstream is about, found by clicks."""

from __future__ import annotations

import numpy as np
import torch

from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE

# Of the most that a click moves a frame by, above what one anywhere does (by norms and attention).
MOVED = 0.1
STEP = 40  # samples between the clicks, at least; the centre is given in so many
NOISE, CLICK = 1e-3, 0.5


def frame_centre(upstream: Upstream) -> int:
    """Samples from `j * rate` to the moment that frame j of the first layer is about.

    A click is put into faint noise, at many places around the frame in its middle: the centre is
    the middle of the stretch from which it moves that frame by a tenth or more of the most that it
    moves it by. To 40 samples, 2.5 ms. Deeper layers are taken to have the same.

    For a window that begins at the frame's first sample it is half of that window (s3prl's `fbank`:
    200 of 400); for a frame in the middle of its window, 0.
    """
    rate = upstream.rate
    reach = 2 * rate + 400
    middle = -(-reach // rate)
    generator = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(max(SAMPLE_RATE // 2, (2 * middle + 2) * rate), generator=generator)
    step = max(STEP, rate // 16 // STEP * STEP)
    places = range(middle * rate - reach, middle * rate + reach + rate, step)

    def frame(wave: torch.Tensor) -> torch.Tensor:
        return upstream.layers([wave.to(upstream.device)])[0][0, middle].float()

    still = frame(noise.clone())
    moved = []
    with progress(len(places), f"frame times of {upstream.name}", "click") as bar:
        for place in places:
            wave = noise.clone()
            wave[place] += CLICK
            moved.append(float((frame(wave) - still).norm()))
            bar.update()
    least = min(moved) + MOVED * (max(moved) - min(moved))
    over = [place for place, by in zip(places, moved) if by >= least]
    return STEP * round(((over[0] + over[-1]) / 2 - middle * rate) / STEP)


def nearest_frames(places_P: np.ndarray, rate: int, centre: int, frames: int) -> np.ndarray:
    """The frame of a recording of `frames` that is nearest in time to each of some samples.

    The earlier of two that are as near; the first and last frame stand for what is beyond them.
    """
    near_P = np.ceil((np.asarray(places_P) - centre) / rate - 0.5).astype(int)
    return np.clip(near_P, 0, frames - 1)
