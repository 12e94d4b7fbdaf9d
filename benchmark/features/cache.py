"""Features on disk, addressed by what made them: safe to share, to interrupt and to delete.

`<root>/<digest>/` holds what one upstream makes of recordings. The digest is over its weights, its
code and the kind of features, so that a change of any of them is another folder. Inside lie
shards, safetensors files that are written whole and never changed, each with the keys of its
recordings; a key is over what is in a file, the span and the gain. Recordings are found by their
keys, wherever they lie and whichever corpus or task asks, and only what no shard has is computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.files import digest, locked, parsed_json, write_json
from barlow_speech.upstream.data.audio import known_by
from barlow_speech.upstream.data.contents import contents
from barlow_speech.upstream.data.manifest import Recording

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Of what a shard holds and of how it is computed: the resampler and the front-end, the encoders,
# the readout, the cut into frames and the pooling. Whoever changes a number there raises it by
# hand; features of before are then computed again, and a comment throws none away. Where only parts
# of files are read otherwise, PARTS_VERSION (upstream/data/audio.py) is raised.
FEATURES_VERSION = 4
ABOUT, LOCK, SUFFIX = "about.json", "lock", ".safetensors"
DAMAGE = (safetensors.SafetensorError, OSError, LookupError, ValueError, TypeError)
# What a shard holds of each recording, or of all their frames; `embedding` may be there as well.
POOLED, FRAMED = {"keys", "audio", "mean", "std"}, {"keys", "audio", "frames", "offsets"}
EMBEDDING = "embedding"
FLOATS = ("F16", "F32", "F64")


def recording_keys(
    recordings: Sequence[Recording], listed_in: Path, anew: bool = False
) -> list[bytes]:
    """16 bytes for each recording: what is in its file, its span and its gain.

    Where the file lies and what it is called does not count. `anew` reads all files, whatever is
    remembered of them.

    Raises:
        BarlowSpeechError: a file does not exist or cannot be read.
    """
    inside = contents((one.path for one in recordings), anew, listed_in)
    keys = []
    for one in recordings:
        text = "\0".join(map(str, known_by(one, inside[one.path])))
        keys.append(hashlib.blake2b(text.encode(), digest_size=16).digest())
    return keys


def features_key(upstream: str, fingerprint: str, recordings: Sequence[bytes], kind: str) -> str:
    """The `key` of these features, computed or not; `recordings` are keys of theirs."""
    return Folder(Path(), upstream, fingerprint, kind).key_of(recordings)


class Shard:
    """One file of features; its tensors are mapped, not read, until they are used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = safetensors.safe_open(path, framework="pt")
        metadata = self._file.metadata() or {}
        self.seconds = float(metadata["seconds"])
        self.names = set(self._file.keys())
        self._check()
        self.keys = [row.tobytes() for row in self.tensor("keys").numpy()]

    def verify(self) -> None:
        """Read all of it and compare it with its checksum.

        Raises:
            ValueError: it was changed since it was written.
        """
        from barlow_speech.upstream.model.checkpoint import CHECKSUM, checksum

        metadata = self._file.metadata()
        stored = metadata.pop(CHECKSUM)
        if checksum({name: self.tensor(name) for name in self.names}, metadata) != stored:
            raise ValueError("its checksum does not match")

    def _check(self) -> None:
        """Compare the tensors with each other; only the offsets are read.

        Raises:
            ValueError: they do not fit.
        """
        parts = {name: self._file.get_slice(name) for name in self.names}
        shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"{self.seconds} seconds are none")
        if self.names - {EMBEDDING} not in (POOLED, FRAMED):
            raise ValueError(f"it holds {', '.join(sorted(self.names)) or 'nothing'}")
        kinds = {"keys": ("U8",), "audio": ("I64",), "offsets": ("I64",)}
        wrong = [n for n in self.names if parts[n].get_dtype() not in kinds.get(n, FLOATS)]
        count = shapes["keys"][0] if shapes["keys"] else 0
        rows = {"keys": (count, 16), "audio": (count,), "offsets": (count + 1,)}
        wrong += [name for name, shape in rows.items() if shapes.get(name, shape) != shape]
        several = ("frames",) if "frames" in self.names else ("mean", "std")
        layers = [shapes[name] for name in several]
        if wrong or count == 0 or any(len(one) != 3 or 0 in one for one in layers):
            raise ValueError(f"tensors of the shapes {shapes} do not fit")
        self.layers, self.width = layers[0][1:]
        embedding = shapes.get(EMBEDDING)
        kinds_of = {n: parts[n].get_dtype() for n in self.names - {"frames"}}
        # What all shards of a folder share; frames may be in half or in single precision.
        self.layout = (self.layers, self.width, embedding and embedding[1:], kinds_of)
        if "frames" in self.names:
            offsets = self.tensor("offsets")
            whole = offsets[0] == 0 and offsets[-1] == layers[0][0]
            fits = bool(whole and (offsets[1:] > offsets[:-1]).all())
        else:
            fits = layers[0] == layers[1] and layers[0][0] == count
        if embedding is not None:
            fits = fits and len(embedding) == 2 and embedding[0] == count
        if not fits:
            raise ValueError(f"tensors of the shapes {shapes} do not fit")

    def tensor(self, name: str) -> Tensor:
        """A tensor of the file, mapped."""
        return self._file.get_tensor(name)


