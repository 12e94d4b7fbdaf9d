"""The embedded corpus `toy`: ten keywords in four emotions, spoken by eSpeak NG.

For trying things out without a download: speaker, gender, emotion (by prosody) and keyword of each
clip are known, because they are what the synthesiser was told. No result on it is a claim about
speech.

A run of the synthesiser depends on what it spoke before, so the whole corpus is spoken in one
fresh process, in one order, from one random seed: two generations on one machine have the same
bytes. That process is `python -m barlow_speech.downstream.toy FOLDER SETTINGS`, started by
`toy_corpus`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml

from barlow_speech.upstream.audio import SAMPLE_RATE
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.files import (
    cache_dir,
    digest,
    file_digest,
    write_json,
    write_text,
)
from barlow_speech.upstream.progress import progress

REVISION = 1  # raise it with every change of this file that changes a clip or a label
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
LABELS = ("speaker", "gender", "emotion", "keyword", "text")
SPLITS = ("split_speaker_id", "split_speaker_disjoint", "split")
COLUMNS = ("path", *LABELS, *SPLITS, "duration_s")

# What the corpus's folder holds; anything else in it is somebody else's and is not touched.
CARD, MANIFEST, CHECKSUM, CLIPS = "card.yaml", "manifest.tsv", "checksum.json", "flac"
LEFTOVER_S = 3600  # a half-made folder older than this is nobody's any more


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


@dataclass(frozen=True)
class ToySettings:
    """How much to make; the defaults are the corpus that the tasks name `toy`.

    Every speaker says every keyword in every emotion, `repetitions` times.
    """

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

    Args:
        folder: default `cache_dir() / "toy-<revision>"`. It is made beside its place and renamed,
            so a killed run leaves nothing that is trusted, and several processes may do it at once.
        settings: default `ToySettings()`, the 2,400 clips (about 0.6 h) that the tasks use.

    On reuse the manifest and the card are compared with their SHA-256, the clips with their names
    and their size on disk; a mismatch makes all of it again.

    Raises:
        BarlowSpeechError: eSpeak NG cannot be loaded, the folder cannot be written, or it holds
            something that is not a toy corpus (nothing of it is touched then).
    """
    settings = settings or ToySettings()
    settings.check()
    owned = folder is None
    folder = cache_dir() / f"toy-{settings.revision}" if folder is None else folder
    folder = folder.resolve()  # a rename needs the folder itself, not a link to it
    if _is_whole(folder, settings):
        return folder / CARD
    if not owned:
        _refuse_strangers(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"
        ) as work:
            made = Path(work) / "made"
            made.mkdir()
            _make_in_fresh_process(made, settings)
            _put_in_place(made, folder, Path(work) / "old", settings)
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot write the toy corpus to {folder}: {error.strerror or error}; choose a folder "
            "that can be written (or set BARLOW_SPEECH_CACHE), or free some space."
        ) from error
    return folder / CARD


