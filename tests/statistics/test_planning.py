"""Plans: what is promised of so many speakers is what as many find, in simulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from other_speakers import RUNS, World
from scipy import stats
from test_sources import of, result

from barlow_speech.benchmark.analyses._details import variance_picture, variances
from barlow_speech.benchmark.statistics.crossed import Crossed
from barlow_speech.benchmark.statistics.planning import parts_of, plan, plan_text, pretrainings_text
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.sources import of_result


def differences(world: World, experiments: int) -> list[Crossed]:
    """The first upstream less the second, in as many studies."""
    return [world.analysed(one[0] - one[1])[0] for one in world.experiments(experiments)]


def test_as_many_speakers_as_planned_find_the_difference() -> None:
    small = World(12, 0.3, gain=0.25)
    pilot = differences(small, 60)
    gain = float(np.mean([one.mean for one in pilot]))
    got = plan(pilot, gain)
    assert got.needed is not None and 15 < got.needed < 150
    assert (got.runs, got.clusters) == (RUNS, 12)
    found = [
        one.p < 0.05 for one in differences(dataclasses.replace(small, speakers=got.needed), 100)
    ]
    low, high = stats.binom.ppf([0.005, 0.995], 100, 0.8)
    assert low <= sum(found) <= high


def test_more_runs_than_enough_change_nothing() -> None:
    pilot = differences(World(12, 0.3), 20)
    got = plan(pilot, 0.02)

    def variance(runs: float) -> float:
        a = RUNS / runs
        both = np.mean([one.both_variance for one in pilot])
        run = np.mean([one.runs_variance for one in pilot]) - both
        of_speakers = np.mean([one.clusters_variance for one in pilot]) - both
        return float(a * max(run, 0) + of_speakers + a * both)

    assert variance(got.enough_runs) <= 1.05**2 * variance(1e9)
    assert got.enough_runs == 1 or variance(got.enough_runs - 1) > 1.05**2 * variance(1e9)
    assert plan(pilot, 1e-6).needed is None


def test_the_parts_of_a_score_are_its_variance() -> None:
    cell = result("a", of(10))
    parts = {one.name: one.variance for one in parts_of(cell)}
    assert list(parts) == ["heads", "speakers", "recordings", "runs on recordings"]
    whole = of_result(cell)
    assert whole is not None and min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(whole.variance, rel=0.2)
    assert [one.name for one in parts_of(result("a", None))] == [
        "heads", "recordings", "runs on recordings",
    ]  # fmt: skip
    levels = tuple({"pretrain_seed": i // 4, "init": i % 4} for i in range(len(cell.values)))
    crossed = parts_of(dataclasses.replace(cell, sources=levels))
    assert [one.name for one in crossed][:3] == [
        "pretrainings", "initialisations", "pretrainings × initialisations",
    ]  # fmt: skip
    assert parts_of(dataclasses.replace(cell, predictions=None)) == []


def test_what_a_page_says_of_plans() -> None:
    pair = [result("a", of(10), 0.8), result("b", of(10), 0.7, seed=1)]
    text = plan_text(pair)
    assert text is not None and "speakers like these 10" in text and "To separate 2 points" in text
    assert "recordings like these 120" in (plan_text([result("a", None), result("b", None)]) or "")
    # Two people say nothing about others, and runs that share levels are not tested.
    assert plan_text([result("a", of(2)), result("b", of(2))]) is None
    assert plan_text(pair[:1]) is None
    section = variances(by_task(pair))
    assert section is not None and text in section.findings
    picture = variance_picture("v", pair)
    assert picture is not None and "a, emotion toy: heads" in picture.alternative


def test_how_many_pretrainings_it_takes() -> None:
    generator = np.random.default_rng(0)
    of_pretraining = np.repeat(generator.normal(0.7, 0.05, 6), 5)
    values = of_pretraining + generator.normal(0, 0.005, 30)
    levels = tuple({"pretrain_seed": i // 5, "init": i % 5} for i in range(30))
    cell = TaskResult("a", "emotion", "toy", "top1", tuple(values.tolist()), sources=levels)
    text = pretrainings_text(cell)
    assert text is not None
    count = int(text.split("some ")[1].split()[0])
    between = float(np.var(of_pretraining[::5], ddof=1))
    assert count == pytest.approx(2 * between * (1.96 + 0.84) ** 2 / 0.02**2, rel=0.35)
    assert pretrainings_text(dataclasses.replace(cell, sources=())) is None
