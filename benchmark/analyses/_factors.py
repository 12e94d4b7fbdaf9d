"""The factors of a study's corpus, for the analyses that fit probes to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from barlow_speech.benchmark.analyses._requests import Sources

if TYPE_CHECKING:
    from barlow_speech.benchmark.disentanglement.factors import Factors


def probed_factors(sources: Sources, corpus: str, names: Sequence[str], most: int) -> Factors:
    """The factors `names` of a corpus, or all; of at most so many recordings.

    Raises:
        BarlowSpeechError: as `read_factors`, and as `check_probed` of each.
    """
    # Only who asks pays for scikit-learn, which takes a second or two to import.
    from barlow_speech.benchmark.disentanglement.factors import read_factors
    from barlow_speech.benchmark.disentanglement.probes import check_probed

    factors = read_factors(sources.corpus(corpus), names, most, sources.allow_leakage)
    for name, labels_N in factors.labels.items():
        check_probed(name, labels_N, factors.splits[name])
    return factors
