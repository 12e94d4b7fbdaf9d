"""What s3prl lacks on today's torch, put back at the moment in which a program imports s3prl.

Importing this file costs no more than itself, since every Python start may do it (`s3prl_fix.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def _before() -> None:
    from barlow_speech.upstream.third_party.compatibility import patch_s3prl

    patch_s3prl()


def _after_hub() -> None:
    from barlow_speech.upstream.third_party.compatibility import patch_hugging_face_experts

    patch_hugging_face_experts()


class Hook:
    """On `sys.meta_path` it finds what the others find, and has s3prl mended on import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the two, None of all others."""
        if name not in ("s3prl", "s3prl.hub"):
            return None
        others = [one for one in sys.meta_path if not isinstance(one, Hook)]
        specs = (one.find_spec(name, path, target) for one in others)
        spec = next((one for one in specs if one is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = _mended(loader.exec_module, name)
        return spec


def _mended(execute: Callable[[ModuleType], None], name: str) -> Callable[[ModuleType], None]:
    def executed(module: ModuleType) -> None:
        if name == "s3prl":
            _before()
        execute(module)
        if name == "s3prl.hub":
            _after_hub()

    return executed


def install() -> None:
    """Put the hook in place, once; what is imported already is mended at once."""
    if not any(isinstance(one, Hook) for one in sys.meta_path):
        sys.meta_path.insert(0, Hook())
        if "s3prl" in sys.modules:
            _before()
        if "s3prl.hub" in sys.modules:
            _after_hub()
