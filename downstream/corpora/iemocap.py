"""IEMOCAP: five sessions of two actors each; four emotions, as in SUPERB.

C. Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database", Language Resources
and Evaluation 42(4), 2008. Labels as s3prl/downstream/emotion/IEMOCAP_preprocess.py takes them:
anger, happiness with excitement, neutral and sadness; other utterances have none. The letter of an
utterance (Ses01F_impro01_M003) is its speaker; that of the dialogue says who wore the markers.
Of the two sets of folds one is ours, by the names alone, and one s3prl's own (superb_er).
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
    files_below,
    folders,
    known,
    parsed,
    read_lines,
)
from barlow_speech.downstream.corpora._splits import split_names

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
    folds = tuple(f"split_{kind}{session}" for kind in ("fold", "superb") for session in SESSIONS)
    scan = Scan("Busso et al. 2008; four classes as in SUPERB", PUBLISHED, hours=12)
    rows: list[tuple[str, ...]] = []
    labelled: dict[str, int] = {}  # utterances of the four classes, and their sessions
    evaluated: dict[str, int] = {}  # the same in the order of EmoEvaluation
    counts: Counter[str] = Counter()
    for session in SESSIONS:
        name = f"Session{session}"
        base = f"{name}/sentences/wav"
        if not (root / base).is_dir():
            scan.missing.append(f"folder {base}")
            continue
        labels = _labels(root / name / "dialog" / "EmoEvaluation", scan)
        texts = _texts(root / name / "dialog" / "transcriptions")
        below = files_below(root / base, ".wav", PUBLISHED[f"files in {name}"])
        for path, match in parsed((f"{base}/{one}" for one in below), NAME, EXAMPLE, options, scan):
            utterance, number, letter = match.groups()
            emotion = labels.get(utterance, "")
            if emotion:
                labelled[utterance] = session
                counts[f"labelled in {name}"] += 1
                counts[emotion] += 1
            counts[f"files in {name}"] += 1
            disjoint = "train" if session <= 3 else "dev" if session == 4 else "test"
            text = texts.get(utterance, "")
            rows.append((path, f"Ses{number}{letter}", GENDERS[letter], emotion, text, disjoint))
        evaluated |= dict.fromkeys((one for one in labels if one in labelled), session)
    splits = [_fold(labelled, session) for session in SESSIONS]
    splits += [_superb_fold(evaluated, session) for session in SESSIONS]
    utterances = (Path(row[0]).stem for row in rows)
    rows = [row + tuple(one.get(u, "") for one in splits) for row, u in zip(rows, utterances)]
    scan.tables = {"iemocap": Table(columns + folds, rows)}
    scan.counts = {"files": len(rows), "speakers": len({row[1] for row in rows}), **counts}
    return scan


def _fold(labelled: dict[str, int], test: int) -> dict[str, str]:
    """The split of each labelled utterance when session `test` is held out.

    A random fifth of the others is dev, speakers and all, as in s3prl/downstream/emotion/expert.py;
    which fifth that is depends there on the order of a folder, here on the names only.
    """
    others = [one for one in labelled if labelled[one] != test]
    dev = len(others) - int((1 - DEV_SHARE) * len(others))
    result = dict.fromkeys(labelled, "test")
    return result | split_names(others, dev, 0, f"fold {test} ")


def _superb_fold(evaluated: dict[str, int], test: int) -> dict[str, str]:
    """The same as s3prl/downstream/emotion/expert.py draws it: torch's random_split, seed 0.

    `evaluated` in the order of the label files' names and of their lines.
    """
    import torch  # takes seconds, and the other corpora do without

    others = [one for one, session in evaluated.items() if session != test]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0)).tolist()
    train = int((1 - DEV_SHARE) * len(others))
    result = dict.fromkeys(evaluated, "test")
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
    return sorted(one for one in folder.glob("*.txt") if not one.name.startswith("."))


READER = Reader(
    title="IEMOCAP",
    layout="Session1 to Session5, each with sentences/wav and dialog/EmoEvaluation",
    recognises=lambda root: any(re.fullmatch(r"Session[1-5]", one) for one in folders(root)),
    read=read,
    cards=("iemocap",),
)
