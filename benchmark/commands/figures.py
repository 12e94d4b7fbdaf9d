"""pictures of the two views, or of the correlation matrix"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.benchmark.arguments import add_recipe, chosen_recipe
from barlow_speech.benchmark.figures.correlation import correlations, drawn_correlations
from barlow_speech.benchmark.figures.style import figure_kind, write_figure
from barlow_speech.benchmark.figures.views import drawn_views, views_of
from barlow_speech.upstream.pretraining.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", help="what to draw")
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
    print(write(chosen_recipe(given), given))


def write(recipe: Recipe, given: argparse.Namespace) -> Path:
    """Draw what is asked for and write it, whole or not at all: equal input gives equal bytes.

    Raises:
        BarlowSpeechError: the file's ending is unknown, it cannot be written, or as `views_of` and
            `correlations`.
    """
    figure_kind(given.out)  # before any work
    if given.kind == "views":
        views = views_of(recipe, given.recordings, given.family, seed=given.seed)
        return write_figure(drawn_views(views), given.out)
    matrices = correlations(recipe, given.folder, packed=given.packed, family=given.family)
    return write_figure(drawn_correlations(matrices), given.out)
