"""LibriSpeech: read English audio books; each subset that is there becomes a manifest.

V. Panayotov, G. Chen, D. Povey, S. Khudanpur, "LibriSpeech: an ASR corpus based on public domain
audio books", ICASSP 2015 (openslr.org/12): <subset>/<speaker>/<chapter>/<speaker>-<chapter>-0000
.flac, transcripts beside them, gender in SPEAKERS.TXT. Its subsets are downloads of their own, so
that one that is not there is no fault.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from barlow_speech.downstream.corpora._known_faults import known_faults
from barlow_speech.downstream.corpora._scan import (
    GENDERS,
    Options,
    Reader,
    Scan,
    Table,
    child,
    files_below,
    folders,
    known,
    parsed,
    read_lines,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress

SPEAKERS = "SPEAKERS.TXT"
NAME = re.compile(r"(\d+)-(\d+)-(\d{4})\.flac")
EXAMPLE = "103-1240-0000.flac (speaker, chapter, utterance)"


class Subset(NamedTuple):
    """Published numbers of a subset."""

    files: int
    female: int
    male: int
    hours: float


SUBSETS = {
    "dev-clean": Subset(2703, 20, 20, 5.4),
    "dev-other": Subset(2864, 16, 17, 5.3),
    "test-clean": Subset(2620, 20, 20, 5.4),
    "test-other": Subset(2939, 17, 16, 5.1),
    "train-clean-100": Subset(28539, 125, 126, 100.6),
    "train-clean-360": Subset(104014, 439, 482, 363.6),
    "train-other-500": Subset(148688, 564, 602, 496.7),
}
# What the tasks use, and the split of each in gender recognition.
TASKS = {"train-clean-100": "train", "dev-clean": "dev", "test-clean": "test"}
HELD_OUT = 0.1  # of a speaker's utterances in dev, and as many in test


def read(root: Path, options: Options) -> Scan:
    """The recordings of the subsets below `root`."""
    columns = ("path", "speaker", "gender", "text")
    splits = ("split_speaker_id", "split_speaker_disjoint")
    here = [name for name in SUBSETS if (root / name).is_dir()]
    scan = Scan("Panayotov et al. 2015", rate=16_000)
    scan.hours = round(sum(SUBSETS[name].hours for name in here), 1)
    people = _people(child(root, SPEAKERS), scan)
    _choose_genders(people, options.genders, scan)
    for_tasks: list[tuple[str, ...]] = []
    for name in here:
        rows = _rows(root, name, people, options, scan)
        scan.tables[name] = Table(columns, rows)
        if name in TASKS:
            takes = _takes(rows) if name == "train-clean-100" else [""] * len(rows)
            for_tasks += [(*row, take, TASKS[name]) for row, take in zip(rows, takes)]
    if for_tasks:
        scan.tables["librispeech"] = Table(columns + splits, for_tasks)
    return scan


def _rows(
    root: Path, name: str, people: dict[str, tuple[str, str]], options: Options, scan: Scan
) -> list[tuple[str, ...]]:
    subset = SUBSETS[name]
    paths = [f"{name}/{path}" for path in files_below(root / name, ".flac", subset.files)]
    if not paths and files_below(root / name, ".wav", subset.files):
        raise BarlowSpeechError(
            f"{root / name} holds .wav and no .flac, so that it is not LibriSpeech but perhaps "
            "LibriTTS; download it from openslr.org/12."
        )
    matches = parsed(paths, NAME, EXAMPLE, options, scan)
    texts = _texts(root, {path.rpartition("/")[0] for path in paths})
    rows: list[tuple[str, ...]] = []
    for path, match in matches:
        speaker = match[1]
        if people and people.get(speaker, ("", ""))[1] != name:
            raise BarlowSpeechError(
                f"{path} is of speaker {speaker}, whom {SPEAKERS} does not list in {name}; the "
                "folder is mixed up, unpack the archive again."
            )
        gender = people[speaker][0] if people else ""
        rows.append((path, speaker, gender, texts.get(Path(path).stem, "")))
    speakers = {row[1]: row[2] for row in rows}
    genders = Counter(speakers.values())
    scan.counts[f"files in {name}"] = len(rows)
    scan.published[f"files in {name}"] = subset.files
    scan.counts[f"speakers in {name}"] = len(speakers)
    scan.published[f"speakers in {name}"] = subset.female + subset.male
    for gender, number in (("female", subset.female), ("male", subset.male)):
        if people:
            scan.counts[f"{gender} speakers in {name}"] = genders[gender]
            scan.published[f"{gender} speakers in {name}"] = number
    absent = [one for one, (_, of) in people.items() if of == name and one not in speakers]
    scan.missing += [f"{name}/{one}" for one in absent]
    return rows


def _people(file: Path, scan: Scan) -> dict[str, tuple[str, str]]:
    """Gender and subset of each speaker."""
    if not file.is_file():
        scan.missing.append(f"{SPEAKERS} (gender)")
        return {}
    people = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip() or line.startswith(";"):
            continue
        cells = [cell.strip() for cell in line.split("|", 4)]  # one name has a | in it
        if len(cells) != 5:
            raise BarlowSpeechError(
                f"{file}, line {number}: {line!r} is not like '14 | F | train-clean-360 | 25.03 | "
                "Kristin LeMoine'; take it from the archive again."
            )
        people[cells[0]] = (known(GENDERS, cells[1], "sex", str(file)), cells[2])
    return people


def _choose_genders(people: dict[str, tuple[str, str]], choice: str, scan: Scan) -> None:
    """Change the readers' genders to the table that a user names; say which table it is now."""
    if not people:
        return
    (fault,) = (one for one in known_faults("librispeech") if one.genders)
    tables = {name: fault.genders_by(name) for name in ("published", "audit")}
    if choice:
        for reader in fault.genders:
            if reader in people:
                people[reader] = (tables[choice][reader], people[reader][1])
    listed = [reader for reader in fault.genders if reader in people]
    same = [n for n, table in tables.items() if all(people[r][0] == table[r] for r in listed)]
    which = f"those of the {same[0]} table" if same else "of neither the published nor that table"
    scan.faults.append(f"{fault.fault} ({fault.source}). The genders here are {which}.")


