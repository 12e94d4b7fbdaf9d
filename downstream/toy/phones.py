"""The corpus `phones`: made-up words, spoken by eSpeak NG, with what phone sounds when.

For probing single states of an encoder, since no speech with the times of its phones may be had for
nothing. It is synthesised: no result on it is a claim about people's speech.

The times are those of eSpeak's phoneme events, corrected where the waveform says otherwise
(`segments`). A consonant's event behind a pause lies on the first sample that is not zero (226
measured: median 0.0 ms, at most 0.4), and between sounds the spectrum changes most at the event.
Only the events of vowels behind a nasal or a liquid are late, since eSpeak writes them behind the
vowel's start: the spectrum changes most 35 to 50 ms before them behind nasals, and 20 to 30 ms,
less sharply, behind liquids.
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
from barlow_speech.downstream.toy.synthesis import EMOTIONS, Espeak, Recorder, Speaker, jittered
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s
from barlow_speech.upstream.data.manifest import Manifest

REVISION = 1  # raise it with every change of this file that changes a clip or a time

SILENCE = "sil"
LEAST_SILENCE_S = 0.005  # of zeros; shorter ones lie within sounds
STRESS = str.maketrans("", "", "ˈˌ")
VOWELS = tuple("aeiouyæɐɑɒɔəɚɛɜɪʉʊʌᵻ")  # that a vowel's letters begin with
NASALS_AND_LIQUIDS = frozenset("mnŋlɹrjw")
VOWEL_START_S = 0.04  # of a vowel behind one of these, before its event

# Timbres, by split: no two of different splits are alike, and in all of them pauses are zeros.
TIMBRES = {
    "train": "f1 m1 m3 m4 m5 m7 Andy Annie Gene Jacky Mario adam anika belinda benjamin zac",
    "dev": "m8 Andrea Lee iven miguel paul sandro travis",
    "test": "m6 Mike aunty caleb david ed grandpa john linda norbert quincy rob robert shelby "
    "steph victor",
}
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-029")  # with nearly the same phones
PITCH, WORDS_A_MINUTE = (35.0, 65.0), (110.0, 165.0)

ONSETS = (
    *("p", "b", "t", "d", "k", "g", "f", "v", "s", "z", "sh", "ch", "j", "th", "h", "m", "n"),
    *("l", "r", "w", "y", "st", "pl", "tr", "kr", "sl", "gr", "gl"),
)
NUCLEI = ("a", "e", "i", "o", "u", "ee", "oo", "ai", "oy", "ow", "ar", "er")
CODAS = ("m", "n", "ng", "l", "s", "t", "k", "d", "p", "sh", "ch", "st", "nd", "")
SYLLABLES, INNER_CODA = (1, 2, 2, 3), 0.2  # of a word; how often a syllable within one is closed
WORDS = (3, 7)  # of a sentence, the last not reached


@dataclass(frozen=True)
class PhoneSettings:
    """How much to make: `sentences` of each speaker of train, half as many of one of dev and test.

    A speaker is a timbre with an accent, a pitch and a rate; `speakers` of each split at most. No
    speaker, sentence or word is in two splits.
    """

    name: ClassVar[str] = "phones"
    speakers: int = 16
    sentences: int = 12
    seed: int = 0

    def check(self) -> None:
        """Raise `BarlowSpeechError` where a split would be empty."""
        if self.speakers < 1 or self.sentences < 2 or self.seed < 0:
            raise BarlowSpeechError(
                "phones corpus: choose one speaker or more, two sentences or more, and a seed of 0 "
                "or more."
            )

    @property
    def revision(self) -> str:
        """Names everything that decides what the corpus holds."""
        return f"{REVISION}-{digest([asdict(self), TIMBRES, EMOTIONS['neutral']])[:8]}"


def phone_corpus(settings: PhoneSettings | None = None, folder: Path | None = None) -> Path:
    """The manifest of the corpus, which is made first unless it is whole; as `kept_corpus`.

    Columns: `path`, `speaker`, `text`, `split`, `phones` (for `read_phones`) and `duration_s`.
    """
    return kept_corpus(__name__, settings or PhoneSettings(), folder).parent / MANIFEST


def phone_labels(manifest: Manifest, hop: int) -> list[np.ndarray]:
    """The phone at each `hop` samples of every recording: arrays of ceil(samples / hop) names."""
    result = []
    for recording, written in zip(manifest.recordings, manifest.column("phones")):
        samples = round(duration_s(recording.path) * SAMPLE_RATE)
        result.append(phones_at(read_phones(written), np.arange(0, samples, hop)))
    return result


def read_phones(written: str) -> list[tuple[int, str]]:
    """(first sample at 16 kHz, phone) of the segments of a recording, from `START:PHONE …`."""
    pairs = (one.split(":", 1) for one in written.split(" "))
    return [(int(start), phone) for start, phone in pairs]


def phones_at(segments: Sequence[tuple[int, str]], places: np.ndarray) -> np.ndarray:
    """The phone that sounds at each of some samples."""
    starts = [start for start, _ in segments]
    names = np.array([phone for _, phone in segments])
    return names[np.searchsorted(starts, places, side="right") - 1]


def segments(
    wave_N: np.ndarray, events: Sequence[tuple[int, str]], rate: int
) -> list[tuple[int, str]]:
    """(first sample, phone) of a waveform as eSpeak gave it, and of its phoneme events.

    The phone is that of the last event, but 5 ms and more of zeros are `SILENCE` wherever they are:
    eSpeak puts a stop's event at its burst, and the closure before it is silence, as in the usual
    39 phones of TIMIT (Lee & Hon 1989). What sounds in a pause is the beginning of the next phone,
    a vowel whose event is late; behind a nasal or a liquid a vowel begins 40 ms before its event,
    but not in the first half of what eSpeak gives the other. Stress marks are left out. A phone of
    no length (an l that eSpeak draws into its vowel) has no segment, and equal neighbours are one.
    """
    names = ["", *(phone.translate(STRESS) for _, phone in events), ""]
    starts = np.array([0, *(start for start, _ in events), len(wave_N)])
    for place in range(2, len(names)):
        if names[place - 1] in NASALS_AND_LIQUIDS and names[place].startswith(VOWELS):
            length = int(starts[place] - starts[place - 1])
            starts[place] -= min(round(VOWEL_START_S * rate), length // 2)
    for place in reversed(range(len(names) - 1)):
        names[place] = names[place] or names[place + 1]
    names = [name or SILENCE for name in names]
    kinds = [SILENCE, *dict.fromkeys(name for name in names if name != SILENCE)]
    number = np.array([kinds.index(name) for name in names])
    phone_N = number[np.searchsorted(starts, np.arange(len(wave_N)), side="right") - 1]
    sounding = np.concatenate([[-1], np.flatnonzero(wave_N), [len(wave_N)]])
    for gap in np.flatnonzero(np.diff(sounding) > LEAST_SILENCE_S * rate):
        phone_N[sounding[gap] + 1 : sounding[gap + 1]] = 0
    first = np.flatnonzero(np.diff(phone_N, prepend=-1))
    return [(int(start), kinds[phone_N[start]]) for start in first]


def _make(folder: Path, values: dict[str, Any]) -> None:
    settings = PhoneSettings(**values)
    espeak = Espeak(settings.seed)
    card = {
        "name": settings.name,
        "manifest": MANIFEST,
        "licence": "CC0-1.0 (made on this machine by eSpeak NG, itself GPL-3.0-or-later)",
        "citation": "barlow_speech; eSpeak NG, https://github.com/espeak-ng/espeak-ng",
        "revision": settings.revision,
        "description": "Made-up words with the times of their phones; no claim about speech.",
    }
    columns = ("speaker", "text", "split", "phones")
    write_corpus(folder, settings, columns, _clips(espeak, settings), card, espeak.version)


def _clips(
    espeak: Espeak, settings: PhoneSettings
) -> Iterator[tuple[str, np.ndarray, Sequence[str]]]:
    recorder = Recorder(espeak.rate)
    usual = EMOTIONS["neutral"]
    speakers = [
        (split, number, timbre)
        for split, timbres in TIMBRES.items()
        for number, timbre in enumerate(timbres.split()[: settings.speakers])
    ]
    split_of: dict[str, str] = {}  # of every word so far
    with progress(len(speakers), "phones corpus", "speaker") as bar:
        for place, (split, number, timbre) in enumerate(speakers):
            draw = np.random.default_rng([settings.seed, place])
            pitch, rate = draw.uniform(*PITCH), draw.uniform(*WORDS_A_MINUTE)
            voice = Speaker(ACCENTS[number % len(ACCENTS)], timbre, pitch, rate)
            espeak.choose(voice)
            for sentence in range(settings.sentences // (1 if split == "train" else 2)):
                words = [_word(split, split_of, draw) for _ in range(draw.integers(*WORDS))]
                words[draw.integers(len(words))] += ","
                text = " ".join(words).removesuffix(",")
                prosody = jittered(usual, draw)
                said = espeak.say(text, voice, prosody)
                parts = segments(said, espeak.phones, espeak.rate)
                wave, before = recorder.record(said, prosody, draw)
                scale = SAMPLE_RATE / espeak.rate
                at = {before + round(start * scale): phone for start, phone in parts}
                at = {0: SILENCE, **at, before + round(len(said) * scale): SILENCE}
                written = " ".join(
                    f"{start}:{phone}"
                    for (_, last), (start, phone) in itertools.pairwise([(0, ""), *at.items()])
                    if phone != last
                )
                yield f"{timbre}_{sentence + 1}", wave, (timbre, text, split, written)
            bar.update()


def _word(split: str, split_of: dict[str, str], draw: np.random.Generator) -> str:
    """A word that no other split has."""
    while True:
        count = draw.choice(SYLLABLES)
        word = ""
        for place in range(count):
            closed = place == count - 1 or draw.random() < INNER_CODA
            word += draw.choice(ONSETS) + draw.choice(NUCLEI)
            word += draw.choice(CODAS) if closed else ""
        if split_of.setdefault(word, split) == split:
            return word


if __name__ == "__main__":
    sys.exit(speak(sys.argv[1:], _make))
