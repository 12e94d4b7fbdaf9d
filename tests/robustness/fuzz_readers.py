"""What the fuzzing campaign (tests/robustness/fuzz.py) reads: every reader of the project, by name.

A reader here is a set of whole examples, the damage that is done to their files, and a function
that reads the folder as the project does and looks at what comes out. It raises the project's own
error where the input is refused, and `Wrong` where something was accepted that must not be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import math
import os
import random
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus_trees
import damage
import numpy as np
import soundfile
import torch
from damage import STRICT, Files
from torch import nn

from barlow_speech import configs
from barlow_speech.benchmark.analyses import _runs
from barlow_speech.benchmark.evaluation.partial_runs import PartialRuns
from barlow_speech.benchmark.evaluation.protocol import Protocol, Run, read_protocol
from barlow_speech.benchmark.evaluation.records import Record, Store, read_results, result_of
from barlow_speech.benchmark.features import cache
from barlow_speech.benchmark.features.cache import Folder, recording_keys
from barlow_speech.benchmark.features.extraction import Features, features
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.benchmark.reporting.leaderboard import every_score, leaderboard, merged, terminal
from barlow_speech.benchmark.reporting.published import read_published
from barlow_speech.benchmark.reporting.tables import comma_separated, text_document
from barlow_speech.benchmark.result_formats import read_table
from barlow_speech.benchmark.result_formats._table import Asked, results_of
from barlow_speech.benchmark.statistics.metrics import METRICS, metrics
from barlow_speech.benchmark.statistics.over import DEFAULT
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.downstream.corpora._scan import Options
from barlow_speech.downstream.corpora.speech_commands_v1 import VERSION
from barlow_speech.downstream.corpus import Corpus, read_corpus
from barlow_speech.downstream.preparation.from_table import TableOptions, prepare_table
from barlow_speech.downstream.preparation.prepare import prepare
from barlow_speech.downstream.task import names as task_names
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.data import contents
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio
from barlow_speech.upstream.data.manifest import (
    Recording,
    manifest_text,
    parse_manifest,
    read_manifest,
)
from barlow_speech.upstream.data.packed import AUDIO, INDEX, OFFSETS, PackedCorpus
from barlow_speech.upstream.data.packed import pack as pack_speech
from barlow_speech.upstream.encoders import names as encoder_names
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.model.checkpoint import CHECKSUM, save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.pretraining.trainer import TRAINING, Pretraining
from barlow_speech.upstream.pretraining.views.pipeline import Views


class Wrong(Exception):
    """A reader accepted what it must not, or gave something else than it should."""


@dataclass(frozen=True)
class Reader:
    """A reader of the project.

    `examples` makes whole files for a folder of that name (which need not exist); `damages` is a
    list of (pattern of file names, kinds of damage). `seal` makes checksums right again, as an
    adversary would. `read` reads a folder. Where `names_file` is false there is no file to name.
    """

    name: str
    examples: Callable[[Path], list[Files]]
    damages: tuple[tuple[str, tuple[damage.Damage, ...]], ...]
    read: Callable[[Path], None]
    seal: Callable[[Files], Files] | None = None
    names_file: bool = True
    renames: bool = False


def check(right: bool, what: str) -> None:
    """Raise `Wrong` unless it is right."""
    if not right:
        raise Wrong(what)


def check_finite(tree: Any, what: str) -> None:
    """Raise `Wrong` where a number of a tree of mappings and lists is not finite."""
    try:
        json.dumps(tree, allow_nan=False)
    except ValueError as error:
        raise Wrong(f"{what}: a number is not finite, or it holds itself ({error})") from error


NO_NUMBER = re.compile(r"(?<![A-Za-z])(nan|inf)(?![A-Za-z])", re.IGNORECASE)


def check_table(text: str) -> None:
    """Raise `Wrong` where a table shows a number that is none."""
    found = NO_NUMBER.search(text)
    check(found is None, f"a table shows {found and found[0]}")


# Manifests and cards


SPLITS = ("train", "dev", "test")


def _manifest(rng: random.Random, rows: int) -> bytes:
    header = ["path", "start_s", "end_s", "gain_db", "speaker", "gender", "emotion", "keyword"]
    lines = ["\t".join([*header, "split_speaker_id", "split_speaker_disjoint", "split"])]
    for row in range(rows):
        start = round(rng.uniform(0, 2), 2) if rng.random() < 0.5 else 0
        end = str(start + 1.5) if rng.random() < 0.5 else ""
        cells = [f"clips/{row}.wav", str(start or ""), end, rng.choice(("", "-3", "1.5"))]
        cells += [f"s{row % 2}", "fm"[row % 2], ("calm", "angry")[row % 2], f"w{row % 2}"]
        splits = [SPLITS[row // 2 % 3], SPLITS[row // 4 % 3], SPLITS[row // 6 % 3]]
        lines.append("\t".join([*cells, *splits]))
    return "\n".join([*lines, ""]).encode()


def manifests(folder: Path) -> list[Files]:
    """Two tables of 24 recordings, one with Windows's ends of lines and a mark of byte order."""
    text = _manifest(random.Random(0), 24)
    return [{"my.tsv": text}, {"my.tsv": b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")}]


_task = functools.cache(read_task)


def check_corpus(corpus: Corpus) -> None:
    """Each task that the corpus serves: its folds, and what stands on both sides of the splits."""
    for name in corpus.card.tasks:
        task = _task(name)
        for examples in corpus.folds(task):
            corpus.leaks(task, examples)
            check(0 <= examples.chance() <= 1, "chance is no share")
            for split, rows in examples.rows.items():
                check(len(rows) == len(examples.labels[split]) > 0, "a split is empty")
                check(examples.labels[split].max() < len(examples.classes), "a class is none")


def read_a_manifest(folder: Path) -> None:
    """The columns that were read, written and read again, are the same; spans are spans."""
    file = folder / "my.tsv"
    manifest = read_manifest(file)
    again = parse_manifest(manifest_text(manifest.columns), file)
    check(again.columns == manifest.columns, "what is written is not what was read")
    for one in manifest.recordings:
        check(0 <= one.start_s < (math.inf if one.end_s is None else one.end_s), "a span is none")
        check(math.isfinite(one.start_s) and abs(one.gain_db) < 1e3, "a number is not finite")
    check_corpus(read_corpus(str(file)))


def cards(folder: Path) -> list[Files]:
    """A card with two tasks and one with folds."""
    plain = b"""name: mine
manifest: my.tsv
tasks:
  emotion: {label: emotion, split: split_speaker_disjoint}
  gender: {label: gender, split: split}
description: a corpus
licence: CC0
"""
    folds = b"""name: folded
manifest: my.tsv
tasks:
  speaker_id: {label: speaker, folds: [split, split_speaker_id]}
  keyword_spotting:
    label: keyword
    split: split_speaker_id
citation: >-
  Somebody, somewhere
"""
    table = _manifest(random.Random(1), 36)
    return [{"card.yaml": plain, "my.tsv": table}, {"card.yaml": folds, "my.tsv": table}]


def read_a_card(folder: Path) -> None:
    """A corpus by its card."""
    check_corpus(read_corpus(str(folder / "card.yaml")))


# YAML


def _shipped(kind: str, *names: str) -> list[Files]:
    return [
        {"a.yaml": configs.find(kind, name).read_bytes(), "base.yaml": b"steps: 100\n"}
        for name in names
    ]


def recipes(folder: Path) -> list[Files]:
    """The recipes and variants that come with the package, the first with all its views."""
    found = _shipped("recipe", "base", "open_speech", "toy")
    for name in ("view_families", "local_term", "views_speech", "vicreg"):
        found += [
            {**one, "a.yaml": b"extends: base.yaml\n" + one["a.yaml"]}
            for one in _shipped("override", name)
        ]
    return found


def read_a_recipe(folder: Path) -> None:
    """A recipe, with the views and the sizes that a run makes of it at first."""
    file = folder / "a.yaml"
    recipe = read_recipe(file)
    check_finite(recipe.as_dict(), "a recipe")
    for family in recipe.families.values():
        Views(family.views)
    samples = recipe.crop_s * SAMPLE_RATE
    check(160 <= samples < 2**32, "a crop of no length")


def protocols(folder: Path) -> list[Files]:
    """The protocols that come with the package."""
    paper = _shipped("protocol", "paper")[0]["a.yaml"]
    found = _shipped("protocol", "paper", "superb", "variance", "probe", "search", "pretraining")
    return [{**one, "paper.yaml": paper} for one in found]


def read_a_protocol(folder: Path) -> None:
    """A protocol as each task reads it, with its first and its last run."""
    file = folder / "a.yaml"
    for task in task_names():
        protocol = read_protocol(str(file), task)
        check_finite(protocol.identity(), "a protocol")
        check(protocol.training().steps > 0, "no step")
        rate = protocol.learning_rates[0]
        seeds = {protocol.plan(run, rate).seed for run in (0, protocol.runs - 1)}
        check(len(seeds) == min(2, protocol.runs), "two runs have one seed")
        check(len(protocol.search_plans()) >= 1, "no search")


def published(folder: Path) -> list[Files]:
    """The table of published scores that comes with the package."""
    return _shipped("table of published scores", "superb")


def read_a_published_table(folder: Path) -> None:
    """A table of scores, which are percentages."""
    for row in read_published(str(folder / "a.yaml")).rows:
        check(0 <= row.score <= 100, "a score is no percentage")


# Records

RECORDS = (("barlow_speech", 3, 1), ("fbank_no_cmvn", 3, 1), ("barlow_speech_random", 70, 2))


def record(upstream: str, classes: int, folds: int, seed: int = 0) -> Record:
    """A record as a campaign stores it: four runs on twelve recordings of each class."""
    rng = np.random.default_rng(seed)
    truth = [rng.permutation(np.repeat(np.arange(classes), 12)) for _ in range(folds)]
    protocol = Protocol("quick", 4, 300, 32, 30, learning_rates=(1e-3, 1e-2))
    runs = {}
    for number in range(4):
        guesses = [np.where(rng.random(len(one)) < 0.7, one, 0) for one in truth]
        runs[protocol.seed + number] = {
            "seed": protocol.seed + number,
            "sources": protocol.sources(number),
            "folds": [
                {"dev": 0.6, "step": 60, "curve": [[30, 0.5], [60, 0.6]], "predicted": pack(one)}
                for one in guesses
            ],
        }
    facts = {
        "learning_rate": {"chosen": 1e-3, "how": "best mean dev", "dev": {"0.001": 0.6}},
        "protocol": "quick",
        "head": "weighted layers, linear",
        "classes": [f"class{number:02}" for number in range(classes)],
        "truth": [pack(one) for one in truth],
        "recordings": {"train": 40, "dev": 10, "test": 12 * classes},
        "folds": [{"label": "emotion", "split": f"split{number}"} for number in range(folds)],
        "most_frequent": [0] * folds,
        "layers": 5,
        "width": 128,
        "upstream_fingerprints": ["f" * 64],
        "cost": {
            "parameters": 600_192, "macs_per_second": 34_000_000, "real_time_factor": 0.0123,
            "input_s": 10, "repeats": 5, "threads": 1, "device": "cpu",
        },
        "corpus": {"revision": "1", "licence": "CC0", "citation": "us", "description": "toys"},
        "notes": [],
        "seconds": {"features": 1.25, "heads": 3.5},
        "versions": {"python": "3.11.7", "torch": "2.11.0"},
        "hardware": {"machine": "x86_64", "processor": "a", "cores": 2, "threads": 1,
                     "device": "cpu"},
    }  # fmt: skip
    identity = {
        "features": ["a" * 64],
        "selection": "hidden_states",
        "examples": "b" * 64,
        "protocol": json.loads(json.dumps(protocol.identity())),
    }
    return Record(upstream, "emotion", f"toy{classes}", identity, facts, runs)


def records(folder: Path) -> list[Files]:
    """Three stored records."""
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        for upstream, classes, folds in RECORDS:
            store.save(record(upstream, classes, folds))
        files = {
            str(path.relative_to(place)): path.read_bytes() for path in Path(place).glob("*/*/*")
        }
    return [files]


def sealed_record(files: Files) -> Files:
    """Every checksum is that of the contents."""
    result = dict(files)
    for name, content in files.items():
        try:
            stored = json.loads(content)
            if isinstance(stored, dict) and name.endswith(".json"):
                rest = {key: value for key, value in stored.items() if key != "sha256"}
                result[name] = json.dumps({**rest, "sha256": digest(rest)}).encode()
        except (ValueError, RecursionError):
            continue
    return result


def read_records(folder: Path) -> None:
    """All cells through the tables, and each record by what it should be."""
    store = Store(folder)
    for upstream, classes, folds in RECORDS:
        wanted = record(upstream, classes, folds)
        found = store.load(upstream, wanted.task, wanted.corpus, wanted.identity)
        names = (found.upstream, found.task, found.corpus)
        check(names == (upstream, wanted.task, wanted.corpus), "the record of another cell")
        if found.runs:
            result_of(found, sorted(found.runs))
    for metric in METRICS:
        cells = merged({folder: read_results(folder, metric)})
        for cell in cells:
            check(all(0 <= value <= 1 for value in cell.values), "a score is no share")
            check_finite(dataclasses.asdict(cell), "a cell")
    # Damage may call an upstream "inf", which a table then rightly shows.
    cells = [
        dataclasses.replace(
            cell,
            upstream=NO_NUMBER.sub("name", cell.upstream),
            task=NO_NUMBER.sub("name", cell.task),
            corpus=NO_NUMBER.sub("name", cell.corpus),
        )
        for cell in cells
    ]
    board = leaderboard(cells, metric=metric)
    for text in (
        _runs.terminal(cells),
        text_document(terminal(board)),
        comma_separated(every_score(board)),
    ):
        check_table(text)
        text.encode()


def scores_of_mteb(folder: Path) -> list[Files]:
    """Two models on a task with two subsets, and what one of them is."""
    files = {"a/r/model_meta.json": json.dumps({"name": "org/a", "revision": "r"}).encode()}
    for model, more in (("a", 0.0), ("b", 0.1)):
        entries = []
        for subset in ("de", "en"):
            each = [{"accuracy": one + more, "f1": one, "ap": None} for one in (0.5, 0.6, 0.7)]
            entries.append({"main_score": 0.6 + more, "accuracy": 0.6 + more, "f1": 0.6,
                            "hf_subset": subset, "scores_per_experiment": each})  # fmt: skip
        content = {"task_name": "t", "mteb_version": "2.1.0", "dataset_revision": "0123456",
                   "scores": {"test": entries}}  # fmt: skip
        files[f"{model}/r/t.json"] = json.dumps(content).encode()
    return [files]


def scores_of_lm_eval(folder: Path) -> list[Files]:
    """Two models on six items."""
    files = {}
    for model, every in (("a", 2), ("b", 3)):
        lines = [{"doc_id": i, "doc_hash": str(i), "prompt_hash": str(i), "filter": "none",
                  "metrics": ["acc"], "acc": float(i % every == 0)} for i in range(6)]  # fmt: skip
        text = "\n".join(map(json.dumps, lines))
        files[f"{model}/samples_t_2026-01-01T00-00-00.000001.jsonl"] = text.encode()
    return [files]


def scores_of_csv(folder: Path) -> list[Files]:
    """Runs on items of speakers, and runs alone."""
    rows = [f"{name},t,{seed},{item},{item % 5},{(seed + item) % 3 / 2}"
            for name in "ab" for seed in range(3) for item in range(10)]  # fmt: skip
    runs = [f"{name};t;{seed};0.{seed}5" for name in "abc" for seed in range(4)]
    return [
        {"a.csv": "\n".join(["system,task,seed,item,speaker,score", *rows]).encode()},
        {"a.csv": "\n".join(["system;task;seed;score", *runs]).encode()},
    ]


def _scores_of(kind: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        table = read_table(kind, [folder], Asked())
        results, remarks = results_of(table, DEFAULT, Asked())
        for one in results:
            check(all(0 <= value <= 1 for value in one.values), "a score is no share")
            check_finite(one.values, "a result")
        board = leaderboard(results, (), results[0].metric, "system", remarks)
        for text in (text_document(terminal(board)), comma_separated(every_score(board))):
            text.encode()

    return read


RUN_KEY = {"seed": 3, "plan": {"init": 1}}


def unfinished_runs(folder: Path) -> list[Files]:
    """A run of a cell that is not finished."""
    run = Run(3, 0.6, 20, ((10, 0.5), (20, 0.6)), np.arange(40) % 3)
    with tempfile.TemporaryDirectory() as place:
        PartialRuns(Path(place)).keep(RUN_KEY, run, 1.5)
        return [{path.name: path.read_bytes() for path in Path(place).iterdir()}]


def read_an_unfinished_run(folder: Path) -> None:
    """It is as good as what was kept, or made again."""
    partial_runs = PartialRuns(folder)
    run = partial_runs.find(RUN_KEY, 40, 3)
    check_finite(partial_runs.seconds, "its seconds")
    if run is not None:
        check(len(run.predicted) == 40 and run.predicted.max() < 3, "predictions of others")
        check_finite([run.dev, run.step, run.curve], "a run")
        metrics(np.arange(40) % 3, run.predicted, 3)


# Checkpoints


def tiny(encoder: str) -> ModelSettings:
    """The smallest model of an encoder."""
    sizes: dict[str, dict[str, Any]] = {
        "bigru": {"width": 8, "layers": 1},
        "cnn1d": {"width": 8, "layers": 1, "kernel": 3},
        "cnn2d": {"channels": 4},
        "conformer": {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "kernel": 3},
        "transformer": {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16},
    }
    return ModelSettings(FrontEndSettings(16, -6.0, 4.0), {"name": encoder, **sizes[encoder]})


def checkpoints(folder: Path) -> list[Files]:
    """A tiny encoder of each kind."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        for name in encoder_names():
            file = Path(place) / "encoder.safetensors"
            save_model(file, random_model(tiny(name), seed=3).eval(), {"note": "random"})
            found.append({"encoder.safetensors": file.read_bytes()})
    return found


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """float32 noise."""
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE, **options: Any) -> bytes:
    """An audio file; a WAV file unless `format` says otherwise."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **options})
    return file.getvalue()


def read_a_checkpoint(folder: Path) -> None:
    """The encoder, and its features of a recording as a table would be made of them."""
    file, recording = folder / "encoder.safetensors", folder / "a.wav"
    expert = UpstreamExpert(file)
    recording.write_bytes(wav(noise(2000)))
    name = f"barlow_speech@{file}"
    upstream = Upstream(name, expert, expert.get_downsample_rates(""), digest(name), batched=True)
    found = features(upstream, [Recording(recording)], folder / "cache", folder / "m.tsv")
    check(bool(torch.isfinite(found.means(np.array([0]), True)).all()), "features are not finite")
    check(bool(torch.isfinite(found.embeddings(np.array([0]))).all()), "features are not finite")


SPEECH_S = 0.5  # of each recording of the tiny packed corpus


def _packed(folder: Path) -> Path:
    """A packed corpus of six recordings of noise, as a folder in `folder`."""
    for number in range(6):
        length = round(SPEECH_S * SAMPLE_RATE) + 100 * number
        (folder / f"{number}.wav").write_bytes(wav(noise(length, number)))
    return pack_speech([Recording(folder / f"{n}.wav") for n in range(6)], folder / "packed")


RECIPE = {
    "steps": 4, "batch": 4, "crop_s": 0.1, "memory": 8,
    "model": {"encoder": {"name": "cnn2d", "channels": 2}, "frontend": {"n_mels": 8}},
    "families": {"main": {"views": {"mixup": {}, "gain": {}}, "projector": {"width": 4}}},
}  # fmt: skip


@functools.cache
def _training() -> Pretraining:
    """A run of two steps, and the packed corpus it is of."""
    with tempfile.TemporaryDirectory() as place:  # what is open can be read when it is gone
        corpus = PackedCorpus(_packed(Path(place)), 0.1, 0)
    recipe = build(Recipe, RECIPE, "recipe")
    run = Pretraining(recipe, corpus, torch.device("cpu"))
    for _ in range(2):
        run.step()
    return run


def trainings(folder: Path) -> list[Files]:
    """The state of a run after two steps."""
    with tempfile.TemporaryDirectory() as place:
        _training().save(Path(place))
        return [{TRAINING: (Path(place) / TRAINING).read_bytes()}]


def read_a_training(folder: Path) -> None:
    """A run goes on from it, with figures that are numbers.

    Weights that are numbers like any other may make a loss that is none: then the recordings are
    named, and not the file.
    """
    run = _training()
    run.load(folder)
    check(0 <= run.steps_done <= run.recipe.steps, "a number of steps that is none")
    if run.done:
        return
    try:
        figures = run.step()
    except BarlowSpeechError as error:
        check("not finite" in str(error) and "recording" in str(error), f"a step says {error}")
    else:
        check_finite(figures, "a step")


# Features that are kept

STUB = "stub"
COUNT, LAYERS, WIDTH, EMBEDDING = 5, 3, 4, 6


class Stub(nn.Module):
    """An upstream of zeros, for features that come from the cache."""

    def forward(self, waves: Sequence[torch.Tensor]) -> dict[str, Any]:
        """Three layers of zeros, a frame per 160 samples."""
        longest = max(map(len, waves))
        layer_BTD = torch.zeros(len(waves), -(-longest // 160), WIDTH)
        return {"hidden_states": [layer_BTD] * LAYERS,
                "embedding": torch.zeros(len(waves), EMBEDDING)}  # fmt: skip


def _cached(folder: Path, kind: Any) -> Features:
    upstream = Upstream(STUB, Stub(), 160, "0" * 64, batched=True)
    recordings = [Recording(folder / f"{number}.wav") for number in range(COUNT)]
    return features(upstream, recordings, folder / "features", folder / "m.tsv", kind)


def shards(folder: Path) -> list[Files]:
    """Means of five recordings in two shards, and frames of them in one."""
    audio = {f"{number}.wav": wav(noise(400 + number)) for number in range(COUNT)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in audio.items():
        write(folder / name, content)
    keys = recording_keys([Recording(folder / name) for name in audio], folder / "m.tsv")
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    found = []
    for kind in ("pooled", "frames"):
        with tempfile.TemporaryDirectory() as place:
            kept = Folder(Path(place), STUB, "0" * 64, kind)
            kept.path.mkdir(parents=True)
            for rows in (range(2), range(2, COUNT)):
                part = [keys[row] for row in rows]
                numbers = torch.arange(len(part))
                if kind == "pooled":
                    layers = {name: draw(len(part), LAYERS, WIDTH) for name in ("mean", "std")}
                    tensors = {**layers, "embedding": draw(len(part), EMBEDDING)}
                else:
                    frames = draw(3 * len(part), LAYERS, WIDTH).half()
                    offsets = 3 * torch.arange(len(part) + 1)
                    tensors = {"frames": frames, "offsets": offsets}
                kept.add(part, {**tensors, "audio": numbers}, 1.5)
            about = {"upstream": STUB, "fingerprint": "0" * 64, "kind": kind}
            (kept.path / cache.ABOUT).write_text(json.dumps(about))
            files = {
                f"features/{path.relative_to(place)}": path.read_bytes()
                for path in Path(place).glob("*/*")
            }
        found.append({**files, **audio})
    for name in audio:
        (folder / name).unlink()
    return found


# What is in files, remembered

REMEMBERED = (b"one", b"two" * 999, b"")


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("BARLOW_SPEECH_CACHE")
    os.environ["BARLOW_SPEECH_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("BARLOW_SPEECH_CACHE")
        if before is not None:
            os.environ["BARLOW_SPEECH_CACHE"] = before


def memories(folder: Path) -> list[Files]:
    """The digests of three files as they are remembered, for files that are made again."""
    with tempfile.TemporaryDirectory() as place, _cache_in(Path(place)):
        names = [os.fsencode(folder / f"{n}.wav") for n in range(len(REMEMBERED))]
        state = "3 1 1 1"
        contents._with_memory(
            lambda memory: memory.executemany(
                "INSERT INTO contents VALUES (?, ?, ?)",
                [(name, state, contents._sealed(name, state, "0" * 64)) for name in names],
            ),
            None,
        )
        return [{"contents.sqlite": (Path(place) / "contents.sqlite").read_bytes()}]


def read_a_memory(folder: Path) -> None:
    """Whatever it holds, each file has its digest, also the second time."""
    paths = [folder / f"{n}.wav" for n in range(len(REMEMBERED))]
    for path, content in zip(paths, REMEMBERED):
        path.write_bytes(content)
    right = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    with _cache_in(folder):
        for _ in range(2):
            check(contents.contents(paths) == right, "a digest is another file's")
            contents.verify()


def sealed_tensors(files: Files) -> Files:
    """The checksum in each safetensors file is that of its contents (`checkpoint.py`)."""
    dtypes = {"F32": "float32", "F16": "float16", "U8": "uint8", "I64": "int64", "F64": "float64"}
    result = dict(files)
    for name, content in files.items():
        if not name.endswith(cache.SUFFIX):
            continue
        with contextlib.suppress(Exception):  # whatever it is, it has no checksum
            header, values = damage.split_safetensors(content)
            strings = header["__metadata__"]
            del strings[CHECKSUM]
            whole = hashlib.sha256(json.dumps(strings, sort_keys=True).encode())
            for tensor in sorted(one for one in header if one != "__metadata__"):
                shape, (first, last) = header[tensor]["shape"], header[tensor]["data_offsets"]
                dtype = dtypes.get(header[tensor]["dtype"], "?")
                whole.update(f"{tensor} {tuple(shape)} torch.{dtype}".encode())
                whole.update(values[first:last])
            strings[CHECKSUM] = whole.hexdigest()
            result[name] = damage.joined_safetensors((header, values))
    return result


def read_shards(folder: Path) -> None:
    """The features of five recordings, as the heads get them, and the list of the cache."""
    root = folder / "features"
    for entry in cache.entries(root):
        check(isinstance(entry.upstream, str) and isinstance(entry.kind, str), "a name is no text")
        check(entry.recordings >= 0 and math.isfinite(entry.days), "a number is none")
        cache.verify(entry)
    every = np.arange(COUNT)
    framed = any('"frames"' in one.read_text("utf-8", "replace") for one in root.glob("*/*.json"))
    found = _cached(folder, "frames" if framed else "pooled")
    check(found.shape == (LAYERS, WIDTH), f"a shape of {found.shape}")
    check(math.isfinite(found.seconds) and found.seconds >= 0, "seconds that are none")
    if framed:
        frames = found.frames(every)
        check(all(len(one) > 0 for one in frames), "a recording without a frame")
        check(all(bool(torch.isfinite(one).all()) for one in frames), "frames are not finite")
    else:
        check(found.means(every, True).shape == (COUNT, LAYERS, 2 * WIDTH), "means of a shape")
        check(bool(torch.isfinite(found.means(every, True)).all()), "means are not finite")
        check(bool(torch.isfinite(found.embeddings(every)).all()), "embeddings are not finite")


def packed_corpora(folder: Path) -> list[Files]:
    """A packed corpus of six recordings."""
    with tempfile.TemporaryDirectory() as place:
        packed = _packed(Path(place))
        return [{f"packed/{path.name}": path.read_bytes() for path in packed.iterdir()}]


def sealed_packed(files: Files) -> Files:
    """Both checksums are those of the files."""
    index, result = f"packed/{INDEX}", dict(files)
    try:
        tree = json.loads(files[index])
        tree["sha256"] = hashlib.sha256(files[f"packed/{AUDIO}"]).hexdigest()
        tree["offsets_sha256"] = hashlib.sha256(files[f"packed/{OFFSETS}"]).hexdigest()
        result[index] = json.dumps(tree).encode()
    except (KeyError, ValueError, TypeError, RecursionError):
        pass
    return result


def read_a_packed_corpus(folder: Path) -> None:
    """Crops of all recordings, and the comparison with the checksums."""
    corpus = PackedCorpus(folder / "packed", 0.1, seed=1)
    for crops in corpus.crops(np.arange(20), [1600, 800]):
        check(len(crops) == 20 and crops.dtype == np.int16, "crops of another shape")
    check(0 < corpus.hours < 1, "hours that are none")
    corpus.verify()
    check(isinstance(corpus.index.get("sha256"), str), "no checksum")


# Audio

RATES = (8000, 16_000, 22_050, 44_100, 48_000)


def _audio(format: str, subtypes: Sequence[str], lengths: Sequence[int] = (1600, 3000)) -> Any:
    def examples(folder: Path) -> list[Files]:
        found = []
        for number, subtype in enumerate(subtypes):
            rate = RATES[(number + 1) % len(RATES)] if subtype != "OPUS" else 48_000
            channels = (1, 2, 1)[number % 3] if subtype not in ("GSM610", "NMS_ADPCM_16") else 1
            samples = noise(lengths[number % len(lengths)] * channels, number)
            audio = wav(samples.reshape(-1, channels), rate, format=format, subtype=subtype)
            row = ("", "", "") if number % 2 else ("0.01", "0.05", "-3")
            table = "path\tstart_s\tend_s\tgain_db\na.wav\t" + "\t".join(row) + "\n"
            found.append({"a.wav": audio, "m.tsv": table.encode()})
        return found

    return examples


def read_a_recording(folder: Path) -> None:
    """The part that a manifest names, whose length and level are possible."""
    (one, *_) = read_manifest(folder / "m.tsv").recordings
    one = dataclasses.replace(one, path=folder / "a.wav")
    check(0 <= duration_s(one.path) < 1e9, "a length that is none")
    wave = read_audio(one.path, one.start_s, one.end_s, one.gain_db)
    check(wave.dtype == np.float32 and wave.ndim == 1 and len(wave) > 0, "no waveform")
    check(bool(np.isfinite(wave).all()), "values that are not finite")
    if one.end_s is not None:
        most = (one.end_s - one.start_s) * SAMPLE_RATE
        check(len(wave) <= most + SAMPLE_RATE // 1000 + 16, "more than was asked for")


def waves(folder: Path) -> list[Files]:
    """Batches of one to three waveforms."""
    lengths = ((3000,), (800, 2500), (160, 1, 4000))
    return [
        {f"{row}.f32": noise(length, row).tobytes() for row, length in enumerate(one)}
        for one in lengths
    ]


@functools.cache
def expert_of(encoder: str) -> UpstreamExpert:
    """The tiny model of an encoder, as s3prl has it."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "encoder.safetensors"
        save_model(file, random_model(tiny(encoder), seed=5).eval(), {})
        return UpstreamExpert(file)


def read_waves(folder: Path) -> None:
    """One of the five encoders on a batch: what is finite and not absurd gives finite features."""
    paths = sorted(folder.glob("*.f32"))
    contents = [path.read_bytes() for path in paths]
    batch = [torch.from_numpy(np.frombuffer(one[: len(one) // 4 * 4], "<f4").copy())
             for one in contents]  # fmt: skip
    names = encoder_names()
    expert = expert_of(names[zlib.crc32(b"".join(contents)) % len(names)])
    rate = expert.get_downsample_rates("hidden_states")
    with torch.no_grad():
        given = expert(batch)
    check(all(bool(torch.isfinite(one).all()) for one in batch), "NaN or infinity was accepted")
    states = -(-max(map(len, batch)) // rate)
    for layer_BTD in given["hidden_states"]:
        check(layer_BTD.shape[:2] == (len(batch), states), "states of another number")
        check(bool(torch.isfinite(layer_BTD).all()), "hidden states are not finite")
        for row, wave in enumerate(batch):
            behind = layer_BTD[row, -(-len(wave) // rate) :]
            check(bool((behind == 0).all()), "states behind the end are not zero")
    check(bool(torch.isfinite(given["embedding"]).all()), "an embedding is not finite")


# Tables and corpora in their official layout


def write(path: Path, content: bytes) -> None:
    """A file of a case, with a time of change that is always the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))


def sheets(folder: Path) -> list[Files]:
    """A table of commas and one of semicolons with quotes; its files are empty."""
    rows = [f"a/{n}.wav,s{n % 6},{'fm'[n % 2]},w{n % 2}" for n in range(18)]
    comma = "\n".join(["file,speaker,gender,keyword", *rows, ""])
    quoted = [f'"a/{n}.wav";"s;{n % 6}";"f ""x""";{SPLITS[n % 3]}'
              for n in range(18)]  # fmt: skip
    semicolon = "\r\n".join(["file;speaker;emotion;split", *quoted])
    audio = {f"a/{number}.wav": b"" for number in range(18)}
    return [{"my.csv": text.encode(), **audio} for text in (comma, semicolon)]


def read_a_sheet(folder: Path) -> None:
    """The manifest and the card that were made of a table are read back."""
    file = folder / "my.csv"
    by = ("speaker", "recording") if len(file.read_bytes()) % 2 else ("recording",)
    options = TableOptions("made", {"path": "file"}, split_by=by, partial=True)
    prepared = prepare_table(file, folder / "out", options)
    for path in prepared.cards:
        check_corpus(read_corpus(str(path)))


def named(pattern: str) -> Files:
    """Empty files, named by all ways to choose where the pattern has {a,b}."""
    parts = [one.split(",") for one in re.split(r"[{}]", pattern)]
    return {"".join(one): b"" for one in itertools.product(*parts)}


def tree(make: Callable[[Path], Path], every: int = 1) -> Files:
    """The files of a corpus (`corpus_trees.py`); of those without contents each `every`th."""
    with tempfile.TemporaryDirectory() as place:
        root = make(Path(place))
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        contents = {str(path.relative_to(root)): path.read_bytes() for path in paths}
    left = [name for name, content in contents.items() if not content][::every]
    return {name: content for name, content in contents.items() if content or name in left}


def librispeech(folder: Path) -> list[Files]:
    """Every ninth recording, with all transcripts."""
    return [tree(corpus_trees.librispeech, 9)]


def voxceleb1(folder: Path) -> list[Files]:
    """Every ninth recording, with both lists."""
    return [tree(corpus_trees.voxceleb1, 9)]


def common_voice(folder: Path) -> list[Files]:
    """The official tables of one language, which is called as the folder, and its counts."""
    counts = {"locales": {"case": {"buckets": {"train": 24, "dev": 8, "test": 8}}}}
    return [{**tree(corpus_trees.common_voice), "counts.json": json.dumps(counts).encode()}]


def speech_commands_v1(folder: Path) -> list[Files]:
    """Three words of four speakers, the lists, and a noise file; once more with the test set."""
    found = named("{yes,no,bed}/{b6589fc6,356a192b,da4b9237,77de68da}_nohash_0.wav")
    paths = list(found)
    found["validation_list.txt"] = "\n".join([*paths[2::4], ""]).encode()
    found["testing_list.txt"] = "\n".join([*paths[3::4], ""]).encode()
    found["_background_noise_/hum.wav"] = wav(noise(12 * SAMPLE_RATE))
    tested = named(f"{VERSION.folder}/{{{','.join(VERSION.test_set)}}}/b6589fc6_nohash_0.wav")
    silence = {f"{VERSION.folder}/_silence_/0.wav": wav(noise(SAMPLE_RATE))}
    return [found, {**found, **tested, **silence}]


def crema_d(folder: Path) -> list[Files]:
    """Two actors and their table."""
    table = b"""ActorID,Age,Sex,Race,Ethnicity
1001,33,"Male","Unknown","Not Hispanic"
1002,33,"Female","Unknown","Not Hispanic"
"""
    found = named("AudioWAV/{1001,1002}_{DFA,TAI,TSI}_{ANG,SAD}_XX.wav")
    return [{**found, "VideoDemographics.csv": table}]


def emodb(folder: Path) -> list[Files]:
    """Names of four speakers."""
    return [named("wav/{03,11,14,16}{a01,a05,a07}{W,F}a.wav")]


def ravdess(folder: Path) -> list[Files]:
    """Names of four actors."""
    found = [named(f"Actor_{one}/03-01-0{{1,5}}-01-0{{1,2}}-0{{1,2}}-{one}.wav")
             for one in ("01", "02", "21", "24")]  # fmt: skip
    return [dict(itertools.chain(*(one.items() for one in found)))]


def timit(folder: Path) -> list[Files]:
    """Two speakers of each part, and the sentences."""
    takes = "{SA1,SX1,SX2,SI500,SI501}.WAV"
    train = named(f"TRAIN/DR1/{{FAAA0,MBBB0}}/{takes}")
    prompts = {"DOC/PROMPTS.TXT": b"; comment\nShe had it.  (sa1)\nNo.  (sx1)\n"}
    return [{**train, **named(f"TEST/DR1/{{FADG0,MCCC0}}/{takes}"), **prompts}]


def iemocap(folder: Path) -> list[Files]:
    """Two dialogues of two sessions."""
    found = {}
    for session in ("Session1", "Session5"):
        dialogue = f"Ses0{session[-1]}F_impro01"
        own = named(f"{session}/sentences/wav/{dialogue}/{dialogue}_{{F,M}}{{000,001,002}}.wav")
        rows, said = ["% [START"], []
        for name, emotion in zip((Path(one).stem for one in own), ("ang", "neu", "xxx") * 2):
            rows.append(f"[6.29 - 8.23]\t{name}\t{emotion}\t[2.5, 2.5, 2.5]")
            said.append(f"{name} [006.2901-008.2357]: Excuse me.")
        texts = f"{session}/dialog/{{}}/{dialogue}.txt"
        found |= {**own, texts.format("EmoEvaluation"): "\n".join(rows).encode(),
                  texts.format("transcriptions"): "\n".join(said).encode()}  # fmt: skip
    return [found]


def _prepared(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        counts = folder / "counts.json"
        partial = not (folder / STRICT).exists()
        options = Options(partial, statistics=counts if counts.is_file() else None)
        prepared = prepare(name, folder, folder.parent / "out", options)
        for path in prepared.manifests:
            read_manifest(path)
        for path in prepared.cards:
            check_corpus(read_corpus(str(path)))

    return read


def _corpus_reader(make: Callable[[Path], list[Files]], *patterns: str) -> Reader:
    name = make.__name__
    damages = tuple((pattern, damage.TEXT) for pattern in patterns)
    return Reader(name, make, damages, _prepared(name), renames=True)


BINARY = damage.BYTES
TABLE = damage.TEXT
AUDIO_DAMAGE = (("a.wav", BINARY), ("a.wav", BINARY), ("a.wav", BINARY), ("m.tsv", (damage.cells,)))
WAV_SUBTYPES = ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM",
                "GSM610")  # fmt: skip
_READERS = (
    Reader("manifest", manifests, (("my.tsv", TABLE), ("my.tsv", (damage.cells,))),
           read_a_manifest),
    Reader("card", cards, (("card.yaml", damage.YAML), ("card.yaml", damage.YAML),
                           ("my.tsv", TABLE)), read_a_card),
    Reader("recipe", recipes, (("a.yaml", damage.YAML), ("base.yaml", damage.YAML)),
           read_a_recipe),
    Reader("protocol", protocols, (("a.yaml", damage.YAML),), read_a_protocol),
    Reader("published", published, (("a.yaml", damage.YAML),), read_a_published_table),
    Reader("mteb", scores_of_mteb, (("*.json", damage.JSON),), _scores_of("mteb")),
    Reader("lm_eval", scores_of_lm_eval, (("*.jsonl", TABLE),), _scores_of("lm-eval")),
    Reader("scores", scores_of_csv, (("a.csv", TABLE),), _scores_of("csv")),
    Reader("record", records, (("records/*", damage.JSON),), read_records,
           sealed_record),
    Reader("unfinished", unfinished_runs, (("*.json", damage.JSON),),
           read_an_unfinished_run, sealed_record),
    Reader("checkpoint", checkpoints, (("*.safetensors", damage.SAFETENSORS),),
           read_a_checkpoint, sealed_tensors),
    Reader("training", trainings, (("*.safetensors", damage.SAFETENSORS),), read_a_training,
           sealed_tensors),
    Reader("features", shards, (("features/*.safetensors", damage.SAFETENSORS),
                                ("features/*.safetensors", damage.SAFETENSORS),
                                ("features/*.json", damage.JSON)), read_shards, sealed_tensors),
    Reader("packed", packed_corpora, (("packed/packed.json", damage.JSON),
                                      ("packed/offsets.npy", damage.NPY),
                                      ("packed/audio.i16", BINARY)),
           read_a_packed_corpus, sealed_packed),
    Reader("contents", memories, (("contents.sqlite", BINARY),), read_a_memory,
           names_file=False),
    Reader("wav", _audio("WAV", WAV_SUBTYPES), AUDIO_DAMAGE, read_a_recording),
    Reader("flac", _audio("FLAC", ("PCM_S8", "PCM_16", "PCM_24")), AUDIO_DAMAGE,
           read_a_recording),
    Reader("ogg", _audio("OGG", ("VORBIS", "OPUS", "VORBIS")), AUDIO_DAMAGE, read_a_recording),
    Reader("mp3", _audio("MP3", ("MPEG_LAYER_III",) * 4), AUDIO_DAMAGE, read_a_recording),
    Reader("waveforms", waves, (("*.f32", damage.WAVEFORM),), read_waves, names_file=False),
    Reader("table", sheets, (("my.csv", TABLE), ("my.csv", TABLE)), read_a_sheet),
    _corpus_reader(librispeech, "SPEAKERS.TXT", "*.trans.txt"),
    _corpus_reader(voxceleb1, "iden_split.txt", "vox1_meta.csv"),
    _corpus_reader(speech_commands_v1, "*_list.txt", "_background_noise_/*"),
    _corpus_reader(crema_d, "*.csv"),
    _corpus_reader(emodb),
    _corpus_reader(ravdess),
    _corpus_reader(timit, "DOC/*"),
    _corpus_reader(iemocap, "*/dialog/*.txt"),
    _corpus_reader(common_voice, "*.tsv", "counts.json"),
)  # fmt: skip
READERS = {reader.name: reader for reader in _READERS}
