"""The factors of a corpus: what is known of its recordings, and how it hangs together.

Shapes: N recordings that are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from barlow_speech.benchmark.disentanglement.metrics import entropy, mutual_information
from barlow_speech.downstream.corpus import Corpus
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown

MAX_RECORDINGS = 5000  # that are taken of a corpus, unless asked for otherwise


@dataclass(frozen=True)
class Factors:
    """Labels and splits of a corpus's recordings, a column of strings [N] for each factor.

    `rows_N` are the manifest's rows that were taken; `groups_N` the speaker of each, or its file
    where the speaker is unknown; `notes` what a reader has to know.
    """

    labels: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]
    rows_N: np.ndarray
    groups_N: np.ndarray
    notes: tuple[str, ...]


def read_factors(
    corpus: Corpus,
    names: Sequence[str] = (),
    most: int = MAX_RECORDINGS,
    allow_leakage: bool = False,
) -> Factors:
    """The labels that a corpus's tasks are about, each with the split of its task.

    `names` are factors (speaker, gender, emotion, keyword); by default all that the corpus serves a
    task for. Of more than `most` recordings, as many are drawn, the same every time. Of a task with
    folds the first is taken.

    Raises:
        BarlowSpeechError: as `Corpus.examples`; the corpus has no such factor; or, unless it is
            allowed, its splits leak.
    """
    tasks = [read_task(name) for name in sorted(corpus.card.tasks)]
    by_factor = {task.label: task for task in tasks}
    for name in names:
        if name not in by_factor:
            raise unknown("factor", name, by_factor, f"corpus '{corpus.name}'")
    count = len(corpus.recordings)
    labels, splits, notes = {}, {}, []
    for name, task in by_factor.items():
        if names and name not in names:
            continue
        examples = corpus.examples(task)
        leaks = corpus.leaks(task, examples)
        if leaks and not allow_leakage:
            raise BarlowSpeechError(
                f"corpus '{corpus.name}', task '{task.name}': {leaks[0]}; fix the column "
                f"'{examples.columns.split}' of {corpus.manifest.file}, or add --allow-leakage, "
                "which is then written into the result."
            )
        notes += leaks
        labels[name], splits[name] = np.full(count, "", object), np.full(count, "", "<U5")
        for split, rows in examples.rows.items():
            labels[name][rows] = np.array(examples.classes, object)[examples.labels[split]]
            splits[name][rows] = split
    if not labels:
        raise BarlowSpeechError(
            f"corpus '{corpus.name}' serves no task, so there is no factor to look for; "
            "its manifest needs labels and splits (downstream/README.md, 'Your own corpus')."
        )
    rows_N = np.flatnonzero(np.any([column != "" for column in labels.values()], axis=0))
    if len(rows_N) > most:
        notes.append(f"{most} of {len(rows_N)} recordings, drawn with seed 0")
        rows_N = np.sort(np.random.default_rng(0).choice(rows_N, most, replace=False))
    speakers = corpus.manifest.columns.get("speaker", [""] * count)
    files = [str(recording.path) for recording in corpus.recordings]
    return Factors(
        labels={name: column[rows_N].astype(str) for name, column in labels.items()},
        splits={name: column[rows_N] for name, column in splits.items()},
        rows_N=rows_N,
        # A file cannot be called like a speaker: it stands behind a separator.
        groups_N=np.array([speakers[row] or f"\0{files[row]}" for row in rows_N]),
        notes=tuple(notes),
    )


def associations(labels: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """How much of factor a is known once b is known: I(a; b) / H(a), for each pair (a, b).

    Theil's uncertainty coefficient (1970) over the recordings that have both: 1 where b determines
    a, 0 where they are independent (a little more by chance, the more classes there are).
    """
    result = {}
    for a, column_a in labels.items():
        for b, column_b in labels.items():
            both = (column_a != "") & (column_b != "")
            if a == b or not both.any():
                continue
            classes, number_N = np.unique(column_b[both], return_inverse=True)
            shared = mutual_information(
                number_N[:, None].astype(float), {a: column_a[both]}, bins=max(2, len(classes))
            )
            whole = entropy(column_a[both])
            result[a, b] = float(shared[0, 0]) / whole if whole > 0 else 0.0
    return result
