"""What an upstream makes of the recordings of a corpus, to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from barlow_speech.benchmark.features.extraction import features
from barlow_speech.benchmark.features.kinds import Selection
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.data.manifest import Recording


@dataclass(frozen=True)
class Representations:
    """What one upstream makes of the recordings: what is measured, and what is probed.

    `source` says what `x_NE` is ("embedding", "mean of layer 5"); `layers` has every layer's mean
    over time [N, D] by its name, and the embedding if there is one.
    """

    upstream: str
    source: str
    x_NE: np.ndarray
    layers: dict[str, np.ndarray]


def represent(
    label: str,
    upstream: Upstream,
    recordings: Sequence[Recording],
    cache: Path,
    manifest: Path,
    selection: Selection = "embedding",
) -> Representations:
    """The representation and the layers of each recording, from the cache where it has them.

    It is the upstream's own embedding, or (by `selection`, and where it has none) the mean
    over time of its last layer.

    Raises:
        BarlowSpeechError: as `features`.
    """
    kept = features(upstream, list(recordings), cache, manifest)
    everything = np.arange(len(recordings))
    layers = {
        f"layer {place}": layer_ND.numpy()
        for place, layer_ND in enumerate(kept.means(everything).unbind(1), start=1)
    }
    source = list(layers)[-1]
    if kept.has_embedding:
        layers["embedding"] = kept.embeddings(everything)[:, 0].numpy()
        if selection == "embedding":
            return Representations(label, "embedding", layers["embedding"], layers)
    return Representations(label, f"mean of {source}", layers[source], layers)
