"""Audio encoders on MTEB's list: `mteb:NAME`, of which the embedding is evaluated."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech.upstream.third_party.permissions import Permissions

if TYPE_CHECKING:
    from torch import nn

PREFIX = "mteb:"


def matches(name: str) -> bool:
    """See `families`."""
    return name.startswith(PREFIX)


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`; as `find_encoder`."""
    from barlow_speech.upstream.third_party.mteb import find_encoder

    find_encoder(name.removeprefix(PREFIX))


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> nn.Module:
    """See `families`."""
    from barlow_speech.upstream.third_party.mteb import MtebUpstream

    return MtebUpstream(name.removeprefix(PREFIX), permissions)


def origin(name: str, checkpoint: Path | None, seed: int) -> None:
    """See `families`: what is downloaded may be another file each time."""


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`: MTEB's version and its revision of the encoder."""
    return [name, weights, version("mteb"), module.meta.revision]
