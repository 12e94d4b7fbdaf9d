"""What a checkout of s3prl that `barlow-speech plug-into` changed imports; these names stay."""

from __future__ import annotations

from barlow_speech.upstream.third_party.compatibility import patch_s3prl

__all__ = ["mend_s3prl", "patch_s3prl"]

mend_s3prl = patch_s3prl  # what earlier versions wrote
