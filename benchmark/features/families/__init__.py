"""The families of upstreams, one file each: what a name stands for, and how it is loaded.

A file has

- `matches(name)`: whether a name is of this family;
- `check(name, checkpoint)`: refuses a name that nothing can be loaded for, before anything is;
- `load(name, checkpoint, seed, permissions)`: the bare s3prl-like module, with weights that are
  drawn by `seed` where they are random;
- `identity(name, module, weights)`: a JSON-able list of what decides its features: a name, the
  digest of its weights, and versions and settings that are in neither;
- `origin(name, checkpoint, seed)`: a JSON-able list of all that decides its identity, known without
  loading it (`known.py`); None where only loading tells.

`checkpoint` is that of `-k`, which only our own upstreams take; others have theirs in the name.
Adding a file adds a family. A name that none of the others matches is one of s3prl's hub.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.data.contents import contents

HUB = "s3prl"


def family_of(name: str) -> ModuleType:
    """The file of the family that an upstream's name is of."""
    others = (one for one in module_names(__path__) if one != HUB)
    families = (importlib.import_module(f"{__name__}.{one}") for one in (*others, HUB))
    return next(family for family in families if family.matches(name))


def split_name(name: str) -> tuple[str, Path | None]:
    """(plain name, checkpoint) of `name@checkpoint`; None where there is no `@`."""
    plain, _, own = name.partition("@")
    return plain, Path(own) if own else None


def digests(files: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file, read once however often it is asked for.

    Raises:
        BarlowSpeechError: a file is missing or cannot be read.
    """
    files = list(files)
    inside = contents(files)
    return [inside[file] for file in files]


def check_name(name: str, checkpoint: Path | None) -> None:
    """Refuse a name that nothing can be loaded for, before anything is computed.

    Raises:
        BarlowSpeechError: there is no such upstream, or its checkpoint is missing or of another
            kind.
    """
    family_of(name).check(name, checkpoint)
