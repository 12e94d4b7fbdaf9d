"""Intervals and tests over runs × speakers: against closed forms, brute force and simulation."""

from __future__ import annotations

import base64
import dataclasses
import math
import zlib

import numpy as np
import pytest
from other_speakers import World, coverage
from scipy import stats

from barlow_speech.benchmark.analyses._findings import findings
from barlow_speech.benchmark.analyses._scores import pairs, scores
from barlow_speech.benchmark.reporting.document import Entry, Table
from barlow_speech.benchmark.reporting.leaderboard import leaderboard, notes
from barlow_speech.benchmark.statistics import sources
from barlow_speech.benchmark.statistics.comparison import compare, compare_all, leaders, wilson
from barlow_speech.benchmark.statistics.crossed import (
    Crossed,
    crossed,
    pigeonhole_draws,
    pigeonhole_interval,
    wild_p,
)
from barlow_speech.benchmark.statistics.influence import influence, parts
from barlow_speech.benchmark.statistics.metrics import METRICS, influences, metrics
from barlow_speech.benchmark.statistics.predictions import Predictions, pack
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary

RUNS, CLASSES = 12, 3
EXPERIMENTS = 100


def of_parts(score_R: np.ndarray, part_RK: np.ndarray, size_K: np.ndarray) -> Crossed:
    """Of clusters whose recordings are all alike."""
    cluster_N = np.repeat(np.arange(len(size_K)), size_K)
    mean_N = (part_RK.mean(axis=0) / size_K)[cluster_N]
    return crossed(score_R, part_RK, mean_N, cluster_N, size_K / size_K.sum(), size_K)


def result(
    upstream: str,
    speaker_N: np.ndarray | None,
    right: float = 0.7,
    seed: int = 0,
    *,
    runs: int = RUNS,
    recordings: str = "same",
    metric: str = "top1",
    truth_N: np.ndarray | None = None,
) -> TaskResult:
    """Runs on recordings, some of which are hard for all of them."""
    generator = np.random.default_rng(seed)
    count = 120 if speaker_N is None else len(speaker_N)
    truth_N = np.arange(count) % CLASSES if truth_N is None else truth_N
    classes = 1 + int(truth_N.max())
    easy_N = generator.beta(8 * right, 8 * (1 - right), count)
    packed, values = [], []
    for _ in range(runs):
        other_N = (truth_N + generator.integers(1, classes, count)) % classes
        said_N = np.where(generator.random(count) < easy_N, truth_N, other_N)
        packed.append((pack(said_N),))
        values.append(metrics(truth_N, said_N, classes)[metric])
    names = tuple(f"class {i}" for i in range(classes))
    speakers = () if speaker_N is None else (pack(speaker_N + 1),)
    kept = Predictions(names, (pack(truth_N),), tuple(packed), speakers, recordings)
    return TaskResult(upstream, "emotion", "toy", metric, tuple(values), predictions=kept)


def of(speakers: int, count: int = 120) -> np.ndarray:
    return np.arange(count) * speakers // count


@pytest.mark.parametrize("metric", METRICS)
def test_influences_are_what_more_weight_on_a_recording_does(metric: str) -> None:
    generator = np.random.default_rng(3)
    truth_N, said_N = generator.integers(0, 4, (2, 40))
    got = influences(truth_N, said_N, 5, metric)  # the fifth class has no recording
    plain = metrics(truth_N, said_N, 5)[metric]
    assert abs(got.sum()) < 1e-12
    often = 400  # a recording is there 401 times beside 400 of each other
    for place in (0, 7, 39):
        many = np.repeat(np.arange(40), np.where(np.arange(40) == place, often + 1, often))
        moved = metrics(truth_N[many], said_N[many], 5)[metric] - plain
        assert moved * often == pytest.approx(got[place], abs=2e-4)


