"""pretrain an encoder by a recipe"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech.benchmark.arguments import (
    add_data_root,
    add_recipe,
    chosen_recipe,
    speech_folder,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError

if TYPE_CHECKING:
    from barlow_speech.upstream.pretraining.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add_recipe(parser)
    parser.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="default: results/pretrain/RECIPE"
    )
    add_data_root(parser)
    parser.add_argument("--packed", type=Path, metavar="DIR", help="a folder made by `pack`")
    parser.add_argument("--resume", action="store_true", help="go on with the training in -o")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, … (default: cuda where there is one)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="train in N processes of this machine, one a GPU; over several machines use torchrun",
    )


def run(given: argparse.Namespace) -> None:
    """Do it, and say where the encoder is."""
    if given.processes < 1:
        raise BarlowSpeechError(f"--processes {given.processes} are none; give 1 or more.")
    recipe = chosen_recipe(given)
    if given.processes == 1:
        _pretrain(given, recipe)
        return
    from barlow_speech.upstream.pretraining.processes import together

    together(given.processes, _pretrain, given, recipe)


def _pretrain(given: argparse.Namespace, recipe: Recipe) -> None:
    from barlow_speech.upstream.common.machine import usable
    from barlow_speech.upstream.pretraining import distributed
    from barlow_speech.upstream.pretraining.run import pretrain

    path = pretrain(
        recipe,
        given.out or Path("results/pretrain") / Path(given.recipe).stem,
        data_root=Path() if given.packed else speech_folder(given.data_root, recipe.data),
        packed=given.packed,
        resume=given.resume,
        device=usable(given.device),
    )
    if distributed.rank() == 0:
        print(f"encoder: {path}\ntry: run_downstream.py -u barlow_speech -k {path} -d all")
