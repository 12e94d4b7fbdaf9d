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
from barlow_speech.downstream.corpora._splits import held_out, split_speakers
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
HELD_OUT = 7  # actors of each gender in dev, and as many in test
PUBLISHED = {
    "files": 7442,
    "speakers": 91,
    "speakers, female": 43,
    "speakers, male": 48,
    "anger": 1271,
    "disgust": 1271,
    "fear": 1271,
    "happiness": 1271,
    "neutral": 1087,
    "sadness": 1271,
}


def read(root: Path, options: Options) -> Scan:
    """The recordings below `root`, labelled by their names; gender by the corpus's own table."""
    scan = Scan("Cao et al. 2014", PUBLISHED)
    names = files_below(root / "AudioWAV", ".wav", PUBLISHED["files"])
    paths = [f"AudioWAV/{name}" for name in names]
    refuse_pointers(root, paths)
    genders = _genders(root / DEMOGRAPHICS, scan)
    # Of all the actors there are, so that the split of one does not depend on what is here.
    disjoint = split_speakers(genders, HELD_OUT, HELD_OUT)
    rows = []
    for path, match in parsed(paths, NAME, EXAMPLE, options, scan):
        actor, sentence = match[1], match[2].upper()
        rows.append(
            (
                path,
                actor,
                genders.get(actor, ""),
                known(EMOTIONS, match[3].upper(), "emotion", path),
                known(SENTENCES, sentence, "sentence", path),
                held_out(sentence, DEV_SENTENCES, TEST_SENTENCES),
                disjoint.get(actor, ""),
            )
        )
    scan.add_acted("crema_d", rows, {one: f"actor {one}" for one in sorted(genders)})
    return scan


def _genders(file: Path, scan: Scan) -> dict[str, str]:
    if not file.is_file():
        scan.missing.append(f"{file.name} (gender and the split by actors)")
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
