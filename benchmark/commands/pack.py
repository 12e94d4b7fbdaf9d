"""pack the speech of a recipe for pretraining"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.benchmark.arguments import (
    add_data_root,
    add_recipe,
    chosen_recipe,
    speech_folder,
)
from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add_recipe(parser)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR",
                        help="folder that the packed speech is written to")  # fmt: skip
    add_data_root(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the recordings, and what was packed, and see that neither has changed",
    )


def run(given: argparse.Namespace) -> None:
    """Do it, and say how much speech there is."""
    recipe = chosen_recipe(given)
    recordings = chosen(recipe.data, speech_folder(given.data_root))
    folder = pack(recordings, given.out, given.verify)
    corpus = PackedCorpus(folder, recipe.crop_s, recipe.seed)
    if given.verify:
        corpus.verify()
    print(f"{folder}: {corpus.index['recordings']} recordings, {corpus.hours:.2f} h")
