"""list, verify or prune the features that were computed and kept

Features are never stale: other weights, code or recordings have other keys, and a recording is
known by what is in its file, wherever that lies. `verify` reads the features, and the recordings
that they are of. What is deleted is computed again when it is needed.
"""

from __future__ import annotations

import argparse

from barlow_speech.benchmark.features.cache import entries, remove, verify
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir
from barlow_speech.upstream.data import contents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("action", choices=("list", "verify", "prune"), nargs="?", default="list",
                        help="list what is there (default), verify or prune it")  # fmt: skip
    parser.add_argument(
        "--older-than", type=float, metavar="DAYS", help="prune what was last used before then"
    )
    parser.add_argument(
        "--keep-gb", type=float, metavar="GB", help="prune what was used longest ago, down to this"
    )
    parser.add_argument("--upstream", metavar="NAME", help="only what this upstream made")
    parser.add_argument("--all", action="store_true", help="prune everything")


def run(given: argparse.Namespace) -> None:
    """Do it, and say what was done.

    Raises:
        BarlowSpeechError: nothing says what to prune, or a shard is broken.
    """
    root = cache_dir() / "features"
    upstreams = [one for one in entries(root) if given.upstream in (None, one.upstream)]
    if given.action == "list":
        for entry in upstreams:
            print(
                f"{entry.size / 1e9:8.3f} GB  {entry.recordings:8d} recordings  "
                f"used {entry.days:5.1f} days ago  {entry.kind}  {entry.upstream}  {entry.path}"
            )
        print(f"{sum(one.size for one in upstreams) / 1e9:8.3f} GB in {root}")
    elif given.action == "verify":
        broken = [path for entry in upstreams for path in verify(entry)]
        for path in broken:
            print(f"broken: {path}")
        if broken:
            raise BarlowSpeechError(
                f"{len(broken)} files of {root} are not what was written; delete them, and their "
                "features are computed again."
            )
        print(f"{len(upstreams)} upstreams in {root}: every file is what was written")
        read, changed = contents.verify()
        for path in changed:
            print(f"changed: {path}")
        if changed:
            raise BarlowSpeechError(
                f"{len(changed)} of {read} recordings are other files than they were, though size "
                "and times are the same; run again what was computed of them."
            )
        print(f"{read} recordings: every file is what it was when features were computed")
    else:
        _prune(given, upstreams)


def _prune(given: argparse.Namespace, upstreams: list) -> None:
    if not (
        given.all or given.upstream or given.older_than is not None or given.keep_gb is not None
    ):
        raise BarlowSpeechError(
            "say what to prune: --older-than DAYS, --keep-gb GB, --upstream NAME or --all."
        )
    kept = 0.0
    freed = 0
    for entry in upstreams:  # the one used last first
        if given.older_than is not None and entry.days <= given.older_than:
            continue
        if given.keep_gb is not None and kept + entry.size <= given.keep_gb * 1e9:
            kept += entry.size
            continue
        remove(entry)
        freed += entry.size
        print(f"deleted {entry.path} ({entry.upstream})")
    print(f"{freed / 1e9:.3f} GB freed")
