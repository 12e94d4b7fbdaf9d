"""Public corpora as they are unpacked: the official folders and names, and nothing in the files.

EmoDB, RAVDESS, CREMA-D, TIMIT and IEMOCAP have their published size, since an empty file costs
little; of LibriSpeech, VoxCeleb1, Speech Commands and Common Voice there are a few files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from barlow_speech.downstream.corpora import crema_d as crema_d_reader
from barlow_speech.downstream.corpora import emodb as emodb_reader
from barlow_speech.downstream.corpora import iemocap as iemocap_reader
from barlow_speech.downstream.corpora import timit as timit_reader
from barlow_speech.upstream.data.audio import SAMPLE_RATE


def touch(root: Path, paths: Iterable[str]) -> Path:
    """Empty files below `root`."""
    made: set[Path] = set()
    for path in paths:
        file = root / path
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        file.touch()
    return root


def sound(file: Path, seconds: float = 0.1, seed: int = 0) -> None:
    """A file of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).uniform(-0.1, 0.1, round(seconds * SAMPLE_RATE))
    soundfile.write(file, wave, SAMPLE_RATE, subtype="PCM_16")


def emodb(root: Path) -> Path:
    """535 files: as many of each emotion as published."""
    places = itertools.product("abcdefg", emodb_reader.SENTENCES, emodb_reader.SPEAKERS)
    by_emotion: dict[str, list[str]] = {letter: [] for letter in emodb_reader.EMOTIONS}
    for version, sentence, speaker in places:
        for letter, emotion in emodb_reader.EMOTIONS.items():
            if len(by_emotion[letter]) < emodb_reader.PUBLISHED[emotion]:
                by_emotion[letter].append(f"wav/{speaker}{sentence}{letter}{version}.wav")
    (root / "lablaut").mkdir(parents=True)
    return touch(root, [path for paths in by_emotion.values() for path in paths])


def ravdess(root: Path, song: bool = True) -> Path:
    """1,440 files of speech; and a few of song, which must be left out."""
    speech = [
        f"Actor_{actor:02d}/03-01-{emotion:02d}-{level:02d}-{statement:02d}-{take:02d}-{actor:02d}"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for level in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for take in (1, 2)
    ]
    songs = [f"Actor_01/03-02-{emotion:02d}-01-01-01-01" for emotion in range(1, 7)] if song else []
    return touch(root, [f"{path}.wav" for path in speech + songs])


# The women among CREMA-D's actors 1001 to 1091.
CREMA_D_WOMEN = {
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025,
    1028, 1029, 1030, 1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060,
    1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078, 1079, 1082, 1084, 1089, 1091,
}  # fmt: skip


def crema_d(root: Path) -> Path:
    """7,442 files; the table of actors as in the repository."""
    actors = {n: "Female" if n in CREMA_D_WOMEN else "Male" for n in range(1001, 1092)}
    missing = {emotion: 5 if emotion == "NEU" else 3 for emotion in crema_d_reader.EMOTIONS}
    paths = []
    for actor, sentence, emotion in itertools.product(
        actors, crema_d_reader.SENTENCES, crema_d_reader.EMOTIONS
    ):
        levels = ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
        for level in levels:
            if missing[emotion] and actor >= 1080:  # the corpus lacks twenty recordings
                missing[emotion] -= 1
            else:
                short = (actor, sentence, emotion) == (1040, "ITH", "SAD")
                paths.append(f"AudioWAV/{actor}_{sentence}_{emotion}_{level[: 2 - short]}.wav")
    touch(root, paths)
    lines = ['"ActorID","Age","Sex","Race","Ethnicity"']
    lines += [f'{actor},33,"{sex}","Unknown","Not Hispanic"' for actor, sex in actors.items()]
    (root / "VideoDemographics.csv").write_text("\n".join(lines) + "\n")
    return root


