"""How upstreams rank: on one task by tests over the runs, and across tasks by tests over the tasks.

The two answer different questions. `shared_ranks` asks which upstream is better on *this* task of
*this* corpus. `ranking` treats tasks as a sample: each (task, corpus) is a *block*, of which only
the order of the upstreams' means counts, and the tests ask whether that order would hold on other
tasks like these (Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7,
2006). Few tasks separate little, however many runs each of them has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from barlow_speech.benchmark.statistics.comparison import compare_all
from barlow_speech.benchmark.statistics.results import DIGITS, LEVEL, TaskResult, by_task, place
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.text import listed, p_text

PERMUTATIONS = 19_999  # of Friedman's test; with the observed one, 20,000


@dataclass(frozen=True)
class Friedman:
    """Whether upstreams rank alike over the blocks; see `friedman`."""

    chi_square: float  # corrected for ties
    df: int
    p_chi_square: float
    f: float | None  # Iman & Davenport's; None where it is infinite
    df_f: tuple[int, int]
    p_f: float | None
    p: float  # of the permutation test, the one that decides


@dataclass(frozen=True)
class Pair:
    """Two upstreams over the blocks: Wilcoxon's signed-rank test of their means, Holm-corrected."""

    a: str
    b: str
    blocks: int
    difference: float  # mean over the blocks of a's mean minus b's
    p_wilcoxon: float
    p_holm: float
    separable: bool  # whether p_holm is under 5 %


@dataclass(frozen=True)
class Ranking:
    """The upstreams across tasks, best first; see `ranking`."""

    upstreams: tuple[str, ...]
    ranks: tuple[float, ...]  # average over the blocks, 1 is best
    blocks: tuple[tuple[str, str], ...]  # (task, corpus)
    friedman: Friedman | None
    critical_difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]  # a sentence for each block that is not ranked
    notes: tuple[str, ...]  # what limits the tests, a sentence each
    noun: str = "upstream"  # what sentences call what is ranked


def ranking(
    results: Sequence[TaskResult],
    upstreams: Sequence[str] | None = None,
    variant: Callable[[TaskResult], str] = lambda result: "",
    noun: str = "upstream",
) -> Ranking:
    """Rank upstreams by their mean scores over all blocks in which each of them has a result.

    `upstreams` are the ones to rank (default: all that occur). Blocks that lack one of them are
    left out, and `left_out` says which. In a block the highest mean has rank 1, and equal means
    share the average of their ranks.

    A task of a corpus is one block however often it was measured: with other settings, other shares
    of the labels or another manifest it is the same task, which the tests must not take for
    independent ones. Results that `variant` tells apart are never ranked together; of several
    variants the newest that has all upstreams counts, and `notes` says which.

    With three upstreams and two blocks or more:

    - `friedman`: the test that all rank alike;
    - `critical_difference`: by how much two average ranks must differ (Nemenyi, at 5 %);
    - `cliques`: the largest groups, of two or more, in which no two are separated: their ranks are
      closer than the critical difference. Unless Friedman's test rejects, all of them are one
      (Demšar 2006, section 3.2.2).

    With two upstreams Wilcoxon's test over the blocks decides whether they are a clique, and with
    one block nothing is tested and there are no cliques; `friedman` and `critical_difference` are
    None then, and `notes` says so. `pairs` are the tests of Wilcoxon over the blocks, which see the
    size of the differences too, with Holm's correction; empty with one block.

    Raises:
        BarlowSpeechError: a result is refused by `by_task`, an upstream named has no result, there
            are not two upstreams, or no block has all of them.
    """
    tasks: dict[tuple[str, str], dict[str, list[TaskResult]]] = {}
    for result in results:
        variants = tasks.setdefault((result.task, result.corpus), {})
        variants.setdefault(variant(result), []).append(result)
    known = list(dict.fromkeys(result.upstream for result in results))
    names = known if upstreams is None else list(dict.fromkeys(upstreams))
    for name in names:
        if name not in known:
            raise unknown("upstream", name, known, "the results to rank")
    if len(names) < 2:
        raise BarlowSpeechError(
            f"there is nothing to rank {names[0] if names else 'here'} against; "
            "give the results of two or more upstreams."
        )
    means: dict[tuple[str, str], list[float]] = {}
    left_out, chosen = [], []
    for task, variants in tasks.items():
        where = place(*task)
        complete: dict[str, list[TaskResult]] = {}
        for key, group in variants.items():
            by_task(group)  # refuses what cannot be compared
            by_name = {result.upstream: result for result in group}
            if by_name.keys() >= set(names):
                complete[key] = [by_name[name] for name in names]
        if not complete:
            there = {result.upstream for group in variants.values() for result in group}
            missing = [name for name in names if name not in there]
            if not missing:
                left_out.append(
                    f"{where} is not ranked: none of the {len(variants)} ways in which it was "
                    f"measured has all {noun}s."
                )
            elif len(missing) < len(names):
                left_out.append(f"{where} is not ranked: no result of {listed(missing, most=4)}.")
            continue
        newest = max(complete, key=lambda key: max(result.recorded for result in complete[key]))
        means[task] = [float(np.mean(result.values)) for result in complete[newest]]
        if len(variants) > 1:
            chosen.append(
                f"{where} was measured in {len(variants)} ways and counts once: by the newest that "
                f"all {noun}s have, #{newest[:6]}."
            )
    if not means:
        raise BarlowSpeechError(
            f"no task has results of all of {listed(names, most=4)}; run what is missing, or rank "
            "fewer upstreams."
        )
    scores_BU = np.round(np.array(list(means.values())), DIGITS)
    average = ranks(scores_BU).mean(axis=0)
    order = sorted(range(len(names)), key=lambda one: average[one])
    scores_BU, average = scores_BU[:, order], average[order]
    best_first = tuple(names[one] for one in order)
    blocks = tuple(means)
    test = friedman(scores_BU) if len(blocks) > 1 and len(names) > 2 else None
    distance = critical_difference(len(names), len(blocks)) if test is not None else None
    pairs = _pairs(best_first, scores_BU) if len(blocks) > 1 else ()
    if test is not None and distance is not None:
        groups_of = _cliques(best_first, average, distance if test.p < LEVEL else math.inf)
    else:
        groups_of = (best_first,) if pairs and not pairs[0].separable else ()
    return Ranking(
        upstreams=best_first,
        ranks=tuple(average.tolist()),
        blocks=blocks,
        friedman=test,
        critical_difference=distance,
        cliques=groups_of,
        pairs=pairs,
        left_out=tuple(left_out),
        notes=(*_notes(blocks, len(names), distance, noun), *chosen),
        noun=noun,
    )


