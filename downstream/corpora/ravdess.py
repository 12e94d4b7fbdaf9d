"""RAVDESS, speech part: 24 actors, two statements, eight emotions.

S. R. Livingstone, F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE 13(5), 2018, and its record zenodo.org/record/1188976: seven two-digit numbers
for modality, channel, emotion, intensity, statement, repetition, actor. Its song part, where it is
there too, is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    Options,
    Reader,
    Scan,
    files_below,
    folders,
    known,
    parsed,
)
from barlow_speech.downstream.corpora._splits import held_out

SPEECH_FOLDER = "Audio_Speech_Actors_01-24"  # what the archive is called
NAME = re.compile(r"03-(0[12])-(\d\d)-0[12]-(0[12])-(0[12])-(\d\d)\.wav", re.IGNORECASE)
EXAMPLE = "03-01-06-01-02-01-12.wav"
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
# Statement and repetition.
TAKES = {
    ("01", "01"): "train",
    ("01", "02"): "train",
    ("02", "01"): "dev",
    ("02", "02"): "test",
}
ACTORS = {f"{number:02d}": "male" if number % 2 else "female" for number in range(1, 25)}
DEV_ACTORS, TEST_ACTORS = ("17", "18", "19", "20"), ("21", "22", "23", "24")
PUBLISHED = {"files": 1440, "speakers": len(ACTORS), "neutral": 96} | {
    emotion: 192 for emotion in EMOTIONS.values() if emotion != "neutral"
}


def read(root: Path, options: Options) -> Scan:
    """The speech recordings below `root`, labelled by their names."""
    scan = Scan("Livingstone and Russo 2018", PUBLISHED, hours=1.48, rate=48_000)
    base = f"{SPEECH_FOLDER}/" if SPEECH_FOLDER in folders(root) else ""
    paths = [
        f"{base}{actor}/{name}"
        for actor in folders(root / base)
        if re.fullmatch(r"Actor_\d\d", actor)
        for name in files_below(root / base / actor, ".wav", PUBLISHED["files"] // len(ACTORS))
    ]
    rows = []
    for path, match in parsed(paths, NAME, EXAMPLE, options, scan):
        channel, emotion, statement, repetition, actor = match.groups()
        if channel == "02":
            continue  # song
        rows.append(
            (
                path,
                actor,
                known(ACTORS, actor, "actor", path),
                known(EMOTIONS, emotion, "emotion", path),
                STATEMENTS[statement],
                TAKES[statement, repetition],
                held_out(actor, DEV_ACTORS, TEST_ACTORS),
            )
        )
    scan.add_acted("ravdess", rows, {one: f"Actor_{one}" for one in ACTORS})
    return scan


def recognises(root: Path) -> bool:
    """By the folders of the actors."""
    names = folders(root)
    return SPEECH_FOLDER in names or any(re.fullmatch(r"Actor_\d\d", one) for one in names)


READER = Reader(
    title="RAVDESS",
    layout="Actor_01 to Actor_24 with 03-01-01-01-01-01-01.wav and so on",
    recognises=recognises,
    read=read,
    cards=("ravdess",),
)
