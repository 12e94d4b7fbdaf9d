"""What a study can show. An analysis is one file of this folder, and its name is its `kind`.

It has `Settings`, a dataclass of its keys in a study's YAML; `works(settings, planner)`, all that
must be done for it; and `present(title, settings, planner)`, which makes its section of the report
once that is done.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from barlow_speech.benchmark.reporting.document import Section
from barlow_speech.benchmark.study.planner import Planner
from barlow_speech.benchmark.study.stages import Stage
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import build


@dataclass(frozen=True)
class Analysis:
    """One of a study: its title, its file, and its settings, checked."""

    title: str
    module: Any
    settings: Any

    def stages(self, planner: Planner) -> list[Stage]:
        """All that must be done before it can be shown.

        Raises:
            BarlowSpeechError: its settings name something that the study has not.
        """
        return list(self.module.stages(self.settings, planner))

    def present(self, planner: Planner) -> Section:
        """Its section of the report."""
        section: Section = self.module.present(self.title, self.settings, planner)
        return section


def kinds() -> list[str]:
    """The kinds that there are."""
    return module_names(__path__)


def read_analyses(given: Mapping[str, Mapping[str, Any]], where: str) -> list[Analysis]:
    """The analyses of a study's `analyses`; `where` is its file.

    Raises:
        BarlowSpeechError: there is no such kind, or one of its keys is wrong.
    """
    found = []
    for title, keys in given.items():
        own = dict(keys)
        place = f"{where}: analyses.{title}"
        if "kind" not in own:
            raise BarlowSpeechError(f"{place} lacks the key 'kind'; one of {', '.join(kinds())}.")
        kind = str(own.pop("kind"))
        if kind not in kinds():
            raise unknown("kind of analysis", kind, kinds(), place)
        module = importlib.import_module(f"{__name__}.{kind}")
        found.append(Analysis(title, module, build(module.Settings, own, place)))
    return found
