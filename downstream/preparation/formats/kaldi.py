"""Folders of Kaldi: `wav.scp`, perhaps `segments`, `text`, `utt2…` and `spk2…`.

A segment is cut as Kaldi's extract-segments and kaldiio do: from int(start · rate) to before
int(end · rate), to the end for -1; an end may be half a second behind that of the recording. A
command in a pipe is not run. Archives (`file.ark:123`) are read by kaldiio.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import soundfile

from barlow_speech.downstream.corpora._scan import GENDERS, listing, read_lines
from barlow_speech.downstream.preparation.formats._entry import (
    TECHNICAL,
    Asked,
    Entry,
    Samples,
    within,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.allowed_folders import AllowedFolders
from barlow_speech.upstream.data.audio import Size

TITLE = "Kaldi folder"
TABLES = re.compile(r"(?:utt|spk)2(?!spk$|utt$|uniq$)(\w+)")
ARCHIVE = re.compile(r"(.+):(\d+)(\[.*\])?")
OVERSHOOT_S = 0.5


def recognises(path: Path) -> bool:
    """Whether it is such a folder, or its wav.scp."""
    return (path.is_dir() and (path / "wav.scp").is_file()) or path.name == "wav.scp"


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The utterances of a folder.

    Raises:
        BarlowSpeechError: a file is malformed, or a recording is a command.
    """
    folder = path if path.is_dir() else path.parent
    recordings = _table(folder / "wav.scp")
    segments = _table(folder / "segments") if (folder / "segments").exists() else None
    speakers = _table(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    texts = _table(folder / "text", empty=True) if (folder / "text").exists() else None
    of_utterance: dict[str, dict[str, str]] = {}
    of_speaker: dict[str, dict[str, str]] = {}
    for name in listing(folder):
        if (found := TABLES.fullmatch(name)) and found[1] not in TECHNICAL:
            by = of_utterance if name.startswith("utt") else of_speaker
            by[found[1]] = _table(folder / name)
    root = asked.root or folder
    for utterance in recordings if segments is None else segments:
        where = f"utterance {utterance}"
        samples: Samples | None = None
        recording = utterance
        if segments is not None:
            recording, samples = _segment(segments[utterance], f"{folder / 'segments'}, {where}")
            if recording not in recordings:
                raise BarlowSpeechError(
                    f"{folder / 'segments'}, {where}: {recording} is not in wav.scp; run Kaldi's "
                    "utils/fix_data_dir.sh, or add it."
                )
        cells = {"id": utterance}
        if speakers:
            if utterance not in speakers:
                raise BarlowSpeechError(
                    f"{folder / 'utt2spk'} has no {where}; run Kaldi's utils/fix_data_dir.sh, or "
                    "add it."
                )
            cells["speaker"] = speakers[utterance]
        for name, of in of_speaker.items():
            cells[name] = of.get(cells.get("speaker", ""), "")
        for name, of in of_utterance.items():
            cells[name] = of.get(utterance, "")
        if "gender" in cells:
            cells["gender"] = GENDERS.get(cells["gender"].upper(), cells["gender"])
        if texts is not None:
            cells["text"] = texts.get(utterance, "")
        said = {name: " ".join(one.split()) for name, one in cells.items()}
        yield _entry(folder, where, recording, recordings[recording], said, samples, root)


def _entry(
    folder: Path,
    where: str,
    recording: str,
    place: str,
    cells: Mapping[str, str],
    samples: Samples | None,
    root: Path,
) -> Entry:
    if place.endswith("|") or place.startswith("|") or place == "-":
        raise BarlowSpeechError(
            f"{folder / 'wav.scp'}, {where}: recording {recording} is a command in a pipe "
            f"({place[:60]}), which is not run; write it to a file, as by Kaldi's wav-copy."
        )
    archive = ARCHIVE.fullmatch(place)
    if not archive:
        return Entry(where, place, cells, samples)
    file = root / archive[1]
    if not AllowedFolders(root).holds(archive[1]):
        raise BarlowSpeechError(
            f"{folder / 'wav.scp'}, {where}: {file} is outside of {root}; if you trust the list, "
            "say by --audio-root the folder that holds its recordings."
        )
    read = functools.partial(_archived, file, place[len(archive[1]) :], f"{folder}, {where}")
    return Entry(where, f"{recording}.wav", cells, samples, read, of=recording)


def _archived(file: Path, rest: str, where: str) -> bytes:
    """A recording of an archive as a WAV file."""
    try:
        import kaldiio
    except ImportError as error:
        raise BarlowSpeechError(
            f"{where}: {file}{rest} is in an archive, which kaldiio reads; pip install kaldiio."
        ) from error
    try:
        if not file.is_file():
            raise ValueError("there is no such file; say by --audio-root what it is relative to")
        rate, wave = kaldiio.load_mat(f"{file}{rest}")
        out = io.BytesIO()
        soundfile.write(out, wave, rate, format="WAV")
    except Exception as error:  # whatever a damaged archive makes of it
        said = str(error) or type(error).__name__
        raise BarlowSpeechError(
            f"{where}: {file}{rest} holds no recording ({said}); write it again."
        ) from error
    return out.getvalue()


def _segment(line: str, where: str) -> tuple[str, Samples]:
    cells = line.split()
    try:
        recording, start, end = cells[0], float(cells[1]), float(cells[2])
        good = len(cells) < 5 and 0 <= start < 1e9 and (end == -1 or start < end < 1e9)
    except (ValueError, IndexError):
        good = False
    if not good:
        raise BarlowSpeechError(
            f"{where}: '{line}' must be a recording, the second it starts at and the one it ends "
            "at; fix it."
        )
    return recording, functools.partial(_cut, start, end, cells[3] if len(cells) == 4 else "")


def _cut(start: float, end: float, channel: str, size: Size) -> tuple[int, int]:
    if channel and size.channels > 1:
        raise BarlowSpeechError(
            f"it is channel {channel} of {size.channels}, and channels are averaged here; write "
            "each to a file of its own, as by sox IN OUT remix 1."
        )
    last = size.frames if end == -1 else int(end * size.rate)
    return within(size, int(start * size.rate), last, OVERSHOOT_S)


def _table(file: Path, empty: bool = False) -> dict[str, str]:
    """What follows the first word of each line, by that word; tabs and blanks are alike."""
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        key, rest = [*line.strip().split(None, 1), ""][:2]
        if key in table or not (rest or empty):
            fault = "stands there twice" if key in table else "has nothing behind it"
            raise BarlowSpeechError(
                f"{file}, line {number}: '{key}' {fault}; run Kaldi's utils/fix_data_dir.sh."
            )
        table[key] = rest
    return table
