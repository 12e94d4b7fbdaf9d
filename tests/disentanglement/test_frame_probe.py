"""Phones of single states: what is there is read, what is not there is not, at the right moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.benchmark import entry
from barlow_speech.benchmark.disentanglement.frame_probe import (
    OTHER,
    FrameTask,
    LayerProbe,
    class_names,
    probe_states,
    scale,
)
from barlow_speech.benchmark.features.frame_times import frame_centre, nearest_frames
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.manifest import Recording

SILENCE = "sil"


def made_up() -> FrameTask:
    """Twelve speakers of four recordings of 30 moments, of four phones, silence and a rare one."""
    draw = np.random.default_rng(0)
    splits = np.repeat(["train", "dev", "test"], 16)
    phones = [draw.choice(["a", "b", "c", "d", SILENCE], size=30) for _ in splits]
    phones[0][3] = "rare"
    speakers = np.array([f"speaker{row // 2}" for row in range(len(splits))])
    recordings = [Recording(Path(f"{row}.wav")) for row in range(len(splits))]
    return FrameTask(recordings, Path("manifest.tsv"), phones, splits, speakers, SILENCE)


def probed(task: FrameTask, states_of: dict[str, np.ndarray]) -> tuple[LayerProbe, float, float]:
    probe = probe_states("layer 1", states_of, task)
    test = scale(task)
    return probe, test.accuracy(probe.right_N).value, test.sounding(probe.sounding_right_N).value


def test_the_phones_themselves_are_read_and_noise_is_not() -> None:
    task = made_up()
    assert class_names(task)[-1] == OTHER and len(class_names(task)) == 6
    names = ["a", "b", "c", "d", SILENCE]
    split_phones = {
        split: np.concatenate([task.phones_N[row] for row in task.rows(split)])
        for split in ("train", "dev", "test")
    }
    one_hot = {
        split: (phones[:, None] == names).astype(np.float32)
        for split, phones in split_phones.items()
    }
    probe, accuracy, sounding = probed(task, one_hot)
    assert (probe.dev, accuracy, sounding, probe.width) == (1.0, 1.0, 1.0, 5)
    draw = np.random.default_rng(1)
    noise = {
        split: draw.standard_normal((len(phones), 5)).astype(np.float32)
        for split, phones in split_phones.items()
    }
    probe, accuracy, _ = probed(task, noise)
    assert 0.1 < accuracy < 0.3  # of five classes alike
    again, same, _ = probed(task, noise)
    assert same == accuracy and again.strength == probe.strength
    assert np.array_equal(again.right_N, probe.right_N)


def test_a_difference_is_paired_by_speaker() -> None:
    test = scale(made_up())
    easy = np.repeat([10.0, 29.0], 8)  # speakers differ much, the two upstreams by one moment
    assert len(test.weights_RN) == 1000
    assert test.accuracy(easy).interval() != test.accuracy(easy - 1).interval()
    difference = test.accuracy(easy, easy - 1)
    assert difference.value == pytest.approx(1 / 30)
    assert difference.reach == pytest.approx(0, abs=1e-9)
    assert (test.accuracy(easy).reach or 0) > 0.1


def test_the_nearest_frame_is_taken() -> None:
    moments = 320 * np.arange(6)
    assert nearest_frames(moments, 320, 0, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert nearest_frames(moments, 320, 0, 5).tolist() == [0, 1, 2, 3, 4, 4]
    # Of 10 ms with windows of 25 ms: 2 i - 1.25.
    assert nearest_frames(moments, 160, 200, 20).tolist() == [0, 1, 3, 5, 7, 9]
    # Of 80 ms: centres at 560, 1840, …
    assert nearest_frames(moments, 1280, 560, 2).tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "centre"),
    [("barlow_speech_random@fine_states", 0), ("fbank_no_cmvn", 200), ("linear", 0)],
)
def test_when_a_frame_is_is_found_by_clicks(name: str, centre: int) -> None:
    assert abs(frame_centre(load_upstream(name, None, "cpu")) - centre) <= 40


def test_the_command_writes_the_same_again_and_pairs_with_random_weights(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"barlow_speech@{checkpoint}"
    call = ["phones", "-u", name, "--speakers", "2", "--sentences", "2", "--random-seeds", "1"]
    entry.run([*call, "-l", "1", "all", "-o", str(tmp_path / "a")])
    printed = capsys.readouterr().out
    entry.run([*call, "-l", "1", "all", "-o", str(tmp_path / "b"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "a" / "phones.json").read_text()) == result
    assert (tmp_path / "a" / "phones.md").read_text() == (tmp_path / "b" / "phones.md").read_text()
    assert "Always silence" in printed and "less 1 of random weights" in printed
    ours, random = result["upstreams"]
    assert (ours["upstream"], random["seed"], ours["rate"]) == (name, 0, 1280)
    assert [one["layer"] for one in ours["layers"]] == ["layer 1", "all layers"]
    assert [one["width"] for one in ours["layers"]] == [8, 40]
    (difference,) = result["differences"]
    chosen = [next(layer["test"]["value"] for layer in one["layers"] if layer["layer"]
                   == one["chosen"]) for one in (ours, random)]  # fmt: skip
    assert difference["test"]["value"] == pytest.approx(chosen[0] - chosen[1])
    assert difference["test"]["ci95"] is None  # of two speakers
    assert result["splits"]["test"] == {**result["splits"]["test"], "speakers": 2, "recordings": 2}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-l", "9"], "has layers 1 to 5, and no layer 9"),
        (["-l", "last"], "--layers takes each, all, or numbers"),
        (["--random-seeds", "0"], "--random-seeds must be 1 or more"),
        (["--sentences", "1"], "two sentences or more"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(
    more: list[str], said: str, checkpoint: Path, tmp_path: Path
) -> None:
    call = ["phones", "-u", f"barlow_speech@{checkpoint}", "--speakers", "1", "--sentences", "2"]
    with pytest.raises(BarlowSpeechError, match=said):
        entry.run([*call, "-o", str(tmp_path / "out"), *more])
    assert not (tmp_path / "out").exists()


def test_a_layer_that_one_upstream_lacks_is_told_before_anything_is_spoken(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barlow_speech.downstream.toy.phones.phone_corpus", pytest.fail)
    call = ["phones", "-u", f"barlow_speech@{checkpoint}", "fbank", "-l", "2"]
    with pytest.raises(BarlowSpeechError, match="'fbank' has layers 1 to 1, and no layer 2"):
        entry.run([*call, "-o", str(tmp_path / "out")])
