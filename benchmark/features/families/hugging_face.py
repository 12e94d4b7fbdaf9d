"""Hugging Face speech models of a local folder: `hf:FOLDER`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.third_party.permissions import Permissions

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"


def matches(name: str) -> bool:
    """See `families`."""
    return name.startswith(PREFIX)


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`; as `read_folder`."""
    from barlow_speech.upstream.third_party.huggingface import read_folder

    read_folder(Path(name.removeprefix(PREFIX)))


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> nn.Module:
    """See `families`."""
    from barlow_speech.upstream.third_party.huggingface import hugging_face_upstream

    return hugging_face_upstream(Path(name.removeprefix(PREFIX)))


def origin(name: str, checkpoint: Path | None, seed: int) -> None:
    """See `families`: its files are many and large."""


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`; the same wherever the folder lies."""
    return [PREFIX, weights, version("transformers"), digest(module.settings)]
