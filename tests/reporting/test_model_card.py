"""What a model hub is given: its own library reads it, and so do we."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml

import barlow_speech
from barlow_speech.benchmark import entry
from barlow_speech.benchmark.evaluation.records import Record, Store
from barlow_speech.benchmark.features.families import ours
from barlow_speech.benchmark.features.upstreams import fingerprint
from barlow_speech.benchmark.reporting.model_card import MARK
from barlow_speech.benchmark.statistics.metrics import metrics
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.upstream import hubconf
from barlow_speech.upstream.adapters.hear import HearModel
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.third_party.huggingface import read_folder

RUNS, RIGHT = 4, 0.7


def stored(results: Path, task: str, weights: str, name: str = "barlow_speech") -> list[float]:
    """A record of a few runs on "tones" in a results folder; the accuracy of each run."""
    rng = np.random.default_rng(len(task))
    truth_N = np.repeat(np.arange(3), (20, 12, 8))
    predicted = [
        np.where(rng.random(40) < RIGHT, truth_N, rng.integers(0, 3, 40)) for _ in range(RUNS)
    ]
    runs: dict[int, dict[str, Any]] = {
        seed: {
            "seed": seed,
            "sources": {"init": seed, "order": seed, "pretrain_seed": 0},
            "folds": [{"predicted": pack(one_N), "curve": [[20, 0.5], [40, 0.6]]}],
        }
        for seed, one_N in enumerate(predicted)
    }
    protocol = {
        "steps": 300, "batch": 32, "accumulate": 1, "varies": ["init", "order"],
        "learning_rates": [1e-3], "head": {"name": "linear"}, "levels": {},
    }  # fmt: skip
    identity = {
        "features": [weights], "selection": "hidden_states", "examples": "e" * 64,
        "protocol": protocol,
    }  # fmt: skip
    facts = {
        "protocol": "quick", "head": "linear", "classes": ["a", "b", "c"],
        "truth": [pack(truth_N)], "recordings": {"train": 80, "dev": 40, "test": 40},
        "most_frequent": [0], "learning_rate": {"chosen": 1e-3}, "layers": 2, "width": 8,
        "corpus": {"licence": "CC0 1.0"}, "notes": [], "seconds": {},
        "upstream_fingerprints": [weights],
    }  # fmt: skip
    Store(results).save(Record(name, task, "tones", identity, facts, runs))
    return [metrics(truth_N, one_N, 3)["top1"] for one_N in predicted]


def card(*arguments: object) -> int:
    return run_command(entry.run, ["card", *map(str, arguments)])


def own(checkpoint: Path) -> str:
    return fingerprint("barlow_speech", UpstreamExpert(checkpoint))


def test_the_hub_s_own_library_reads_what_is_written(checkpoint: Path, tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "card"
    accuracies = stored(results, "emotion", own(checkpoint), "barlow_speech@somewhere/mine")
    stored(results, "gender", "0" * 64, "barlow_speech_random")
    given = ["--licence", "cc-by-4.0", "--results", results, "--dataset", "tones=owner/tones"]
    assert card(checkpoint, "-o", out, *given) == 0
    text = (out / "README.md").read_text()
    read = huggingface_hub.ModelCard(text)  # refuses metadata that is no YAML or no mapping
    metadata = huggingface_hub.metadata_load(out / "README.md")
    assert read.data.to_dict() == metadata
    assert huggingface_hub.ModelCardData(**metadata).to_dict() == metadata
    assert (read.data.license, read.data.library_name) == ("cc-by-4.0", "barlow_speech")
    assert read.data.pipeline_tag == "feature-extraction" and read.data.metrics == ["accuracy"]
    assert "| emotion | tones |" in read.text and "gender" not in read.text
    (scores,) = (out / ".eval_results").glob("*")
    data = yaml.safe_load(scores.read_text())
    entries = huggingface_hub.parse_eval_result_entries(data)
    # It writes the same again: there is no key that it does not know.
    assert huggingface_hub.eval_result_entries_to_yaml(entries) == data
    (one,) = entries
    assert (one.dataset_id, one.task_id) == ("owner/tones", "emotion")
    assert one.value == round(100 * float(np.mean(accuracies)), 2)
    assert f"mean of {RUNS} runs, 95 % interval [" in str(one.notes)


def test_the_folder_is_a_checkpoint_wherever_one_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    assert card(checkpoint, "-o", tmp_path) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == checkpoint.read_bytes()
    wave = torch.sin(torch.arange(8000) / 9)
    expected = barlow_speech.load(checkpoint).embed(wave, 16_000)
    torch.testing.assert_close(barlow_speech.load(tmp_path).embed(wave, 16_000), expected)
    ours.check("barlow_speech", tmp_path)
    named = f"barlow_speech@{tmp_path}"
    ours.check(named, None)
    assert ours.origin(named, None, 0) == ours.origin("barlow_speech", checkpoint, 0)
    assert fingerprint(named, UpstreamExpert(tmp_path)) == own(checkpoint)
    assert hubconf.barlow_speech_local(str(tmp_path)).model.embedding_dim == expected.shape[1]
    assert HearModel(str(tmp_path)).name == named
    with pytest.raises(BarlowSpeechError, match=f"it is a card of ours: {named}"):
        read_folder(tmp_path)  # what `hf:` does first


def test_what_its_owner_wrote_stays_and_the_rest_is_written_anew(
    checkpoint: Path, tmp_path: Path
) -> None:
    results, out = tmp_path / "results", tmp_path / "card"
    stored(results, "emotion", own(checkpoint))
    scored = ["--results", results, "--dataset", "tones=owner/tones"]
    assert card(checkpoint, "-o", out, *scored) == 0
    theirs = out / ".eval_results" / "theirs.yaml"
    theirs.write_text("- value: 1\n")
    written = (out / "README.md").read_text()
    edited = written.replace("license: unknown", "license: mit\nlanguage: de")
    (out / "README.md").write_text(edited.replace(MARK, f"My own words.\n\n{MARK}"))
    assert card(out, "-o", out) == 0  # from its own weights, without results
    text = (out / "README.md").read_text()
    assert text.index("My own words.") < text.index(MARK) < text.index("## How to use it")
    assert "license: mit\n" in text and "language: de\n" in text and "## Scores" not in text
    assert list((out / ".eval_results").iterdir()) == [theirs]
    before = text
    assert card(out, "-o", out) == 0 and (out / "README.md").read_text() == before


@pytest.mark.parametrize(
    ("given", "language", "said"),
    [
        ([], "multilingual", "speechocean762 (Zhang et al. 2021"),
        (["fine_states"], "multilingual", "a state every 20 ms"),
        (["coarse_states"], "en", "LibriSpeech train-clean-100 excerpts (CC BY 4.0)"),
    ],
)
def test_the_cards_of_the_package_have_its_facts(
    given: list[str], language: str, said: str, tmp_path: Path
) -> None:
    assert card(*given, "-o", tmp_path) == 0
    read = huggingface_hub.ModelCard((tmp_path / "README.md").read_text())
    assert read.data.license == "mit" and read.data.language[0] == language
    assert said in read.text and "](../" not in read.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch.safetensors", "-o", "out"], "does not exist; check the path"),
        (["empty", "-o", "out"], "is a folder without model.safetensors"),
        (["-o", "file"], "is no folder; name one"),
        (["-o", "theirs"], "was not written by this command; choose another folder"),
        (["-o", "broken"], "is no YAML"),
        (["-o", "file/below"], "cannot write"),
        (["-o", "out", "--licence", "GPL 3"], "is no identifier of the hub's"),
        (["-o", "out", "--dataset", "tones"], "is not CORPUS=OWNER/NAME"),
        (["-o", "out", "--dataset", "tones=a/b"], "give the folders that hold them by --results"),
        (["-o", "out", "--results", "empty"], "holds no records"),
        (["-o", "out", "--results", "results"], "holds no result of the encoder in"),
        (
            ["encoder", "-o", "out", "--results", "results", "--dataset", "tone=a/b"],
            "mean 'tones'?",
        ),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    arguments: list[str],
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("encoder").write_bytes(checkpoint.read_bytes())
    for folder, text in (("empty", ""), ("theirs", "mine"), ("broken", f"---\na: [\n---\n{MARK}")):
        Path(folder).mkdir()
        if text:
            (Path(folder) / "README.md").write_text(text)
    stored(Path("results"), "emotion", own(checkpoint))
    before = sorted(tmp_path.rglob("*"))
    assert card(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert sorted(tmp_path.rglob("*")) == before
