"""Make s3prl know our upstream, without touching its files."""

from __future__ import annotations

from typing import Any

from barlow_speech.upstream import hubconf
from barlow_speech.upstream.names import NAMES
from barlow_speech.upstream.third_party.compatibility import s3prl_hub


def register_upstream() -> Any:
    """Put our names on `s3prl.hub` and return it; calling it again does nothing more."""
    hub = s3prl_hub()
    for name in NAMES:
        setattr(hub, name, getattr(hubconf, name))
    return hub
