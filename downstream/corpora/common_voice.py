"""Common Voice: volunteers read sentences, or answer questions; one language of one release.

R. Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020:
<release>/<language>/clips/*.mp3, train.tsv, dev.tsv, test.tsv (official, no voice in two of them).
Of Spontaneous Speech (sps-corpus-…): audios/*.mp3 and ss-corpus-<language>.tsv with a column
split. Published counts change with each release and language: they are in the JSON files of the
repository common-voice/cv-dataset (datasets/scripted-speech/<release>.json), given by
`--statistics` or found beside the release's folder.

The official train split of a small language may be the voices of two people (Indonesian in release
19.0). By `split_by_speaker` the split is ours, of all validated recordings and their speakers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from barlow_speech.downstream.corpora._known_faults import known_faults
from barlow_speech.downstream.corpora._scan import (
    Options,
    Reader,
    Scan,
    Table,
    files_below,
    listing,
)
from barlow_speech.downstream.corpora._splits import split_shares
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import parsed_json
from barlow_speech.upstream.common.progress import progress

SPLITS = ("train", "dev", "test")
# Until 2023 male, female and other; since release 17 those with a second word, and more.
GENDERS = {
    "male": "male",
    "female": "female",
    "male_masculine": "male",
    "female_feminine": "female",
}
COLUMNS = ("path", "speaker", "gender", "text")
SHARES = (0.15, 0.15)  # of the speakers of each gender in dev and in test, where the split is ours
STATISTICS = "common-voice/cv-dataset, folders datasets/scripted-speech and spontaneous-speech"

Row = tuple[str, ...]  # COLUMNS, and the split


def read(root: Path, options: Options) -> Scan:
    """The clips of the official splits below `root`; or of its validated ones, split by speaker."""
    scan = Scan("its own tables")
    spontaneous = _spontaneous(root)
    if spontaneous is not None:
        release, _, language = root.resolve().name.rpartition("-")
        scan.revision = root.resolve().name
    else:
        release, language = root.resolve().parent.name, root.resolve().name
        known = release.startswith("cv-corpus")
        scan.revision = f"{release}, {language}" if known else language
    wrong = [one for one in known_faults("common_voice") if one.is_of(release)]
    if wrong and not options.partial:
        raise BarlowSpeechError(
            f"{root}: {wrong[0].fault} ({wrong[0].source}); take the next release, or add "
            "--partial to prepare this one without gender."
        )
    scan.missing += [f"gender ({one.fault})" for one in wrong]
    names = ("validated",) if options.split_by_speaker else SPLITS
    scan.unasked = ("common_voice",) if options.split_by_speaker else ("common_voice_by_speaker",)
    folder = "clips" if spontaneous is None else "audios"
    clips = set(files_below(root / folder, ".mp3", 0))
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for name, (clip, speaker, gender, text) in _rows(root, spontaneous, names, scan):
        scan.published[f"files in {name}"] = scan.published.get(f"files in {name}", 0) + 1
        if clip in clips:
            rows[name].append((f"{folder}/{clip}", speaker, "" if wrong else gender, text, name))
    del clips
    scan.counts = {f"files in {name}": len(rows[name]) for name in names}
    _statistics(root, release, language, options, scan)
    columns = (*COLUMNS, "split_speaker_disjoint")
    if options.split_by_speaker:
        split = _by_speaker(rows["validated"])
        own = [(*row[:-1], split[row[1]]) for row in rows["validated"] if row[2]]
        scan.tables["common_voice_by_speaker"] = Table(columns, own)
        return scan
    labelled = [row for name in names for row in rows[name] if row[2]]
    scan.tables["common_voice"] = Table(columns, labelled)
    if rows["train"]:
        scan.tables["common_voice_train"] = Table(COLUMNS, rows["train"])
    return scan


def _spontaneous(root: Path) -> Path | None:
    """The table of a folder of Spontaneous Speech."""
    names = (one for one in listing(root) if one.startswith("ss-corpus-") and one.endswith(".tsv"))
    return next((root / one for one in names), None)


def _rows(
    root: Path, spontaneous: Path | None, names: tuple[str, ...], scan: Scan
) -> Iterator[tuple[str, Row]]:
    """Of every recording the table or split that has it, its file, speaker, gender and text."""
    if spontaneous is None:
        needed = ("path", "client_id", "gender", "sentence")
        for name in names:
            if not (root / f"{name}.tsv").is_file():
                scan.missing.append(f"{name}.tsv (an official split)")
                continue
            for row, _ in _lines(root / f"{name}.tsv", needed, ""):
                yield name, row
        return
    # Before release 3.0 it has no column of genders.
    needed = ("audio_file", "client_id", "gender", "transcription")
    for row, split in _lines(spontaneous, needed, "split"):
        if names == ("validated",) and split in SPLITS:
            yield "validated", row
        elif split in names:
            yield split, row


def _lines(file: Path, needed: tuple[str, ...], split: str) -> Iterator[tuple[Row, str]]:
    """The rows of a table, one at a time, since the largest have more than a million.

    Speakers and genders, of whom there are few, are one string each however often they are said.
    """
    try:
        with (
            file.open(encoding="utf-8-sig", newline="\n") as lines,
            progress(file.stat().st_size, f"read {file.name}", "B", unit_scale=True) as bar,
        ):
            header = next(lines, "").rstrip("\r\n").split("\t")
            optional = ("gender",) if split else ()
            wanted = (*(one for one in needed if one not in optional), *((split,) if split else ()))
            absent = sorted(set(wanted) - set(header))
            if absent:
                raise BarlowSpeechError(
                    f"{file} has no column '{absent[0]}' in its first line, which a release of "
                    "Common Voice has; unpack the archive again."
                )
            places = [header.index(name) if name in header else -1 for name in needed]
            at = header.index(split) if split else -1
            for number, line in enumerate(lines, start=2):
                bar.update(len(line))
                line = line.rstrip("\r\n")
                if not line:
                    continue
                cells = line.split("\t")
                if len(cells) != len(header):
                    raise BarlowSpeechError(
                        f"{file}, line {number}: {len(cells)} cells where the header has "
                        f"{len(header)}; unpack the archive again."
                    )
                clip, speaker, gender, text = (cells[i] if i >= 0 else "" for i in places)
                row = (
                    clip if clip.endswith(".mp3") else f"{clip}.mp3",
                    sys.intern(speaker),
                    GENDERS.get(gender, ""),
                    " ".join(text.split()),
                )
                yield row, cells[at] if split else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BarlowSpeechError(f"cannot read {file}: {reason}; download it again.") from error


def _by_speaker(rows: list[Row]) -> dict[str, str]:
    """The split of each speaker, of every gender in equal shares, fixed by the names alone."""
    genders = {row[1]: row[2] for row in rows}
    split = {}
    for gender in sorted(set(genders.values())):
        split.update(split_shares((one for one in genders if genders[one] == gender), *SHARES))
    return split


def _statistics(root: Path, release: str, language: str, options: Options, scan: Scan) -> None:
    """Add the published numbers of the release, where their file is."""
    beside = root.resolve().parent.with_name(f"{release}.json")
    file = options.statistics or (beside if beside.is_file() else None)
    if file is None:
        scan.notes.append(
            f"Not compared with the published counts; give <release>.json of {STATISTICS}, by "
            "--statistics for that."
        )
        return
    try:
        entry = parsed_json(file.read_text(encoding="utf-8"))["locales"][language]
        # Of Spontaneous Speech they say more of each, and nothing of all that are validated.
        counts = {
            name: int(one["clips"] if isinstance(one, dict) else one)
            for name, one in entry["buckets"].items()
        }
        counts.setdefault("validated", sum(counts[name] for name in SPLITS))
        names = ("validated",) if options.split_by_speaker else SPLITS
        counts = {name: counts[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BarlowSpeechError(
            f"{file} has no counts of the language '{language}' ({error}); take the release's file "
            f"of the repository {STATISTICS}."
        ) from error
    scan.source = file.name
    scan.published |= {f"files in {name}": number for name, number in counts.items()}


def recognises(root: Path) -> bool:
    """By its table and its clips."""
    tables = (*SPLITS, "validated")
    scripted = (root / "clips").is_dir() and any((root / f"{one}.tsv").is_file() for one in tables)
    return scripted or ((root / "audios").is_dir() and _spontaneous(root) is not None)


READER = Reader(
    title="Common Voice",
    layout="one language: clips/*.mp3 with train.tsv, dev.tsv and test.tsv",
    recognises=recognises,
    read=read,
    cards=("common_voice", "common_voice_by_speaker"),
    takes=("statistics", "split_by_speaker"),
)
