"""IEMOCAP: five sessions of two actors each; four emotions, as in SUPERB.

C. Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database", Language Resources
and Evaluation 42(4), 2008. Labels as s3prl/downstream/emotion/IEMOCAP_preprocess.py takes them:
anger, happiness with excitement, neutral and sadness; other utterances have none. The letter of an
utterance (Ses01F_impro01_M003) is its speaker; that of the dialogue says who wore the markers.
The folds, dev rows included, are s3prl's own.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from barlow_speech.downstream.corpora._iemocap_dialogues import place_of
from barlow_speech.downstream.corpora._scan import (
    GENDERS,
    Options,
    Reader,
    Scan,
    Table,
    files_below,
    folders,
    known,
    parsed,
    read_lines,
)

SESSIONS = (1, 2, 3, 4, 5)
NAME = re.compile(r"(Ses(0[1-5])[FM]_(?:impro|script)\w*_([FM])(?:XX)?\d+)\.wav")
EXAMPLE = "Ses01F_impro01_F000.wav"
EVALUATION = re.compile(r"\[[\d. -]+\]\s+(\w+)\s+(\w+)\s+\[.*")
TRANSCRIPT = re.compile(r"(\w+) \[[\d. -]+\]:\s*(.*)")
EMOTIONS = {
    "ang": "anger",
    "exc": "happiness",
    "hap": "happiness",
    "neu": "neutral",
    "sad": "sadness",
    # Published labels outside SUPERB's four classes; xxx is without a majority.
    "fru": "",
    "fea": "",
    "sur": "",
    "dis": "",
    "oth": "",
    "xxx": "",
}
DEV_SHARE = 0.2  # s3prl's valid_ratio
PUBLISHED = {
    "files": 10039,
    "files in Session1": 1819,
    "files in Session2": 1811,
    "files in Session3": 2136,
    "files in Session4": 2103,
    "files in Session5": 2170,
    "speakers": 10,
    "anger": 1103,
    "happiness": 1636,
    "neutral": 1708,
    "sadness": 1084,
    "labelled in Session1": 1085,
    "labelled in Session2": 1023,
    "labelled in Session3": 1151,
    "labelled in Session4": 1031,
    "labelled in Session5": 1241,
}


def read(root: Path, options: Options) -> Scan:
    """The utterances below `root`, with the labels of EmoEvaluation and five folds."""
    columns = ("path", "speaker", "gender", "emotion", "text", "split_speaker_disjoint")
    folds = tuple(f"split_session{session}" for session in SESSIONS)
    scan = Scan("Busso et al. 2008; four classes as in SUPERB", PUBLISHED, hours=12, rate=16_000)
    rows: list[tuple[str, ...]] = []
    labelled: dict[str, int] = {}  # utterances of the four classes, and their sessions
    counts: Counter[str] = Counter()
    for session in SESSIONS:
        name = f"Session{session}"
        base = f"{name}/sentences/wav"
        if not (root / base).is_dir():
            scan.missing.append(f"folder {base}")
            continue
        labels = _labels(root / name / "dialog" / "EmoEvaluation", scan)
        texts = _texts(root / name / "dialog" / "transcriptions")
        here = set()
        below = files_below(root / base, ".wav", PUBLISHED[f"files in {name}"])
        for path, match in parsed((f"{base}/{one}" for one in below), NAME, EXAMPLE, options, scan):
            utterance, number, letter = match.groups()
            emotion = labels.get(utterance, "")
            if emotion:
                here.add(utterance)
                counts[f"labelled in {name}"] += 1
                counts[emotion] += 1
            counts[f"files in {name}"] += 1
            disjoint = "train" if session <= 3 else "dev" if session == 4 else "test"
            text = texts.get(utterance, "")
            rows.append((path, f"Ses{number}{letter}", GENDERS[letter], emotion, text, disjoint))
        labelled |= dict.fromkeys((one for one in labels if one in here), session)
    splits = [_fold(labelled, session) for session in SESSIONS]
    utterances = (Path(row[0]).stem for row in rows)
    rows = [row + tuple(one.get(u, "") for one in splits) for row, u in zip(rows, utterances)]
    scan.tables = {"iemocap": Table(columns + folds, rows)}
    scan.counts = {"files": len(rows), "speakers": len({row[1] for row in rows}), **counts}
    return scan


def _fold(labelled: dict[str, int], test: int) -> dict[str, str]:
    """The split of each labelled utterance when session `test` is held out.

    A random fifth of the others is dev, speakers and all, as s3prl/downstream/emotion/expert.py
    draws it: torch's random_split with seed 0, from the utterances in the order of `labelled`,
    which is that of s3prl's label files and of the lines in them.
    """
    import torch  # takes seconds, and the other corpora do without

    others = [one for one, session in labelled.items() if session != test]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0)).tolist()
    train = int((1 - DEV_SHARE) * len(others))
    result = dict.fromkeys(labelled, "test")
    result |= {others[place]: "train" for place in order[:train]}
    return result | {others[place]: "dev" for place in order[train:]}


def _labels(folder: Path, scan: Scan) -> dict[str, str]:
    if not folder.is_dir():
        scan.missing.append(f"folder {folder.parents[1].name}/dialog/EmoEvaluation (the emotions)")
        return {}
    labels = {}
    for file in _texts_in(folder):
        for line in read_lines(file, "latin-1"):
            if match := EVALUATION.match(line):
                labels[match[1]] = known(EMOTIONS, match[2], "emotion", f"{file}, {match[1]},")
    return labels


def _texts(folder: Path) -> dict[str, str]:
    lines = (line for file in _texts_in(folder) for line in read_lines(file, "latin-1"))
    matches = (TRANSCRIPT.match(line) for line in lines)
    return {match[1]: " ".join(match[2].split()) for match in matches if match}


def _texts_in(folder: Path) -> list[Path]:
    files = (one for one in folder.glob("*.txt") if not one.name.startswith("."))
    return sorted(files, key=lambda file: place_of(file.stem))


READER = Reader(
    title="IEMOCAP",
    layout="Session1 to Session5, each with sentences/wav and dialog/EmoEvaluation",
    recognises=lambda root: any(re.fullmatch(r"Session[1-5]", one) for one in folders(root)),
    read=read,
    cards=("iemocap",),
)
