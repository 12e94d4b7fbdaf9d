"""The command from end to end: cells, resumption, exactness and errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from barlow_speech.benchmark import run_downstream
from barlow_speech.benchmark.evaluation import trainers
from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.features import extraction as features
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.statistics.metrics import metrics
from barlow_speech.benchmark.statistics.predictions import unpack
from barlow_speech.downstream import heads
from barlow_speech.downstream import task as tasks
from barlow_speech.downstream.corpus import read_corpus
from barlow_speech.downstream.s3prl import program as s3prl_program
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.data.audio import SAMPLE_RATE, read_audio
from barlow_speech.upstream.model.checkpoint import load_model, save_model
from barlow_speech.upstream.model.speech_encoder import random_model
from barlow_speech.upstream.names import NAMES
from barlow_speech.upstream.third_party.compatibility import s3prl_hub

SHORT = ["--steps", "20", "--lr", "0.01", "--runs", "4", "--device", "cpu"]


@pytest.fixture
def command(
    checkpoint: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict]:
    """Run the command with --json and return what it printed."""

    def run(*more: str, out: str = "out", corpus: Path | None = tones) -> dict:
        given = ["-p", str(tmp_path / out), "--json", *SHORT]
        if set(more) & set(NAMES):  # others would not heed it, and that is refused
            given += ["-k", str(checkpoint)]
        given += ["--corpus", str(corpus)] if corpus else []
        capsys.readouterr()
        run_downstream.run([*given, *more])
        return json.loads(capsys.readouterr().out)

    return run


def test_three_upstreams_on_four_tasks(command: Callable[..., dict], tmp_path: Path) -> None:
    upstreams = ["barlow_speech", "barlow_speech_random", "fbank_no_cmvn"]
    cells = command("-u", *upstreams, "-d", "all")["cells"]
    assert {(c["upstream"], c["task"]) for c in cells} == {
        (u, t) for u in upstreams for t in tasks.names()
    }
    for cell in cells:
        assert cell["metric"] == "top1" and cell["corpus"] == "tones"
        values = np.array(cell["values"])
        assert len(values) == 4 and ((values >= 0) & (values <= 1)).all()
        assert cell["mean"] == pytest.approx(values.mean())
        assert cell["std"] == pytest.approx(values.std(ddof=1))
        assert cell["median"] == pytest.approx(np.median(values))
        assert cell["ci95"][0] <= cell["mean"] <= cell["ci95"][1]
    out = tmp_path / "out"
    assert len(list((out / "records").glob("*/*.json"))) == 12
    assert (out / "report.html").stat().st_size > 10_000
    assert len(list(out.glob("boxplot_*.png"))) == 4


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError("something was computed again")


def test_a_second_call_runs_nothing_again(
    command: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = command("-u", "barlow_speech", "-d", "all")
    with monkeypatch.context() as patch:
        patch.setattr(trainers, "train_runs", refuse)
        patch.setattr(features, "_extract", refuse)
        assert command("-u", "barlow_speech", "-d", "all") == first
        # Fewer runs are the first ones of those that are there.
        fewer = command("-u", "barlow_speech", "-d", "emotion", "--runs", "2")["cells"][0]
        full = next(cell for cell in first["cells"] if cell["task"] == "emotion")
        assert fewer["values"] == full["values"][:2]
        # Another metric of the same runs.
        other = command("-u", "barlow_speech", "-d", "emotion", "--metric", "uar")["cells"][0]
        assert other["metric"] == "uar" and len(other["values"]) == 4
        for change in (["--overwrite"], ["--seed", "5"], ["-l", "1"], ["--set", "clip=0"]):
            with pytest.raises(AssertionError, match="computed again"):
                command("-u", "barlow_speech", "-d", "emotion", *change)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(
    command: Callable[..., dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(trainers, "train_runs", refuse)
    monkeypatch.setattr(features, "_extract", refuse)
    with pytest.raises(BarlowSpeechError, match="cannot write"):
        command("-u", "barlow_speech", "-d", "emotion", "-p", str(tmp_path / "file"))


def seeds_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, list[int]]]:
    """Every training from here on: whether it was given test, and the seeds of its runs."""
    calls: list[tuple[bool, list[int]]] = []
    train = trainers.train_runs

    def watch(*arguments: object) -> object:
        calls.append((arguments[3] is not None, [plan.seed for plan in arguments[6]]))  # type: ignore[attr-defined]
        return train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainers, "train_runs", watch)
    return calls


def test_only_missing_runs_are_run(
    command: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = command("-u", "barlow_speech", "-d", "emotion", out="whole")
    command("-u", "barlow_speech", "-d", "emotion", "--runs", "1", out="grown")
    calls = seeds_of(monkeypatch)
    assert command("-u", "barlow_speech", "-d", "emotion", out="grown") == whole
    assert calls == [(True, [1338, 1339, 1340])]


def test_two_calls_in_fresh_folders_agree_to_the_last_digit(
    command: Callable[..., dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for name in ("one", "two"):
        monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path / f"cache-{name}"))
        given = ("-u", "barlow_speech_random", "fbank_no_cmvn", "-d", "emotion", "--seed", "7")
        results.append(command(*given, out=name))
    assert results[0] == results[1]


def test_a_damaged_record_is_named_and_made_again(
    command: Callable[..., dict], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = command("-u", "barlow_speech", "-d", "emotion")
    (record,) = (tmp_path / "out" / "records").glob("*/*.json")
    text = record.read_text()
    stored = json.loads(text)
    stored["runs"][0]["seed"] = 7
    for damaged in (text[:-100], json.dumps(stored), "[]"):
        record.write_text(damaged)
        caplog.clear()
        assert command("-u", "barlow_speech", "-d", "emotion") == first
        assert record.name in caplog.text and "damaged" in caplog.text


def test_a_record_says_what_a_reader_must_know(
    command: Callable[..., dict], tmp_path: Path
) -> None:
    printed = command("-u", "barlow_speech", "-d", "emotion", "--lr", "0.001", "0.01")["cells"][0]
    (path,) = (tmp_path / "out" / "records").glob("*/*.json")
    record = json.loads(path.read_text())
    facts, protocol = record["facts"], record["identity"]["protocol"]
    assert protocol["learning_rates"] == [0.001, 0.01]
    assert facts["learning_rate"]["chosen"] in (0.001, 0.01)
    assert set(facts["learning_rate"]["dev"]) == {"0.001", "0.01"}
    assert protocol["varies"] == ["init", "order"] and protocol["head"]["projector_dim"] == 256
    assert {"torch", "s3prl", "python"} <= set(facts["versions"])
    assert facts["cost"]["parameters"] > 0 and facts["protocol"] == "paper"
    # Every metric can be redone from the predictions.
    (truth,) = map(unpack, facts["truth"])
    assert len(truth) == facts["recordings"]["test"]
    for run, value in zip(record["runs"], printed["values"]):
        predicted = unpack(run["folds"][0]["predicted"])
        assert metrics(truth, predicted, len(facts["classes"]))["top1"] == value
        assert run["sources"] == {
            "init": run["seed"], "order": run["seed"], "train_resample": None, "pretrain_seed": 0,
        }  # fmt: skip
    (cell,) = read_results(tmp_path / "out")
    assert list(cell.values) == printed["values"]
    assert np.sum(cell.predictions.confusion) == 4 * len(truth)


def test_the_learning_rate_is_chosen_on_dev_with_seeds_of_its_own(
    command: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = seeds_of(monkeypatch)
    command("-u", "barlow_speech", "-d", "emotion", "--lr", "0.001", "0.01")
    (search_has_test, searched), (run_has_test, reported) = calls
    assert not search_has_test and run_has_test
    assert len(searched) == 2 * 3  # the whole grid in one pass
    assert not set(searched) & set(reported)


def test_pooled_features_are_s3prls(checkpoint: Path, tones: Path, tmp_path: Path) -> None:
    """Equal to the mean of what s3prl's Featurizer returns, one recording at a time."""
    s3prl_hub()
    from s3prl.upstream.interfaces import Featurizer

    corpus = read_corpus(str(tones))
    for name in ("barlow_speech", "fbank_no_cmvn"):
        upstream = load_upstream(name, checkpoint, "cpu")
        rows = np.arange(len(corpus.recordings))
        found = features.features(upstream, corpus.recordings, tmp_path, tones)
        mean_NLD = found.means(rows)
        featurizer = Featurizer(upstream.module, "hidden_states", "cpu")
        for row in rows[::17].tolist():
            wave = [torch.from_numpy(read_audio(corpus.recordings[row].path))]
            with torch.no_grad():
                (frames,) = featurizer(wave, upstream.module(wave))
            # The Featurizer starts with equal weights for all layers.
            mean_D = mean_NLD[row].mean(dim=0)
            torch.testing.assert_close(mean_D, frames.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_features_have_a_new_key_for_new_weights_or_recordings(
    checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tones"
    shutil.copytree(tones.parent, folder)
    manifest = folder / "manifest.tsv"

    def key(name: str, **options: int) -> str:
        upstream = load_upstream(name, checkpoint, "cpu", **options)  # type: ignore[arg-type]
        recordings = read_corpus(str(manifest)).recordings
        return features.features(upstream, recordings, tmp_path / "cache", manifest).key

    keys = [key("barlow_speech")]
    assert key("barlow_speech") == keys[0]
    keys += [key("barlow_speech_random", seed=seed) for seed in (0, 1)]
    first = read_corpus(str(manifest)).recordings[0].path
    wave, rate = soundfile.read(first)
    soundfile.write(first, wave[:-100], rate)
    keys.append(key("barlow_speech"))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("head", heads.names())
def test_every_head_gives_a_cell_and_says_what_it_is(
    command: Callable[..., dict], tmp_path: Path, head: str
) -> None:
    closed = not hasattr(heads.head_module(head), "parts")
    more = ["--set", f"head.name={head}", *(["varies=[train_resample]"] if closed else [])]
    (cell,) = command("-u", "barlow_speech", "-d", "gender", *more)["cells"]
    assert len(cell["values"]) == 4
    (path,) = (tmp_path / "out" / "records").glob("*/*.json")
    record = json.loads(path.read_text())
    assert record["facts"]["head"] == heads.head_module(head).NOTE
    assert record["identity"]["protocol"]["head"]["name"] == head


def test_what_is_judged_on_dev_does_not_depend_on_test(
    command: Callable[..., dict], tones: Path, tmp_path: Path
) -> None:
    given = ["-u", "barlow_speech", "-d", "gender", "-s", "embedding", "--protocol", "search"]
    given += ["--runs", "1"]
    (cell,) = command(*given)["cells"]
    (path,) = (tmp_path / "out" / "records").glob("*/*.json")
    record = json.loads(path.read_text())
    assert record["identity"]["protocol"]["judge"] == "dev"
    assert any("scores are of dev" in note for note in record["facts"]["notes"])
    (run,) = record["runs"]
    assert cell["values"] == [run["folds"][0]["dev"]]
    # Other labels on test, and fewer recordings there, change nothing.
    head, *lines = tones.read_text().splitlines()
    place, split = head.split("\t").index("gender"), head.split("\t").index("split")
    kept = []
    for at, line in enumerate(lines):
        columns = line.split("\t")
        if columns[split] == "test" and at % 3 == 0:
            continue
        if columns[split] == "test":
            columns[place] = "female" if columns[place] == "male" else "male"
        kept.append("\t".join(columns))
    other = tones.parent / "other_test.tsv"
    other.write_text("\n".join([head, *kept]) + "\n")
    (again,) = command(*given, out="other", corpus=other)["cells"]
    other.unlink()
    assert again["values"] == cell["values"]


def test_the_embedding_and_a_layer_can_be_judged_alone(
    command: Callable[..., dict], tmp_path: Path
) -> None:
    given = ("-u", "barlow_speech", "-d", "gender")
    values = [
        tuple(command(*given, *more)["cells"][0]["values"])
        for more in ([], ["-s", "embedding"], ["-l", "0"], ["-l", "-1"], ["-l", "4"])
    ]
    assert values[3] == values[4]  # the last of five
    cells = read_results(tmp_path / "out")
    assert {cell.setup.selection for cell in cells} == {
        "hidden_states", "embedding", "layer 0", "layer -1", "layer 4",
    }  # fmt: skip
    assert len({cell.setup.comparison for cell in cells}) == len(cells)
    with pytest.raises(BarlowSpeechError, match="there is no layer 9"):
        command(*given, "-l", "9")
    with pytest.raises(BarlowSpeechError, match="gives no"):
        command("-u", "fbank_no_cmvn", "-d", "gender", "-s", "embedding")


def test_several_pretrainings_are_one_upstream(
    command: Callable[..., dict], checkpoint: Path, tmp_path: Path
) -> None:
    """Each run has the checkpoint and the head that its levels say; both are told apart."""
    model = load_model(checkpoint)
    for seed in range(2):
        save_model(
            tmp_path / f"seeds/{seed}/encoder.safetensors", random_model(model.settings, seed), {}
        )
    pattern = f"barlow_speech@{tmp_path}/seeds/*/encoder.safetensors"
    crossed = ["--set", "varies=[pretrain_seed, init]", "levels={pretrain_seed: 2, init: 2}"]
    (cell,) = command("-u", pattern, "-d", "emotion", *crossed)["cells"]
    alone = [
        command("-u", f"barlow_speech@{tmp_path}/seeds/{seed}/encoder.safetensors", "-d",
                "emotion", "--set", "varies=[init]", "--runs", "2")["cells"][0]["values"]
        for seed in range(2)
    ]  # fmt: skip
    assert cell["values"] == alone[0] + alone[1]
    stored = next(c for c in read_results(tmp_path / "out") if "*" in c.upstream)
    assert [s["pretrain_seed"] for s in stored.sources] == [0, 0, 1, 1]
    (drawn,) = command("-u", "barlow_speech_random", "-d", "emotion", *crossed)["cells"]
    assert len(drawn["values"]) == 4
    for more, words in (
        (("-u", pattern, "-d", "emotion"), "is 2 pretrainings; choose a protocol"),
        (("-u", "barlow_speech", "-d", "emotion", *crossed), "give several as"),
        (("-u", f"barlow_speech@{tmp_path}/no*", "-d", "emotion", *crossed), "no file matches"),
    ):
        with pytest.raises(BarlowSpeechError, match=words):
            command(*more)


def test_folds_are_averaged_run_by_run(command: Callable[..., dict], tones: Path) -> None:
    """A card with two folds: a run's value is the mean of what its folds give alone."""
    folder = tones.parent
    values = {}
    for name, columns in {
        "both": "folds: [split, split_speaker_id]",
        "one": "split: split",
        "two": "split: split_speaker_id",
    }.items():
        card = folder / f"{name}.yaml"
        card.write_text(
            f"name: {name}\nmanifest: manifest.tsv\n"
            f"tasks: {{keyword_spotting: {{label: keyword, {columns}}}}}\n"
        )
        given = ("-u", "barlow_speech", "-d", "keyword_spotting", "--allow-leakage")
        values[name] = command(*given, corpus=card)["cells"][0]["values"]
        card.unlink()
    np.testing.assert_allclose(values["both"], np.add(values["one"], values["two"]) / 2)


def copy_with(tones: Path, tmp_path: Path, change: Callable[[Path, str], str]) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(tones.parent, folder)
    manifest = folder / "manifest.tsv"
    manifest.write_text(change(folder, manifest.read_text()))
    return manifest


def missing(folder: Path, text: str) -> str:
    (folder / "0-0-0-0.wav").unlink()
    return text


def empty(folder: Path, text: str) -> str:
    soundfile.write(folder / "0-0-0-0.wav", np.zeros(0), SAMPLE_RATE)
    return text


def unreadable(folder: Path, text: str) -> str:
    (folder / "0-0-0-0.wav").write_bytes(b"not audio" * 100)
    return text


def identical(folder: Path, text: str) -> str:
    shutil.copy(folder / "0-0-0-0.wav", folder / "5-0-0-0.wav")
    return text


def as_flac_with_another_label(folder: Path, text: str) -> str:
    wave, rate = soundfile.read(folder / "0-0-0-0.wav", dtype="int16")
    soundfile.write(folder / "copy.flac", wave, rate)
    return text.replace("1-1-0-0.wav", "copy.flac")


def silent_twice(folder: Path, text: str) -> str:
    for name in ("0-0-0-0.wav", "5-0-0-0.wav"):
        soundfile.write(folder / name, np.zeros(4000), 16_000)
    return text


def no_label(folder: Path, text: str) -> str:
    return text.replace("emotion", "mood", 1)


def one_class(folder: Path, text: str) -> str:
    return text.replace("excited", "calm")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (missing, "0-0-0-0.wav does not exist"),
        (empty, "0-0-0-0.wav has no sample"),
        (unreadable, "0-0-0-0.wav cannot be read"),
        (identical, r"1 recordings are in two splits: .*5-0-0-0.wav \(line \d+, test, 'calm'\) is "
         r"to the bit .*0-0-0-0.wav \(line 2, train, 'calm'\)"),
        (as_flac_with_another_label, r"1 recordings have two labels: .*copy.flac \(line 20, train, "
         r"'excited'\) is to the bit .*0-0-0-0.wav \(line 2, train, 'calm'\)"),
        (silent_twice, r"1 recordings are in two splits: .*5-0-0-0.wav .* is digital silence, as"),
        (no_label, "add the column 'emotion'"),
        (one_class, "one class only, 'calm'"),
    ],
)  # fmt: skip
def test_bad_corpora_are_one_sentence_and_leave_nothing(
    command: Callable[..., dict],
    tones: Path,
    tmp_path: Path,
    change: Callable[[Path, str], str],
    words: str,
) -> None:
    manifest = copy_with(tones, tmp_path, change)
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        command("-u", "barlow_speech", "-d", "emotion", corpus=manifest)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_leakage_that_is_allowed_is_written_down(
    command: Callable[..., dict], tones: Path, tmp_path: Path
) -> None:
    manifest = copy_with(tones, tmp_path, identical)
    command("-u", "barlow_speech", "-d", "emotion", "--allow-leakage", corpus=manifest)
    (record,) = (tmp_path / "out" / "records").glob("*/*.json")
    assert "to the bit" in json.loads(record.read_text())["facts"]["notes"][0]
    assert "to the bit" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-u", "barlow_speach", "-d", "emotion"], "did you mean 'barlow_speech'"),
        (["-u", "zzzzzzz", "-d", "emotion"], "is spelt like it; check the name"),
        (["-u", "no.pt", "-d", "emotion"], "'no.pt' is no name of an upstream, nor a file here"),
        (["-u", __file__, "-d", "emotion"], "is no name of an upstream; a checkpoint goes behind"),
        (["-u", "barlow_speech", "-d", "emotions"], "did you mean 'emotion'"),
        (["-u", "barlow_speech", "-d", "all", "-k", "no.safetensors"], "no.safetensors does not"),
        (["-u", "barlow_speech@no.safetensors", "-d", "all"], "no.safetensors does not exist"),
        (["-u", "barlow_speech_local", "-d", "all"], "give it with -k"),
        (["-u", "barlow_speech", "-d", "all", "--corpus", "no.tsv"], "no.tsv"),
        (["-u", "barlow_speech", "-d", "all", "--runs", "0"], "runs must be greater than 0"),
        (["-u", "barlow_speech", "-d", "all", "--lr", "-1"], "learning_rates.0 must"),
        (["-u", "barlow_speech", "-d", "all", "--steps", "-1"], "steps must be greater"),
        (["-u", "barlow_speech", "-d", "all", "--seed", "-1"], "seed must be greater"),
        (["-u", "barlow_speech", "-d", "all", "--protocol", "papr"], "did you mean 'paper'"),
        (["-u", "barlow_speech", "-d", "all", "--set", "stepps=3"], "did you mean 'steps'"),
        (["-u", "barlow_speech", "-d", "all", "--device", "cuda:99"], "--device cuda:99"),
        (["-u", "fbank", "-d", "all", "-k", "x.pt"], "-k is for barlow_speech"),
        (["-u", "barlow_speech", "-d", "all", "-s", "embedding", "-l", "1"], "-l is a layer of"),
        (["-u", "barlow_speech", "-d", "all", "--address", "x:1"], "add --executor ray"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tones: Path,
    tmp_path: Path,
) -> None:
    given = ["-p", str(tmp_path / "out"), *arguments]
    given += [] if "--corpus" in arguments else ["--corpus", str(tones)]
    assert run_command(run_downstream.run, given) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]
    assert "Traceback" not in printed.err and printed.out == ""
    assert not (tmp_path / "out").exists()


