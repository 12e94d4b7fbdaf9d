"""What s3prl uses of packages that it does not declare, where they are not installed.

A whole package is a heavy thing to install for one function: librosa for a list of files, catalyst
for a sampler that is only used by several processes. Each function here says which files of s3prl
need the name, and puts it into `sys.modules` under the very module that they import it from. The
package above it stays missing, so nobody else takes it for installed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Hashable, Sequence
from importlib import metadata
from typing import Any

from barlow_speech.upstream.common.errors import BarlowSpeechError


def patch_packages() -> list[str]:
    """Put all of them where they are missing, and return the names of those that were."""
    return [*patch_catalyst(), *patch_librosa(), *patch_editdistance(), *patch_pysox()]


def patch_catalyst() -> list[str]:
    """`catalyst.data.sampler.DistributedSamplerWrapper`.

    Needed by s3prl's `downstream/speech_commands/expert.py` on import, and used there where
    torch.distributed is initialised. pip 24.1 and newer take for the newest catalyst 21.5, which
    cannot be imported on any Python that we support: it counts as missing.
    """
    if _installed("catalyst") and _release("catalyst") >= 22:
        return []
    from barlow_speech.upstream.third_party.distributed_sampler import DistributedSamplerWrapper

    return _stand_in("catalyst.data.sampler", DistributedSamplerWrapper=DistributedSamplerWrapper)


def patch_librosa() -> list[str]:
    """`librosa.util.find_files`.

    Needed by `dataset.py` of s3prl's `downstream/voxceleb1`, `downstream/sv_voxceleb1` and
    `downstream/voxceleb2_ge2e` on import, and by no other supported task but those of separation
    and enhancement, which need librosa itself.
    """
    if _installed("librosa"):
        return []
    return _stand_in("librosa.util", find_files=find_files)


def patch_editdistance() -> list[str]:
    """`editdistance`, which has no wheels for Python 3.13 and newer, by means of rapidfuzz.

    Needed by s3prl's `downstream/asr/expert.py`, `downstream/ctc/metric.py` and
    `downstream/speech_translation/expert.py` on import.
    """
    if _installed("editdistance") or not _installed("rapidfuzz"):
        return []
    return _stand_in("editdistance", eval=edit_distance, distance=edit_distance)


def patch_pysox() -> list[str]:
    """`sox.Transformer`, of the package pysox.

    Needed by `dataset.py` of s3prl's `downstream/sv_voxceleb1` and `downstream/voxceleb2_ge2e` on
    import; neither uses it.
    """
    if _installed("sox"):
        return []
    return _stand_in("sox", Transformer=Transformer)


def _installed(package: str) -> bool:
    """Whether a package can be imported from a file; a stand-in cannot, nor can an empty folder."""
    if package in sys.modules:
        return getattr(sys.modules[package], "__file__", None) is not None
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _release(package: str) -> int:
    """The first number of the version that pip recorded; 0 where it recorded none."""
    try:
        first = metadata.version(package).partition(".")[0]
    except metadata.PackageNotFoundError:
        return 0
    return int(first) if first.isdigit() else 0


def _stand_in(name: str, **content: Any) -> list[str]:
    """Put a module of this content in place, unless it is there; the names that were missing."""
    if name in sys.modules:
        return []
    module = types.ModuleType(name, "What s3prl needs of it.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(content)
    sys.modules[name] = module
    return [f"{name}.{one}" for one in content]


AUDIO_SUFFIXES = ("aac", "au", "flac", "m4a", "mp3", "ogg", "wav")


def find_files(directory: str | os.PathLike[str]) -> list[str]:
    """The absolute paths of all audio files in a folder and below, sorted.

    As `librosa.util.find_files` of librosa 0.11 with its defaults: by suffix, in small or in
    capital letters, hidden files left out, folders that are links not entered.
    """
    suffixes = tuple(f".{one}" for suffix in AUDIO_SUFFIXES for one in (suffix, suffix.upper()))
    root = os.path.abspath(os.path.expanduser(directory))  # noqa: PTH100, PTH111
    return sorted(
        f"{folder}/{name}"
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(suffixes) and not name.startswith(".")
    )


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Insertions, deletions and substitutions that make one sequence the other, as editdistance.

    It compares hashes, of which -1 and -2 have the same.
    """
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance([hash(one) for one in a], [hash(one) for one in b]))


class Transformer:
    """`sox.Transformer`, which s3prl imports and does not use."""

    def __init__(self) -> None:
        """Refuse.

        Raises:
            BarlowSpeechError: always; it names the package that has the real one.
        """
        raise BarlowSpeechError("sox.Transformer needs pysox and SoX; run: pip install sox")
