"""Which s3prl is here: the original or ESPnet's fork of it, two packages of one import name.

pip knows them as `s3prl` and `espnet-s3prl` and does not know that they write the same files: where
both were installed, the last one is what is imported. So it is the package that is asked, by its
version.txt, and not what pip has recorded.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError

ORIGINAL, FORK = "s3prl", "espnet-s3prl"
# The first version that was tried and the first that is refused. The fork counts by dates and
# changes no more than an environment of ESPnet asks for.
ORIGINAL_OLDEST, ORIGINAL_BOUND = (0, 4, 18), (0, 5)
FORK_OLDEST = (2026, 5, 14)
KINDS = f"{ORIGINAL} 0.4.18 or {FORK} 2026.5.14 or newer"
# Each removes the other first: pip would leave the files of one under the records of both.
REMOVE = f"pip uninstall --yes {ORIGINAL} {FORK}"
INSTALL = f"pip install {FORK} (or: pip install '{ORIGINAL}>=0.4.18,<0.5')"


@dataclass(frozen=True)
class S3prl:
    """A package that is imported as `s3prl`: pip's name for it, its version, and its folder."""

    project: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


def find_s3prl() -> S3prl | None:
    """The s3prl that this Python imports, without importing it; None where there is none.

    Raises:
        BarlowSpeechError: it is of neither kind.
    """
    spec = importlib.util.find_spec("s3prl")
    if spec is None or spec.origin is None:  # a folder of that name, such as a clone's, is none
        return None
    return read_s3prl(Path(spec.origin).parent, f"run: {REMOVE}, then: {INSTALL}")


def read_s3prl(folder: Path, remedy: str) -> S3prl:
    """The s3prl in a folder, which has its `__init__.py`.

    Raises:
        BarlowSpeechError: it is of neither kind; the sentence ends on `remedy`.
    """
    file = folder / "version.txt"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    numbers = tuple(int(one) for one in re.findall(r"\d+", text)[:3])
    version = ".".join(map(str, numbers))  # the fork writes 2026.05.14 there
    if ORIGINAL_OLDEST <= numbers < ORIGINAL_BOUND:
        return S3prl(ORIGINAL, version, folder)
    if numbers >= FORK_OLDEST:
        return S3prl(FORK, version, folder)
    raise BarlowSpeechError(
        f"{folder} is s3prl {text or 'without version.txt'}, and what is needed is {KINDS}; "
        f"{remedy}."
    )
