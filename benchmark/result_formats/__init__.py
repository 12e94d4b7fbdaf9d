"""Results that other programs wrote, as results of our own: a file a format.

Such a file has a docstring (whose format, what pairs in it), a `TITLE`, and `read(paths, asked)`,
which makes a `Table` of it. What is tested, ranked and drawn is then as for any other result.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech.upstream.common.discovery import module_names

if TYPE_CHECKING:
    from barlow_speech.benchmark.result_formats._table import Asked, Table


def names() -> list[str]:
    """The formats there are, as `--from` calls them."""
    return [name.replace("_", "-") for name in module_names(__path__)]


def read_table(name: str, paths: Sequence[Path], asked: Asked) -> Table:
    """What the files and folders hold, in the format of this name.

    Raises:
        BarlowSpeechError: a path is not there, none of the files is of the format, or one of them
            is damaged; it is named.
    """
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    table: Table = module.read(paths, asked)
    return table
