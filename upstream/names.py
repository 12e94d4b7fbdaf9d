"""The names of our upstreams, and the checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path

NAMES = ("barlow_speech", "barlow_speech_local", "barlow_speech_random")
DEFAULT_CHECKPOINT = Path(__file__).parent / "weights" / "barlow_speech.safetensors"
