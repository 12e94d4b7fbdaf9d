"""The names under which s3prl knows our upstream, as in s3prl's `upstream/*/hubconf.py`."""

from __future__ import annotations

import os
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.expert import UpstreamExpert as _UpstreamExpert


def barlow_speech(ckpt: str | None = None, *args: Any, refresh: bool = False, **kwargs: Any) -> Any:
    """Our encoder with the weights that come with the package, or those of `ckpt`."""
    return _UpstreamExpert(ckpt)


def barlow_speech_local(ckpt: str, *args: Any, refresh: bool = False, **kwargs: Any) -> Any:
    """Our encoder with the weights in the file `ckpt`, or in the folder of a card."""
    if not ckpt or not os.path.exists(ckpt):  # noqa: PTH110 - s3prl hands over text
        raise BarlowSpeechError(f"checkpoint {ckpt} does not exist; give one with -k.")
    return _UpstreamExpert(ckpt)


def barlow_speech_random(
    ckpt: str | None = None, *args: Any, refresh: bool = False, seed: int = 0, **kwargs: Any
) -> Any:
    """The same encoder with random weights: the baseline that shows what pretraining bought."""
    return _UpstreamExpert(ckpt, random_seed=seed)
