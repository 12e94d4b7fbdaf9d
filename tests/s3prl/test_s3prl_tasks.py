"""s3prl's program with SUPERB's tasks and ours, from end to end on tiny corpora.

All experiments run in one process, which the first test that asks for one starts: the imports take
as long as the training. Each trains four steps, goes on to six from its checkpoint, and evaluates.
"""

from __future__ import annotations

import argparse
import collections
import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import superb_trees as trees
import torch

from barlow_speech import configs
from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl import ctc_corpora, superb
from barlow_speech.downstream.s3prl import program as s3prl_program
from barlow_speech.downstream.s3prl.registry import register_downstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.common.settings import read_yaml

EXPERT = "config.downstream_expert."
SHORT = {
    "config.runner.total_steps": 4,
    "config.runner.log_step": 2,
    "config.runner.eval_step": 4,
    "config.runner.save_step": 2,
    "config.runner.gradient_accumulate_steps": 1,
}
SMALL_RNN = {"project_dim": 16, "RNNs.dim": "[16,16]"}


def overrides(**sections: dict[str, Any]) -> str:
    """`-o` of s3prl: `datarc={"root": 1}` sets config.downstream_expert.datarc.root."""
    changes = dict(SHORT)
    for section, values in sections.items():
        changes.update({f"{EXPERT}{section}.{key}": value for key, value in values.items()})
    return ",,".join(f"{key}={value}" for key, value in changes.items())


def superb_commands(root: Path) -> dict[str, list[str]]:
    """The arguments of every SUPERB task, on a tiny corpus that is made below the root."""
    ks = trees.speech_commands(root / "speech_commands")
    vox = trees.voxceleb1(root / "VoxCeleb1")
    libri = trees.librispeech(root / "LibriSpeech")
    small = {"num_workers": 0, "train_batch_size": 4}

    def kaldi(folder: Path) -> dict[str, Any]:
        return {f"{one}_dir": folder / one for one in ("train", "dev", "test")} | {"num_workers": 0}

    mixed = kaldi(trees.mixtures(root / "Libri2Mix", ("mix_clean", "s1", "s2")))
    noisy = kaldi(trees.mixtures(root / "voicebank", ("noisy", "clean")))
    given: dict[str, dict[str, dict[str, Any]]] = {
        "speech_commands": {
            "datarc": {
                "speech_commands_root": ks / "speech_commands_v0.01",
                "speech_commands_test_root": ks / "speech_commands_test_set_v0.01",
                "num_workers": 0,
                "batch_size": 4,
            }
        },
        "emotion": {"datarc": {"root": trees.iemocap(root / "IEMOCAP"), **small}},
        "voxceleb1": {"datarc": {"file_path": vox, **small}},
        "fluent_commands": {
            "datarc": {
                **small,
                "file_path": trees.fluent_commands(root / "fluent"),
                "num_workers": 1,
            }
        },
        "sv_voxceleb1": {"datarc": {"file_path": vox, **small}},
        "ctc": {"corpus": {"path": libri, "num_workers": 0, "batch_size": 2}},
        "asr": {
            "datarc": {"libri_root": libri, "num_workers": 0, "batch_size": 2},
            "modelrc": SMALL_RNN,
        },
        "snips": {
            "corpus": {"path": trees.snips(root / "SNIPS"), "num_workers": 0, "batch_size": 2},
            "model": SMALL_RNN,
        },
        "diarization": {"loaderrc": kaldi(trees.diarization(root / "diarization"))},
        "separation_stft2": {"loaderrc": mixed, "modelrc": {"hidden_size": 16}},
        "enhancement_stft2": {"loaderrc": noisy, "modelrc": {"hidden_size": 16}},
        "speech_translation": {},
    }
    return {
        name: ["-d", name.replace("snips", "ctc"), "-o", overrides(**sections)]
        + (["-c", "snips"] if name == "snips" else [])
        for name, sections in given.items()
    }


# Packages that are not ours to require: SUPERB's other tasks run where they are installed.
NEEDS = {
    "diarization": ("h5py",),
    "quesst14_dtw": ("dtw", "lxml"),
    "separation_stft2": ("librosa", "h5py", "asteroid"),
    "enhancement_stft2": ("librosa", "h5py", "asteroid"),
    "speech_translation": ("sentencepiece", "sacrebleu", "fairseq"),
}
# Frames of 10 ms where a task wants them: enhancement (10 or 20), SpecAugment of slot filling.
FBANK = ("ctc", "snips", "enhancement_stft2", "separation_stft2", "speech_translation")
SPLIT = {"asr": "test-clean"}  # the name of the test split, where it is not "test"

