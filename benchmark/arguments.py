"""The arguments that choose a pretraining recipe, shared by the verbs that take one."""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech import configs
from barlow_speech.downstream.toy.corpus import toy_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.pretraining.recipe import Recipe, read_recipe
from barlow_speech.upstream.third_party.permissions import Permissions


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """RECIPE, --with and --set."""
    parser.add_argument(
        "recipe", help="a YAML file, or the name of one in configs/pretrain (toy, default)"
    )
    parser.add_argument(
        "--with",
        dest="overrides",
        nargs="+",
        default=[],
        action="extend",
        metavar="OVERRIDE",
        help="YAML files to lay over the recipe, or names of some in configs/overrides (hsic, …)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        action="extend",
        metavar="KEY=VALUE",
        help="change a key of the recipe, such as steps=2 or encoder.name=cnn2d",
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """--data-root."""
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder that the recipe's manifests are relative to (default: the toy corpus)",
    )


def chosen_recipe(given: argparse.Namespace) -> Recipe:
    """The recipe with its changes."""
    overrides = [configs.find("override", name) for name in given.overrides]
    return read_recipe(configs.find("recipe", given.recipe), given.set, overrides)


def speech_folder(data_root: Path | None) -> Path:
    """The folder that recipes' manifests are relative to; without one the toy corpus is spoken.

    Raises:
        BarlowSpeechError: it is no folder.
    """
    if data_root is None:
        return toy_corpus().parent
    if not data_root.is_dir():
        raise BarlowSpeechError(f"--data-root {data_root} is no folder; check the path.")
    return data_root


def add_permissions(parser: argparse.ArgumentParser) -> None:
    """--trust-checkpoint and --download."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="let s3prl unpickle a third-party checkpoint, which can run any code that is in it",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="let s3prl download third-party weights; nothing uses the network without it",
    )


def permissions(given: argparse.Namespace) -> Permissions:
    """What was permitted."""
    return Permissions(given.trust_checkpoint, given.download)
