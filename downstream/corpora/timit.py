"""TIMIT (LDC93S1): 630 speakers of eight dialects of American English, ten sentences each.

J. S. Garofolo et al., "DARPA TIMIT Acoustic-Phonetic Continuous Speech Corpus CD-ROM", NIST 1993:
TRAIN|TEST / DR1 … DR8 / sex, initials and a digit / SA1.WAV. Folders in upper or lower case.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    GENDERS,
    Options,
    Reader,
    Scan,
    Table,
    child,
    files_below,
    folders,
    parsed,
    read_lines,
)
from barlow_speech.downstream.corpora._splits import shuffled

PARTS = ("TRAIN", "TEST")
NAME = re.compile(r"(SA|SI|SX)(\d+)\.wav(\.wav)?", re.IGNORECASE)
EXAMPLE = "SX127.WAV (SA, SI or SX and a number)"
SPEAKER = re.compile(r"([FM])[A-Z]{3}\d", re.IGNORECASE)
# The development speakers of the usual phone recognition split (Halberstadt 1998), as in Kaldi's
# recipe; all of them are of TEST, and none of the core test set.
DEV_SPEAKERS = frozenset(
    """faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0
    fedw0 mgjf0 mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0
    mers0 fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0
    mrjr0 fmml0 mrws1""".upper().split()
)
PUBLISHED = {
    "files": 6300,
    "files in TRAIN": 4620,
    "files in TEST": 1680,
    "speakers": 630,
    "speakers in TRAIN": 462,
    "speakers in TEST": 168,
    "female speakers": 192,
    "male speakers": 438,
}


def read(root: Path, options: Options) -> Scan:
    """The recordings below `root`; gender is the first letter of a speaker's folder."""
    columns = ("path", "speaker", "gender", "text", "split_speaker_id", "split_speaker_disjoint")
    scan = Scan("Garofolo et al. 1993", PUBLISHED, hours=5.4, rate=16_000)
    texts = _prompts(root)
    rows: list[tuple[str, ...]] = []
    speakers: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for part in PARTS:
        folder = child(root, part)
        if not folder.is_dir():
            scan.missing.append(f"folder {part}")
            continue
        paths = [
            f"{folder.name}/{path}"
            for path in files_below(folder, ".wav", PUBLISHED[f"files in {part}"])
            if "/" in path and SPEAKER.fullmatch(path.split("/")[-2])
        ]
        # Some copies hold each file twice, the second time as SA1.WAV.wav; some only that one.
        there = {path.lower() for path in paths}
        paths = [path for path in paths if path.lower().removesuffix(".wav") not in there]
        matches = parsed(paths, NAME, EXAMPLE, options, scan)
        by_speaker: dict[str, list[str]] = {}
        for path, match in matches:
            by_speaker.setdefault(path.split("/")[-2].upper(), []).append(_name(match))
        takes = {
            (speaker, take): split
            for speaker, names in by_speaker.items()
            for take, split in _takes(speaker, names).items()
        }
        for path, match in matches:
            speaker = path.split("/")[-2].upper()
            disjoint = "train" if part == "TRAIN" else "dev" if speaker in DEV_SPEAKERS else "test"
            gender = GENDERS[speaker[0]]
            text = texts.get(f"{match[1]}{match[2]}".lower(), "")
            take = takes[speaker, _name(match)]
            rows.append((path, speaker, gender, text, take, disjoint))
        speakers |= {speaker: GENDERS[speaker[0]] for speaker in by_speaker}
        counts[f"files in {part}"] = len(matches)
        counts[f"speakers in {part}"] = len(by_speaker)
    counts.update(f"{gender} speakers" for gender in speakers.values())
    scan.tables = {"timit": Table(columns, rows)}
    scan.counts = {"files": len(rows), "speakers": len(speakers), **counts}
    return scan


def _name(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}.wav".upper()


def _takes(speaker: str, names: list[str]) -> dict[str, str]:
    """The split of each sentence of a speaker: SX train, one SI dev, the other SI test.

    SA sentences are read by everyone and stay out; no SI sentence is read twice in the corpus.
    """
    result = dict.fromkeys(names, "")
    result |= {name: "train" for name in names if name.startswith("SX")}
    own = shuffled((name for name in names if name.startswith("SI")), speaker)
    return result | {name: "test" if place else "dev" for place, name in enumerate(own)}


def _prompts(root: Path) -> dict[str, str]:
    """The sentences by their names in small letters, where the corpus's list of them is there."""
    file = child(child(root, "DOC"), "PROMPTS.TXT")
    if not file.is_file():
        return {}
    matches = (re.fullmatch(r"(.*\S)\s*\((\w+)\)\s*", one) for one in read_lines(file, "latin-1"))
    return {match[2].lower(): " ".join(match[1].split()) for match in matches if match}


def recognises(root: Path) -> bool:
    """By the dialect regions."""
    return any("DR1" in map(str.upper, folders(child(root, part))) for part in PARTS)


READER = Reader(
    title="TIMIT",
    layout="TRAIN and TEST with DR1/FCJF0/SA1.WAV and so on",
    recognises=recognises,
    read=read,
    cards=("timit",),
)