# Runs commands of the form [name, arguments, …] in one process, each after the other whatever
# became of it, and prints what they printed or how they failed.
SCRIPT = """
import builtins, contextlib, io, json, multiprocessing, sys, traceback
import torch
from barlow_speech.downstream.s3prl import program as s3prl_program
from barlow_speech.upstream.common.errors import BarlowSpeechError

multiprocessing.set_start_method("forkserver")  # what Python 3.14 does by itself
def state():
    cudnn = torch.backends.cudnn.deterministic
    start = multiprocessing.get_start_method()
    return builtins.isinstance, torch.Tensor.cuda, sys.argv, cudnn, start
before = state()
answers = {}
for name, *commands in json.load(open(sys.argv[1])):
    printed = io.StringIO()
    answer = answers[name] = {"printed": [], "error": None, "traceback": None}
    for arguments in commands:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                s3prl_program.run(arguments)
            except BarlowSpeechError as error:
                answer["error"] = str(error)
            except BaseException:
                answer["traceback"] = traceback.format_exc()
        answer["printed"].append(out.getvalue())
        if answer["error"] or answer["traceback"]:
            break
answers["as it was"] = before == state()
json.dump(answers, open(sys.argv[2], "w"))
"""


def three(out: Path, upstream: list[str], arguments: list[str], test: str = "test") -> list[Any]:
    """Train, go on from the checkpoint, evaluate."""
    end = ["--device", "cpu"]
    more = ["-o", "config.runner.total_steps=6"]
    return [
        ["-m", "train", *upstream, *arguments, "-p", str(out), *end],
        ["-m", "train", "-e", str(out), *more, *end],
        ["-m", "evaluate", "-t", test, "-e", str(out), *end],
    ]


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, tones: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of the experiments and what each command answered."""
    root = tmp_path_factory.mktemp("s3prl")
    ours = ["-u", "barlow_speech_local", "-k", str(checkpoint)]
    fbank = ["-u", "fbank_no_cmvn"]
    commands: list[Any] = []
    for name, arguments in superb_commands(root / "data").items():
        upstream = fbank if name in FBANK else ours
        commands.append([name, *three(root / name, upstream, arguments, SPLIT.get(name, "test"))])
    quesst = overrides(datarc={"dataset_root": trees.quesst14(root / "quesst"), "num_workers": 0})
    searched = ["-d", "quesst14_dtw", "-o", quesst, "-p", str(root / "quesst14_dtw")]
    commands.append(
        ["quesst14_dtw", ["-m", "evaluate", "-t", "dev", *ours, *searched, "--device", "cpu"]]
    )
    # Ours, each on a bare manifest, and one on a card with names of its own for the columns.
    for name in task.names():
        arguments = ["-d", f"barlow_{name}", "-o", overrides(datarc={"corpus": tones})]
        commands.append([f"barlow_{name}", *three(root / f"barlow_{name}", ours, arguments)])
    card = root / "card.yaml"
    manifest = tones.read_text().replace("emotion", "mood", 1)
    (tones.parent / "moods.tsv").write_text(manifest.replace("\tsplit\n", "\tfold\n", 1))
    card.write_text(
        f"name: moods\nmanifest: {tones.parent / 'moods.tsv'}\n"
        "tasks:\n  emotion: {label: mood, split: fold}\n"
    )
    arguments = ["-d", "barlow_emotion", "-o", overrides(datarc={"corpus": card})]
    evaluated = three(root / "card", ours, arguments)
    evaluated[2][4:6] = ["-e", str(root / "card" / "dev-best.ckpt")]
    evaluated.append(["-m", "inference", "-t", str(tones.parent / "0-0-0-0.wav"), "-e",
                      str(root / "card"), "--device", "cpu"])  # fmt: skip
    commands.append(["card", *evaluated])
    # -a: the same command begins an experiment and goes on with it.
    again = ["-m", "train", "-a", *ours, "-d", "barlow_gender", "-p", str(root / "again")]
    short = overrides(datarc={"corpus": tones})
    longer = short.replace("total_steps=4", "total_steps=6")
    commands.append(["again", *([*again, "--device", "cpu", "-o", one] for one in (short, longer))])
    commands += refused(root, ours)
    (root / "commands.json").write_text(json.dumps(commands, default=str))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "BARLOW_SPEECH_CACHE": str(root / "cache"),
        "JOBLIB_MULTIPROCESSING": "0",  # s3prl would start twelve processes for twelve files
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, root / "commands.json", root / "answers.json"],
        cwd=root, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    yield root, json.loads((root / "answers.json").read_text())


def refused(root: Path, upstream: list[str]) -> list[Any]:
    """Commands that cannot be carried out, by the name of what is wrong."""

    def train(name: str, *arguments: str, up: list[str] = upstream) -> list[str]:
        return ["-m", "train", *up, "-p", str(root / "none"), "--device", "cpu", "-d", name,
                *arguments]  # fmt: skip

    data = root / "data"
    broken = root / "broken"
    shutil.copytree(data / "IEMOCAP", broken / "IEMOCAP")
    meta = stale_labels(broken / "IEMOCAP")
    shutil.copytree(data / "VoxCeleb1", broken / "VoxCeleb1")
    (broken / "VoxCeleb1" / "dev" / "wav" / "id10002" / "5r0dWxy17C8" / "00001.wav").unlink()
    shutil.copytree(data / "fluent", broken / "fluent")
    (broken / "fluent" / "wavs" / "speakers" / "spk0" / "train0.wav").unlink()
    (broken / "fluent" / "wavs" / "speakers" / "spk1" / "train1.wav").write_text("no audio" * 99)
    shutil.copytree(data / "LibriSpeech", broken / "LibriSpeech")
    lexicon = broken / "LibriSpeech" / superb.LEXICONS[0]
    lexicon.write_text(lexicon.read_text().replace("CAT", "DOG").replace("SAT", "SET"))
    shutil.copytree(data / "LibriSpeech", broken / "Libri")
    for path in (broken / "Libri").rglob("*.trans.txt"):
        path.unlink()
    mine = root / "mine.yaml"
    mine.write_text("runner: {}\ndownstream_expert: {datarc: {list: lists/of/mine.txt}}\n")
    commands = {f"no corpus: {name}": train(name) for name in superb.COMPLETIONS} | {
        "no corpus: speech_commands": train("speech_commands"),
        "no corpus: fluent_commands": train("fluent_commands"),
        "no recording: emotion": train(
            "emotion", "-o", overrides(datarc={"root": broken / "IEMOCAP", "meta_data": meta})
        ),
        "no recording: voxceleb1": train(
            "voxceleb1", "-o", overrides(datarc={"file_path": broken / "VoxCeleb1"})
        ),
        "no recording: fluent_commands": train(
            "fluent_commands",
            "-o", overrides(datarc={"file_path": broken / "fluent", "num_workers": 1}),
        ),
        "no word": train("ctc", "-o", overrides(corpus={"path": broken / "LibriSpeech"})),
        "no split": [
            "-m", "evaluate", "-t", "test-other", "-e", str(root / "asr"), "--device", "cpu",
        ],
        "no key": train("fluent_commands", "-c", str(mine)),
        "no upstream": train("emotion", up=["-u", "barlow_speach"]),
        "no checkpoint": train("barlow_emotion", up=["-u", "barlow_speech_local", "-k", "no.st"]),
        "no transcript": train("asr", "-o", overrides(datarc={"libri_root": broken / "Libri"})),
    }  # fmt: skip
    return [[name, command] for name, command in commands.items()]


def stale_labels(root: Path) -> Path:
    """Labels as s3prl's script leaves them, of a corpus that has lost a recording since."""
    lost = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    (root / lost).unlink()
    for session in ("Session1", "Session2"):
        for split in ("train", "test"):
            found = [{"path": lost, "label": "neu", "speaker": "Ses01F"}]
            text = json.dumps({"labels": superb.IEMOCAP_CLASSES, "meta_data": found})
            path = root / "meta_data" / session / f"{split}_meta_data.json"
            trees.write_lines(path, [text])
    return root / "meta_data"


