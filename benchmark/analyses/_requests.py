"""What an analysis may ask for, of a study that it knows by `Study` alone, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.downstream.corpus import Corpus, named_after
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.data.manifest import Recording

if TYPE_CHECKING:
    from barlow_speech.benchmark.disentanglement.representations import Representations
    from barlow_speech.upstream.pretraining.recipe import Recipe


class Member(Protocol):
    """An upstream of a study: `name`d, or `untrained` weights of another, or pretrained by it."""

    @property
    def name(self) -> str: ...
    @property
    def untrained(self) -> str: ...
    @property
    def seeds(self) -> int: ...


class Study(Protocol):
    """Upstreams by their label; `columns` are its (task, corpus), of some tasks or of all."""

    @property
    def upstreams(self) -> Mapping[str, Member]: ...
    @property
    def corpora(self) -> Mapping[str, tuple[str, ...]]: ...
    def columns(self, tasks: tuple[str, ...] = ()) -> list[tuple[str, str]]: ...
    def member(self, label: str, where: str) -> Member: ...


@dataclass(frozen=True)
class ResultRequest:
    """The result of an upstream on a task of a corpus, by the study's protocol.

    `changes` lie over the protocol. With `end_to_end`, assignments such as `encoder.crop_s=1`, the
    encoder is trained too. `every_seed` takes all pretrainings of the upstream, else it is the
    first. `shown` is what the section calls it (default: the label).
    """

    label: str
    task: str
    corpus: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    end_to_end: tuple[str, ...] | None = None
    every_seed: bool = False
    shown: str = ""


@dataclass(frozen=True)
class CheckpointRequest:
    """What the checkpoint of an upstream's first pretraining says of it: `CheckpointFacts`."""

    label: str


@dataclass(frozen=True)
class CheckpointFacts:
    """Of a pretraining: parameters of the encoder, steps, seconds by the clock, hours of speech."""

    parameters: int
    steps: int
    seconds: float
    hours: float


@dataclass(frozen=True)
class Pretrained:
    """A pretraining on disk: its recipe, its folder, and the packed speech that it was fed."""

    recipe: Recipe
    folder: Path
    packed: Path


class Sources(Protocol):
    """What computations read: corpora by their name in the study, upstreams by their label."""

    @property
    def allow_leakage(self) -> bool: ...
    def corpus(self, name: str) -> Corpus: ...
    def represent(
        self,
        label: str,
        corpus: Corpus,
        recordings: Sequence[Recording],
        as_trained: bool = False,
    ) -> Representations: ...
    def pretrained(self, label: str) -> Pretrained: ...
    def speech(self, label: str) -> list[Recording]: ...


@dataclass(frozen=True)
class Computation:
    """What is computed of pretrained `upstreams` each time that a report is written.

    `check` is called before anything is done: it raises what `compute` would only find then.
    """

    upstreams: tuple[str, ...]
    compute: Callable[[Sources], Any]
    check: Callable[[Sources], Any] = field(default=lambda _: None, kw_only=True)


@dataclass(frozen=True)
class Measurement(Computation):
    """What takes some `seconds`, of upstreams on a corpus: its outcome is JSON, and is kept.

    `identity`, of the upstreams' names by label and a digest of the corpus, is all that decides the
    outcome, by which it is recognised.
    """

    corpus: str
    title: str
    identity: Callable[[Mapping[str, str], str], Any]
    seconds: float


Request = ResultRequest | CheckpointRequest | Computation
Kind = TypeVar("Kind", bound=Request)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Results:
    """The requests of an analysis in their order, each with its outcome."""

    outcomes: tuple[tuple[Request, Any], ...]

    @classmethod
    def of(cls, results: Iterable[TaskResult]) -> Results:
        """Task results alone."""
        return cls(tuple((ResultRequest(o.upstream, o.task, o.corpus), o) for o in results))

    @property
    def tasks(self) -> list[TaskResult]:
        """The task results, each under the label that its request gives it."""
        return [result for _, result in self.requested(ResultRequest)]

    def requested(self, kind: type[Kind]) -> list[tuple[Kind, Any]]:
        """The requests of one kind and their outcomes."""
        return [
            (request, outcome) for request, outcome in self.outcomes if isinstance(request, kind)
        ]


def corpus_name(name: str) -> str:
    """What tables call a corpus of a study, without reading it."""
    path = Path(name)
    return named_after(path) if path.suffix == ".tsv" else path.stem


def all_pretrainings(
    study: Study, label: str, tasks: tuple[str, ...], heads: int
) -> list[ResultRequest]:
    """The result of every pretraining of an upstream on every task, with `heads` heads each."""
    count = study.member(label, "the study").seeds
    levels = {"pretrain_seed": count, "init": heads, "order": 1}
    changes = {"levels": levels, "varies": list(levels), "runs": count * heads}
    return [
        ResultRequest(label, *column, changes, every_seed=True) for column in study.columns(tasks)
    ]


def labels(study: Study, wanted: Sequence[str], where: str) -> list[str]:
    """These upstreams, or all of the study where none is wanted; `where` says who asks.

    Raises:
        BarlowSpeechError: one is no upstream of the study, or stands there twice.
    """
    for label in wanted:
        study.member(label, where)
    return distinct(wanted or tuple(study.upstreams), "upstream", where)


def corpora(study: Study, wanted: Sequence[str], where: str) -> list[str]:
    """These corpora, or all of the study where none is wanted; `where` says who asks.

    Raises:
        BarlowSpeechError: one is no corpus of the study, or stands there twice.
    """
    for name in wanted:
        if name not in study.corpora:
            raise unknown("corpus", name, study.corpora, where)
    return distinct(wanted or tuple(study.corpora), "corpus", where)


def distinct(values: Sequence[Value], noun: str, where: str) -> list[Value]:
    """The values as a list.

    Raises:
        BarlowSpeechError: one stands there twice.
    """
    for value in values:
        if values.count(value) > 1:
            raise BarlowSpeechError(f"{where}: the {noun} '{value}' is named twice; name it once.")
    return list(values)


def check_trained(study: Study, label: str, where: str, untrained: bool = True) -> None:
    """Refuse an upstream that has no pretraining in the study, or none but that of another.

    Raises:
        BarlowSpeechError: it has none, or is `untrained` and must not be.
    """
    member = study.member(label, where)
    if member.name or (member.untrained and not untrained):
        raise BarlowSpeechError(f"{where}: the upstream '{label}' is not pretrained by this study.")


def grid(study: Study, upstreams: Sequence[str], tasks: tuple[str, ...]) -> list[ResultRequest]:
    """The result of each upstream on every task of a corpus, upstream by upstream."""
    return [ResultRequest(label, *column) for label in upstreams for column in study.columns(tasks)]
