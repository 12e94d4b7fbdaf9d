"""Encoders trained with their head: against frozen heads, autograd from waveforms, a killed job."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from barlow_speech.benchmark import run_downstream
from barlow_speech.benchmark.evaluation import evaluator
from barlow_speech.benchmark.evaluation.partial_runs import PartialRuns
from barlow_speech.benchmark.evaluation.protocol import (
    EncoderTraining,
    Run,
    RunPlan,
    Training,
    read_protocol,
)
from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.evaluation.training import end_to_end
from barlow_speech.benchmark.evaluation.training.batches import batch_order
from barlow_speech.benchmark.evaluation.training.end_to_end import EndToEndTrainer, Network, Start
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Frames, Inputs, Means
from barlow_speech.benchmark.evaluation.training.log_mels import LogMels, Speech
from barlow_speech.benchmark.features import cost, upstreams
from barlow_speech.benchmark.features.extraction import features
from barlow_speech.benchmark.features.kinds import Selection
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.reporting.leaderboard import leaderboard
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream import heads
from barlow_speech.downstream.corpus import SPLITS, read_corpus
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream import encoders
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import file_digest
from barlow_speech.upstream.data.audio import read_audio
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.model.checkpoint import load_model, save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, SpeechEncoder, random_model

CPU = torch.device("cpu")
CROPS = EncoderTraining(crop_s=0.25)
FROZEN = EncoderTraining(crop_s=0, rate=0, batch_norm="kept")
WHOLE = EncoderTraining(crop_s=0, batch_norm="kept")
LINEAR = {"name": "linear", "projector_dim": 8}
GRADIENT_HEADS = [name for name in heads.names() if hasattr(heads.head_module(name), "parts")]


@pytest.fixture(scope="session")
def checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with statistics of batches that fit its weights.

    With those of the other tests, drawn at random, most units are below zero for every input, and
    no gradient reaches the encoder.
    """
    model = random_model(load_model(checkpoint).settings, seed=3).train()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _ in range(30):
            model([0.1 * torch.randn(6000, generator=generator) for _ in range(4)])
    path = tmp_path_factory.mktemp("alive") / "encoder.safetensors"
    save_model(path, model, {"note": "random"})
    return path


def speech_of(manifest: Path, task: str) -> tuple[dict[str, Speech], int]:
    """The splits of a task of the tone corpus, and how many classes it has."""
    corpus = read_corpus(str(manifest))
    examples = corpus.examples(read_task(task))
    mels = LogMels(corpus.recordings, 16)
    speech = {split: mels.speech(examples.rows[split], examples.labels[split]) for split in SPLITS}
    return speech, len(examples.classes)


def fit(
    start: Start,
    manifest: Path,
    task: str,
    training: Training,
    encoder: EncoderTraining,
    plan: RunPlan,
    judged: bool = True,
) -> tuple[Run, list[float]]:
    """A run, and the loss of each of its steps."""
    speech, classes = speech_of(manifest, task)
    losses: list[float] = []
    trainer = EndToEndTrainer(
        start, speech, classes, training, encoder, CPU, PartialRuns(Path("unused")), None
    )
    run = trainer.train_run(plan, judged, on_loss=losses.append)
    return run, losses


def plan(seed: int, lr: float = 1e-2) -> RunPlan:
    return RunPlan(seed, seed, seed, None, lr)


def test_from_scratch_it_learns_the_tones(checkpoint: Path, tones: Path) -> None:
    """Which of three tones is heard, from speakers that are new, twice as often as by chance."""
    start = Start(load_model(checkpoint), {"name": "linear", "projector_dim": 16}, redraw=True)
    encoder = EncoderTraining(crop_s=0.3)
    for seed in (0, 1):
        run, losses = fit(
            start, tones, "keyword_spotting", Training(240, 16, 60), encoder, plan(seed)
        )
        speech, _ = speech_of(tones, "keyword_spotting")
        assert np.mean(run.predicted == speech["test"].labels_N.numpy()) > 0.8
        assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
        assert [step for step, _ in run.curve] == [60, 120, 180, 240]
        assert (run.step, run.dev) == max(run.curve, key=lambda look: (look[1], -look[0]))


