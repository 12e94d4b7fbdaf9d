"""What a study can show. To add an analysis, add one file to this folder: its name is its `kind`.

It has three things. `Settings` is a dataclass of its keys in a study's YAML. `requests(settings,
study)` lists what must be there: results, measurements, what a checkpoint says (`_requests.py`).
`section(title, settings, results)` makes its section of the report from the outcomes of these
alone: it is a pure function, with no study and no file. A file whose name begins with _ is shared
by several.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from barlow_speech.benchmark.analyses._requests import Request, Results, Study
from barlow_speech.benchmark.reporting.document import Section
from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.settings import build


@dataclass(frozen=True)
class Analysis:
    """One of a study: its title, its file, and its settings, checked."""

    title: str
    module: Any
    settings: Any

    def requests(self, study: Study) -> list[Request]:
        """All that must be there before it can be shown.

        Raises:
            BarlowSpeechError: its settings name something that the study has not.
        """
        try:
            return list(self.module.requests(self.settings, study))
        except BarlowSpeechError as error:
            raise BarlowSpeechError(f"analyses.{self.title}: {error}") from error

    def section(self, results: Results) -> Section:
        """Its section of the report."""
        section: Section = self.module.section(self.title, self.settings, results)
        return section


def kinds() -> list[str]:
    """The kinds that there are."""
    return module_names(__path__)


def read_analyses(given: Mapping[str, Mapping[str, Any]], where: str) -> list[Analysis]:
    """The analyses of a study's `analyses`; `where` is its file.

    Raises:
        BarlowSpeechError: there is no such kind, or one of its keys is wrong.
    """
    analyses = []
    for title, keys in given.items():
        own = dict(keys)
        place = f"{where}: analyses.{title}"
        if "kind" not in own:
            raise BarlowSpeechError(f"{place} lacks the key 'kind'; one of {', '.join(kinds())}.")
        kind = str(own.pop("kind"))
        if kind not in kinds():
            raise unknown("kind of analysis", kind, kinds(), place)
        module = importlib.import_module(f"{__name__}.{kind}")
        analyses.append(Analysis(title, module, build(module.Settings, own, place)))
    return analyses