def load(path: Path) -> dict[str, Any]:
    """A checkpoint of s3prl's, which holds the command line."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path)


def missing_packages(name: str) -> list[str]:
    return [one for one in NEEDS.get(name, ()) if importlib.util.find_spec(one) is None]


MUST_RUN = (
    "speech_commands", "emotion", "voxceleb1", "fluent_commands", "sv_voxceleb1", "ctc", "asr",
    "snips", *(f"barlow_{name}" for name in task.names()), "card", "again",
)  # fmt: skip


@pytest.mark.parametrize("name", MUST_RUN)
def test_it_trains_goes_on_and_evaluates(session: tuple[Path, dict[str, Any]], name: str) -> None:
    root, answers = session
    assert answers[name]["error"] is None and answers[name]["traceback"] is None
    saved = load(root / name / "states-6.ckpt")
    assert saved["Step"] == 6
    # The optimiser went on: its moments have seen all six steps, not the last two.
    steps = {int(one["step"]) for one in saved["Optimizer"]["state"].values()}
    assert steps == {6}
    weights = [one for one in saved["Downstream"].values() if one.dtype.is_floating_point]
    assert weights and all(torch.isfinite(one).all() for one in weights)


@pytest.mark.parametrize("name", NEEDS)
def test_other_tasks_run_or_say_what_they_lack(
    session: tuple[Path, dict[str, Any]], name: str
) -> None:
    root, answers = session
    missing = missing_packages(name)
    assert answers[name]["traceback"] is None
    if missing:
        # s3prl imports other packages of the same kind before: the sentence names one of them.
        assert f"s3prl's task '{name}' needs the package" in answers[name]["error"]
        assert "pip install" in answers[name]["error"]
    elif name == "quesst14_dtw":
        assert (root / name / "benchmark.stdlist.xml").read_text().count("<term ") == 4
    elif name != "speech_translation":  # fairseq needs an older Python
        assert answers[name]["error"] is None
        assert load(root / name / "states-6.ckpt")["Step"] == 6


def pairs(root: Path, name: str, stem: str, split: str = "test") -> dict[str, tuple[str, str]]:
    """(predicted, true) by the name of the recording, from the two files that s3prl writes."""
    suffix = "csv" if name == "fluent_commands" else "txt"
    separator = "," if suffix == "csv" else " "
    both = []
    for kind in ("predict", "truth"):
        path = root / name / f"{split}_{stem}{kind}.{suffix}"
        both.append(dict(one.split(separator, 1) for one in path.read_text().splitlines()))
    assert both[0].keys() == both[1].keys()
    return {key: (both[0][key], both[1][key]) for key in both[0]}


def last_value(answer: dict[str, Any], key: str) -> float:
    """What the evaluation printed last as "test KEY: VALUE"."""
    return float(re.findall(rf"{key}: ([-\d.e]+)", answer["printed"][-1])[-1])


@pytest.mark.parametrize(
    ("name", "stem"),
    [("speech_commands", ""), ("emotion", "fold1_"), ("voxceleb1", ""), ("fluent_commands", "")],
)
def test_accuracy_is_that_of_the_predictions(
    session: tuple[Path, dict[str, Any]], name: str, stem: str
) -> None:
    root, answers = session
    found = pairs(root, name, stem)
    accuracy = np.mean([predicted == true for predicted, true in found.values()])
    assert last_value(answers[name], "test acc") == pytest.approx(accuracy)
    truth = {key: true for key, (_, true) in found.items()}
    data = root / "data"
    if name == "speech_commands":
        folder = data / "speech_commands" / "speech_commands_test_set_v0.01"
        expected = {
            f"{one.parent.name}-{one.name}": one.parent.name for one in folder.rglob("*.wav")
        }
    elif name == "emotion":
        kept = [one.replace("exc", "hap") for one in trees.IEMOCAP_LABELS]
        expected = {
            f"Ses01{actor}_impro01_{actor}{number:03d}": label
            for actor in "FM"
            for number, label in enumerate(kept)
            if label in superb.IEMOCAP_CLASSES
        }
    elif name == "voxceleb1":
        lines = (data / "VoxCeleb1" / "iden_split.txt").read_text().split("\n")
        tested = [one.split()[1] for one in lines if one.startswith("3 ")]
        expected = {one.replace("/", "-").removesuffix(".wav"): one.split("/")[0] for one in tested}
    else:
        rows = csv.DictReader((data / "fluent" / "data" / "test_data.csv").open())
        expected = {
            Path(one["path"]).stem: ",".join(one[k] for k in ("action", "object", "location"))
            for one in rows
        }
    assert truth == expected


def edits(one: list[str], two: list[str]) -> int:
    """The Levenshtein distance of two sequences."""
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        row, above = [i], row
        for j, b in enumerate(two, 1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(
    ("name", "files", "key", "scale"),
    [
        ("ctc", "test-{}.ark", "test per", 1),
        ("asr", "test-clean-noLM-{}.ark", "test-clean wer", 100),
    ],
)
def test_error_rates_are_those_of_the_transcripts(
    session: tuple[Path, dict[str, Any]], name: str, files: str, key: str, scale: float
) -> None:
    root, answers = session
    texts = {}
    for kind in ("ref", "hyp"):
        lines = (root / name / files.format(kind)).read_text().splitlines()
        texts[kind] = {one.split(" ", 1)[0]: one.split(" ")[1:] for one in lines}
    libri = root / "data" / "LibriSpeech"
    (transcript,) = libri.glob("test-clean/*/*/*.trans.txt")
    for line in transcript.read_text().splitlines():
        recording, *words = line.split()
        phones = [one for word in words for one in trees.LEXICON[word].split()]
        assert texts["ref"][recording] == (phones if name == "ctc" else words)
    total = sum(map(len, texts["ref"].values()))
    # An empty transcript is written, and compared, as one empty word by one of the two tasks.
    wrong = sum(
        edits([one for one in texts["hyp"][k] if one or name == "ctc"], ref)
        for k, ref in texts["ref"].items()
    )
    assert last_value(answers[name], key) == pytest.approx(scale * wrong / total)


def test_verification_scores_every_trial(session: tuple[Path, dict[str, Any]]) -> None:
    root, answers = session
    trials = (root / "data" / "VoxCeleb1" / "veri_test.txt").read_text().splitlines()
    lines = (root / "sv_voxceleb1" / "test_predict.txt").read_text().splitlines()
    scores = np.array([float(one.split()[1]) for one in lines])
    same = np.array([one.startswith("1") for one in trials])
    assert len(scores) == len(trials) and (np.abs(scores) <= 1 + 1e-6).all()
    # The equal error rate lies where false acceptances overtake false rejections.
    accepted = np.array([(scores[~same] >= level).mean() for level in np.sort(scores)[::-1]])
    rejected = np.array([(scores[same] < level).mean() for level in np.sort(scores)[::-1]])
    crossing = np.argmax(accepted >= rejected)
    low = max(accepted[crossing - 1] if crossing else 0, 0)
    high = max(accepted[crossing], rejected[crossing])
    assert low - 1e-9 <= last_value(answers["sv_voxceleb1"], "test-EER") <= high + 1e-9


@pytest.mark.parametrize("name", [*(f"barlow_{name}" for name in task.names()), "card"])
def test_our_tasks_keep_the_best_on_dev_and_evaluate_on_test(
    session: tuple[Path, dict[str, Any]], name: str, tones: Path
) -> None:
    root, answers = session
    best = re.findall(r"New best on dev at step (\d+)", (root / name / "log.log").read_text())
    assert load(root / name / "dev-best.ckpt")["Step"] == int(best[-1]) == 4
    rows = list(csv.DictReader(tones.open(), delimiter="\t"))
    label = {"speaker_id": "speaker", "keyword_spotting": "keyword", "card": "emotion"}.get(
        name.removeprefix("barlow_"), name.removeprefix("barlow_")
    )
    split = "split_speaker_id" if name == "barlow_speaker_id" else "split_speaker_disjoint"
    expected = {one["path"]: one[label] for one in rows if one[split] == "test"}
    lines = (root / name / "test_predictions.tsv").read_text().splitlines()
    found = {Path(one.split("\t")[0]).name: one.split("\t")[1:] for one in lines}
    assert {key: true for key, (_, true) in found.items()} == expected
    accuracy = np.mean([predicted == true for predicted, true in found.values()])
    evaluated = answers[name]["printed"][2]
    assert float(evaluated.rpartition("test acc: ")[2]) == pytest.approx(accuracy)


def test_inference_names_the_class_of_one_recording(session: tuple[Path, dict[str, Any]]) -> None:
    root, answers = session
    name, predicted = (root / "card" / "inference.tsv").read_text().rstrip("\n").split("\t")
    assert name == "0-0-0-0" and predicted in ("calm", "excited")
    assert f"{name}: {predicted}" in answers["card"]["printed"][3]


REFUSALS = [
    *[
        (f"no corpus: {name}", ["path/to/", "does not exist", f"-o {EXPERT}"])
        for name in (*superb.COMPLETIONS, "speech_commands", "fluent_commands")
    ],
    ("no recording: emotion", ["Ses01F_impro01_F000.wav", f"below {EXPERT}datarc.root="]),
    ("no recording: voxceleb1", ["id10002/5r0dWxy17C8/00001.wav", "iden_split.txt lists"]),
    ("no recording: fluent_commands", ["'fluent_commands'", "spk"]),
    (
        "no word",
        ["2 words of the transcripts are not in", superb.LEXICONS[0], "CAT (", "SAT ("],
    ),
    ("no transcript", ["'asr' stopped: it needs `os.path.exists(path)`", "asr/dataset.py:"]),
    ("no split", ["'asr' stopped: 0 data found for test-other"]),
    ("no key", ["KeyError: 'modelrc'", f"{EXPERT}datarc.list=lists/of/mine.txt"]),
    ("no upstream", ["unknown upstream 'barlow_speach'; did you mean 'barlow_speech'"]),
    ("no checkpoint", ["checkpoint no.st does not exist"]),
]


@pytest.mark.parametrize(("name", "words"), REFUSALS)
def test_what_is_missing_is_one_sentence(
    session: tuple[Path, dict[str, Any]], name: str, words: list[str]
) -> None:
    _, answers = session
    assert answers[name]["traceback"] is None
    error = answers[name]["error"]
    assert error is not None and "\n" not in error
    for one in words:
        assert one in error


def test_the_process_is_left_as_it_was(session: tuple[Path, dict[str, Any]]) -> None:
    assert session[1]["as it was"] is True


def test_nothing_is_written_into_s3prl(session: tuple[Path, dict[str, Any]]) -> None:
    """s3prl keeps lists of the first VoxCeleb1 it sees in its own package: ours, in the cache."""
    root, _ = session
    spec = importlib.util.find_spec("s3prl")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "downstream"
    assert not (folder / "voxceleb1" / ".cache").exists()
    assert not (folder / "sv_voxceleb1" / ".wav_lengths").exists()
    cache = root / "cache" / "s3prl"
    assert sorted(one.stem for one in cache.glob("voxceleb1-*/*.pkl")) == ["dev", "test", "train"]
    assert len(list(cache.glob("sv_voxceleb1-*/.wav_lengths/*.pt"))) == 1


# --- what is wrong before s3prl begins --------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-d", "emotoin"], "unknown s3prl task 'emotoin'; did you mean 'emotion'"),
        (["-d", "barlow_gendr"], "did you mean 'barlow_gender'"),
        (["-d", "mosei"], "no configuration of its task 'mosei' here; give one with -c"),
        ([], "give one with -d"),
        (["-e", "none"], "-e none does not exist"),
        (["-e", "."], "has no checkpoint states-*.ckpt"),
        (["-d", "barlow_gender", "--device", "cuda:99"], "--device cuda:99 cannot be used"),
        (["-d", "barlow_gender", "--device", "cpu", "-u", "nonono"], "unknown upstream 'nonono'"),
        (
            ["-d", "barlow_gender", "-u", "barlow_speech@coarse_states"],
            "give the checkpoint by -k: -u barlow_speech -k coarse_states",
        ),
        (["-d", "ctc", "-c", "nosuch.yaml"], "-c nosuch.yaml does not exist; give a file, or one"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["-m", "train", "-u", "barlow_speech", *arguments]
    given += [] if "-e" in arguments else ["-p", "out"]
    assert run_command(s3prl_program.run, given) == 2
    errors = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tones: Path
) -> None:
    """As fairseq on a Python that is too new: installed, and its import fails."""
    register_downstream()
    (tmp_path / "h5py").mkdir()
    (tmp_path / "h5py" / "__init__.py").write_text("raise ValueError('mutable default')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "h5py", raising=False)
    given = ["-m", "train", "-u", "barlow_speech", "-d", "diarization", "--device", "cpu"]
    with pytest.raises(BarlowSpeechError, match="needs the package h5py, which cannot be imported"):
        s3prl_program.run([*given, "-p", str(tmp_path / "out")])


def test_a_package_of_the_extra_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_downstream()
    monkeypatch.setitem(sys.modules, "pandas", None)  # its import fails as if it were not there
    monkeypatch.delitem(sys.modules, "s3prl.downstream.fluent_commands.expert", raising=False)
    given = ["-m", "train", "-u", "barlow_speech", "-d", "fluent_commands", "--device", "cpu"]
    with pytest.raises(BarlowSpeechError) as raised:
        s3prl_program.run([*given, "-p", str(tmp_path / "out")])
    assert str(raised.value) == (
        "s3prl's task 'fluent_commands' needs the package pandas, which is not installed; "
        "run: pip install 'barlow-speech[superb]' (or: pip install pandas)"
    )


# --- the files that s3prl's archive lacks -----------------------------------------------------


def test_iemocap_labels_are_s3prls(tmp_path: Path) -> None:
    """Against s3prl's own script, which cannot read the files that a Mac leaves."""
    register_downstream()
    from s3prl.downstream.emotion.IEMOCAP_preprocess import main

    root = trees.iemocap(tmp_path / "IEMOCAP")
    ours = Path(superb.iemocap_labels(root))
    for path in root.rglob("._*"):
        path.unlink()
    main(str(root))
    for split in ("train", "test"):
        for session in ("Session1", "Session2", "Session3"):
            one, two = (
                json.loads((folder / session / f"{split}_meta_data.json").read_text())
                for folder in (ours, root / "meta_data")
            )
            assert one["labels"] == two["labels"]
            assert sorted(one["meta_data"], key=str) == sorted(two["meta_data"], key=str)