def _is_whole(folder: Path, settings: ToySettings) -> bool:
    try:
        checksum = json.loads((folder / CHECKSUM).read_text(encoding="utf-8"))
        if checksum["revision"] != settings.revision:
            return False
        if any(file_digest(folder / name) != checksum[name] for name in (MANIFEST, CARD)):
            return False
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()[1:]
        with os.scandir(folder / CLIPS) as entries:
            sizes = {f"{CLIPS}/{entry.name}": entry.stat().st_size for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    listed = {line.split("\t")[0] for line in lines}
    return sizes.keys() == listed and sum(sizes.values()) == checksum["clip_bytes"]


def _refuse_strangers(folder: Path) -> None:
    """A folder that the user names is replaced only if it is empty or an earlier toy corpus."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BarlowSpeechError(f"{folder} is no folder; choose another one for the toy corpus.")
    names = {entry.name for entry in folder.iterdir()}
    strangers = sorted(names - {CARD, MANIFEST, CHECKSUM, CLIPS})
    if names and not strangers:
        for name, mark in ((CARD, "name: toy\n"), (CHECKSUM, '"corpus": "toy"')):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if mark in (folder / name).read_text(encoding="utf-8"):
                    return
        strangers = sorted(names)
    if strangers:
        raise BarlowSpeechError(
            f"{folder} holds {strangers[0]}, which is not of the toy corpus; choose a new or empty "
            "folder, or move that away."
        )


def _remove_leftovers(folder: Path) -> None:
    """What runs that were killed outright left beside `folder`; a living run is minutes old."""
    for entry in folder.parent.iterdir():
        if entry.name.startswith(f".{folder.name}.") and entry.name.endswith(".part"):
            with contextlib.suppress(OSError):  # another process may be removing it too
                if time.time() - entry.stat().st_mtime > LEFTOVER_S:
                    shutil.rmtree(entry)


def _put_in_place(made: Path, folder: Path, old: Path, settings: ToySettings) -> None:
    """Rename `made` to `folder`; what stands there is moved to `old` unless it is whole by now."""
    for _ in range(10):  # each further round means that another process came between
        with contextlib.suppress(OSError):
            made.rename(folder)
            return
        if _is_whole(folder, settings):
            return  # another process was first; its bytes are the same
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
            shutil.rmtree(old)
    made.rename(folder)


def _make_in_fresh_process(folder: Path, settings: ToySettings) -> None:
    # Not multiprocessing: its spawn imports the caller's script again, which may have no guard.
    # `python -m` looks for modules in the current folder first, hence the empty one.
    child = subprocess.run(
        [sys.executable, "-m", __name__, str(folder), json.dumps(asdict(settings))],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode != 0:
        raise BarlowSpeechError(
            child.stdout.strip()
            or f"the process that speaks the toy corpus ended with status {child.returncode}; its "
            "messages stand above, or reinstall eSpeak NG by 'pip install --force-reinstall "
            "espeakng-loader'."
        )


def main(arguments: list[str]) -> int:
    """Make the corpus in an empty folder: what `toy_corpus` starts in a process of its own.

    `arguments` are the folder and the settings as JSON. An error goes to stdout as one line with
    status 2, for the starting process to raise.
    """
    folder, values = Path(arguments[0]), json.loads(arguments[1])
    settings = ToySettings(**{**values, "keywords": tuple(values["keywords"])})
    try:
        _make(folder, settings)
    except BarlowSpeechError as error:
        print(error)
        return 2
    except (OSError, soundfile.LibsndfileError) as error:
        print(f"cannot write the toy corpus to {folder} ({error}); free some space.")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _make(folder: Path, settings: ToySettings) -> None:
    espeak = _Espeak(settings.seed)
    recorder = _Recorder(espeak.rate)
    (folder / CLIPS).mkdir()
    speakers = [
        (f"{gender[0]}{number + 1:02d}", gender, number, voice)
        for gender, voices in SPEAKERS.items()
        for number, voice in enumerate(voices[: settings.speakers_per_gender])
    ]
    clips_per_speaker = len(settings.keywords) * len(EMOTIONS) * settings.repetitions
    audio = hashlib.sha256()
    clip_bytes = 0
    lines = ["\t".join(COLUMNS)]
    with progress(len(speakers) * clips_per_speaker, "toy corpus", "clip") as bar:
        for speaker, gender, number, voice in speakers:
            disjoint = _split(number, settings.speakers_per_gender)
            espeak.choose(voice)
            for place, keyword in enumerate(settings.keywords):
                by_keyword = _split(place, len(settings.keywords))
                for emotion, usual in EMOTIONS.items():
                    for repetition in range(settings.repetitions):
                        draw = np.random.default_rng([settings.seed, len(lines)])
                        prosody = _jittered(usual, draw)
                        wave = recorder.record(espeak.say(keyword, voice, prosody), prosody, draw)
                        path = f"{CLIPS}/{speaker}_{keyword}_{emotion}_{repetition + 1}.flac"
                        clip = _flac(wave)
                        (folder / path).write_bytes(clip)
                        audio.update(wave.tobytes())
                        clip_bytes += len(clip)
                        seconds = f"{len(wave) / SAMPLE_RATE:.4f}"
                        labels = (speaker, gender, emotion, keyword, keyword)
                        splits = (by_keyword, disjoint, disjoint)
                        lines.append("\t".join((path, *labels, *splits, seconds)))
            bar.update(clips_per_speaker)
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")
    write_text(folder / CARD, yaml.safe_dump(_card(settings), sort_keys=False, width=96))
    checksum = {
        "corpus": "toy",
        "revision": settings.revision,
        "settings": asdict(settings),
        "synthesiser": espeak.version,
        "clips": len(lines) - 1,
        "clip_bytes": clip_bytes,
        "audio": audio.hexdigest(),  # the samples, little-endian int16, in the manifest's order
        MANIFEST: file_digest(folder / MANIFEST),
        CARD: file_digest(folder / CARD),
    }
    write_json(folder / CHECKSUM, checksum)


def _flac(samples: np.ndarray) -> bytes:
    # Through memory: soundfile waits for the disk at the end of each file that it writes itself,
    # which takes longer than all the rest.
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


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


def _jittered(usual: Prosody, draw: np.random.Generator) -> Prosody:
    """One clip's prosody, drawn about that of its emotion."""
    numbers = np.array(usual[:-1]) + draw.standard_normal(len(usual) - 1) * np.array(JITTER[:-1])
    return Prosody._make([*numbers.tolist(), usual.ending[draw.integers(len(usual.ending))]])


class _Espeak:
    """eSpeak NG through ctypes; the constants are those of its `speak_lib.h`."""

    SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
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
                f"the toy corpus needs eSpeak NG, which cannot be loaded ({error}); {remedy}, or "
                "name a corpus of your own."
            ) from error
        self.rate = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, str(data).encode(), self.DONT_EXIT
        )
        if self.rate <= 0:
            raise BarlowSpeechError(f"eSpeak NG cannot start with its data in {data}; {remedy}.")
        self.version = f"eSpeak NG {self._library.espeak_Info(None).decode()}"
        self._pieces: list[np.ndarray] = []
        pointer = ctypes.POINTER(ctypes.c_short)
        callback = ctypes.CFUNCTYPE(ctypes.c_int, pointer, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback(self._take)  # kept: the library holds only a bare pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(seed + 1)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
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
        self._library.espeak_Synth(text, len(text) + 1, 0, 0, 0, self.UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._pieces:
            raise BarlowSpeechError(
                f"{self.version} said nothing for '{word}'; install it anew by "
                "'pip install --force-reinstall espeakng-loader'."
            )
        return np.concatenate(self._pieces) / 32768


class _Recorder:
    """Turns what the synthesiser gives into a 16 kHz recording: effort, level, silence, noise."""

    def __init__(self, rate: int) -> None:
        from scipy.signal import firwin  # half a second to import, and only needed when making

        divisor = math.gcd(SAMPLE_RATE, rate)
        self._up, self._down = SAMPLE_RATE // divisor, rate // divisor
        # resample_poly's own filter, designed once: each design takes as long as its use.
        steepest = max(self._up, self._down)
        self._filter = firwin(20 * steepest + 1, 1 / steepest, window=("kaiser", 5.0))

    def record(self, wave: np.ndarray, prosody: Prosody, draw: np.random.Generator) -> np.ndarray:
        """A waveform [N] as int16 samples [M] at 16 kHz."""
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
        return np.clip(np.round(noise * 32768), -32768, 32767).astype("<i2")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
