"""Manifests of lhotse: cuts, or recordings with the supervisions beside them, as JSON (lines).

lhotse (`compute_num_samples`, 1.33) rounds seconds · rate to 8 decimals, then half up: a cut begins
at the sample of its start, and has as many as its duration gives. Of what is asked for behind the
end of a recording, up to 25 ms, lhotse makes a mirror image; here the part ends there. A cut of
several supervisions has the labels that all of them share a value of.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from barlow_speech.downstream.preparation.formats._entry import (
    Asked,
    Entry,
    cells,
    json_of,
    json_rows,
    within,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import Size

TITLE = "lhotse"
CUTS, RECORDINGS, SUPERVISIONS, FEATURES = "cuts", "recordings", "supervisions", "features"
MISMATCH_S = 0.025  # by which lhotse lets a recording be shorter than its manifest says
LABELS = ("speaker", "gender", "language", "text")


def _kind(path: Path) -> str:
    found = json_of(path)
    first = found.first if found and found.kind != "named" else {}
    if str(first.get("type", "")).endswith("Cut"):
        return CUTS
    if "sources" in first:
        return RECORDINGS
    if "storage_type" in first:
        return FEATURES
    known = {"recording_id", "start", "duration", "id"}
    return SUPERVISIONS if known <= set(first) else ""


def recognises(path: Path) -> bool:
    """Whether a file is a manifest of lhotse."""
    return bool(_kind(path))


def chosen(paths: Sequence[Path]) -> list[Path]:
    """The cuts of a folder; where there are none, the recordings."""
    kinds = {path: _kind(path) for path in paths}
    for kind in (CUTS, RECORDINGS):
        if kind in kinds.values():
            return [path for path in paths if kinds[path] == kind]
    return list(paths)


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The cuts of a manifest, or what its supervisions cut out of its recordings.

    Raises:
        BarlowSpeechError: it is damaged, names no audio, or mixes or changes it.
    """
    kind, found = _kind(path), json_of(path)
    rows = json_rows(path, found.kind if found else "lines")
    if kind not in (CUTS, RECORDINGS):
        raise BarlowSpeechError(
            f"{path} has {kind} of lhotse, which name no audio files; give the cuts or recordings."
        )
    if kind == CUTS:
        for place, cut in rows:
            yield _cut(place, cut, f"{path}, {place}")
        return
    beside = path.with_name(path.name.replace(RECORDINGS, SUPERVISIONS))
    if beside == path or not beside.is_file():
        for place, recording in rows:
            labels = {"id": str(recording.get("id", ""))}
            yield _entry(place, recording, labels, None, f"{path}, {place}")
        return
    recordings = {recording.get("id"): recording for _, recording in rows}
    supervisions = json_of(beside)
    for place, own in json_rows(beside, supervisions.kind if supervisions else "lines"):
        where = f"{beside}, {place}"
        if own.get("recording_id") not in recordings:
            raise BarlowSpeechError(
                f"{where}: recording '{own.get('recording_id')}' is not in {path}; run lhotse's "
                "fix_manifests, or add it."
            )
        recording = recordings[own["recording_id"]]
        span = (own.get("start"), own.get("duration"))
        labels = {"id": str(own.get("id", "")), **_labels([own])}
        yield _entry(f"{beside.name}, {place}", recording, labels, span, where, _channels(own))


def _cut(place: str, cut: Mapping[str, Any], where: str) -> Entry:
    recording, kind = cut.get("recording"), cut.get("type")
    if kind not in ("MonoCut", "MultiCut") or not isinstance(recording, dict):
        what = f"a {kind}" if kind not in ("MonoCut", "MultiCut") else "a cut without a recording"
        raise BarlowSpeechError(
            f"{where}: {what} is no part of one audio file; save its audio by lhotse's "
            "CutSet.save_audios, and give those cuts."
        )
    custom = cut.get("custom") if isinstance(cut.get("custom"), dict) else {}
    labels = {**cells(custom or {}), **_labels(cut.get("supervisions") or [])}
    span = (cut.get("start", 0), cut.get("duration"))
    labels = {"id": str(cut.get("id", "")), **labels}
    return _entry(place, recording, labels, span, where, _channels(cut))


def _channels(row: Mapping[str, Any]) -> int:
    channel = row.get("channel", 0)
    return len(channel) if isinstance(channel, list) else 1


def _labels(supervisions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    each = []
    for one in supervisions:
        own = {name: one.get(name) for name in LABELS if one.get(name) is not None}
        custom = one.get("custom")
        each.append({**(cells(custom) if isinstance(custom, dict) else {}), **cells(own)})
    names = dict.fromkeys(name for one in each for name in one)
    return {
        name: values.pop() if len(values := {one.get(name, "") for one in each}) == 1 else ""
        for name in names
    }


def _entry(
    place: str,
    recording: Mapping[str, Any],
    labels: dict[str, str],
    span: tuple[Any, Any] | None,
    where: str,
    channels: int | None = None,
) -> Entry:
    sources = recording.get("sources")
    source = sources[0] if isinstance(sources, list) and len(sources) == 1 else {}
    kind = source.get("type") if isinstance(source, dict) else None
    rate = recording.get("sampling_rate")
    if recording.get("transforms") or kind != "file" or not isinstance(rate, int):
        why = (
            "changes its audio as it is loaded (transforms)"
            if recording.get("transforms")
            else f"is of a source of type {kind!r}" if source else "has several sources"
        )  # fmt: skip
        raise BarlowSpeechError(
            f"{where}: recording {recording.get('id')} {why}, and only files are read; save its "
            "audio by lhotse's CutSet.save_audios, and give those cuts."
        )
    if span is not None and not all(
        isinstance(one, int | float) and 0 <= one < 1e9 for one in span
    ):
        raise BarlowSpeechError(f"{where}: start and duration must be seconds, not {span}; fix it.")
    samples = functools.partial(_samples, span, rate, channels)
    return Entry(place, str(source.get("source", "")), labels, samples)


def _samples(
    span: tuple[float, float] | None, rate: int, channels: int | None, size: Size
) -> tuple[int, int]:
    if size.rate != rate:
        raise BarlowSpeechError(
            f"its file has {size.rate} Hz, and the manifest says {rate}; write the manifest again."
        )
    if channels is not None and channels != size.channels:
        raise BarlowSpeechError(
            f"it is {channels} of {size.channels} channels, and channels are averaged here; save "
            "its audio by lhotse's CutSet.save_audios, and give those cuts."
        )
    if span is None:
        return 0, size.frames
    first = _rounded(span[0], rate)
    return within(size, first, first + _rounded(span[1], rate), MISMATCH_S)


def _rounded(seconds: float, rate: int) -> int:
    return int(Decimal(round(seconds * rate, ndigits=8)).quantize(Decimal(0), ROUND_HALF_UP))
