"""A sampler for several processes over any other sampler, as catalyst has it."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import DistributedSampler


class DistributedSamplerWrapper(DistributedSampler):
    """What each process takes of one sampler's draw: the items at DistributedSampler's places.

    The signature and the items are those of catalyst 22.4 (`data/sampler.py`). The processes share
    one draw only where their global random states are equal, as there.

    Raises:
        RuntimeError: `num_replicas` or `rank` is missing and torch.distributed is not initialised.
    """

    def __init__(
        self,
        sampler: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
    ) -> None:
        super().__init__(sampler, num_replicas, rank, shuffle)  # type: ignore[arg-type]
        self.sampler: Any = sampler

    def __iter__(self) -> Iterator[Any]:
        """The items of this process, from a new draw."""
        drawn = list(self.sampler)
        return iter([drawn[place] for place in super().__iter__()])
