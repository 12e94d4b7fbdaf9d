"""Tiny corpora in the official layouts of SUPERB's tasks: tones and noise under the right names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
SHORT = {"num_workers": 0}


class Voice:
    """Generated recordings, no two alike."""

    def __init__(self, seed: int = 0) -> None:
        self.noise = np.random.default_rng(seed)

    def write(self, path: Path, seconds: float = 0.4, pitch: float = 150.0) -> Path:
        """A tone in noise at 16 kHz; the suffix of the path says the format."""
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * RATE)) / RATE
        wave = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.05 * self.noise.standard_normal(len(time))
        soundfile.write(path, wave, RATE)
        return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def speech_commands(root: Path) -> Path:
    """`speech_commands_v0.01` and `speech_commands_test_set_v0.01` below the root."""
    voice = Voice(1)
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    # s3prl splits by a hash of the speaker's name: of these, some fall to train and some to dev.
    for word, speaker in itertools.product(("yes", "no", "bed"), "01234569"):
        voice.write(train / word / f"{speaker}_nohash_0.wav", pitch=100 + 50 * len(word))
    voice.write(train / "_background_noise_" / "pink_noise.wav", 1.3)
    for word in ("yes", "no", "_unknown_", "_silence_"):
        for speaker in "78":
            voice.write(test / word / f"{speaker}_nohash_0.wav")
    return root


IEMOCAP_LABELS = ("neu", "hap", "ang", "sad", "exc", "xxx", "fru")


def iemocap(root: Path, sessions: int = 3) -> Path:
    """`Session1` … with one dialogue each: every label once by each of the two actors."""
    voice = Voice(2)
    for session, actor in itertools.product(range(1, sessions + 1), "FM"):
        dialogue = f"Ses0{session}{actor}_impro01"
        folder = root / f"Session{session}"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for number, label in enumerate(IEMOCAP_LABELS):
            name = f"{dialogue}_{actor}{number:03d}"
            voice.write(
                folder / "sentences" / "wav" / dialogue / f"{name}.wav", pitch=90 + 9 * number
            )
            lines += [f"[{number}.0000 - {number}.4000]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]"]
            lines += ["C-E2:\tNeutral;\t()", ""]
        write_lines(folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt", lines)
        # What a Mac leaves beside the files of the official archive.
        (folder / "dialog" / "EmoEvaluation" / f"._{dialogue}.txt").write_bytes(
            b"\x00\x05\xff[\xfe"
        )
    return root


def voxceleb1(root: Path) -> Path:
    """`dev/wav` and `test/wav`, `iden_split.txt` (identification) and `veri_test.txt` (trials)."""
    voice = Voice(3)
    split, tested = [], []
    for part, speakers in (("dev", (10001, 10002, 10003)), ("test", (10270, 10271))):
        for speaker, number in itertools.product(speakers, range(1, 4)):
            name = f"id{speaker}/5r0dWxy17C8/{number:05d}.wav"
            voice.write(root / part / "wav" / name, 2.3, pitch=100 + 40 * (speaker % 7))
            split.append(f"{number} {name}")
            tested += [name] if part == "test" else []
    write_lines(root / "iden_split.txt", split)
    pairs = [(a, b) for a, b in itertools.combinations(tested, 2)]
    trials = [f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}" for a, b in pairs]
    write_lines(root / "veri_test.txt", trials)
    return root


def fluent_commands(root: Path) -> Path:
    """`wavs/speakers/<speaker>` and `data/{train,valid,test}_data.csv`."""
    voice = Voice(4)
    intents = [("activate", "lights", "kitchen"), ("increase", "heat", "none")]
    for split, count in (("train", 8), ("valid", 4), ("test", 4)):
        lines = [",path,speakerId,transcription,action,object,location"]
        for number in range(count):
            path = f"wavs/speakers/spk{number % 2}/{split}{number}.wav"
            voice.write(root / path)
            lines.append(f"{number},{path},spk{number % 2},words,{','.join(intents[number % 2])}")
        write_lines(root / "data" / f"{split}_data.csv", lines)
    return root


LEXICON = {
    "THE": "DH AH0",
    "CAT": "K AE1 T",
    "SAT": "S AE1 T",
    "ON": "AA1 N",
    "MAT": "M AE1 T",
    "IT'S": "IH1 T S",
}


def librispeech(root: Path) -> Path:
    """`train-clean-100`, `dev-clean` and `test-clean`, and s3prl's two lexicons."""
    voice = Voice(5)
    words = list(LEXICON)
    for split, count in (("train-clean-100", 6), ("dev-clean", 2), ("test-clean", 2)):
        speaker = {"train-clean-100": 103, "dev-clean": 84, "test-clean": 61}[split]
        lines = []
        for number in range(count):
            name = f"{speaker}-1240-{number:04d}"
            voice.write(root / split / f"{speaker}" / "1240" / f"{name}.flac", 0.9 + 0.1 * number)
            lines.append(f"{name} {' '.join(words[number % 3 : number % 3 + 3])}")
        write_lines(root / split / f"{speaker}" / "1240" / f"{speaker}-1240.trans.txt", lines)
    spellings = [f"{word}\t{phones}" for word, phones in LEXICON.items()]
    # A word with two spellings: the first counts.
    write_lines(root / "librispeech-lexicon-200k-g2p.txt", spellings[:-1])
    write_lines(root / "librispeech-lexicon-allothers-g2p.txt", [spellings[-1], "THE\tDH IY0"])
    return root


