"""What is kept of a recording, and what a head is given of an upstream."""

from __future__ import annotations

from typing import Literal

Kind = Literal["pooled", "frames"]
Selection = Literal["hidden_states", "embedding"]
