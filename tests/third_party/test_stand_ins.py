"""What takes the place of a missing package does what the package does, and only where it lacks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler, SequentialSampler, WeightedRandomSampler

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party import stand_ins
from barlow_speech.upstream.third_party.distributed_sampler import DistributedSamplerWrapper


class Hiding:
    """A finder that does not find some packages."""

    def __init__(self, finder: Any, names: Sequence[str]) -> None:
        self.finder, self.names = finder, names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        hidden = name.split(".")[0] in self.names
        return None if hidden else self.finder.find_spec(name, path, target)


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Take packages for not installed; what is put in their place goes in the end."""
    names: list[str] = []

    def forget() -> None:
        for one in [one for one in sys.modules if one.split(".")[0] in names]:
            monkeypatch.delitem(sys.modules, one)

    def apply(*given: str) -> None:
        names.extend(given)
        forget()
        finders = [Hiding(one, given) for one in sys.meta_path]
        monkeypatch.setattr(sys, "meta_path", finders)

    yield apply
    for one in [one for one in sys.modules if one.split(".")[0] in names]:
        del sys.modules[one]


NAMES = {
    "catalyst": ("patch_catalyst", "catalyst.data.sampler", ["DistributedSamplerWrapper"]),
    "librosa": ("patch_librosa", "librosa.util", ["find_files"]),
    "editdistance": ("patch_editdistance", "editdistance", ["eval", "distance"]),
    "sox": ("patch_pysox", "sox", ["Transformer"]),
}


@pytest.mark.parametrize("package", NAMES)
def test_a_name_stands_in_where_the_package_is_missing(
    package: str, hide: Callable[..., None]
) -> None:
    function, module, names = NAMES[package]
    patch = getattr(stand_ins, function)
    hide(package)
    assert patch() == [f"{module}.{name}" for name in names]
    found = importlib.import_module(module)
    assert all(callable(getattr(found, name)) for name in names)
    assert patch() == []
    if package != module:  # who asks for the package itself is told that it is not there
        assert importlib.util.find_spec(package) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(package)
    else:
        assert importlib.util.find_spec(package) is not None


