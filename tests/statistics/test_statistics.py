"""What the runs say: against NumPy, SciPy, statsmodels, worked examples and full enumeration."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from barlow_speech.benchmark.statistics import comparison
from barlow_speech.benchmark.statistics.comparison import (
    compare,
    compare_all,
    holm,
    improvement,
    improvement_interval,
    leaders,
    sign_flip_p,
    wilcoxon_p,
)
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.results import TaskResult, by_task
from barlow_speech.benchmark.statistics.summaries import result_json
from barlow_speech.upstream.common.errors import BarlowSpeechError


def cell(upstream, values, **more):
    return TaskResult(upstream, "emotion", "toy", "top1", tuple(values), **more)


def test_summary_of_a_worked_example():
    got = summary([0.1, 0.2, 0.3, 0.4, 1.0])
    assert got["n"] == 5
    assert got["mean"] == pytest.approx(0.4)
    assert got["std"] == pytest.approx(math.sqrt(0.5 / 4))
    assert got["sem"] == pytest.approx(math.sqrt(0.5 / 20))
    assert (got["median"], got["q1"], got["q3"]) == pytest.approx((0.3, 0.2, 0.4))
    assert (got["min"], got["max"]) == (0.1, 1.0)
    low, high = got["ci95"]
    assert 0.1 < low < 0.4 < high < 1.0
    # BCa follows the long right tail, which an interval of mean ± t·sem cannot.
    assert high - 0.4 > 0.4 - low


@pytest.mark.parametrize("count", [2, 3, 10, 50, 500])
def test_interval_is_scipys_and_reproducible(count):
    # Skewed, so that neither correction of BCa is nothing; no two resamples tie with the mean.
    values = np.random.default_rng(3).beta(8, 1.5, size=count)
    direct = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, random_state=np.random.default_rng(7)
    ).confidence_interval
    assert summary(values, seed=7)["ci95"] == pytest.approx([direct.low, direct.high], abs=1e-12)
    assert summary(values, seed=7) == summary(list(values), seed=7)


def test_interval_of_counted_scores_is_scipys_but_for_ties():
    # SciPy leaves it to rounding whether a resampled mean ties with the observed one: an end may
    # lie on the next of the values that a mean of 50 counted scores can have.
    generator = np.random.default_rng(5)
    for total in (20, 500):
        values = generator.binomial(total, 0.8, size=50) / total
        direct = stats.bootstrap(
            (values,), np.mean, n_resamples=10_000, random_state=np.random.default_rng(0)
        ).confidence_interval
        allowed = 1.001 / (50 * total)
        got = summary(values)["ci95"]
        assert got == pytest.approx([direct.low, direct.high], abs=allowed)
        # Ours is the same for errors as for scores, as no rounding decides.
        errors = summary(1 - values)["ci95"]
        assert [1 - errors[1], 1 - errors[0]] == pytest.approx(got, abs=1e-12)


def test_equal_values_have_an_interval_of_one_point():
    # Ten times 0.7 has a mean that is not 0.7 in the last bit; the interval must not miss it.
    for value in (0.0, 0.7, 0.1, 1.0):
        got = summary([value] * 10)
        assert got["ci95"] == [value, value]
        assert got["std"] == got["sem"] == 0.0
        assert got["mean"] == value


def test_a_single_run_has_no_spread():
    got = summary([0.25])
    assert got["std"] is got["sem"] is got["ci95"] is None
    assert got["mean"] == got["median"] == got["q1"] == got["max"] == 0.25


@pytest.mark.parametrize(
    "values",
    [[0.5, 0.6], [0.5, 0.5, 0.6], [0.0] * 9 + [1.0], [1.0] * 499 + [0.0], [0.5, 0.5 + 2e-9]],
)
def test_small_and_lopsided_samples_never_give_nan(values):
    json.dumps(summary(values), allow_nan=False)
    low, high = summary(values)["ci95"]
    assert min(values) <= low <= high <= max(values)


def test_summary_refuses_what_it_cannot_summarise():
    with pytest.raises(BarlowSpeechError, match="no runs"):
        summary([])
    with pytest.raises(BarlowSpeechError, match="NaN or infinite"):
        summary([0.5, float("nan")])


def test_holm_worked_by_hand():
    # Sorted: .005·4 = .02, .01·3 = .03, .03·2 = .06, .04·1 = .04 raised to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    # Another implementation, on as many p values as 20 upstreams have pairs; two of them tie.
    p_values = [*(np.random.default_rng(8).random(189) ** 4), 0.5]
    p_values[0] = p_values[1]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_probability_of_improvement_in_known_cases():
    assert improvement([3, 4], [1, 2]) == 1.0
    assert improvement([1, 2], [3, 4]) == 0.0
    assert improvement([1, 2, 3], [1, 2, 3]) == 0.5
    # Of 3 × 2 pairs, three are won and one is a tie.
    assert improvement([1, 2, 3], [1, 2.5]) == pytest.approx(3.5 / 6)
    # It is the Mann-Whitney U over the number of pairs.
    generator = np.random.default_rng(1)
    a, b = generator.random(13), generator.random(9) + 0.2
    assert improvement(a, b) == pytest.approx(stats.mannwhitneyu(a, b).statistic / (13 * 9))


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_sign_flips_are_exact_for_few_runs(count):
    differences = np.random.default_rng(count).normal(0.5, 1.0, size=count).round(1)
    sums = [
        abs(float(np.dot(signs, differences))) for signs in itertools.product((-1, 1), repeat=count)
    ]
    observed = abs(float(differences.sum()))
    expected = np.mean([total >= observed - 1e-12 for total in sums])
    assert sign_flip_p(differences) == pytest.approx(expected)
    # Zeros are neutral: every flipped sum is there once more.
    assert sign_flip_p([*differences, 0.0, 0.0]) == pytest.approx(expected)


def test_sign_flips_are_scipys_and_fishers():
    # Darwin's maize, the pairs on which Fisher (1935, section 21) counted the signs: of 32,768 ways
    # 1,726 give a sum as far from 0.
    maize = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip_p(maize) == pytest.approx(1726 / 32_768, abs=1e-12)
    differences = np.random.default_rng(9).normal(0.4, 1.0, size=11)
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_p(differences) == pytest.approx(reference.pvalue)


def test_wilcoxon_is_scipys_and_exact_with_ties():
    # Hollander & Wolfe (1973), page 29: depression scores; T+ = 40, one-sided p = 5/256.
    first = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    second = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    assert wilcoxon_p(np.subtract(first, second)) == pytest.approx(10 / 256)
    generator = np.random.default_rng(10)
    for count in (1, 5, 16, 17, 50, 51, 500):
        differences = generator.normal(0.2, 1.0, size=count)
        assert wilcoxon_p(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)
    tied = np.array([1, 1, 2, -1, 3, 3, -2, 2, 0, 0]) / 100
    ranks = stats.rankdata(np.abs(tied[:8])) * np.sign(tied[:8])
    sums = [abs(float(np.dot(signs, ranks))) for signs in itertools.product((-1, 1), repeat=8)]
    assert wilcoxon_p(tied) == pytest.approx(np.mean(np.array(sums) >= abs(ranks.sum()) - 1e-9))
    assert wilcoxon_p([0.0, 0.0]) == wilcoxon_p([]) == 1.0


def test_improvement_interval_is_newcombes_where_pairs_tell_nothing():
    # Complete separation: 1 - θ = 1.96 · sqrt(Hanley & McNeil's variance at θ), solved another way.
    for count in (2, 10, 50):
        low, high = improvement_interval(np.arange(count) + count, np.arange(count))
        q1, q2 = low / (2 - low), 2 * low**2 / (1 + low)  # as in the paper of 1982
        variance = (low * (1 - low) + (count - 1) * (q1 - low**2 + q2 - low**2)) / count**2
        assert high == 1.0
        assert 1 - low == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(variance))
        assert improvement_interval(np.arange(count), np.arange(count) + count) == pytest.approx(
            [0.0, 1 - low]
        )


def test_improvement_interval_uses_what_pairing_removes():
    generator = np.random.default_rng(11)
    shared, own = generator.normal(size=(2, 50)), generator.normal(size=(2, 50))
    alone = improvement_interval(own[0] + 0.3, own[1])
    paired = improvement_interval(shared[0] + 0.3 * own[0] + 0.3, shared[0] + 0.3 * own[1])
    assert np.ptp(paired) < 0.6 * np.ptp(alone)
    # At the ends the distance is 1.96 errors of a variance scaled to DeLong's at the estimate.
    a, b = own[0] + 0.3, own[1]
    effect = improvement(a, b)
    wins = (a[:, None] > b[None, :]).astype(float)
    delong = np.cov(wins.mean(axis=1), wins.mean(axis=0), ddof=1).sum() / 50

    def hanley(at):
        return at * (1 - at) * (1 + 49 * ((1 - at) / (2 - at) + at / (1 + at))) / 2500

    for end in alone:
        error = math.sqrt(delong * hanley(end) / hanley(effect))
        assert abs(end - effect) == pytest.approx(stats.norm.ppf(0.975) * error)
    with pytest.raises(BarlowSpeechError, match="two or more pairs"):
        improvement_interval([0.5], [0.4])


def test_drawn_sign_flips_agree_with_all_of_them():
    few = np.random.default_rng(5).normal(0.5, 1.0, size=16)
    exact = sign_flip_p(few)
    many = np.append(few, 1e-9)  # one more than are enumerated, of no weight
    assert 0.01 < exact < 0.5
    assert sign_flip_p(many) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p(np.ones(50)) == pytest.approx(1 / 20_000)  # never 0


def test_comparison_is_paired_by_seed_not_by_place():
    a = cell("a", [0.5, 0.6, 0.7, 0.8], seeds=[0, 1, 2, 3])
    b = cell("b", [0.7, 0.6, 0.5, 0.4, 0.9], seeds=[3, 2, 1, 0, 9])
    got = compare(a, b)
    assert got["n"] == 4  # seed 9 ran for b alone
    assert got["difference"] == pytest.approx(0.1)
    assert got["ci95"] == pytest.approx([0.1, 0.1])
    assert got["p_sign_flip"] == pytest.approx(2 / 16)
    # 0.5 … 0.8 against 0.4 … 0.7: ten pairs won and three tied, of sixteen.
    assert got["a12"] == pytest.approx(11.5 / 16)


def test_comparison_reversed_is_the_mirror_image():
    generator = np.random.default_rng(4)
    a, b = (cell(name, generator.beta(20, 10, size=30)) for name in "ab")
    there, back = compare(a, b), compare(b, a)
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["p_sign_flip"] == there["p_sign_flip"]
    assert back["p_wilcoxon"] == pytest.approx(there["p_wilcoxon"])
    assert back["a12"] == pytest.approx(1 - there["a12"])
    assert back["a12_ci95"] == pytest.approx([1 - end for end in there["a12_ci95"][::-1]])
    differences = np.subtract(a.values, b.values)
    assert there["p_wilcoxon"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert there["a12_ci95"][0] < there["a12"] < there["a12_ci95"][1]


def test_equal_upstreams_have_p_one():
    values = [k / 30 for k in range(10, 20)]
    got = compare(cell("a", values), cell("b", values))
    assert got["difference"] == 0
    assert got["p_sign_flip"] == got["p_wilcoxon"] == 1.0
    assert got["a12"] == 0.5
    assert got["ci95"] == [0.0, 0.0]


def test_rounding_noise_makes_no_ranks():
    # (0.1 + 0.2) - 0.3 is not 0 in floating point, yet the two runs got the same score.
    noisy, clean = [0.1 + 0.2] * 8, [0.3] * 8
    got = compare(cell("a", noisy), cell("b", clean))
    assert got["p_wilcoxon"] == got["p_sign_flip"] == 1.0
    assert got["a12"] == 0.5


def test_one_shared_seed_and_none():
    one = compare(cell("a", [0.9]), cell("b", [0.1]))
    assert one["p_sign_flip"] == one["p_wilcoxon"] == 1.0
    assert one["ci95"] is one["a12_ci95"] is None
    none = compare(cell("a", [0.9], seeds=[1]), cell("b", [0.1], seeds=[2]))
    assert none["n"] == 0
    assert none["difference"] is none["p_sign_flip"] is None
    (pair,) = compare_all([cell("a", [0.9], seeds=[1]), cell("b", [0.1], seeds=[2])])
    assert pair["p_holm"] is pair["p_wilcoxon_holm"] is None and not pair["separable"]


@pytest.mark.parametrize("count", [1, 2, 3, 50, 500])
@pytest.mark.parametrize("metric", ["top1", "uar", "f1"])
def test_no_number_is_nan_whatever_the_runs(count, metric):
    generator = np.random.default_rng(count)
    samples = {
        "constant": np.full(count, 0.7),
        "equal": np.full(count, 0.7),
        "perfect": np.ones(count),
        "none": np.zeros(count),
        "noisy": generator.beta(9, 3, size=count).round(2),
        "one off": np.r_[0.0, np.ones(count - 1)],
    }
    cells = [
        TaskResult(name, "emotion", "toy", metric, tuple(sample.tolist()))
        for name, sample in samples.items()
    ]
    pairs = compare_all(cells)
    json.dumps([*map(result_json, cells), *pairs, leaders(cells)], allow_nan=False)
    for pair in pairs:
        if pair["a12_ci95"] is not None:
            low, high = pair["a12_ci95"]
            assert 0.0 <= low <= pair["a12"] <= high <= 1.0 and low < high
            assert pair["ci95"][0] - 1e-12 <= pair["difference"] <= pair["ci95"][1] + 1e-12


def test_leaders_share_the_lead_only_where_inseparable():
    noise = np.random.default_rng(6).normal(0, 0.01, size=(3, 20))
    best, near, far = (
        cell(name, level + noise[i])
        for i, (name, level) in enumerate([("best", 0.801), ("near", 0.8), ("far", 0.7)])
    )
    assert leaders([far, near, best])[1:] == [{"best": "near", "near": "best"}[
        leaders([far, near, best])[0]
    ]]  # fmt: skip
    assert leaders([far, best]) == ["best"]
    assert leaders([far]) == ["far"]
    pairs = compare_all([best, near, far])
    assert [(pair["a"], pair["b"]) for pair in pairs] == [
        ("best", "near"),
        ("best", "far"),
        ("near", "far"),
    ]
    assert [pair["p_holm"] for pair in pairs] == holm([pair["p_sign_flip"] for pair in pairs])
    ranked = holm([pair["p_wilcoxon"] for pair in pairs])
    assert [pair["p_wilcoxon_holm"] for pair in pairs] == ranked


def test_result_json_has_the_keys_that_the_file_promises():
    got = result_json(cell("fbank", [0.25, 0.75]))
    assert list(got) == [
        "upstream", "task", "corpus", "metric", "values", "n", "mean", "std", "sem", "median",
        "q1", "q3", "min", "max", "ci95", "runs_ci95", "over",
    ]  # fmt: skip
    assert json.loads(json.dumps(got, allow_nan=False)) == got


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([cell("a", [0.5, float("nan")])], "run 1 of a on emotion of toy"),
        ([cell("a", [float("inf")])], "a on emotion of toy"),
        ([cell("a", [61.2])], "between 0 and 1"),
        ([cell("a", [])], "a on emotion of toy has no runs"),
        ([cell("a", [0.5]), cell("a", [0.6])], "given twice"),
        ([cell("a", [0.5, 0.6], seeds=[1, 1])], "a seed of its own"),
        ([cell("a", [0.5]), TaskResult("b", "emotion", "toy", "eer", (0.5,))], "one metric"),
    ],
)
def test_cells_that_cannot_be_used_are_named(cells, said):
    with pytest.raises(BarlowSpeechError, match=said):
        by_task(cells)


def test_cells_of_different_tasks_are_not_compared():
    with pytest.raises(BarlowSpeechError, match="differ in task"):
        compare(cell("a", [0.5]), TaskResult("b", "gender", "toy", "top1", (0.5,)))


def test_leaders_of_equal_means_do_not_depend_on_the_order():
    noise = np.random.default_rng(1).normal(0, 0.1, 10)
    steady, wide = cell("steady", [0.8] * 10), cell("wide", 0.8 + noise - noise.mean())
    below = cell("below", [0.79] * 10)
    (apart,) = [pair for pair in compare_all([steady, wide, below]) if pair["separable"]]
    assert (apart["a"], apart["b"]) == ("steady", "below")
    for order in itertools.permutations([steady, wide, below]):
        assert set(leaders(order)) == {"steady", "wide", "below"}
        assert leaders(order)[-1] == "below"


def test_what_is_above_the_best_mean_where_both_have_seeds_is_not_beaten_by_it():
    best = cell("best", [0.7] * 10 + [0.95] * 20)
    other = cell("other", [0.75] * 10)
    (pair,) = compare_all([best, other])
    assert pair["separable"] and pair["difference"] < 0
    assert leaders([best, other]) == leaders([other, best]) == ["best", "other"]


def test_ranks_are_those_of_scipy():
    generator = np.random.default_rng(0)
    for count in range(1, 40):
        values = generator.integers(0, 6, count) / 7
        np.testing.assert_array_equal(comparison._ranks(values), stats.rankdata(values))
