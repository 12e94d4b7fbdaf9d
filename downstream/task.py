"""What a task is: a folder here with `config.yaml`, which s3prl's own Runner reads too.

Adding a folder adds a task. Its `config.yaml` has the keys of an s3prl downstream
(`runner`, `optimizer`, `downstream_expert`), for s3prl's Runner, and `task`, which is ours.
How the harness trains a task is no part of it, but of a protocol (configs/protocols).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from barlow_speech.upstream.errors import unknown
from barlow_speech.upstream.settings import build, read_yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """How a task reads a corpus that has no card, and how it is trained.

    `label` is a column; `splits` are the split columns to look for, the first that is there is
    taken. A task whose test speakers must be new has `speakers_disjoint`.
    """

    name: str
    label: str
    splits: tuple[str, ...]
    speakers_disjoint: bool
    title: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def names() -> list[str]:
    """The tasks there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def read_task(name: str) -> Task:
    """The task of a name.

    Raises:
        BarlowSpeechError: there is no such task, or its config.yaml is wrong.
    """
    if name not in names():
        raise unknown("task", name, [*names(), "all"])
    path = FOLDER / name / "config.yaml"
    config = read_yaml(path)
    own = {"name": name, **config.pop("task", {})}
    return build(Task, {**own, "config": config}, str(path))