def test_lengths_of_librispeech(tmp_path: Path) -> None:
    root = trees.librispeech(tmp_path / "LibriSpeech")
    splits = ["train-clean-100", "dev-clean", "test-other"]
    folder = Path(superb.librispeech_lengths(root, splits))
    assert superb.librispeech_lengths(root, splits) == str(folder)
    for split in splits:
        rows = list(csv.DictReader((folder / f"{split}.csv").open()))
        lengths = [int(one["length"]) for one in rows]
        assert lengths == sorted(lengths, reverse=True)
        assert {one["file_path"] for one in rows} == {
            path.relative_to(root).as_posix() for path in (root / split).rglob("*.flac")
        }
        assert lengths == [soundfile.info(root / one["file_path"]).frames for one in rows]
    trees.Voice().write(root / "dev-clean" / "1" / "2" / "1-2-0003.flac")
    assert superb.librispeech_lengths(root, splits) != str(folder)


def test_a_file_that_is_given_is_left_alone_and_a_lost_one_is_made_again(tmp_path: Path) -> None:
    root = trees.librispeech(tmp_path / "LibriSpeech")
    datarc = {"libri_root": str(root), "train": ["train-clean-100"], "dict_path": "mine.dict"}
    config: dict[str, Any] = {"downstream_expert": {"datarc": datarc}}
    superb.complete("asr", config)
    first = dict(datarc)
    assert datarc["dict_path"] == "mine.dict"
    shutil.rmtree(str(datarc["bucket_file"]))
    superb.complete("asr", config)
    assert datarc == first and (Path(str(datarc["bucket_file"])) / "train-clean-100.csv").is_file()


