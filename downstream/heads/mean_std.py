"""The linear head on mean and standard deviation over time, side by side, of every layer.

The statistics are taken per layer, before the layers are weighted: a weighted sum of layers has a
standard deviation that those of the layers do not give.
"""

from __future__ import annotations

from barlow_speech.downstream.heads.linear import Settings, forward, parts

__all__ = ["INPUT", "NOTE", "Settings", "forward", "parts"]

INPUT = "mean_std"
NOTE = "weighted layers of (mean, standard deviation over time), linear, linear"
