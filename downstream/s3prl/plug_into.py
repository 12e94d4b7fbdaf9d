"""Make a checkout of s3prl, or the one installed, know our names, and undo it to the byte.

New folders hold what is ours: `s3prl/upstream/barlow_speech` and a `s3prl/downstream/barlow_<task>`
for each task. s3prl finds tasks by their folders, but upstreams only by an import in `hub.py`, so
this file gets one line; `__init__.py` another, by which what today's PyTorch lacks is fixed before
any other import of the checkout asks for it; and `run_downstream.py` a third, since ESPnet's asks
for names that are gone before it imports s3prl.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl.registry import PREFIX
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import write_text, written_whole
from barlow_speech.upstream.common.s3prl_package import (
    INSTALL,
    ORIGINAL_OLDEST,
    find_s3prl,
    read_s3prl,
)
from barlow_speech.upstream.names import NAMES

SIGNATURE = "written by barlow-speech plug-into"
LINES = {
    "__init__.py": f"from s3prl.upstream import barlow_speech as _  # {SIGNATURE}",
    "hub.py": f"from s3prl.upstream.barlow_speech.hubconf import *  # {SIGNATURE}",
    "run_downstream.py": f"import s3prl  # {SIGNATURE}",
}
# The first line of each file has a digest of the rest: one that was edited since is left alone.
HEADER = re.compile(rf"# {SIGNATURE} \(([0-9a-f]{{12}})\); --remove takes it away\n(.*)", re.S)


@dataclass(frozen=True)
class Change:
    """What was done: paths below the checkout that were changed, and that were left as edited."""

    package: Path
    changed: list[Path]
    kept: list[Path]


def plug_into(checkout: Path) -> Change:
    """Write our folders and lines; what is there already is left, or fixed.

    Raises:
        BarlowSpeechError: the folder is no checkout of s3prl or of ESPnet's fork, is of a version
            that was not tried, or has something of its own in one of the places; nothing is written
            then.
    """
    package = find_package(checkout)
    read_s3prl(package, f"check out v{'.'.join(map(str, ORIGINAL_OLDEST))} there")
    wanted = {package / name: body for name, body in _files().items()}
    for path in wanted:
        if path.exists() and _body(path) is None:
            raise BarlowSpeechError(
                f"{path} is there and is not ours; move it away, or choose another checkout."
            )
    with_lines = {package / name: _with_line(package / name, line) for name, line in LINES.items()}
    changed: list[Path] = []
    kept: list[Path] = []
    for path, body in wanted.items():
        if path.exists() and _is_edited(path):
            kept.append(path)
        elif not path.exists() or _body(path) != body:
            write_text(path, f"# {SIGNATURE} ({_digest(body)}); --remove takes it away\n{body}")
            changed.append(path)
    for path, text in with_lines.items():  # last: an s3prl without them works, as it did
        if text != path.read_bytes():
            _write_bytes(path, text)
            changed.append(path)
    return Change(package, changed, kept)


def unplug(checkout: Path) -> Change:
    """Take our lines and folders away; files that were edited since are left.

    Raises:
        BarlowSpeechError: the folder is no checkout of s3prl.
    """
    package = find_package(checkout)
    changed: list[Path] = []
    kept: list[Path] = []
    for name in reversed(LINES):  # first: without the folders they would break every import
        text = _without_line(package / name)
        if text != (package / name).read_bytes():
            _write_bytes(package / name, text)
            changed.append(package / name)
    for folder in _folders(package):
        for path in sorted(folder.iterdir()):
            if path.name != "__pycache__":
                ours = path.is_file() and _body(path) is not None and not _is_edited(path)
                (changed if ours else kept).append(path)
        try:
            for path in [one for one in changed if one.parent == folder]:
                path.unlink()
            if {one.name for one in folder.iterdir()} <= {"__pycache__"}:
                shutil.rmtree(folder)
        except OSError as error:
            raise BarlowSpeechError(
                f"cannot remove {folder}: {error.strerror or error}; remove it yourself."
            ) from error
    return Change(package, changed, kept)


def installed_package() -> Path:
    """The folder of the s3prl that this Python imports.

    Raises:
        BarlowSpeechError: there is none, or it is of neither kind.
    """
    s3prl = find_s3prl()
    if s3prl is None:
        raise BarlowSpeechError(f"this Python has no s3prl to plug into; run: {INSTALL}")
    return s3prl.folder


def find_package(checkout: Path) -> Path:
    """The folder of the package s3prl in a checkout; its own path will do, too.

    Raises:
        BarlowSpeechError: there is none.
    """
    parts = ("__init__.py", "hub.py", "run_downstream.py", "upstream", "downstream/runner.py")
    for package in (checkout / "s3prl", checkout):
        if all((package / part).exists() for part in parts):
            return package.resolve()
    raise BarlowSpeechError(
        f"{checkout} is no checkout of s3prl (it has no s3prl/hub.py, s3prl/run_downstream.py and "
        "s3prl/downstream); give the folder that `git clone` of s3prl has made."
    )


def is_imported(package: Path) -> bool:
    """Whether `import s3prl` of this Python finds the package in a checkout."""
    spec = importlib.util.find_spec("s3prl")
    return bool(spec and spec.origin and Path(spec.origin).resolve().parent == package)


def _files() -> dict[str, str]:
    """What to write: the path below the package, and the text."""
    names = ", ".join(NAMES)
    files = {
        "upstream/barlow_speech/__init__.py": '''"""Fixes what today's PyTorch lacks for s3prl."""

