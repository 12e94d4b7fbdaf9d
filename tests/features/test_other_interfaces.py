"""Upstreams by HEAR's and MTEB's interfaces: what they become, and how they are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from barlow_speech.benchmark.entry import run
from barlow_speech.benchmark.features.families import check_name, family_of
from barlow_speech.benchmark.features.upstream_check import check_upstream, subject
from barlow_speech.benchmark.features.upstreams import Upstream, build, load_upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.data.audio import MAX_SAMPLES

MODULE = """
import torch
class Model(torch.nn.Module):
    sample_rate, timestamp_embedding_size, scene_embedding_size = 22050, 3, 2
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
def load_model(path=""):
    model = Model()
    if path:
        model.load_state_dict(torch.load(path))
    return model
def get_timestamp_embeddings(audio, model):
    frames = audio.unfold(1, HOP, HOP).abs().mean(dim=2, keepdim=True) * model.weight
    times = 1000 * (torch.arange(frames.shape[1]) + 0.5) * HOP / model.sample_rate
    return frames, times.repeat(len(audio), 1)
def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(dim=1)[:, :2]
"""


def noise(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def load(name: str) -> Upstream:
    return load_upstream(name, None, "cpu")


@pytest.fixture()
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Writes a HEAR module of another kind each time, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def write(hop: int = 441, **changes: tuple[str, str]) -> str:
        text = MODULE.replace("HOP", str(hop))
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        made.append(f"hear_module_{tmp_path.name.replace('-', '_')}_{len(made)}")
        (tmp_path / f"{made[-1]}.py").write_text(text)
        return f"hear:{made[-1]}"

    yield write
    for name in made:
        sys.modules.pop(name, None)


def test_ours_through_hears_interface_is_ours() -> None:
    """Out by the adapter and in by the family: the same states and the same embedding."""
    through, own = load("hear:barlow_speech.upstream.adapters.hear"), load("barlow_speech")
    assert through.rate == own.rate and through.batched
    waves = noise(16_000, 9_000)
    one, other = through.outputs(waves), own.outputs(waves)
    torch.testing.assert_close(one["embedding"], other["embedding"], rtol=1e-4, atol=1e-5)
    for row, wave in enumerate(waves):
        frames = round(len(wave) / own.rate)
        torch.testing.assert_close(
            one["hidden_states"][0][row, :frames], other["hidden_states"][-1][row, :frames],
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_a_module_of_another_rate_keeps_the_contract(module: Callable[..., str]) -> None:
    """Its hop, 20 ms of 22.05 kHz, is 320 samples of 16 kHz; there is no gradient to miss."""
    name = module()
    failed = [one.name for one in check_upstream(subject(name, None, "cpu")) if not one.passed]
    assert failed == []
    upstream = load(name)
    assert upstream.rate == 320
    loud = torch.cat([torch.zeros(16_000), 0.5 * torch.ones(16_000)])
    (states_BTD,) = upstream.layers([loud])
    assert states_BTD.shape == (1, 100, 3)
    assert float(states_BTD[0, :48].abs().max()) < 0.01 < 0.49 < float(states_BTD[0, 52:98].min())


def test_a_hop_that_is_no_whole_number_of_samples_does_not_drift(
    module: Callable[..., str],
) -> None:
    upstream = load(module(hop=500))  # 22.68 ms, 362.8 samples of 16 kHz
    assert upstream.rate == 363
    loud = torch.cat([torch.zeros(160_000), 0.5 * torch.ones(16_000)])
    (states_BTD,) = upstream.layers([loud])
    assert states_BTD.shape[1] == -(-len(loud) // 363)
    first = int((states_BTD[0, :, 0] > 0.25).nonzero()[0])
    assert abs(first * 363 - 160_000) <= 2 * 363


def test_weights_and_code_have_a_fingerprint(module: Callable[..., str], tmp_path: Path) -> None:
    name = module()
    weights = tmp_path / "weights.pt"
    torch.save({"weight": torch.tensor([1.0, 2.0, 3.0])}, weights)
    plain, own = load(name), load(f"{name}@{weights}")
    (wave,) = noise(8_000)
    ratio = own.layers([wave])[0] / plain.layers([wave])[0]
    torch.testing.assert_close(ratio, torch.tensor([1.0, 2.0, 3.0]).expand_as(ratio))
    other = load(module(other=("abs()", "square()")))
    assert len({plain.fingerprint, own.fingerprint, other.fingerprint}) == 3
    assert load(name).fingerprint == plain.fingerprint
    weights.write_bytes(b"no")
    with pytest.raises(BarlowSpeechError, match=r"weights\.pt holds more than weights"):
        load(f"{name}@{weights}")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def get_scene_embeddings", "def scenes", "expected a function get_scene_embeddings"),
        (
            "scene_embedding_size = 22050, 3, 2",
            "other = 22050, 3, 2",
            "scene_embedding_size, found",
        ),
        ("22050, 3, 2", "22050, 4, 2", r"shape \[2, 50, 4\], found \[2, 50, 3\]"),
        ("22050, 3, 2", "22050, 3, 1", r"scene embeddings of shape \[2, 1\], found \[2, 2\]"),
        ("22050, 3, 2", "22050.0, 3, 2", "whole number as its model's sample_rate, found 22050.0"),
        ("times = 1000 *", "times =", r"increase over 1 s, in milliseconds, found \[0\.01"),
        ("times.repeat", "times.flip(0).repeat", r"timestamps that increase over 1 s.*found \[990"),
        ("times.repeat", "times[torch.arange(50) * 3 % 50].repeat", "timestamps that increase"),
        ("times = 1000 *", "times = float('nan') *", r"timestamps that increase.*\[nan, nan"),
        ("times.repeat(len(audio), 1)", "times", r"timestamps of shape \[2, T\], found \[50\]"),
        ("(len(audio), 1)", "(len(audio), 1) + audio[:, :1]", "the same timestamps for all"),
        ("return frames,", "return frames.transpose(1, 2),", r"\[2, 50, 3\], found \[2, 3, 50\]"),
        ("dim=1)[:, :2]", "dim=1)[:, :2].numpy(force=True)", "real numbers, found ndarray"),
        ("return frames,", "return frames + 1j,", "real numbers, found torch.complex64"),
        ("* model.weight", "* model.weight.log() / 0", "expected finite embeddings"),
        ("dim=1)[:, :2]", "dim=1)[:, :0]", r"shape \[2, 2\], found \[2, 0\]"),
        ("    return get_timestamp", "    get_timestamp", "found NoneType"),
        ("import torch\n", "import torch; raise SystemExit(3)\n", "it ends the program, with 3"),
        (
            "    model = Model()",
            "    exit(3)",
            "cannot load its model.*it ends the program, with 3",
        ),
        (
            "return model\n",
            "return 5\n",
            "expected a torch.nn.Module of load_model, found one of int",
        ),
        ("audio.unfold", "audio.unfoldd", "fails on 2 recordings of 1 s .AttributeError"),
        ("import torch\n", "import torch, no_such_package\n", "pip install no_such_package"),
    ],
)
def test_a_module_that_breaks_the_contract_is_one_sentence(
    old: str, new: str, words: str, module: Callable[..., str]
) -> None:
    name = module(change=(old, new))
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        load(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["import torch\n", "    model = Model()\n", "    frames ="])
def test_code_of_others_has_no_network_no_stdout_and_changes_no_default(
    place: str, module: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands: on import, in loading, in each call."""
    indent = place[: len(place) - len(place.lstrip())]
    asks = f"{indent}import socket; socket.create_connection(('127.0.0.1', 9))\n{place}"
    with pytest.raises(BarlowSpeechError, match=r"network is not to be used.*add --download"):
        load(module(change=(place, asks)))
    prints = f"{indent}import torch; print('said'); torch.set_default_dtype(torch.float64)\n"
    prints += f"{indent}torch.set_grad_enabled(False)\n"
    upstream = load(module(change=(place, prints + place)))
    (states_BTD,) = upstream.layers(noise(8_000))
    said = capsys.readouterr()
    assert "said" in said.err and said.out == "" and states_BTD.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_a_module_may_change_what_it_is_given_and_must_hear_all_of_it(
    module: Callable[..., str],
) -> None:
    plain = load(module())
    changed = load(
        module(change=("    frames =", "    audio = audio.mul_(1); audio *= 1\n    frames ="))
    )
    waves = noise(16_000)
    assert torch.equal(plain.outputs(waves)["embedding"], changed.outputs(waves)["embedding"])
    cut = load(module(change=("    frames =", "    audio = audio[:, :22050]\n    frames =")))
    with pytest.raises(BarlowSpeechError, match="timestamps that increase over 4 s"):
        cut.layers(noise(64_000))


