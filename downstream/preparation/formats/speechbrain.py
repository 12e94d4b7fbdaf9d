"""SpeechBrain's CSV (columns ID and wav) and JSON (an object with one for each ID).

`start` and `stop` are samples (`read_audio`: from start to before stop; to the end where there is
no stop, or it is start). A replacement such as
`$data_root/` or `{data_root}/` at the start of a path is what `--audio-root` names.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from barlow_speech.downstream.corpora._scan import read_lines
from barlow_speech.downstream.preparation.formats._entry import (
    PATHS,
    Asked,
    Entry,
    cells,
    json_of,
    json_rows,
    within,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import Size

TITLE = "SpeechBrain"
REPLACED = re.compile(r"\$(\w+|\{\w+\})/*|\{\w+\}/*")


def recognises(path: Path) -> bool:
    """Whether a file is JSON with a name for each recording, or a CSV with ID and wav."""
    if not path.is_file():
        return False
    if found := json_of(path):
        return found.kind == "named" and not {*PATHS}.isdisjoint(found.first)
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [name.strip() for name in file.readline(1 << 16).split(",")]
    except (OSError, ValueError):
        return False
    return {"ID", "wav"} <= set(header)


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The recordings of a file.

    Raises:
        BarlowSpeechError: it is damaged, or a path has a replacement and no `--audio-root` is
            given.
    """
    rows = json_rows(path, "named") if json_of(path) else _csv_rows(path)
    for place, row in rows:
        where = f"{path}, {place}"
        key = asked.columns.get("path") or next((one for one in PATHS if row.get(one)), "")
        audio, own = row.get(key), dict(row)
        if isinstance(audio, dict):
            own |= {name: audio[name] for name in ("start", "stop") if name in audio}
            audio = audio.get("files", audio.get("file"))
        if isinstance(audio, list) and len(audio) == 1:
            audio = audio[0]
        if not isinstance(audio, str):
            raise BarlowSpeechError(
                f"{where}: one recording is expected in '{key or 'wav'}', not {audio!r}; give each "
                "row one, or say which column has it by --column path=…"
            )
        replaced = REPLACED.match(audio)
        if replaced and asked.root is None:
            raise BarlowSpeechError(
                f"{where}: say by --audio-root which folder {replaced[0].strip('/')} is."
            )
        relative = audio[replaced.end() :] if replaced else audio
        left_out = [one for one in own if one.endswith(("_format", "_opts"))]
        labels = cells(own, key, "start", "stop", *left_out)
        yield Entry(place, relative, labels, _samples(own, where))


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(read_lines(path), skipinitialspace=True, strict=True)
    header = [name.strip() for name in next(reader)]
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if row and len(row) != len(header):
                raise BarlowSpeechError(
                    f"{path}, {place}: {len(row)} cells where the header has {len(header)}; fix "
                    "the row."
                )
            if row:
                yield place, dict(zip(header, row))
    except csv.Error as error:
        raise BarlowSpeechError(
            f"{path}, line {reader.line_num}: it is no row of a CSV ({error}); fix it."
        ) from error


def _samples(row: Mapping[str, Any], where: str) -> functools.partial[tuple[int, int]] | None:
    given = [row.get("start"), row.get("stop")]
    if all(one in (None, "") for one in given):
        return None
    try:
        first = int(str(given[0] or 0))
        last = int(str(given[1] or first))
        if 0 <= first <= last:
            return functools.partial(_cut, first, last)
    except ValueError:
        pass
    raise BarlowSpeechError(
        f"{where}: start and stop must be whole numbers of samples, and stop not before start, not "
        f"{given[0]!r} and {given[1]!r}; fix them."
    )


def _cut(first: int, last: int, size: Size) -> tuple[int, int]:
    return within(size, first, last if last > first else size.frames, 0)
