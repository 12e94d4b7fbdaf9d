"""What is to be evaluated, as names and numbers that another process can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.benchmark.features.extraction import Selection
from barlow_speech.upstream.third_party.permissions import NONE, Permissions


@dataclass(frozen=True)
class Settings:
    """What all jobs share; the folders are those of the results and the features."""

    results: Path
    cache: Path
    device: str = "cpu"
    metric: str = "top1"
    data_root: Path | None = None
    checkpoint: Path | None = None
    overwrite: bool = False
    allow_leakage: bool = False
    verify_cache: bool = False
    permissions: Permissions = NONE


@dataclass(frozen=True)
class Job:
    """One result to be made, as names and numbers: it can be sent to another process."""

    upstream: str
    task: str
    corpus: str
    protocol: Protocol
    selection: Selection = "hidden_states"
    layer: int | None = None