def test_a_balanced_design_has_the_mean_squares_of_its_analysis_of_variance() -> None:
    generator = np.random.default_rng(0)
    table_RK = generator.normal(0.5, 0.1, (6, 9)) + generator.normal(0, 0.2, 9)
    score_R = table_RK.mean(axis=1)
    got = of_parts(score_R, (table_RK - score_R[:, None]) / 9, np.full(9, 4))
    of_run = 9 * score_R.var(ddof=1)
    of_cluster = 6 * table_RK.mean(axis=0).var(ddof=1)
    rest = table_RK - score_R[:, None] - table_RK.mean(axis=0) + table_RK.mean()
    of_both = np.square(rest).sum() / (5 * 8)
    assert got.runs_variance == pytest.approx(of_run / 54)
    assert got.clusters_variance == pytest.approx(of_cluster / 54)
    assert got.both_variance == pytest.approx(of_both / 54)
    assert (got.runs_df, got.clusters_df) == (5, pytest.approx(8))
    df = (of_run + of_cluster - of_both) ** 2
    df /= of_run**2 / 5 + of_cluster**2 / 8 + of_both**2 / 40
    assert got.df == pytest.approx(max(df, 5))


def test_one_run_of_equal_speakers_is_a_t_over_their_means() -> None:
    mean_K = np.random.default_rng(1).normal(0.1, 0.2, 7)
    score = np.array([mean_K.mean()])
    got = of_parts(score, (mean_K - mean_K.mean())[None] / 7, np.full(7, 5))
    assert got.p == pytest.approx(stats.ttest_1samp(mean_K, 0).pvalue)
    ends = stats.t.interval(0.95, 6, mean_K.mean(), stats.sem(mean_K))
    assert got.interval() == pytest.approx(list(ends))


def test_degrees_of_freedom_fall_where_few_speakers_have_most_recordings() -> None:
    part_RK = np.random.default_rng(2).normal(0, 0.01, (1, 10))
    size_K = np.array([400, 400, *[10] * 8])
    got = of_parts(np.array([0.5]), part_RK - part_RK.mean(), size_K)
    assert got.correlation == 1.0 and 1 < got.clusters_df < 3  # two speakers decide


def test_the_bootstrap_draws_runs_and_speakers_apart() -> None:
    """Its spread is that of weighting whole scores by brute force."""
    cell = result("a", of(12))
    kept = cell.predictions
    assert kept is not None
    rows = np.array(list(parts(kept, "top1", "speakers", range(RUNS))))
    got = pigeonhole_draws(np.array(cell.values), rows)
    right_RK = rows + np.array(cell.values)[:, None] * influence(kept, "top1", "speakers").weight_K
    generator = np.random.default_rng(9)
    brute = [
        right_RK[np.ix_(generator.integers(0, RUNS, RUNS), generator.integers(0, 12, 12))].sum()
        / RUNS
        for _ in range(4000)
    ]
    assert got.mean() == pytest.approx(np.mean(cell.values), abs=2e-3)
    assert got.std() == pytest.approx(np.std(brute), rel=0.06)
    low, high = pigeonhole_interval(got)
    assert [low, high] == pytest.approx(np.quantile(brute, [0.025, 0.975]), abs=6e-3)


def test_the_wild_bootstrap_finds_what_is_there_and_only_that() -> None:
    generator = np.random.default_rng(4)
    for clusters in (3, 5, 8):
        size_K = np.full(clusters, 4)
        false = 0
        for _ in range(60):
            mean_K = generator.normal(0, 0.1, clusters)
            apart_K = (mean_K - mean_K.mean())[None] / clusters
            p = wild_p(of_parts(np.array([mean_K.mean()]), apart_K, size_K))
            assert p is not None
            false += p < 0.05
        assert false <= stats.binom.ppf(0.999, 60, 0.05)
    assert wild_p(of_parts(np.array([0.5]), apart_K + 0.001 * mean_K, size_K)) < 0.01


def test_intervals_hold_the_truth_for_other_speakers_and_those_of_runs_do_not() -> None:
    """The table of benchmark/README.md, a little of it."""
    for sizes in ("equal", "unequal"):
        got = coverage(World(10, 0.2, sizes), EXPERIMENTS, bootstrap=False)
        assert 0.91 < got.mean < 0.99 and 0.91 < got.difference < 0.99
        assert got.false <= stats.binom.ppf(0.999, EXPERIMENTS, 0.05) / EXPERIMENTS
        assert got.runs_mean < 0.6 and got.runs_false > 0.4


