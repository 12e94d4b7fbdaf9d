"""Barlow Twins speech encoders for s3prl, and a benchmark that repeats every task 50 times."""

from __future__ import annotations

__version__ = "0.1.0"


def register() -> None:
    """Make an installed s3prl know us: `s3prl.hub.barlow_speech` and the tasks `barlow_emotion`, …

    Works on an unmodified s3prl; what a current torch lacks is mended first. Nothing is written.

    Raises:
        BarlowSpeechError: s3prl cannot be imported, or torch and torchaudio do not fit each other.
    """
    from barlow_speech.downstream.registry import register_downstream
    from barlow_speech.upstream.registry import register_upstream

    register_upstream()
    register_downstream()
