"""A function of tensors whose launches are recorded once, as a CUDA graph, and then replayed.

What a small model costs on a GPU is mostly the launching of its kernels, one call of Python and of
the driver each; a graph launches all of them at once. On a CPU, where nothing is launched, the
function is called as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WARM_UP = 3  # calls before the first that is recorded: libraries choose and allocate in these
MOST = 4  # shapes that are recorded; a graph keeps the memory of all that lies between its ends

Record = Callable[[Callable[[], Any]], Callable[[], Any]]  # a function → what replays it


def as_graph(function: Callable[[], Any]) -> Callable[[], Any]:
    """Record, without running them, what a function launches on the current GPU."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may pin memory meanwhile (`ahead.py`), which a capture of all threads forbids.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = function()

    def replay() -> Any:
        graph.replay()
        return outputs

    return replay


class _Place:
    """Where a recording reads an input, and what was copied there last."""

    def __init__(self, given: Tensor) -> None:
        self.tensor, self.given, self.version = given.clone(), given, given._version

    def take(self, given: Tensor) -> None:
        """Copy it there, unless it lies there already."""
        if given is not self.given or given._version != self.version:
            self.tensor.copy_(given)
            self.given, self.version = given, given._version


class Captured:
    """`function`, recorded anew for each combination of its inputs' shapes and types.

    Every call has the effects of calling the function: warming up are calls like others, and what
    records does not run. Inputs are copied to where the recording reads them, but for one that is
    the very tensor of the call before, not written to since; the outputs are those of the recording
    and are overwritten by the next call, as is all that it keeps in other places (a gradient). The
    function must not wait for the GPU, must not copy between it and the CPU, and whatever else it
    reads must stay in its place.

    Args:
        function: tensors in, any tree of tensors out.
        record: `as_graph`, or None to call the function as it is.

    Where it cannot be recorded, `refused` says why and it is called as it is from then on.
    """

    def __init__(
        self, function: Callable[..., Any], record: Record | None, warm_up: int = WARM_UP
    ) -> None:
        self.function, self.record, self.warm_up = function, record, warm_up
        self.refused = ""
        self._calls: dict[Any, int] = {}
        self._replays: dict[Any, tuple[list[_Place], Callable[[], Any]]] = {}

    @property
    def recorded(self) -> int:
        """How many shapes were recorded."""
        return len(self._replays)

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function gives, from these inputs."""
        key = tuple((one.shape, one.dtype, one.device) for one in inputs)
        if key not in self._replays and not self._begin(key, inputs):
            return self.function(*inputs)
        places, replay = self._replays[key]
        for place, one in zip(places, inputs):
            place.take(one)
        return replay()

    def _begin(self, key: Any, inputs: tuple[Tensor, ...]) -> bool:
        """Record it for inputs like these, if it is time to and if it can be."""
        if self.record is None or self.refused or len(self._replays) == MOST:
            return False
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] <= self.warm_up:
            return False
        places = [_Place(one) for one in inputs]
        read = [place.tensor for place in places]
        try:
            self._replays[key] = (places, self.record(lambda: self.function(*read)))
        except RuntimeError as error:
            self.refused = str(error).splitlines()[0]
            log.warning("no CUDA graph could be recorded (%s); going on without.", self.refused)
            return False
        return True


def recorder(device: torch.device) -> Record | None:
    """How functions are recorded on a device; None where they are called as they are."""
    return as_graph if device.type == "cuda" else None