def test_the_default_is_over_runs_and_speakers() -> None:
    a, b = result("a", of(10), 0.8), result("b", of(10), 0.5, seed=1)
    pair = compare_all([a, b])[0]
    assert pair["over"] == "runs × speakers" and pair["separable"] and pair["untested"] is None
    low, high = pair["ci95"]
    runs_low, runs_high = pair["runs_ci95"]
    assert low < runs_low < pair["difference"] < runs_high < high
    summary = cell_summary(a)
    assert summary["over"] == "runs × speakers"
    assert summary["ci95"][0] < summary["runs_ci95"][0] < summary["mean"]
    flipped = compare(b, a)
    assert flipped["p"] == pytest.approx(pair["p"])
    assert flipped["ci95"] == pytest.approx([-high, -low])
    assert pair["speakers_better"] == 1 - flipped["speakers_better"] > 0.8
    assert pair["speakers_better_ci95"] == pytest.approx(wilson(pair["speakers_better"], 10))


def test_few_speakers_say_nothing_about_others() -> None:
    for count, who in ((1, "one speaker"), (2, "2 speakers"), (4, "4 speakers")):
        group = [result("a", of(count), 0.9), result("b", of(count), 0.3, seed=1)]
        (pair,) = compare_all(group)
        assert pair["p"] is None and not pair["separable"]
        assert who in pair["untested"] and "nothing about others" in pair["untested"]
        assert pair["p_runs_holm"] < 0.001 and pair["separable_runs"]  # what still holds is said
        text = findings(group)
        assert "was not tested" in text and "Over the runs alone, on these very recordings" in text
        (table,) = scores(by_task(group)).parts
        assert isinstance(table, Table)
        assert not any(isinstance(one, Entry) and one.marked for row in table.rows for one in row)
        (board,) = leaderboard(group).boards
        assert {score.rank for row in board.rows for score in row.scores if score} == {None}
        assert any(who in note for note in notes(board))
    five = compare_all([result("a", of(5), 0.9), result("b", of(5), 0.3, seed=1)])[0]
    assert five["separable"]


def test_unknown_speakers_leave_the_recordings() -> None:
    some = of(10)
    some[3] = -1  # a recording whose speaker has no name
    for speaker_N in (None, some):
        a, b = result("a", speaker_N, 0.8), result("b", speaker_N, 0.5, seed=1)
        pair = compare(a, b)
        assert pair["over"] == "runs × recordings" and pair["speakers_better"] is None
        (sentence,) = sources.limits([a, b])
        assert "speakers of the test recordings are not known" in sentence


def test_without_predictions_the_runs_alone_speak() -> None:
    a = dataclasses.replace(result("a", of(10), 0.8), predictions=None)
    pair = compare(a, result("b", of(10), 0.5, seed=1))
    assert pair["over"] == "runs" and pair["ci95"] == pair["runs_ci95"]
    assert pair["p"] == pair["p_sign_flip"]
    (sentence,) = sources.limits([a])
    assert "no predictions are stored" in sentence


def test_different_recordings_are_not_compared() -> None:
    a, b = result("a", of(10), 0.8), result("b", of(10), 0.5, recordings="others")
    pair = compare_all([a, b])[0]
    assert pair["untested"] == "they judged different recordings"
    assert pair["p"] is None and pair["ci95"] is None and not pair["separable"]
    assert "they judged different recordings" in findings([a, b])


def spoken_by(one: TaskResult, speaker_N: np.ndarray | None) -> TaskResult:
    assert isinstance(one.predictions, Predictions)
    speakers = () if speaker_N is None else (pack(speaker_N + 1),)
    kept = dataclasses.replace(one.predictions, speakers=speakers)
    return dataclasses.replace(one, predictions=kept)


def test_a_pair_is_of_the_same_people_whatever_each_record_calls_them() -> None:
    who_N = np.random.default_rng(4).permutation(of(8))
    a, b = result("a", who_N), result("b", who_N, 0.6, seed=1)
    wanted = compare(a, b)
    assert wanted["untested"] is None and wanted["over"] == "runs × speakers"
    other = np.random.default_rng(5).permutation(8)
    assert compare(spoken_by(a, other[who_N]), b) == wanted
    # A record of before speakers were kept is of those that the other one names.
    assert compare(spoken_by(a, None), b) == wanted == compare(a, spoken_by(b, None))


