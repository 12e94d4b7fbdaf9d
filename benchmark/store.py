"""The result store: one JSON file per (upstream, task, corpus, protocol), with every run in it.

`results/records/<upstream>/<task>.<corpus>.<digest>.json`. The digest is over what decides the
numbers: features, labels and splits, protocol. A record grows when more runs are asked for and is
otherwise left alone.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from barlow_speech.upstream.files import digest, write_json

log = logging.getLogger(__name__)

FORMAT = 1


@dataclass
class Record:
    """A cell's runs by their seed, and the facts that a reader needs to judge them."""

    upstream: str
    task: str
    corpus: str
    identity: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)


class Store:
    """Records under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, record: Record) -> Path:
        """Where a record lives."""
        name = f"{_plain(record.task)}.{_plain(record.corpus)}.{digest(record.identity)[:12]}.json"
        return self.folder / "records" / _plain(record.upstream) / name

    def load(self, upstream: str, task: str, corpus: str, identity: dict[str, Any]) -> Record:
        """The stored record of that identity, or an empty one.

        A file that is damaged is named in a warning and counts as absent.
        """
        record = Record(upstream, task, corpus, identity)
        path = self.path(record)
        if not path.exists():
            return record
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != FORMAT or stored["sha256"] != _checksum(stored):
                raise ValueError("its checksum does not match")
            record.facts = stored["facts"]
            record.runs = {int(run["seed"]): run for run in stored["runs"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("record %s is damaged (%s) and is made again", path, error)
            return Record(upstream, task, corpus, identity)
        return record

    def save(self, record: Record) -> Path:
        """Write a record, whole or not at all."""
        stored = {
            "format": FORMAT,
            "upstream": record.upstream,
            "task": record.task,
            "corpus": record.corpus,
            "identity": record.identity,
            "facts": record.facts,
            "runs": [record.runs[seed] for seed in sorted(record.runs)],
        }
        path = self.path(record)
        write_json(path, {**stored, "sha256": _checksum(stored)})
        return path


def _checksum(stored: dict[str, Any]) -> str:
    return digest({key: value for key, value in stored.items() if key != "sha256"})


def _plain(name: str) -> str:
    """A name as a part of a path: letters, digits, dashes and underscores, the rest is dashes."""
    plain = re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")
    return plain if plain == name else f"{plain}-{digest(name)[:6]}"
