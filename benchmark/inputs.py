"""What heads are trained on: means over time of every layer, or the frames themselves.

Shapes: R runs, B batch, T frames, L layers, D width, N utterances, X = B · D.
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
    """x_LND: one vector per layer of each utterance, layer by layer."""

    def __init__(self, x_LND: Tensor) -> None:
        self.x_LND = x_LND.contiguous()
        self.layers, count, self.width = x_LND.shape
        self.device, self.dtype = x_LND.device, x_LND.dtype
        self._count = count

    def __len__(self) -> int:
        return self._count

    def batch(self, rows_RB: Tensor) -> Tensor:
        """[R, L, B · D] of each run's own rows."""
        runs, batch = rows_RB.shape
        taken_LXD = self.x_LND.index_select(1, rows_RB.reshape(-1))
        return taken_LXD.view(self.layers, runs, batch * self.width).transpose(0, 1)

    def flat(self, rows_N: Tensor) -> Tensor:
        """[N, L · D]."""
        return self.x_LND.index_select(1, rows_N).transpose(0, 1).reshape(len(rows_N), -1)

    def examples(self, rows: Tensor) -> tuple[Tensor, ...]:
        """x [..., L, D] of rows [...]."""
        taken_LXD = self.x_LND.index_select(1, rows.reshape(-1))
        return (taken_LXD.transpose(0, 1).reshape(*rows.shape, self.layers, self.width),)

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
