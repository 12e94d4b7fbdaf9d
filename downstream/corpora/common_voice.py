"""Common Voice: volunteers read sentences; one language of one release.

R. Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020:
<release>/<language>/clips/*.mp3, train.tsv, dev.tsv, test.tsv (official, no voice in two of them).
Published counts change with each release and language: they are in the JSON files of the
repository common-voice/cv-dataset (datasets/<release>.json), given by `--statistics` or found
beside the release's folder.
"""

from __future__ import annotations

import json
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    Options,
    Reader,
    Scan,
    Table,
    files_below,
    read_lines,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress

SPLITS = ("train", "dev", "test")
NEEDED = ("client_id", "path", "sentence", "gender")
# Until 2023 male, female and other; since release 17 those with a second word, and more.
GENDERS = {
    "male": "male",
    "female": "female",
    "male_masculine": "male",
    "female_feminine": "female",
}
COLUMNS = ("path", "speaker", "gender", "text")


def read(root: Path, options: Options) -> Scan:
    """The clips of the official splits below `root`."""
    scan = Scan("its own tables")
    release, language = root.resolve().parent.name, root.resolve().name
    scan.revision = f"{release}, {language}" if release.startswith("cv-corpus") else language
    rows = {split: _rows(root / f"{split}.tsv", scan) for split in SPLITS}
    clips = set(files_below(root / "clips", ".mp3", sum(map(len, rows.values()))))
    labelled: list[tuple[str, ...]] = []
    for split in SPLITS:
        here = [row for row in rows[split] if row[0].partition("/")[2] in clips]
        scan.counts[f"files in {split}"] = len(here)
        scan.published[f"files in {split}"] = len(rows[split])
        labelled += [(*row, split) for row in here if row[2]]
        rows[split] = here
    _statistics(root, release, language, options, scan)
    scan.tables["common_voice"] = Table((*COLUMNS, "split_speaker_disjoint"), labelled)
    if rows["train"]:
        scan.tables["common_voice_train"] = Table(COLUMNS, rows["train"])
    return scan


def _rows(file: Path, scan: Scan) -> list[tuple[str, ...]]:
    if not file.is_file():
        scan.missing.append(f"{file.name} (an official split)")
        return []
    lines = read_lines(file)
    header = lines[0].split("\t")
    absent = [name for name in NEEDED if name not in header]
    if absent:
        raise BarlowSpeechError(
            f"{file} has no column '{absent[0]}' in its first line, which a release of Common "
            "Voice has; unpack the archive again."
        )
    speaker, path, text, gender = (header.index(name) for name in NEEDED)
    rows: list[tuple[str, ...]] = []
    with progress(len(lines) - 1, f"read {file.name}", "line") as bar:
        for number, line in enumerate(lines[1:], start=2):
            bar.update()
            if not line:
                continue
            cells = line.split("\t")
            if len(cells) != len(header):
                raise BarlowSpeechError(
                    f"{file}, line {number}: {len(cells)} cells where the header has "
                    f"{len(header)}; unpack the archive again."
                )
            sentence = " ".join(cells[text].split())
            clip = cells[path] if cells[path].endswith(".mp3") else f"{cells[path]}.mp3"
            rows.append((f"clips/{clip}", cells[speaker], GENDERS.get(cells[gender], ""), sentence))
    return rows


def _statistics(root: Path, release: str, language: str, options: Options, scan: Scan) -> None:
    """Add the published numbers of the release, where their file is."""
    beside = root.resolve().parent.with_name(f"{release}.json")
    file = options.statistics or (beside if beside.is_file() else None)
    if file is None:
        scan.notes.append(
            "Not compared with the published counts; give datasets/<release>.json of the "
            "repository common-voice/cv-dataset by --statistics for that."
        )
        return
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))["locales"][language]
        published = {split: int(entry["buckets"][split]) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BarlowSpeechError(
            f"{file} has no counts of the language '{language}' ({error}); take the release's file "
            "of the repository common-voice/cv-dataset, folder datasets."
        ) from error
    scan.source = file.name
    scan.published |= {f"files in {split}": number for split, number in published.items()}


def recognises(root: Path) -> bool:
    """By its table and its clips."""
    tables = (*SPLITS, "validated")
    return (root / "clips").is_dir() and any((root / f"{one}.tsv").is_file() for one in tables)


READER = Reader(
    title="Common Voice",
    layout="one language: clips/*.mp3 with train.tsv, dev.tsv and test.tsv",
    recognises=recognises,
    read=read,
    cards=("common_voice",),
)
