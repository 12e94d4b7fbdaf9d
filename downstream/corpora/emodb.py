"""EmoDB, the Berlin Database of Emotional Speech: ten actors, ten sentences, seven emotions.

F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss, "A Database of German Emotional
Speech", Interspeech 2005. Names as on its site: speaker (2 digits), sentence (a01 … b10), emotion
(a letter of its German name), version.
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
)
from barlow_speech.downstream.corpora._splits import held_out

NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])[a-z]\.wav", re.IGNORECASE)
EXAMPLE = "03a01Fa.wav (speaker, sentence, emotion, version)"
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
SPEAKERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# A woman and a man each: of all such pairs those that leave the smallest class largest.
DEV_SPEAKERS, TEST_SPEAKERS = {"11", "16"}, {"14", "15"}
DEV_SENTENCES, TEST_SENTENCES = {"a05", "b09"}, {"a07", "b10"}
PUBLISHED = {
    "files": 535,
    "speakers": 10,
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "sadness": 62,
    "neutral": 79,
}


def read(root: Path, options: Options) -> Scan:
    """The recordings below `root`, labelled by their names."""
    scan = Scan("Burkhardt et al. 2005", PUBLISHED, hours=0.41, rate=16_000)
    paths = [f"wav/{path}" for path in files_below(root / "wav", ".wav", PUBLISHED["files"])]
    rows = []
    for path, match in parsed(paths, NAME, EXAMPLE, options, scan):
        speaker, sentence = match[1], match[2].lower()
        rows.append(
            (
                path,
                speaker,
                known(SPEAKERS, speaker, "speaker", path),
                known(EMOTIONS, match[3].upper(), "emotion", path),
                known(SENTENCES, sentence, "sentence", path),
                held_out(sentence, DEV_SENTENCES, TEST_SENTENCES),
                held_out(speaker, DEV_SPEAKERS, TEST_SPEAKERS),
            )
        )
    scan.add_acted("emodb", rows, {one: f"speaker {one}" for one in SPEAKERS})
    return scan


READER = Reader(
    title="EmoDB",
    layout="wav/03a01Fa.wav and 534 more",
    recognises=lambda root: peek(root / "wav", NAME.pattern),
    read=read,
    cards=("emodb",),
)
