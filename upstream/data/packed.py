"""Speech packed for pretraining: one int16 file with offsets, and random crops of it.

A packed folder holds `audio.i16` (the recordings one behind the other, 16 kHz mono),
`offsets.npy` (int64 [M + 1], in samples), `recordings.txt` (their names, a line each) and
`packed.json` (what went in, and checksums).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest, file_digest, parsed_json, unmask
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, known_by, read_audio
from barlow_speech.upstream.data.contents import contents
from barlow_speech.upstream.data.manifest import Manifest, Recording, Spans, read_manifest

FORMAT = 1
AUDIO, OFFSETS, NAMES, INDEX = "audio.i16", "offsets.npy", "recordings.txt", "packed.json"
CHECKSUMS = ("sha256", "offsets_sha256")  # in the index


@dataclass(frozen=True)
class Source:
    """Rows of a manifest: those whose columns hold one of the values that `where` lists."""

    manifest: str
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSettings:
    """What to pretrain on: `sources` less every recording that overlaps one of `held_out`.

    A `share` below 1 keeps as many of these, drawn at random, the same every time; those of a
    smaller share are among those of a larger one.
    """

    sources: tuple[Source, ...] = ()
    held_out: tuple[Source, ...] = ()
    share: Annotated[float, Field(gt=0, le=1)] = 1.0


def chosen(settings: DataSettings, root: Path) -> list[Recording]:
    """The recordings that the settings name; manifests are relative to `root`.

    Raises:
        BarlowSpeechError: a manifest or column is missing, or nothing is left.
    """
    held_out: dict[Path, list[Recording]] = {}
    for source in settings.held_out:
        for recording in _rows(read_manifest(root / source.manifest), source.where):
            held_out.setdefault(recording.path.resolve(), []).append(recording)
    spans = {path: Spans(ones) for path, ones in held_out.items()}
    nothing = Spans(())
    result = [
        recording
        for source in settings.sources
        for recording in _rows(read_manifest(root / source.manifest), source.where)
        if not spans.get(recording.path.resolve(), nothing).overlap(recording)
    ]
    if not result:
        raise BarlowSpeechError(
            f"no recording under {root} is left to train on; fix data.sources and data.held_out."
        )
    kept = np.random.default_rng(0).permutation(len(result))[
        : math.ceil(settings.share * len(result))
    ]
    return [result[row] for row in sorted(kept.tolist())]


def _rows(manifest: Manifest, where: Mapping[str, Sequence[str]]) -> list[Recording]:
    keep = np.ones(len(manifest), dtype=bool)
    for name, values in where.items():
        keep &= np.isin(manifest.column(name), list(values))
    return [recording for recording, kept in zip(manifest.recordings, keep) if kept]


def pack(recordings: Sequence[Recording], folder: Path, verify: bool = False) -> Path:
    """Write the recordings as a packed folder, whole or not at all; one that is there is kept.

    Where other files went in they are decoded: the same speech is what counts. So are those of an
    index of before, which knows places and times in place of what is in a file. `verify` reads
    every file, whatever is remembered of it.

    Raises:
        BarlowSpeechError: a recording cannot be read, the folder holds other speech, or it
            cannot be written.
    """
    inside = _digest(recordings, verify)
    old = _packed(folder)
    if old is None or old.get("contents") != inside:
        _write(map(str, recordings), map(_read, recordings), folder, inside, old)
    return folder


def pack_waves(
    names: Sequence[str], waves: Iterable[np.ndarray], folder: Path, inside: str
) -> Path:
    """The same of waveforms [N] at 16 kHz, float32 in [-1, 1], that are `inside`, a digest.

    Raises:
        BarlowSpeechError: as `pack`.
    """
    old = _packed(folder)
    if old is None or old.get("contents") != inside:
        _write(names, waves, folder, inside, old)
    return folder


def _read(recording: Recording) -> np.ndarray:
    return read_audio(recording.path, recording.start_s, recording.end_s, recording.gain_db)


def _packed(folder: Path) -> dict[str, Any] | None:
    """The index of a packed folder, or None where there is none yet.

    Raises:
        BarlowSpeechError: the folder holds something else.
    """
    # Looked at before the index: a folder comes whole, by renaming, and may come now.
    used = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if (folder / INDEX).exists():
        return _read_index(folder)
    if used:
        raise BarlowSpeechError(f"{folder} is in use; choose a folder that is new or empty.")
    return None


def _write(
    names: Iterable[str],
    waves: Iterable[np.ndarray],
    folder: Path,
    inside: str,
    old: dict[str, Any] | None,
) -> None:
    """Write the packed folder; of one that is there, with `old` as its index, the index alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot write {folder}: {error.strerror}; choose another."
        ) from error
    try:
        ends, checksum = [0], hashlib.sha256()
        lines = [" ".join(one.splitlines()) for one in names]
        with (part / AUDIO).open("wb") as audio, progress(len(lines), "pack", "rec") as bar:
            for wave in waves:
                samples = np.rint(wave * 32768).clip(-32768, 32767).astype("<i2")
                checksum.update(samples.tobytes())
                audio.write(samples.tobytes())
                ends.append(ends[-1] + len(samples))
                bar.update()
        np.save(part / OFFSETS, np.array(ends, dtype=np.int64))
        (part / NAMES).write_text("\n".join(lines) + "\n", encoding="utf-8")
        index = {
            "format": FORMAT,
            "contents": inside,
            "recordings": len(lines),
            "hours": round(ends[-1] / SAMPLE_RATE / 3600, 4),
            "sha256": checksum.hexdigest(),
            "offsets_sha256": file_digest(part / OFFSETS),
        }
        (part / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        unmask(part, 0o777)
        if not old:
            try:
                part.replace(folder)
                return
            except OSError:
                old = _packed(folder)
                if not old:  # else another process was there first
                    raise
        if any(old.get(key) != index[key] for key in CHECKSUMS):
            raise BarlowSpeechError(
                f"{folder} holds other recordings than these, or these as an earlier version read "
                "them; choose another folder or remove it."
            )
        (part / INDEX).replace(folder / INDEX)
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot write {folder}: {error.strerror}; free some space."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _digest(recordings: Sequence[Recording], anew: bool) -> str:
    """A digest of the recordings, of what is in their files and of their order."""
    inside = contents((one.path for one in recordings), anew)
    return digest([known_by(one, inside[one.path]) for one in recordings])


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = parsed_json((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BarlowSpeechError(
            f"{folder} is no packed corpus ({error}); make one with `barlow-speech pack`."
        ) from error
    if not isinstance(index, dict):
        raise BarlowSpeechError(f"{folder / INDEX} holds no mapping; pack the corpus again.")
    return index


def _read_offsets(path: Path) -> np.ndarray:
    """The array in a .npy file; no memory is taken for what its header promises and it has not.

    Raises:
        ValueError: it is no whole .npy file of int64.
    """
    try:
        offsets = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy lets through what Python's parser says of a broken header
        raise ValueError(f"{path.name} is no whole .npy file: {error}") from error
    if offsets.dtype != np.int64:
        raise ValueError(f"{path.name} holds {offsets.dtype} and no offsets")
    return np.array(offsets)


class PackedCorpus:
    """A packed folder, opened: random crops of its recordings, all drawn from a seed.

    An epoch is a pass over the recordings in a fresh order in which one of length L stands
    max(1, round(L / crop)) times, so that every second of speech is as likely as any other.
    """

    def __init__(self, folder: Path, crop_s: float, seed: int) -> None:
        """Open `folder` for crops of `crop_s` seconds.

        Raises:
            BarlowSpeechError: it is no packed folder, or its files are not as long as they say.
        """
        try:
            self.index = {**dict.fromkeys(CHECKSUMS, ""), **_read_index(folder)}
            self.offsets = _read_offsets(folder / OFFSETS)
            self._audio = (folder / AUDIO).open("rb", buffering=0)
            size = os.fstat(self._audio.fileno()).st_size
        except (OSError, ValueError) as error:
            raise BarlowSpeechError(
                f"{folder} is no packed corpus ({error}); make one with `barlow-speech pack`."
            ) from error
        if (
            self.index.get("format") != FORMAT
            or self.offsets.ndim != 1
            or len(self.offsets) < 2
            or self.offsets[0] != 0
            or not (self.offsets[1:] > self.offsets[:-1]).all()
            or 2 * int(self.offsets[-1]) != size
            or not all(isinstance(self.index[name], str) for name in CHECKSUMS)
        ):
            raise BarlowSpeechError(
                f"packed corpus {folder} is incomplete or of another version; pack it again."
            )
        lengths = np.diff(self.offsets)
        self.folder = folder
        self.crop = round(crop_s * SAMPLE_RATE)  # samples
        self.seed = seed
        repeats = np.maximum(1, np.rint(lengths / self.crop)).astype(np.int64)
        self.items = np.repeat(np.arange(len(lengths)), repeats)
        self._epoch, self._order = -1, self.items

    def verify(self) -> None:
        """Compare the audio with its checksum.

        Raises:
            BarlowSpeechError: it is not what was packed.
        """
        if (
            file_digest(self.folder / AUDIO) != self.index["sha256"]
            or file_digest(self.folder / OFFSETS) != self.index["offsets_sha256"]
        ):
            raise BarlowSpeechError(
                f"packed corpus {self.folder} was changed since it was written; pack it again."
            )

    @property
    def hours(self) -> float:
        """Hours of speech."""
        return float(self.offsets[-1]) / SAMPLE_RATE / 3600

    def recordings(self, positions: np.ndarray) -> np.ndarray:
        """Which recording stands at each position of the endless sequence of epochs."""
        result = np.empty(len(positions), dtype=np.int64)
        epochs, within = np.divmod(positions, len(self.items))
        for epoch in np.unique(epochs):
            if epoch != self._epoch:
                self._order = np.random.default_rng([self.seed, int(epoch)]).permutation(self.items)
                self._epoch = int(epoch)
            here = epochs == epoch
            result[here] = self._order[within[here]]
        return result

    def names(self, positions: np.ndarray) -> list[str]:
        """What the recordings at some positions are called, each once; their numbers if unknown."""
        rows = dict.fromkeys(self.recordings(positions).tolist())
        try:
            lines = (self.folder / NAMES).read_text(encoding="utf-8").splitlines()
            return [lines[row] for row in rows]
        except (OSError, ValueError, IndexError):
            return [f"recording {row} of {self.folder}" for row in rows]

    def crops(self, positions: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
        """int16 crops [B, N] at positions of the sequence, for each of `lengths` N in samples.

        Each is drawn alone. The crop at a position depends on the seed, the position, its length
        and those before it only. A recording shorter than the crop is repeated until it fills it.
        """
        result = [np.empty((len(positions), length), dtype=np.int16) for length in lengths]
        self.cut(positions, lengths, dict(enumerate(result)))
        return result

    def cut(
        self, positions: np.ndarray, lengths: Sequence[int], into: Mapping[int, np.ndarray]
    ) -> None:
        """Read what `crops` gives into the arrays `into`, by place in `lengths`, and no others."""
        for row, recording in enumerate(self.recordings(positions)):
            first, last = self.offsets[recording], self.offsets[recording + 1]
            rng = np.random.default_rng([self.seed, 1, int(positions[row])])
            for place, length in enumerate(lengths):
                longer = last - first > length
                start = first + rng.integers(last - first - length + 1) if longer else first
                if place not in into:
                    continue
                if longer:
                    self._read(start, into[place][row])
                else:
                    into[place][row] = np.resize(self.samples(first, last), length)

    def samples(self, first: int, last: int) -> np.ndarray:
        """int16 samples of a span of the file."""
        result = np.empty(int(last - first), dtype=np.int16)
        self._read(first, result)
        return result

    def _read(self, first: int, into_N: np.ndarray) -> None:
        """The samples from `first` on.

        Read, not mapped: the pages of a map count as this process's memory once they are touched,
        and in a few epochs random crops touch all of them.
        """
        if os.preadv(self._audio.fileno(), [into_N.data], 2 * int(first)) != into_N.nbytes:
            raise BarlowSpeechError(
                f"packed corpus {self.folder} was cut short while it was read; pack it again."
            )
