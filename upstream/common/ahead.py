"""What the next step reads: made by a thread, and moved to the device, while this step computes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Ahead(Generic[Key]):
    """Tensors by key, of which one is made ahead.

    `make` runs on one thread alone, in the order in which it was asked. For a GPU what it makes is
    pinned, where it is not yet, and copied on a stream of its own, so that the copy waits for no
    kernel.
    """

    def __init__(self, make: Callable[[Key], Sequence[Tensor]], device: torch.device) -> None:
        self.make, self.device = make, device
        self._thread = ThreadPoolExecutor(1)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: tuple[Key, Future[tuple[list[Tensor], torch.cuda.Event | None]]] | None = None

    def take(self, key: Key, after: Key | None = None) -> list[Tensor]:
        """What `make(key)` gives, on the device; `make(after)` is begun in the background."""
        ahead, self._next = self._next, None
        mine = ahead[1] if ahead and ahead[0] == key else self._thread.submit(self._made, key)
        tensors, copied = mine.result()
        if after is not None:
            self._next = (after, self._thread.submit(self._made, after))
        if copied is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(copied)
            for one in tensors:
                one.record_stream(stream)  # it was allocated for the other stream
        return tensors

    def _made(self, key: Key) -> tuple[list[Tensor], torch.cuda.Event | None]:
        if self._stream is None:
            return [one.to(self.device) for one in self.make(key)], None
        # Of a thread that pins memory, too, the device must be this one.
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            pinned = [one.pin_memory() for one in self.make(key)]
            moved = [one.to(self.device, non_blocking=True) for one in pinned]
            return moved, self._stream.record_event()
