"""Fingerprints that are remembered are those of what would be loaded now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from barlow_speech.benchmark.features.families import ours
from barlow_speech.benchmark.features.known import recall, remember
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.upstream.model.checkpoint import load_model, save_model
from barlow_speech.upstream.names import NAMES
from barlow_speech.upstream.third_party.hub_names import hub_names
from barlow_speech.upstream.third_party.registry import register_upstream
from barlow_speech.upstream.third_party.s3prl_upstreams import find_third_party


def test_an_upstream_is_known_by_its_checkpoint_and_its_seed(
    checkpoint: Path, tmp_path: Path
) -> None:
    cache, mine = tmp_path / "cache", tmp_path / "mine.safetensors"
    shutil.copy(checkpoint, mine)
    known = {}
    for name, file, seed in [
        ("barlow_speech", mine, 0),
        ("barlow_speech_random", mine, 0),
        ("barlow_speech_random", mine, 1),
        ("fbank_no_cmvn", None, 0),
    ]:
        assert recall(cache, name, file, seed) is None
        loaded = load_upstream(name, file, "cpu", seed)
        remember(cache, name, file, seed, loaded.fingerprint)
        known[name, seed] = recall(cache, name, file, seed)
        assert known[name, seed] == loaded.fingerprint
    assert len(set(known.values())) == 4
    # Elsewhere it is the same; with other weights in its place it is another.
    other = tmp_path / "elsewhere.safetensors"
    shutil.copy(mine, other)
    assert recall(cache, f"barlow_speech@{other}", None, 0) == known["barlow_speech", 0]
    model = load_model(mine)
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    save_model(mine, model, {})
    assert recall(cache, "barlow_speech", mine, 0) is None
    assert recall(cache, "barlow_speech", tmp_path / "not there", 0) is None


def test_other_code_of_ours_is_another_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which random weights a seed draws, and what a checkpoint's settings mean, it decides."""
    code = tmp_path / "encoder.py"
    code.write_text("as it was")
    monkeypatch.setattr(ours, "CODE", [code])
    for name in ("barlow_speech", "barlow_speech_random"):
        remember(tmp_path, name, None, 0, "x")
        assert recall(tmp_path, name, None, 0) == "x"
    code.write_text("as it is")
    for name in ("barlow_speech", "barlow_speech_random"):
        assert recall(tmp_path, name, None, 0) is None


def test_what_is_remembered_is_what_was_found_last(tmp_path: Path) -> None:
    for damage in ("", "{}", '{"fingerprint": "other"}'):
        remember(tmp_path, "fbank", None, 0, "x")
        (file,) = (tmp_path / "known").iterdir()
        file.write_text(damage)
        remember(tmp_path, "fbank", None, 0, "x")
        assert recall(tmp_path, "fbank", None, 0) == "x"


def test_what_may_be_downloaded_anew_is_not_remembered(tmp_path: Path) -> None:
    remember(tmp_path, "hubert_base", None, 0, "x")
    assert recall(tmp_path, "hubert_base", None, 0) is None
    assert not list(tmp_path.iterdir())


def test_a_damaged_memory_is_none(tmp_path: Path) -> None:
    remember(tmp_path, "fbank", None, 0, "x")
    (file,) = tmp_path.rglob("*.json")
    for text in ("", "[]", "{}", "\0", '{"fingerprint', "[" * 99_999):
        file.write_text(text)
        assert recall(tmp_path, "fbank", None, 0) is None


def test_the_names_that_s3prls_files_say_are_those_of_its_hub() -> None:
    hub = register_upstream()
    factories = {name for name, module in hub_names().items() if module}
    assert len(factories) > 150
    assert all(callable(getattr(hub, name)) for name in factories)
    public = {name for name in vars(hub) if not name.startswith("_")} - {*NAMES, "options", "s3prl"}
    missed = {name for name in public if callable(getattr(hub, name)) and name not in hub_names()}
    assert not {name for name in missed if not isinstance(getattr(hub, name), type)}


@pytest.mark.parametrize("name", ["fbank", "mfcc", "hubert_base", "vq_apc_url@x"])
def test_a_name_of_the_hub_is_no_unknown_one(name: str) -> None:
    plain, at, _ = name.partition("@")
    assert plain in hub_names()
    if not at:
        assert find_third_party(plain)
