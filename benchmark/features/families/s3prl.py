"""s3prl's upstreams: any `NAME` on its hub, or `NAME@FILE` with a checkpoint of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from barlow_speech.benchmark.features.families import split_name
from barlow_speech.upstream.common.files import file_digest
from barlow_speech.upstream.common.s3prl_package import find_s3prl
from barlow_speech.upstream.third_party.permissions import Permissions
from barlow_speech.upstream.third_party.s3prl_upstreams import build_third_party, find_third_party


def matches(name: str) -> bool:
    """See `families`: it is asked last."""
    return True


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`; as `find_third_party`."""
    find_third_party(*split_name(name))


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> nn.Module:
    """See `families`; as `build_third_party`."""
    return build_third_party(*split_name(name), permissions)


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`: s3prl's version, and the files of the checkpoint."""
    plain, checkpoint = split_name(name)
    files: list[Path] = []
    if checkpoint is not None:
        files = [checkpoint] if checkpoint.is_file() else sorted(checkpoint.rglob("*"))
    digests = [file_digest(file) for file in files if file.is_file()]
    s3prl = find_s3prl()
    return [plain, weights, s3prl.version if s3prl else "", *digests]
