"""make a git checkout of s3prl know the upstream and the tasks

What is written is named, and --remove takes it away again. The checkout's own command line then
works on this Python: `cd CHECKOUT/s3prl; PYTHONPATH=.. python run_downstream.py -m train ...`.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl.plug_into import LINES, is_imported, plug_into, unplug
from barlow_speech.downstream.s3prl.registry import PREFIX
from barlow_speech.upstream.third_party.registry import NAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="folder of the git clone")
    parser.add_argument("--remove", action="store_true", help="undo it")


def run(given: argparse.Namespace) -> None:
    """Do it, and say what was changed."""
    change = unplug(given.checkout) if given.remove else plug_into(given.checkout)
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
    print(
        f"upstreams: {', '.join(NAMES)}\n"
        f"tasks:     {', '.join(PREFIX + name for name in task.names())}\n"
        f"{' and '.join(LINES)} have one line more each, and git shows them as changed"
    )
    folder = shlex.quote(str(change.package))
    setting = "" if is_imported(change.package) else f"PYTHONPATH={shlex.quote(str(root))} "
    print(
        f"try:  cd {folder} && {setting}python run_downstream.py -m train -u {NAMES[0]} "
        f"-d {PREFIX}{task.names()[0]} -n mine --device cpu\n"
        f"undo: barlow-speech plug-into --remove {shlex.quote(str(root))}"
    )
    if setting:
        print(
            "this Python imports another s3prl: set PYTHONPATH as above, or install the checkout "
            f"with pip install --no-deps -e {shlex.quote(str(root))}"
        )
