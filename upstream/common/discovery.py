"""What there is, found by looking into a folder: encoders, heads, corpora, commands, analyses."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable


def module_names(path: Iterable[str]) -> list[str]:
    """The modules of a package's `__path__`, in order; what begins with `_` is for its own use."""
    names = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name for name in names if not name.startswith("_"))
