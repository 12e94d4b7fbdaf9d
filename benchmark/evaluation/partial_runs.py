"""Runs of an unfinished result, each in a file: where runs are slow, none is made twice.

`<folder>/<digest>.json`, one per run; the folder goes when the result's record is stored.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from barlow_speech.benchmark.evaluation.protocol import Run
from barlow_speech.benchmark.evaluation.records import Integer, Number, Shape, reason_of
from barlow_speech.benchmark.statistics.predictions import pack, unpack
from barlow_speech.upstream.common.files import digest, parsed_json, write_json

log = logging.getLogger(__name__)

DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Kept(Shape):
    seconds: Number
    seed: Integer
    dev: Number
    step: Integer
    curve: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]
    predicted: str


class PartialRuns:
    """A folder of finished runs; `seconds` is what those that were found there had taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0

    def find(self, key: Any, tested: int | None = None, classes: int = 1 << 31) -> Run | None:
        """The run of a JSON-able key, if it is there; on `tested` recordings of `classes` classes.

        A file that is corrupt, or of other recordings, is named in a warning and counts as absent.
        """
        path = self._path(key)
        if not path.exists():
            return None
        try:
            kept = parsed_json(path.read_text(encoding="utf-8"))
            checksum = kept.pop("sha256")
            if checksum != digest(kept) or kept["key"] != key:
                raise ValueError("its checksum does not match")
            read = _Kept.model_validate(kept)
            predicted_N = unpack(read.predicted)
            if tested not in (None, len(predicted_N)) or max(predicted_N, default=0) >= classes:
                raise ValueError("its predictions are not of the test recordings")
        except DAMAGE as error:
            log.warning("run %s is corrupt (%s); recomputing", path, reason_of(error))
            return None
        self.seconds += read.seconds
        curve = tuple((step, score) for step, score in kept["curve"])
        return Run(read.seed, kept["dev"], read.step, curve, predicted_N)

    def keep(self, key: Any, run: Run, seconds: float) -> None:
        """Write a run that took so many seconds, whole or not at all."""
        kept = {
            "key": key,
            "seconds": round(seconds, 3),
            "seed": run.seed,
            "dev": run.dev,
            "step": run.step,
            "curve": run.curve,
            "predicted": pack(run.predicted),
        }
        write_json(self._path(key), {**kept, "sha256": digest(kept)})

    def _path(self, key: Any) -> Path:
        return self.folder / f"{digest(key)[:24]}.json"

    def clear(self) -> None:
        """Drop them all, and the folder above where no other result has runs in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is not empty, or not there
            self.folder.parent.rmdir()
