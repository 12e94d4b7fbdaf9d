"""The YAML files that come with the package, found by kind and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from barlow_speech import configs
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import read_yaml
from barlow_speech.upstream.pretraining.recipe import read_recipe


@pytest.mark.parametrize("kind", configs.FOLDERS)
def test_every_file_of_every_kind_is_found_by_its_name(kind: str) -> None:
    assert configs.files(kind)
    for name, path in configs.files(kind).items():
        assert configs.find(kind, name) == path
        assert read_yaml(path)


def test_every_folder_of_the_package_is_of_a_kind() -> None:
    folders = {path.parent.name for path in Path(configs.__path__[0]).glob("*/*.yaml")}
    assert folders == set(configs.FOLDERS.values())


def test_a_path_is_taken_as_it_is_and_anything_else_is_a_name() -> None:
    for name in ("my/recipe.yaml", "recipe.yml", "nobody/there.yaml"):
        assert configs.find("recipe", name) == Path(name)
    with pytest.raises(BarlowSpeechError, match="unknown recipe 'toi' in here; did you mean 'toy'"):
        configs.find("recipe", "toi", "here")
    with pytest.raises(BarlowSpeechError, match=r"choose one of: .*nothing"):
        configs.find("study", "zzzzzz", also=("nothing",))


def test_a_file_of_ones_own_extends_a_built_in_one_by_its_name(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: quick\nruns: 3\n")
    built_in = read_protocol("quick", "emotion")
    protocol = read_protocol(str(mine), "emotion")
    assert (protocol.runs, protocol.steps) == (3, built_in.steps)
    mine.write_text("extends: toy\nsteps: 3\n")
    toy = read_recipe(configs.find("recipe", "toy"))
    assert read_recipe(mine).as_dict() == {**toy.as_dict(), "steps": 3}
