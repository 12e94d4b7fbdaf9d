"""CREMA-D: 91 actors, twelve sentences, six emotions.

H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma, "CREMA-D: Crowd-sourced
Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing 5(4), 2014, and its
repository CheyneyComputerScience/CREMA-D: actor, sentence, acted emotion, level.
"""

from __future__ import annotations

import re
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    Options,
    Reader,
    Scan,
    files_below,
    known,
    parsed,
    peek,
    read_rows,
    refuse_pointers,
)
from barlow_speech.downstream.corpora._splits import held_out
from barlow_speech.upstream.common.errors import BarlowSpeechError

DEMOGRAPHICS = "VideoDemographics.csv"
# The level of 1040_ITH_SAD_X.wav has one letter in the corpus itself.
NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})\.wav", re.IGNORECASE)
EXAMPLE = "1001_DFA_ANG_XX.wav (actor, sentence, emotion, level)"
EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
SENTENCES = {
    "DFA": "Don't forget a jacket.",
    "IEO": "It's eleven o'clock.",
    "IOM": "I'm on my way to the meeting.",
    "ITH": "I think I have a doctor's appointment.",
    "ITS": "I think I've seen this before.",
    "IWL": "I would like a new alarm clock.",
    "IWW": "I wonder what this is about.",
    "MTI": "Maybe tomorrow it will be cold.",
    "TAI": "The airplane is almost full.",
    "TIE": "That is exactly what happened.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
DEV_SENTENCES, TEST_SENTENCES = {"TAI", "TIE"}, {"TSI", "WSI"}
ACTORS = tuple(str(number) for number in range(1001, 1092))
# Seven women and seven men each, the first of each gender in the order of their SHA-256; written
# down, so that the split does not depend on the table of actors that a copy has.
DEV_ACTORS = frozenset(map(str, (
    1006, 1007, 1013, 1025, 1030, 1032, 1042, 1051, 1059, 1069,
    1075, 1080, 1082, 1083,
)))  # fmt: skip
TEST_ACTORS = frozenset(map(str, (
    1012, 1038, 1039, 1040, 1047, 1049, 1053, 1055, 1063, 1064,
    1068, 1085, 1086, 1091,
)))  # fmt: skip
HOURS = 5.26  # by the sizes of its files in the repository
PUBLISHED = {
    "files": 7442,
    "speakers": 91,
    "female speakers": 43,
    "male speakers": 48,
    "anger": 1271,
    "disgust": 1271,
    "fear": 1271,
    "happiness": 1271,
    "neutral": 1087,
    "sadness": 1271,
}


def read(root: Path, options: Options) -> Scan:
    """The recordings below `root`, labelled by their names; gender by the corpus's own table."""
    scan = Scan("Cao et al. 2014", PUBLISHED, hours=HOURS, rate=16_000)
    names = files_below(root / "AudioWAV", ".wav", PUBLISHED["files"])
    paths = [f"AudioWAV/{name}" for name in names]
    refuse_pointers(root, paths)
    genders = _genders(root / DEMOGRAPHICS, scan)
    rows, strangers = [], {one for one in genders if one not in ACTORS}
    for path, match in parsed(paths, NAME, EXAMPLE, options, scan):
        actor, sentence = match[1], match[2].upper()
        if actor not in ACTORS:
            strangers.add(actor)
            continue
        rows.append(
            (
                path,
                actor,
                genders.get(actor, ""),
                known(EMOTIONS, match[3].upper(), "emotion", path),
                known(SENTENCES, sentence, "sentence", path),
                held_out(sentence, DEV_SENTENCES, TEST_SENTENCES),
                held_out(actor, DEV_ACTORS, TEST_ACTORS),
            )
        )
    if strangers:
        scan.notes.append(
            f"Actors {', '.join(sorted(strangers))} are none of CREMA-D's {len(ACTORS)} (1001 to "
            "1091) and left out."
        )
    scan.add_acted("crema_d", rows, {one: f"actor {one}" for one in ACTORS})
    return scan


def _genders(file: Path, scan: Scan) -> dict[str, str]:
    if not file.is_file():
        scan.missing.append(f"{file.name} (gender)")
        return {}
    rows = read_rows(file)
    if not rows or not {"ActorID", "Sex"} <= set(rows[0]):
        raise BarlowSpeechError(
            f"{file} has no columns ActorID and Sex in its first line; take it from the "
            "repository CheyneyComputerScience/CREMA-D again."
        )
    sexes = {"Female": "female", "Male": "male"}
    return {row["ActorID"]: known(sexes, row["Sex"], "sex", str(file)) for row in rows}


READER = Reader(
    title="CREMA-D",
    layout="AudioWAV/1001_DFA_ANG_XX.wav and 7441 more, and VideoDemographics.csv",
    recognises=lambda root: peek(root / "AudioWAV", NAME.pattern),
    read=read,
    cards=("crema_d",),
)
