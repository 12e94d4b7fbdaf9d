"""Splits drawn by speaker: every speaker tested, none on two sides, every class kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.evaluation.protocol import Protocol, SpeakerSplit, read_protocol
from barlow_speech.benchmark.evaluation.records import Store, read_results
from barlow_speech.benchmark.evaluation.task_data import TaskData, read_task_data
from barlow_speech.benchmark.features import cost
from barlow_speech.benchmark.statistics.results import TaskResult, shares_levels
from barlow_speech.downstream.corpus import read_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from tests.conftest import tone_corpus

HEADER = "path\tspeaker\temotion\tgender\tsplit_speaker_disjoint"
EMOTIONS = ("anger", "joy", "sadness")


def corpus(folder: Path, speakers: int = 12, names: bool = True, rare: int = 0) -> Path:
    """A manifest of nine recordings a speaker; `rare` of the speakers have a fourth emotion."""
    rows = [HEADER]
    for speaker in range(speakers):
        split = ("train", "dev", "test")[0 if speaker < speakers - 4 else 1 + speaker % 2]
        emotions = [*EMOTIONS * 3, *(["fear"] if speaker < rare else [])]
        for number, emotion in enumerate(emotions):
            who = f"s{speaker:02}" if names else ""
            gender = "fm"[speaker % 2]
            rows.append(f"{speaker}_{number}.wav\t{who}\t{emotion}\t{gender}\t{split}")
    folder.mkdir(exist_ok=True)
    path = folder / "manifest.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def read(path: Path, task: str = "emotion") -> TaskData:
    return read_task_data(task, read_corpus(str(path)))


@pytest.mark.parametrize("split", [SpeakerSplit(), SpeakerSplit(leave_one_out=True)])
@pytest.mark.parametrize("task", ["emotion", "gender"])
def test_every_speaker_is_tested_and_no_one_is_on_two_sides(
    tmp_path: Path, split: SpeakerSplit, task: str
) -> None:
    whole = read(corpus(tmp_path), task)
    divided = whole.by_speaker(split, 7)
    assert divided.pool is not None
    assert len(divided.folds) == (12 if split.leave_one_out else 5)
    who = np.array(whole.corpus.manifest.column("speaker"))
    tested = np.concatenate([fold.rows["test"] for fold in divided.folds])
    assert sorted(tested) == divided.pool.rows["test"].tolist() == list(range(108))
    for fold in divided.folds:
        sides = [set(who[fold.rows[one]]) for one in ("train", "dev", "test")]
        assert sum(map(len, sides)) == 12 == len(set.union(*sides))
        assert len(sides[2]) == 1 if split.leave_one_out else 2 <= len(sides[2]) <= 3
        for one in ("train", "dev"):
            assert set(fold.labels[one].tolist()) == set(range(len(fold.classes)))
        names = np.array(whole.corpus.manifest.column(task))[fold.rows["test"]]
        assert [fold.classes[i] for i in fold.labels["test"]] == names.tolist()
    again, other = whole.by_speaker(split, 7), whole.by_speaker(split, 8)
    for key in ("train", "dev", "test"):
        same = [
            np.array_equal(a.rows[key], b.rows[key]) for a, b in zip(divided.folds, again.folds)
        ]
        assert all(same)
    assert any(
        not np.array_equal(a.rows["dev"], b.rows["dev"]) for a, b in zip(divided.folds, other.folds)
    )
    assert divided.digest == other.digest != whole.digest


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    nameless = read(corpus(tmp_path / "a", names=False))
    with pytest.raises(BarlowSpeechError, match=r"needs the speaker of every recording, and .*0_0"):
        nameless.by_speaker(SpeakerSplit(), 0)
    few = read(corpus(tmp_path / "b", speakers=6))
    with pytest.raises(BarlowSpeechError, match="needs 7 speakers, and there are 6; ask for fewer"):
        few.by_speaker(SpeakerSplit(folds=7), 0)
    rare = read(corpus(tmp_path / "c", rare=2))
    with pytest.raises(BarlowSpeechError, match="cannot keep the class 'fear'"):
        rare.by_speaker(SpeakerSplit(), 0)
    three = read(corpus(tmp_path / "d", rare=3)).by_speaker(SpeakerSplit(leave_one_out=True), 0)
    assert all(set(fold.labels["train"]) == {0, 1, 2, 3} for fold in three.folds)


def test_a_split_that_is_left_aside_may_be_as_it_is(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    header, *rows = path.read_text().splitlines()
    sides = ("train", "dev", "test")
    mixed = [f"{row.rpartition(chr(9))[0]}\t{sides[i // 3 % 3]}" for i, row in enumerate(rows)]
    path.write_text("\n".join([header, *mixed]) + "\n")
    ours = Evaluator(Settings(tmp_path, tmp_path / "cache"))
    with pytest.raises(BarlowSpeechError, match="speakers are in train and test"):
        ours.task_data("emotion", str(path))
    divided = ours.task_data("emotion", str(path), read_protocol("speakers", "emotion"))
    assert len(divided.folds) == 5 and not any("speakers are in" in one for one in divided.notes)
    assert divided.digest == read(corpus(tmp_path / "own")).by_speaker(SpeakerSplit(), 0).digest
    one_side = [f"{row.rpartition(chr(9))[0]}\ttrain" for row in rows]
    path.write_text("\n".join([header, *one_side]) + "\n")
    again = Evaluator(Settings(tmp_path, tmp_path / "cache"))
    with pytest.raises(BarlowSpeechError, match="the split 'dev' has no labelled recording"):
        again.task_data("emotion", str(path))
    same = again.task_data("emotion", str(path), read_protocol("speakers", "emotion"))
    assert same.digest == divided.digest and same.notes == divided.notes


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["split={by: speaker, repeats: 3}"], "repeats is 3, which does not divide the 4 runs"),
        (["split={by: speaker}", "eval_split=dev"], "tests every speaker"),
        (["split={by: speaker, folds: 2}"], "folds"),
        (["split={by: speakers}"], "speaker"),
    ],
)
def test_a_protocol_says_what_is_wrong_with_its_split(
    tmp_path: Path, keys: list[str], reason: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("runs: 4\nsteps: 5\nbatch: 2\neval_step: 5\n")
    with pytest.raises(BarlowSpeechError, match=reason):
        read_protocol(str(path), "emotion", keys)


def test_the_built_in_protocol_leaves_speaker_identification_its_split() -> None:
    assert read_protocol("speakers", "emotion").split == SpeakerSplit()
    assert read_protocol("speakers", "speaker_id").split is None


def evaluate(
    tones: Path, folder: Path, checkpoint: Path, keys: list[str]
) -> tuple[TaskResult, Protocol]:
    short = ["runs=4", "steps=3", "batch=4", "learning_rates=[0.01]", "split.folds=3", *keys]
    protocol = read_protocol("speakers", "emotion", short)
    ours = Evaluator(Settings(folder, folder / "cache", checkpoint=checkpoint))
    return ours.run(Job("barlow_speech", "emotion", str(tones), protocol)), protocol


def test_all_folds_of_a_run_are_one_result(
    tones: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    cell, _ = evaluate(tones, tmp_path, checkpoint, [])
    kept = cell.predictions
    assert kept is not None and len(kept.truth) == 1
    table = read_corpus(str(tones)).manifest
    labelled = sum(map(bool, table.column("emotion")))
    assert kept.size == labelled == cell.setup.test_recordings
    assert kept.speaker_count == len(set(table.column("speaker")))
    assert not shares_levels(cell) and cell.setup.varied == ("init", "order")
    (stored,) = read_results(tmp_path)
    assert stored.values == cell.values

    several, _ = evaluate(tones, tmp_path / "each", checkpoint, ["split.repeats=4"])
    assert several.setup.varied == ("init", "order", "split") and not shares_levels(several)
    assert len(set(several.levels["split"])) == 4
    # The first run has the division and the seeds that it has where all share that division.
    assert several.values[0] == cell.values[0] and several.predictions is not None
    assert several.predictions.runs[0] == kept.runs[0]
    assert several.predictions.recordings == kept.recordings


def test_a_record_of_before_is_given_its_speakers(
    tones: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    cell, _ = evaluate(tones, tmp_path, checkpoint, [])
    store = Store(tmp_path)
    (record,) = store.records()
    del record.facts["speakers"]
    store.save(record)
    (old,) = read_results(tmp_path)
    assert old.predictions is not None and old.predictions.speaker_count is None
    again, _ = evaluate(tones, tmp_path, checkpoint, [])
    assert again.values == cell.values and again.predictions == cell.predictions
    (now,) = read_results(tmp_path)
    assert now.predictions == cell.predictions


def test_speakers_are_those_that_the_manifest_names_now(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected speaker counts in what is stored, and where it decides the split, it is new."""
    monkeypatch.setattr(cost, "measure_cost", lambda upstream: {})
    tones = tone_corpus(tmp_path / "tones")

    def evaluate_gender(protocol: str, keys: list[str]) -> TaskResult:
        short = ["runs=2", "steps=3", "batch=4", "learning_rates=[0.01]", *keys]
        ours = Evaluator(Settings(tmp_path, tmp_path / "cache", checkpoint=checkpoint))
        how = read_protocol(protocol, "gender", short)
        return ours.run(Job("barlow_speech", "gender", str(tones), how))

    def both() -> list[TaskResult]:
        return [evaluate_gender("quick", []), evaluate_gender("speakers", ["split.folds=3"])]

    def speakers(results: list[TaskResult]) -> list[int | None]:
        return [one.predictions.speaker_count for one in results if one.predictions]

    whole, divided = both()
    assert speakers([whole, divided]) == [1, 6]
    text = tones.read_text()
    for repetition in (0, 1):  # the recordings of the test were of two people
        for keyword in range(3):
            line = f"5-0-{keyword}-{repetition}.wav\tspeaker5"
            assert line in text
            text = text.replace(line, line.replace("speaker5", "speaker6"))
    tones.write_text(text)
    again, of_others = both()
    assert speakers([again, of_others]) == [2, 7]
    assert again.values == whole.values and again.predictions != whole.predictions
    assert again.recorded == whole.recorded  # which of several is the newest, it says still
    stored = {one.setup.protocol: one for one in read_results(tmp_path)}
    assert speakers([stored["quick"], stored["speakers"]]) == [2, 7]
    assert stored["speakers"].values == of_others.values
    fresh = Evaluator(Settings(tmp_path / "fresh", tmp_path / "cache", checkpoint=checkpoint))
    short = ["runs=2", "steps=3", "batch=4", "learning_rates=[0.01]", "split.folds=3"]
    how = read_protocol("speakers", "gender", short)
    assert fresh.run(Job("barlow_speech", "gender", str(tones), how)).values == of_others.values
