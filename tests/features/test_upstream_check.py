"""The contract checks: every one of them can fail, and only for what it is about."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peer_checkpoints import hugging_face_folder
from torch import Tensor, nn

from barlow_speech.benchmark.entry import run
from barlow_speech.benchmark.features import upstream_check, upstreams
from barlow_speech.benchmark.features.hugging_face_families import measure, variants
from barlow_speech.benchmark.features.upstream_check import Subject, check, check_upstream, subject
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.third_party.registry import register_upstream

RATE = 160


class Good(nn.Module):
    """Frames of ten milliseconds through one linear layer; keeps every promise."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(RATE, 8, generator=generator))

    def get_downsample_rates(self, key: str) -> int:
        return RATE

    def frames(self, wavs: list[Tensor]) -> Tensor:
        """[B, T, RATE], T = ceil(longest / RATE)."""
        waves_BN = nn.utils.rnn.pad_sequence(list(wavs), batch_first=True)
        waves_BN = nn.functional.pad(waves_BN, (0, -waves_BN.shape[1] % RATE))
        return waves_BN.unflatten(1, (-1, RATE))

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        frames_BTD = self.frames(wavs) @ self.weight
        return {
            "hidden_states": [frames_BTD, frames_BTD.tanh()],
            "embedding": frames_BTD.sum(dim=1),
        }


