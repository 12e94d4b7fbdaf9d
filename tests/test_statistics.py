"""What the runs say: against NumPy, SciPy, worked examples and full enumeration."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from barlow_speech.benchmark.statistics import (
    Cell,
    by_task,
    cell_json,
    compare,
    compare_all,
    holm,
    improvement,
    leaders,
    sign_flip_p,
    summary,
)
from barlow_speech.upstream.errors import BarlowSpeechError


def cell(upstream, values, **details):
    return Cell(upstream, "emotion", "toy", "top1", tuple(values), details)


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


def test_interval_is_scipys_and_reproducible():
    values = np.random.default_rng(3).beta(8, 4, size=50)
    direct = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, random_state=np.random.default_rng(7)
    ).confidence_interval
    assert summary(values, seed=7)["ci95"] == pytest.approx([direct.low, direct.high], abs=1e-12)
    assert summary(values, seed=7) == summary(list(values), seed=7)


def test_interval_covers_the_mean_about_as_often_as_it_says():
    # Skewed, as accuracies near their ceiling are. 300 trials at 94 % have a deviation of 1.4 %.
    generator = np.random.default_rng(0)
    true, trials, covered = 10 / 12, 300, 0
    for _ in range(trials):
        low, high = summary(generator.beta(10, 2, size=40))["ci95"]
        covered += low <= true <= high
    assert 0.89 <= covered / trials <= 0.985


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


@pytest.mark.parametrize("values", [[0.5, 0.6], [0.5, 0.5, 0.6], [0.0] * 9 + [1.0]])
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


def test_drawn_sign_flips_agree_with_all_of_them():
    few = np.random.default_rng(5).normal(0.5, 1.0, size=16)
    exact = sign_flip_p(few)
    many = np.append(few, 1e-9)  # one more than are enumerated, of no weight
    assert 0.01 < exact < 0.5
    assert sign_flip_p(many) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p(np.ones(50)) == pytest.approx(1 / 20_000)  # never 0


def test_sign_flip_test_rejects_a_true_null_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    rejected = [sign_flip_p(generator.normal(size=12)) < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(rejected) <= 0.085


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
    assert pair["p_holm"] is None and not pair["separable"]


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


def test_cell_json_has_the_keys_that_the_file_promises():
    got = cell_json(cell("fbank", [0.25, 0.75]))
    assert list(got) == [
        "upstream", "task", "corpus", "metric", "values", "n", "mean", "std", "sem", "median",
        "q1", "q3", "min", "max", "ci95",
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
        ([cell("a", [0.5]), Cell("b", "emotion", "toy", "eer", (0.5,))], "one metric"),
    ],
)
def test_cells_that_cannot_be_used_are_named(cells, said):
    with pytest.raises(BarlowSpeechError, match=said):
        by_task(cells)


def test_cells_of_different_tasks_are_not_compared():
    with pytest.raises(BarlowSpeechError, match="differ in task"):
        compare(cell("a", [0.5]), Cell("b", "gender", "toy", "top1", (0.5,)))
