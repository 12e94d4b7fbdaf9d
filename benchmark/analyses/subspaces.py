"""Whether the projectors of several view families hold different factors of speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from barlow_speech.benchmark.analyses._matrix import NO_INTERVAL, matrix_picture, percents
from barlow_speech.benchmark.analyses._requests import (
    Measurement,
    Pretrained,
    Results,
    Sources,
    Study,
    check_trained,
    corpus_name,
)
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.pretraining.trainer import Pretraining

NOTES = (
    "Balanced accuracy of a logistic regression on the embedding, and on the output z of each "
    "family's projector, which only training uses. If each family's invariance kept a factor of "
    "its own, rows would be best in different columns. Intervals are over the test speakers.",
)


OWN = "embedding"


@dataclass(frozen=True)
class Settings:
    """Of one pretrained upstream, on which corpora (default: all of the study)."""

    upstream: str
    corpora: tuple[str, ...] = ()
    recordings: int = 5000


@dataclass(frozen=True)
class Probes(Measurement):
    """What can be read from the embedding and from each projector's output."""

    recordings: int

    @property
    def title(self) -> str:
        """See `Measurement`."""
        return f"subspaces of {self.upstreams[0]} on {corpus_name(self.corpus)}"

    @property
    def seconds(self) -> float:
        """See `Measurement`."""
        return 20.0

    def identity(self, names: Mapping[str, str], corpus: str) -> Any:
        """See `Measurement`."""
        return ["subspaces", names[self.upstreams[0]], corpus, self.recordings]

    def compute(self, sources: Sources) -> list[dict[str, Any]]:
        """The accuracy of a probe for every factor on every code."""
        # Only this analysis pays for scikit-learn, which takes a second or two to import.
        from barlow_speech.benchmark.disentanglement.factors import read_factors
        from barlow_speech.benchmark.disentanglement.probes import probe

        (label,) = self.upstreams
        corpus = sources.corpus(self.corpus)
        factors = read_factors(corpus, (), self.recordings, sources.allow_leakage)
        recordings = [corpus.recordings[row] for row in factors.rows_N]
        own_NE = sources.represent(label, corpus, recordings).x_NE
        codes = {OWN: own_NE, **_projected(sources.pretrained(label), own_NE)}
        outcomes = []
        for code, x_ND in codes.items():
            for factor, labels_N in factors.labels.items():
                it = probe(
                    code, factor, x_ND, labels_N, factors.splits[factor], factors.groups_N, (1,)
                )
                outcomes.append(
                    {"code": code, "factor": factor, "dimensions": x_ND.shape[1],
                     "accuracy": it.accuracy.value, "ci95": it.accuracy.interval(0.0, 1.0),
                     "chance": it.chance}
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


def requests(settings: Settings, study: Study) -> list[Probes]:
    """The probes on each corpus."""
    check_trained(study, settings.upstream, "subspaces")
    return [
        Probes((settings.upstream,), corpus, settings.recordings)
        for corpus in settings.corpora or tuple(study.corpora)
    ]


def section(title: str, settings: Settings, results: Results) -> Section:
    """A matrix for each corpus: codes by factors."""
    parts: list[Picture | Table] = []
    findings = []
    for request, probes in results.requested(Probes):
        where = request.title
        accuracies = {(one["factor"], one["code"]): 100 * one["accuracy"] for one in probes}
        codes = [code for code in dict.fromkeys(code for _, code in accuracies) if code != OWN]
        best = {
            factor: max(codes, key=lambda code: accuracies[factor, code])
            for factor in dict.fromkeys(factor for factor, _ in accuracies)
        }
        findings.append(
            f"{where}: among the projectors, the best mean is that of "
            + ", ".join(f"{code} for {factor}" for factor, code in best.items())
            + "; not tested."
        )
        parts.append(
            matrix_picture(
                f"{title} {where}",
                f"{where}: balanced accuracy in percent; bold: the best of the column.",
                "A matrix of accuracies by code and factor; the numbers are in the table.",
                {(code, factor): value for (factor, code), value in accuracies.items()},
            )
        )
        parts.append(
            Table(
                f"{title} {where} probes",
                "Balanced accuracy in percent, with its interval and chance.",
                ("code", "factor", "dimensions", "accuracy", "95 % from", "to", "chance"),
                tuple(
                    (one["code"], one["factor"], one["dimensions"],
                     *percents(one["accuracy"], *(one["ci95"] or NO_INTERVAL), one["chance"]))
                    for one in probes
                ),
                texts=2,
            )
        )  # fmt: skip
    return Section(title, tuple(findings), NOTES, tuple(parts))
