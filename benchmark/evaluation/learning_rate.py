"""The learning rate of the head, chosen on dev from the protocol's grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.results import DIGITS
from barlow_speech.upstream.common.progress import progress

if TYPE_CHECKING:
    from barlow_speech.benchmark.evaluation.trainers import Trainer

STEPS = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}]"


def search(job: Job, trainers: Sequence[Sequence[Trainer]]) -> dict[str, Any]:
    """The learning rate with the best mean dev score; the smallest of equals.

    All rates are trained in one pass, for every fold and pretraining.
    """
    protocol = job.protocol
    rates = tuple(sorted(set(protocol.learning_rates)))
    if len(rates) == 1:
        return {"chosen": rates[0], "how": "fixed"}
    plans = protocol.search_plans()
    scores: dict[float, list[float]] = {rate: [] for rate in rates}
    what = f"{job.task}, learning rate for {job.upstream}"
    total = protocol.steps * sum(map(len, trainers))
    with progress(total, what, "step", bar_format=STEPS) as bar:
        for trainer in itertools.chain.from_iterable(trainers):
            for plan, run in zip(plans, trainer.train(plans, bar.update, False)):
                scores[plan.lr].append(run.dev)
    means = {rate: float(np.mean(values)) for rate, values in scores.items()}
    # Means of equal scores in another order may differ in their last bit.
    chosen = max(rates, key=lambda rate: round(means[rate], DIGITS))
    result = {
        "chosen": chosen,
        "how": f"best mean dev {METRICS[protocol.selection]} of {protocol.search_runs} runs each",
        "dev": {f"{rate:g}": round(mean, 6) for rate, mean in means.items()},
    }
    if chosen in (rates[0], rates[-1]):
        result["at_edge"] = True  # a wider grid might have given more
    return result