def ranks(scores_BU: np.ndarray) -> np.ndarray:
    """The ranks [blocks, upstreams] of scores of that shape: 1 is the highest of its block.

    Scores that are equal to nine digits share the average of their ranks.
    """
    from scipy import stats

    return stats.rankdata(-np.round(scores_BU, DIGITS), axis=1)


def friedman(scores_BU: np.ndarray, seed: int = 0) -> Friedman:
    """Friedman's test (1937) that the upstreams rank alike, of scores [blocks, upstreams].

    - `chi_square`, corrected for ties, and its p from the chi-square distribution (SciPy's
      `friedmanchisquare`), which rejects too rarely with few blocks;
    - `f` and its p: Iman & Davenport (1980), Demšar's choice, which with few blocks rejects too
      often: two blocks that order three upstreams alike, as one in six pairs does by chance, make
      it infinite;
    - `p`: the permutation test of the same statistic. Ranks are permuted within each block, 19,999
      times, the observed order counted in (Phipson & Smyth 2010). It holds for any number of
      blocks and decides in `ranking`.

    If all scores of each block are equal, chi-square and F are 0 and every p is 1.

    Raises:
        BarlowSpeechError: there are not two blocks and three upstreams.
    """
    from scipy import stats

    blocks, upstreams = scores_BU.shape
    if blocks < 2 or upstreams < 3:
        raise BarlowSpeechError(
            f"Friedman's test needs two tasks and three upstreams, not {blocks} and {upstreams}."
        )
    ranks_BU = ranks(scores_BU)
    df, df_f = upstreams - 1, (upstreams - 1, (upstreams - 1) * (blocks - 1))
    if np.ptp(ranks_BU) == 0:
        return Friedman(0.0, df, 1.0, 0.0, df_f, 1.0, 1.0)
    test = stats.friedmanchisquare(*ranks_BU.T)
    chi_square = float(test.statistic)
    rest = blocks * df - chi_square
    f = (blocks - 1) * chi_square / rest if rest > 1e-9 * blocks * df else None
    generator = np.random.default_rng(seed)
    totals_PU = np.zeros((PERMUTATIONS, upstreams))
    # Neither the order of the blocks nor that of the upstreams decides what is drawn.
    for row in sorted(np.sort(ranks_BU, axis=1).tolist()):
        totals_PU += generator.permuted(np.tile(row, (PERMUTATIONS, 1)), axis=1)
    observed = (ranks_BU.sum(axis=0) ** 2).sum()  # grows with chi-square, and with nothing else
    extreme = int(((totals_PU**2).sum(axis=1) >= observed - 1e-6).sum())
    return Friedman(
        chi_square=chi_square,
        df=df,
        p_chi_square=float(test.pvalue),
        f=f,
        df_f=df_f,
        p_f=None if f is None else float(stats.f.sf(f, *df_f)),
        p=(extreme + 1) / (PERMUTATIONS + 1),
    )


@lru_cache(maxsize=256)
def critical_difference(upstreams: int, blocks: int, level: float = LEVEL) -> float:
    """By how much two of `upstreams` average ranks over `blocks` must differ (Nemenyi 1963).

    q · sqrt(k (k + 1) / 6N), q from the studentised range over √2 (Demšar 2006, section 3.2.2).
    """
    from scipy import stats

    q = stats.studentized_range.ppf(1.0 - level, upstreams, np.inf) / math.sqrt(2.0)
    return float(q * math.sqrt(upstreams * (upstreams + 1) / (6.0 * blocks)))