class SeveralWidths(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        frames_BTD = super().forward(wavs)["hidden_states"][0]
        return {"hidden_states": [frames_BTD, frames_BTD[:, :, :4]]}


class TimeFirst(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        hidden = super().forward(wavs)["hidden_states"]
        return {"hidden_states": [state.transpose(0, 1) for state in hidden]}


class WrongRate(Good):
    """Says 163: within s3prl's tolerance for a second and a half."""

    def get_downsample_rates(self, key: str) -> int:
        return 163


class FarWrongRate(Good):
    def get_downsample_rates(self, key: str) -> int:
        return 2 * RATE


class TooShort(Good):
    """No padding: nothing left of 0.05 s but one frame of five."""

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        hidden = super().forward(wavs)["hidden_states"]
        return {"hidden_states": [state[:, :-4] for state in hidden]}


class HearsThePadding(Good):
    """Normalised over the time of the padded batch."""

    def frames(self, wavs: list[Tensor]) -> Tensor:
        frames_BTD = super().frames(wavs)
        return frames_BTD / (frames_BTD.square().mean(dim=(1, 2), keepdim=True).sqrt() + 0.01)


class HearsTheOthers(Good):
    """Normalised over the batch."""

    def frames(self, wavs: list[Tensor]) -> Tensor:
        frames_BTD = super().frames(wavs)
        return frames_BTD / (frames_BTD.square().mean(dim=(0, 1), keepdim=True).sqrt() + 0.01)


class EmbeddingHearsTheOthers(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        outputs = super().forward(wavs)
        embedding_BE = outputs["embedding"]
        return {**outputs, "embedding": embedding_BE - embedding_BE.mean(dim=0) / 2}


class Dropout(Good):
    """Left on in evaluation; its own generator, so that no global state moves."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def frames(self, wavs: list[Tensor]) -> Tensor:
        frames_BTD = super().frames(wavs)
        kept = torch.rand(frames_BTD.shape, generator=self.generator) > 0.1
        return frames_BTD * kept


class NoGrad(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        with torch.no_grad():
            return super().forward(wavs)


class SteepAtZero(Good):
    """The gradient of a square root at zero; fine in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(8))

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        hidden = super().forward(wavs)["hidden_states"]
        return {"hidden_states": [hidden[0] + self.offset.abs().sqrt()]}


class Detached(Good):
    """Its parameters take no part."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.ones(1))

    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        frames_BTD = self.frames(wavs) @ self.weight.detach()
        return {"hidden_states": [frames_BTD + 0 * self.other]}


class Half(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        return {"hidden_states": [super().forward(wavs)["hidden_states"][0].half()]}


class DrawsFromTorch(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        torch.rand(1)
        return super().forward(wavs)


class DrawsFromNumpy(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        np.random.rand()
        return super().forward(wavs)


class DrawsFromPython(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        random.random()
        return super().forward(wavs)


class SeedsInConstructor(Good):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)


class ScalesInPlace(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        for wave in wavs:
            wave /= wave.abs().max().clamp(min=0.1)
        return super().forward(wavs)


class NaNOnSilence(Good):
    def frames(self, wavs: list[Tensor]) -> Tensor:
        return super().frames([wave / wave.abs().max() for wave in wavs])


class NaNAtFullScale(Good):
    """A logarithm of what is left to full scale."""

    def frames(self, wavs: list[Tensor]) -> Tensor:
        return super().frames([(1 - wave.abs()).log() for wave in wavs])


class NaNOnShort(Good):
    """Needs a sixth frame."""

    def frames(self, wavs: list[Tensor]) -> Tensor:
        frames_BTD = super().frames(wavs)
        return frames_BTD if frames_BTD.shape[1] > 5 else frames_BTD * torch.nan


class NeedsAWindow(Good):
    """As Kaldi's features, of 25 ms."""

    def frames(self, wavs: list[Tensor]) -> Tensor:
        assert min(map(len, wavs)) >= 400, "choose a window size 400"
        return super().frames(wavs)


class Failing(Good):
    def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
        raise RuntimeError("out of\nmemory")


ALL = {function.__name__ for function, _ in upstream_check.CHECKS}
BROKEN: list[tuple[type[Good], set[str]]] = [
    (Good, set()),
    (SeveralWidths, {"shapes"}),
    (TimeFirst, {"shapes", "lengths", "lengths_for_s3prl_nn", "declared_rate",
                 "batch_independence", "batch_of_equal_lengths"}),
    (WrongRate, {"declared_rate"}),
    (FarWrongRate, {"declared_rate", "lengths", "lengths_for_s3prl_nn"}),
    (TooShort, {"lengths_for_s3prl_nn", "batch_independence"}),
    (HearsThePadding, {"batch_independence"}),
    (HearsTheOthers, {"batch_independence", "batch_of_equal_lengths"}),
    (EmbeddingHearsTheOthers, {"batch_independence", "batch_of_equal_lengths"}),
    (Dropout, {"determinism", "batch_independence", "batch_of_equal_lengths"}),
    (NoGrad, {"gradients"}),
    (SteepAtZero, {"gradients"}),
    (Detached, {"gradients"}),
    (Half, {"dtype"}),
    (DrawsFromTorch, {"random_state_in_forward"}),
    (DrawsFromNumpy, {"random_state_in_forward"}),
    (DrawsFromPython, {"random_state_in_forward"}),
    (SeedsInConstructor, {"random_state_in_constructor"}),
    (ScalesInPlace, {"input_untouched"}),
    (NaNOnSilence, {"silence"}),
    (NaNAtFullScale, {"clipping"}),
    (NaNOnShort, {"short_recording", "gradients"}),
    (Failing, ALL - {"random_state_in_constructor"}),
]  # fmt: skip


def findings(kind: type[nn.Module]) -> dict[str, upstream_check.Finding]:
    """By the name of the function."""
    module = kind().eval()
    rate = module.get_downsample_rates("hidden_states")  # type: ignore[operator]
    upstream = Upstream("toy", module, rate, "", batched=True)
    found = check_upstream(Subject(upstream, kind))
    assert len(found) == len(ALL)
    return {one.name.replace(" ", "_"): one for one in found}


@pytest.mark.parametrize(("kind", "expected"), BROKEN)
def test_each_fault_fails_its_checks_and_no_other(kind: type[Good], expected: set[str]) -> None:
    found = findings(kind)
    assert {name for name, one in found.items() if not one.passed} == expected, found


def test_what_is_tried_when_an_upstream_is_loaded_warns_of_nothing(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """s3prl's fbank takes a standard deviation over the one frame of the shortest recording."""
    upstreams.load_upstream("fbank", None, "cpu")
    assert not [str(one.message) for one in recwarn.list if one.category is UserWarning]


def test_recordings_shorter_than_a_window_are_padded() -> None:
    found = findings(NeedsAWindow)
    assert all(one.passed for one in found.values())
    assert "shorter than 400 samples" in found["short_recording"].detail
    module = NeedsAWindow().eval()
    bare = Upstream("toy", module, module.get_downsample_rates("hidden_states"), "", batched=True)
    assert upstreams.least_samples(bare) == 400
    padding = replace(bare, least=400)
    for samples in (1, 160, 399):
        wave = torch.full((samples,), 0.1)
        (layer_BTD, *_) = padding.layers([wave, torch.full((500,), 0.1)])
        alone_BTD = bare.layers([torch.cat([wave, torch.zeros(400 - samples)])])[0]
        frames = padding.frames(layer_BTD, 0, samples)
        torch.testing.assert_close(frames, bare.frames(alone_BTD, 0, samples))


@pytest.mark.parametrize("name", ["fbank", "fbank_no_cmvn", "mfcc", "mel", "linear", "spectrogram"])
def test_s3prls_own_features_of_short_recordings(name: str) -> None:
    upstream = upstreams.load_upstream(name, None, "cpu")
    # Two of them count frames to the last sample that is not zero.
    for samples in (1, 80, 160, 240, 384, 800):
        for layer_BTD in upstream.layers([0.1 * torch.randn(samples)]):
            frames_TD = upstream.frames(layer_BTD, 0, samples)
            assert len(frames_TD) >= 1 and frames_TD.isfinite().all()


def test_every_check_can_fail() -> None:
    """On an upstream with one fault, not only on one that raises."""
    failed = set().union(*(expected for kind, expected in BROKEN if kind is not Failing))
    assert failed == ALL


def test_findings_say_the_numbers() -> None:
    assert (
        findings(WrongRate)["declared_rate"].detail == "declared 163 samples a frame, found 160.0"
    )
    detail = findings(HearsThePadding)["batch_independence"].detail
    number = float(detail.split()[0])
    assert 1e-3 < number < 10 and "relative difference beside a longer" in detail
    assert findings(Failing)["shapes"].detail == "raises RuntimeError: out of memory"
    assert findings(Half)["dtype"].detail == "float16"


def test_the_random_state_is_put_back_and_the_module_left_as_it_was() -> None:
    class Normed(Good):
        """Batch norm, whose statistics a training step moves."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(8)

        def forward(self, wavs: list[Tensor]) -> dict[str, Any]:
            torch.rand(1)
            np.random.rand()
            random.random()
            frames_BTD = self.frames(wavs) @ self.weight
            return {"hidden_states": [self.norm(frames_BTD.mT).mT]}

    module = Normed().eval()
    weights = {name: one.clone() for name, one in module.state_dict().items()}
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    upstream_check.random_state_in_forward(
        Subject(Upstream("toy", module, RATE, "", batched=True), Normed)
    )
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    check_upstream(Subject(Upstream("toy", module, RATE, "", batched=True), Normed))
    assert all(torch.equal(one, weights[name]) for name, one in module.state_dict().items())
    assert not module.training and all(one.grad is None for one in module.parameters())


def test_running_one_by_one_does_not_hide_what_a_batch_does() -> None:
    upstream = Upstream("toy", HearsTheOthers().eval(), RATE, "", batched=False, alone=True)
    found = {one.name: one.passed for one in check_upstream(Subject(upstream, HearsTheOthers))}
    assert not found["batch of equal lengths"]


def test_a_check_is_added_by_writing_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_check, "CHECKS", list(upstream_check.CHECKS))

    @check(needed=True)
    def one_layer(subject: Subject) -> tuple[bool, str]:
        layers = len(subject.upstream.layers(subject.noise(1_600)))
        return layers == 1, f"{layers} layers"

    module = Good().eval()
    last = check_upstream(Subject(Upstream("toy", module, RATE, "", batched=True), Good))[-1]
    assert (last.name, last.needed, last.passed, last.detail) == (
        "one layer", True, False, "2 layers"
    )  # fmt: skip


# --- real upstreams and the command -----------------------------------------------------------


def failed(name: str, checkpoint: Path | None = None) -> dict[str, bool]:
    """The checks that an upstream fails, and whether the harness needs them."""
    tested = subject(name, checkpoint, "cpu")
    return {one.name: one.needed for one in check_upstream(tested) if not one.passed}


def test_ours_keeps_the_whole_contract(checkpoint: Path) -> None:
    assert failed("barlow_speech") == {}  # the packaged weights
    assert failed("barlow_speech", checkpoint) == {}
    assert failed("barlow_speech_random", checkpoint) == {}


@pytest.mark.parametrize(("kind", "norm"), variants())
def test_a_hugging_face_folder_keeps_the_whole_contract(
    kind: str, norm: str, tmp_path: Path
) -> None:
    assert failed(f"hf:{hugging_face_folder(kind, norm, tmp_path / 'model')}") == {}


def test_the_table_of_families_says_what_each_hears(capsys: pytest.CaptureFixture[str]) -> None:
    """What the mask hides, what it does not, and what no mask could."""
    hubert, base = measure("hubert", "layer"), measure("hubert", "group")
    assert hubert.padded > 0.01 and hubert.masked is not None and hubert.masked < 1e-5
    assert base.masked is not None and base.masked > 0.01
    for kind in ("sew", "data2vec-audio", "wav2vec2-conformer"):
        row = measure(kind, "" if kind == "data2vec-audio" else "layer")
        assert row.masked is not None and row.masked > 1e-3
        assert row.mates < 1e-5 < row.training
        assert (row.normed > 1e-3) == (kind == "wav2vec2-conformer")  # its batch norm
    assert measure("whisper", "").masked is None
    assert run_command(run, ["check-upstream"]) == 2
    assert "give one, or --families" in capsys.readouterr().err


def test_what_the_baselines_of_s3prl_miss() -> None:
    """Nothing that the harness needs; the padding is theirs (no frame for the last 15 ms)."""
    for name in ("fbank", "fbank_no_cmvn", "mfcc"):
        found = failed(name)
        assert not any(found.values())
        assert "batch independence" in found and "batch of equal lengths" not in found


@pytest.fixture()
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[nn.Module]], None]:
    """Puts a module on s3prl's hub under the name `toy`."""
    hub = register_upstream()
    return lambda kind: monkeypatch.setattr(hub, "toy", lambda: kind(), raising=False)


def test_the_command_says_pass_or_fail_and_exits_so(
    toy: Callable[[type[nn.Module]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    toy(Good)
    assert run_command(run, ["check-upstream", "toy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("toy: 160 samples a frame\n") and "FAIL" not in out
    assert out.endswith(f"all {len(ALL)} checks passed.\n")
    toy(Half)
    assert run_command(run, ["check-upstream", "toy"]) == 1
    out = capsys.readouterr().out
    assert "FAIL   dtype" in out and "PASS * shapes" in out
    assert out.endswith("1 of 15 checks failed, none of those that the harness needs (*).\n")
    toy(NaNOnSilence)
    assert run_command(run, ["check-upstream", "toy"]) == 1
    assert "FAIL * silence" in capsys.readouterr().out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_the_command_prints_json_alone(
    toy: Callable[[type[nn.Module]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    toy(WrongRate)
    assert run_command(run, ["check-upstream", "toy", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["upstream"] == "toy" and printed["rate"] == 163
    assert [one["name"] for one in printed["checks"] if not one["passed"]] == ["declared rate"]


def test_the_command_refuses_a_wrong_name_with_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["tou"], ["barlow_speech", "-k", "nowhere.safetensors"], ["hf:nowhere"]):
        assert run_command(run, ["check-upstream", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: ")
    with pytest.raises(BarlowSpeechError, match="--device"):
        run(["check-upstream", "fbank", "--device", "cuda:99"])
