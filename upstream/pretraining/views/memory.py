"""Past items that mixup draws from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from barlow_speech.upstream.common.errors import BarlowSpeechError


class MixupBank:
    """The last `capacity` log-mel items, which mixup draws its backgrounds from.

    The caller pushes, so that `Views.spectrogram` stays a pure function: first make all views of a
    batch, then push its clean frames. Shape, dtype and device are those of the first push.
    """

    def __init__(self, capacity: int = 2048) -> None:
        if capacity < 1:
            raise BarlowSpeechError(f"the memory's capacity must be 1 or more, not {capacity}.")
        self.capacity = capacity
        self._items_MFT: Tensor | None = None
        self._pushed = 0  # since the start, so that the ring's next place is its remainder

    def __len__(self) -> int:
        """How many items it holds."""
        return min(self._pushed, self.capacity)

    @torch.no_grad()
    def push(self, frames_BFT: Tensor) -> None:
        """Take in a batch, in its order; the oldest items go. The frames are copied.

        Raises:
            BarlowSpeechError: the items are of another shape than those held.
        """
        if self._items_MFT is None:
            self._items_MFT = frames_BFT.new_zeros(self.capacity, *frames_BFT.shape[1:])
        self.check(frames_BFT)
        first = self._pushed + max(len(frames_BFT) - self.capacity, 0)
        self._pushed += len(frames_BFT)
        place_B = torch.arange(first, self._pushed, device=frames_BFT.device) % self.capacity
        if len(place_B):
            kept_BFT = frames_BFT[-len(place_B) :]
            self._items_MFT.index_copy_(0, place_B, kept_BFT.to(self._items_MFT.dtype))

    def pick(self, unit_B: Tensor, frames: int | None = None) -> Tensor:
        """The items [B, F, T] at the fractions `unit_B`, in [0, 1), of what is held.

        Of each the first `frames` frames, or all.
        """
        if self._items_MFT is None or not len(self):
            raise ValueError("the memory is empty")
        return self._items_MFT[..., :frames][(unit_B * len(self)).long()]

    def check(self, frames_BFT: Tensor, *, shorter: bool = False) -> None:
        """Raise a BarlowSpeechError where the items held are of another shape than these.

        Or, where these may be `shorter`, of other bands or of fewer frames.
        """
        if self._items_MFT is None:
            return
        held, given = list(self._items_MFT.shape[1:]), list(frames_BFT.shape[1:])
        if held != given and not (shorter and held[0] == given[0] and held[1] > given[1]):
            raise BarlowSpeechError(
                f"mixup's memory holds items of {held} bands and frames, not {given}; keep one "
                "crop length, or start with an empty memory."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to draw the same items; tensors are copies."""
        items = self._items_MFT
        return {
            "capacity": self.capacity,
            "pushed": self._pushed,
            "items": None if items is None else items[: len(self)].clone(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Go on where `state_dict` was taken, with the items on `device`.

        Raises:
            BarlowSpeechError: the state is of a memory of another capacity.
        """
        if state["capacity"] != self.capacity:
            raise BarlowSpeechError(
                f"the saved memory holds {state['capacity']} items and this one {self.capacity}; "
                "resume with the capacity it was saved with."
            )
        self._pushed = state["pushed"]
        items_MFT = state["items"]
        if items_MFT is None:
            self._items_MFT = None
            return
        held_MFT = torch.zeros(self.capacity, *items_MFT.shape[1:], dtype=items_MFT.dtype)
        held_MFT[: len(items_MFT)] = items_MFT
        self._items_MFT = held_MFT.to(device)
