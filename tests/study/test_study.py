"""Studies: what is refused, what is planned, and a small one from end to end."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from barlow_speech import configs
from barlow_speech.benchmark.analyses import kinds, read_analyses
from barlow_speech.benchmark.entry import run
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.evaluation.records import read_results
from barlow_speech.benchmark.study import estimates
from barlow_speech.benchmark.study.config import read_study
from barlow_speech.benchmark.study.planner import Planner, in_order, plan_text, timed
from barlow_speech.benchmark.study.run import planned
from barlow_speech.benchmark.study.stages import KINDS, Evaluate
from barlow_speech.benchmark.study.workspace import JOURNAL, Entry, Workspace
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.model.checkpoint import load_tensors, save_tensors
from barlow_speech.upstream.pretraining.recipe import Recipe, ViewFamily

TASKS = ["speaker_id", "gender", "emotion", "keyword_spotting"]


@pytest.fixture
def tree(tones: Path, tmp_path: Path) -> dict[str, Any]:
    """A study of seconds with every kind of analysis, on tones; its recipe lies beside it."""
    recipe = {
        "steps": 3,
        "batch": 8,
        "crop_s": 0.3,
        "data": {"sources": [{"manifest": str(tones), "where": {"split": ["train"]}}]},
        "model": {"frontend": {"n_mels": 16}, "encoder": {"name": "cnn2d", "channels": 4}},
        "families": {"main": {"projector": {"width": 16}}},
        "precision": "float32",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    corpus = str(tones)
    two = ["keyword_spotting", "gender"]
    return {
        "title": "Tones",
        "corpora": {corpus: TASKS},
        "pretraining": {"recipe": str(tmp_path / "recipe.yaml")},
        "protocol": {"name": "quick", "set": ["runs=6", "steps=20", "eval_step=5"]},
        "upstreams": {
            "BT": {"seeds": 2},
            "the same": {"set": ["steps=3"]},
            "random": {"untrained": "BT"},
            "log-mel": "fbank_no_cmvn",
            "families": {"overrides": ["view_families"]},
            "half": {"set": ["data.share=0.5"]},
            "read": {"of": "BT", "readout": [{"layer": 0, "statistics": ["std"]}]},
        },
        "analyses": {
            "Side by side": {"kind": "compare", "upstreams": ["BT", "random", "log-mel"]},
            "Ablation": {"kind": "compare", "against": "BT", "upstreams": ["families", "random"]},
            "Views": {"kind": "views", "upstream": "BT"},
            "Trials": {"kind": "trials", "upstreams": ["BT", "read", "random"], "tasks": two},
            "Matrix": {"kind": "correlation", "upstreams": ["BT"]},
            "Hours": {"kind": "curve", "hours": True, "x": {"half": 0, "BT": 0}, "tasks": two},
            "Labels": {
                "kind": "labels", "fractions": [0.5, 1.0], "upstreams": ["BT"], "tasks": two,
                "trained": ["BT", "random"], "runs": 2, "steps": 2, "batch": 4,
                "set": ["encoder.crop_s=0.3"],
            },
            "Steps": {"kind": "steps", "upstreams": ["BT", "log-mel"], "tasks": two},
            "Seeds": {"kind": "seeds", "upstreams": ["BT"], "tasks": two, "heads": 3},
            "Transfer": {
                "kind": "transfer", "upstreams": ["BT", "half"], "home": {"BT": [corpus]},
            },
            "Factors": {
                "kind": "disentanglement", "upstreams": ["BT", "random"], "resamples": 5,
                "factors": ["gender", "keyword"],
            },
            "Subspaces": {"kind": "subspaces", "upstream": "families"},
            "Ranks": {"kind": "spectrum", "upstreams": ["BT", "log-mel"], "tasks": two},
        },
    }  # fmt: skip


def write(tree: dict[str, Any], folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))
    return path


def steps_of(path: Path, folder: Path) -> list[Any]:
    return planned(read_study(path), Workspace(folder), str(path))[1]


def test_every_analysis_is_tried_out_below(tree: dict[str, Any]) -> None:
    assert sorted({one["kind"] for one in tree["analyses"].values()}) == kinds()


def test_a_study_from_end_to_end_and_what_is_there_is_not_done_again(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, out = write(tree, tmp_path), tmp_path / "out"
    given = ["study", str(path), "-o", str(out), "--device", "cpu"]
    run([*given, "--dry-run"])
    assert not out.exists()
    text = capsys.readouterr().out
    assert "0 of " in text
    assert "the same has the recipe of BT, and is the same pretraining." in text
    run(given)
    page = (out / "report.html").read_text()
    for title in tree["analyses"]:
        assert title in page
    # Every way in which an analysis repeats the protocol, and not the last alone.
    assert "1337 to 1342, varying init, order; 1337 to 1338, varying pretrain_seed" in page
    assert "--set steps=3 (the same pretraining as BT)" in page
    assert "Scores are top-1 accuracy" in page
    stored = {one.name: one.read_bytes() for one in (out / "records").rglob("*.json")}
    assert stored
    lines = (out / JOURNAL).read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert len(keys) == len(set(keys))

    # Again: the same page and records, nothing trained or measured, no line added.
    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("it is there already")

    capsys.readouterr()
    run([*given, "--dry-run"])
    assert f"{len(keys)} of {len(keys)} stages are done" in capsys.readouterr().out
    monkeypatch.setattr("barlow_speech.upstream.pretraining.run._train", never)
    monkeypatch.setattr("barlow_speech.benchmark.evaluation.trainers.train_runs", never)
    monkeypatch.setattr("barlow_speech.benchmark.disentanglement.measure.study", never)
    run(given)
    assert (out / JOURNAL).read_text().splitlines() == lines
    assert {one.name: one.read_bytes() for one in (out / "records").rglob("*.json")} == stored
    assert (out / "report.html").read_text() == page


def test_trials_are_of_all_their_pretrainings_whatever_the_readout(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    readout = [{"layer": 1, "statistics": ["mean", "std"]}]
    tree["protocol"] = {"name": "search", "selection": "embedding", "readout": readout}
    tree["upstreams"] = {"BT": {"seeds": 3}, "half": {"set": ["data.share=0.5"]}}
    tree["analyses"] = {"Trials": {"kind": "trials", "tasks": ["gender", "keyword_spotting"]}}
    out = tmp_path / "out"
    run(["study", str(write(tree, tmp_path)), "-o", str(out), "--device", "cpu"])
    with (out / "tables" / "trials_scores.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    seeds = sorted((out / "pretraining").glob("bt-*/seed*/readout-*.safetensors"))
    assert [file.parent.name for file in seeds] == ["seed0", "seed1", "seed2"]
    three = [one for one in read_results(out) if len(one.values) == 3]
    means = np.mean([one.values for one in three], axis=0)
    assert [rows[name]["seeds"] for name in ("BT", "half")] == ["3", "1"]
    assert float(rows["BT"]["mean"]) == pytest.approx(100 * means.mean())
    assert float(rows["BT"]["least"]) == pytest.approx(100 * means.min())
    assert float(rows["BT"]["greatest"]) == pytest.approx(100 * means.max())
    assert len(three) == 2 and rows["half"]["least"] == ""


def test_the_page_says_of_what_and_how_scores_are(tree: dict[str, Any], tmp_path: Path) -> None:
    """Whatever analysis shows them: here of dev, and by another metric."""
    tree["protocol"] = {"name": "search", "selection": "embedding"}
    tree["analyses"] = {"Side": {"kind": "compare", "upstreams": ["log-mel"], "tasks": ["gender"]}}
    out = tmp_path / "out"
    given = ["study", str(write(tree, tmp_path)), "-o", str(out), "--device", "cpu"]
    run([*given, "--metric", "uar"])
    page = (out / "report.html").read_text()
    assert "Scores are macro recall" in page
    assert "On gender of tones: scores are of dev" in page


def test_upstreams_of_one_recipe_and_two_seeds_are_two(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree["upstreams"] |= {"second": {"set": ["seed=1"]}, "again": {"set": ["seed=1", "steps=3"]}}
    planner = Planner(read_study(write(tree, tmp_path)), Workspace(tmp_path / "out"))
    assert planner.shared == {"the same": "BT", "again": "second"}


def test_changes_are_said_to_be_of_the_recipe_that_they_change(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree["pretraining"]["set"] = ["steps=5"]
    tree["upstreams"]["toy"] = {"recipe": "toy", "set": ["batch=64"]}
    study = read_study(write(tree, tmp_path))
    assert study.origin("toy") == ("toy", (), ("batch=64",))
    assert study.recipe("toy").steps != 5
    assert study.origin("the same")[2] == ("steps=5", "steps=3")


def test_a_study_that_is_stopped_goes_on(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the midst of its stages, and with a measurement damaged: the same in the end."""
    tree["analyses"] = {name: tree["analyses"][name] for name in ("Side by side", "Ranks")}
    path = write(tree, tmp_path)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(["study", str(path), "-o", str(whole), "--device", "cpu"])
    make, made = Evaluate.run, []

    def some(self: Evaluate, workspace: Workspace) -> None:
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(self)
        make(self, workspace)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Evaluate, "run", some)
        run(["study", str(path), "-o", str(stopped), "--device", "cpu"])
    assert not (stopped / "report.html").exists()
    assert sum(one.done for one in steps_of(path, stopped)) == 6  # a pretraining, five cells
    run(["study", str(path), "-o", str(stopped), "--device", "cpu"])
    next((stopped / "measurements").glob("*.json")).write_text("{")
    run(["study", str(path), "-o", str(stopped), "--device", "cpu"])

    def values(folder: Path) -> dict[tuple[str, str], tuple[float, ...]]:
        # The name of an upstream holds the folder.
        return {(one.upstream.replace(str(folder), ""), one.task): one.values
                for one in read_results(folder)}  # fmt: skip

    assert values(whole) == values(stopped)

    def tables(folder: Path) -> dict[str, str]:
        files = (folder / "tables").glob("*.csv")
        # Of the costs, the real-time factor is a time.
        timed = ("time_spent", "costs")
        return {one.name: one.read_text() for one in files if not one.stem.endswith(timed)}

    assert tables(whole) == tables(stopped)


