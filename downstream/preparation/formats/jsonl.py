"""JSON lines, one recording a line: NeMo's manifests, EmoBox's, `metadata.jsonl` of audio folders.

NeMo (`AudioSegment.from_file`) seeks to int(offset · rate) and reads int(duration · rate) samples,
or to the end where there are fewer. EmoBox (`read_wav`) reads from int(start_time · rate) to before
int(end_time · rate). Of other keys that look like times nobody knows the meaning: they are refused
until `--column` says it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from barlow_speech.downstream.preparation.formats import lhotse
from barlow_speech.downstream.preparation.formats._entry import (
    PATHS,
    PERHAPS_TIMES,
    Asked,
    Entry,
    Samples,
    cells,
    json_of,
    json_rows,
    seconds,
    within,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import Size
from barlow_speech.upstream.data.sound_files import SLACK_S

TITLE = "JSON lines (NeMo, EmoBox)"
NEMO, EMOBOX = ("offset", "duration"), ("start_time", "end_time")
OF_EMOBOX = ("type", "dataset", "task", "channel")  # the last is how many there are


def recognises(path: Path) -> bool:
    """Whether a file holds JSON objects that name recordings, and is not of lhotse."""
    found = json_of(path)
    named = found is not None and found.kind != "named" and not {*PATHS}.isdisjoint(found.first)
    return named and not lhotse.recognises(path)


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The recordings of a file.

    Raises:
        BarlowSpeechError: it is damaged, or a line names no recording.
    """
    found = json_of(path)
    key = ""
    for place, row in json_rows(path, found.kind if found else "lines"):
        where = f"{path}, {place}"
        key = key if key in row else asked.columns.get("path") or _key(row, where)
        if isinstance(row.get(key), list):
            raise BarlowSpeechError(
                f"{where}: '{key}' is a list; give each recording a line of its own."
            )
        yield Entry(
            place,
            str(row[key] if row.get(key) is not None else ""),
            cells(row, key, *NEMO, *EMOBOX, *(OF_EMOBOX if "emo" in row else ())),
            _samples(row, key, where, asked),
        )


def _key(row: Mapping[str, Any], where: str) -> str:
    key = next((one for one in PATHS if isinstance(row.get(one), str | list)), None)
    if key is None:
        raise BarlowSpeechError(
            f"{where}: it names no recording by any of {', '.join(PATHS)}; say which of "
            f"{', '.join(row) or 'its keys (it has none)'} does by --column path=…"
        )
    return key


def _samples(row: Mapping[str, Any], key: str, where: str, asked: Asked) -> Samples | None:
    if "start_s" in asked.columns or "end_s" in asked.columns:
        return None
    offset, duration = (seconds(row, name, where) for name in NEMO)
    if key == "audio_filepath" or offset is not None:
        return functools.partial(_nemo, offset or 0.0, duration)
    if all(row.get(name) is not None for name in EMOBOX):
        start, end = (seconds(row, name, where) or 0.0 for name in EMOBOX)
        return functools.partial(_emobox, start, end)
    unknown = next((name for name in PERHAPS_TIMES if row.get(name) is not None), None)
    if unknown:
        raise BarlowSpeechError(
            f"{where}: '{unknown}' looks like a part of a recording; say which keys are its "
            "seconds by --column start_s=… end_s=…, or drop them."
        )
    return None


def _nemo(offset: float, duration: float | None, size: Size) -> tuple[int, int]:
    first = int(offset * size.rate)
    # NeMo takes no duration for all, and so one that is not above 0.
    last = first + int(duration * size.rate) if duration and duration > 0 else size.frames
    return within(size, first, last, SLACK_S)


def _emobox(start: float, end: float, size: Size) -> tuple[int, int]:
    return within(size, int(start * size.rate), int(end * size.rate), SLACK_S)
