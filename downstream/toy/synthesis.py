"""Speaking: eSpeak NG through ctypes, its voices, prosody and recording conditions."""

from __future__ import annotations

import ctypes
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE


class Speaker(NamedTuple):
    """A synthetic person: accent and timbre by eSpeak's names, then how that person usually talks.

    `pitch` in eSpeak's units (50 is the voice's own, 20 more is about a quarter higher), `rate` in
    words a minute.
    """

    language: str
    variant: str
    pitch: float
    rate: float


class Prosody(NamedTuple):
    """An emotion, as what it adds to a speaker's usual way of talking.

    `pitch` and `pitch_range` in eSpeak's units, `rate` a factor, `loudness_db` in dB, `effort` the
    coefficient of a first-order filter (positive: more energy at high frequencies, as in a raised
    voice), `endings` the punctuation that eSpeak turns into a contour.
    """

    pitch: float
    pitch_range: float
    rate: float
    loudness_db: float
    effort: float
    ending: str


# Two people share a timbre and differ in accent, pitch and rate: speaker ID is more than telling
# timbres apart. In this order the first 60 % train, and no timbre is on both sides of a split.
SPEAKERS = {
    "female": (
        Speaker("en-us", "f1", 46, 128),
        Speaker("en-gb-scotland", "f1", 58, 142),
        Speaker("en", "f2", 52, 136),
        Speaker("en-029", "f2", 42, 124),
        Speaker("en-us-nyc", "f4", 56, 140),
        Speaker("en-gb-x-rp", "f4", 45, 126),
        Speaker("en-gb-x-gbclan", "f3", 50, 132),
        Speaker("en-us", "f3", 57, 138),
        Speaker("en-gb-x-gbcwmd", "f5", 47, 130),
        Speaker("en-us", "f5", 55, 137),
    ),
    "male": (
        Speaker("en-us", "m1", 52, 134),
        Speaker("en-gb-x-gbclan", "m1", 42, 124),
        Speaker("en", "m3", 57, 140),
        Speaker("en-gb-scotland", "m3", 47, 128),
        Speaker("en-029", "m4", 58, 138),
        Speaker("en-us-nyc", "m7", 45, 130),
        Speaker("en-gb-x-rp", "m2", 53, 136),
        Speaker("en-us", "m6", 46, 126),
        Speaker("en-us", "m8", 60, 132),
        Speaker("en-gb-x-gbcwmd", "m5", 50, 139),
    ),
}

EMOTIONS = {
    "anger": Prosody(6, 18, 1.14, 5.0, 0.20, "!!!."),
    "happiness": Prosody(16, 30, 1.06, 2.5, 0.05, "!!??"),
    "neutral": Prosody(0, 0, 1.0, 0.0, 0.0, "...,"),
    "sadness": Prosody(-8, -28, 0.86, -5.0, -0.20, "..,,"),
}

# The standard deviation of each clip about its emotion, so that emotions overlap.
JITTER = Prosody(7, 16, 0.09, 3.0, 0.12, "")

USUAL_RANGE = 50  # eSpeak's default

LEVEL_DB = -8.0  # of a neutral clip, against what eSpeak gives

SILENCE_S = (0.08, 0.22)  # before and after the word, each

SNR_DB = (8.0, 25.0)  # of a neutral clip


def jittered(usual: Prosody, draw: np.random.Generator) -> Prosody:
    """One clip's prosody, drawn about that of its emotion."""
    numbers = np.array(usual[:-1]) + draw.standard_normal(len(usual) - 1) * np.array(JITTER[:-1])
    return Prosody._make([*numbers.tolist(), usual.ending[draw.integers(len(usual.ending))]])


