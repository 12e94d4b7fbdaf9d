"""An unmodified `pip install s3prl` on today's torch, for who wants no more of this package.

In a program, before s3prl is imported:

    import barlow_speech.s3prl_fix

For every program of this Python, s3prl's own among them; nothing of s3prl's is changed:

    python -m barlow_speech.s3prl_fix            # writes s3prl_fix.pth into site-packages
    python -m barlow_speech.s3prl_fix --undo     # takes it away
"""

from __future__ import annotations

import argparse
import os
import site
import sys
from collections.abc import Sequence
from pathlib import Path

from barlow_speech.upstream.third_party import import_hook

NAME = "s3prl_fix.pth"
# One line that Python runs at its start; where this package has gone, it does nothing.
LINE = (
    "import importlib.util; importlib.util.find_spec('barlow_speech') and importlib.import_module("
    "'barlow_speech.upstream.third_party.import_hook').install()\n"
)

import_hook.install()


def run(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        BarlowSpeechError: there is no s3prl, it cannot be imported even so, or the file cannot be
            written or removed, or is somebody else's.
    """
    summary, _, more = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m barlow_speech.s3prl_fix",
        description=summary,
        epilog=more.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--undo", action="store_true", help=f"remove {NAME}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(arguments)
    there = [one for one in (folder / NAME for folder in _folders()) if one.exists()]
    _check_ours(there)
    if given.undo:
        _remove(there)
    else:
        _write(there)


def _folders() -> list[Path]:
    """Where this Python looks for such files."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [Path(one) for one in (*site.getsitepackages(), *user)]


def _check_ours(paths: Sequence[Path]) -> None:
    from barlow_speech.upstream.common.errors import BarlowSpeechError
    from barlow_speech.upstream.common.files import read_text

    for path in paths:
        if "barlow_speech" not in read_text(path):
            raise BarlowSpeechError(f"{path} is there and is not ours; move it away.")


def _write(there: Sequence[Path]) -> None:
    from barlow_speech.upstream.common.files import read_text, write_text
    from barlow_speech.upstream.common.s3prl_package import find_s3prl
    from barlow_speech.upstream.third_party.compatibility import installed_version, s3prl_hub

    hub = s3prl_hub()  # refused before anything is written
    folders = [one for one in _folders() if os.access(one, os.W_OK)] or _folders()
    path = there[0] if there else folders[0] / NAME
    if there and read_text(path) == LINE:
        print(f"nothing to do: {path} is there")
    else:
        write_text(path, LINE)
        print(f"wrote {path}")
    versions = ", ".join(f"{one} {installed_version(one)}" for one in ("torch", "torchaudio"))
    print(
        f"{find_s3prl()}, unmodified, imports here beside {versions}: "
        f"{len(hub.options())} upstreams\n"
        "try:  python -m s3prl.run_downstream -h\n"
        "undo: python -m barlow_speech.s3prl_fix --undo"
    )


def _remove(there: Sequence[Path]) -> None:
    from barlow_speech.upstream.common.errors import BarlowSpeechError

    for path in there:
        try:
            path.unlink()
        except OSError as error:
            raise BarlowSpeechError(
                f"cannot remove {path}: {error.strerror or error}; remove it yourself."
            ) from error
        print(f"removed {path}")
    if not there:
        print(f"nothing to do: there is no {NAME}")


if __name__ == "__main__":
    from barlow_speech.upstream.common.errors import run_command

    sys.exit(run_command(run, sys.argv[1:]))
