"""Which folders a manifest may name recordings in: its own, and those that its reader allows.

A manifest that a stranger wrote could name any file of whoever reads it, and a report with playable
audio would carry it out. So a path may not leave the manifest's folder, unless the folder it leads
to is in `$BARLOW_SPEECH_AUDIO` or was named to `barlow-speech prepare` by this user before. A link
inside the folder is followed: it was laid there by someone who may write there.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import write_text

VARIABLE = "BARLOW_SPEECH_AUDIO"

logger = logging.getLogger(__name__)


def list_file() -> Path:
    """Where `allow` keeps the folders, one a line: `$XDG_CONFIG_HOME/barlow_speech/audio_folders`.

    The base is `~/.config` where the variable is not set.
    """
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "barlow_speech" / "audio_folders"


def allowed() -> list[str]:
    """The folders that any manifest may name recordings in, links resolved."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [os.path.realpath(one) for one in (*named, *_kept()) if one.strip()]


def allow(folder: Path) -> None:
    """Let any manifest of this user name recordings in `folder`, from now on.

    Where that cannot be kept, a warning says which variable to set instead.
    """
    real = os.path.realpath(folder)
    if any(_within(real, one) for one in allowed()) or "\n" in real:
        return
    try:
        write_text(list_file(), "".join(f"{one}\n" for one in (*_kept(), real)))
    except BarlowSpeechError as error:
        logger.warning("%s; set %s=%s to read the manifest.", error, VARIABLE, real)


class AllowedFolders:
    """The folders that a manifest in `home` may name recordings in."""

    def __init__(self, home: Path) -> None:
        self.home = os.path.realpath(home)
        self._allowed: list[str] | None = None
        self._known: dict[str, bool] = {}

    def holds(self, path: str) -> bool:
        """Whether `path`, relative to the manifest's folder or absolute, is in one of them."""
        if not path.startswith("/") and ".." not in path.split("/"):
            return True
        name = path.rpartition("/")[2]
        folder = path.removesuffix(name)
        if folder not in self._known:
            if self._allowed is None:
                self._allowed = [self.home, *allowed()]
            real = os.path.realpath(Path(self.home) / folder)
            self._known[folder] = any(_within(real, one) for one in self._allowed)
        return self._known[folder] and name not in ("", "..")


def _kept() -> list[str]:
    try:
        return list_file().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # there is none; what cannot be read allows nothing
        return []


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