class Words:
    """A tokenizer of s3prl's kind: 0 pads, 1 ends, 2 is unknown."""

    eos_idx, unk_idx, token_type = 1, 2, "word"

    def __init__(self, known: list[str]) -> None:
        self.numbers = {one: i for i, one in enumerate(known, 3)}

    def encode(self, text: str) -> list[int]:
        return [self.numbers.get(one, 2) for one in text.split()] + [1]


def phone_dataset(root: Path, bucket_size: int, phones: list[str]) -> Any:
    return ctc_corpora.LibriPhoneDataset(
        ["train-clean-100", "dev-clean"], Words(phones), bucket_size, path=str(root),
        lexicon=[str(root / one) for one in superb.LEXICONS], train=["ignored"], ratio=1.0,
    )  # fmt: skip


def test_phones_are_the_first_spelling_of_each_word(tmp_path: Path) -> None:
    root = trees.librispeech(tmp_path / "LibriSpeech")
    phones = sorted({one for spelling in trees.LEXICON.values() for one in spelling.split()})
    data = phone_dataset(root, 1, phones)
    assert len(data) == 8
    names = ["<pad>", "<eos>", "<unk>", *phones]
    lengths = []
    for path, tokens in (data[i] for i in range(len(data))):
        (transcript,) = path.parent.glob("*.trans.txt")
        (line,) = [one for one in transcript.read_text().splitlines() if one.startswith(path.stem)]
        spelling = " ".join(trees.LEXICON[word] for word in line.split()[1:])
        assert " ".join(names[one] for one in tokens[:-1]) == spelling and tokens[-1] == 1
        lengths.append(len(tokens))
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("size", [2, 3, 8, 20])
def test_buckets_are_neighbours_in_length(tmp_path: Path, size: int) -> None:
    root = trees.librispeech(tmp_path / "LibriSpeech")
    phones = [*superb.PHONES]
    one, bucketed = phone_dataset(root, 1, phones), phone_dataset(root, size, phones)
    alone = [one[i] for i in range(len(one))]
    for index in range(len(bucketed)):
        bucket = bucketed[index]
        assert len(bucket) == min(size, len(alone))
        first = alone.index(bucket[0])
        assert bucket == alone[first : first + len(bucket)]
        assert alone[index] in bucket


