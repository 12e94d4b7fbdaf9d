"""Accelerated learning: accuracy on dev against optimiser steps, frozen and trained end to end."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.analyses import labels
from barlow_speech.benchmark.analyses._curve_points import recorded_curve
from barlow_speech.benchmark.analyses._requests import ResultRequest, Results, Study
from barlow_speech.benchmark.analyses._tables import have_the_best
from barlow_speech.benchmark.figures.curves import Curve, lines_figure, panel_title
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.upstream.common.text import listed

NOTES = (
    "Mean over the runs on dev of what the protocol chooses by (`selection`: accuracy, unless it "
    "says otherwise), looked at while heads train; bands: 1.96 standard errors; dashed: always "
    "saying the most frequent class, on what is evaluated. Where there are several learning rates "
    "it is the one that dev picked over all steps, for each upstream, so that curves are no race "
    "at equal rates.",
)
REACHED = 0.9  # of an upstream's best mean on dev


@dataclass(frozen=True)
class Settings(labels.Settings):
    """As for `labels`, with all of the labels unless `fractions` says otherwise."""

    fractions: tuple[float, ...] = (1.0,)


def requests(settings: Settings, study: Study) -> list[ResultRequest]:
    """The same results as those of `labels`."""
    return labels.requests(settings, study)


def section(title: str, settings: Settings, results: Results) -> Section:
    """A panel a task and share of labels, a curve an upstream."""
    panels: dict[str, dict[str, Curve]] = {}
    chance: dict[str, float] = {}
    rows, without = [], []
    for request, result in results.requested(ResultRequest):
        fraction, label = request.changes["label_fraction"], result.upstream
        curve = recorded_curve(result)
        if curve is None:
            without.append(f"{label} on {result.place}")
            continue
        share = "" if fraction == 1 else f", {100 * fraction:g} % of the labels"
        panel = panel_title(result.task, result.corpus) + share
        panels.setdefault(panel, {})[label] = curve
        if result.setup.chance is not None:
            chance[panel] = result.setup.chance
        most = max(curve.mean)
        reached = next(x for x, mean in zip(curve.x, curve.mean) if mean >= REACHED * most)
        rows.append(
            (result.task, result.corpus, label, 100 * fraction, 100 * most, int(reached),
             result.setup.lr)
        )  # fmt: skip
    findings = []
    for panel, curves in panels.items():
        scores = [dict(zip(curve.x, curve.mean)) for curve in curves.values()]
        common = set(scores[0]).intersection(*scores[1:])
        if not common:  # they were not evaluated after the same steps
            continue
        step = min(common)
        means = {label: 100 * own[step] for label, own in zip(curves, scores)}
        findings.append(
            f"{panel}: after {step:g} steps {have_the_best(means)} on dev "
            f"({max(means.values()):.1f} %); not tested."
        )
    if without:
        findings.append(
            f"No curve on dev is recorded of {listed(without, most=4)}: their heads are fitted "
            "without steps."
        )
    if not panels:
        return Section(title, tuple(findings), (), ())
    return Section(
        title,
        tuple(findings),
        NOTES,
        (
            Picture(
                title,
                "Scores on dev against optimiser steps.",
                "Curves of scores on dev against steps; where they get is in the table.",
                lines_figure(panels, "optimiser steps", chance=chance),
            ),
            Table(
                f"{title} reached",
                "The best mean on dev in percent, and the first look at which 90 % of it was "
                "reached.",
                ("task", "corpus", "upstream", "labels (%)", "best on dev", "steps to 90 % of it",
                 "learning rate"),
                tuple(rows),
                texts=3,
            ),
        ),
    )  # fmt: skip
