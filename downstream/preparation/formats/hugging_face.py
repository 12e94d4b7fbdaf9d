"""Data sets of Hugging Face: parquet files, and what `save_to_disk` writes (Arrow), by pyarrow.

The schema says which column is audio (`Audio`: the bytes of a file, or its path) and what the
numbers of a `ClassLabel` are called. A recording is always a whole file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from barlow_speech.downstream.preparation.formats._entry import PATHS, Asked, Entry, cells
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.files import parsed_json, read_text

TITLE = "Hugging Face (parquet, save_to_disk)"
ROWS = 16  # that are in memory at once; a row holds all of a recording
STATE = "state.json"
MARKS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}


def recognises(path: Path) -> bool:
    """Whether a file is parquet or Arrow, or a folder a saved data set."""
    if path.is_dir():
        return (path / STATE).is_file() and (path / "dataset_info.json").is_file()
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False
    arrow = head[:6] == b"ARROW1" or (path.suffix == ".arrow" and head[:4] == b"\xff" * 4)
    return head[:4] == b"PAR1" or arrow


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The rows of a file or of a saved data set.

    Raises:
        BarlowSpeechError: pyarrow is not installed, a file is damaged, or no column is audio.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise BarlowSpeechError(
            f"{path} is read by pyarrow, which is not installed; pip install "
            "'barlow-speech[formats]'."
        ) from error
    count = 0
    for file in _files(path) if path.is_dir() else [path]:
        try:
            for schema, rows in _batches(file):
                features = _features(schema)
                key = _audio(file, schema, features, asked)
                for row in rows:
                    count += 1
                    yield _entry(file, f"row {count}", row, key, features)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise BarlowSpeechError(
                f"{file} is damaged or cut off ({one_line(error, 200)}); write or download it "
                "again."
            ) from error


def _files(path: Path) -> list[Path]:
    try:
        state = parsed_json(read_text(path / STATE))
        files = [path / str(one["filename"]) for one in state["_data_files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise BarlowSpeechError(f"{path / STATE} is damaged; save the data set again.") from error
    absent = [file for file in files if not file.is_file()]
    if absent or not files:
        missing = absent[0] if absent else "files (_data_files is empty)"
        raise BarlowSpeechError(f"{path} lacks {missing}; save the data set again.")
    return files


def _batches(file: Path) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    import pyarrow
    import pyarrow.parquet

    with file.open("rb") as raw:
        head = raw.read(8)
    if head[:4] == b"PAR1":
        with pyarrow.parquet.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(ROWS):
                yield parquet.schema_arrow, batch.to_pylist()
        return
    with pyarrow.memory_map(str(file)) as source:
        if head[:6] == b"ARROW1":
            reader = pyarrow.ipc.open_file(source)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = batches = pyarrow.ipc.open_stream(source)
        for batch in batches:
            for first in range(0, batch.num_rows, ROWS):
                yield reader.schema, batch.slice(first, ROWS).to_pylist()


def _features(schema: Any) -> dict[str, Mapping[str, Any]]:
    """What the data set says of its columns, beyond their types."""
    try:
        said = parsed_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = said.get("info", {}).get("features") or {}
        return {name: one for name, one in features.items() if isinstance(one, dict)}
    except (ValueError, AttributeError):
        return {}


def _audio(file: Path, schema: Any, features: Mapping[str, Any], asked: Asked) -> str:
    import pyarrow

    names = list(schema.names)
    wanted = asked.columns.get("path")
    if wanted in names:
        return str(wanted)
    audio = [
        one.name
        for one in schema
        if features.get(one.name, {}).get("_type") == "Audio"
        or (
            pyarrow.types.is_struct(one.type)
            and {"bytes", "path"} <= {one.type.field(i).name for i in range(one.type.num_fields)}
            and features.get(one.name, {}).get("_type", "Audio") == "Audio"
        )
    ] or [name for name in PATHS if name in names][:1]
    if len(audio) != 1:
        found = f"has {len(audio)} columns of audio" if audio else "has no column of audio"
        raise BarlowSpeechError(
            f"{file} {found}; say which of {', '.join(names)} it is by --column path=…"
        )
    return audio[0]


def _entry(
    file: Path, where: str, row: Mapping[str, Any], key: str, features: Mapping[str, Any]
) -> Entry:
    own = dict(row)
    for name, feature in features.items():
        if feature.get("_type") == "ClassLabel" and isinstance(number := own.get(name), int):
            labels = feature.get("names") or []
            own[name] = labels[number] if 0 <= number < len(labels) else ""
    labels = cells(own, key)
    audio = row[key]
    said = audio if isinstance(audio, dict) else {}
    data, path = said.get("bytes"), said.get("path") or ""
    if isinstance(audio, str):
        path = audio
    elif isinstance(audio, bytes):
        data = audio
    elif audio and not {"bytes", "path"} & set(said):
        raise BarlowSpeechError(
            f"{file}, {where}: '{key}' holds neither a file nor its path, but "
            f"{', '.join(said) or type(audio).__name__}; write it as datasets' Audio, or say which "
            "column has paths by --column path=…"
        )
    if data is None:
        return Entry(where, path, labels)
    suffix = next((one for mark, one in MARKS.items() if data.startswith(mark)), "")
    return Entry(where, path or f"{where}{suffix}", labels, None, functools.partial(bytes, data))