@pytest.mark.parametrize(
    ("name", "accumulate"), [*((name, 1) for name in GRADIENT_HEADS), ("linear", 2)]
)
def test_a_frozen_encoder_gives_the_runs_of_heads_alone(
    checkpoint: Path, tones: Path, tmp_path: Path, name: str, accumulate: int
) -> None:
    """Same initial heads, rows, batches, losses, looks at dev and predictions as `train_runs`."""
    small = {"hidden": [8]} if name == "mlp" else {"projector_dim": 8}
    head = {"name": name, **small}
    training = Training(25, 7, 5, clip=0.2, accumulate=accumulate, label_fraction=0.5)
    upstream = load_upstream("barlow_speech", checkpoint, "cpu")
    corpus = read_corpus(str(tones))
    kind = heads.head_module(name).INPUT
    found = features(
        upstream, corpus.recordings, tmp_path, tones, "frames" if kind == "frames" else "pooled"
    )
    examples = corpus.examples(read_task("gender"))

    def inputs(rows: np.ndarray) -> Inputs:
        if kind == "frames":
            return Frames(found.frames(rows), CPU)
        return Means(found.means(rows, with_std=kind == "mean_std"))

    splits = [
        Split(inputs(examples.rows[split]), torch.from_numpy(examples.labels[split]))
        for split in SPLITS
    ]
    expected: list[torch.Tensor] = []
    (frozen,) = train_runs(head, *splits, 2, training, [plan(3)], on_loss=expected.append)
    start = Start(load_model(checkpoint), head)
    run, losses = fit(start, tones, "gender", training, FROZEN, plan(3))
    # Frames are kept in half precision.
    tolerance = 2e-3 if kind == "frames" else 1e-5
    np.testing.assert_allclose(losses, torch.cat(expected).numpy(), rtol=0, atol=tolerance)
    assert run == frozen and (run.predicted == frozen.predicted).all()


