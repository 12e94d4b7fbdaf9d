"""The names on s3prl's hub, read from its files: importing them takes seconds."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.s3prl_package import find_s3prl

IMPORT = re.compile(r"^from s3prl\.([\w.]+) import ([\w*, ]+)$", re.MULTILINE)
FACTORY = re.compile(r"^def ([^_\W]\w*)\(", re.MULTILINE)
IMPORTED = re.compile(r"^from \S+ import (?:\w+ as )?([^_\W]\w*)$", re.MULTILINE)
BASELINE = "upstream.baseline.hubconf"  # of features without weights: fbank, mfcc, …


@functools.cache
def hub_names() -> dict[str, str]:
    """Each public name of `s3prl/hub.py` and the module of s3prl that defines it as a factory.

    The module is "" where a file only imports the name, which may or may not be a factory.

    Raises:
        BarlowSpeechError: the s3prl that is here is of neither kind.
    """
    s3prl = find_s3prl()
    names: dict[str, str] = {}
    if s3prl is None:
        return names
    hub = (s3prl.folder / "hub.py").read_text(encoding="utf-8")
    for module, imported in IMPORT.findall(hub):
        file = s3prl.folder / f"{module.replace('.', '/')}.py"
        text = file.read_text(encoding="utf-8")
        here = dict.fromkeys(IMPORTED.findall(text), "")
        here |= dict.fromkeys(FACTORY.findall(text), module)
        wanted = here if imported == "*" else imported.split(", ")
        names |= {name: here[name] for name in wanted if name in here}
    return names


def unknown_name(name: str, known: Iterable[str]) -> BarlowSpeechError:
    """The error for a name that is on no list, or the path of a file that is given as one."""
    path = Path(name)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return BarlowSpeechError(
            f"'{name}' is no name of an upstream{'' if path.exists() else ', nor a file here'}; a "
            "checkpoint goes behind a name, as in barlow_speech@FILE or hubert@FILE, a folder of "
            "Hugging Face's behind hf:, as in hf:FOLDER."
        )
    return unknown("upstream", name, known, "the names on s3prl.hub")