def test_equal_pretrainings_are_one_and_evaluations_stand_by_upstream(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    study = read_study(write(tree, tmp_path))
    planner = Planner(study, Workspace(tmp_path / "out"))
    assert planner.name("BT") != planner.name("half")
    same = [planner.pretrainings(label)[0].key for label in ("BT", "the same")]
    assert planner.shared == {"the same": "BT"}
    steps = in_order(w for label in study.upstreams for w in planner.pretrainings(label))
    assert len(steps) == 4  # two seeds, families, half
    requests = [
        request
        for analysis in read_analyses(study.analyses, "here")
        for request in analysis.requests(study)
    ]
    ordered = in_order(stage for request in requests for stage in planner.stages(request))
    assert len({stage.key for stage in ordered}) == len(ordered)
    place = {stage.key: i for i, stage in enumerate(ordered)}
    for stage in ordered:
        assert all(place[need.key] < place[stage.key] for need in stage.needs)
    for kind in ("evaluation", "end-to-end evaluation"):
        runs = [w.job.upstream for w in ordered if isinstance(w, Evaluate) and w.kind == kind]
        changes = sum(a != b for a, b in itertools.pairwise(runs))
        assert changes == len(set(runs)) - 1
    assert same[0] == same[1]


def test_what_was_named_by_its_settings_before_keeps_its_name() -> None:
    """Digests of an earlier version; a field that comes later is marked so, and not in them."""
    assert digest(build(Recipe, {"steps": 3}, "here").as_dict()).startswith("dcd0ae57e7cfdada")
    assert digest(read_protocol("paper", "gender", []).identity()).startswith("1c6a112ba7c6c064")


def test_a_change_makes_another_stage(tree: dict[str, Any], tmp_path: Path) -> None:
    """Whatever decides an outcome is in its key: nothing stale is taken for done."""

    def keys(changed: dict[str, Any], out: str = "out") -> dict[str, set[str]]:
        steps = steps_of(write(changed, tmp_path), tmp_path / out)
        return {kind: {one.stage.key for one in steps if one.stage.kind == kind} for kind in KINDS}

    before = keys(tree)
    assert keys(tree) == before
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("steps: 3", "steps: 4"))
    other = keys({**tree, "upstreams": {**tree["upstreams"], "the same": {}}})
    assert not other["pretraining"] & before["pretraining"]
    protocol = {"name": "quick", "set": ["runs=6", "steps=21", "eval_step=5"]}
    recipe.write_text(recipe.read_text().replace("steps: 4", "steps: 3"))
    third = keys({**tree, "protocol": protocol})
    assert third["pretraining"] == before["pretraining"]
    assert third["measurement"] == before["measurement"]
    assert third["evaluation"] != before["evaluation"]


