"""A study as data: which upstreams, which corpora and tasks, which analyses. One YAML file.

`configs/studies` holds those that come with the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from barlow_speech import configs
from barlow_speech.benchmark.evaluation.protocol import read_protocol
from barlow_speech.benchmark.features.kinds import Selection
from barlow_speech.downstream.task import names as task_names
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import build, read_yaml
from barlow_speech.upstream.model.readout import Part, check
from barlow_speech.upstream.model.speech_encoder import depth
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe

MAX_SEEDS = 10  # of one digit, so that one pattern names their folders


@dataclass(frozen=True)
class Pretraining:
    """The recipe of the upstreams that name none, and changes to it as with --set."""

    recipe: str = "default"
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """An upstream of the study.

    With a `name`, what `run_downstream.py -u` takes. `untrained` names another one of the study,
    of which this has the encoder with random weights. `of` names another one too, whose first
    pretraining this has, with a `readout` of its own. Else it is pretrained: by the study's recipe
    or one of its own, with `overrides` and `set` over it as with --with and --set; `seeds` of them
    where pretraining seeds are compared.
    """

    name: str = ""
    untrained: str = ""
    of: str = ""
    readout: tuple[Part, ...] = ()
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 1

    @property
    def pretrained(self) -> bool:
        """Whether the study trains it."""
        return not (self.name or self.untrained or self.of)


@dataclass(frozen=True)
class ProtocolChoice:
    """A protocol by its name or path, and changes to it as with --set.

    `selection` is what the heads see of the study's own encoders, as with -s; upstreams that are
    named are evaluated by their hidden states, as not all have an embedding. `readout` is the
    embedding of all encoders of the study that have none of their own, in place of their recipes'.
    """

    name: str = "paper"
    set: tuple[str, ...] = ()
    selection: Selection = "hidden_states"
    readout: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is to be done and shown.

    `corpora` maps corpora, as `run_downstream.py --corpus` takes them (paths are relative to the
    data root), to the tasks of each. `analyses` maps titles to the settings of an analysis; their
    `kind` is a file of `benchmark/analyses`.
    """

    title: str
    corpora: dict[str, tuple[str, ...]]
    analyses: dict[str, dict[str, Any]]
    upstreams: dict[str, Member]
    introduction: str = ""
    warnings: tuple[str, ...] = ()
    pretraining: Pretraining = field(default_factory=Pretraining)
    protocol: ProtocolChoice = field(default_factory=ProtocolChoice)

    def columns(self, tasks: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """Every (task, corpus), task by task; of some tasks if they are named.

        Raises:
            BarlowSpeechError: one of them is no task of the study.
        """
        every = dict.fromkeys(task for served in self.corpora.values() for task in served)
        for task in tasks:
            if task not in every:
                raise unknown("task", task, every, "tasks, which are of the study")
        return [
            (task, corpus)
            for task in every
            for corpus, served in self.corpora.items()
            if task in served and (not tasks or task in tasks)
        ]

    def member(self, label: str, where: str) -> Member:
        """The upstream of a label; `where` says who asks.

        Raises:
            BarlowSpeechError: there is none.
        """
        if label not in self.upstreams:
            raise unknown("upstream", label, self.upstreams, where)
        return self.upstreams[label]

    def recipe(self, label: str) -> Recipe:
        """The recipe of an upstream that is pretrained.

        Raises:
            BarlowSpeechError: the recipe or a change to it is wrong.
        """
        if label not in self._recipes:
            name, overrides, changes = self.origin(label)
            self._recipes[label] = read_recipe(
                configs.find("recipe", name),
                changes,
                [configs.find("override", one) for one in overrides],
            )
        return self._recipes[label]

    def origin(self, label: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The recipe that an upstream is pretrained by, its overrides and what is set over them.

        The study's changes are to the study's recipe, not to another one.
        """
        member, common = self.upstreams[label], self.pretraining
        own = bool(member.recipe) and member.recipe != common.recipe
        changes = member.set if own else (*common.set, *member.set)
        return member.recipe or common.recipe, member.overrides, changes

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        return {}


def read_study(path: Path) -> Study:
    """The study in a YAML file; an upstream that is a word is the `name` of one.

    Raises:
        BarlowSpeechError: a key, a name, a recipe or a protocol is wrong; it is named.
    """
    tree = read_yaml(path, configs.files("study"))
    members = tree.get("upstreams")
    if isinstance(members, dict):
        tree["upstreams"] = {
            label: {"name": member} if isinstance(member, str) else member or {}
            for label, member in members.items()
        }
    study = build(Study, tree, str(path))
    for name in ("upstreams", "corpora", "analyses"):
        if not getattr(study, name):
            raise BarlowSpeechError(f"{path}: {name} is empty; name at least one.")
    for label in study.upstreams:
        _check_member(study, label, f"{path}: upstreams.{label}")
    for corpus, tasks in study.corpora.items():
        for task in tasks:
            if task not in task_names():
                raise unknown("task", task, task_names(), f"{path}: corpora.{corpus}")
            read_protocol(study.protocol.name, read_task(task).name, study.protocol.set)
    return study


def _check_member(study: Study, label: str, where: str) -> None:
    member = study.upstreams[label]
    trained = member.recipe or member.overrides or member.set or member.seeds != 1
    if sum(map(bool, (member.name, member.untrained, member.of, trained))) > 1:
        raise BarlowSpeechError(
            f"{where}: give a name, or untrained, or of, or what it is pretrained by; not several."
        )
    if bool(member.of) != bool(member.readout):
        raise BarlowSpeechError(
            f"{where}: of and readout go together: another readout of one that is pretrained."
        )
    other = member.untrained or member.of
    if other and not study.member(other, where).pretrained:
        raise BarlowSpeechError(
            f"{where}: '{other}' is not pretrained by this study; untrained and of take the "
            "encoder of one that is."
        )
    if member.name:
        return
    try:
        recipe = study.recipe(other or label)
        for readout in filter(None, (member.readout, study.protocol.readout)):
            check(readout, depth(recipe.model))
    except BarlowSpeechError as error:
        raise BarlowSpeechError(f"{where}: {error}") from error
    if member.seeds > 1 and recipe.seed + member.seeds > MAX_SEEDS:
        raise BarlowSpeechError(
            f"{where}: {member.seeds} seeds from seed {recipe.seed} on go beyond {MAX_SEEDS - 1}; "
            "let the recipe begin at seed 0, or take fewer."
        )