import importlib.util

if importlib.util.find_spec("barlow_speech") is None:
    raise ModuleNotFoundError(
        "this checkout of s3prl was plugged into, and this Python has no barlow_speech: install "
        "it, or run `barlow-speech plug-into --remove` on the checkout where it is installed"
    )

from barlow_speech.upstream.compatibility import patch_s3prl  # a name that stays

patch_s3prl()
''',
        "upstream/barlow_speech/hubconf.py": (
            '"""The names of barlow_speech on s3prl.hub."""\n\n'
            f"from barlow_speech.upstream.hubconf import {names}\n\n"
            f"__all__ = {list(NAMES)!r}\n"
        ),
    }
    for name in task.names():
        folder = f"downstream/{PREFIX}{name}"
        files[f"{folder}/__init__.py"] = f'"""The task {name} of barlow_speech."""\n'
        files[f"{folder}/expert.py"] = (
            f'"""The task {name} of barlow_speech."""\n\n'
            f"from barlow_speech.downstream.{name}.expert import DownstreamExpert\n\n"
            '__all__ = ["DownstreamExpert"]\n'
        )
        config = task.FOLDER / name / "config.yaml"
        files[f"{folder}/config.yaml"] = config.read_text(encoding="utf-8")
    return files


def _folders(package: Path) -> Iterator[Path]:
    """The folders that have a file of ours, those of tasks that are gone included."""
    for pattern in ("upstream/barlow_speech", f"downstream/{PREFIX}*"):
        for folder in sorted(package.glob(pattern)):
            if folder.is_dir() and any(
                _body(path) is not None for path in folder.iterdir() if path.is_file()
            ):
                yield folder


def _header(path: Path) -> re.Match[str] | None:
    try:
        return HEADER.fullmatch(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError):
        return None


def _body(path: Path) -> str | None:
    """The text of a file of ours below its first line; None if it is not ours."""
    header = _header(path)
    return header[2] if header else None


def _is_edited(path: Path) -> bool:
    header = _header(path)
    return header is not None and header[1] != _digest(header[2])


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _without_line(path: Path) -> bytes:
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(one for one in lines if SIGNATURE.encode() not in one)


def _with_line(path: Path, line: str) -> bytes:
    """The text of a file of s3prl's with our line, once, before its first import.

    Raises:
        BarlowSpeechError: it is not Python.
    """
    text = _without_line(path)
    lines = text.splitlines(keepends=True)
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise BarlowSpeechError(f"{path} is not valid Python ({error}); fix it first.") from error
    first = len(lines)
    for node in body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and getattr(node, "module", None) != "__future__":
            first = node.lineno - 1
            break
    end = b"\r\n" if b"\r\n" in text else b"\n"
    return b"".join([*lines[:first], line.encode() + end, *lines[first:]])


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all, with the mode that it had."""
    path = path.resolve()
    mode = stat.S_IMODE(path.stat().st_mode)
    with written_whole(path) as part:
        part.write_bytes(content)
    path.chmod(mode)
