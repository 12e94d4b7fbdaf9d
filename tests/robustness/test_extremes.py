"""The ends of what may be asked: nothing to tell apart, one example, one run, five hundred.

Everything here must be defined: a number that is finite, or a refusal that says why.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from barlow_speech.benchmark import run_downstream
from barlow_speech.benchmark.evaluation.protocol import Run, RunPlan, Training
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Frames, Means
from barlow_speech.benchmark.features.extraction import features
from barlow_speech.benchmark.features.upstreams import Upstream, load_upstream
from barlow_speech.benchmark.statistics.metrics import METRICS, metrics
from barlow_speech.downstream import heads
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import read_manifest
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.pretraining.recipe import read_recipe
from barlow_speech.upstream.pretraining.run import pretrain
from barlow_speech.upstream.pretraining.trainer import ENCODER

LAYERS, WIDTH = 2, 4


def split_of(name: str, x_NLD: torch.Tensor, labels: list[int]) -> Split:
    """Utterances for a head of any input; those of frames have three equal frames."""
    labels_N = torch.tensor(labels)
    if heads.head_module(name).INPUT == "frames":
        frames = [one.expand(3, *one.shape) for one in x_NLD]
        return Split(Frames(frames, torch.device("cpu")), labels_N)
    if heads.head_module(name).INPUT == "mean_std":
        x_NLD = torch.cat([x_NLD, torch.zeros_like(x_NLD)], dim=2)
    return Split(Means(x_NLD), labels_N)


def trained(
    name: str, train: Split, judged: Split, classes: int, runs: int = 2, batch: int = 4,
    steps: int = 6, sampling: str = "shuffle",
) -> list[Run]:  # fmt: skip
    training = Training(steps, batch, eval_step=3, sampling=sampling)
    plans = [RunPlan(seed, seed, seed, seed) for seed in range(runs)]
    return train_runs({"name": name}, train, judged, judged, classes, training, plans)


def check(runs: list[Run], judged: Split, classes: int) -> None:
    """Every run has a class for every utterance, and finite numbers."""
    for run in runs:
        assert np.isfinite(run.dev) and 0 <= run.dev <= 1
        assert run.predicted.shape == judged.labels_N.shape
        assert run.predicted.min() >= 0 and run.predicted.max() < classes
        found = metrics(judged.labels_N.numpy(), run.predicted, classes)
        assert all(np.isfinite(found[one]) for one in METRICS)


@pytest.mark.parametrize("name", heads.names())
@pytest.mark.parametrize("value", [0.0, 1.0, -1e4, 1e-30])
def test_constant_features_tell_nothing_apart(name: str, value: float) -> None:
    labels = [0, 0, 0, 1, 1, 2] * 3
    split = split_of(name, torch.full((len(labels), LAYERS, WIDTH), value), labels)
    runs = trained(name, split, split, 3)
    check(runs, split, 3)
    for run in runs:
        assert len(set(run.predicted.tolist())) == 1


@pytest.mark.parametrize("name", heads.names())
def test_a_class_of_one_example_that_no_other_split_has(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    train = split_of(name, torch.randn(9, LAYERS, WIDTH, generator=generator), [0, 1] * 4 + [2])
    judged = split_of(name, torch.randn(4, LAYERS, WIDTH, generator=generator), [0, 1, 0, 0])
    check(trained(name, train, judged, 3), judged, 3)


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
@pytest.mark.parametrize("name", heads.names())
def test_fewer_recordings_than_a_batch(name: str, sampling: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x_NLD = torch.randn(3, LAYERS, WIDTH, generator=generator)
    split = split_of(name, x_NLD, [0, 1, 1])
    check(trained(name, split, split, 2, batch=32, sampling=sampling), split, 2)


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_ten_thousand_classes(sampling: str) -> None:
    classes = 10_000
    generator = torch.Generator().manual_seed(0)
    x_NLD = torch.randn(classes, LAYERS, WIDTH, generator=generator)
    split = split_of("linear", x_NLD, list(range(classes)))
    runs = trained("linear", split, split, classes, batch=64, steps=3, sampling=sampling)
    check(runs, split, classes)


def test_five_hundred_runs_are_those_of_one_at_a_time() -> None:
    generator = torch.Generator().manual_seed(0)
    x_NLD = torch.randn(40, LAYERS, WIDTH, generator=generator)
    split = split_of("linear", x_NLD, [0, 1, 2, 3] * 10)
    many = trained("linear", split, split, 4, runs=500)
    check(many, split, 4)
    assert len({one.predicted.tobytes() for one in many}) > 100  # none is another's
    training = Training(6, 4, eval_step=3)
    for seed in (0, 250, 499):
        plan = RunPlan(seed, seed, seed, seed)
        (alone,) = train_runs({"name": "linear"}, split, split, split, 4, training, [plan])
        assert alone == many[seed]
        assert (alone.predicted == many[seed].predicted).all()


@pytest.mark.parametrize("runs", [1, 500])
def test_a_table_of_one_run_and_of_five_hundred(
    runs: int, tones: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_downstream.run(
        ["-u", "barlow_speech", "fbank_no_cmvn", "-k", str(checkpoint), "-d", "emotion", "--json",
         "--corpus", str(tones), "-p", str(tmp_path), "--device", "cpu", "--steps", "4",
         "--runs", str(runs), "--lr", "0.01"]
    )  # fmt: skip
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # NaN, Infinity
    for cell in printed["cells"]:
        assert len(cell["values"]) == runs
        assert (cell["std"] is None) == (runs == 1)
    page = (tmp_path / "report.html").read_text()
    assert ">nan<" not in page.lower() and ">inf" not in page.lower()


def quiet_corpus(folder: Path, waves: list[np.ndarray]) -> Path:
    """These waveforms, all of them train, and a small recipe for them."""
    lines = ["path\tsplit"]
    for number, wave_N in enumerate(waves):
        soundfile.write(folder / f"{number}.wav", wave_N, SAMPLE_RATE)
        lines.append(f"{number}.wav\ttrain")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(
        "{steps: 4, batch: 8, crop_s: 0.25, memory: 16, precision: float32,"
        " data: {sources: [{manifest: manifest.tsv}]},"
        " model: {frontend: {n_mels: 16}, encoder: {name: cnn2d, channels: 4}},"
        " families: {main: {projector: {width: 16}}}}"
    )
    return folder / "recipe.yaml"


@pytest.mark.parametrize(
    "others",
    [np.zeros(SAMPLE_RATE), np.full(SAMPLE_RATE, 0.5), np.zeros(10), np.full(8000, 1e-5)],
    ids=["silent", "constant", "short", "faint"],
)
def test_pretraining_on_fewer_recordings_than_a_batch_most_of_them_silent(
    others: np.ndarray, tmp_path: Path
) -> None:
    noise_N = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    recipe = read_recipe(quiet_corpus(tmp_path, [noise_N, others, others]))
    encoder = pretrain(recipe, tmp_path / "run", data_root=tmp_path, device="cpu")
    tensors, _ = load_tensors(encoder)
    assert all(bool(torch.isfinite(one.double()).all()) for one in tensors.values())


def test_pretraining_on_silence_alone_is_refused(tmp_path: Path) -> None:
    recipe = read_recipe(quiet_corpus(tmp_path, [np.zeros(SAMPLE_RATE)] * 3))
    with pytest.raises(BarlowSpeechError, match="silent"):
        pretrain(recipe, tmp_path / "run", data_root=tmp_path, device="cpu")
    assert not (tmp_path / "run" / ENCODER).exists()


@pytest.mark.parametrize(("scale", "fits"), [(1.0, True), (1e9, False)])
def test_half_precision_that_overflows_is_refused_by_recording(
    scale: float, fits: bool, tones: Path, checkpoint: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An upstream may compute in float16; what it cannot hold must not become a feature."""
    upstream = load_upstream("barlow_speech", checkpoint, "cpu")
    outputs = Upstream.outputs

    def halved(self: Upstream, waves: list[torch.Tensor]) -> dict:
        given = outputs(self, waves)
        return {**given, "hidden_states": [(scale * x).half() for x in given["hidden_states"]]}

    monkeypatch.setattr(Upstream, "outputs", halved)
    recordings = read_manifest(tones).recordings[:3]
    if fits:
        found = features(upstream, recordings, tmp_path, tones)
        x_NLD = found.means(np.arange(3))
        assert x_NLD.dtype == torch.float32 and torch.isfinite(x_NLD).all()
        return
    with pytest.raises(BarlowSpeechError, match=r"not finite for .*\.wav"):
        features(upstream, recordings, tmp_path, tones)
    assert not list(tmp_path.rglob("*.safetensors"))
