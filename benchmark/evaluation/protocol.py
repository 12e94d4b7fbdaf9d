"""A protocol: how a task is repeated, as data. One YAML file under configs/protocols, or your own.

It decides every number of a record, and stands in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from barlow_speech import configs
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.downstream.heads import head_module, head_settings
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import (
    LATER,
    as_plain,
    build,
    merge,
    override,
    read_yaml,
)

if TYPE_CHECKING:
    import numpy as np

SOURCES = ("init", "order", "train_resample", "pretrain_seed")
SHORTEST_CROP_S = 0.1
SEARCH_SEEDS = 1 << 31  # distance of the seeds of a learning-rate search from those of the runs

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Source = Literal["init", "order", "train_resample", "pretrain_seed"]


@dataclass(frozen=True)
class EncoderTraining:
    """How the encoder is trained along with the head.

    Each recording of a batch gives a random crop of `crop_s` seconds; one that is shorter is
    repeated until it fills it. 0 takes whole recordings, padded. Dev and test are evaluated on
    whole recordings. `rate` is the encoder's learning rate as a share of the head's, which is the
    run's; at 0 the encoder's weights stay. `batch_norm` says whose statistics it trains with: those
    of the `batch`, which are also averaged for dev and test, or those it starts with, `kept`.
    """

    crop_s: float = 2.0
    rate: NotNegative = 1.0
    batch_norm: Literal["batch", "kept"] = "batch"

    def note(self) -> str:
        """A few words for the records."""
        of = f"random crops of {self.crop_s:g} s" if self.crop_s else "whole recordings"
        return f"trained together with the encoder on {of}"


@dataclass(frozen=True)
class Training:
    """How a head is trained: a fixed rate, gradients clipped per run; the best on dev is kept.

    A step takes `accumulate` batches; its loss is the mean of their means, as in s3prl's Runner.
    `sampling`: `shuffle` is a DataLoader with shuffle=True; `balanced` draws with replacement,
    every class as often as another, and drops a short last batch, as SUPERB's keyword spotting
    does. `selection` is the metric by which dev chooses. `label_fraction` is the share of each
    class's training recordings that a run sees.
    """

    steps: int
    batch: int
    eval_step: int
    clip: float = 1.0
    accumulate: int = 1
    sampling: str = "shuffle"
    selection: str = "top1"
    weight_decay: float = 0.0
    optimiser: str = "adam"
    label_fraction: float = 1.0


@dataclass(frozen=True)
class RunPlan:
    """One run to be made: its name, the seeds of what it draws, and its learning rate.

    `resample` draws the training set anew (see `training_rows`); None takes it as it is.
    """

    seed: int
    init: int
    order: int
    resample: int | None = None
    lr: float = 1e-3


@dataclass(frozen=True)
class Run:
    """What one run gave: `dev` is the selection metric of the weights that were best on dev.

    `step` is where that was; `curve` has the step and the score of every evaluation on dev;
    `predicted` the class number of every test utterance.
    """

    seed: int
    dev: float
    step: int
    curve: tuple[tuple[int, float], ...]
    predicted: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class SpeakerSplit:
    """Train, dev and test drawn anew, with no speaker on two sides; every speaker is tested.

    Speakers are dealt into `folds`, or with `leave_one_out` into as many as there are. Each fold is
    the test once; dev are those that follow it, as many as it takes to have every class. There are
    `repeats` such divisions: run i takes division i modulo their number, so that with as many as
    runs each run has a split of its own.
    """

    by: Literal["speaker"] = "speaker"
    folds: Annotated[int, Field(ge=3)] = 5
    leave_one_out: bool = False
    repeats: Positive = 1

    def note(self) -> str:
        """A sentence for the records, without its end."""
        how = "one speaker each" if self.leave_one_out else f"{self.folds} folds of speakers"
        return (
            f"train, dev and test are drawn by speaker: {how}, every speaker tested once, "
            f"{self.repeats} times over; scores are of all recordings together"
        )


@dataclass(frozen=True)
class Protocol:
    """One head's training, repeated.

    `varies` names what differs between the runs: the head's initialisation (`init`), the order of
    its batches (`order`), a training set drawn anew with replacement (`train_resample`), the
    upstream's pretraining (`pretrain_seed`: the checkpoints of an upstream given as several).
    Run i draws all of them from the seed `seed + i`, together; with `levels`, a number for each of
    them, every level of one meets every level of the others, so that the variance can be split
    into its sources; `runs` is then their product. What does not vary is drawn from `seed`.

    With several `learning_rates`, the one with the best mean dev score over `search_runs` runs is
    taken, for every upstream from the same grid; those runs have seeds of their own and are not
    reported. Dev is looked at every `eval_step` steps; the weights that were best there by
    `selection`, the earliest of equals, are evaluated on test, once per run.

    `clip` is the largest norm of a run's gradient, 0 for none. A step takes `accumulate` batches of
    `batch` recordings. `sampling`: see `Training`. `label_fraction` is the share of
    each class's training recordings that a run sees: the same for every run, or with
    `train_resample` another one for each.

    `eval_split` is the split whose scores are reported. A choice between recipes or settings is
    made on `dev`, with test unseen; the record says so.

    With `split` the corpus's own split is left aside (`SpeakerSplit`), and what a run predicts of
    all folds is one result.

    With `encoder` the encoder is trained too: a run's `order` then also draws the crops and what
    dropout drops; its `init`, for an encoder from scratch, the encoder's weights.
    """

    name: str
    runs: Annotated[int, Field(gt=0, le=100_000)]
    steps: Positive
    batch: Positive
    eval_step: Positive
    head: dict[str, Any] = field(default_factory=lambda: {"name": "linear"})
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = (1e-3,)
    search_runs: Positive = 3
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0
    accumulate: Positive = 1
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    label_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    selection: str = "top1"
    eval_split: Literal["test", "dev"] = "test"
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 1337
    varies: tuple[Source, ...] = ("init", "order")
    levels: dict[str, Positive] = field(default_factory=dict)
    encoder: EncoderTraining | None = None
    split: SpeakerSplit | None = field(default=None, metadata=LATER)

    def identity(self) -> dict[str, Any]:
        """All that decides the numbers of one run, JSON-able; neither the name nor how many.

        `judge`, as records call `eval_split`, is there where it is not test; `encoder` where it is
        trained.
        """
        tree = as_plain(self)
        full = as_plain(head_settings(self.head))
        tree["head"] = {"name": self.head["name"], **full}
        absent = {"name", "runs"}
        tree["judge"] = tree.pop("eval_split")
        absent |= {"judge"} if self.eval_split == "test" else set()
        absent |= {"encoder"} if self.encoder is None else set()
        return {key: value for key, value in tree.items() if key not in absent}

    def head_note(self) -> str:
        """What is trained, in a few words for the records."""
        note = head_module(self.head["name"]).NOTE
        return f"{note}; {self.encoder.note()}" if self.encoder else note

    def training(self) -> Training:
        """How one of its heads is trained."""
        shared = {one.name: getattr(self, one.name) for one in dataclasses.fields(Training)}
        return Training(**shared | {"eval_step": min(self.eval_step, self.steps)})

    def sources(self, run: int) -> dict[str, int | None]:
        """The level of each source of variance in run `run`; None for a set that is not drawn."""
        if self.levels:
            levels = [range(self.levels[one]) for one in self.varies]
            at = dict(zip(self.varies, next(islice(product(*levels), run, None))))
        else:
            at = dict.fromkeys(self.varies, run)
        own = {} if self.split is None else {"split": self.seed + self.division(run)}
        return {
            "init": self.seed + at.get("init", 0),
            "order": self.seed + at.get("order", 0),
            "train_resample": self.seed + at["train_resample"] if "train_resample" in at else None,
            "pretrain_seed": at.get("pretrain_seed", 0),
            **own,
        }

    def division(self, run: int) -> int:
        """Which of its divisions by speaker run `run` takes."""
        return 0 if self.split is None else run % self.split.repeats

    def plan(self, run: int, lr: float) -> RunPlan:
        """Run `run` of the reported ones."""
        sources = self.sources(run)
        assert sources["init"] is not None and sources["order"] is not None
        return RunPlan(
            seed=self.seed + run,
            init=sources["init"],
            order=sources["order"],
            resample=sources["train_resample"],
            lr=lr,
        )

    def search_plans(self) -> list[RunPlan]:
        """The runs of the learning-rate search: far from the reported ones."""
        seeds = [self.seed + SEARCH_SEEDS + run for run in range(self.search_runs)]
        return [RunPlan(seed, seed, seed, None, lr) for lr in self.learning_rates for seed in seeds]


def read_protocol(
    name: str,
    task: str,
    assignments: Sequence[str] = (),
    changes: dict[str, Any] | None = None,
    train_encoder: bool = False,
) -> Protocol:
    """The protocol in a YAML file or of a built-in name, as it is for one task.

    What stands under `tasks.<task>` in the file is laid over the rest; then `key=value`
    assignments, then `changes` (keys whose value is None are left alone). With `train_encoder`
    the encoder is trained too, and there are keys such as `encoder.crop_s`.

    Raises:
        BarlowSpeechError: there is no such protocol, a key is unknown, a number out of range, or
            its head cannot train an encoder.
    """
    path = configs.find("protocol", name, "--protocol (or a path to a .yaml)")
    tree = read_yaml(path, configs.files("protocol"))
    own = tree.pop("tasks", None) or {}
    if not isinstance(own, dict) or not isinstance(own.get(task) or {}, dict):
        raise BarlowSpeechError(f"{path}: tasks must be a mapping of tasks to their changes.")
    tree = merge(merge({"head": {"name": "linear"}}, tree), own.get(task) or {})
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    where = f"protocol {path}" + (" with what the command line changes" if given else "")
    tree = {"name": path.stem, **override(tree, assignments), **given}
    if train_encoder:
        tree = merge({"encoder": {}}, tree) | {"name": f"{tree['name']}, encoder trained"}
    elif "encoder" in tree:
        keys = [field.name for field in dataclasses.fields(Protocol) if field.name != "encoder"]
        raise unknown("key", "encoder", keys, f"{where}, which trains no encoder without -f")
    protocol = build(Protocol, tree, where)
    _check(protocol, where)
    if protocol.encoder is not None:
        _check_encoder(protocol, protocol.encoder, f"{where}: encoder")
    return protocol


def _check_encoder(protocol: Protocol, encoder: EncoderTraining, where: str) -> None:
    if not hasattr(head_module(protocol.head["name"]), "parts"):
        raise BarlowSpeechError(
            f"{where}: the head '{protocol.head['name']}' is fitted without gradients and cannot "
            "train an encoder; choose another head, such as --set head.name=linear."
        )
    if encoder.crop_s != 0 and encoder.crop_s < SHORTEST_CROP_S:
        raise BarlowSpeechError(
            f"{where}.crop_s must be at least {SHORTEST_CROP_S:g} seconds, or 0 for whole "
            f"recordings, not {encoder.crop_s:g}."
        )
    if encoder.crop_s == 0 and encoder.batch_norm == "batch":
        raise BarlowSpeechError(
            f"{where}.crop_s=0 pads recordings, and the padding would count in the statistics of a "
            "batch norm; add encoder.batch_norm=kept, or train on crops."
        )


def _check_split(protocol: Protocol, split: SpeakerSplit, where: str) -> None:
    if protocol.encoder is not None:
        raise BarlowSpeechError(
            f"{where} trains heads for every fold, which with an encoder each (-f) takes days; "
            "leave out one of the two."
        )
    if protocol.eval_split != "test":
        raise BarlowSpeechError(
            f"{where} tests every speaker, so that nothing is left to choose on; let eval_split be "
            "test."
        )
    if protocol.runs % split.repeats:
        raise BarlowSpeechError(
            f"{where}.repeats is {split.repeats}, which does not divide the {protocol.runs} runs; "
            "let each division have as many of them."
        )


def _check(protocol: Protocol, where: str) -> None:
    module = head_module(str(protocol.head.get("name")), where)
    head_settings(protocol.head, where)
    if protocol.selection not in METRICS:
        raise unknown("value", protocol.selection, METRICS, f"{where}: selection")
    if len(set(protocol.varies)) != len(protocol.varies) or not protocol.varies:
        raise BarlowSpeechError(
            f"{where}: varies must name at least one of {', '.join(SOURCES)}, each once."
        )
    if protocol.levels:
        if set(protocol.levels) != set(protocol.varies):
            raise BarlowSpeechError(
                f"{where}: levels must have a number for each of {', '.join(protocol.varies)}."
            )
        count = math.prod(protocol.levels.values())
        if count != protocol.runs:
            raise BarlowSpeechError(
                f"{where}: levels make {count} combinations, but runs is {protocol.runs}; "
                "let them agree."
            )
    if protocol.split is not None:
        _check_split(protocol, protocol.split, f"{where}: split")
    if not hasattr(module, "parts"):
        _check_drawn(protocol, where)


def _check_drawn(protocol: Protocol, where: str) -> None:
    """Of a head that draws nothing at random."""
    head, drawn = protocol.head["name"], {"train_resample", "pretrain_seed"}
    if not drawn & set(protocol.varies) and protocol.runs > 1:
        raise BarlowSpeechError(
            f"{where}: the head '{head}' draws nothing at random, so that its runs would all be "
            "equal; let train_resample vary."
        )
    for source, count in protocol.levels.items():
        if source not in drawn and count > 1:
            raise BarlowSpeechError(
                f"{where}: the head '{head}' draws nothing at random, so that the {count} levels "
                f"of {source} would all be equal; let it have one."
            )