class Folder:
    """The features of one kind that one upstream made."""

    def __init__(self, root: Path, upstream: str, fingerprint: str, kind: str) -> None:
        self.key = digest([FEATURES_VERSION, fingerprint, kind])
        self.path = root / self.key[:32]
        self._about = {"upstream": upstream, "fingerprint": fingerprint, "kind": kind}

    def key_of(self, recordings: Sequence[bytes]) -> str:
        """A digest of the computation and of the keys of recordings."""
        return digest([self.key, [key.hex() for key in recordings]])

    def shards(self, verified: Set[bytes] = frozenset()) -> list[Shard]:
        """Every whole shard; a corrupt one is named in a warning, removed and recomputed.

        Those with a recording whose key is in `verified` are compared with their checksums.
        """
        shards = []
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                shard = Shard(path)
                if not verified.isdisjoint(shard.keys):
                    shard.verify()
                shards.append(shard)
            except FileNotFoundError:  # another process has just pruned it
                continue
            except DAMAGE as error:
                log.warning("features %s are corrupt (%s); recomputing", path, one_line(error, 300))
                with contextlib.suppress(OSError):
                    path.unlink()
        if shards:
            with contextlib.suppress(OSError):  # when it was last used, for pruning
                os.utime(self.path / ABOUT)
        return shards

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process of this machine computes the same; a dead one holds no lock.

        Where the file system knows no locks both compute, and what they write is equal.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / ABOUT, self._about)
        except OSError as error:
            raise BarlowSpeechError(
                f"cannot write {self.path}: {error.strerror or error}; choose a folder that can be "
                "written by setting BARLOW_SPEECH_CACHE."
            ) from error
        with locked(self.path / LOCK, f"computes features of {self._about['upstream']}"):
            yield

    def add(self, keys: Sequence[bytes], tensors: dict[str, Tensor], seconds: float) -> None:
        """Write a shard, whole or not at all; `tensors` have the recordings first, or `offsets`."""
        import torch

        from barlow_speech.upstream.model.checkpoint import write_tensors

        stacked = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, 16)
        contents = {"keys": stacked, **{k: v.contiguous() for k, v in tensors.items()}}
        name = hashlib.sha256(b"".join(sorted(keys))).hexdigest()[:24] + SUFFIX
        write_tensors(self.path / name, contents, {"seconds": f"{seconds:.3f}"})


@dataclass(frozen=True)
class Entry:
    """A folder of the cache, as `barlow-speech cache` lists it; `days` since it was last used."""

    path: Path
    upstream: str
    kind: str
    recordings: int
    size: int
    days: float


def entries(root: Path) -> list[Entry]:
    """Every folder of the cache, the one used last first."""
    listed = []
    for about in root.glob(f"*/{ABOUT}"):
        facts = _about_of(about)
        paths = list(about.parent.glob(f"*{SUFFIX}"))
        recordings = 0
        for path in paths:
            with contextlib.suppress(*DAMAGE), safetensors.safe_open(path, framework="np") as file:
                recordings += file.get_slice("keys").get_shape()[0]
        days = (time.time() - about.stat().st_mtime) / 86400
        size = sum(path.stat().st_size for path in about.parent.iterdir())
        listed.append(Entry(about.parent, facts["upstream"], facts["kind"], recordings, size, days))
    return sorted(listed, key=lambda entry: entry.days)


def verify(entry: Entry) -> list[Path]:
    """The shards of a folder whose bytes are not those that were written."""
    broken = []
    for path in sorted(entry.path.glob(f"*{SUFFIX}")):
        try:
            Shard(path).verify()
        except DAMAGE:
            broken.append(path)
    return broken


def remove(entry: Entry) -> None:
    """Delete a folder of the cache; a process that reads from it keeps what it has mapped.

    Raises:
        BarlowSpeechError: it cannot be deleted.
    """
    try:
        shutil.rmtree(entry.path)
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot delete {entry.path}: {error.strerror or error}; check its permissions."
        ) from error


def _about_of(path: Path) -> dict[str, str]:
    facts: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        facts = dict(parsed_json(path.read_text(encoding="utf-8")))
    return {k: facts[k] if isinstance(facts.get(k), str) else "?" for k in ("upstream", "kind")}
