"""Anyone's list of recordings, in any of the formats there are, into a manifest and a card."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from barlow_speech.downstream.corpora._known_faults import correct, named_as
from barlow_speech.downstream.corpora._scan import Table
from barlow_speech.downstream.corpora._splits import split_shares
from barlow_speech.downstream.corpus import SPLITS, Card, Columns, derived_tasks
from barlow_speech.downstream.preparation import formats
from barlow_speech.downstream.preparation.formats._entry import (
    CHANNEL,
    OURS,
    PERHAPS_TIMES,
    Asked,
    Entry,
    Samples,
)
from barlow_speech.downstream.preparation.formats.emobox import SPLIT as FOLD
from barlow_speech.downstream.preparation.formats.table import is_file
from barlow_speech.downstream.preparation.prepare import Prepared, check_writable, write_corpora
from barlow_speech.downstream.task import names as task_names
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import made_folder
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.common.text import listed
from barlow_speech.upstream.data.allowed_folders import AllowedFolders
from barlow_speech.upstream.data.audio import Size, size_of
from barlow_speech.upstream.data.manifest import Manifest, manifest_text, recording_of

BY_SPEAKER, BY_RECORDING = "split_speaker_disjoint", "split"
TIMES = ("start_s", "end_s")
ONE_CHANNEL = re.compile(r"\d+|[ABLR]|left|right", re.IGNORECASE)


@dataclass(frozen=True)
class TableOptions:
    """How to read a list: its name as a corpus, what its columns are called (ours to theirs), the
    folder of its paths, and how to split it (`split_by` speaker, recording, or both) into shares.
    """

    name: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    root: Path | None = None
    split_by: tuple[str, ...] = ()
    dev: float = 0.15
    test: float = 0.15
    seed: int = 0
    partial: bool = False


def prepare_table(
    source: Path, out: Path | None = None, options: TableOptions | None = None
) -> Prepared:
    """Write `<name>.tsv` and `<name>.yaml` for a list, into `out` (default: the list's folder).

    `source` is a file or folder in one of the formats (`formats/`). Recordings that lie in it, as
    in a tar, are written as they are to `<name>_audio` in `out`. The card serves each task whose
    label and split the list has (downstream/README.md, 'Your own corpus').

    Raises:
        BarlowSpeechError: the list is in no format or cannot be read, has no paths or not the
            columns that the options name, lists files that are not there (unless `partial`), or
            `out` cannot be written. Nothing is written then.
    """
    options = options or TableOptions()
    folder = source if source.is_dir() else source.parent
    name, out = options.name or _name(source), out or folder
    if "/" in name or not name.strip():
        raise BarlowSpeechError(f"--corpus-name {name!r} must be a file's name; choose another.")
    if not (options.dev > 0 and options.test > 0 and options.dev + options.test < 1):
        raise BarlowSpeechError(
            f"--shares {options.dev:g} {options.test:g} must be above 0, and below 1 together."
        )
    check_writable(out)
    manifest = out / f"{name}.tsv"
    if manifest.resolve() == source.resolve():
        raise BarlowSpeechError(
            f"the manifest would replace the table {source} itself; choose another --corpus-name, "
            "or another folder by -o."
        )
    with _Box.opened(out / f"{name}_audio") as box:
        rows = _read(source, options, box)
        notes = [*rows.notes, *_drop_absent(source, rows, options.partial)]
        size: functools._lru_cache_wrapper[Size] = functools.lru_cache(maxsize=1 << 16)(size_of)
        _cut(rows, size)
        _check_channels(rows, size)
        columns = rows.columns
        columns, faults = correct(named_as(columns["path"]), columns)
        for column in columns:
            if column.startswith("split"):
                columns[column] = [
                    formats.SPLIT_NAMES.get(one.lower(), one) for one in columns[column]
                ]
        for how in options.split_by:
            if how == "speaker":
                columns |= _by_speaker(source, columns, options)
            else:
                columns |= _by_recording(columns, box.names_of(rows.root, columns["path"]), options)
        try:
            manifest_text(columns)
        except BarlowSpeechError as error:
            raise BarlowSpeechError(f"the table {source}: {error}") from error
        tasks = _tasks(Manifest(manifest, columns, [], []))
        if not tasks:
            notes.append(_why_no_task(columns))
        columns["path"] = box.kept(columns["path"])
        table = Table(tuple(columns), list(zip(*columns.values())))
        card = Card(name, manifest.name, tasks)
        prepared = write_corpora({name: table}, [card], rows.root, out, notes=[*notes, *faults])
    own = [note for note in prepared.notes if note not in faults]
    counted = f"{rows.counted}, {len(table.rows):,} written"
    return dataclasses.replace(prepared, notes=own, faults=faults, rows=counted)


def _name(source: Path) -> str:
    if source.is_dir():
        return source.resolve().name
    return Path(source.stem).stem if source.suffix == ".gz" else source.stem


def _tasks(manifest: Manifest) -> dict[str, Columns]:
    """The tasks that a list serves; of one with folds, emotion by all of them."""
    tasks = derived_tasks(manifest)
    folds = tuple(name for name in manifest.columns if re.fullmatch(rf"{FOLD}\d+", name))
    if folds and any(manifest.columns.get("emotion", ())):
        many = Columns("emotion", folds=folds)
        tasks["emotion"] = many if len(folds) > 1 else Columns("emotion", folds[0])
    return tasks


@dataclass
class _Rows:
    """What a list says: columns by our names, all of one length as `places` and `samples`.

    Paths are relative to `root`.
    """

    root: Path
    columns: dict[str, list[str]]
    places: list[str]
    samples: list[Samples | None]
    counted: str
    notes: list[str]

    def keep(self, kept: list[bool]) -> None:
        """Drop the other rows."""
        for name, column in self.columns.items():
            self.columns[name] = [cell for cell, here in zip(column, kept) if here]
        self.places = [one for one, here in zip(self.places, kept) if here]
        self.samples = [one for one, here in zip(self.samples, kept) if here]


class _Box:
    """Recordings that lie in their list, as files: in a folder that is there when all is well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.part: Path | None = None
        self.names: dict[tuple[str, str], str] = {}
        self.taken: set[str] = set()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path) -> Iterator[_Box]:
        """Empty; what was put into it goes again if anything fails, and folders made for it."""
        box = cls(folder)
        made = [one for one in folder.parents if not one.exists()]
        try:
            yield box
        except BaseException:
            if box.part is not None:
                shutil.rmtree(box.part, ignore_errors=True)
                with contextlib.suppress(OSError):  # others may have put something there
                    for one in made:
                        one.rmdir()
            raise

    def put(self, entry: Entry, within: str) -> str:
        """Write the audio of an entry of the list `within`; its path."""
        key = (within, entry.of)
        if not entry.of or key not in self.names:
            if self.part is None:
                self.part = self._made()
            name = re.sub(r"[^\w.\-]+", "_", entry.path).lstrip(".")[-150:] or "recording"
            while name.lower() in self.taken:
                name = f"{len(self.taken)}_{name}"
            self.taken.add(name.lower())
            self.names[key] = name
            assert entry.audio is not None
            try:
                (self.part / name).write_bytes(entry.audio())
            except OSError as error:
                raise BarlowSpeechError(
                    f"cannot write {self.folder / name}: {error.strerror or error}; choose another "
                    "folder by -o, or free some space."
                ) from error
        return str(self.part) + "/" + self.names[key]

    def _made(self) -> Path:
        if self.folder.exists():
            raise BarlowSpeechError(
                f"{self.folder}, where the recordings would go, is there already; remove it, or "
                "choose another --corpus-name or another folder by -o."
            )
        made_folder(self.folder.parent)
        name = tempfile.mkdtemp(".part", f".{self.folder.name}.", self.folder.parent.resolve())
        Path(name).chmod(0o755)
        return Path(name)

    def names_of(self, root: Path, paths: list[str]) -> list[str]:
        """What each of the paths is called, wherever the recordings of this list lie.

        Relative to `root`, to this folder or, elsewhere, to the folder that holds all others.
        """
        homes = [f"{one}/" for one in (self.part, root.absolute()) if one is not None]
        names = []
        for path in paths:
            home = next((one for one in homes if path.startswith(one)), "")
            names.append(path.removeprefix(home))
        elsewhere = [one.rpartition("/")[0] or "/" for one in names if one.startswith("/")]
        common = os.path.commonpath(elsewhere).rstrip("/") + "/" if elsewhere else ""
        return [one.removeprefix(common) if one.startswith("/") else one for one in names]

    def kept(self, paths: list[str]) -> list[str]:
        """The folder gets its name; the paths as they are then."""
        if self.part is None:
            return paths
        before, after = f"{self.part}/", f"{self.folder.resolve()}/"
        self.part = self.part.rename(self.folder.resolve())
        return [
            after + one.removeprefix(before) if one.startswith(before) else one for one in paths
        ]


