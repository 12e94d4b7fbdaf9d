"""Readers of corpora in their official folder layouts, a file each (`_scan.py`)."""

from __future__ import annotations

from barlow_speech.upstream.common.discovery import module_names


def names() -> list[str]:
    """The corpora there are."""
    return module_names(__path__)
