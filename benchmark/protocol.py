"""How a task is repeated: steps, batch, learning rates, what varies: what a record must say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from barlow_speech.downstream.task import Task
from barlow_speech.upstream.errors import BarlowSpeechError

SEARCH_RUNS = 3  # runs per learning rate when a grid is searched on dev


@dataclass(frozen=True)
class Protocol:
    """One head's training, repeated. Run i has the seed `seed + i`, which draws what `varies`.

    With several `learning_rates`, the one with the best mean dev accuracy over `search_runs` runs
    is taken, for every upstream from the same grid; those runs have seeds of their own and are not
    reported.
    """

    head: str
    steps: int
    batch: int
    eval_step: int
    clip: float
    projector_dim: int
    learning_rates: tuple[float, ...]
    search_runs: int
    seed: int
    varies: tuple[str, ...] = ("init", "order")
    selection: str = "best on dev, the earliest of equals; test once per run"

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return dataclasses.asdict(self)


def protocol_of(
    task: Task,
    seed: int,
    steps: int | None = None,
    batch: int | None = None,
    learning_rates: Sequence[float] | None = None,
) -> Protocol:
    """The protocol of a task's config.yaml, with what the command line changes.

    Raises:
        BarlowSpeechError: a number is not above zero.
    """
    runner, expert = task.config["runner"], task.config["downstream_expert"]
    given = {"--steps": steps, "--batch-size": batch}
    for flag, value in [*given.items(), *(("--lr", rate) for rate in learning_rates or ())]:
        if value is not None and not 0 < value < float("inf"):
            raise BarlowSpeechError(f"{flag} must be above zero, not {value}.")
    steps = steps or runner["total_steps"]
    return Protocol(
        head="superb: weighted layers, linear, mean over time, linear",
        steps=steps,
        batch=batch or expert["datarc"]["train_batch_size"],
        eval_step=min(runner["eval_step"], steps),
        clip=float(runner["gradient_clipping"]),
        projector_dim=expert["modelrc"]["projector_dim"],
        learning_rates=tuple(sorted(set(learning_rates or task.learning_rates))),
        search_runs=SEARCH_RUNS,
        seed=seed,
    )
