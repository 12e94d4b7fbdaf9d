"""Barlow Twins speech encoders for s3prl, and a benchmark that repeats every task 50 times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from barlow_speech.upstream.embedder import Embedder

__version__ = "0.2.0"


def register() -> None:
    """Make an installed s3prl know us: `s3prl.hub.barlow_speech` and the tasks `barlow_emotion`, …

    Works on an unmodified s3prl; what a current torch lacks is fixed first. Nothing is written.

    Raises:
        BarlowSpeechError: s3prl cannot be imported, or torch and torchaudio do not fit each other.
    """
    from barlow_speech.downstream.s3prl.registry import register_downstream
    from barlow_speech.upstream.third_party.registry import register_upstream

    register_upstream()
    register_downstream()


def load(checkpoint: str | os.PathLike[str] | None = None, device: str = "cpu") -> Embedder:
    """The encoder that comes with the package, or that of a checkpoint file, on a device.

    `load().embed(["one.wav", "two.flac"])` is one embedding for each, [N, E]; arrays and tensors
    say their `sample_rate`. It is also an s3prl upstream: called with a list of 16 kHz waveforms it
    gives their hidden states.

    Raises:
        BarlowSpeechError: the checkpoint is missing or none of ours, the device cannot be used, or
            torch and torchaudio do not fit each other.
    """
    from barlow_speech.upstream.third_party.compatibility import import_torchaudio

    import_torchaudio()
    from barlow_speech.upstream.embedder import load as load_embedder

    return load_embedder(checkpoint, device)
