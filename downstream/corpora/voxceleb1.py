"""VoxCeleb1: 1,251 celebrities, speech from videos; the official identification split.

A. Nagrani, J. S. Chung, A. Zisserman, "VoxCeleb: a large-scale speaker identification dataset",
Interspeech 2017. The two archives hold wav/id10001/<video>/00001.wav; unpacked into one folder, or
into dev and test as s3prl wants them. iden_split.txt and vox1_meta.csv are from the corpus's site,
www.robots.ox.ac.uk/~vgg/data/voxceleb/meta.

For SUPERB's own task (superb_sid) there is a manifest more, with a part of every long recording of
train in place of the whole: s3prl/downstream/voxceleb1/dataset.py.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    GENDERS,
    Options,
    Reader,
    Scan,
    Table,
    files_below,
    folders,
    known,
    peek,
    read_lines,
    read_rows,
)
from barlow_speech.downstream.corpora._splits import split_speakers
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s

SPLIT, META = "iden_split.txt", "vox1_meta.csv"
SITE = "www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
SPEAKER = r"id1\d{4}"
LINE = re.compile(rf"([123]) ({SPEAKER})/([^/]+/[^/]+\.wav)")
SPLITS = {"1": "train", "2": "dev", "3": "test"}
DEV_SPEAKERS = 20  # of each gender, for gender
SUPERB_COLUMNS = ("path", "start_s", "end_s", "speaker", "split_superb")
SUPERB_CROP = 128_000  # samples, 8 s: s3prl's max_timestep, of recordings in train
READERS = 4  # threads that read headers
PUBLISHED = {
    "files": 153516,
    "files in train": 138361,
    "files in dev": 6904,
    "files in test": 8251,
    "speakers": 1251,
    "female speakers": 561,
    "male speakers": 690,
}


def read(root: Path, options: Options) -> Scan:
    """The recordings that iden_split.txt lists, where they are below `root`."""
    columns = ("path", "speaker", "gender", "split", "split_speaker_id", "split_speaker_disjoint")
    scan = Scan("Nagrani et al. 2017", PUBLISHED, hours=352, rate=16_000)
    places = _places(root)
    _refuse_voxceleb2(root, places)
    here = {
        file: f"{place}{file}"
        for place in places
        for file in files_below(root / place, ".wav", PUBLISHED["files"] // len(places))
    }
    if not here:
        raise BarlowSpeechError(
            f"no wav/id10001/<video>/00001.wav and so on is below {root}; unpack vox1_dev_wav and "
            "vox1_test_wav there."
        )
    genders, verification = _meta(root / META, scan)
    official = _official(root / SPLIT)
    left = sorted({file.partition("/")[0] for file in here} - {one for one, _ in official.values()})
    if left and not options.partial:
        raise BarlowSpeechError(
            f"{root} holds {left[0]}, which {SPLIT} does not list; it is of another corpus or "
            "version, move it away, or add --partial to leave it out."
        )
    disjoint = _by_speaker(genders, verification)
    rows = [
        (here[file], speaker, genders.get(speaker, ""), split, split, disjoint.get(speaker, ""))
        for file, (speaker, split) in official.items()
        if file in here
    ]
    counts = Counter(f"files in {row[3]}" for row in rows)
    speakers = {row[1]: row[2] for row in rows}
    counts.update(f"{gender} speakers" for gender in speakers.values() if gender)
    scan.tables = {
        "identification": Table(columns, rows),
        "identification_superb": Table(SUPERB_COLUMNS, _superb(root, rows)),
    }
    scan.counts = {"files": len(rows), "speakers": len(speakers), **counts}
    if extra := len(here) - len(rows):
        scan.notes.append(f"{extra} files that {SPLIT} does not list left out.")
    absent = sorted({speaker for speaker, _ in official.values()} - set(speakers))
    scan.missing += [f"speaker {one}" for one in absent]
    return scan


def _superb(root: Path, rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows with one part of 8 s of every longer recording of train, at a place drawn once."""
    train = [row[0] for row in rows if row[3] == "train"]
    with (
        ThreadPoolExecutor(READERS) as readers,
        progress(len(train), "lengths of VoxCeleb1", "file") as bar,
    ):
        spans = {}
        for path, span in zip(train, readers.map(lambda path: _crop(root, path), train)):
            spans[path] = span
            bar.update()
    return [(row[0], *spans.get(row[0], ("", "")), row[1], row[3]) for row in rows]


