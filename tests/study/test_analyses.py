"""Every analysis on results that are made up, in memory: no study, and no file is opened."""

from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch

from barlow_speech.benchmark.analyses import kinds, read_analyses
from barlow_speech.benchmark.analyses._requests import (
    CheckpointFacts,
    CheckpointRequest,
    Computation,
    Measurement,
    Request,
    ResultRequest,
    Results,
)
from barlow_speech.benchmark.analyses._tables import best_of_columns
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.figures.correlation import Correlations
from barlow_speech.benchmark.figures.views import ShownViews
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.results import Cost, Setup, TaskResult
from barlow_speech.benchmark.study.config import Member, Study
from barlow_speech.upstream.model.frontend import FrontEnd, FrontEndSettings
from barlow_speech.upstream.pretraining.recipe import ViewFamily

CORPUS = "folder/tones/manifest.tsv"
STUDY = Study(
    title="Made up",
    corpora={CORPUS: ("gender", "emotion")},
    analyses={},
    upstreams={
        "ours": Member(seeds=2),
        "less": Member(set=("data.share=0.1",)),
        "random": Member(untrained="ours"),
        "log-mel": Member(name="fbank"),
    },
)
ANALYSES: dict[str, dict[str, Any]] = {
    "Side by side": {"kind": "compare"},
    "Against one": {"kind": "compare", "against": "ours", "upstreams": ["random"]},
    "Two views": {"kind": "views", "upstream": "ours"},
    "Correlation": {"kind": "correlation", "upstreams": ["ours"]},
    "Hours": {"kind": "curve", "hours": True, "x": {"less": 0, "ours": 0}, "beside": ["log-mel"]},
    "Labels": {"kind": "labels", "fractions": [0.1, 1.0], "trained": ["ours", "random"]},
    "Steps": {"kind": "steps", "upstreams": ["ours", "log-mel"]},
    "Seeds": {"kind": "seeds", "upstreams": ["ours"], "heads": 3},
    "Transfer": {"kind": "transfer", "home": {"ours": [CORPUS]}},
    "Trials": {"kind": "trials"},
    "Factors": {"kind": "disentanglement", "upstreams": ["ours", "random"]},
    "Subspaces": {"kind": "subspaces", "upstream": "ours"},
    "Ranks": {"kind": "spectrum"},
}
RUNS = 10
LEVEL = {"ours": 0.9, "less": 0.8, "random": 0.6, "log-mel": 0.5}


