"""What heads are trained on: means over time of every layer, or the frames themselves.

Shapes: R runs, B batch, T frames, L layers, D width, N utterances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Inputs(Protocol):
    """The utterances of a split as a head sees them."""

    layers: int
    width: int
    device: torch.device
    dtype: torch.dtype

    def __len__(self) -> int: ...

    def examples(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What `Head.forward` takes for rows of any shape, which stands in front."""
        ...

    def blocks(self, runs: int, floats: int) -> Iterator[Tensor]:
        """All rows in order, in blocks for which `runs` heads need about `floats` numbers."""
        ...


class Means:
    """x_NLD: one vector per layer of each utterance."""

    def __init__(self, x_NLD: Tensor) -> None:
        self.x_NLD = x_NLD.contiguous()
        _, self.layers, self.width = x_NLD.shape
        self.device, self.dtype = x_NLD.device, x_NLD.dtype
        self._layers_L1 = torch.arange(self.layers, device=self.device).unsqueeze(1)

    def __len__(self) -> int:
        return len(self.x_NLD)

    def take(self, rows: Tensor) -> Tensor:
        """x [..., L, D] of rows [...]."""
        taken_XLD = self.x_NLD.index_select(0, rows.reshape(-1))
        return taken_XLD.view(*rows.shape, self.layers, self.width)

    def by_layer(self, rows_RB: Tensor) -> Tensor:
        """x [R, L, B, D] of each run's own rows: a layer of a batch is one piece of memory."""
        places_RLB = rows_RB.unsqueeze(1) * self.layers + self._layers_L1
        # Unlike index_select, gather runs on all threads.
        places_XD = places_RLB.flatten().unsqueeze(1).expand(-1, self.width)
        return self.x_NLD.flatten(0, 1).gather(0, places_XD).view(*places_RLB.shape, self.width)

    def examples(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See `Inputs`: x [..., L, D] alone."""
        return (self.take(rows),)

    def blocks(self, runs: int, floats: int) -> Iterator[Tensor]:
        """See `Inputs`."""
        size = max(1, floats // (max(runs, self.layers) * self.width))
        yield from torch.arange(len(self), device=self.device).split(size)


class Frames:
    """The frames [T, L, D] of each utterance; they may lie in mapped files and in half precision.

    Padding up to the longest of a batch is zero. Frames go to `device` batch by batch.
    """

    def __init__(
        self, frames: Sequence[Tensor], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.frames = frames
        self.layers, self.width = frames[0].shape[1:]
        self.lengths_N = torch.tensor([len(one) for one in frames])
        self.device, self.dtype = device, dtype

    def __len__(self) -> int:
        return len(self.frames)

    def examples(self, rows: Tensor) -> tuple[Tensor, ...]:
        """x [..., T, L, D] and its lengths [...] of rows [...]."""
        flat = rows.reshape(-1).cpu()
        lengths = self.lengths_N[flat]
        # Different runs often take the same recording; it is read once.
        different, place = flat.unique(return_inverse=True)
        padded = torch.zeros(
            len(different), int(lengths.max()), self.layers, self.width, dtype=self.dtype
        )
        for at, row in enumerate(different.tolist()):
            padded[at, : len(self.frames[row])] = self.frames[row]
        x = padded.to(self.device)[place.to(self.device)]
        return x.view(*rows.shape, *x.shape[1:]), lengths.view(rows.shape).to(self.device)

    def blocks(self, runs: int, floats: int) -> Iterator[Tensor]:
        """See `Inputs`."""
        longest = int(self.lengths_N.max())
        size = max(1, floats // (longest * self.width * max(runs, self.layers)))
        yield from torch.arange(len(self)).split(size)
