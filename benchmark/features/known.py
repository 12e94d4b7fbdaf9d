"""Fingerprints of upstreams that were loaded before: whoever has all results need not load them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from barlow_speech.benchmark.features.families import check_name, family_of
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, parsed_json, write_json


def recall(cache: Path, name: str, checkpoint: Path | None, seed: int) -> str | None:
    """The fingerprint that `remember` was told of an upstream of the same origin, if it was."""
    path = _path(cache, name, checkpoint, seed)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(parsed_json(path.read_text(encoding="utf-8"))["fingerprint"]) if path else None
    return None


def remember(cache: Path, name: str, checkpoint: Path | None, seed: int, fingerprint: str) -> None:
    """Keep the fingerprint of an upstream that was loaded, where that can be."""
    path = _path(cache, name, checkpoint, seed)
    if path and recall(cache, name, checkpoint, seed) != fingerprint:
        with contextlib.suppress(BarlowSpeechError):
            write_json(path, {"upstream": name, "fingerprint": fingerprint})


def check_unknown(cache: Path, name: str, checkpoint: Path | None, seed: int) -> None:
    """Refuse an upstream that cannot be loaded, unless it was before.

    Raises:
        BarlowSpeechError: as `check_name`.
    """
    if recall(cache, name, checkpoint, seed) is None:
        check_name(name, checkpoint)


def _path(cache: Path, name: str, checkpoint: Path | None, seed: int) -> Path | None:
    origin = family_of(name).origin(name, checkpoint, seed)
    return None if origin is None else cache / "known" / f"{digest(origin)}.json"
