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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add_recipe(parser)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR",
                        help="folder that the packed speech is written to; with --opus the "
                        "file")  # fmt: skip
    add_data_root(parser)
    parser.add_argument(
        "--opus",
        type=float,
        metavar="KBITS",
        help="write one small file to carry to another machine, Opus at so many kbit/s; there "
        "`barlow-speech pack FILE -o DIR` makes a folder of it",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the recordings, and what was packed, and see that neither has changed",
    )


def run(given: argparse.Namespace) -> None:
    """Do it, and say how much speech there is."""
    if given.recipe.endswith(".zip"):
        from barlow_speech.upstream.data.carried import unpack

        print(unpack(Path(given.recipe), given.out))
        return
    recipe = chosen_recipe(given)
    from barlow_speech.upstream.data.packed import PackedCorpus, chosen, pack

    recordings = chosen(recipe.data, speech_folder(given.data_root, recipe.data))
    if given.opus is not None:
        from barlow_speech.upstream.data.carried import carry

        file = carry(recordings, given.out, given.opus)
        size = file.stat().st_size / (1 << 20)
        print(f"{file}: {len(recordings)} recordings, {size:.1f} MiB")
        return
    folder = pack(recordings, given.out, given.verify)
    corpus = PackedCorpus(folder, recipe.crop_s, recipe.seed)
    if given.verify:
        corpus.verify()
    print(f"{folder}: {corpus.index['recordings']} recordings, {corpus.hours:.2f} h")
