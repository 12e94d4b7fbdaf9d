"""What a checkout of s3prl that `barlow-speech plug-into` changed imports; the name stays."""

from __future__ import annotations

from barlow_speech.upstream.third_party.compatibility import patch_s3prl

__all__ = ["patch_s3prl"]
