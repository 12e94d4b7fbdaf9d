"""The names of our upstreams, and the checkpoint that comes with the package."""

from __future__ import annotations

from barlow_speech.upstream.common.files import WEIGHTS

NAMES = ("barlow_speech", "barlow_speech_local", "barlow_speech_random")
DEFAULT_CHECKPOINT = WEIGHTS / "fine_states.safetensors"
