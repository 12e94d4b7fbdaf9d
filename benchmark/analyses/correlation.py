"""Cross-correlation of two views before and after training, of one mini-batch (third figure)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from barlow_speech.benchmark.analyses._requests import (
    Computation,
    Results,
    Sources,
    Study,
    check_trained,
    labels,
)
from barlow_speech.benchmark.figures.correlation import (
    Correlations,
    correlations,
    diagonal_and_rest,
    drawn_correlations,
)
from barlow_speech.benchmark.reporting.document import Picture, Section, Table

NOTES = (
    "The objective asks for ones on the diagonal (the views agree) and zeros elsewhere (no "
    "dimension repeats another). Both networks see the same views.",
)


@dataclass(frozen=True)
class Settings:
    """Of which pretrained upstreams."""

    upstreams: tuple[str, ...]


def requests(settings: Settings, study: Study) -> list[Computation]:
    """The matrices of each upstream's first pretraining."""
    upstreams = labels(study, settings.upstreams, "correlation")
    for label in upstreams:
        check_trained(study, label, "correlation", untrained=False)
    return [Computation((label,), partial(_matrices, label)) for label in upstreams]


def _matrices(label: str, sources: Sources) -> list[Correlations]:
    """Of each family, of the mini-batch that would come next."""
    trained = sources.pretrained(label)
    return [
        correlations(trained.recipe, trained.folder, packed=trained.packed, family=family)
        for family in trained.recipe.families
    ]


def section(title: str, settings: Settings, results: Results) -> Section:
    """A pair of matrices for each upstream and family of views, and their numbers."""
    parts: list[Picture | Table] = []
    rows = []
    for request, families in results.requested(Computation):
        (label,) = request.upstreams
        for both in families:
            states = {"untrained": both.untrained_DD, "trained": both.trained_DD}
            rows += [
                (label, both.family, state, len(matrix_DD), *diagonal_and_rest(matrix_DD))
                for state, matrix_DD in states.items()
            ]
            parts.append(
                Picture(
                    f"{title} {label} {both.family}",
                    f"{label}, view family {both.family}.",
                    "Two matrices, before and after training; their numbers are in the table.",
                    drawn_correlations(both),
                )
            )
    parts.append(
        Table(
            f"{title} numbers",
            "Mean of the diagonal, and root mean square of the rest.",
            ("upstream", "family", "network", "dimensions", "diagonal", "off the diagonal"),
            tuple(rows),
            texts=3,
        )
    )
    return Section(title, (), NOTES, tuple(parts))
