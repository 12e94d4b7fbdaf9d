"""Whether the projectors of several view families hold different factors of speech."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field

from barlow_speech.benchmark.analyses._factors import probed_factors
from barlow_speech.benchmark.analyses._requests import (
    Measurement,
    Pretrained,
    Results,
    Sources,
    Study,
    check_trained,
    corpora,
    corpus_name,
)
from barlow_speech.benchmark.analyses._tables import NO_INTERVAL, matrix_picture, percents
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.statistics.comparison import best_of
from barlow_speech.upstream.common.text import listed
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.pretraining.trainer import Pretraining

if TYPE_CHECKING:
    from barlow_speech.benchmark.disentanglement.factors import Factors

NOTES = (
    "Balanced accuracy of a logistic regression on the embedding, as the recipe reads it out, and "
    "on the output z of each family's projector, which only training uses. If each family's "
    "invariance kept a factor of its own, rows would be best in different columns. Intervals are "
    "over the test speakers.",
)


OWN = "embedding"


@dataclass(frozen=True)
class Settings:
    """Of one pretrained upstream, on which corpora (default: all of the study)."""

    upstream: str
    corpora: tuple[str, ...] = ()
    recordings: Annotated[int, Field(ge=8)] = 5000


def requests(settings: Settings, study: Study) -> list[Measurement]:
    """The probes on each corpus."""
    label, recordings = settings.upstream, settings.recordings
    check_trained(study, label, "subspaces", untrained=False)
    return [
        Measurement(
            (label,),
            partial(_probes, settings, corpus),
            corpus,
            f"subspaces of {label} on {corpus_name(corpus)}",
            lambda names, content: ["subspaces as trained", names[label], content, recordings],
            seconds=20.0,
            check=partial(_factors, settings, corpus),
        )
        for corpus in corpora(study, settings.corpora, "subspaces")
    ]


def _factors(settings: Settings, corpus: str, sources: Sources) -> Factors:
    return probed_factors(sources, corpus, (), settings.recordings)


def _probes(settings: Settings, corpus: str, sources: Sources) -> list[dict[str, Any]]:
    """The accuracy of a probe for every factor, on the embedding and each projector's output."""
    # Only this analysis pays for scikit-learn, which takes a second or two to import.
    from barlow_speech.benchmark.disentanglement.probes import probe

    read = sources.corpus(corpus)
    factors = _factors(settings, corpus, sources)
    recordings = [read.recordings[row] for row in factors.rows_N]
    # What the projectors were trained on, whatever the study reads out.
    own_NE = sources.represent(settings.upstream, read, recordings, as_trained=True).x_NE
    representations = {OWN: own_NE, **_projected(sources.pretrained(settings.upstream), own_NE)}
    outcomes = []
    for representation, x_ND in representations.items():
        for factor, labels_N in factors.labels.items():
            measured = probe(
                representation,
                factor,
                x_ND,
                labels_N,
                factors.splits[factor],
                factors.groups_N,
                (1,),
            )
            outcomes.append(
                {"code": representation, "factor": factor, "dimensions": x_ND.shape[1],
                 "accuracy": measured.accuracy.value,
                 "ci95": measured.accuracy.interval(0.0, 1.0), "chance": measured.chance}
            )  # fmt: skip
    return outcomes


@torch.no_grad()
def _projected(trained: Pretrained, own_NE: np.ndarray) -> dict[str, np.ndarray]:
    """z [N, width] of each family for embeddings [N, E], batch norms as training left them."""
    corpus = PackedCorpus(trained.packed, trained.recipe.crop_s, trained.recipe.seed)
    run = Pretraining(trained.recipe, corpus, torch.device("cpu"))
    run.load(trained.folder)
    twins = run.twins.eval()
    x_NE = torch.from_numpy(np.asarray(own_NE, dtype=np.float32))
    return {
        f"z of {name}": projector(x_NE).numpy()
        for name, projector in twins.projectors.items()
        if trained.recipe.families[name].level == "utterance"
    }


def section(title: str, settings: Settings, results: Results) -> Section:
    """A matrix for each corpus: representations by factors."""
    parts: list[Picture | Table] = []
    findings = []
    for request, probes in results.requested(Measurement):
        where = request.title
        accuracies = {(row["factor"], row["code"]): 100 * row["accuracy"] for row in probes}
        representations = [
            representation
            for representation in dict.fromkeys(representation for _, representation in accuracies)
            if representation != OWN
        ]
        best = {
            factor: best_of({one: accuracies[factor, one] for one in representations})
            for factor in dict.fromkeys(factor for factor, _ in accuracies)
        }
        findings.append(
            f"{where}: among the projectors, the best mean is that of "
            + ", ".join(f"{listed(names)} for {factor}" for factor, names in best.items())
            + "; not tested."
        )
        parts.append(
            matrix_picture(
                f"{title} {where}",
                f"{where}: balanced accuracy in percent; bold: the best of the column.",
                "Accuracies by representation and factor; the numbers are in the table.",
                {
                    (representation, factor): value
                    for (factor, representation), value in accuracies.items()
                },
            )
        )
        parts.append(
            Table(
                f"{title} {where} probes",
                "Balanced accuracy in percent, with its interval and chance.",
                ("representation", "factor", "dimensions", "accuracy", "95 % from", "to", "chance"),
                tuple(
                    (row["code"], row["factor"], row["dimensions"],
                     *percents(row["accuracy"], *(row["ci95"] or NO_INTERVAL), row["chance"]))
                    for row in probes
                ),
                texts=2,
            )
        )  # fmt: skip
    return Section(title, tuple(findings), NOTES, tuple(parts))
