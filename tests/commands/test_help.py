"""Every option of every command says what it is for, and a wrong name what to do."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from barlow_speech.benchmark import entry, run_downstream
from barlow_speech.downstream import task as tasks
from barlow_speech.upstream.common.errors import BarlowSpeechError


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The command lines, by command or verb."""
    (verbs,) = (one for one in entry.parser()._actions if one.dest == "verb")
    return {"run_downstream.py": run_downstream.parser(), **dict(verbs.choices or {})}


def test_every_option_has_a_help_text() -> None:
    silent = [
        f"{name} {action.dest}"
        for name, parser in parsers().items()
        for action in parser._actions
        if not action.help
    ]
    assert not silent


def test_a_name_that_is_no_upstream_is_refused_in_words_of_the_verb() -> None:
    with pytest.raises(BarlowSpeechError, match=r"'nosuch' in the names on s3prl\.hub"):
        entry.run(["check-upstream", "nosuch"])


def test_prepare_without_a_folder_says_what_to_run() -> None:
    with pytest.raises(BarlowSpeechError, match="run `barlow-speech prepare emodb FOLDER`"):
        entry.run(["prepare", "emodb"])


def test_a_task_of_the_harness_alone_is_not_listed_as_superb_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "task: {label: accent, splits: [split], speakers_disjoint: true%s}\n"
    for name, more in (("accent", ""), ("superb_xx", ", protocol: superb")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text % more)
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    assert tasks.all_names() == ["accent", "superb_xx"]
    assert tasks.other_names() == ["accent"]
    assert tasks.superb_names() == ["superb_xx"]
    (help_,) = (one.help for one in parsers()["run_downstream.py"]._actions
                if one.dest == "downstream")  # fmt: skip
    assert help_ and help_.endswith("accent, SUPERB's own, by s3prl's rules: superb_xx")
