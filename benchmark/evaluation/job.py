"""What is to be evaluated, as names and numbers that another process can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.benchmark.features.kinds import Kind, Selection
from barlow_speech.benchmark.statistics.over import DEFAULT, Over
from barlow_speech.downstream.heads import Input, head_module
from barlow_speech.upstream.third_party.permissions import NONE, Permissions


@dataclass(frozen=True)
class Settings:
    """What all jobs share; the folders are those of the results and the features."""

    results: Path
    cache: Path
    device: str = "cpu"
    metric: str = "top1"
    over: Over = DEFAULT  # over what statements about the results are
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

    @property
    def input(self) -> Input:
        """What of a recording the head sees."""
        return head_module(self.protocol.head["name"]).INPUT

    @property
    def kind(self) -> Kind:
        """What has to be kept of a recording.

        Of an upstream that is trained, features say only what it starts from, and its size.
        """
        frozen = self.protocol.encoder is None
        return "frames" if self.input == "frames" and frozen else "pooled"
