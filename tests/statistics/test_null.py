"""Two equal upstreams whose runs share levels: no analysis may call them separable, ever.

Ten initialisations (here those of pretrainings) meet five orders of the batches. The 50 runs of an
upstream are far from independent: tests that take them to be would separate equal upstreams in two
of five experiments. What runs here are the analyses' own sections, without their drawings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.figure import Figure

from barlow_speech.benchmark.analyses import compare, curve, labels, seeds, steps, transfer, trials
from barlow_speech.benchmark.analyses._findings import findings
from barlow_speech.benchmark.analyses._requests import ResultRequest, Results
from barlow_speech.benchmark.analyses._scores import scores
from barlow_speech.benchmark.reporting.document import Entry, Section, Table
from barlow_speech.benchmark.reporting.leaderboard import leaderboard
from barlow_speech.benchmark.statistics.comparison import compare_against, compare_all, sign_flip_p
from barlow_speech.benchmark.statistics.results import Setup, TaskResult, by_task

EXPERIMENTS = 200
INITS, ORDERS = 10, 5
LEVELS = [(init, order) for init in range(INITS) for order in range(ORDERS)]


def crossed(upstream: str, generator: np.random.Generator) -> TaskResult:
    """50 runs of an upstream that is as good as any other made here."""
    init = generator.normal(0, 0.02, INITS)
    order, rest = generator.normal(0, 0.01, ORDERS), generator.normal(0, 0.005, len(LEVELS))
    values = [0.7 + init[i] + order[o] + rest[run] for run, (i, o) in enumerate(LEVELS)]
    return TaskResult(
        upstream,
        "emotion",
        "toy",
        "top1",
        tuple(np.clip(values, 0, 1).tolist()),
        sources=tuple({"pretrain_seed": i, "order": o} for i, o in LEVELS),
        setup=Setup(lr=0.001, chance=0.25, protocol="quick"),
        curves=(((20, 0.5), (40, 0.6)),) * len(LEVELS),
    )


Pair = tuple[TaskResult, TaskResult]


@pytest.fixture(scope="module")
def experiments() -> list[Pair]:
    generator = np.random.default_rng(2025)
    return [(crossed("a", generator), crossed("b", generator)) for _ in range(EXPERIMENTS)]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not what is tested, and take long."""
    for module in (compare, curve, labels, seeds, steps, transfer, trials):
        for name in [one for one in vars(module) if one.endswith("_figure")]:
            monkeypatch.setattr(module, name, lambda *given, **more: Figure())
    for module in (curve, labels):
        monkeypatch.setattr(module, "curve_picture", lambda *given, **more: None)


def sections(pair: Pair) -> Iterator[tuple[str, Section]]:
    """Every analysis of task results that has something to say of two upstreams."""
    results = Results.of(pair)
    yield "compare", compare.section("t", compare.Settings(), results)
    yield "compare against", compare.section("t", compare.Settings(against="b"), results)
    home = transfer.Settings(home={"a": ("toy",)})
    yield "transfer", transfer.section("t", home, results)
    yield "curve", curve.section("t", curve.Settings(x={"a": 1.0, "b": 2.0}), results)
    yield "trials", trials.section("t", trials.Settings(), results)
    parts = tuple(
        (ResultRequest(one.upstream, "emotion", "toy", {"label_fraction": share}), one)
        for one in pair
        for share in (0.1, 1.0)
    )
    yield "labels", labels.section("t", labels.Settings(), Results(parts))
    yield "steps", steps.section("t", steps.Settings(), Results(parts))
    yield "seeds", seeds.section("t", seeds.Settings(("a",)), results)


# What a section says where the runs bear it out.
CLAIMS = re.compile(
    r"\b(separated from|is the best|better on|worse on|separably better than [1-9]|and worse than "
    r"(?!none)|gains|loses|is above|is under|cannot be separated|does not separate)\b"
)


def test_tests_that_ignored_the_levels_would_separate_equal_upstreams(
    experiments: list[Pair],
) -> None:
    naive = [sign_flip_p(np.subtract(a.values, b.values)) < 0.05 for a, b in experiments]
    assert 60 < sum(naive) < 130


def test_no_analysis_separates_equal_upstreams(experiments: list[Pair]) -> None:
    seen: dict[str, set[str]] = {}
    for pair in experiments:
        for name, section in sections(pair):
            for sentence in section.findings:
                assert not CLAIMS.search(sentence), (name, sentence)
                seen.setdefault(name, set()).add(re.sub(r"[-+−]?\d+(\.\d+)?", "#", sentence))
            for table in (part for part in section.parts if isinstance(part, Table)):
                if "separated" in table.columns:
                    at = table.columns.index("separated")
                    assert {row[at] for row in table.rows} == {
                        "runs that share levels are not independent"
                    }
                if "rank" in table.columns:
                    assert {row[table.columns.index("rank")] for row in table.rows} == {None}
    for name in ("compare", "compare against", "transfer", "curve"):
        assert all(
            "not tested" in sentence or "share levels" in sentence for sentence in seen[name]
        )
    assert set(seen) == {
        "compare", "compare against", "transfer", "curve", "trials", "labels", "steps", "seeds",
    }  # fmt: skip


def test_no_page_separates_equal_upstreams(experiments: list[Pair]) -> None:
    keys = ("p_sign_flip", "p_holm", "p_wilcoxon", "p_wilcoxon_holm", "ci95", "a12_ci95")
    for results in experiments:
        for pair in (*compare_all(results), *compare_against("b", results)):
            assert not pair["separable"]
            assert {pair[key] for key in keys} == {None}
        assert not CLAIMS.search(findings(results))
        (table,) = scores(by_task(results)).parts
        assert isinstance(table, Table)
        assert not any(isinstance(one, Entry) and one.marked for row in table.rows for one in row)
        (board,) = leaderboard(results).boards
        assert {score.rank for row in board.rows for score in row.scores if score} == {None}


def test_a_pair_that_is_not_tested_takes_no_part_in_the_correction() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(0.7, 0.01, (2, 50))
    one, two = (
        TaskResult(name, "emotion", "toy", "top1", tuple(row.tolist()))
        for name, row in zip("xy", values)
    )
    alone = compare_all([one, two])[0]
    pairs = compare_all([one, two, crossed("a", generator)])
    assert pairs[0]["p_holm"] == alone["p_holm"] == alone["p_sign_flip"]
    assert [pair["untested"] is None for pair in pairs] == [True, False, False]