def _read(source: Path, options: TableOptions, box: _Box) -> _Rows:
    """The rows, the audio of those that have it in `box`."""
    found = formats.find(source)
    asked = Asked(options.columns, options.root)
    folder = source if source.is_dir() else source.parent
    theirs: dict[str, list[str]] = {}
    paths: list[str] = []
    rows = _Rows(options.root or folder, {}, [], [], "", [])
    several = 0
    allowed = AllowedFolders(rows.root)
    with progress(math.inf, f"read {source.name}", "row") as bar:
        for part in found.parts:
            home = part.path if part.path.is_dir() else part.path.parent
            prefix = "" if options.root or home == folder else f"{home.relative_to(folder)}/"
            for entry in found.format.entries(part.path, asked):
                where = f"{part.path}, {entry.where}"
                path = entry.path
                if entry.audio is not None:
                    path = box.put(entry, str(part.path))
                elif path and not path.startswith("/"):
                    path = prefix + path
                for name in (*entry.cells, *(["split"] if part.split else [])):
                    if name not in theirs:
                        theirs[name] = [""] * len(paths)
                for name, column in theirs.items():
                    column.append(entry.cells.get(name, part.split if name == "split" else ""))
                if path:
                    _check(theirs, path, options, where)
                    if entry.audio is None and not allowed.holds(path):
                        raise _outside(where, path, rows.root)
                paths.append(path)
                rows.places.append(where)
                rows.samples.append(entry.samples)
                several += entry.lines > 1
                bar.update()
    if not paths:
        raise BarlowSpeechError(f"{source} ({found.format.TITLE}) lists no recording; fill it.")
    rows.columns = {"path": paths, **_ours(source, found.format, theirs, options)}
    rows.notes += [found.format.NOTE] if hasattr(found.format, "NOTE") else []
    rows.notes += _whole(rows)
    table = found.format.TITLE == "table"
    rows.counted = f"{len(paths):,} read" + ("" if table else f" ({found.format.TITLE})")
    rows.counted += f", {several} of them over several lines" if several else ""
    return rows


