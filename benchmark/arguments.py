"""Arguments that several verbs take: a recipe, upstreams, permissions, over what statements are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech import configs
from barlow_speech.benchmark.statistics.over import HELP
from barlow_speech.upstream.common.errors import BarlowSpeechError

if TYPE_CHECKING:
    from barlow_speech.upstream.data.packed import DataSettings
    from barlow_speech.upstream.pretraining.recipe import Recipe
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
    path = configs.find("recipe", given.recipe)
    from barlow_speech.upstream.pretraining.recipe import read_recipe  # after what is refused

    return read_recipe(path, given.set, overrides)


def speech_folder(data_root: Path | None, data: DataSettings) -> Path:
    """The folder that a recipe's manifests are relative to; without one the toy corpus is spoken.

    It is not spoken where every manifest is an absolute path.

    Raises:
        BarlowSpeechError: it is no folder, or the recipe is not of the toy corpus.
    """
    from barlow_speech.downstream.toy.corpus import toy_corpus
    from barlow_speech.downstream.toy.kept import MANIFEST

    if data_root is None:
        manifests = [source.manifest for source in (*data.sources, *data.held_out)]
        relative = [one for one in manifests if not Path(one).is_absolute()]
        if not relative:
            return Path()
        for other in relative:
            if other != MANIFEST:
                raise BarlowSpeechError(
                    f"the recipe reads {other}, which the toy corpus does not have; say by "
                    "--data-root in which folder it lies."
                )
        return toy_corpus().parent
    if not data_root.is_dir():
        raise BarlowSpeechError(f"--data-root {data_root} is no folder; check the path.")
    return data_root


def add_upstreams(parser: argparse.ArgumentParser) -> None:
    """-u and -k, of the verbs that take several upstreams as run_downstream.py does."""
    parser.add_argument(
        "-u",
        "--upstream",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME",
        help="as for run_downstream.py -u: NAME, NAME@FILE, hf:FOLDER, …",
    )
    add_checkpoint(parser)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """-k."""
    parser.add_argument(
        "-k",
        "--upstream_ckpt",
        type=Path,
        metavar="FILE",
        help="checkpoint for barlow_speech and barlow_speech_random (default: the packaged one)",
    )


def add_over(parser: argparse.ArgumentParser) -> None:
    """--over, which `read_over` reads."""
    parser.add_argument("--over", default="", metavar="SOURCES", help=HELP)


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
    from barlow_speech.upstream.third_party.permissions import Permissions

    return Permissions(given.trust_checkpoint, given.download)
