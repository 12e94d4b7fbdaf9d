"""Variance split into its sources: against published examples, statsmodels and simulation."""

import itertools
import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import pandas
import pytest
from scipy import stats
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.anova import anova_lm

from barlow_speech.benchmark.statistics.comparison import sign_flip_p
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.results import TaskResult, shares_levels
from barlow_speech.benchmark.statistics.variance import split_variance, variance_text
from barlow_speech.upstream.common.errors import BarlowSpeechError

# Montgomery, "Design and Analysis of Experiments", example 13.1 (after Houf & Berman 1988): 20
# parts, 3 operators, 2 measurements of each by each; here as fractions, like scores.
GAUGE = """
21 20 20 20 19 21  24 23 24 24 23 24  20 21 19 21 20 22  27 27 28 26 27 28  19 18 19 18 18 21
23 21 24 21 23 22  22 21 22 24 22 20  19 17 18 20 19 18  24 23 25 23 24 24  25 23 26 25 24 25
21 20 20 20 21 20  18 19 17 19 18 19  23 25 25 25 25 25  24 24 23 25 24 25  29 30 30 28 31 30
26 26 25 26 25 27  20 20 19 20 20 20  19 21 19 19 21 23  25 26 25 24 25 25  19 19 18 17 19 17
"""
# The same book's example of one random source: strength of the cloth of 4 looms, 4 pieces of each.
LOOMS = [98, 97, 99, 96, 91, 90, 93, 92, 96, 95, 97, 95, 95, 96, 99, 98]


def cell_of(values, sources):
    scores = tuple(np.asarray(values, dtype=float).ravel().tolist())
    return TaskResult("u", "emotion", "toy", "top1", scores, sources=tuple(sources))


def crossed(**levels):
    """The sources of a full design, the last name changing fastest."""
    return [
        dict(zip(levels, combination))
        for combination in itertools.product(*(range(count) for count in levels.values()))
    ]


def effects(generator, shape, deviations):
    """Scores of a crossed random model: a deviation for each tuple of axes, () for the residual."""
    scores = np.full(shape, 0.5)
    for axes, deviation in deviations.items():
        of = shape if axes == () else tuple(n if i in axes else 1 for i, n in enumerate(shape))
        scores = scores + deviation * generator.normal(size=of)
    return scores