def test_who_spoke_must_be_the_same_in_both_to_say_something_about_others() -> None:
    a, b = result("a", of(8)), result("b", of(8), 0.6, seed=1)
    moved_N = of(8)
    moved_N[-1] = 0
    for pair in (compare(a, spoken_by(b, moved_N)), compare(spoken_by(a, of(10)), b)):
        assert pair["untested"] == "they name other speakers of the same recordings"
        assert pair["p"] is None and pair["ci95"] is None and pair["speakers_better"] is None


def test_truth_is_compared_by_its_numbers_and_not_by_how_they_were_packed() -> None:
    a = result("a", of(8))
    assert isinstance(a.predictions, Predictions)
    planes = zlib.decompress(base64.b64decode(a.predictions.truth[0]))
    otherwise = base64.b64encode(zlib.compress(planes, 0)).decode()
    assert otherwise != a.predictions.truth[0]
    b = dataclasses.replace(a.predictions, truth=(otherwise,))
    assert a.predictions.of_the_same(b) and b.of_the_same(a.predictions)


def test_macro_metrics_have_the_same_draws() -> None:
    """Of classes of one size all three metrics vary about alike."""
    truth_N = np.tile(np.arange(3), 40)
    spans = {}
    for metric in METRICS:
        cell = result("a", np.arange(120) // 12, metric=metric, truth_N=truth_N)
        low, high = cell_summary(cell)["ci95"]
        spans[metric] = high - low
    assert spans["uar"] == pytest.approx(spans["top1"], rel=0.05)
    assert spans["f1"] == pytest.approx(spans["top1"], rel=0.25)


def test_other_speakers_are_other_classes_where_speakers_are_told_apart() -> None:
    speaker_N = np.arange(120) % 10
    cells = {m: result("a", speaker_N, metric=m, truth_N=speaker_N) for m in ("top1", "uar")}
    ends = {metric: cell_summary(cell)["ci95"] for metric, cell in cells.items()}
    assert ends["uar"] == pytest.approx(ends["top1"])


def test_runs_that_share_levels_have_an_interval_over_them_and_speakers() -> None:
    cell = result("a", of(10))
    levels = tuple({"pretrain_seed": i // 4, "init": i % 4} for i in range(RUNS))
    shared = dataclasses.replace(cell, sources=levels)
    numbers = cell_summary(shared)
    assert numbers["over"] == "pretrainings and initialisations × speakers"
    assert numbers["ci95"][0] < numbers["runs_ci95"][0]
    assert compare(shared, dataclasses.replace(shared, upstream="b"))["p"] is None


def test_equal_upstreams_are_equal() -> None:
    a = result("a", of(10))
    pair = compare(a, dataclasses.replace(a, upstream="b"))
    assert pair["p"] == 1.0 and pair["ci95"] == [0.0, 0.0] and pair["speakers_better"] == 0.5
    assert set(leaders([a, dataclasses.replace(a, upstream="b")])) == {"a", "b"}


def test_a_large_result_is_worked_out_run_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = compare(result("a", None, 0.8), result("b", None, 0.5, seed=1))
    monkeypatch.setattr("barlow_speech.benchmark.statistics.influence.KEPT", 10)
    again = compare(result("a", None, 0.8, seed=5), result("b", None, 0.5, seed=1))
    assert again["over"] == kept["over"]
    influence.cache_clear()
    sources._of_pair.cache_clear()
    streamed = compare(result("a", None, 0.8), result("b", None, 0.5, seed=1))
    influence.cache_clear()
    assert streamed["p"] == pytest.approx(kept["p"], rel=1e-4)
    assert math.isclose(streamed["ci95"][0], kept["ci95"][0], rel_tol=1e-5)


def test_the_page_shows_every_test(tmp_path: object) -> None:
    group = [result("a", of(10), 0.8), result("b", of(10), 0.5, seed=1)]
    section = pairs(by_task(group))
    assert section is not None
    (table,) = section.parts
    assert isinstance(table, Table)
    row = dict(zip(table.columns, table.rows[0]))
    assert row["over"] == "runs × speakers" and row["bootstrap"] != "–" and row["p (wild)"] != "–"
