"""pictures of the two views, or of the correlation matrix"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.benchmark.arguments import add_recipe, chosen_recipe
from barlow_speech.benchmark.figures.correlation import correlation_figure
from barlow_speech.benchmark.figures.views import views_figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = kinds.add_parser("views", help="two views of a recording, as a recipe makes them")
    add_recipe(kind)
    kind.add_argument("recordings", nargs="+", type=Path, metavar="AUDIO",
                      help="the first is shown, mixup takes from the others")  # fmt: skip
    kind.add_argument("--seed", type=int, default=0, metavar="N", help="of the views")
    _figure(kind)
    kind = kinds.add_parser("correlation", help="cross-correlation before and after a pretraining")
    add_recipe(kind)
    kind.add_argument("folder", type=Path, metavar="DIR", help="the folder it wrote (-o)")
    kind.add_argument("--packed", type=Path, metavar="DIR", help="its packed speech, if elsewhere")
    _figure(kind)


def _figure(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".png or .pdf")
    kind.add_argument("--family", metavar="NAME", help="view family (default: the first)")


def run(given: argparse.Namespace) -> None:
    """Draw it and say where it is."""
    recipe = chosen_recipe(given)
    if given.kind == "views":
        path = views_figure(recipe, given.recordings, given.out, given.family, seed=given.seed)
    else:
        path = correlation_figure(
            recipe, given.folder, given.out, packed=given.packed, family=given.family
        )
    print(path)
