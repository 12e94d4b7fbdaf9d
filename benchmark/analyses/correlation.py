"""Cross-correlation of two views before and after training, of one mini-batch (third figure)."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.benchmark.figures.correlation import correlations, drawn_correlations
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Pretrain
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.pretraining.objective import off_diagonal

NOTES = (
    "The objective asks for ones on the diagonal (the views agree) and zeros elsewhere (no "
    "dimension repeats another). Both networks see the same views.",
)


@dataclass(frozen=True)
class Settings:
    """Of which pretrained upstreams."""

    upstreams: tuple[str, ...]


def stages(settings: Settings, planner: Planner) -> list[Pretrain]:
    """The first pretraining of each."""
    found = []
    for label in planner.upstreams(settings.upstreams, "correlation"):
        trained = planner.pretrainings(label)
        if not trained or planner.study.upstreams[label].untrained:
            raise BarlowSpeechError(
                f"correlation: the upstream '{label}' is not pretrained by this study."
            )
        found.append(trained[0])
    return found


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """A pair of matrices for each upstream and family of views, and their numbers."""
    parts: list[Picture | Table] = []
    rows = []
    for label, stage in zip(settings.upstreams, stages(settings, planner)):
        for family in stage.recipe.families:
            both = correlations(
                stage.recipe, stage.folder, packed=stage.packed(planner.workspace), family=family
            )
            for state, matrix_DD in (
                ("untrained", both.untrained_DD),
                ("trained", both.trained_DD),
            ):
                size = len(matrix_DD)
                rest = off_diagonal(matrix_DD).square().sum() / max(1, size * (size - 1))
                rows.append(
                    (label, family, state, size, float(matrix_DD.diagonal().mean()),
                     float(rest.sqrt()))
                )  # fmt: skip
            parts.append(
                Picture(
                    f"{title} {label} {family}",
                    f"{label}, view family {family}.",
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