def _crop(root: Path, path: str) -> tuple[str, str]:
    """start_s and end_s, from the SHA-256 of speaker, video and number; empty: the whole."""
    try:
        spare = round(duration_s(root / path) * SAMPLE_RATE) - SUPERB_CROP
    except BarlowSpeechError:  # --check-audio says what cannot be read
        return "", ""
    if spare <= 0:
        return "", ""
    name = "/".join(path.split("/")[-3:])
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % (spare + 1)
    return f"{start / SAMPLE_RATE}", f"{(start + SUPERB_CROP) / SAMPLE_RATE}"


def _places(root: Path) -> list[str]:
    """The folders of speakers below `root`, with a slash: wav, or wav one folder deeper."""
    return [
        f"{place}wav/"
        for place in ("", *(f"{one}/" for one in folders(root) if one != "wav"))
        if peek(root / f"{place}wav", r"id\d{5}")
    ]


def _refuse_voxceleb2(root: Path, places: list[str]) -> None:
    for place in places:
        for name in folders(root / place):
            if not re.fullmatch(SPEAKER, name):
                raise BarlowSpeechError(
                    f"{root / place}{name} is no speaker of VoxCeleb1 (id10001 to id11251), but "
                    "perhaps of VoxCeleb2 (id0…); give a folder with VoxCeleb1 alone."
                )


def _official(file: Path) -> dict[str, tuple[str, str]]:
    """Speaker and split of each file of the identification split."""
    if not file.is_file():
        raise BarlowSpeechError(
            f"{file}, the official identification split, is missing; download it from {SITE}."
        )
    official = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise BarlowSpeechError(
                f"{file}, line {number}: {line!r} is not like '3 id10001/Y8hIVOBuels/00001.wav'; "
                f"download it from {SITE} again."
            )
        official[f"{match[2]}/{match[3]}"] = (match[2], SPLITS[match[1]])
    return dict(sorted(official.items()))


def _meta(file: Path, scan: Scan) -> tuple[dict[str, str], dict[str, str]]:
    """Gender and verification set (dev, test) of each speaker."""
    if not file.is_file():
        scan.missing.append(f"{META} (gender and its split; from {SITE})")
        return {}, {}
    rows = read_rows(file, "\t")
    if not rows or not {"VoxCeleb1 ID", "Gender", "Set"} <= set(rows[0]):
        raise BarlowSpeechError(
            f"{file} has no columns 'VoxCeleb1 ID', 'Gender' and 'Set', separated by tabs, in its "
            f"first line; download it from {SITE} again."
        )
    genders = {
        row["VoxCeleb1 ID"]: known(GENDERS, row["Gender"].upper(), "gender", str(file))
        for row in rows
    }
    return genders, {row["VoxCeleb1 ID"]: row["Set"] for row in rows}


def _by_speaker(genders: dict[str, str], verification: dict[str, str]) -> dict[str, str]:
    """Gender's split: the test speakers of verification test, some of its dev speakers are dev."""
    rest = {one: gender for one, gender in genders.items() if verification[one] != "test"}
    return dict.fromkeys(genders, "test") | split_speakers(rest, DEV_SPEAKERS, 0)


def recognises(root: Path) -> bool:
    """By its lists, or by its speakers."""
    return (root / SPLIT).is_file() or (root / META).is_file() or bool(_places(root))


READER = Reader(
    title="VoxCeleb1",
    layout=f"wav/id10001/1zcIwhmdeo4/00001.wav (or dev/wav and test/wav), {SPLIT} and {META}",
    recognises=recognises,
    read=read,
    cards=("voxceleb1", "voxceleb1_superb"),
)