class Name(ctypes.Union):
    """`espeak_EVENT.id`."""

    _fields_ = (("pointer", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("type", "identifier", "text_position", "length")),
        *((name, ctypes.c_int) for name in ("milliseconds", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", Name),
    )


class Espeak:
    """eSpeak NG through ctypes; the constants are those of its `speak_lib.h`.

    `phones` has, of what was said last, the sample that each phone starts at and its letters (IPA,
    with stress marks; "" is a pause), as eSpeak's phoneme events give them.
    """

    SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
    PHONEME_EVENTS, IPA, LAST_EVENT, PHONEME = 1, 2, 0, 7
    RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
    USUAL_VOLUME = 100

    def __init__(self, seed: int) -> None:
        """Load the library; raise `BarlowSpeechError` if it is missing, foreign or too old."""
        remedy = "install it by 'pip install --force-reinstall espeakng-loader'"
        try:
            import espeakng_loader

            data = espeakng_loader.get_data_path()
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            # Breathy voices draw noise; without this call its seed is the time of day.
            self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
            self._library.espeak_Info.restype = ctypes.c_char_p
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            raise BarlowSpeechError(
                f"the corpus needs eSpeak NG, which cannot be loaded ({error}); {remedy}."
            ) from error
        self.rate = self._library.espeak_Initialize(
            self.SYNCHRONOUS,
            0,
            str(data).encode(),
            self.DONT_EXIT | self.PHONEME_EVENTS | self.IPA,
        )
        if self.rate <= 0:
            raise BarlowSpeechError(f"eSpeak NG cannot start with its data in {data}; {remedy}.")
        self.version = f"eSpeak NG {self._library.espeak_Info(None).decode()}"
        self._pieces: list[np.ndarray] = []
        self.phones: list[tuple[int, str]] = []
        pointer = ctypes.POINTER(ctypes.c_short)
        callback = ctypes.CFUNCTYPE(ctypes.c_int, pointer, ctypes.c_int, ctypes.POINTER(Event))
        self._callback = callback(self._take)  # kept: the library holds only a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(seed + 1)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in itertools.takewhile(lambda one: one.type != self.LAST_EVENT, events):
            if event.type == self.PHONEME:
                # Eight bytes without an end may break a letter off.
                letters = event.id.string.decode(errors="ignore")
                self.phones.append((event.sample, letters))
        return 0  # go on

    def choose(self, speaker: Speaker) -> None:
        """Speak as this person's voice from now on."""
        name = f"{speaker.language}+{speaker.variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise BarlowSpeechError(
                f"{self.version} has no voice '{name}'; install the newest by "
                "'pip install --upgrade espeakng-loader'."
            )

    def say(self, word: str, speaker: Speaker, prosody: Prosody) -> np.ndarray:
        """A word as a waveform [N]: float64 in [-1, 1] at `self.rate` Hz."""
        values = {
            self.RATE: max(80, speaker.rate * prosody.rate),  # 80 is the slowest it knows
            self.VOLUME: self.USUAL_VOLUME,
            self.PITCH: min(max(speaker.pitch + prosody.pitch, 0), 99),
            self.RANGE: min(max(USUAL_RANGE + prosody.pitch_range, 0), 99),
        }
        for parameter, value in values.items():
            self._library.espeak_SetParameter(parameter, round(value), 0)
        text = (word + prosody.ending).encode()
        self._pieces.clear()
        self.phones.clear()
        self._library.espeak_Synth(text, len(text) + 1, 0, 0, 0, self.UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._pieces:
            raise BarlowSpeechError(
                f"{self.version} said nothing for '{word}'; install it anew by "
                "'pip install --force-reinstall espeakng-loader'."
            )
        return np.concatenate(self._pieces) / 32768


class Recorder:
    """Turns what the synthesiser gives into a 16 kHz recording: effort, level, silence, noise."""

    def __init__(self, rate: int) -> None:
        from scipy.signal import firwin  # half a second to import, and only needed when making

        divisor = math.gcd(SAMPLE_RATE, rate)
        self._up, self._down = SAMPLE_RATE // divisor, rate // divisor
        # resample_poly's own filter, designed once: each design takes as long as its use.
        steepest = max(self._up, self._down)
        self._filter = firwin(20 * steepest + 1, 1 / steepest, window=("kaiser", 5.0))

    def record(
        self, wave: np.ndarray, prosody: Prosody, draw: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """A waveform [N] as int16 samples [M] at 16 kHz, and the one that the speech starts at."""
        from scipy.signal import lfilter, resample_poly

        speech = resample_poly(wave, self._up, self._down, window=self._filter)
        level = np.sqrt(np.mean(speech**2))
        # Louder only by loudness_db: the filter changes the spectrum and keeps the level.
        speech = lfilter([1.0, -prosody.effort], [1.0], speech)
        gain = 10 ** ((LEVEL_DB + prosody.loudness_db) / 20)
        speech *= gain * level / np.sqrt(np.mean(speech**2))
        before, after = (round(s * SAMPLE_RATE) for s in draw.uniform(*SILENCE_S, size=2))
        # The noise is set against the neutral level, so that a loud clip is a clear one.
        noise = lfilter([1.0], [1.0, -0.8], draw.standard_normal(before + len(speech) + after))
        floor = level * 10 ** ((LEVEL_DB - draw.uniform(*SNR_DB)) / 20)
        noise *= floor / np.sqrt(np.mean(noise**2))
        noise[before : before + len(speech)] += speech
        return np.clip(np.round(noise * 32768), -32768, 32767).astype("<i2"), before