@pytest.mark.parametrize("package", NAMES)
def test_a_package_that_is_there_stays(
    package: str, hide: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, module, _ = NAMES[package]
    hide(package)
    monkeypatch.setattr(sys, "meta_path", [one.finder for one in sys.meta_path])
    monkeypatch.setattr(metadata, "version", lambda name: "22.4")
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert getattr(stand_ins, function)() == []
    assert package not in sys.modules and module not in sys.modules


def test_a_catalyst_that_cannot_be_imported_counts_as_missing(
    hide: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21.5, which pip 24.1 and newer take, and which dies on its own imports."""
    hide("catalyst")
    monkeypatch.setattr(sys, "meta_path", [one.finder for one in sys.meta_path])
    (tmp_path / "catalyst").mkdir()
    (tmp_path / "catalyst" / "__init__.py").write_text("from collections import Mapping")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "version", lambda name: "21.5")
    assert stand_ins.patch_catalyst() == ["catalyst.data.sampler.DistributedSamplerWrapper"]
    sampler = importlib.import_module("catalyst.data.sampler")
    assert sampler.DistributedSamplerWrapper is DistributedSamplerWrapper


def test_an_empty_folder_is_no_package(
    hide: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide("sox")
    monkeypatch.setattr(sys, "meta_path", [one.finder for one in sys.meta_path])
    (tmp_path / "sox").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert stand_ins.patch_pysox() == ["sox.Transformer"]
    with pytest.raises(BarlowSpeechError, match="pip install sox"):
        importlib.import_module("sox").Transformer()


def test_without_rapidfuzz_nothing_stands_in_for_editdistance(hide: Callable[..., None]) -> None:
    hide("editdistance", "rapidfuzz")
    assert stand_ins.patch_editdistance() == [] and "editdistance" not in sys.modules


# --- the sampler ------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "processes"), [(12, 1), (12, 3), (13, 4), (3, 5), (1, 2)])
def test_the_sampler_takes_the_items_at_distributed_sampler_s_places(
    count: int, processes: int, shuffle: bool
) -> None:
    drawn = np.random.default_rng(0).permutation(100)[:count].tolist()
    for rank in range(processes):
        places = DistributedSampler(range(count), processes, rank, shuffle)
        wrapped = DistributedSamplerWrapper(drawn, processes, rank, shuffle)
        for epoch in range(3):
            places.set_epoch(epoch)
            wrapped.set_epoch(epoch)
            assert list(wrapped) == [drawn[place] for place in places]
        assert len(wrapped) == len(places) == len(list(wrapped))


def test_over_the_order_itself_it_is_distributed_sampler() -> None:
    given: Any = SequentialSampler(range(10))
    for rank in range(3):
        assert list(DistributedSamplerWrapper(given, 3, rank)) == list(
            DistributedSampler(range(10), 3, rank)
        )


def test_processes_of_one_seed_share_a_draw_and_each_epoch_has_its_own() -> None:
    """As s3prl balances the classes of speech_commands."""
    given: Any = WeightedRandomSampler([1.0, 2.0, 3.0, 4.0], 8)

    def of(rank: int, seed: int) -> list[int]:
        torch.manual_seed(seed)
        return list(DistributedSamplerWrapper(given, 2, rank, shuffle=False))

    torch.manual_seed(3)
    whole = list(given)
    assert of(0, 3) == whole[0::2] and of(1, 3) == whole[1::2]
    assert of(0, 4) != of(0, 3)


def test_without_processes_it_asks_for_them() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        DistributedSamplerWrapper([1, 2])


# --- the list of files ------------------------------------------------------------------------


def test_audio_files_are_found_by_suffix_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [
        "b.wav",
        "a/x.FLAC",
        "a/deep/er/y.mp3",
        "a/z.au",
        "q.m4a",
        "q.aac",
        "q.OGG",
        "a.b.wav",
    ]
    for name in [*wanted, "no.txt", "wav", "b.wav.txt", "no.Wav", ".hidden.wav", "a/none"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.wav").touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    expected = sorted(str(tmp_path / name) for name in [*wanted, "elsewhere/linked.wav"])
    assert stand_ins.find_files(tmp_path) == expected
    monkeypatch.chdir(tmp_path.parent)
    assert stand_ins.find_files(tmp_path.name) == expected  # absolute, whatever was given
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stand_ins.find_files("~/a/deep") == [str(tmp_path / "a/deep/er/y.mp3")]
    assert stand_ins.find_files(tmp_path / "none such") == []


# --- the edit distance ------------------------------------------------------------------------


def by_definition(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The table of Wagner and Fischer, over hashes."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row = row, [i]
        for j, other in enumerate(b, 1):
            changed = before[j - 1] + (hash(one) != hash(other))
            row.append(min(before[j] + 1, row[j - 1] + 1, changed))
    return row[-1]


def sequences(kind: str, rng: np.random.Generator) -> Sequence[Hashable]:
    count = int(rng.integers(0, 80))
    if kind == "letters":
        return "".join(rng.choice(list("aäb c\0🙂"), count))
    if kind == "words":
        return [str(one) for one in rng.choice(["cat", "c", "at", "", "CAT", "🙂", "the"], count)]
    if kind == "numbers":
        return [int(one) for one in rng.integers(-3, 4, count)]
    values = [2**61 - 1, 0, -1, -2, 2**64, -(2**63), 1.5, (1, "a"), "a", 97, None, True, 1]
    return [values[int(one)] for one in rng.integers(0, len(values), count)]


@pytest.mark.parametrize("kind", ["letters", "words", "numbers", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_the_edit_distance_is_editdistance_s(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    real = (
        importlib.import_module("editdistance")
        if importlib.util.find_spec("editdistance")
        else None
    )
    for _ in range(100):
        a, b = sequences(kind, rng), sequences(kind, rng)
        distance = stand_ins.edit_distance(a, b)
        assert distance == by_definition(a, b)
        if getattr(real, "__file__", None):  # and no stand-in of ours
            assert distance == real.eval(a, b)


def test_edges_of_the_edit_distance() -> None:
    distance = stand_ins.edit_distance
    assert distance([], []) == 0 and distance("", "abc") == 3 and distance([1, 2], []) == 2
    assert distance([-1], [-2]) == 0  # Python gives them one hash
    assert distance(["-1"], ["-2"]) == 1
    assert distance("kitten", "sitting") == 3
    assert distance("a", [97]) == 1  # a letter is not its number
    assert type(distance("a", "b")) is int
    with pytest.raises(TypeError):
        distance([[1]], [[1]])