def test_estimates_follow_what_was_measured(tree: dict[str, Any], tmp_path: Path) -> None:
    """By the journal, which says nothing of what is done."""
    path, workspace = write(tree, tmp_path), Workspace(tmp_path / "out")
    steps = steps_of(path, workspace.folder)
    assert not any(one.done for one in steps)
    first = next(one for one in steps if isinstance(one.stage, Evaluate))
    # As a version wrote it that called an evaluation a cell.
    workspace.note(Entry(first.stage.key, "cell", 30.0, 3.0))
    for line in ('{"key": "x", "kind": "cell", "seconds": -1, "estimate": 1}', "[]", '{"key', ""):
        with (workspace.folder / JOURNAL).open("a") as file:
            file.write(line + "\n")  # of no use, and no harm
    again = timed(steps, workspace)
    for old, new in zip(steps, again):
        if isinstance(old.stage, Evaluate) and not old.stage.needs:
            assert new.seconds == pytest.approx(10 * old.seconds)
    (past,) = timed([replace(first, done=True)], workspace)
    assert past.seconds == 30.0
    assert f"0 of {len(steps)} stages are done" in plan_text(again, {})


def test_an_estimate_counts_the_crops_of_each_family(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(recipe: Recipe, device: str) -> float:
        measured.append(recipe)
        return 3.0  # seconds of an item

    monkeypatch.setattr(estimates, "_measured", {})
    monkeypatch.setattr(estimates, "_measure", measure)
    short = {"words": ViewFamily(), "voice": ViewFamily(crop_s=0.5)}
    recipe = Recipe(steps=1, crop_s=2.0, families=short)
    turns = replace(recipe, rotate=True)
    long = replace(recipe, families={**short, "voice": ViewFamily()})
    for one, seconds in ((recipe, 3 / 2), (turns, 3 / 2 / 1.25), (long, 3 / 2)):
        assert estimates.seconds_of_speech(one, "cpu") == pytest.approx(seconds)
    assert measured == [recipe, long]


def test_estimates_know_fits_folds_and_pretrainings(tree: dict[str, Any], tmp_path: Path) -> None:
    """An evaluation of one step that is a fit takes seconds, and no step's time."""

    def seconds(protocol: str, kind: str) -> float:
        tree["protocol"] = {"name": protocol, "set": ["seed=1"], "selection": "embedding"}
        settings = {"heads": 1} if kind == "seeds" else {}
        tree["analyses"] = {
            "A": {"kind": kind, "upstreams": ["BT"], "tasks": ["gender"], **settings}
        }
        steps = steps_of(write(tree, tmp_path), tmp_path / "out")
        (one,) = (step for step in steps if isinstance(step.stage, Evaluate))
        return one.seconds

    assert 1 < seconds("search", "compare") < 60
    assert seconds("search", "seeds") > 1.5 * seconds("search", "compare")
    assert seconds("speakers", "compare") > 3 * seconds("paper", "compare")


@pytest.fixture
def made(tree: dict[str, Any], tmp_path: Path) -> tuple[Path, Path]:
    """A small study that is done: its file and its folder."""
    tree["analyses"] = {
        "Side by side": {"kind": "compare", "upstreams": ["read", "log-mel"], "tasks": ["gender"]},
        "Ranks": {"kind": "spectrum", "upstreams": ["read"], "tasks": ["gender"]},
    }
    path, out = write(tree, tmp_path), tmp_path / "out"
    run(["study", str(path), "-o", str(out), "--device", "cpu"])
    assert all(step.done for step in steps_of(path, out))
    return path, out


def missing(made: tuple[Path, Path]) -> list[str]:
    """What is left to do, after a look and again after the study went on."""
    path, out = made
    left = [step.stage.title for step in steps_of(path, out) if not step.done]
    run(["study", str(path), "-o", str(out), "--device", "cpu"])
    assert all(step.done for step in steps_of(path, out))
    return left


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    workspace = Workspace(taken / "out")
    refused = pytest.raises(BarlowSpeechError, match=f"cannot write {taken}.*choose another --out")
    with refused, workspace.alone(workspace.folder, "training"):
        pass


def test_a_deleted_record_is_to_be_made(made: tuple[Path, Path]) -> None:
    """Whatever the journal says; so is one of a recording that is another now."""
    (record,) = (made[1] / "records").glob("fbank*/*.json")
    before = record.read_bytes()
    record.unlink()
    assert missing(made) == ["log-mel on gender of tones"]
    record.write_bytes(before[: len(before) // 2])
    assert missing(made) == ["log-mel on gender of tones"]


def test_a_deleted_checkpoint_is_to_be_made(made: tuple[Path, Path]) -> None:
    """A readout's alone, and a pretraining's with what is evaluated of it."""
    (readout,) = (made[1] / "pretraining").glob("*/*/readout-*.safetensors")
    readout.unlink()
    assert missing(made) == ["readout of read", "read on gender of tones"]
    shutil.rmtree(readout.parent)
    assert missing(made) == ["pretrain BT", "readout of read", "read on gender of tones"]
    for state in (readout.parent).glob("training*"):
        state.unlink()
    assert missing(made)[0] == "pretrain BT"


def test_a_deleted_measurement_is_to_be_made(made: tuple[Path, Path]) -> None:
    (file,) = (made[1] / "measurements").glob("*.json")
    before = file.read_bytes()
    file.unlink()
    assert missing(made) == ["spectrum of read on tones"]
    assert file.read_bytes() == before
    file.write_text("{")
    assert missing(made) == ["spectrum of read on tones"]


def test_a_measurement_of_other_weights_is_to_be_made(
    tree: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    """Of an upstream by its name, whose file is another one now; as its results are."""
    mine, out = tmp_path / "mine.safetensors", tmp_path / "out"
    shutil.copy(checkpoint, mine)
    tree["upstreams"] = {"mine": f"barlow_speech@{mine}", "log-mel": "fbank_no_cmvn"}
    tree["analyses"] = {"Ranks": {"kind": "spectrum", "tasks": ["gender"]}}
    path = write(tree, tmp_path)
    run(["study", str(path), "-o", str(out), "--device", "cpu"])
    before = {one.name: one.read_text() for one in (out / "measurements").iterdir()}
    tensors, header = load_tensors(mine)
    save_tensors(mine, {name: one.flip(0) for name, one in tensors.items()}, header)
    assert missing((path, out)) == ["mine on gender of tones", "spectrum of mine on tones"]
    after = {one.name: one.read_text() for one in (out / "measurements").iterdir()}
    outcomes = [json.loads(one)["outcome"] for _, one in before.items() - after.items()]
    assert [one["source"] for one in outcomes] == ["embedding"]  # log-mel has none


def test_projectors_are_fed_what_they_were_trained_on(tree: dict[str, Any], tmp_path: Path) -> None:
    """Whatever readout the study evaluates, of whatever width."""
    tree["analyses"] = {"Sub": {"kind": "subspaces", "upstream": "families"}}
    tables = []
    for readout in ([], [{"layer": 1, "statistics": ["mean", "std", "max"]}]):
        tree["protocol"] |= {"selection": "embedding", "readout": readout}
        out = tmp_path / f"out{len(readout)}"
        run(["study", str(write(tree, tmp_path)), "-o", str(out), "--device", "cpu"])
        (table,) = (out / "tables").glob("sub_*_probes.csv")
        tables.append(table.read_text())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", configs.files("study"))
def test_ready_studies_can_be_planned(name: str, tmp_path: Path) -> None:
    """Without their data."""
    path = configs.find("study", name)
    workspace = Workspace(tmp_path / "out", tmp_path)
    study = read_study(path)
    planner = Planner(study, workspace)
    for analysis in read_analyses(study.analyses, str(path)):
        assert all(planner.stages(request) for request in analysis.requests(study))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("title",), None, "lacks the key 'title'"),
        (("upstream",), {}, "did you mean 'upstreams'"),
        (("upstreams",), {}, "upstreams is empty"),
        (("upstreams", "BT", "seeds"), 11, "seeds must be less than or equal to 10"),
        (("upstreams", "BT", "set"), ["seed=9"], "2 seeds from seed 9 on go beyond 9"),
        (("upstreams", "BT", "overrides"), ["hsci"], "did you mean 'hsic'"),
        (("upstreams", "BT", "set"), ["stepps=3"], "did you mean 'steps'"),
        (("upstreams", "BT", "name"), "fbank", "not several"),
        (("upstreams", "BT", "of"), "half", "not several"),
        (("upstreams", "read", "of"), "log-mel", "not pretrained by this study"),
        (("upstreams", "read", "readout"), [], "of and readout go together"),
        (("upstreams", "read", "readout"), [{"layer": 9}], "no layer 9"),
        (("upstreams", "random", "untrained"), "log-mel", "not pretrained by this study"),
        (("upstreams", "random", "untrained"), "BTT", "did you mean 'BT'"),
        (("analyses", "Views", "kind"), "vews", "did you mean 'views'"),
        (("analyses", "Views", "kind"), None, "lacks the key 'kind'"),
        (("analyses", "Views", "upstream"), "log-mel", "not pretrained by this study"),
        (("analyses", "Seeds", "upstreams"), ["half"], "give it several"),
        (("analyses", "Ablation", "against"), "bt", "choose one of: BT"),
        (("analyses", "Side by side", "tasks"), ["gendr"], "Side by side: .*mean 'gender'"),
        (("analyses", "Side by side", "upstreams"), ["BT", "BT"], "'BT' is named twice"),
        (("analyses", "Factors", "corpora"), ["tone"], "unknown corpus 'tone' in disentangl"),
        (("analyses", "Subspaces", "corpora"), ["tone"], "unknown corpus 'tone' in subspaces"),
        (("analyses", "Subspaces", "upstream"), "random", "'random' is not pretrained"),
        (("analyses", "Ranks", "corpora"), ["tone"], "unknown corpus 'tone' in spectrum"),
        (("analyses", "Hours", "x"), {"BT": 1}, "x has fewer than two upstreams"),
        (("analyses", "Hours", "x"), {"BT": 1, "random": 2}, "'random' is not pretrained"),
        (("analyses", "Hours", "hours"), False, "no place for an x of 0 or less"),
        (("analyses", "Hours", "beside"), ["BT"], "'BT' is named twice"),
        (("analyses", "Labels", "set"), ["steps=9"], "set gives steps, which the analysis gives"),
        (("analyses", "Labels", "fractions"), [1.0, 1.0], "share '1.0' is named twice"),
        (("analyses", "Labels", "fractions"), [], "fractions must be a list of 1 or more"),
        (("analyses", "Labels", "trained"), ["log-mel"], "'fbank_no_cmvn' cannot be trained"),
        (("analyses", "Factors", "factors"), ["gendr"], "did you mean 'gender'"),
        (("analyses", "Factors", "factors"), ["gender"], "has one factor only"),
        (("analyses", "Factors", "dimensions"), 1, "dimensions must be"),
        (("analyses", "Subspaces", "recordings"), 10, "factor '.*' has no"),
        (("analyses", "Ablation", "upstreams"), ["BT"], "nothing is compared against 'BT'"),
        (("analyses", "Views", "families"), ["mian"], "did you mean 'main'"),
        (("analyses", "Views", "recording"), 99, "no recording 99 of the 48"),
        (("upstreams", "log-mel"), "fbnk", "did you mean 'fbank'"),
        (
            ("protocol",),
            {
                "name": "pretraining",
                "set": ["runs=2", "levels={pretrain_seed: 2, init: 1, order: 1}"],
            },
            "'BT' is evaluated by its first pretraining",
        ),
        (("analyses", "Transfer", "home"), {"BTT": []}, "did you mean 'BT'"),
        (("analyses", "Transfer", "home"), {"BT": ["tone"]}, "unknown corpus 'tone'"),
        (("analyses", "Labels", "fractions"), [2.0], "label_fraction must be"),
        (("analyses", "Labels", "fraction"), [0.5], "did you mean 'fractions'"),
        (("protocol", "name"), "qick", "did you mean 'quick'"),
        (("protocol", "set"), ["stepss=2"], "did you mean 'steps'"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_done(
    tree: dict[str, Any], tmp_path: Path, where: tuple[str, ...], value: Any, message: str
) -> None:
    node = tree
    for key in where[:-1]:
        node = node[key]
    if value is None:
        del node[where[-1]]
    else:
        node[where[-1]] = value
    path = write(tree, tmp_path)
    with pytest.raises(BarlowSpeechError, match=message):
        run(["study", str(path), "-o", str(tmp_path / "out"), "--device", "cpu"])
    assert not (tmp_path / "out").exists()


def test_a_study_of_corpora_elsewhere_asks_for_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BarlowSpeechError, match="say by --data-root in which folder it lies"):
        run(["study", "search", "-o", "out", "--device", "cpu"])


def test_corpora_of_one_name_are_refused_before_any_training(
    tree: dict[str, Any], tones: Path, tmp_path: Path
) -> None:
    """Whether a task of theirs is evaluated or not."""
    other = shutil.copytree(tones.parent, tmp_path / "other" / tones.parent.name)
    for tasks, kind in ((["gender"], "compare"), ([], "spectrum")):
        tree["corpora"][str(other / "manifest.tsv")] = tasks
        tree["analyses"] = {"A": {"kind": kind}}
        path = write(tree, tmp_path)
        with pytest.raises(BarlowSpeechError, match="2 corpora are called 'tones'"):
            run(["study", str(path), "-o", str(tmp_path / "out"), "--device", "cpu"])
    assert not (tmp_path / "out").exists()


def test_an_upstream_that_is_only_measured_is_looked_at_before_any_training(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    tree["upstreams"]["several"] = f"barlow_speech@{tmp_path}/*/encoder.safetensors"
    tree["analyses"] = {"F": {"kind": "disentanglement", "upstreams": ["BT", "several"]}}
    with pytest.raises(BarlowSpeechError, match="does not exist; check the path"):
        run(["study", str(write(tree, tmp_path)), "-o", str(tmp_path / "out"), "--device", "cpu"])
    assert not (tmp_path / "out").exists()


def test_a_folder_of_results_may_have_any_name(tree: dict[str, Any], tmp_path: Path) -> None:
    """Also marks that stand for several files in a pattern."""
    tree["analyses"] = {
        "Side": {"kind": "compare", "upstreams": ["BT"], "tasks": ["gender"]},
        "Seeds": {"kind": "seeds", "upstreams": ["BT"], "tasks": ["gender"], "heads": 2},
    }
    out = tmp_path / "out [of] 2*?"
    run(["study", str(write(tree, tmp_path)), "-o", str(out), "--device", "cpu"])
    assert sorted(len(one.values) for one in read_results(out)) == [4, 6]


def test_a_task_that_leaks_is_refused_before_any_training(
    tree: dict[str, Any], tones: Path, tmp_path: Path
) -> None:
    lines = tones.read_text().splitlines()
    leaky = tones.parent / "leaky.tsv"
    leaky.write_text("\n".join([*lines, lines[1].replace("\ttrain", "\ttest")]) + "\n")
    tree["corpora"] = {str(leaky): TASKS}
    del tree["analyses"]["Transfer"]["home"]
    with pytest.raises(BarlowSpeechError, match="in train and test"):
        run(["study", str(write(tree, tmp_path)), "-o", str(tmp_path / "out"), "--device", "cpu"])
    leaky.unlink()
    assert not (tmp_path / "out").exists()