def timit(root: Path, small: bool = False) -> Path:
    """6,300 files; in capital letters as on the CD, or in small ones."""
    dev = sorted(timit_reader.DEV_SPEAKERS)
    speakers = dict.fromkeys(dev, "TEST")
    women = 56 - sum(name.startswith("F") for name in dev)
    for place in range(168 - len(dev)):
        speakers[f"{'F' if place < women else 'M'}Q{_letters(place)}0"] = "TEST"
    for place in range(462):
        speakers[f"{'F' if place < 136 else 'M'}Z{_letters(place)}1"] = "TRAIN"
    paths, number = [], itertools.count(1)
    for place, (name, part) in enumerate(speakers.items()):
        takes = ["SA1", "SA2", *(f"SX{(place * 5 + i) % 450}" for i in range(5))]
        takes += [f"SI{next(number) + 450}" for _ in range(3)]
        folder = f"{part}/DR{place % 8 + 1}/{name}"
        paths += [f"{folder}/{take}.WAV" for take in takes] + [f"{folder}/{takes[0]}.TXT"]
    text = "; comment\nShe had your dark suit in greasy wash water all year.  (sa1)\n"
    (root / ("doc" if small else "DOC")).mkdir(parents=True)
    (root / ("doc/prompts.txt" if small else "DOC/PROMPTS.TXT")).write_text(text)
    return touch(root, [path.lower() for path in paths] if small else paths)