def _texts(root: Path, chapters: set[str]) -> dict[str, str]:
    """The transcripts, by utterance."""
    texts = {}
    with progress(len(chapters), "transcripts", "chapter") as bar:
        for chapter in sorted(chapters):
            speaker, _, number = chapter.partition("/")[2].partition("/")
            file = root / chapter / f"{speaker}-{number}.trans.txt"
            for line in read_lines(file) if file.is_file() else ():
                utterance, _, text = line.partition(" ")
                texts[utterance] = " ".join(text.split())
            bar.update()
    return texts


def _takes(rows: list[tuple[str, ...]]) -> list[str]:
    """Each row's split in speaker identification: of a speaker's utterances the last ones.

    In the order of chapter and number, so that what is read next to each other stays together; a
    speaker who reads one chapter only is in all splits with the same session.
    """
    by_speaker: dict[str, list[int]] = {}
    for index, row in sorted(enumerate(rows), key=lambda item: _order(item[1][0])):
        by_speaker.setdefault(row[1], []).append(index)
    takes = [""] * len(rows)
    for indices in by_speaker.values():
        number = max(1, round(HELD_OUT * len(indices)))
        for place, index in enumerate(reversed(indices)):
            takes[index] = "test" if place < number else "dev" if place < 2 * number else "train"
    return takes


def _order(path: str) -> tuple[int, ...]:
    return tuple(int(one) for one in Path(path).stem.split("-"))


READER = Reader(
    title="LibriSpeech",
    layout=f"train-clean-100/103/1240/103-1240-0000.flac and so on, and {SPEAKERS}",
    recognises=lambda root: any(name in SUBSETS for name in folders(root)),
    read=read,
    cards=("librispeech",),
    takes=("genders",),
)