def test_published_gauge_study_with_a_negative_estimate():
    values = np.array(GAUGE.split(), dtype=float) / 100
    sources = [{"part": i // 6, "operator": i % 6 // 2} for i in range(120)]
    cell = cell_of(values, sources)
    got = split_variance(cell)
    part, operator, both, repeats = got.components
    assert [one.name for one in got.components] == [
        "part", "operator", "part × operator", "repeats",
    ]  # fmt: skip
    assert [one.df for one in got.components] == [19, 2, 38, 60]
    squares = [1e4 * one.mean_square for one in got.components]
    assert squares == pytest.approx([62.391, 1.308, 0.712, 0.992], abs=6e-4)
    estimates = [1e4 * one.estimate for one in got.components]
    assert estimates == pytest.approx([10.2798, 0.0149, -0.1399, 0.9917], abs=6e-5)
    assert both.variance == 0.0 and "part × operator is negative" in got.notes[0]
    assert got.total == pytest.approx(part.variance + operator.variance + repeats.variance)
    assert sum(one.share for one in got.components) == pytest.approx(1.0)
    # The residual's interval is the textbook's: SS over quantiles of chi-square.
    ends = 60 * repeats.mean_square / stats.chi2.ppf([0.975, 0.025], 60)
    assert repeats.variance_ci95 == pytest.approx(ends, rel=0.02)
    assert "repeats 9 %" in variance_text(cell, got)


def test_published_one_way_study_with_its_interval():
    # A new seed in each run is what is left within the levels of the other source.
    sources = [{"loom": i // 4, "init": i, "order": i} for i in range(16)]
    got = split_variance(cell_of(np.array(LOOMS) / 100, sources))
    loom, within = got.components
    assert (loom.name, within.name) == ("loom", "init and order")
    assert 1e4 * loom.mean_square == pytest.approx(29.73, abs=5e-3)
    assert 1e4 * within.estimate == pytest.approx(1.90, abs=5e-3)
    assert 1e4 * loom.estimate == pytest.approx(6.96, abs=5e-3)
    # The book's exact interval of the share of the looms is 0.38 to 0.98.
    ratio = loom.mean_square / within.mean_square / stats.f.ppf([0.975, 0.025], 3, 12)
    exact = (ratio - 1) / (ratio + 3)
    assert exact == pytest.approx([0.385, 0.982], abs=1e-2)
    assert loom.share_ci95 == pytest.approx(exact, abs=0.01)


def test_mean_squares_are_those_of_statsmodels_in_a_three_way_design():
    generator = np.random.default_rng(0)
    for repeats in (1, 2):
        sources = crossed(init=3, order=4, pretrain_seed=2, repeat=repeats)
        values = 0.5 + 0.1 * generator.normal(size=len(sources))
        shown = [
            {name: run[name] for name in ("init", "order", "pretrain_seed")} for run in sources
        ]
        got = split_variance(cell_of(values, shown))
        frame = pandas.DataFrame(sources).assign(score=values.round(9))
        fit = ols("score ~ C(init) * C(order) * C(pretrain_seed)", frame).fit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without repeats nothing is left to divide by
            table = anova_lm(fit)
        rows = [
            ":".join(f"C({source})" for source in one.name.split(" × ")) for one in got.components
        ]
        rows = ["Residual" if row == "C(repeats)" else row for row in rows]
        assert len(rows) == 6 + repeats
        for one, row in zip(got.components, rows):
            assert one.mean_square == pytest.approx(table["sum_sq"][row] / table["df"][row])
            assert one.df == table["df"][row]
        if repeats == 1:
            assert got.components[-1].name == "init × order × pretrain_seed"
            assert "each combination was run once" in got.notes[0]
        # The expectations of the mean squares, written out (Searle et al. 1992, section 4.7).
        component = {one.name: one.estimate for one in got.components}
        square = {one.name: one.mean_square for one in got.components}
        rest = square.get("repeats", 0.0)
        three = component["init × order × pretrain_seed"]
        assert square["init × order × pretrain_seed"] == pytest.approx(rest + repeats * three)
        assert square["init × order"] == pytest.approx(
            rest + repeats * (three + 2 * component["init × order"])
        )
        assert square["init"] == pytest.approx(
            rest
            + repeats * (three + 2 * component["init × order"])
            + repeats * (4 * component["init × pretrain_seed"] + 8 * component["init"])
        )


def test_estimates_are_reml_where_none_is_negative():
    # For balanced data restricted maximum likelihood gives the same, by another road.
    generator = np.random.default_rng(3)
    values = effects(generator, (5, 10), {(0,): 0.02, (1,): 0.015, (): 0.01})
    sources = crossed(init=5, order=10)
    got = split_variance(cell_of(values, sources))
    assert all(one.estimate > 0 for one in got.components)
    frame = pandas.DataFrame(sources).assign(score=100 * values.ravel(), all=1)
    parts = {"init": "0 + C(init)", "order": "0 + C(order)"}
    fit = mixedlm("score ~ 1", frame, groups="all", vc_formula=parts, re_formula="0").fit()
    assert [1e4 * one.estimate for one in got.components] == pytest.approx(
        [*fit.vcomp, fit.scale], rel=5e-3
    )
    assert 100 * got.sem == pytest.approx(fit.bse["Intercept"], rel=5e-3)


def test_known_variances_are_recovered():
    # 300 designs: the mean of an unbiased estimate, and how often intervals cover.
    generator = np.random.default_rng(5)
    true = {"init": 4e-4, "order": 1e-4, "init × order": 2.25e-4}
    sources = crossed(init=5, order=10)
    names, trials = list(true), 300
    estimates, covered, shares, means = [], [], [], []
    for _ in range(trials):
        got = split_variance(
            cell_of(effects(generator, (5, 10), {(0,): 0.02, (1,): 0.01, (): 0.015}), sources)
        )
        parts = {one.name: one for one in got.components}
        estimates.append([parts[name].estimate for name in names])
        covered.append(
            [
                parts[name].variance_ci95[0] <= true[name] <= parts[name].variance_ci95[1]
                for name in names
            ]
        )
        shares.append(
            [
                parts[name].share_ci95[0] <= true[name] / 7.25e-4 <= parts[name].share_ci95[1]
                for name in names
            ]
        )
        assert got.mean_ci95 is not None
        means.append(got.mean_ci95[0] <= 0.5 <= got.mean_ci95[1])
    error = np.std(estimates, axis=0, ddof=1) / math.sqrt(trials)
    assert np.all(np.abs(np.mean(estimates, axis=0) - list(true.values())) < 4 * error)
    # 95 % within 3 binomial errors of 300 below; generalised intervals tend to cover more, above.
    for hits in (*np.mean(covered, axis=0), *np.mean(shares, axis=0), np.mean(means)):
        assert 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials) <= hits <= 1.0


def test_the_mean_of_a_crossed_design_is_less_sure_than_that_of_as_many_seeds():
    # The reason to look here for its interval: runs that share an initialisation are no new ones.
    generator = np.random.default_rng(6)
    sources, missed, false = crossed(init=5, order=10), 0, 0
    for _ in range(60):
        values = effects(generator, (5, 10), {(0,): 0.02, (): 0.01})
        got = split_variance(cell_of(values, sources))
        low, high = summary(values.ravel().tolist())["ci95"]
        missed += not low <= 0.5 <= high
        # As it tests a difference whose own initialisations are shared.
        false += sign_flip_p(values.ravel() - 0.5) < 0.05
        assert got.mean_ci95 is not None
        assert got.mean_ci95[1] - got.mean_ci95[0] > high - low
    assert missed > 15 and false > 15  # of 60, where 3 would be fair


def test_runs_that_share_levels_are_known():
    values = np.linspace(0.4, 0.6, 6)
    assert shares_levels(cell_of(values, crossed(init=2, order=3)))
    assert shares_levels(cell_of(values, [{"init": i, "pretrain_seed": i % 3} for i in range(6)]))
    assert not shares_levels(cell_of(values, [{"init": i, "order": i, "x": 0} for i in range(6)]))
    assert not shares_levels(cell_of(values, []))


def test_order_and_labels_of_the_runs_do_not_matter():
    generator = np.random.default_rng(7)
    values = effects(generator, (4, 6), {(0,): 0.02, (): 0.01}).ravel()
    sources = crossed(init=4, order=6)
    want = split_variance(cell_of(values, sources))
    order = generator.permutation(24)
    renamed = [
        {"init": f"seed {sources[i]['init'] + 1337}", "order": (sources[i]["order"], None)}
        for i in order
    ]
    got = split_variance(cell_of(values[order], renamed))
    for one, other in zip(got.components, want.components, strict=True):
        for key, value in asdict(other).items():
            same = value if key == "name" else pytest.approx(value)
            assert getattr(one, key) == same


def test_joint_sources_are_one_and_constant_ones_are_named():
    # One seed draws both init and order, and three pretrainings meet each of them.
    sources = [
        {"init": seed, "order": seed + 7, "train_resample": None, "pretrain_seed": net}
        for net in range(3)
        for seed in range(8)
    ]
    generator = np.random.default_rng(8)
    got = split_variance(cell_of(0.5 + 0.01 * generator.normal(size=24), sources))
    assert [one.name for one in got.components] == [
        "init and order", "pretrain_seed", "init and order × pretrain_seed",
    ]  # fmt: skip
    assert "no part in this: train_resample" in " ".join(got.notes)


@pytest.mark.parametrize(
    ("sources", "values", "said"),
    [
        ([{"init": i, "order": i + 9} for i in range(6)], None, "init and order changed together"),
        ([{"init": i, "order": 0} for i in range(6)], None, "init alone varied"),
        ([{"init": 0, "order": 0}] * 6, None, "no source varied"),
        (crossed(init=2, order=4)[:6], None, "init × order has been run equally often"),
        (crossed(init=2, order=3), [0.5] * 6, "the same score"),
        ([], None, "is not recorded"),
    ],
)
def test_what_cannot_be_split_is_said(sources, values, said):
    cell = cell_of(np.linspace(0.4, 0.6, 6) if values is None else values, sources)
    got = split_variance(cell)
    assert got.components == () and got.total is got.sem is got.mean_ci95 is None
    assert said in got.reason and "u on emotion of toy" in got.reason
    assert variance_text(cell, got) == got.reason
    json.dumps(asdict(got), allow_nan=False)


@pytest.mark.parametrize("sources", [crossed(init=5), [{"init": 0}] * 5 + [{"order": 1}]])
def test_sources_that_fit_no_run_are_refused(sources):
    with pytest.raises(BarlowSpeechError, match="one dict for each"):
        split_variance(cell_of(np.linspace(0.4, 0.6, 6), sources))


@pytest.mark.parametrize("part", [(0,), (1,), ()])
def test_one_source_alone_gets_all_and_nothing_is_nan(part):
    # Exact scores: all of the spread is of one part, and the others are 0 to the bit.
    table = np.zeros((4, 5))
    spread = {(0,): np.arange(4)[:, None], (1,): np.arange(5), (): np.eye(4, 5)}[part]
    table = 0.3 + (table + spread) / 100
    got = split_variance(cell_of(table, crossed(init=4, order=5)))
    json.dumps(asdict(got), allow_nan=False)
    shares = [one.share for one in got.components]
    assert shares[[(0,), (1,), ()].index(part)] == pytest.approx(1.0, abs=1e-9)
    assert got == split_variance(cell_of(table, crossed(init=4, order=5)))
