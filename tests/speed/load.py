"""A study of a million recordings: the time of every phase, and its memory against the runs.

Usage: python tests/speed/load.py [--rows 1000000] [--runs 5 50 500]
           [--folder DIR]

The manifest has `--rows` rows (eight tenths in train, a tenth each in dev and test), of which
nothing is ever decoded: the features that an upstream would have made of them are drawn and put
where features are kept. One upstream, one task, the paper's head. Each number of runs has a process
and a study of its own, whose phases are those of `barlow-speech study`; another process then reads
the records as `barlow-speech leaderboard` does. A peak is the highest resident memory so far.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.features.cache import Folder, recording_keys
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.reporting.leaderboard import leaderboard
from barlow_speech.benchmark.study.config import read_study
from barlow_speech.benchmark.study.run import planned, run_study
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.upstream.common.files import cache_dir
from barlow_speech.upstream.common.machine import environment, peak_mb
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.manifest import read_manifest, write_manifest
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model

CLASSES, LAYERS, WIDTH = 8, 3, 16
PARTS = 1_000  # rows that are parts of one file
SHARD = 100_000  # recordings whose features stand in one file
STEPS = 100
MANIFEST, ENCODER, STUDY = "corpus/manifest.tsv", "encoder.safetensors", "study.yaml"


def write_corpus(folder: Path, rows: int, seed: int = 0) -> None:
    """A manifest of so many rows, its checkpoint, and drawn features of every row in the cache."""
    rng = np.random.default_rng(seed)
    corpus = folder / MANIFEST
    corpus.parent.mkdir(parents=True)
    for file in range(-(-rows // PARTS)):
        (corpus.parent / f"{file}.wav").touch()
    labels_N = rng.integers(CLASSES, size=rows)
    splits_N = rng.permutation(np.repeat(("train", "dev", "test"), (8, 1, 1)))
    splits = [str(one) for one in np.resize(splits_N, rows)]
    write_manifest(
        corpus,
        {
            "path": [f"{row // PARTS}.wav" for row in range(rows)],
            "start_s": [str(row % PARTS) for row in range(rows)],
            "end_s": [str(row % PARTS + 1) for row in range(rows)],
            "emotion": [f"emotion{one}" for one in labels_N],
            "split": splits,
        },
    )
    settings = ModelSettings(FrontEndSettings(16, -6.0, 4.0), {"name": "cnn2d", "channels": 4})
    save_model(folder / ENCODER, random_model(settings, seed=0), {})
    upstream = load_upstream("barlow_speech", folder / ENCODER, "cpu")
    cache = Folder(cache_dir() / "features", upstream.name, upstream.fingerprint, "pooled")
    centres = torch.from_numpy(rng.standard_normal((CLASSES, LAYERS, WIDTH)).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    keys = recording_keys(read_manifest(corpus).recordings, corpus)
    with progress(rows, "draw features", "rec") as bar, cache.locked():
        for start in range(0, rows, SHARD):
            part = slice(start, min(rows, start + SHARD))
            count = part.stop - start
            noise = torch.randn(count, LAYERS, WIDTH, generator=generator)
            tensors = {
                "mean": noise + 0.5 * centres[torch.from_numpy(labels_N[part])],
                "std": torch.ones(count, LAYERS, WIDTH),
                "audio": torch.arange(start, part.stop),
            }
            cache.add(keys[part], tensors, 1.0)
            bar.update(count)


def phases_of_study(folder: Path, runs: int) -> list[tuple[str, float, float]]:
    """Run a study in this process; (phase, seconds, peak memory in MB)."""
    changes = [f"runs={runs}", f"steps={STEPS}", f"eval_step={STEPS // 2}"]
    study = {
        "title": "Load",
        "corpora": {str(folder / MANIFEST): ["emotion"]},
        "protocol": {"name": "paper", "set": changes},
        "upstreams": {"BT": {"name": f"barlow_speech@{folder / ENCODER}"}},
        "analyses": {"Side by side": {"kind": "compare"}},
    }
    file = folder / f"{runs}" / STUDY
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    workspace = Workspace(folder=file.parent / "study")
    found: list[tuple[str, float, float]] = []

    @contextlib.contextmanager
    def timed(phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        found.append((phase, time.monotonic() - started, peak_mb()))

    corpus = str(folder / MANIFEST)
    with timed("read the manifest"):
        workspace.evaluator.corpus(corpus)
    with timed("check the splits"):
        workspace.evaluator.task_data("emotion", corpus)
    with timed("plan"):
        read = read_study(file)
        analyses, steps = planned(read, workspace, str(file))
    with timed("train and record"):
        for step in steps:
            step.stage.run(workspace)
    with timed("report"):
        run_study(read, workspace, analyses, steps, "bench_load")
    return found


def phases_of_leaderboard(folder: Path, runs: int) -> list[tuple[str, float, float]]:
    """Rank what a study has recorded in this process; (phase, seconds, peak memory in MB)."""
    before, started = peak_mb(), time.monotonic()
    cells = read_results(folder / f"{runs}" / "study")
    leaderboard(cells)
    assert len(cells[0].values) == runs
    return [
        ("before the records", 0.0, before),
        ("read and rank", time.monotonic() - started, peak_mb()),
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure every number of runs and print the phases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", nargs="+", type=int, default=[5, 50, 500])
    parser.add_argument("--folder", type=Path, help="where there is room (default: /tmp)")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "RUNS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        what, runs = given.measure
        measure = {"study": phases_of_study, "leaderboard": phases_of_leaderboard}[what]
        print(json.dumps(measure(given.folder, int(runs))))
        return
    facts = environment("cpu")
    print(json.dumps({**facts["versions"], **facts["hardware"]}))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        os.environ["BARLOW_SPEECH_CACHE"] = str(folder / "cache")
        write_corpus(folder, given.rows)
        peaks: dict[str, dict[int, float]] = {}
        for runs in given.runs:
            for what in ("study", "leaderboard"):
                command = [
                    sys.executable, __file__, "--folder", str(folder),
                    "--measure", what, str(runs),
                ]  # fmt: skip
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                for phase, seconds, peak in json.loads(done.stdout.splitlines()[-1]):
                    peaks.setdefault(phase, {})[runs] = peak
                    said = f"{runs:4d} runs  {phase:18s} {seconds:8.1f} s, peak {peak:6.0f} MB"
                    print(said, flush=True)
    for phase, by_runs in peaks.items():
        grown = by_runs[max(by_runs)] - by_runs[min(by_runs)]
        print(f"{phase:18s} {grown:+6.0f} MB from {min(by_runs)} to {max(by_runs)} runs")


if __name__ == "__main__":
    main(sys.argv[1:])
