"""pretrain an encoder by a recipe"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.benchmark.arguments import (
    add_data_root,
    add_recipe,
    chosen_recipe,
    speech_folder,
)


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


def run(given: argparse.Namespace) -> None:
    """Do it, and say where the encoder is."""
    recipe = chosen_recipe(given)
    from barlow_speech.upstream.common.machine import usable
    from barlow_speech.upstream.pretraining import distributed
    from barlow_speech.upstream.pretraining.run import pretrain

    path = pretrain(
        recipe,
        given.out or Path("results/pretrain") / Path(given.recipe).stem,
        data_root=speech_folder(given.data_root),
        packed=given.packed,
        resume=given.resume,
        device=usable(given.device),
    )
    if distributed.rank() == 0:
        print(f"encoder: {path}\ntry: run_downstream.py -u barlow_speech -k {path} -d all")