def _letters(place: int) -> str:
    return chr(65 + place // 26) + chr(65 + place % 26)


def iemocap(root: Path) -> Path:
    """10,039 utterances with EmoEvaluation; as many of each emotion and session as published."""
    published = iemocap_reader.PUBLISHED
    codes = ["hap"] * 595 + ["exc"] * (published["happiness"] - 595)
    for code in ("ang", "neu", "sad"):
        codes += [code] * published[iemocap_reader.EMOTIONS[code]]
    np.random.default_rng(0).shuffle(codes)
    for session in iemocap_reader.SESSIONS:
        files = published[f"files in Session{session}"]
        own = [codes.pop() for _ in range(published[f"labelled in Session{session}"])]
        own += [("xxx", "fru", "fea", "sur", "dis", "oth")[i % 6] for i in range(files - len(own))]
        base = root / f"Session{session}"
        paths = []
        for place, code in enumerate(own):
            dialogue = (
                f"Ses0{session}{'FM'[place % 2]}_{('impro01', 'script01_1b')[place // 2 % 2]}"
            )
            utterance = f"{dialogue}_{'FM'[place // 4 % 2]}{place:04d}"
            paths.append((dialogue, utterance, code))
        touch(base / "sentences/wav", [f"{one[0]}/{one[1]}.wav" for one in paths])
        touch(base / "sentences/wav", [f"{paths[0][0]}/._{paths[0][1]}.wav"])  # as in the release
        for folder in ("dialog/EmoEvaluation", "dialog/transcriptions"):
            (base / folder).mkdir(parents=True)
        for dialogue, group in itertools.groupby(sorted(paths), key=lambda one: one[0]):
            group = list(group)
            evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for _, utterance, code in group:
                line = f"[6.2901 - 8.2357]\t{utterance}\t{code}\t[2.5000, 2.5000, 2.5000]"
                evaluation += [line, "C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
            said = [f"{one} [006.2901-008.2357]: Excuse me." for _, one, _ in group]
            (base / f"dialog/EmoEvaluation/{dialogue}.txt").write_text("\n".join(evaluation))
            (base / f"dialog/transcriptions/{dialogue}.txt").write_text("\n".join(said) + "\n")
    return root


# A few speakers of each subset; 60 has the name with a | in it.
LIBRISPEECH = {
    "train-clean-100": {"60": "M", "103": "F", "26": "M"},
    "train-clean-360": {"14": "F", "17": "M"},
    "dev-clean": {"84": "F", "174": "M"},
    "test-clean": {"61": "M", "121": "F"},
}


def librispeech(root: Path) -> Path:
    """Two chapters of ten utterances of each speaker."""
    lines = ["; SPEAKERS.TXT", ";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for subset, speakers in LIBRISPEECH.items():
        for speaker, sex in speakers.items():
            name = "|CBW|Simon" if speaker == "60" else "A Reader"
            lines.append(f"{speaker:4} | {sex} | {subset:16} | 25.03 | {name}")
            for chapter in (9, 1000):  # read as numbers, 9 comes first
                folder = f"{subset}/{speaker}/{chapter}"
                names = [f"{speaker}-{chapter}-{number:04d}" for number in range(10)]
                touch(root, [f"{folder}/{name}.flac" for name in names])
                texts = [f"{name} TEXT OF {name}" for name in names]
                (root / folder / f"{speaker}-{chapter}.trans.txt").write_text(
                    "\n".join(texts) + "\n"
                )
    lines.append("1989 | M | train-other-500  | 30.21 | Not Here")
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
    return root


def voxceleb1(root: Path, split_archives: bool = True) -> Path:
    """Sixty speakers with three videos of two recordings; the official lists beside them."""
    meta = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    split, paths = [], []
    for place in range(60):
        speaker, test = f"id{10001 + place}", place >= 54
        meta.append(f"{speaker}\tA_Name\t{'fm'[place % 2]}\tUSA\t{'test' if test else 'dev'}")
        archive = ("test/" if test else "dev/") if split_archives else ""
        for video, number in itertools.product(range(3), range(2)):
            file = f"{speaker}/video-_{video}/{number + 1:05d}.wav"
            split.append(f"{video + 1} {file}")
            paths.append(f"{archive}wav/{file}")
    touch(root, paths)
    (root / "iden_split.txt").write_text("\n".join(split) + "\n")
    (root / "vox1_meta.csv").write_text("\n".join(meta) + "\n")
    return root


def speech_commands(root: Path, words: Iterable[str], test_set: Path | None = None) -> Path:
    """Forty speakers say each word; lists by the published hash; noise files that are audio."""
    words = list(words)
    speakers = [hashlib.sha1(str(number).encode()).hexdigest()[:8] for number in range(40)]
    paths = [f"{word}/{speaker}_nohash_0.wav" for word in words for speaker in speakers]
    touch(root, paths)
    for name, low, high in (("validation_list.txt", 0, 10), ("testing_list.txt", 10, 20)):
        listed = [path for path in paths if low <= _which_set(path) < high]
        (root / name).write_text("\n".join(listed) + "\n")
    for seed, (name, seconds) in enumerate((("pink_noise", 20.5), ("running_tap", 11.0))):
        sound(root / f"_background_noise_/{name}.wav", seconds, seed)
    (root / "_background_noise_/README.md").write_text("noise\n")
    if test_set is not None:
        listed = (root / "testing_list.txt").read_text().split()
        for path in listed:
            word, _, name = path.partition("/")
            if word in ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"):
                touch(test_set, [path])
            else:
                touch(test_set, [f"_unknown_/{word}_{name}.wav"])
        for number in range(3):
            sound(test_set / f"_silence_/{number * 17}.wav", 1.0, number)
    return root


def _which_set(path: str) -> float:
    """Google's `which_set`, in per cent."""
    speaker = re.sub(r"_nohash_.*$", "", path.rpartition("/")[2])
    number = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (2**27)
    return number * (100.0 / (2**27 - 1))


def common_voice(root: Path, release: str = "cv-corpus-17.0-2024-03-15") -> Path:
    """Six voices in train, two in dev and test; the folder of the language is returned."""
    folder = root / release / "en"
    header = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage"
    header += "\tgender\taccents\tvariant\tlocale\tsegment"
    genders = ("male_masculine", "female_feminine", "", "male", "female", "other")
    buckets, number = {}, itertools.count(100)
    for split, voices in (("train", 6), ("dev", 2), ("test", 2)):
        lines = [header]
        for voice in range(voices):
            for _ in range(4):
                clip = f"common_voice_en_{next(number)}.mp3"
                touch(folder / "clips", [clip])
                said = 'Say "yes",\u00a0please.'
                row = (f"{split}{voice}", clip, "id", said, "", "2", "0", "", genders[voice])
                lines.append("\t".join((*row, "", "", "en", "")))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        buckets[split] = len(lines) - 1
    # All voices, and some that are in no official split.
    more = [f"more{voice}" for voice in range(8)]
    for voice, name in enumerate(more):
        clip = f"common_voice_en_{next(number)}.mp3"
        touch(folder / "clips", [clip])
        row = (name, clip, "id", "More.", "", "2", "0", "", genders[voice % 2])
        more[voice] = "\t".join((*row, "", "", "en", ""))
    official = [(folder / f"{split}.tsv").read_text().splitlines()[1:] for split in buckets]
    lines = [header, *itertools.chain(*official), *more]
    (folder / "validated.tsv").write_text("\n".join(lines) + "\n")
    buckets["validated"] = len(lines) - 1
    statistics = {"locales": {"en": {"buckets": {**buckets, "other": 0}}}}
    (root / f"{release}.json").write_text(json.dumps(statistics))
    return folder
