"""Scores that others published, from a small YAML file in which each number names its source.

They are shown beside measured ones and never ranked with them: another protocol, other heads, and
mostly a single run.
"""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech import configs
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import build, read_yaml


@dataclass(frozen=True)
class PublishedScore:
    """One number and where it stands; `score` is in percent, `source` an address or a citation."""

    upstream: str
    task: str
    corpus: str
    score: float
    source: str
    metric: str = "top1"
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """Scores of one publication; `note` says how they were made."""

    name: str
    citation: str
    rows: tuple[PublishedScore, ...]
    note: str = ""


def read_published(name: str) -> PublishedTable:
    """A table of published scores: the name of one in `configs/published`, or a YAML file.

    Raises:
        BarlowSpeechError: there is no such table, a key is wrong, a score is no percentage or has
            no source, or a number is there twice; each is named.
    """
    kind = "table of published scores"
    path = configs.find(kind, name, "--published (or a .yaml)")
    table = build(PublishedTable, read_yaml(path, configs.files(kind)), str(path))
    if not table.rows:
        raise BarlowSpeechError(f"{path} has no rows; add published scores, or leave it out.")
    seen = set()
    for row in table.rows:
        what = f"{path}: {row.upstream} on {row.task} of {row.corpus}"
        if not 0.0 <= row.score <= 100.0:
            raise BarlowSpeechError(f"{what}: {row.score} is no percentage from 0 to 100; fix it.")
        if row.metric not in METRICS:
            raise unknown("metric", row.metric, METRICS, what)
        if not row.source.strip():
            raise BarlowSpeechError(f"{what} has no source; say where the number stands.")
        key = (row.upstream, row.task, row.corpus, row.metric)
        if key in seen:
            raise BarlowSpeechError(f"{what} is there twice; leave one of the numbers out.")
        seen.add(key)
    return table


def cited(row: PublishedScore) -> str:
    """The source of a score, with its note."""
    return f"{row.source} ({row.note})" if row.note else row.source
