"""Modules of HEAR's interface: `hear:MODULE`, or `hear:MODULE@CHECKPOINT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech.benchmark.features.families import digests, split_name
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party.permissions import Permissions

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hear:"


def matches(name: str) -> bool:
    """See `families`."""
    return name.startswith(PREFIX)


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`; the module itself is imported when it is loaded.

    Raises:
        BarlowSpeechError: there is no such module, or no such checkpoint.
    """
    from barlow_speech.upstream.third_party.hear import find_module

    module, own = split_name(name.removeprefix(PREFIX))
    find_module(module, load=False)
    if own is not None and not own.exists():
        raise BarlowSpeechError(
            f"checkpoint {own} of {PREFIX}{module} does not exist; give a file."
        )


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> nn.Module:
    """See `families`."""
    from barlow_speech.upstream.third_party.hear import HearUpstream

    check(name, checkpoint)
    return HearUpstream(*split_name(name.removeprefix(PREFIX)), permissions)


def origin(name: str, checkpoint: Path | None, seed: int) -> None:
    """See `families`: only loading tells which files its code imports."""


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`: the code of the package that the module is in, and the checkpoint."""
    plain, own = split_name(name.removeprefix(PREFIX))
    file = Path(module.api.__file__)
    code = sorted(file.parent.rglob("*.py")) if module.api.__package__ else [file]
    files = [own] if own is not None and own.is_file() else []
    return [PREFIX + plain, weights, int(module.model.sample_rate), *digests([*code, *files])]
