"""The embedded corpus `toy`: ten keywords in four emotions, spoken by eSpeak NG.

For trying things out without a download: speaker, gender, emotion (by prosody) and keyword of each
clip are known, because they are what the synthesiser was told. No result on it is a claim about
speech.

How it is made and kept: kept.py.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from barlow_speech.downstream.toy.kept import MANIFEST, kept_corpus, speak, write_corpus
from barlow_speech.downstream.toy.synthesis import (
    EMOTIONS,
    JITTER,
    SPEAKERS,
    Espeak,
    Recorder,
    jittered,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.progress import progress

REVISION = 1  # raise it with every change of this file that changes a clip or a label

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

LABELS = ("speaker", "gender", "emotion", "keyword", "text")

SPLITS = ("split_speaker_id", "split_speaker_disjoint", "split")


@dataclass(frozen=True)
class ToySettings:
    """How much to make; the defaults are the corpus that the tasks name `toy`.

    Every speaker says every keyword in every emotion, `repetitions` times.
    """

    name: ClassVar[str] = "toy"
    speakers_per_gender: int = 10
    keywords: tuple[str, ...] = KEYWORDS
    repetitions: int = 3
    seed: int = 0

    def check(self) -> None:
        """Raise `BarlowSpeechError` where a split would lack speakers or keywords."""
        most = min(len(speakers) for speakers in SPEAKERS.values())
        if not 3 <= self.speakers_per_gender <= most:
            raise BarlowSpeechError(
                f"toy corpus: speakers_per_gender is {self.speakers_per_gender}; "
                f"choose 3 to {most}."
            )
        if len(self.keywords) < 3 or not set(self.keywords) <= set(KEYWORDS):
            raise BarlowSpeechError(
                f"toy corpus: choose three or more keywords of: {', '.join(KEYWORDS)}."
            )
        if self.repetitions < 1 or self.seed < 0:
            raise BarlowSpeechError(
                "toy corpus: repetitions must be 1 or more, and seed 0 or more."
            )

    @property
    def revision(self) -> str:
        """Names everything that decides what the corpus holds."""
        return f"{REVISION}-{digest([asdict(self), SPEAKERS, EMOTIONS, JITTER])[:8]}"


def toy_corpus(folder: Path | None = None, settings: ToySettings | None = None) -> Path:
    """The card `card.yaml` of the toy corpus in `folder`, which is made first unless it is whole.

    As `kept_corpus`; by default the 2,400 clips (about 0.6 h) that the tasks use, in the cache.
    """
    return kept_corpus(__name__, settings or ToySettings(), folder)


def _make(folder: Path, values: dict[str, Any]) -> None:
    settings = ToySettings(**{**values, "keywords": tuple(values["keywords"])})
    espeak = Espeak(settings.seed)
    clips, card = _clips(espeak, settings), _card(settings)
    write_corpus(folder, settings, (*LABELS, *SPLITS), clips, card, espeak.version)


def _clips(
    espeak: Espeak, settings: ToySettings
) -> Iterator[tuple[str, np.ndarray, Sequence[str]]]:
    recorder = Recorder(espeak.rate)
    speakers = [
        (f"{gender[0]}{number + 1:02d}", gender, number, voice)
        for gender, voices in SPEAKERS.items()
        for number, voice in enumerate(voices[: settings.speakers_per_gender])
    ]
    clips_per_speaker = len(settings.keywords) * len(EMOTIONS) * settings.repetitions
    count = itertools.count(1)
    with progress(len(speakers) * clips_per_speaker, "toy corpus", "clip") as bar:
        for speaker, gender, number, voice in speakers:
            disjoint = _split(number, settings.speakers_per_gender)
            espeak.choose(voice)
            for place, keyword in enumerate(settings.keywords):
                by_keyword = _split(place, len(settings.keywords))
                for emotion, usual in EMOTIONS.items():
                    for repetition in range(settings.repetitions):
                        draw = np.random.default_rng([settings.seed, next(count)])
                        prosody = jittered(usual, draw)
                        wave, _ = recorder.record(
                            espeak.say(keyword, voice, prosody), prosody, draw
                        )
                        labels = (speaker, gender, emotion, keyword, keyword)
                        splits = (by_keyword, disjoint, disjoint)
                        name = f"{speaker}_{keyword}_{emotion}_{repetition + 1}"
                        yield name, wave, (*labels, *splits)
            bar.update(clips_per_speaker)


def _split(place: int, count: int) -> str:
    """60 % train, 20 % dev, 20 % test, of three or more things in a row."""
    held_out = max(1, round(0.2 * count))
    if place < count - 2 * held_out:
        return "train"
    return "dev" if place < count - held_out else "test"


def _card(settings: ToySettings) -> dict[str, Any]:
    def task(label: str, split: str) -> dict[str, str]:
        return {"label": label, "split": split}

    return {
        "name": "toy",
        "manifest": MANIFEST,
        "tasks": {
            "speaker_id": task("speaker", "split_speaker_id"),
            "gender": task("gender", "split_speaker_disjoint"),
            "emotion": task("emotion", "split_speaker_disjoint"),
            "keyword_spotting": task("keyword", "split_speaker_disjoint"),
        },
        "licence": "CC0-1.0 (made on this machine by eSpeak NG, itself GPL-3.0-or-later)",
        "citation": "barlow_speech, the toy corpus; eSpeak NG, https://github.com/espeak-ng/espeak-ng",
        "revision": settings.revision,
        "main_score": "top1",
        "description": (
            "Synthetic words for trying things out; no result on it is a claim about speech. "
            "Speaker ID is tested on other words than it is trained on, the rest on other speakers."
        ),
    }


if __name__ == "__main__":
    sys.exit(speak(sys.argv[1:], _make))
