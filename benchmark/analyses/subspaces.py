"""Whether the projectors of several view families hold different factors of speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from barlow_speech.benchmark.disentanglement.representations import represent
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.benchmark.figures.matrix import matrix_figure
from barlow_speech.benchmark.reporting.document import Picture, Section, Table
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Measure, Pretrain
from barlow_speech.benchmark.study.workspace import Workspace
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.pretraining.trainer import Pretraining

NOTES = (
    "Balanced accuracy of a logistic regression on the embedding, and on the output z of each "
    "family's projector, which only training uses. If each family's invariance kept a factor of "
    "its own, rows would be best in different columns. Intervals are over the judging speakers.",
)


@dataclass(frozen=True)
class Settings:
    """Of one pretrained upstream, on which corpora (default: all of the study)."""

    upstream: str
    corpora: tuple[str, ...] = ()
    recordings: int = 5000


def stages(settings: Settings, planner: Planner) -> list[Measure]:
    """One measurement for each corpus."""
    trained = planner.pretrainings(settings.upstream)
    if not trained:
        raise BarlowSpeechError(
            f"subspaces: the upstream '{settings.upstream}' is not pretrained by this study."
        )
    return [
        _measure(settings, planner, corpus, trained[0])
        for corpus in settings.corpora or tuple(planner.study.corpora)
    ]


def _measure(settings: Settings, planner: Planner, corpus: str, stage: Pretrain) -> Measure:
    name = planner.name(settings.upstream)

    def compute(workspace: Workspace) -> list[dict[str, Any]]:
        # Only this analysis pays for scikit-learn, which takes a second or two to import.
        from barlow_speech.benchmark.disentanglement.factors import read_factors
        from barlow_speech.benchmark.disentanglement.probes import probe

        read = workspace.evaluator.corpus(workspace.corpus(corpus))
        factors = read_factors(read, (), settings.recordings, workspace.allow_leakage)
        recordings = [read.recordings[row] for row in factors.rows_N]
        upstream = load_upstream(name, None, workspace.device)
        cache = workspace.evaluator.settings.cache
        code = represent(settings.upstream, upstream, recordings, cache, read.manifest.file)
        codes = {"embedding": code.x_NE, **_projected(stage, workspace, code.x_NE)}
        found = []
        for where, x_ND in codes.items():
            for factor, labels_N in factors.labels.items():
                one = probe(
                    where, factor, x_ND, labels_N, factors.splits[factor], factors.groups_N, (1,)
                )
                found.append(
                    {"code": where, "factor": factor, "dimensions": x_ND.shape[1],
                     "accuracy": one.accuracy.value, "ci95": one.accuracy.interval(0.0, 1.0),
                     "chance": one.chance}
                )  # fmt: skip
        return found

    identity = ["subspaces", name, planner.workspace.corpus_digest(corpus), settings.recordings]
    title = f"subspaces of {settings.upstream} on {planner.workspace.corpus_name(corpus)}"
    return Measure(title, identity, compute, (stage,), 20.0)


@torch.no_grad()
def _projected(stage: Pretrain, workspace: Workspace, code_NE: np.ndarray) -> dict[str, np.ndarray]:
    """z [N, width] of each family for embeddings [N, E], batch norms as training left them."""
    corpus = PackedCorpus(stage.packed(workspace), stage.recipe.crop_s, stage.recipe.seed)
    run = Pretraining(stage.recipe, corpus, torch.device("cpu"))
    run.load(stage.folder)
    twins = run.twins.eval()
    x_NE = torch.from_numpy(np.asarray(code_NE, dtype=np.float32))
    return {
        f"z of {name}": projector(x_NE).numpy()
        for name, projector in twins.projectors.items()
        if stage.recipe.families[name].level == "utterance"
    }


def present(title: str, settings: Settings, planner: Planner) -> Section:
    """A matrix for each corpus: codes by factors."""
    parts: list[Picture | Table] = []
    findings = []
    for stage in stages(settings, planner):
        found = stage.outcome(planner.workspace)
        codes = list(dict.fromkeys(one["code"] for one in found))
        factors = list(dict.fromkeys(one["factor"] for one in found))
        values = np.full((len(codes), len(factors)), np.nan)
        for one in found:
            place = codes.index(one["code"]), factors.index(one["factor"])
            values[place] = 100 * one["accuracy"]
        best = {factors[j]: codes[i] for j, i in enumerate(values[1:].argmax(axis=0) + 1)}
        findings.append(
            f"{stage.title}: among the projectors, the best mean is that of "
            + ", ".join(f"{code} for {factor}" for factor, code in best.items())
            + "; not tested."
        )
        parts.append(
            Picture(
                f"{title} {stage.title}",
                f"{stage.title}: balanced accuracy in percent; bold: the best of the column.",
                "A matrix of accuracies by code and factor; the numbers are in the table.",
                matrix_figure(
                    values, codes, factors, bold=values == values.max(axis=0), by_column=True
                ),
            )
        )
        parts.append(
            Table(
                f"{title} {stage.title} probes",
                "Balanced accuracy in percent, with its interval and chance.",
                ("code", "factor", "dimensions", "accuracy", "95 % from", "to", "chance"),
                tuple(
                    (
                        one["code"], one["factor"], one["dimensions"], 100 * one["accuracy"],
                        *(100 * end for end in one["ci95"] or ()),
                        *(() if one["ci95"] else (None, None)), 100 * one["chance"],
                    )
                    for one in found
                ),
                texts=2,
            )
        )  # fmt: skip
    return Section(title, tuple(findings), NOTES, tuple(parts))
