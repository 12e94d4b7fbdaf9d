"""The command `barlow-speech` and its verbs.

Usage: barlow-speech demo | prepare | pretrain | figures
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from barlow_speech.benchmark.demo import demo
from barlow_speech.benchmark.pretraining_figures import correlation_figure, views_figure
from barlow_speech.downstream.toy import toy_corpus
from barlow_speech.upstream import processes
from barlow_speech.upstream.errors import BarlowSpeechError
from barlow_speech.upstream.packed import PackedCorpus, chosen, pack
from barlow_speech.upstream.pretrain import pretrain
from barlow_speech.upstream.recipe import Recipe, find_recipe, read_recipe


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="barlow-speech", description=__doc__.splitlines()[0])
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("demo", help="the main job on the embedded toy corpus, in minutes")
    verb.add_argument("-o", "--out", type=Path, default=Path("results/demo"), metavar="DIR")
    verb.add_argument("--runs", type=int, default=50, metavar="N", help="runs of each cell")
    _common(verb)
    verb.set_defaults(do=_demo)

    verb = verbs.add_parser("pretrain", help="pretrain an encoder by a recipe")
    verb.add_argument(
        "recipe", help="a YAML file, or the name of one in configs/pretrain (toy, default)"
    )
    verb.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="default: results/pretrain/RECIPE"
    )
    _data(verb)
    verb.add_argument("--packed", type=Path, metavar="DIR", help="a folder made by `prepare`")
    verb.add_argument("--resume", action="store_true", help="go on with the training in -o")
    verb.add_argument(
        "--device", default="auto", help="cpu, cuda, … (default: cuda where there is one)"
    )
    _common(verb)
    verb.set_defaults(do=_pretrain)

    verb = verbs.add_parser("prepare", help="pack the speech of a recipe for pretraining")
    verb.add_argument("recipe", help="a YAML file, or the name of one in configs/pretrain")
    verb.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    _data(verb)
    verb.add_argument("--verify", action="store_true", help="read it back and compare the checksum")
    _common(verb)
    verb.set_defaults(do=_prepare)
    verb = verbs.add_parser(
        "figures", help="pictures of the two views, or of the correlation matrix"
    )
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = kinds.add_parser("views", help="two views of a recording, as a recipe makes them")
    kind.add_argument("recipe", help="a YAML file, or the name of one in configs/pretrain")
    kind.add_argument("recordings", nargs="+", type=Path, metavar="AUDIO",
                      help="the first is shown, mixup takes from the others")  # fmt: skip
    kind.add_argument("--seed", type=int, default=0, metavar="N", help="of the views")
    _figure(kind)
    kind.set_defaults(do=_views)
    kind = kinds.add_parser("correlation", help="cross-correlation before and after a pretraining")
    kind.add_argument("recipe", help="the recipe of the run, with its --with and --set")
    kind.add_argument("run", type=Path, metavar="DIR", help="the folder it wrote (-o)")
    kind.add_argument("--packed", type=Path, metavar="DIR", help="its packed speech, if elsewhere")
    _figure(kind)
    kind.set_defaults(do=_correlation)
    return result


def _figure(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".png or .pdf")
    kind.add_argument("--family", metavar="NAME", help="view family (default: the first)")
    _changes(kind)
    _common(kind)


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _data(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder that the recipe's manifests are relative to (default: the toy corpus)",
    )
    _changes(verb)


def _changes(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--with",
        dest="deltas",
        nargs="+",
        default=[],
        action="extend",
        metavar="DELTA",
        help="YAML files to lay over the recipe, or names of some in configs/deltas (hsic, …)",
    )
    verb.add_argument(
        "--set",
        nargs="+",
        default=[],
        action="extend",
        metavar="KEY=VALUE",
        help="change a key of the recipe, such as steps=2 or encoder.name=cnn2d",
    )


def _demo(given: argparse.Namespace) -> None:
    demo(given.out, given.runs)


def _pretrain(given: argparse.Namespace) -> None:
    device = given.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    path = pretrain(
        _recipe(given),
        given.out or Path("results/pretrain") / Path(given.recipe).stem,
        data_root=_root(given),
        packed=given.packed,
        resume=given.resume,
        device=device,
    )
    if processes.rank() == 0:
        print(f"encoder: {path}\ntry: run_downstream.py -u barlow_speech -k {path} -d all")


def _prepare(given: argparse.Namespace) -> None:
    recipe = _recipe(given)
    folder = pack(chosen(recipe.data, _root(given)), given.out)
    corpus = PackedCorpus(folder, recipe.crop_s, recipe.seed)
    if given.verify:
        corpus.verify()
    print(f"{folder}: {corpus.index['recordings']} recordings, {corpus.hours:.2f} h")


def _views(given: argparse.Namespace) -> None:
    print(views_figure(_recipe(given), given.recordings, given.out, given.family, seed=given.seed))


def _correlation(given: argparse.Namespace) -> None:
    recipe = _recipe(given)
    print(
        correlation_figure(recipe, given.run, given.out, packed=given.packed, family=given.family)
    )


def _recipe(given: argparse.Namespace) -> Recipe:
    deltas = [find_recipe(name, "deltas") for name in given.deltas]
    return read_recipe(find_recipe(given.recipe), given.set, deltas)


def _root(given: argparse.Namespace) -> Path:
    if given.data_root is None:
        return toy_corpus().parent
    if not given.data_root.is_dir():
        raise BarlowSpeechError(f"--data-root {given.data_root} is no folder; check the path.")
    return given.data_root


def run(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        BarlowSpeechError: on anything that the user can mend.
    """
    given = parser().parse_args(arguments)
    given.do(given)