def _whole(rows: _Rows) -> list[str]:
    """A note where columns may be the times of parts, and each recording is taken whole."""
    names = [name for name in PERHAPS_TIMES if any(map(_is_number, rows.columns.get(name, ())))]
    if not names or any(rows.samples) or {*TIMES} & set(rows.columns):
        return []
    return [
        f"Recordings are taken whole: {listed(names)} may be times, but only start_s and end_s are "
        "read; if parts are meant, say which columns have their seconds by --column start_s=… "
        "end_s=…"
    ]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check(theirs: Mapping[str, list[str]], path: str, options: TableOptions, where: str) -> None:
    """Refuse numbers that are none."""
    names = {one: options.columns.get(one, one) for one in (*TIMES, "gain_db")}
    row = {ours: theirs[own][-1] for ours, own in names.items() if own in theirs}
    recording_of({"path": path, **row}, Path(), where)


def _outside(where: str, path: str, root: Path) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"{where}: {path} is outside of {root}; if you trust the list, say by --audio-root the "
        "folder that holds its recordings."
    )


def _ours(
    source: Path, known: object, theirs: dict[str, list[str]], options: TableOptions
) -> dict[str, list[str]]:
    """The columns by our names."""
    mapping = {ours: own for ours, own in options.columns.items() if ours != "path"}
    for own in mapping.values():
        if own not in theirs:
            raise unknown("column", own, theirs, str(source))
    hidden = {"path", *options.columns, *options.columns.values()}
    columns = {name: column for name, column in theirs.items() if name not in hidden}
    for own, ours in getattr(known, "NAMES", OURS).items():
        if own in columns and ours not in {*columns, *mapping}:
            columns = {ours if name == own else name: column for name, column in columns.items()}
    return columns | {ours: list(theirs[own]) for ours, own in mapping.items()}


def _cut(rows: _Rows, size: Callable[[Path], Size]) -> None:
    """Seconds of the samples that the format's own library reads."""
    if not any(rows.samples):
        return
    cells = {name: rows.columns.pop(name, [""] * len(rows.places)) for name in TIMES}
    with progress(len(rows.places), "look into files", "file") as bar:
        for row, (samples, path) in enumerate(zip(rows.samples, rows.columns["path"])):
            bar.update()
            if samples is None:
                continue
            file = rows.root / path
            own = size(file)
            try:
                first, last = samples(own)
            except BarlowSpeechError as error:
                raise BarlowSpeechError(f"{rows.places[row]} ({file}): {error}") from error
            cells["start_s"][row] = repr(first / own.rate) if first else ""
            cells["end_s"][row] = repr(last / own.rate) if last < own.frames else ""
    used = {name: column for name, column in cells.items() if any(column)}
    rows.columns = {"path": rows.columns.pop("path"), **used, **rows.columns}


