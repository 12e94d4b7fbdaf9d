"""Results as points of curves, (x, label, result): picture, table and findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from barlow_speech.benchmark.analyses._tables import (
    NO_INTERVAL,
    have_the_best,
    metric_name,
    percents,
)
from barlow_speech.benchmark.figures.curves import Curve, ends, lines_figure, panel_title
from barlow_speech.benchmark.reporting.document import Picture, Table
from barlow_speech.benchmark.statistics.comparison import test_pairs
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.sources import over_text
from barlow_speech.benchmark.statistics.summaries import cell_summary

Point = tuple[float, str, TaskResult]


def curve_picture(
    title: str, x_name: str, points: Sequence[Point], *, logarithmic: bool, percent_x: bool = False
) -> Picture:
    """A panel for each task of a corpus, in it a curve for each label."""
    metric = metric_name([result for _, _, result in points])
    return Picture(
        title,
        f"{metric[:1].upper()}{metric[1:]} against {x_name}.",
        f"Curves of {metric} against {x_name}; the numbers are in the table.",
        lines_figure(
            curves_by_task(points),
            x_name,
            logarithmic=logarithmic,
            chance=chance_of([result for _, _, result in points]),
            percent_x=percent_x,
        ),
    )


def curves_by_task(points: Sequence[Point]) -> dict[str, dict[str, Curve]]:
    """A panel for each task of a corpus, in it a curve for each label, from small x to large."""
    panels: dict[str, dict[str, Curve]] = {}
    for title, labels in _grouped(points).items():
        for label, own in labels.items():
            rows = []
            for x, result in sorted(own, key=lambda one: one[0]):
                numbers = cell_summary(result)
                rows.append((x, numbers["mean"], *ends(numbers["ci95"])))
            panels.setdefault(title, {})[label] = Curve(*zip(*rows))
    return panels


def chance_of(results: Sequence[TaskResult]) -> dict[str, float]:
    """Panel → the score of always saying the most frequent class, where it is recorded."""
    return {
        panel_title(result.task, result.corpus): result.setup.chance
        for result in results
        if result.setup.chance is not None
    }


def bands_note(results: Sequence[TaskResult]) -> str:
    """What the bands and the dashed line of the picture are."""
    return (
        f"Bands: 95 % interval of the mean over {over_text(results)}. Dashed: always saying the "
        "most frequent class."
    )


def curve_table(
    title: str, x_name: str, points: Sequence[tuple[float | None, TaskResult]]
) -> Table:
    """Every point with its interval; those without an x are level lines."""
    rows = []
    for x, result in points:
        numbers = cell_summary(result)
        shares = percents(numbers["mean"], numbers["std"], *(numbers["ci95"] or NO_INTERVAL))
        names = (result.task, result.corpus, result.upstream, numbers["over"])
        rows.append((*names, x, *shares, numbers["n"]))
    return Table(
        f"{title} points",
        "Every point of the curves; scores are in percent.",
        ("task", "corpus", "upstream", "over", x_name, "mean", "std", "95 % from", "to", "runs"),
        tuple(rows),
        texts=4,
    )


def leaders_finding(points: Sequence[Point]) -> list[str]:
    """For each task, which label is best at the smallest share of labels, which at the largest."""
    sentences = []
    for title, labels in _grouped(points).items():
        common = set.intersection(*({x for x, _ in own} for own in labels.values()))
        parts = []
        for x in sorted({min(common), max(common)} if common else ()):
            means = {label: cell_summary(dict(own)[x])["mean"] for label, own in labels.items()}
            best = 100 * max(means.values())
            parts.append(f"{have_the_best(means)} at {100 * x:g} % ({best:.1f} %)")
        if parts:
            sentences.append(f"{title}, share of the labels: {' and '.join(parts)}; not tested.")
    return sentences


def extremes_finding(points: Sequence[Point], x_name: str) -> list[str]:
    """Whether the largest x differs from the smallest, by the paired test, task by task."""
    places, pairs = [], []
    if len({x for x, _, _ in points}) < 2:
        return [f"All have the same x ({x_name}), so that there is nothing to compare."]
    for title, labels in _grouped(points).items():
        for own in labels.values():
            (low, first), *_, (high, last) = sorted(own, key=lambda one: one[0])
            places.append((title, low, high))
            pairs.append((last, first))
    sentences = []
    for (title, low, high), pair in zip(places, test_pairs(pairs)):
        moved = 100 * (pair["difference"] or 0.0)
        if pair["untested"]:
            how = f"is not tested: {pair['untested']}"
        elif pair["separable"]:
            how = f"{'gains' if moved > 0 else 'loses'} {abs(moved):.1f} points"
        else:
            how = f"is not separated ({moved:+.1f} points)".replace("-", "−")
        sentences.append(f"{title}: {high:.3g} against {low:.3g} ({x_name}) {how}.")
    return sentences


def recorded_curve(result: TaskResult) -> Curve | None:
    """The mean score on dev over the runs, against optimiser steps; None where there is none."""
    curves = result.curves
    if not curves or not curves[0]:  # of a head that is fitted without steps
        return None
    steps = tuple(float(step) for step, _ in curves[0])
    scores_RS = np.array([[score for _, score in curve] for curve in curves])
    mean_S = scores_RS.mean(axis=0)
    if len(curves) == 1:
        return Curve(steps, tuple(mean_S.tolist()))
    half_S = 1.96 * scores_RS.std(axis=0, ddof=1) / np.sqrt(len(curves))
    values = (mean_S, mean_S - half_S, mean_S + half_S)
    return Curve(steps, *(tuple(values_S.tolist()) for values_S in values))


def _grouped(points: Sequence[Point]) -> dict[str, dict[str, list[tuple[float, TaskResult]]]]:
    panels: dict[str, dict[str, list[tuple[float, TaskResult]]]] = {}
    for x, label, result in points:
        panel = panels.setdefault(panel_title(result.task, result.corpus), {})
        panel.setdefault(label, []).append((x, result))
    return panels
