"""The embedded corpus `toy`: ten keywords in four emotions, spoken by eSpeak NG.

For trying things out without a download: speaker, gender, emotion (by prosody) and keyword of each
clip are known, because they are what the synthesiser was told. No result on it is a claim about
speech.

A run of the synthesiser depends on what it spoke before, so the whole corpus is spoken in one
fresh process, in one order, from one random seed: two generations on one machine have the same
bytes. That process is `python -m barlow_speech.downstream.toy.corpus FOLDER SETTINGS`, started by
`toy_corpus`.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from barlow_speech.downstream.toy.synthesis import (
    EMOTIONS,
    JITTER,
    SPEAKERS,
    Espeak,
    Recorder,
    jittered,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import (
    cache_dir,
    digest,
    file_digest,
    locked,
    write_json,
    write_text,
)
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE

REVISION = 1  # raise it with every change of this file that changes a clip or a label

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

LABELS = ("speaker", "gender", "emotion", "keyword", "text")

SPLITS = ("split_speaker_id", "split_speaker_disjoint", "split")

COLUMNS = ("path", *LABELS, *SPLITS, "duration_s")

# What the corpus's folder holds; anything else in it is somebody else's and is not touched.
CARD, MANIFEST, CHECKSUM, CLIPS = "card.yaml", "manifest.tsv", "checksum.json", "flac"

LEFTOVER_S = 3600  # a half-made folder older than this is of no living run on another machine


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
        lock = cache_dir() / f"toy-{digest(str(folder))[:8]}.lock"
        with locked(lock, f"makes the toy corpus in {folder}"):
            if _is_whole(folder, settings):
                return folder / CARD  # by the process that was waited for
            for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
                if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                    shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"
            ) as work:
                made = Path(work) / "made"
                made.mkdir()
                _make_in_fresh_process(made, settings)
                if folder.exists():
                    folder.rename(Path(work) / "old")
                made.rename(folder)
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
    espeak = Espeak(settings.seed)
    recorder = Recorder(espeak.rate)
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
                        prosody = jittered(usual, draw)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
