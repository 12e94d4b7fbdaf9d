"""s3prl's upstreams: any `NAME` on its hub, or `NAME@FILE` with a checkpoint of one's own."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech.benchmark.features.families import digests, split_name
from barlow_speech.upstream.common.s3prl_package import find_s3prl
from barlow_speech.upstream.names import NAMES
from barlow_speech.upstream.third_party.hub_names import BASELINE, hub_names
from barlow_speech.upstream.third_party.permissions import Permissions

if TYPE_CHECKING:
    from torch import nn


def matches(name: str) -> bool:
    """See `families`: it is asked last."""
    return True


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`; as `find_third_party`, without s3prl where its files say enough."""
    plain, own = split_name(name)
    # Without s3prl there are none, which is another sentence; one that is loaded may know more.
    names = {} if "s3prl.hub" in sys.modules else hub_names()
    if names and plain not in names:
        known = [*NAMES, *(one for one, module in names.items() if module)]
        from barlow_speech.upstream.third_party.s3prl_upstreams import unknown_name

        raise unknown_name(plain, known)
    if own is None and names.get(plain) == BASELINE and not plain.endswith("_local"):
        return
    from barlow_speech.upstream.third_party.s3prl_upstreams import find_third_party

    find_third_party(plain, own)


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> nn.Module:
    """See `families`; as `build_third_party`."""
    from barlow_speech.upstream.third_party.s3prl_upstreams import build_third_party

    return build_third_party(*split_name(name), permissions)


def origin(name: str, checkpoint: Path | None, seed: int) -> list[Any] | None:
    """See `families`: what s3prl downloads may be another file each time."""
    plain, own = split_name(name)
    if own is None and hub_names().get(plain) != BASELINE:
        return None
    return [version("torch"), seed, *identity(name, None, "")]


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`: s3prl's version, and the files of the checkpoint."""
    plain, checkpoint = split_name(name)
    files: list[Path] = []
    if checkpoint is not None:
        files = [checkpoint] if checkpoint.is_file() else sorted(checkpoint.rglob("*"))
    s3prl = find_s3prl()
    own = digests(file for file in files if file.is_file())
    return [plain, weights, s3prl.version if s3prl else "", *own]
