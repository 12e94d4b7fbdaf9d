"""Protocols: what is in the files, what a run draws, and what is refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barlow_speech import configs
from barlow_speech.benchmark.evaluation.job import Job
from barlow_speech.benchmark.evaluation.learning_rate import search
from barlow_speech.benchmark.evaluation.protocol import (
    SEARCH_SEEDS,
    Protocol,
    Run,
    RunPlan,
    read_protocol,
)
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.downstream import task as tasks
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.settings import LATER


@pytest.mark.parametrize("name", configs.files("protocol"))
def test_every_built_in_protocol_reads_for_every_task(name: str) -> None:
    for task in tasks.names():
        protocol = read_protocol(name, task)
        assert protocol.name == name
        assert protocol.training().eval_step <= protocol.steps
        plans = [protocol.plan(run, 0.1) for run in range(protocol.runs)]
        assert len({plan.seed for plan in plans}) == protocol.runs
        tried = protocol.search_plans()
        assert {plan.lr for plan in tried} == set(protocol.learning_rates)
        used = {seed for plan in plans for seed in (plan.init, plan.order)}
        assert not used & {seed for plan in tried for seed in (plan.init, plan.order)}


def test_superb_has_s3prls_numbers() -> None:
    """Of downstream/speech_commands, emotion and voxceleb1, config.yaml."""
    expected = {
        "keyword_spotting": (200_000, 32, 1, "balanced", 5000),
        "emotion": (30_000, 4, 8, "shuffle", 1000),
        "speaker_id": (200_000, 8, 4, "shuffle", 5000),
    }
    for task, (steps, batch, accumulate, sampling, eval_step) in expected.items():
        protocol = read_protocol("superb", task)
        assert protocol.learning_rates == (1e-4,) and protocol.clip == 1 and protocol.runs == 50
        assert (protocol.steps, protocol.batch, protocol.accumulate) == (steps, batch, accumulate)
        assert (protocol.sampling, protocol.eval_step) == (sampling, eval_step)


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text("runs: 4\nsteps: 5\nbatch: 2\neval_step: 5\n" + text)
    return str(path)


def test_what_does_not_vary_is_the_same_in_every_run(tmp_path: Path) -> None:
    protocol = read_protocol(write(tmp_path, "varies: [order]\n"), "emotion")
    plans = [protocol.plan(run, 0.1) for run in range(4)]
    assert len({plan.init for plan in plans}) == 1
    assert len({plan.order for plan in plans}) == 4
    assert {plan.resample for plan in plans} == {None}
    resampled = read_protocol(write(tmp_path, "varies: [train_resample]\n"), "emotion")
    assert len({resampled.plan(run, 0.1).resample for run in range(4)}) == 4


def test_levels_meet_each_other(tmp_path: Path) -> None:
    text = "varies: [init, order]\nlevels: {init: 2, order: 2}\n"
    protocol = read_protocol(write(tmp_path, text), "emotion")
    met = Counter(
        (protocol.sources(run)["init"], protocol.sources(run)["order"]) for run in range(4)
    )
    assert len(met) == 4 and set(met.values()) == {1}
    assert len({one for one, _ in met}) == len({other for _, other in met}) == 2


def test_a_task_and_the_command_line_change_it(tmp_path: Path) -> None:
    path = write(tmp_path, "tasks: {emotion: {steps: 7}}\n")
    assert read_protocol(path, "gender").steps == 5
    assert read_protocol(path, "emotion").steps == 7
    assert read_protocol(path, "emotion", changes={"steps": 9, "runs": None}).steps == 9
    changed = read_protocol(path, "emotion", ["head.name=mlp", "head.hidden=[8]"])
    assert changed.head == {"name": "mlp", "hidden": [8]}


def test_identity_is_what_decides_a_run(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    base = read_protocol(path, "emotion").identity()
    # The number of runs decides no run, and neither does a default that is written out.
    assert read_protocol(path, "emotion", changes={"runs": 8}).identity() == base
    written = ["head.projector_dim=256"]
    assert read_protocol(path, "emotion", written).identity() == base
    for change in ("clip=0", "head.projector_dim=9", "seed=3", "varies=[init]", "optimiser=sgd"):
        assert read_protocol(path, "emotion", [change]).identity() != base
    assert SEARCH_SEEDS > 100_000 + (1 << 20)


def test_protocols_of_before_have_the_identity_that_they_had(tmp_path: Path) -> None:
    """Digests of the build before the encoder's training became a field of `Protocol`."""
    path = write(tmp_path, "tasks: {gender: {judge: dev}}\n")
    frozen, on_dev = (read_protocol(path, task).identity() for task in ("emotion", "gender"))
    assert digest(frozen) == "95a453b6ead6312a8501586fff2e179de9babff5925fecd4788d310bb78c6c53"
    assert digest(on_dev) == "268a449b37045d06057d91605aca003dbd7aba26479756169b132608295b14c9"
    changes = ["encoder.crop_s=0.2"]
    trained = read_protocol(path, "emotion", changes, train_encoder=True)
    assert (
        digest(trained.identity())
        == "cbcc7961ab0c800a04550c0d9b08fadaca76f079cf021111c5fa79fe41b5472c"
    )
    assert trained.name == "own, encoder trained" and trained.encoder is not None