@pytest.mark.parametrize("selection", ["hidden_states", "embedding", 0, -1])
def test_a_step_is_that_of_autograd_from_waveforms(
    checkpoint: Path, tones: Path, selection: Selection | int
) -> None:
    """The s3prl upstream on waveforms, its frames cut by s3prl's rule, one recording at a time."""
    corpus = read_corpus(str(tones))
    examples = corpus.examples(read_task("emotion"))
    labels_N = torch.from_numpy(examples.labels["train"])
    waves = [
        torch.from_numpy(read_audio(corpus.recordings[row].path)) for row in examples.rows["train"]
    ]
    layer = selection if isinstance(selection, int) else None
    named: Selection = "hidden_states" if isinstance(selection, int) else selection
    start = Start(load_model(checkpoint), LINEAR, selection=named, layer=layer)
    encoder = EncoderTraining(crop_s=0, rate=0.5, batch_norm="kept")
    steps, batch, lr, clip = 10, 5, 1e-2, 0.3
    _, losses = fit(
        start, tones, "emotion", Training(steps, batch, steps, clip), encoder, plan(5, lr), False
    )

    expert = UpstreamExpert(checkpoint).eval()
    head = start.network(2, 5).head
    adam = torch.optim.Adam(
        [{"params": head.parameters(), "lr": lr}, {"params": expert.parameters(), "lr": 0.5 * lr}]
    )
    order = batch_order(len(waves), batch, 5)
    expected = []
    for _ in range(steps):
        rows = next(order)
        seen = []
        for row in rows:
            out = expert([waves[row]])
            states = out["hidden_states"]
            states = [states[selection]] if isinstance(selection, int) else states
            count = round(len(waves[row]) / expert.get_downsample_rates("hidden_states"))
            seen.append(
                out["embedding"]
                if selection == "embedding"
                else torch.stack([one[0, :count].mean(dim=0) for one in states])
            )
        loss = torch.nn.functional.cross_entropy(head(torch.stack(seen)), labels_N[rows])
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*head.parameters(), *expert.parameters()], clip)
        adam.step()
        expected.append(loss.item())
    frozen = EncoderTraining(crop_s=0, rate=0, batch_norm="kept")
    _, without = fit(
        start, tones, "emotion", Training(steps, batch, steps, clip), frozen, plan(5, lr), False
    )
    assert abs(without[-1] - losses[-1]) > 1e-3  # it makes a difference
    np.testing.assert_allclose(losses, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", encoders.names())
def test_every_encoder_is_trained_and_the_one_it_started_from_is_not(
    tones: Path, name: str
) -> None:
    """Dropout too draws from the run's seed; what a checkpoint holds stays as it was."""
    sizes = {"cnn2d": {"channels": 4}, "conformer": {"width": 16, "heads": 2, "layers": 1}}
    size = sizes.get(name, {"width": 16, "layers": 1})
    settings = ModelSettings(
        FrontEndSettings(16, -6.0, 4.0), {"name": name, "dropout": 0.2, **size}
    )
    model = random_model(settings, 0).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start = Start(model, LINEAR)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first, losses = fit(start, tones, "gender", Training(4, 8, 2), CROPS, plan(0))
    again, same = fit(start, tones, "gender", Training(4, 8, 2), CROPS, plan(0))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses == same and np.isfinite(losses).all()
    assert first == again and (first.predicted == again.predicted).all()
    _, other = fit(start, tones, "gender", Training(4, 8, 2), CROPS, plan(1))
    assert other != losses
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert not model.training


def test_what_is_kept_and_what_is_trained(
    checkpoint: Path, tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and statistics after a few steps, for every way to train an encoder."""
    model = load_model(checkpoint)
    made: list[Network] = []
    network = Start.network

    def remember(self: Start, classes: int, init: int) -> Network:
        made.append(network(self, classes, init))
        return made[-1]

    monkeypatch.setattr(Start, "network", remember)
    initial = dict(model.encoder.state_dict())
    for encoder, weights_move, statistics_move in (
        (CROPS, True, True),
        (EncoderTraining(0.25, 1.0, "kept"), True, False),
        (EncoderTraining(0.25, 0.0, "batch"), False, True),
        (FROZEN, False, False),
    ):
        fit(Start(model, LINEAR), tones, "gender", Training(3, 8, 3), encoder, plan(0), False)
        for key, value in made[-1].encoder.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue
            moved = not torch.equal(value, initial[key])
            assert moved == (statistics_move if ".running_" in f".{key}" else weights_move), key


def test_states_that_are_zero_have_a_finite_gradient(checkpoint: Path, tones: Path) -> None:
    """The standard deviation of what never moves, as behind a ReLU that is never active."""
    model = load_model(checkpoint)
    with torch.no_grad():
        last = model.encoder.second  # type: ignore[union-attr]
        last.bias.fill_(-100.0)  # type: ignore[union-attr, operator]
    start = Start(model, {"name": "mean_std", "projector_dim": 8})
    _, losses = fit(start, tones, "gender", Training(4, 8, 4), CROPS, plan(0), False)
    assert np.isfinite(losses).all()


def test_crops_lie_inside_their_recording_and_short_ones_repeat() -> None:
    long, short = torch.arange(50.0)[:, None], torch.arange(7.0)[:, None]
    speech = Speech([long, short], [50 * 160, 7 * 160], torch.tensor([0, 1]))
    settings = FrontEndSettings(1, mean=2.0, std=4.0)
    generator = torch.Generator().manual_seed(0)
    starts = set()
    for _ in range(400):
        batch = speech.crops([0, 1], settings, 20, generator)
        assert batch.lengths_B.tolist() == [20, 20] and batch.samples == (3200, 3200)
        values_BT = batch.frames_BTF[:, :, 0] * 4 + 2
        start = int(values_BT[0, 0].round())
        torch.testing.assert_close(values_BT[0], torch.arange(start, start + 20.0))
        torch.testing.assert_close(values_BT[1], torch.arange(20.0) % 7)
        starts.add(start)
    assert starts == set(range(31))  # the first and the last place are drawn too
    whole = speech.whole([0, 1], settings)
    assert whole.lengths_B.tolist() == [50, 7] and not whole.frames_BTF[1, 7:].any()
    other = speech.crops([0, 0], settings, 20, torch.Generator().manual_seed(1)).frames_BTF
    same = speech.crops([0, 0], settings, 20, torch.Generator().manual_seed(1)).frames_BTF
    assert torch.equal(other, same)


def test_log_mels_are_the_front_ends(checkpoint: Path, tones: Path) -> None:
    model: SpeechEncoder = load_model(checkpoint)
    corpus = read_corpus(str(tones))
    rows = np.array([5, 3, 5])
    speech = LogMels(corpus.recordings, 16).speech(rows, np.array([1, 0, 1]))
    batch = speech.whole([0, 1, 2], model.frontend.settings)
    for i, row in enumerate(rows):
        wave = torch.from_numpy(read_audio(corpus.recordings[row].path))
        expected_TF = model.frontend(wave[None])[0]
        assert batch.samples[i] == len(wave) and batch.lengths_B[i] == len(expected_TF)
        assert torch.equal(batch.frames_BTF[i, : len(expected_TF)], expected_TF)


def test_evaluation_does_not_depend_on_its_batches(
    checkpoint: Path, tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(load_model(checkpoint), LINEAR)
    given = (start, tones, "keyword_spotting", Training(30, 16, 10), CROPS, plan(0))
    together, _ = fit(*given)
    assert len(set(together.predicted.tolist())) > 1
    monkeypatch.setattr(end_to_end, "EVALUATION_FRAMES", 1)
    alone, _ = fit(*given)
    assert alone == together and (alone.predicted == together.predicted).all()


def test_from_scratch_each_run_has_an_encoder_of_its_own(checkpoint: Path) -> None:
    model = load_model(checkpoint)

    def weights(start: Start, init: int) -> torch.Tensor:
        return torch.nn.utils.parameters_to_vector(start.network(2, init).encoder.parameters())

    scratch, tuned = Start(model, LINEAR, redraw=True), Start(model, LINEAR)
    assert torch.equal(weights(scratch, 0), weights(scratch, 0))
    assert not torch.equal(weights(scratch, 0), weights(scratch, 1))
    assert torch.equal(weights(tuned, 0), weights(tuned, 1))
    expected = torch.nn.utils.parameters_to_vector(model.encoder.parameters())
    assert torch.equal(weights(tuned, 0), expected)


@pytest.fixture
def cells(
    checkpoint: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[TaskResult]]:
    """Make cells of the tone corpus as the command does with -f, without its page."""
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})

    def make(
        upstreams: Sequence[str],
        changes: Sequence[str] = (),
        tasks: Sequence[str] = ("gender",),
        out: str = "out",
        trained: bool = True,
        **job: Any,
    ) -> list[TaskResult]:
        short = ["runs=3", "steps=6", "eval_step=3", "batch=8", "learning_rates=[0.001, 0.01]"]
        short += ["encoder.crop_s=0.2"] if trained else []
        made = evaluator.Evaluator(
            evaluator.Settings(tmp_path / out, tmp_path / "cache", checkpoint=checkpoint)
        )
        return [
            made.run(
                evaluator.Job(
                    name,
                    task,
                    str(tones),
                    read_protocol("quick", task, [*short, *changes], train_encoder=trained),
                    **job,
                )
            )
            for task in tasks
            for name in upstreams
        ]

    return make


BOTH = ("barlow_speech", "barlow_speech_random")
TWO = ("gender", "emotion")


def runs_of(folder: Path) -> dict[str, list[Any]]:
    """The runs of every record of a results folder, with all that is kept of them."""
    return {
        path.name: json.loads(path.read_text())["runs"] for path in folder.glob("records/*/*.json")
    }


def test_a_killed_job_goes_on_where_it_was(
    cells: Callable[..., list[TaskResult]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the search of the learning rate, in the reported runs, in another cell: nothing twice."""
    whole = cells(BOTH, out="whole")
    made = 0
    train = EndToEndTrainer.train_run

    def up_to(budget: int) -> None:
        def counted(*given: Any) -> Run:
            nonlocal made
            if made >= budget:
                raise KeyboardInterrupt
            run = train(*given)
            made += 1
            return run

        monkeypatch.setattr(EndToEndTrainer, "train_run", counted)

    partial_runs = tmp_path / "killed" / "unfinished"
    in_a_cell = 2 * 3 + 3  # searched and reported
    for budget in (2, 7, in_a_cell + 1):
        up_to(budget)
        with pytest.raises(KeyboardInterrupt):
            cells(BOTH, out="killed")
        assert list(partial_runs.glob("*/*.json"))
    up_to(2 * in_a_cell)
    assert [cell.values for cell in cells(BOTH, out="killed")] == [cell.values for cell in whole]
    assert runs_of(tmp_path / "killed") == runs_of(tmp_path / "whole")
    assert made == 2 * in_a_cell and not partial_runs.exists()
    # What is in the records is not made again; more runs are added to them.
    up_to(2 * in_a_cell + 2)
    grown = cells(BOTH, ["runs=4"], out="killed")
    assert [cell.values[:3] for cell in grown] == [cell.values for cell in whole]
    assert made == 2 * in_a_cell + 2


def test_overwriting_takes_nothing_that_a_killed_job_left(
    checkpoint: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    short = ["runs=2", "steps=3", "learning_rates=[0.01]", "encoder.crop_s=0.2"]
    job = evaluator.Job(
        "barlow_speech",
        "gender",
        str(tones),
        read_protocol("quick", "gender", short, train_encoder=True),
    )
    train = EndToEndTrainer.train_run
    seeds: list[int] = []

    def once(*given: Any) -> Run:
        seeds.append(given[1].seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return train(*given)

    monkeypatch.setattr(EndToEndTrainer, "train_run", once)
    settings = evaluator.Settings(tmp_path / "out", tmp_path / "cache", checkpoint=checkpoint)
    with pytest.raises(KeyboardInterrupt):
        evaluator.Evaluator(settings).run(job)
    evaluator.Evaluator(dataclasses.replace(settings, overwrite=True)).run(job)
    assert seeds == [1337, 1338, 1337, 1338]


def test_a_run_does_not_depend_on_the_others(
    cells: Callable[..., list[TaskResult]], tmp_path: Path
) -> None:
    """Nor on its place: what is the first run of one call is the second of another."""
    changes = ["learning_rates=[0.01]", "steps=20", "eval_step=4"]
    # Another upstream is trained before, in the same process.
    cells(reversed(BOTH), [*changes, "seed=5"], ["emotion"])
    cells(["barlow_speech_random"], [*changes, "seed=6", "runs=2"], ["emotion"], out="other")
    runs = {
        out: json.loads(path.read_text())["runs"]
        for out in ("out", "other")
        for path in (tmp_path / out).glob("records/barlow_speech_random/*.json")
    }
    assert [run["seed"] for run in runs["out"]] == [5, 6, 7]
    assert [run["folds"] for run in runs["out"][1:]] == [run["folds"] for run in runs["other"]]
    assert len({str(run["folds"][0]["curve"]) for run in runs["out"]}) > 1


def test_a_damaged_run_is_named_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(3, 0.1 + 0.2, 20, ((10, 1 / 3), (20, 0.1 + 0.2)), np.array([2, 0, 1]))
    partial_runs = PartialRuns(tmp_path / "unfinished" / "cell")
    assert partial_runs.find({"seed": 3}) is None
    partial_runs.keep({"seed": 3}, run, 1.5)
    partial_runs.keep({"seed": 4}, run, 1.5)
    found = partial_runs.find({"seed": 3})
    assert found == run and (found.predicted == run.predicted).all()
    assert partial_runs.seconds == 1.5 and partial_runs.find({"seed": 5}) is None
    first, *_ = sorted(partial_runs.folder.iterdir())
    text = first.read_text()
    for damaged in (text[:-40], text.replace('"step": 20', '"step": 10'), "[]", ""):
        first.write_text(damaged)
        caplog.clear()
        assert [partial_runs.find({"seed": seed}) for seed in (3, 4)].count(None) == 1
        assert first.name in caplog.text and "corrupt" in caplog.text
    partial_runs.clear()
    assert not (tmp_path / "unfinished").exists()


def test_the_checkpoint_is_not_changed(
    cells: Callable[..., list[TaskResult]], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_digest(checkpoint)
    fingerprints = []
    load = upstreams.load_upstream

    def remember(*given: Any, **named: Any) -> Any:
        upstream = load(*given, **named)
        fingerprints.append((upstream, upstream.module.state_dict()["model.encoder.first.weight"]))
        return upstream

    monkeypatch.setattr(upstreams, "load_upstream", remember)
    cells(["barlow_speech"])
    assert file_digest(checkpoint) == before
    ((_, kept),) = fingerprints
    assert torch.equal(kept, load_model(checkpoint).encoder.state_dict()["first.weight"])


def test_records_say_that_the_encoder_was_trained_and_stand_beside_the_frozen_ones(
    cells: Callable[..., list[TaskResult]], tmp_path: Path
) -> None:
    frozen = cells(BOTH, tasks=TWO, trained=False)
    cells(BOTH, tasks=TWO)
    stored = read_results(tmp_path / "out")
    assert len(stored) == 8
    trained = [cell for cell in stored if "encoder trained" in cell.setup.protocol]
    assert len(trained) == 4
    for cell in trained:
        assert "with the encoder on random crops of 0.2 s" in cell.setup.head
        assert cell.setup.classes == 2 and len(cell.values) == 3
    records = [json.loads(p.read_text()) for p in (tmp_path / "out" / "records").glob("*/*.json")]
    described = [record["identity"]["protocol"].get("encoder") for record in records]
    how = {"crop_s": 0.2, "rate": 1.0, "batch_norm": "batch"}
    assert described.count(how) == described.count(None) == 4
    for record in records:
        assert set(record["facts"]["learning_rate"]["dev"]) == {"0.001", "0.01"}
        for run in record["runs"]:
            assert [step for step, _ in run["folds"][0]["curve"]] == [3, 6]
    boards = leaderboard(stored).boards
    assert len(boards) == 2 and all(len(board.rows) == 2 for board in boards)
    # Frozen results are those that they were: nothing of this changes their identity.
    assert cells(BOTH, tasks=TWO, trained=False) == frozen


def test_another_way_to_train_is_another_record(
    cells: Callable[..., list[TaskResult]], tmp_path: Path
) -> None:
    changes = ([], ["encoder.rate=0.1"], ["encoder.batch_norm=kept"], ["label_fraction=0.5"])
    jobs: tuple[dict[str, Any], ...] = ({"selection": "embedding"}, {"layer": 0})
    for change in changes:
        cells(["barlow_speech"], ["learning_rates=[0.01]", *change])
    for job in jobs:
        cells(["barlow_speech"], ["learning_rates=[0.01]"], **job)
    found = read_results(tmp_path / "out")
    assert len({cell.setup.comparison for cell in found}) == len(changes) + len(jobs)


def test_the_command_trains_with_the_letter_that_s3prl_has(
    checkpoint: Path,
    tones: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["-k", str(checkpoint), "--corpus", str(tones), "-p", str(tmp_path / "out"), "--json"]
    given += ["--device", "cpu", "--lr", "0.01", "--steps", "4", "--runs", "2"]
    given += ["--set", "encoder.crop_s=0.2", "head.projector_dim=8"]
    run_downstream.run(["-f", "-u", *BOTH, "-d", "gender", *given])
    printed = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["upstream"] for cell in printed] == list(BOTH)
    found = {cell.upstream: list(cell.values) for cell in read_results(tmp_path / "out")}
    assert found == {cell["upstream"]: cell["values"] for cell in printed}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "encoder trained" in page


def test_several_pretrainings_are_tuned_run_by_run(
    checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    settings = load_model(checkpoint).settings
    for seed in range(2):
        save_model(tmp_path / f"seeds/{seed}/encoder.safetensors", random_model(settings, seed), {})
    crossed = ["varies=[pretrain_seed, init]", "levels={pretrain_seed: 2, init: 2}", "runs=4",
               "learning_rates=[0.01]", "steps=6", "encoder.crop_s=0.2"]  # fmt: skip
    protocol = read_protocol("quick", "gender", crossed, train_encoder=True)
    made = evaluator.Evaluator(
        evaluator.Settings(tmp_path / "out", tmp_path / "cache", checkpoint=checkpoint)
    )
    values = [
        made.run(evaluator.Job(name, "gender", str(tones), protocol)).values
        for name in (
            f"barlow_speech@{tmp_path}/seeds/*/encoder.safetensors",
            # Its draws by pretrain_seed are these very weights, and are not drawn again by init.
            "barlow_speech_random",
        )
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-u", "fbank_no_cmvn", "-d", "gender"], "'fbank_no_cmvn' cannot be trained here"),
        (["-u", "barlow_speech", "hf:somewhere", "-d", "gender"], "'hf:somewhere' cannot be"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.crops=1"], "mean 'crop_s'"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.crop_s=0.01"], "at least 0.1"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.crop_s=-1"], "at least 0.1"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.crop_s=0"], "batch_norm=kept"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.rate=-1"], "rate must be"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder.batch_norm=no"], "f: batch"),
        (["-u", "barlow_speech", "-d", "gender", "--set", "encoder=3"], "must be a mapping"),
        (["-u", "barlow_speech", "-d", "gender", "--protocol", "probe"], "without gradients"),
        (["-u", "barlow_speech", "-d", "gender", "-l", "9"], "there is no layer 9"),
        (["-u", "barlow_speech", "-d", "gender", "-s", "embedding", "--set",
          "head.name=attentive"], "reads frames"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    arguments: list[str], words: str, tones: Path, tmp_path: Path
) -> None:
    given = ["-f", "-p", str(tmp_path / "out"), "--corpus", str(tones), "--device", "cpu"]
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        run_downstream.run([*given, *arguments])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_the_flag_a_protocol_has_no_key_for_an_encoder() -> None:
    with pytest.raises(BarlowSpeechError, match="unknown key 'encoder'"):
        read_protocol("quick", "gender", ["encoder.crop_s=1"])


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_run(
    checkpoint: Path, tones: Path
) -> None:
    model = load_model(checkpoint)
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(torch.inf)
    with pytest.raises(BarlowSpeechError, match="seed 4 is not finite"):
        fit(Start(model, LINEAR), tones, "gender", Training(3, 8, 3), CROPS, plan(4))
