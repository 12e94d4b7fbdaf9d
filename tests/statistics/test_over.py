"""Statements over the sources that are asked for: closed forms, and simulation for pretrainings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats
from test_sources import RUNS, of, result

from barlow_speech.benchmark.analyses._scores import pairs, scores
from barlow_speech.benchmark.reporting.leaderboard import leaderboard, notes
from barlow_speech.benchmark.statistics import sources
from barlow_speech.benchmark.statistics.comparison import compare, compare_all, leaders
from barlow_speech.benchmark.statistics.influence import influence, parts
from barlow_speech.benchmark.statistics.over import DEFAULT, Over, read_over
from barlow_speech.benchmark.statistics.planning import parts_of, plan_text, pretrainings_text
from barlow_speech.benchmark.statistics.predictions import Predictions
from barlow_speech.benchmark.statistics.ranking import rank_intervals
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError


def asked(cell: TaskResult, over: str, **changes: object) -> TaskResult:
    return dataclasses.replace(cell, over=read_over(over), **changes)


def levels(source: str, each: int) -> dict[str, object]:
    """So many runs of each pretraining or split, with heads of their own."""
    return {"sources": tuple({source: i // each, "init": i} for i in range(RUNS))}


def kept(cell: TaskResult) -> Predictions:
    assert cell.predictions is not None
    return cell.predictions


def test_sources_are_read_by_name() -> None:
    assert read_over("") == read_over("runs,speakers") == read_over("speakers, runs") == DEFAULT
    assert read_over("pretrainings") == Over("pretrainings", "")
    assert read_over("recordings") == Over("", "recordings")
    with pytest.raises(BarlowSpeechError, match="did you mean 'speakers'"):
        read_over("runs,speaker")
    for two in ("runs,splits", "recordings,speakers", "runs,runs"):
        with pytest.raises(BarlowSpeechError, match=f"--over {two}: give one of"):
            read_over(two)


def test_speakers_alone_are_a_t_over_their_means_over_these_runs() -> None:
    a, b = (asked(result(n, of(10), r, seed=s), "speakers") for n, r, s in
            (("a", 0.8, 0), ("b", 0.7, 1)))  # fmt: skip
    mean_K = np.zeros(10)
    for cell, sign in ((a, 1), (b, -1)):
        rows = np.array(list(parts(kept(cell), "top1", "speakers", range(RUNS))))
        whole = np.array(cell.values)[:, None] * influence(kept(cell), "top1", "speakers").weight_K
        mean_K += sign * 10 * (rows + whole).mean(axis=0)
    pair = compare(a, b)
    assert pair["over"] == "speakers"
    assert pair["p"] == pytest.approx(stats.ttest_1samp(mean_K, 0).pvalue, rel=1e-3)
    ends = stats.t.interval(0.95, 9, mean_K.mean(), stats.sem(mean_K))
    assert pair["ci95"] == pytest.approx(list(ends), abs=1e-5)


def test_every_crossing_is_wider_than_what_it_crosses() -> None:
    cell = result("a", of(10))

    def width(over: str) -> float:
        numbers = cell_summary(asked(cell, over))
        assert numbers["over"] == " × ".join(over.split(",")).replace(
            "recordings", "recordings of 10 speakers"
        )
        return float(numbers["ci95"][1] - numbers["ci95"][0])

    assert width("runs,speakers") > max(width("runs"), 0.9 * width("speakers"))
    assert width("runs,recordings") > max(width("runs"), 0.9 * width("recordings"))
    assert cell_summary(asked(cell, "runs"))["ci95"] == cell_summary(cell)["runs_ci95"]
    (limit,) = sources.limits([asked(cell, "recordings")])
    assert "other recordings of the same 10 speakers are meant, and nobody else" in limit


def test_over_the_runs_alone_few_speakers_are_no_hindrance() -> None:
    cells = [result("a", of(2), 0.9), result("b", of(2), 0.3, seed=1)]
    assert compare_all(cells)[0]["p"] is None
    for over in ("runs", "recordings", "runs,recordings"):
        group = [asked(one, over) for one in cells]
        (pair,) = compare_all(group)
        assert pair["separable"] and leaders(group) == ["a"]
        assert rank_intervals(group) == {"a": (1, 1), "b": (2, 2)}
    silent = [asked(one, "speakers") for one in cells]
    assert compare_all(silent)[0]["p"] is None and "2 speakers" in sources.limits(silent)[0]


def test_pretrainings_are_welchs_t_of_their_means() -> None:
    cells = [asked(result(n, of(10), r, seed=s), "pretrainings", **levels("pretrain_seed", 3))
             for n, r, s in (("a", 0.8, 0), ("b", 0.7, 1))]  # fmt: skip
    means = [np.reshape(one.values, (4, 3)).mean(axis=1) for one in cells]
    (pair,) = compare_all(cells)
    assert pair["over"] == "pretrainings" and pair["untested"] is None
    assert pair["p"] == pytest.approx(stats.ttest_ind(*means, equal_var=False).pvalue)
    numbers = cell_summary(cells[0])
    ends = stats.t.interval(0.95, 3, means[0].mean(), stats.sem(means[0]))
    assert numbers["ci95"] == pytest.approx(list(ends))
    crossed = [asked(one, "pretrainings,speakers") for one in cells]
    (wider,) = compare_all(crossed)
    assert wider["over"] == "pretrainings × speakers" and wider["p"] > pair["p"]
    assert wider["ci95"][0] < pair["ci95"][0] < pair["ci95"][1] < wider["ci95"][1]


def test_runs_that_share_a_pretraining_are_tested_over_pretrainings() -> None:
    shared = tuple({"pretrain_seed": i // 3, "init": i % 3} for i in range(RUNS))
    cells = [result("a", of(10), 0.9), result("b", of(10), 0.3, seed=1)]
    cells = [dataclasses.replace(one, sources=shared) for one in cells]
    assert (
        compare_all(cells)[0]["p"] is None and "share levels" in compare_all(cells)[0]["untested"]
    )
    for over in ("pretrainings", "pretrainings,speakers", "pretrainings,recordings"):
        group = [asked(one, over) for one in cells]
        (pair,) = compare_all(group)
        assert pair["separable"] and pair["p_runs_holm"] is None
        (board,) = leaderboard(group).boards
        assert [row.scores[0].rank for row in board.rows if row.scores[0]] == [1, 2]
        assert any(pair["over"] in note for note in notes(board))
        (note,) = scores(by_task(group)).notes
        assert "not independent" not in note and "other corpora." in note
        assert pairs(by_task(group)) is not None


def test_splits_are_paired_by_split() -> None:
    cells = [asked(result(n, of(10), r, seed=s), "splits", **levels("split", 2))
             for n, r, s in (("a", 0.8, 0), ("b", 0.7, 1))]  # fmt: skip
    means = [np.reshape(one.values, (6, 2)).mean(axis=1) for one in cells]
    pair = compare(*cells)
    assert pair["over"] == "splits"
    assert pair["p"] == pytest.approx(stats.ttest_rel(*means).pvalue)


@pytest.mark.parametrize("source", ["split", "pretrain_seed"])
def test_the_difference_is_what_its_interval_is_about_in_uneven_designs(source: str) -> None:
    """Three levels of twelve runs in one upstream, and nine runs in the other, dealt otherwise."""
    names = {"split": "splits", "pretrain_seed": "pretrainings"}[source]
    a, b = result("a", of(10), 0.8), result("b", of(10), 0.7, seed=1, runs=9)
    dealt_a, dealt_b = [0] * 8 + [1] * 3 + [2], [0, 1, 2] * 3
    a, b = (
        asked(one, names, values=tuple(0.5 + 0.1 * level for level in dealt),
              sources=tuple({source: level, "init": i} for i, level in enumerate(dealt)))
        for one, dealt in ((a, dealt_a), (b, dealt_b))
    )  # fmt: skip
    b = dataclasses.replace(b, values=tuple(value - 0.1 for value in b.values))
    pair = compare(a, b)
    assert pair["difference"] == pytest.approx(0.1)  # of each level; of the shared seeds it is 0.03
    assert sum(pair["ci95"]) / 2 == pytest.approx(pair["difference"])
    assert compare(b, a)["difference"] == -pair["difference"]


def test_dependent_runs_whose_variance_cannot_be_split_have_no_interval_over_the_runs() -> None:
    dealt = [0] * 5 + [1] * 4 + [2] * 3
    sources = tuple({"pretrain_seed": level, "init": i} for i, level in enumerate(dealt))
    one = asked(result("a", of(10)), "runs", sources=sources)
    for over in ("runs", "", "runs,recordings"):
        numbers = cell_summary(asked(one, over))
        assert numbers["ci95"] is None is numbers["runs_ci95"] and numbers["sem"] is None
    alike = cell_summary(dataclasses.replace(one, values=(0.5,) * RUNS))
    assert alike["ci95"] == alike["runs_ci95"] == [0.5, 0.5]


def test_what_is_not_known_is_said_and_the_strongest_left_is_had() -> None:
    cell = result("a", of(10))
    for over, source in (("splits", "split"), ("pretrainings,speakers", "pretraining")):
        one = asked(cell, over)
        numbers = cell_summary(one)
        assert (
            numbers["over"] == "runs × speakers" and numbers["ci95"] == cell_summary(cell)["ci95"]
        )
        assert f"every run is of one {source}" in sources.limits([one])[0]
    bare = asked(dataclasses.replace(cell, predictions=None), "speakers")
    assert cell_summary(bare)["over"] == "runs" and "no predictions" in sources.limits([bare])[0]
    unknown = asked(result("a", None), "speakers")
    assert cell_summary(unknown)["over"] == "recordings"
    assert "not known" in sources.limits([unknown])[0]


def test_plans_are_whatever_is_asked_for() -> None:
    cells = [result("a", of(10), 0.8), result("b", of(10), 0.7, seed=1)]
    for over in ("runs", "recordings", "speakers"):
        assert plan_text([asked(one, over) for one in cells]) == plan_text(cells)
        assert parts_of(asked(cells[0], over)) == parts_of(cells[0])


def test_dependent_runs_alone_on_a_task_have_no_rank_and_equal_ones_vary_with_speakers() -> None:
    shared = tuple({"pretrain_seed": i // 3, "init": i % 3} for i in range(RUNS))
    cell = dataclasses.replace(result("a", of(10)), sources=shared)
    (board,) = leaderboard([cell]).boards
    (score,) = board.rows[0].scores
    assert score is not None and score.rank is None and not score.leading
    equal = dataclasses.replace(
        cell,
        values=(cell.values[0],) * RUNS,
        predictions=dataclasses.replace(kept(cell), runs=(kept(cell).runs[0],) * RUNS),
    )
    low, high = cell_summary(equal)["ci95"]
    assert high - low > 0.02 and cell_summary(equal)["over"].endswith("× speakers")
    assert pretrainings_text(equal) is None
    uneven = dataclasses.replace(cell, sources=(*shared[:-1], shared[0]))
    assert cell_summary(uneven)["over"] == "pretrainings and initialisations"


PRETRAINING, HEADS, HEAD = 0.02, 4, 0.03  # standard deviations, and heads of each pretraining


def drawn(upstream: str, mean: float, count: int, generator: np.random.Generator) -> TaskResult:
    """A result of so many pretrainings, each with its heads."""
    of_pretraining = generator.normal(mean, PRETRAINING, count)
    values = np.repeat(of_pretraining, HEADS) + generator.normal(0, HEAD, HEADS * count)
    runs = tuple({"pretrain_seed": i // HEADS, "init": i % HEADS} for i in range(HEADS * count))
    return TaskResult(
        upstream, "emotion", "toy", "top1", tuple(values.tolist()), sources=runs,
        over=read_over("pretrainings"),
    )  # fmt: skip


def test_as_many_pretrainings_as_planned_find_the_difference() -> None:
    """As many studies of the planned size find it as Student's t promises, 80 of 100 or more."""
    generator = np.random.default_rng(7)
    gain, error = 0.03, PRETRAINING**2 + HEAD**2 / HEADS

    def power(count: int) -> float:
        df, away = 2 * (count - 1), gain / np.sqrt(2 * error / count)
        return float(stats.nct.sf(stats.t.ppf(0.975, df), df, away))

    text = pretrainings_text(drawn("a", 0.7, 500, generator), gain)
    assert text is not None and "like these 500, with as many heads" in text
    needed = int(text.split("some ")[1].split()[0])
    assert 0.77 < power(needed) < 0.86 and power(needed - 2) < 0.8

    def found(count: int, gained: float) -> int:
        studies = ((drawn("a", 0.6 + gained, count, generator), drawn("b", 0.6, count, generator))
                   for _ in range(300))  # fmt: skip
        return sum(sources.of_pair(*two, sources.scope(*two)).p < 0.05 for two in studies)

    low, high = stats.binom.ppf([0.001, 0.999], 300, power(needed))
    assert low <= found(needed, gain) <= high
    for count in (2, 5, needed):
        assert found(count, 0.0) <= stats.binom.ppf(0.999, 300, 0.05)
