"""What an upstream makes of the recordings of a corpus, as codes to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from barlow_speech.benchmark.features.extraction import Features, Selection, features
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.manifest import Recording


@dataclass(frozen=True)
class Representations:
    """What one upstream makes of the recordings: the code that is judged, and what is probed.

    `source` says what the code is ("embedding", "mean of layer 5"); `layers` has every layer's mean
    over time [N, D] by its name, and the embedding if there is one.
    """

    upstream: str
    source: str
    code_NE: np.ndarray
    layers: dict[str, np.ndarray]


def represent(
    label: str,
    upstream: Upstream,
    recordings: Sequence[Recording],
    cache: Path,
    manifest: Path,
    selection: Selection = "embedding",
) -> Representations:
    """The code and the layers of each recording, from the feature cache where they are there.

    The code is the upstream's own embedding, or (by `selection`, and where it has none) the mean
    over time of its last layer.

    Raises:
        BarlowSpeechError: as `features`.
    """
    found = features(upstream, list(recordings), cache, manifest)
    everything = np.arange(len(recordings))
    layers = {
        f"layer {place}": layer_ND.numpy()
        for place, layer_ND in enumerate(found.means(everything).unbind(1), start=1)
    }
    source, code_NE = f"mean of {list(layers)[-1]}", list(layers.values())[-1]
    embedding_NE = _embedding(found, everything)
    if embedding_NE is not None:
        layers["embedding"] = embedding_NE
        if selection == "embedding":
            source, code_NE = "embedding", embedding_NE
    return Representations(label, source, code_NE, layers)


def _embedding(found: Features, rows_N: np.ndarray) -> np.ndarray | None:
    """The upstream's own embedding [N, E], or None where it has none."""
    try:
        return found.embeddings(rows_N)[:, 0].numpy()
    except BarlowSpeechError:
        return None