def test_the_code_of_a_package_is_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a module inside a package, too: what it imports is beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number, text in enumerate(("one = 1", "one = 1.0")):
        package = f"hear_package_{tmp_path.name.replace('-', '_')}_{number}"
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "layers.py").write_text(text)
        (folder / "api.py").write_text(MODULE.replace("HOP", "441") + "from . import layers\n")
        found.append(load(f"hear:{package}.api").fingerprint)
        code = family_of("hear:").identity("hear:x", load(f"hear:{package}.api").module, "")[3:]
        assert len(code) == 3
    assert found[0] != found[1]


def test_what_is_not_there_is_refused_before_anything_is_loaded(
    module: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in {
        "hear:no_such_module": "no module 'no_such_module'; pip install",
        "hear:": "no module ''",
        f"{module()}@nowhere.pt": "nowhere.pt of hear:",
    }.items():
        with pytest.raises(BarlowSpeechError, match=words):
            check_name(name, None)
        assert run_command(run, ["check-upstream", name]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_hearbaseline_is_an_upstream() -> None:
    """The real one, of 2021; it does not run with a librosa of today."""
    pytest.importorskip("hearbaseline")
    try:
        upstream = load("hear:hearbaseline")
    except BarlowSpeechError as error:
        assert "hear:hearbaseline" in str(error)
        pytest.skip(str(error))
    assert upstream.rate == 800 and upstream.layers(noise(16_000))[0].shape == (1, 20, 4096)


def test_without_mteb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(BarlowSpeechError, match=r"pip install 'barlow-speech\[mteb\]'"):
        check_name("mteb:some/encoder", None)


@pytest.fixture()
def mteb_stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes a module of MTEB's interface that lists one encoder."""

    def make(encoder: Any) -> None:
        meta = SimpleNamespace(
            modalities=["audio"], model_type=["cross-encoder"], revision="1",
            load_model=lambda device: encoder,
        )  # fmt: skip
        package: Any = ModuleType("mteb")
        package.get_model_meta = lambda name: meta
        package.get_task = lambda name: SimpleNamespace(metadata=None)
        monkeypatch.setitem(sys.modules, "mteb", package)

    return make


def test_what_mteb_lists_and_is_no_encoder_is_one_sentence(
    mteb_stand_in: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mteb_stand_in(SimpleNamespace(predict=None))
    with pytest.raises(
        BarlowSpeechError, match=r"mteb:a/b expects an encoder.*cross-encoder model"
    ):
        build("mteb:a/b")
    mteb_stand_in(SimpleNamespace(encode=lambda inputs, **_: np.zeros((1, 4, 3))))
    with pytest.raises(BarlowSpeechError, match=r"gives \[1, E\].*\[1, 4, 3\]"):
        build("mteb:a/b")(noise(8_000))
    monkeypatch.setitem(sys.modules, "mteb", ModuleType("mteb"))
    with pytest.raises(BarlowSpeechError, match=r"needs MTEB 2.26 or newer.*pip install"):
        check_name("mteb:a/b", None)


def test_an_encoder_of_mteb_has_its_embedding_alone() -> None:
    mteb: Any = pytest.importorskip("mteb")
    name = "mteb:mteb/baseline-random-encoder"
    upstream = load(name)
    waves = noise(16_000, 9_000)
    outputs = upstream.outputs(waves)
    assert upstream.rate == MAX_SAMPLES and outputs["embedding"].shape[0] == 2
    assert torch.equal(outputs["hidden_states"][0][:, 0], outputs["embedding"])
    needed = [one for one in check_upstream(subject(name, None, "cpu")) if one.needed]
    assert all(one.passed for one in needed), needed
    for wrong, words in {
        "mteb:no/such": "none such",
        "mteb:sentence-transformers/all-MiniLM-L6-v2": "expects an encoder of audio, and MTEB",
    }.items():
        with pytest.raises(BarlowSpeechError, match=words):
            check_name(wrong, None)
    assert mteb.get_model_meta("mteb/baseline-random-encoder").modalities