def test_an_unknown_phone_is_named(tmp_path: Path) -> None:
    root = trees.librispeech(tmp_path / "LibriSpeech")
    with pytest.raises(BarlowSpeechError, match=r"spells CAT as 'K AE1 T'.*vocab_file lacks"):
        phone_dataset(root, 1, [one for one in superb.PHONES if one != "AE1"])


def test_snips_takes_the_speakers_of_its_split(tmp_path: Path) -> None:
    root = trees.snips(tmp_path / "SNIPS")
    given = {"path": str(root), "train_speakers": ["Ivy"], "valid_speakers": ["Amy"]}
    words = Words([])
    words.token_type = "character-slot"
    train = ctc_corpora.SnipsDataset(["train"], words, 1, **given)
    names = [path.name for path, _ in train.examples]
    assert collections.Counter(one.split("-")[0] for one in names) == {"Ivy": 3}
    with pytest.raises(BarlowSpeechError, match="no recording there has a transcript"):
        ctc_corpora.SnipsDataset(["test"], words, 1, **given, test_speakers=["Nobody"])


def test_the_phones_are_those_of_cmudict() -> None:
    """39 phones, of which 15 vowels have three stresses, with silence and noise before them."""
    assert superb.PHONES[:2] == ["SIL", "SPN"] and superb.PHONES[2:] == sorted(superb.PHONES[2:])
    assert len(set(superb.PHONES)) == 2 + 24 + 3 * 15
    assert len({one.rstrip("012") for one in superb.PHONES[2:]}) == 39
    assert sorted(superb.CHARACTERS) == sorted("ABCDEFGHIJKLMNOPQRSTUVWXYZ'|")