def _check_channels(rows: _Rows, size: Callable[[Path], Size]) -> None:
    """Refuse rows that are one channel of several, as of a telephone call: they would be averaged.

    A number that is how many there are is taken for that.
    """
    said = rows.columns.get(CHANNEL, [])
    with progress(len(said), "look at channels", "file") as bar:
        for place, path, channel in zip(rows.places, rows.columns["path"], said):
            bar.update()
            if not ONE_CHANNEL.fullmatch(channel):
                continue
            count = size(rows.root / path).channels
            if count > 1 and channel != str(count):
                raise BarlowSpeechError(
                    f"{place} ({rows.root / path}): it is channel {channel} of {count}, and "
                    "channels are averaged here; write each to a file of its own, as by sox IN OUT "
                    f"remix 1, or drop the column '{CHANNEL}' if their mean is meant."
                )


def _drop_absent(source: Path, rows: _Rows, partial: bool) -> list[str]:
    here = []
    with progress(len(rows.places), "look for files", "file") as bar:
        for path in rows.columns["path"]:
            here.append(bool(path) and is_file(rows.root / path))
            bar.update()
    absent = here.count(False)
    if not absent:
        return []
    first = here.index(False)
    path = rows.columns["path"][first]
    named = (
        f"{rows.root / path} ({rows.places[first]})" if path else f"that of {rows.places[first]}"
    )
    sentence = f"{absent} of {len(here)} files of {source}, such as {named}"
    if not partial or not any(here):
        raise BarlowSpeechError(
            f"{sentence}, are not there; say by --audio-root what the paths are relative to, or "
            "add --partial to leave them out."
        )
    rows.keep(here)
    return [f"Partial: {sentence}, were not there."]


def _by_speaker(
    source: Path, columns: dict[str, list[str]], options: TableOptions
) -> dict[str, list[str]]:
    """Whole speakers in each split, of every gender alike where it is known."""
    if not any(columns.get("speaker", ())):
        raise BarlowSpeechError(
            f"the table {source} has no speaker: --split-by speaker needs the column 'speaker'; "
            "say which it is by --column speaker=…"
        )
    speakers = columns["speaker"]
    of_rows = zip(speakers, columns.get("gender", [""] * len(speakers)))
    genders = dict(sorted(set(of_rows)))  # of several the last by name, whatever their order
    splits: dict[str, str] = {"": ""}
    for gender in sorted(set(genders.values())):
        group = [one for one in genders if one and genders[one] == gender]
        splits |= split_shares(group, options.dev, options.test, f"{options.seed} ")
    return {BY_SPEAKER: [splits[one] for one in speakers]}


def _by_recording(
    columns: dict[str, list[str]], recordings: list[str], options: TableOptions
) -> dict[str, list[str]]:
    """Equal shares of every speaker; where there are none, of every class of all labels at once.

    `recordings` are what the paths are called.
    """
    with_speakers = any(columns.get("speaker", ()))
    labels = ["speaker"] if with_speakers else _labels()
    cells = [columns[label] for label in labels if label in columns]
    groups: dict[tuple[str, ...], list[str]] = {}
    for recording, *group in zip(recordings, *cells):
        groups.setdefault(tuple(group), []).append(recording)
    splits: dict[str, str] = {}
    for _, group in sorted(groups.items()):  # a recording may be in several, whatever their order
        splits |= split_shares(group, options.dev, options.test, f"{options.seed} ")
    name = "split_speaker_id" if with_speakers else BY_RECORDING
    return {name: [splits[one] for one in recordings]}


def _labels() -> list[str]:
    """The columns that tasks read their labels from."""
    return sorted({read_task(task).label for task in task_names()})


def _why_no_task(columns: dict[str, list[str]]) -> str:
    labels = _labels()
    if not any(any(columns.get(label, ())) for label in labels):
        wanted = ", ".join(labels)
        return f"Serves no task: none of the columns {wanted} is there (--column OURS=THEIRS)."
    return (
        f"Serves no task: no column of splits ({', '.join(SPLITS)}) is there; add one, or "
        "--split-by speaker or recording."
    )
