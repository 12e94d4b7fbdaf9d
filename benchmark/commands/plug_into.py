"""make a git checkout of s3prl, or the one installed here, know the upstream and the tasks

Takes s3prl and ESPnet's fork of it. What is written is named, and --remove takes it away again. A
checkout's own command line then works on this Python: `cd CHECKOUT/s3prl; PYTHONPATH=.. python
run_downstream.py -m train ...`. With --installed every program that imports s3prl here has our
names, such as ESPnet with `frontend: s3prl` and `upstream: barlow_speech`.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from barlow_speech.downstream import task
from barlow_speech.upstream.common.text import listed
from barlow_speech.upstream.names import NAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help="a git clone")
    where.add_argument(
        "--installed", action="store_true", help="the s3prl that this Python imports"
    )
    parser.add_argument("--remove", action="store_true", help="undo it")


def run(given: argparse.Namespace) -> None:
    """Do it, and say what was changed."""
    from barlow_speech.downstream.s3prl.plug_into import (
        LINES,
        installed_package,
        is_imported,
        plug_into,
        unplug,
    )
    from barlow_speech.downstream.s3prl.registry import PREFIX

    checkout = installed_package() if given.installed else given.checkout
    change = unplug(checkout) if given.remove else plug_into(checkout)
    root = change.package.parent
    for path in change.changed:
        theirs = path.relative_to(change.package).as_posix() in LINES
        verb = "changed" if theirs else "removed" if given.remove else "wrote"
        print(f"{verb:8}{path.relative_to(root)}")
    for path in change.kept:
        print(f"left    {path.relative_to(root)} (it was edited, or is not ours)")
    if given.remove:
        print("nothing of ours is left" if not change.kept else "the rest of ours is gone")
        return
    if not change.changed:
        print("nothing to do: it is plugged in")
    shown = "" if given.installed else ", and git shows them as changed"
    print(
        f"upstreams: {', '.join(NAMES)}\n"
        f"tasks:     {', '.join(PREFIX + name for name in task.names())}\n"
        f"{listed(list(LINES))} have one line more each{shown}"
    )
    folder, clone = shlex.quote(str(change.package)), shlex.quote(str(root))
    setting = "" if is_imported(change.package) else f"PYTHONPATH={clone} "
    print(
        f"try:  cd {folder} && {setting}python run_downstream.py -m train -u {NAMES[0]} "
        f"-d {PREFIX}{task.names()[0]} -n mine --device cpu\n"
        f"undo: barlow-speech plug-into --remove {'--installed' if given.installed else clone}"
    )
    if given.installed:
        print("pip undoes it when it installs s3prl anew: run this again then")
    elif setting:
        print(
            "this Python imports another s3prl: set PYTHONPATH as above, or install the checkout "
            f"with pip install --no-deps -e {clone}"
        )
