"""Whether recordings that all decode can be those of the corpus: hours, sampling rate, lengths."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.sound_files import open_sound

HOURS_APART = 0.05  # of the published hours; papers round them
MANY = 20  # recordings; fewer may be of one length by chance


def implausible(
    files: Iterable[Path], hours: float, published: float | None, rate: int | None
) -> tuple[list[str], list[str]]:
    """What can not be so in the published corpus, and what is only unlike it, as sentences.

    `hours` were decoded where `published` are known; its recordings are at `rate` Hz. Headers
    alone are read; a file whose header cannot be is left to whoever decodes it, and the length of
    one that only decoding tells is not compared. Of a table of one's own nothing is published, and
    nothing is said.
    """
    rates: Counter[int] = Counter()
    lengths: Counter[float] = Counter()
    files = list(files)
    with progress(len(files), "headers", "file") as bar:
        for file in files:
            bar.update()
            with contextlib.suppress(BarlowSpeechError), open_sound(file) as sound:
                rates[sound.rate] += 1
                if sound.frames is not None:
                    lengths[sound.frames / sound.rate] += 1
    wrong: list[str] = []
    unlike: list[str] = []
    if published and abs(hours - published) > HOURS_APART * published:
        wrong.append(f"{hours:.2f} h are here, where {published:g} h were published")
    if rate and len(lengths) == 1 and lengths.total() >= MANY:
        ((seconds, count),) = lengths.items()
        (wrong if published else unlike).append(
            f"all {count:,} files are exactly {seconds:.3f} s long, so that they were cut"
        )
    others = {other: count for other, count in sorted(rates.items()) if other != rate}
    if rate and others:
        said = ", ".join(f"{count:,} at {other:,} Hz" for other, count in others.items())
        unlike.append(f"{said}, where the corpus was published at {rate:,} Hz")
    return wrong, unlike