def test_every_configuration_has_what_the_runner_reads() -> None:
    for name in superb.config_names():
        config = configs.find("configuration", name)
        tree = read_yaml(config)
        assert set(tree) <= {"runner", "optimizer", "scheduler", "specaug", "downstream_expert"}
        if name == "quesst14_dtw":  # nothing is trained
            continue
        assert set(tree["runner"]) == {
            "total_steps", "gradient_clipping", "gradient_accumulate_steps", "log_step",
            "eval_step", "save_step", "max_keep", "eval_dataloaders",
        }  # fmt: skip
        assert isinstance(tree["optimizer"]["lr"], float)


# --- our expert -------------------------------------------------------------------------------


@pytest.fixture
def expert(tones: Path, tmp_path: Path) -> Callable[..., Any]:
    """Our emotion expert on the tones."""
    register_downstream()
    from s3prl.downstream.barlow_emotion.expert import DownstreamExpert

    def make(**more: Any) -> Any:
        datarc = {"corpus": str(tones), "train_batch_size": 4, "eval_batch_size": 4}
        given = {"datarc": {**datarc, **more}, "modelrc": {"projector_dim": 8}}
        return DownstreamExpert(upstream_dim=5, downstream_expert=given, expdir=str(tmp_path))

    return make


def test_the_seed_decides_the_head(expert: Callable[..., Any]) -> None:
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(expert().head.projector.weight.detach())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_processes_share_the_training_set(expert: Callable[..., Any]) -> None:
    """Two processes see every training recording once between them; one evaluates everything."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    whole = {name for batch in expert().get_dataloader("train") for name in batch[2]}
    parts = []
    for rank in range(2):
        torch.distributed.init_process_group("fake", rank=rank, world_size=2, store=FakeStore())
        try:
            made = expert()
            parts.append([name for batch in made.get_dataloader("train") for name in batch[2]])
            assert sum(len(batch[2]) for batch in made.get_dataloader("test")) == 12
        finally:
            torch.distributed.destroy_process_group()
    assert not set(parts[0]) & set(parts[1]) and set(parts[0]) | set(parts[1]) == whole
    assert len(parts[0]) == len(parts[1]) == len(whole) / 2


def test_leakage_stops_it_unless_it_is_allowed(tmp_path: Path, expert: Callable[..., Any]) -> None:
    lines = ["path\tspeaker\temotion\tsplit"]
    for number, (emotion, split) in enumerate(
        (emotion, split) for emotion in ("calm", "excited") for split in ("train", "dev", "test")
    ):
        path = trees.Voice(number).write(tmp_path / f"{number}.wav")
        lines.append(f"{path.name}\tsomebody\t{emotion}\t{split}")
    manifest = trees.write_lines(tmp_path / "manifest.tsv", lines)
    with pytest.raises(BarlowSpeechError, match=r"speakers are in train and test.*allow_leakage"):
        expert(corpus=str(manifest))
    assert expert(corpus=str(manifest), allow_leakage=True).examples.classes == ["calm", "excited"]


def test_an_unknown_split_is_named(expert: Callable[..., Any]) -> None:
    with pytest.raises(BarlowSpeechError, match="unknown split 'tset'; did you mean 'test'"):
        expert().get_dataloader("tset")
