"""A corpus that eSpeak NG speaks: made once, kept in a folder, and trusted only if it is whole.

A run of the synthesiser depends on what it spoke before, so a whole corpus is spoken in one fresh
process, in one order, from one random seed: two generations on one machine have the same bytes.
That process is `python -m MODULE FOLDER SETTINGS`, started by `kept_corpus`.
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
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import soundfile
import yaml

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import (
    cache_dir,
    digest,
    file_digest,
    locked,
    parsed_json,
    write_json,
    write_text,
)
from barlow_speech.upstream.data.audio import SAMPLE_RATE

# What the corpus's folder holds; anything else in it is somebody else's and is not touched.
CARD, MANIFEST, CHECKSUM, CLIPS = "card.yaml", "manifest.tsv", "checksum.json", "flac"

WATCH_S = 1  # how often it is seen whether the process that wants the corpus lives
LEFTOVER_S = 3600  # a half-made folder older than this is of no living run on another machine


class Settings(Protocol):
    """A frozen dataclass that says how much to make of the corpus `name`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]

    @property
    def revision(self) -> str:
        """Names everything that decides what the corpus holds."""

    def check(self) -> None:
        """Raise `BarlowSpeechError` where they make no corpus."""


def kept_corpus(module: str, settings: Settings, folder: Path | None = None) -> Path:
    """The card of the corpus in `folder`, which is made first unless it is whole.

    Args:
        module: what speaks it, by `speak`, in a process of its own.
        settings: how much to make.
        folder: default `cache_dir() / "NAME-<revision>"`. It is made beside its place and renamed,
            so a killed run leaves nothing that is trusted, and several processes may do it at once.

    On reuse the manifest and the card are compared with their SHA-256, the clips with their names
    and their size on disk; a mismatch makes all of it again.

    Raises:
        BarlowSpeechError: eSpeak NG cannot be loaded, the folder cannot be written, or it holds
            something that is not such a corpus (nothing of it is touched then).
    """
    settings.check()
    name = settings.name
    owned = folder is None
    folder = cache_dir() / f"{name}-{settings.revision}" if folder is None else folder
    folder = folder.resolve()  # a rename needs the folder itself, not a link to it
    if _is_whole(folder, settings):
        return folder / CARD
    if not owned:
        _refuse_strangers(folder, name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = cache_dir() / f"{name}-{digest(str(folder))[:8]}.lock"
        with locked(lock, f"makes the {name} corpus in {folder}"):
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
                _make_in_fresh_process(made, module, settings)
                if folder.exists():
                    folder.rename(Path(work) / "old")
                made.rename(folder)
    except OSError as error:
        raise BarlowSpeechError(
            f"cannot write the {name} corpus to {folder}: {error.strerror or error}; choose a "
            "folder that can be written (or set BARLOW_SPEECH_CACHE), or free some space."
        ) from error
    return folder / CARD


def _is_whole(folder: Path, settings: Settings) -> bool:
    try:
        checksum = parsed_json((folder / CHECKSUM).read_text(encoding="utf-8"))
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


def _refuse_strangers(folder: Path, name: str) -> None:
    """A folder that the user names is replaced only if it is empty or an earlier such corpus."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BarlowSpeechError(f"{folder} is no folder; choose another one for the {name} corpus.")
    names = {entry.name for entry in folder.iterdir()}
    strangers = sorted(names - {CARD, MANIFEST, CHECKSUM, CLIPS})
    if names and not strangers:
        for file, mark in ((CARD, f"name: {name}\n"), (CHECKSUM, f'"corpus": "{name}"')):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if mark in (folder / file).read_text(encoding="utf-8"):
                    return
        strangers = sorted(names)
    if strangers:
        raise BarlowSpeechError(
            f"{folder} holds {strangers[0]}, which is not of the {name} corpus; choose a new or "
            "empty folder, or move that away."
        )


def _make_in_fresh_process(folder: Path, module: str, settings: Settings) -> None:
    # Not multiprocessing: its spawn imports the caller's script again, which may have no guard.
    # `python -m` looks for modules in the current folder first, hence the empty one.
    child = subprocess.run(
        [sys.executable, "-m", module, str(folder), json.dumps(asdict(settings))],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode != 0:
        raise BarlowSpeechError(
            child.stdout.strip()
            or f"the process that speaks the {settings.name} corpus ended with status "
            f"{child.returncode}; its messages stand above, or reinstall eSpeak NG by "
            "'pip install --force-reinstall espeakng-loader'."
        )


def speak(arguments: list[str], make: Callable[[Path, dict[str, Any]], None]) -> int:
    """Make a corpus in an empty folder: what `kept_corpus` starts in a process of its own.

    `arguments` are the folder and the settings as JSON, which `make` is given. An error goes to
    stdout as one line with status 2, for the starting process to raise. Where that is killed, this
    one ends too and takes the half-made folder away.
    """
    folder, values = Path(arguments[0]), json.loads(arguments[1])
    threading.Thread(target=_end_with, args=(os.getppid(), folder), daemon=True).start()
    try:
        make(folder, values)
    except BarlowSpeechError as error:
        print(error)
        return 2
    except (OSError, soundfile.LibsndfileError) as error:
        print(f"cannot write the corpus to {folder} ({error}); free some space.")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    for _ in range(100):  # a clip may be written meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    os._exit(1)


def write_corpus(
    folder: Path,
    settings: Settings,
    columns: Sequence[str],
    clips: Iterable[tuple[str, np.ndarray, Sequence[str]]],
    card: dict[str, Any],
    synthesiser: str,
) -> None:
    """Write clips, each a name, its int16 samples at 16 kHz and a row of the manifest behind it.

    The manifest's columns are `path`, `columns` and `duration_s`.
    """
    (folder / CLIPS).mkdir()
    audio = hashlib.sha256()
    clip_bytes = 0
    lines = ["\t".join(("path", *columns, "duration_s"))]
    for name, wave, values in clips:
        path = f"{CLIPS}/{name}.flac"
        clip = _flac(wave)
        (folder / path).write_bytes(clip)
        audio.update(wave.tobytes())
        clip_bytes += len(clip)
        lines.append("\t".join((path, *values, f"{len(wave) / SAMPLE_RATE:.4f}")))
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")
    write_text(folder / CARD, yaml.safe_dump(card, sort_keys=False, width=96))
    checksum = {
        "corpus": settings.name,
        "revision": settings.revision,
        "settings": asdict(settings),
        "synthesiser": synthesiser,
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
