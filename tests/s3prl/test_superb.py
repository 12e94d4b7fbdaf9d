"""SUPERB's three utterance tasks on the fast path, against s3prl's own Runner on the same trees.

Tiny corpora in their official layouts are prepared and judged by the command, and trained by s3prl
from the same initial weights on the same batches; silence and long recordings are cut where our
manifests cut them. Then every test recording has to get the same class.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import itertools
import json
import math
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import superb_trees as trees
import torch
from s3prl_runner import begin_with, loader, s3prl_runner, superb_config, taken, train_on

from barlow_speech import configs
from barlow_speech.benchmark import entry, run_downstream
from barlow_speech.benchmark.evaluation.protocol import Protocol, read_protocol
from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.evaluation.training.batches import balanced_order, batch_order
from barlow_speech.benchmark.features.cache import recording_keys
from barlow_speech.benchmark.statistics.predictions import unpack
from barlow_speech.downstream import task as tasks
from barlow_speech.downstream.corpora._scan import Options
from barlow_speech.downstream.corpus import SPLITS, Corpus, Examples, read_corpus
from barlow_speech.downstream.heads import linear
from barlow_speech.downstream.heads._head import Head
from barlow_speech.downstream.preparation.prepare import prepare
from barlow_speech.downstream.s3prl.registry import register_downstream
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import read_yaml
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.data.manifest import Recording, parse_manifest, read_manifest
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model, seeded
from barlow_speech.upstream.third_party.sox import apply_effects_file

STEPS, EVAL_STEP, RATE, SEED = 12, 4, 1e-2, 7
RUNS = 2
PARTIAL = Options(partial=True)
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CROP = 128_000  # samples


@dataclass(frozen=True)
class Case:
    """A task under its two names, and what s3prl calls our classes."""

    ours: str
    theirs: str
    classes: dict[str, str]
    folds: int = 1


EMOTIONS = {"anger": "ang", "happiness": "hap", "neutral": "neu", "sadness": "sad"}
WORDS = (*COMMANDS, "_unknown_", "_silence_")
SPEAKERS = tuple(f"id{10001 + i}" for i in range(5))
CASES = (
    Case("superb_ks", "speech_commands", {one: one for one in WORDS}),
    Case("superb_er", "emotion", EMOTIONS, folds=5),
    Case("superb_sid", "voxceleb1", {one: one for one in SPEAKERS}),
)


class ShortVoice(trees.Voice):
    """Recordings of different lengths, so that batches are padded; short, to save time."""

    def write(self, path: Path, seconds: float = 0.4, pitch: float = 150.0) -> Path:
        return super().write(path, seconds * self.noise.uniform(0.3, 0.6), pitch)


class Actor(ShortVoice):
    """Labels far apart in pitch, which are close in the tree that this test takes."""

    def write(self, path: Path, seconds: float = 0.4, pitch: float = 150.0) -> Path:
        return super().write(path, seconds, 100 + 25 * (pitch - 90))


def speech_commands(root: Path) -> None:
    """Every class of s3prl's; of speakers, by s3prl's hash, 3 and 4 are dev and 1 is test."""
    voice = ShortVoice(1)
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    for number, word in enumerate((*COMMANDS, "bed", "cat")):
        for speaker in "0123456":
            voice.write(train / word / f"{speaker}_nohash_0.wav", pitch=100 + 150 * number)
    for number, name in enumerate(("pink_noise", "running_tap")):
        trees.Voice(number).write(train / "_background_noise_" / f"{name}.wav", 5.3 + number)
    for number, word in enumerate(WORDS):
        for speaker in ("b", "1aa"):
            voice.write(test / word / f"{speaker}_nohash_0.wav", pitch=100 + 150 * number)


def voxceleb1(root: Path) -> None:
    """Five speakers with the first numbers, four recordings in train; a few are over 8 s long."""
    voice = ShortVoice(3)
    lines = []
    for number, speaker in enumerate(SPEAKERS):
        for take in range(6):
            name = f"{speaker}/5r0dWxy17C8/{take:05d}.wav"
            path = root / "dev" / "wav" / name
            if (number, take) in ((0, 0), (3, 1), (1, 5)):
                trees.Voice(take).write(path, 8.4 + 0.3 * number, pitch=100 + 300 * number)
            else:
                voice.write(path, pitch=100 + 300 * number)
            lines.append(f"{(1, 1, 1, 1, 2, 3)[take]} {name}")
    trees.write_lines(root / "iden_split.txt", lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three corpora where the built-in cards look for them, and their manifests."""
    root = tmp_path_factory.mktemp("superb")
    speech_commands(root)
    voxceleb1(root / "VoxCeleb1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "Voice", Actor)
        trees.iemocap(root / "IEMOCAP_full_release", sessions=5)
    for name, folder in (
        ("speech_commands_v1", "speech_commands_v0.01"),
        ("iemocap", "IEMOCAP_full_release"),
        ("voxceleb1", "VoxCeleb1"),
    ):
        assert prepare(name, root / folder, None, PARTIAL).leaks == []
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one whose random features tell tones apart, so that there is something to learn."""
    settings = ModelSettings(
        FrontEndSettings(32, -3.0, 2.0), {"name": "cnn1d", "width": 32, "layers": 2}
    )
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_model(path, random_model(settings, seed=3), {"note": "random"})
    return path


@pytest.fixture(scope="module")
def results(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one call of the command on all three tasks left."""
    out = tmp_path_factory.mktemp("results")
    given = ["-u", "barlow_speech", "-k", str(encoder), "-p", str(out), "--device", "cpu"]
    given += ["-d", *(case.ours for case in CASES), "--data-root", str(data)]
    given += ["--runs", str(RUNS), "--steps", str(STEPS), "--lr", str(RATE), "--seed", str(SEED)]
    given += ["--set", f"eval_step={EVAL_STEP}"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setenv("BARLOW_SPEECH_CACHE", str(out / "cache"))
        run_downstream.run(given)
    return out


def record_of(case: Case, results: Path) -> dict[str, Any]:
    (path,) = results.glob(f"records/*/{case.ours}.*.json")
    return json.loads(path.read_text())


def top1_of(case: Case, seed: int, results: Path) -> float:
    (result,) = [one for one in read_results(results) if one.task == case.ours]
    assert result.seeds is not None
    return dict(zip(result.seeds, result.values))[seed]


# Against s3prl's Runner


@pytest.mark.parametrize(
    ("case", "fold"),
    [(case, fold) for case in CASES for fold in range(case.folds)],
    ids=lambda one: one.ours if isinstance(one, Case) else str(one),
)
def test_every_test_recording_gets_the_class_that_the_runner_gives_it(
    case: Case,
    fold: int,
    data: Path,
    results: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the same accuracy, best step on dev included."""
    record = record_of(case, results)
    corpus = corpus_of(case, data)
    examples = corpus.folds(tasks.read_task(case.ours))[fold]
    truth = [examples.classes[label] for label in examples.labels["test"]]
    for run in record["runs"]:
        predicted, steps = by_s3prl(
            case, fold, corpus, examples, run["seed"], data, encoder, tmp_path, monkeypatch
        )
        ours = run["folds"][fold]
        assert ours["step"] == steps[-1]
        assert [examples.classes[i] for i in unpack(ours["predicted"])] == predicted
        accuracy = np.mean([one == other for one, other in zip(predicted, truth)])
        assert len(set(predicted)) > 1
        if case.folds == 1:
            assert top1_of(case, run["seed"], results) == pytest.approx(accuracy, abs=1e-12)


def by_s3prl(
    case: Case,
    fold: int,
    corpus: Corpus,
    examples: Examples,
    seed: int,
    data: Path,
    encoder: Path,
    folder: Path,
    patch: pytest.MonkeyPatch,
) -> tuple[list[str], list[int]]:
    """What s3prl's Runner says of our test recordings, in our words, and its new bests on dev.

    Its own datasets must have, in every split, the recordings that ours has.
    """
    protocol = protocol_of(case)
    config = config_of(case, fold, data, protocol, patch)
    expdir = folder / str(seed)
    runner = s3prl_runner(case.theirs, config, encoder, expdir, torch.float32)
    expert = runner.downstream.model
    items = {}
    for split in SPLITS:
        dataset = getattr(expert, f"{split}_dataset")
        places = {path: place for place, path in enumerate(paths(dataset))}
        recordings = [corpus.recordings[row] for row in examples.rows[split]]
        assert {one.path.resolve() for one in recordings} == set(places)
        items[split] = [
            item(dataset, places[one.path.resolve()], round(one.start_s * SAMPLE_RATE), patch)
            for one in recordings
        ]
        for (wave, _, _), one in zip(items[split], recordings):
            ours = read_audio(one.path, one.start_s, one.end_s, one.gain_db)
            np.testing.assert_allclose(ours, wave, rtol=0, atol=1e-7)
        if (case.ours, split) == ("superb_sid", "train"):
            assert sum(one.end_s is not None for one in recordings) == 2
    # s3prl's numbers of our classes, from its own labels of our recordings.
    number = {
        examples.classes[label]: given[1]
        for label, given in zip(examples.labels["train"], items["train"])
    }
    outputs = [number[one] for one in examples.classes]
    with seeded(seed):
        layers = len(runner.featurizer.model.weights)
        width = runner.featurizer.model.output_dim
        head = Head(linear, linear.Settings(), layers, width, len(examples.classes))
    begin_with(runner, head, outputs)
    if case.ours == "superb_ks":
        # The exact proportions of s3prl's draw with replacement, every class as often as another.
        counts = Counter(label for _, label, _ in items["dev"])
        most = math.lcm(*counts.values())
        dev = [one for one in items["dev"] for _ in range(most // counts[one[1]])]
        theirs = expert.get_dataloader
        drawn = loader(dev, [range(len(dev))])
        expert.get_dataloader = lambda split: drawn if split == "dev" else theirs(split)
    labels_N = torch.from_numpy(examples.labels["train"])
    if protocol.sampling == "balanced":
        order = balanced_order(labels_N, protocol.batch, seed)
    else:
        order = batch_order(len(labels_N), protocol.batch, seed)
    train_on(runner, items["train"], taken(order, STEPS * protocol.accumulate))

    best = torch.load(expdir / "dev-best.ckpt", weights_only=False)
    runner.featurizer.model.load_state_dict(best["Featurizer"])
    expert.load_state_dict(best["Downstream"])
    runner.evaluate()
    stem = f"test_fold{fold + 1}" if case.theirs == "emotion" else "test"
    said = dict(line.rsplit(" ", 1) for line in (expdir / f"{stem}_predict.txt").open())
    ours = {theirs: one for one, theirs in case.classes.items()}
    tested = [corpus.recordings[row] for row in examples.rows["test"]]
    assert len(said) == len(tested)
    log = (expdir / "log.log").read_text().splitlines()
    steps = [int(line.split(" at step ")[1].split(":")[0]) for line in log if "New best" in line]
    return [ours[said[name_of(case, one.path)].strip()] for one in tested], steps


def protocol_of(case: Case) -> Protocol:
    changes = {"runs": RUNS, "seed": SEED, "steps": STEPS, "learning_rates": [RATE]}
    return read_protocol("superb", case.ours, [f"eval_step={EVAL_STEP}"], changes)


def corpus_of(case: Case, data: Path) -> Corpus:
    return read_corpus(tasks.read_task(case.ours).corpus, data)


def config_of(
    case: Case, fold: int, data: Path, protocol: Protocol, patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    datarc = {
        "speech_commands": [
            f"speech_commands_root={data / 'speech_commands_v0.01'}",
            f"speech_commands_test_root={data / 'speech_commands_test_set_v0.01'}",
        ],
        "emotion": [f"root={data / 'IEMOCAP_full_release'}", f"test_fold=fold{fold + 1}"],
        "voxceleb1": [f"file_path={data / 'VoxCeleb1'}"],
    }[case.theirs]
    changes = [f"downstream_expert.datarc.{one}" for one in (*datarc, "num_workers=0")]
    changes += [f"runner.total_steps={STEPS}", f"runner.eval_step={EVAL_STEP}"]
    changes += ["runner.eval_dataloaders=[dev]", f"optimizer.lr={RATE}"]
    if case.theirs == "voxceleb1":
        module = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
        # Its 1,251 is a constant; the tree has the first five speakers.
        five = property(lambda self: len(SPEAKERS), lambda self, value: None)
        patch.setattr(module.SpeakerClassifiDataset, "speaker_num", five, raising=False)
    return superb_config(case.theirs, changes, patch)


def paths(dataset: Any) -> list[Path]:
    """The files of one of s3prl's datasets, in its order."""
    if hasattr(dataset, "indices"):  # emotion: torch's Subset
        every = paths(dataset.dataset)
        return [every[i] for i in dataset.indices]
    if hasattr(dataset, "meta_data") and isinstance(dataset.meta_data, list):  # emotion
        return [(Path(dataset.data_dir) / one["path"]).resolve() for one in dataset.meta_data]
    listed = [one[1] for one in dataset.data] if hasattr(dataset, "data") else dataset.dataset
    return [Path(one).resolve() for one in listed]


def item(dataset: Any, place: int, start: int, patch: pytest.MonkeyPatch) -> Any:
    """An item of s3prl's dataset, which draws this start where it draws one."""
    drawn: list[tuple[int, int]] = []

    def randint(low: int, high: int) -> int:
        drawn.append((low, high))
        assert low <= start <= high
        return start

    with patch.context() as inner:
        commands = importlib.import_module("s3prl.downstream.speech_commands.dataset")
        speakers = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
        inner.setattr(commands, "randint", randint)
        inner.setattr(speakers, "random", SimpleNamespace(randint=randint))
        result = dataset[place]
    assert drawn or start == 0
    return result


def name_of(case: Case, path: Path) -> str:
    """What s3prl calls a recording."""
    if case.theirs == "speech_commands":
        return "-".join(path.parts[-2:])
    return path.stem if case.theirs == "emotion" else Path("-".join(path.parts[-3:])).stem


# What the command, the records and the manifests say


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.ours)
def test_a_record_says_what_was_fixed(case: Case, results: Path) -> None:
    record = record_of(case, results)
    assert record["facts"]["protocol"] == "superb"
    fixed = tasks.read_task(case.ours).fixed
    assert fixed and set(fixed) <= set(record["facts"]["notes"])
    assert len(record["runs"]) == RUNS and len(record["facts"]["folds"]) == case.folds
    page = html.unescape((results / "report.html").read_text())
    assert all(one in " ".join(page.split()) for one in fixed)


def test_emotion_is_the_mean_of_its_five_folds(results: Path) -> None:
    record = record_of(CASES[1], results)
    for run in record["runs"]:
        scores = [
            np.mean(unpack(truth) == unpack(fold["predicted"]))
            for truth, fold in zip(record["facts"]["truth"], run["folds"], strict=True)
        ]
        assert len(scores) == 5
        assert top1_of(CASES[1], run["seed"], results) == pytest.approx(np.mean(scores), abs=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.ours)
def test_the_numbers_are_those_of_s3prl_s_configuration(case: Case) -> None:
    theirs = read_yaml(configs.find("configuration", case.theirs))
    runner, expert = theirs["runner"], theirs["downstream_expert"]
    protocol = read_protocol("superb", case.ours)
    assert protocol.runs == 50
    assert protocol.optimiser == theirs["optimizer"]["torch_optim_name"].lower() == "adam"
    assert protocol.learning_rates == (theirs["optimizer"]["lr"],)
    assert protocol.steps == runner["total_steps"]
    assert protocol.eval_step == runner["eval_step"]
    assert protocol.clip == runner["gradient_clipping"]
    assert protocol.accumulate == runner["gradient_accumulate_steps"]
    datarc = expert["datarc"]
    assert protocol.batch == datarc.get("train_batch_size", datarc.get("batch_size"))
    assert protocol.head == {"name": "linear", "projector_dim": expert["modelrc"]["projector_dim"]}


def test_silence_is_as_much_of_every_noise_file_over_all_of_it(data: Path) -> None:
    corpus = corpus_of(CASES[0], data)
    splits = corpus.manifest.column("split_superb")
    found: dict[str, list[tuple[Recording, str]]] = {}
    for recording, split in zip(corpus.recordings, splits):
        if recording.path.parent.name == "_background_noise_":
            found.setdefault(recording.path.name, []).append((recording, split))
    assert [len(ones) for ones in found.values()] == [5, 5]
    for ones in found.values():
        assert Counter(split for _, split in ones) == {"train": 4, "dev": 1}
        length = soundfile.info(ones[0][0].path).frames
        spans = [[round(t * SAMPLE_RATE) for t in (one.start_s, one.end_s)] for one, _ in ones]  # type: ignore[operator]
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(end - start == SAMPLE_RATE for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert {one.gain_db for one in corpus.recordings} == {-3.0}


def test_one_crop_of_a_long_training_recording_at_a_place_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "VoxCeleb1"
    voice, lines = trees.Voice(), []
    for take, (number, seconds) in enumerate([(1, 8.0), (2, 9.0), (3, 9.0)] + [(1, 10.0)] * 4):
        name = f"id{10001 + take % 2}/video/{take:05d}.wav"
        voice.write(root / "wav" / name, seconds)
        lines.append(f"{number} {name}")
    trees.write_lines(root / "iden_split.txt", lines)
    manifests = []
    for out in ("one", "two"):
        prepare("voxceleb1", root, tmp_path / out, PARTIAL)
        manifests.append(read_manifest(tmp_path / out / "identification_superb.tsv"))
    assert manifests[0].columns["start_s"] == manifests[1].columns["start_s"]
    starts = []
    for one, split in zip(manifests[0].recordings, manifests[0].column("split_superb")):
        if split == "train" and one.path.stem != "00000":  # of 8 s
            assert one.end_s is not None and 0 <= one.start_s < one.end_s <= 10
            assert len(read_audio(one.path, one.start_s, one.end_s)) == CROP
            starts.append(one.start_s)
        else:
            assert (one.start_s, one.end_s) == (0, None)
    assert len(set(starts)) == 4


def test_without_its_test_set_there_is_no_keyword_spotting_of_superb_s(
    data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "speech_commands_v0.01"
    shutil.copytree(data / "speech_commands_v0.01", root)
    prepared = prepare("speech_commands_v1", root, tmp_path / "out", PARTIAL)
    assert "No card 'speech_commands_v1_superb'" in " ".join(prepared.notes)
    assert not list((tmp_path / "out").glob("*superb*"))


def test_check_audio_hears_a_file_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Although SUPERB's manifest has it again: quieter, or a part of it."""
    entry.run(["prepare", "voxceleb1", str(data / "VoxCeleb1"), "--partial", "--check-audio"])
    assert "audio       30 recordings" in capsys.readouterr().out
    root = data / "speech_commands_v0.01"
    entry.run(["prepare", "speech_commands_v1", str(root), "--partial", "--check-audio"])
    files = len(list(root.glob("*/*_nohash_*.wav"))) + 2 * len(WORDS)
    noise = 5 + 6 + 2 * 5  # seconds for our own task, and for SUPERB's
    assert f"audio       {files + noise} recordings" in capsys.readouterr().out


def test_all_means_our_four_tasks_and_s3prl_keeps_its_own() -> None:
    assert tasks.names() == ["emotion", "gender", "keyword_spotting", "speaker_id"]
    assert tasks.superb_names() == sorted(case.ours for case in CASES)
    register_downstream()
    downstream = importlib.import_module("s3prl.downstream")
    assert hasattr(downstream, "barlow_emotion") and not hasattr(downstream, "barlow_superb_er")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["superb_sid"], "give the folder that holds it by --data-root, or the card that"),
        (["superb_ks", "--corpus", "{tones}"], "does not serve the task 'superb_ks'"),
        (["all", "--corpus", "{ks}"], "only superb_ks; name it by -d"),
        (["superb"], "did you mean 'superb_"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    arguments: list[str], words: str, data: Path, tones: Path, tmp_path: Path
) -> None:
    ks = data / "speech_commands_v0.01" / "speech_commands_v1_superb.yaml"
    named = [one.format(tones=tones, ks=ks) for one in arguments]
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        run_downstream.run(["-u", "barlow_speech", "-p", str(tmp_path), "-d", *named])
    assert "\n" not in str(caught.value)


def test_a_protocol_that_is_named_is_taken(
    data: Path, encoder: Path, tones: Path, tmp_path: Path
) -> None:
    """And our tasks beside SUPERB's are trained by their own, each on its own corpus."""
    given = ["-u", "barlow_speech", "-k", str(encoder), "-p", str(tmp_path), "--device", "cpu"]
    given += ["--runs", "1", "--steps", "2", "--lr", "0.01"]
    ks = str(data / "speech_commands_v0.01" / "speech_commands_v1_superb.yaml")
    run_downstream.run([*given, "-d", "superb_ks", "keyword_spotting", "--corpus", ks, str(tones)])
    assert {(one.task, one.corpus, one.setup.protocol) for one in read_results(tmp_path)} == {
        ("superb_ks", "speech_commands_v1_superb", "superb"),
        ("keyword_spotting", "tones", "paper"),
    }
    given[given.index("-p") + 1] = str(tmp_path / "quick")
    run_downstream.run([*given, "-d", "superb_ks", "--corpus", ks, "--protocol", "quick"])
    (cell,) = read_results(tmp_path / "quick")
    assert cell.setup.protocol == "quick"


# The gain of a manifest


def test_gain_is_sox_s(tmp_path: Path) -> None:
    """Against the effects as s3prl's speech_commands applies them, and its clipping upwards."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.wav"
    soundfile.write(path, rng.uniform(-0.9, 0.9, (8000, 2)), SAMPLE_RATE)
    for gain_db in (-3.0, 0.0, 6.5):
        effects = [["channels", "1"], ["rate", "16000"], ["gain", str(gain_db)]]
        (theirs,), _ = apply_effects_file(path, effects)
        ours = read_audio(path, 0.1, 0.4, gain_db)
        np.testing.assert_allclose(ours, theirs[1600:6400], rtol=0, atol=1e-7)
    assert np.abs(ours).max() == 1


def test_a_manifest_may_have_a_gain_and_the_cache_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    file = tmp_path / "m.tsv"
    manifest = parse_manifest("path\tgain_db\na.wav\t-3\na.wav\t\na.wav\t0\n", file)
    assert [one.gain_db for one in manifest.recordings] == [-3, 0, 0]
    quiet, plain, zero = recording_keys(manifest.recordings, file)
    assert quiet != plain == zero == recording_keys([Recording(path)], file)[0]
    for gain in ("loud", "nan", "inf", "-500"):
        with pytest.raises(BarlowSpeechError, match=r"m\.tsv, line 2: .*gain_db"):
            parse_manifest(f"path\tgain_db\na.wav\t{gain}\n", file)