def shared_ranks(results: Sequence[TaskResult]) -> dict[str, int]:
    """The rank of each upstream on one task: 1 + how many upstreams are separably better.

    Separably better is the higher of two that `compare_all` separates. So upstreams share rank 1
    if nothing is shown to be better than they are, which is true of the best mean; whoever is worse
    than two of them has rank 3, as in a race. The rank is the best that the runs allow an upstream
    to claim, the lower end of `rank_intervals`: an upstream whose runs scatter widely, so that
    little can be shown against it, may stand above one of a higher mean. In the order given.

    Raises:
        BarlowSpeechError: as `compare`.
    """
    return {name: low for name, (low, _) in rank_intervals(results).items()}


def rank_intervals(results: Sequence[TaskResult]) -> dict[str, tuple[int, int]]:
    """The best and the worst rank that the runs leave to each upstream on one task.

    1 + how many are separably better, and the number of upstreams less how many are separably
    worse (Mogstad, Romano, Shaikh & Wilhelm, "Inference for ranks", 2024). Since Holm's correction
    bounds the probability of any false separation, all true ranks are inside at once in about 95 of
    100 repetitions of the runs, or more.

    Raises:
        BarlowSpeechError: as `compare`.
    """
    better = Counter({result.upstream: 0 for result in results})
    worse = Counter(better)
    for pair in compare_all(results):
        if pair["separable"]:
            a_wins = pair["difference"] > 0
            winner, loser = (pair["a"], pair["b"]) if a_wins else (pair["b"], pair["a"])
            better[loser] += 1
            worse[winner] += 1
    return {name: (1 + better[name], len(better) - worse[name]) for name in better}


def verdict(ranked: Ranking) -> str:
    """What the tests of a ranking say, in a sentence or two; its notes are apart."""
    count = len(ranked.blocks)
    over = f"over {count} {'task' if count == 1 else 'tasks'}"
    test, distance = ranked.friedman, ranked.critical_difference
    if test is not None and distance is not None:
        numbers = (
            f"(Friedman's chi-square {test.chi_square:.2f}, {test.df} degrees of freedom; "
            f"permutation {p_text(test.p)})"
        )
        of_all = f"of {len(ranked.upstreams)} {ranked.noun}s {over}"
        if test.p >= LEVEL:
            return f"The average ranks {of_all} cannot be told apart {numbers}."
        return (
            f"The average ranks {of_all} differ {numbers}; two of them are separated where they "
            f"differ by {distance:.2f} or more (Nemenyi, 5 %)."
        )
    if ranked.pairs:
        (pair,) = ranked.pairs
        rejects = "separates" if pair.separable else "does not separate"
        return (
            f"Wilcoxon's test {over} {rejects} {pair.a} and {pair.b} ({p_text(pair.p_wilcoxon)})."
        )
    return f"Ranks {over}; nothing was tested."


def _pairs(names: Sequence[str], scores_BU: np.ndarray) -> tuple[Pair, ...]:
    """Every two upstreams, tested as results whose runs are the blocks."""
    over = [
        TaskResult(name, "all tasks", "all corpora", "mean", tuple(means))
        for name, means in zip(names, scores_BU.T.tolist())
    ]
    return tuple(
        Pair(
            pair["a"], pair["b"], pair["n"], pair["difference"], pair["p_wilcoxon"],
            pair["p_wilcoxon_holm"], pair["p_wilcoxon_holm"] < LEVEL,
        )
        for pair in compare_all(over)
    )  # fmt: skip


def _cliques(
    names: Sequence[str], average: np.ndarray, distance: float
) -> tuple[tuple[str, ...], ...]:
    """The largest runs of two or more of the ordered ranks that lie within less than `distance`."""
    cliques: list[tuple[str, ...]] = []
    reached = 0
    for first in range(len(names)):
        last = first
        # Average ranks are sums of halves over the blocks: a difference may miss its last bit.
        while last + 1 < len(names) and average[last + 1] - average[first] < distance - 1e-9:
            last += 1
        if last > first and last > reached:
            cliques.append(tuple(names[first : last + 1]))
        reached = max(reached, last)
    return tuple(cliques)


def _notes(
    blocks: Sequence[tuple[str, str]], upstreams: int, distance: float | None, noun: str
) -> list[str]:
    notes = []
    if len(blocks) < 2:
        notes.append("One task has an order but no test over tasks; two or more are needed.")
    elif upstreams < 3:
        notes.append(f"Friedman's test needs three {noun}s; of two, Wilcoxon's test decides.")
    if distance is not None and distance > upstreams - 1:
        notes.append(
            f"{len(blocks)} tasks cannot separate any two of {upstreams} {noun}s by Nemenyi's "
            f"test: average ranks differ by {upstreams - 1} at most."
        )
    shared = [
        corpus for corpus, count in Counter(name for _, name in blocks if name).items() if count > 1
    ]
    if len(blocks) > 1 and shared:
        notes.append(
            f"Tasks of one corpus ({listed(shared, most=4)}) share recordings, while tests take "
            "all tasks to be independent."
        )
    return notes