def snips(root: Path) -> Path:
    """Audio SNIPS as s3prl's script leaves it: three folders, the texts with slots, the slots."""
    voice = Voice(6)
    lines = []
    for split, speakers in (("train", ("Ivy", "Joey")), ("valid", ("Amy",)), ("test", ("Emma",))):
        for speaker, number in itertools.product(speakers, range(3)):
            name = f"{speaker}-snips-{split}-{number}"
            voice.write(root / split / f"{name}.wav", 0.9)
            word = ("JAZZ", "ROCK", "SOUL")[number]
            lines.append(f"{name} BOS PLAY SOME {word} EOS\tO O O genre O")
    write_lines(root / "all.iob.snips.txt", lines)
    # Without a newline at the end: s3prl would take an empty line for the name of a slot.
    (root / "slots.txt").write_text("O\ngenre\nartist")
    return root


def quesst14(root: Path) -> Path:
    """`Audio`, `dev_queries` and `eval_queries`, and the lists in `scoring`."""
    voice = Voice(7)
    lists = {"utterances": "Audio", "dev": "dev_queries", "eval": "eval_queries"}
    for key, folder in lists.items():
        lines = []
        for number in range(2):
            name = f"{folder}/quesst14_{key}_{number:05d}.wav"
            voice.write(root / name, 0.9 if key == "utterances" else 0.5)
            lines.append(f"quesst14Database/{name} nnenglish")
        lines.append(f"quesst14Database/{folder}/none.wav albanian")
        write_lines(root / "scoring" / f"language_key_{key}.lst", lines)
    return root


def diarization(root: Path) -> Path:
    """Kaldi folders `train`, `dev` and `test` of two speakers who overlap."""
    voice = Voice(8)
    for split in ("train", "dev", "test"):
        scp, segments, speakers, durations = [], [], [], []
        for number in range(2):
            recording = f"rec{number}"
            path = voice.write(root / split / "wav" / f"{recording}.wav", 2.0)
            scp.append(f"{recording} {path}")
            durations.append(f"{recording} 2.0")
            for speaker, span in (("a", "0.1 1.2"), ("b", "0.9 1.9")):
                segments.append(f"{recording}_{speaker} {recording} {span}")
                speakers.append(f"{recording}_{speaker} {recording}{speaker}")
        write_lines(root / split / "wav.scp", scp)
        write_lines(root / split / "segments", segments)
        write_lines(root / split / "utt2spk", speakers)
        write_lines(root / split / "spk2utt", [" ".join(one.split()[::-1]) for one in speakers])
        write_lines(root / split / "reco2dur", durations)
    return root


def mixtures(root: Path, conditions: tuple[str, ...]) -> Path:
    """`<split>/<condition>/wav.scp` of LibriMix (mix_clean, s1, s2) or VoiceBank (noisy, clean)."""
    voice = Voice(9)
    for split, condition in itertools.product(("train", "dev", "test"), conditions):
        folder = root / split / condition
        paths = [voice.write(folder / f"utt{number}.wav", 1.0) for number in range(2)]
        write_lines(folder / "wav.scp", [f"{path.stem} {path}" for path in paths])
    return root