def result(request: ResultRequest) -> TaskResult:
    """Ten runs about the level of the upstream, paired by their seeds."""
    noise_R = np.random.default_rng(len(request.task)).normal(0, 0.01, RUNS)
    own_R = np.random.default_rng(len(request.label)).normal(0, 0.005, RUNS)
    values = LEVEL[request.label] + noise_R + own_R
    steps = ((10, 0.5), (20, 0.8), (30, 0.85))
    return TaskResult(
        request.shown or request.label,
        request.task,
        "tones",
        "top1",
        tuple(values.tolist()),
        seeds=tuple(range(RUNS)),
        sources=tuple({"pretrain_seed": i // 5, "init": i % 5} for i in range(RUNS))
        if request.every_seed
        else tuple({"init": i} for i in range(RUNS)),
        setup=Setup(lr=1e-3, chance=0.5),
        curves=(steps,) * RUNS,
        cost=Cost(parameters=1000, macs_per_second=1e6, real_time_factor=0.01),
    )


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "ci95": [value - 0.1, value + 0.1]}


def metrics(request: Measurement) -> dict[str, Any]:
    probe = {"layer": "layer 1", "factor": "gender", "accuracy": estimate(0.8), "chance": 0.5}
    return {
        "corpus": "tones",
        "notes": ["12 of 72 recordings, drawn with seed 0"],
        "rows": [
            {"upstream": label, "basis": "own", "metrics": {"mig": estimate(0.3)}}
            for label in request.upstreams
        ],
        "differences": [
            {"upstream": "ours", "basis": "own", "less_upstream": "random", "less_basis": "own",
             "metrics": {"mig": estimate(0.2)}},
        ],
        "probes": {"ours": {"probes": [{**probe, "enough": {"components": 3}}]}},
    }  # fmt: skip


def probes(request: Measurement) -> list[dict[str, Any]]:
    return [
        {"code": code, "factor": "gender", "dimensions": 4, "accuracy": accuracy,
         "ci95": [accuracy - 0.1, accuracy + 0.1], "chance": 0.5}
        for code, accuracy in (("embedding", 0.9), ("z of main", 0.7), ("z of other", 0.8))
    ]  # fmt: skip


def spectrum(request: Measurement) -> dict[str, Any]:
    return {"source": "embedding", "effective_rank": 2.5, "participation": 2.0, "dimensions": 3,
            "most": 3, "variances": [3.0, 2.0, 1.0]}  # fmt: skip


def views(request: Computation) -> list[ShownViews]:
    frontend = FrontEnd(FrontEndSettings(n_mels=16))
    waves_VN = 0.1 * torch.randn(2, 4800, generator=torch.Generator().manual_seed(0))
    frames_VTF = frontend(waves_VN)
    return [
        ShownViews(Path("a.wav"), 0.3, "main", ViewFamily(), waves_VN, waves_VN, frames_VTF,
                   frontend, 0)
    ]  # fmt: skip


def matrices(request: Computation) -> list[Correlations]:
    return [Correlations(0.5 * torch.ones(4, 4), torch.eye(4), "main", 8, "utterance", 3)]


def facts(request: CheckpointRequest) -> CheckpointFacts:
    steps = 0 if request.label == "random" else 50
    return CheckpointFacts(1000, steps, 60.0, 1.0 if request.label == "less" else 10.0)


COMPUTED: dict[str, Callable[[Any], Any]] = {
    "disentanglement": metrics, "subspaces": probes, "spectrum": spectrum, "views": views,
    "correlation": matrices,
}  # fmt: skip


def outcome(kind: str, request: Request) -> Any:
    if isinstance(request, ResultRequest):
        return result(request)
    return facts(request) if isinstance(request, CheckpointRequest) else COMPUTED[kind](request)


@pytest.fixture
def no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only installed packages (fonts, tables) may be read."""
    installed = (sys.prefix, sys.base_prefix, mpl.get_data_path(), mpl.get_cachedir())
    plain = io.open

    def refusing(file: Any, *arguments: Any, **named: Any) -> Any:
        assert str(file).startswith(installed), f"{file} was opened"
        return plain(file, *arguments, **named)

    monkeypatch.setattr(builtins, "open", refusing)
    monkeypatch.setattr(io, "open", refusing)  # what pathlib calls


def test_every_kind_is_tried_out() -> None:
    assert sorted({settings["kind"] for settings in ANALYSES.values()}) == kinds()


@pytest.fixture
def sections(request: pytest.FixtureRequest) -> Callable[[str], Section]:
    def section(title: str) -> Section:
        (analysis,) = read_analyses({title: ANALYSES[title]}, "here")
        requests = analysis.requests(STUDY)
        results = Results(tuple((one, outcome(ANALYSES[title]["kind"], one)) for one in requests))
        request.getfixturevalue("no_file")
        return analysis.section(results)

    return section


@pytest.mark.parametrize("title", ANALYSES)
def test_an_analysis_is_a_function_of_its_results(
    title: str, sections: Callable[[str], Section]
) -> None:
    section = sections(title)
    assert section.title == title
    assert section.parts
    assert section.notes


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("Side by side", "On gender of tones, ours is the best (90."),
        ("Against one", "Against ours, random is worse on gender of tones"),
        ("Hours", "gender – tones: 10 against 1 (hours of speech for pretraining) gains"),
        ("Labels", "ours and ours, fine-tuned have the best mean at 10 %"),
        ("Transfer", "ours, pretrained there, is separably better than 3 of the 3 others"),
        ("Trials", "Of 4 trials, ours has the best mean over the tasks"),
        ("Factors", "tones: ours (own) against random: more mig."),
        ("Subspaces", "among the projectors, the best mean is that of z of other for gender"),
    ],
)
def test_findings(title: str, sentence: str, sections: Callable[[str], Section]) -> None:
    assert any(sentence in finding for finding in sections(title).findings)


def requested(kind: str, settings: dict[str, Any], study: Study = STUDY) -> list[Any]:
    (analysis,) = read_analyses({"A": {"kind": kind, **settings}}, "here")
    return analysis.requests(study)


def section_of(
    kind: str, settings: dict[str, Any], made: Callable[[ResultRequest], TaskResult]
) -> Section:
    (analysis,) = read_analyses({"A": {"kind": kind, **settings}}, "here")
    outcomes = tuple(
        (one, made(one) if isinstance(one, ResultRequest) else outcome(kind, one))
        for one in analysis.requests(STUDY)
    )
    return analysis.section(Results(outcomes))


def alike(request: ResultRequest) -> TaskResult:
    """The same runs for whichever upstream."""
    return replace(result(replace(request, label="ours")), upstream=request.shown or request.label)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("trials", "Of 2 trials, ours and less have the best mean"),
        ("labels", "ours and less have the best mean at 1 %"),
        ("steps", "after 10 steps ours and less have the best mean"),
    ],
)
def test_of_equal_means_none_is_called_the_best_alone(kind: str, sentence: str) -> None:
    findings = section_of(kind, {"upstreams": ["ours", "less"]}, alike).findings
    assert any(sentence in finding for finding in findings), findings


def test_projectors_of_equal_accuracy_are_all_named() -> None:
    (analysis,) = read_analyses({"S": {"kind": "subspaces", "upstream": "ours"}}, "here")
    (request,) = analysis.requests(STUDY)
    assert isinstance(request, Measurement)
    equal = [{**one, "accuracy": 0.8} for one in probes(request)]
    (finding,) = analysis.section(Results(((request, equal),))).findings
    assert "that of z of main and z of other for gender" in finding


@pytest.mark.parametrize("kind", ["labels", "steps"])
def test_two_encoders_from_scratch_are_two_curves(kind: str) -> None:
    study = replace(STUDY, upstreams={**STUDY.upstreams, "other": Member(untrained="less")})
    given = {"upstreams": ["ours"], "trained": ["random", "other"], "fractions": [0.5, 1.0]}
    shown = {one.shown for one in requested(kind, given, study) if one.shown}
    assert shown == {"random, trained from scratch", "other, trained from scratch"}


def test_the_learning_rate_of_what_is_trained_is_the_studys() -> None:
    """`set` goes over what the analysis takes by itself."""
    given = {"trained": ["ours"], "set": ["encoder.crop_s=1", "learning_rates=[0.1]"]}
    protocols = [
        read_protocol("quick", one.task, one.end_to_end, dict(one.changes), train_encoder=True)
        for one in requested("labels", given)
        if one.end_to_end
    ]
    assert {one.learning_rates for one in protocols} == {(0.1,)}


def test_a_row_of_a_curve_is_named_and_only_trained_ones_have_an_x() -> None:
    section = section_of("curve", {"x": {"less": 1, "ours": 2}, "beside": ["log-mel"]}, result)
    (table,) = (part for part in section.parts if isinstance(part, Table))
    rows = [(row[2], row[4]) for row in table.rows if row[0] == "gender"]
    assert rows == [("less", 1), ("ours", 2), ("log-mel", None)]


def test_a_curve_of_one_x_compares_nothing() -> None:
    (finding,) = section_of("curve", {"x": {"less": 1, "ours": 1}}, result).findings
    assert "All have the same x" in finding


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("curve", {"x": {"less": 1, "ours": 2}}), ("labels", {"upstreams": ["ours"]})],
)
def test_bands_are_said_to_be_over_what_they_are_over(kind: str, settings: dict[str, Any]) -> None:
    section = section_of(kind, settings, result)
    (table,) = (part for part in section.parts if isinstance(part, Table))
    (over,) = {row[3] for row in table.rows}
    assert any(f"95 % interval of the mean over {over}." in note for note in section.notes)


@pytest.mark.parametrize("kind", ["transfer", "labels", "trials"])
def test_another_metric_is_named(kind: str) -> None:
    section = section_of(kind, {}, lambda request: replace(result(request), metric="uar"))
    captions = [part.caption for part in section.parts if isinstance(part, Picture)]
    text = " ".join([*section.findings, *section.notes, *captions])
    assert "acro recall" in text
    assert "top-1" not in text


def test_steps_of_heads_that_take_none_say_so() -> None:
    section = section_of(
        "steps", {"upstreams": ["ours"]}, lambda request: replace(result(request), curves=((),))
    )
    (finding,) = section.findings
    assert "No curve on dev is recorded of ours on gender of tones" in finding
    assert not section.parts


def test_recordings_that_were_left_out_are_said() -> None:
    (request,) = requested("disentanglement", {"upstreams": ["ours", "random"]})
    (analysis,) = read_analyses({"A": ANALYSES["Factors"]}, "here")
    section = analysis.section(Results(((request, metrics(request)),)))
    assert "tones: 12 of 72 recordings, drawn with seed 0." in section.notes


def test_a_difference_of_nothing_has_no_sign_of_its_own() -> None:
    section = section_of("compare", {"upstreams": ["ours", "less"]}, alike)
    (picture,) = (
        one for one in section.parts if isinstance(one, Picture) and "differences" in one.name
    )
    assert {text.get_text() for axes in picture.figure.axes for text in axes.texts} == {"+0.0"}


def test_equal_means_are_best_together_whatever_order_they_were_added_in() -> None:
    means = np.array([[np.mean([0.1, 0.2, 0.3]), np.nan], [np.mean([0.3, 0.2, 0.1]), 0.4]])
    assert means[0, 0] != means[1, 0]
    assert best_of_columns(means).tolist() == [[True, False], [True, True]]


def test_a_comparison_names_all_that_have_the_best_mean() -> None:
    """One of which is separated from an upstream that the other is not separated from."""
    noise_R = np.random.default_rng(1).normal(0, 0.1, RUNS)
    runs = {"ours": np.full(RUNS, 0.8), "less": 0.8 + noise_R - noise_R.mean(),
            "random": np.full(RUNS, 0.79)}  # fmt: skip

    def made(request: ResultRequest) -> TaskResult:
        return replace(result(request), values=tuple(runs[request.label].tolist()))

    for order in (["ours", "less", "random"], ["random", "less", "ours"]):
        found = section_of("compare", {"upstreams": order}, made).findings[0]
        first, second = (label for label in order if label != "random")
        assert found == (
            f"On gender of tones, {first} and {second} have the best mean (80.00 %); they are not "
            "separated from each other, nor all of them from random (over runs)."
        )