def test_a_key_that_came_later_leaves_the_identity_of_before() -> None:
    @dataclasses.dataclass(frozen=True)
    class Longer(Protocol):
        patience: int = dataclasses.field(default=0, metadata=LATER)

    own = {"name": "own", "runs": 1, "steps": 5, "batch": 4, "eval_step": 5}
    assert Longer(**own).identity() == Protocol(**own).identity()
    assert Longer(**own, patience=3).identity()["patience"] == 3


def test_every_metric_can_choose_the_step(tmp_path: Path) -> None:
    for name in METRICS:
        assert read_protocol(write(tmp_path, f"selection: {name}\n"), "emotion").selection == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["selection=top11"], "selection; did you mean 'top1'"),
        (["stepps=3"], "did you mean 'steps'"),
        (["steps=0"], "steps must be greater than 0"),
        (["learning_rates=[]"], "learning_rates must be a list of 1 or more"),
        (["learning_rates=[-1]"], "learning_rates.0 must be greater than 0"),
        (["head.name=liner"], "did you mean 'linear'"),
        (["head.projektor_dim=3"], "did you mean 'projector_dim'"),
        (["varies=[]"], "at least one of"),
        (["varies=[weather]"], "unknown value 'weather'"),
        (["varies=[init, init]"], "each once"),
        (["levels.init=4"], "a number for each of init, order"),
        (["levels={init: 3, order: 2}"], "make 6 combinations, but runs is 4"),
        (["head.name=nearest_centroid"], "would all be equal"),
        (["label_fraction=0"], "label_fraction must be greater than 0"),
        (["seed=-1"], "seed must be greater than or equal to 0"),
        (["runs=1000000"], "runs must be less than or equal to 100000"),
        (["optimiser=adagrad"], "unknown value 'adagrad'"),
    ],
)
def test_wrong_protocols_are_one_sentence(tmp_path: Path, change: list[str], words: str) -> None:
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        read_protocol(write(tmp_path, ""), "emotion", change)
    assert "\n" not in str(caught.value)


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(BarlowSpeechError, match="did you mean 'paper'"):
        read_protocol("papr", "emotion")


def test_a_head_that_draws_nothing_has_one_level_of_what_it_would_draw() -> None:
    levels = {"pretrain_seed": 2, "init": 3, "order": 1}
    changes = {"levels": levels, "varies": list(levels), "runs": 6}
    with pytest.raises(BarlowSpeechError, match="the 3 levels of init would all be equal"):
        read_protocol("search", "gender", changes=changes)
    changes |= {"levels": levels | {"init": 1}, "runs": 2}
    assert read_protocol("search", "gender", changes=changes).runs == 2


def test_of_learning_rates_that_are_equal_on_dev_the_smallest_is_chosen() -> None:
    """Though means of the same scores in another order differ in their last bit."""
    scores = {1e-3: (0.3, 0.2, 0.1), 1e-2: (0.1, 0.2, 0.3)}
    assert np.mean(scores[1e-3]) < np.mean(scores[1e-2])

    class Known:
        def train(
            self, plans: Sequence[RunPlan], on_step: Callable[[float], Any], with_test: bool
        ) -> list[Run]:
            given = {rate: iter(dev) for rate, dev in scores.items()}
            none = np.zeros(0, np.int64)
            return [Run(plan.seed, next(given[plan.lr]), 1, (), none) for plan in plans]

    keys = [f"learning_rates={list(scores)}", "search_runs=3"]
    job = Job("ours", "emotion", "toy", read_protocol("quick", "emotion", keys))
    assert search(job, [[Known()]])["chosen"] == 1e-3
