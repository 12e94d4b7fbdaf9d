"""What a task is: a folder here with `config.yaml`, which s3prl's own Runner reads too.

Adding a folder adds a task. Its `config.yaml` has the keys of an s3prl downstream
(`runner`, `optimizer`, `downstream_expert`), for s3prl's Runner, and `task`, which is ours.
How the harness trains a task is no part of it, but of a protocol (configs/protocols).

A folder without `expert.py` is a task of the harness alone. Among them are superb_ks, superb_er and
superb_sid, s3prl's own tasks, which s3prl has already, by its rules and on the fast path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from barlow_speech.upstream.common.errors import unknown

FOLDER = Path(__file__).parent
SUPERB = re.compile(r"\bprotocol: *superb\b")


@dataclass(frozen=True)
class Task:
    """How a task reads a corpus that has no card, and how it is trained.

    `label` is a column; `splits` are the split columns to look for, the first that is there is
    taken. A task whose test speakers must be new has `speakers_disjoint`. `corpus` and `protocol`
    are taken where the command line names none. `fixed` are sentences that every record of the
    task has among its notes: what the benchmark that it follows draws anew, and it does not.
    """

    name: str
    label: str
    splits: tuple[str, ...]
    speakers_disjoint: bool
    title: str = ""
    corpus: str = "toy"
    protocol: str = "paper"
    fixed: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """Our four tasks, which s3prl's Runner can run too: those that `all` means."""
    return [name for name in all_names() if (FOLDER / name / "expert.py").is_file()]


def superb_names() -> list[str]:
    """SUPERB's own tasks on the fast path: those that have its protocol."""
    # Without a parser, for which help would have to wait.
    texts = {name: (FOLDER / name / "config.yaml").read_text("utf-8") for name in all_names()}
    return [name for name, text in texts.items() if SUPERB.search(text)]


def other_names() -> list[str]:
    """Tasks of the harness alone, which are not SUPERB's: `config.yaml` and nothing else."""
    return [name for name in all_names() if name not in (*names(), *superb_names())]


def all_names() -> list[str]:
    """Every task there is."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def read_task(name: str) -> Task:
    """The task of a name.

    Raises:
        BarlowSpeechError: there is no such task, or its config.yaml is wrong.
    """
    from barlow_speech.upstream.common.settings import build, read_yaml

    if name not in all_names():
        raise unknown("task", name, [*all_names(), "all"])
    path = FOLDER / name / "config.yaml"
    config = read_yaml(path)
    own = {"name": name, **config.pop("task", {})}
    return build(Task, {**own, "config": config}, str(path))