def test_the_installed_command_prints_json_alone(
    checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    """In a process of its own: no bar, warning or library reaches stdout."""
    script = Path(sys.executable).parent / "run_downstream.py"
    given = [
        "-u",
        "fbank_no_cmvn",
        "barlow_speech",
        "-d",
        "emotion",
        "--json",
        "-k",
        str(checkpoint),
    ]
    given += ["--corpus", str(tones), "-p", str(tmp_path / "out"), *SHORT]
    done = subprocess.run([script, *given], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["cells"]) == 2


@pytest.mark.parametrize("script", ["run_downstream.py", "barlow-speech"])
def test_a_torch_and_a_torchaudio_that_do_not_fit_are_one_sentence(
    script: str, tmp_path: Path
) -> None:
    """A torchaudio that raises on import as the real one does for another CUDA version."""
    (tmp_path / "torchaudio").mkdir()
    reason = "Detected that PyTorch and TorchAudio were compiled with different CUDA versions."
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise RuntimeError({reason!r})")
    given = ["demo"] if script == "barlow-speech" else ["-u", "barlow_speech", "-d", "all"]
    done = subprocess.run(
        [Path(sys.executable).parent / script, *given],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: torch ") and "torchaudio" in line and "pip install" in line


class Payload:
    """What a stranger's checkpoint may hold: a file is made as soon as it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return Path.touch, (self.made,)


def test_an_experiment_of_a_stranger_runs_no_code(tmp_path: Path) -> None:
    torch.save({"Args": Payload(tmp_path / "made")}, tmp_path / "states-1.ckpt")
    given = ["-m", "train", "-e", str(tmp_path), "--device", "cpu"]
    with pytest.raises(BarlowSpeechError, match="--trust-checkpoint"):
        s3prl_program.run(given)
    assert not (tmp_path / "made").exists()
    with pytest.raises(Exception):  # noqa: B017 - it is no experiment at all, but it was read
        s3prl_program.run([*given, "--trust-checkpoint"])
    assert (tmp_path / "made").exists()


def test_with_a_mode_it_is_s3prls_program(checkpoint: Path, tones: Path, tmp_path: Path) -> None:
    """s3prl's own Runner trains, resumes and evaluates one of our tasks on our upstream."""
    script = Path(sys.executable).parent / "run_downstream.py"
    out = tmp_path / "s3prl"
    changes = [
        f"config.downstream_expert.datarc.corpus={tones}",
        "config.runner.total_steps=6",
        "config.runner.eval_step=3",
        "config.runner.save_step=3",
        "config.runner.log_step=3",
    ]
    train = ["-m", "train", "-u", "barlow_speech_local", "-k", str(checkpoint)]
    train += ["-d", "barlow_emotion", "-p", str(out), "--device", "cpu", "-o", ",,".join(changes)]
    first = subprocess.run([script, *train], capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0, first.stderr[-2000:]
    assert (out / "states-6.ckpt").exists()
    more = ["-m", "train", "-e", str(out), "--device", "cpu", "-o", "config.runner.total_steps=9"]
    second = subprocess.run([script, *more], capture_output=True, text=True, cwd=tmp_path)
    assert second.returncode == 0, second.stderr[-2000:]
    assert (out / "states-9.ckpt").exists()
    evaluate = ["-m", "evaluate", "-t", "test", "-e", str(out), "--device", "cpu"]
    third = subprocess.run([script, *evaluate], capture_output=True, text=True, cwd=tmp_path)
    assert third.returncode == 0, third.stderr[-2000:]
    assert "test acc" in third.stdout
    assert len((out / "test_predictions.tsv").read_text().splitlines()) == 12
