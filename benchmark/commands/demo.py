"""the main job on the embedded toy corpus, in minutes

What `make demo` runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from barlow_speech import configs
from barlow_speech.benchmark import run_downstream
from barlow_speech.downstream.toy.corpus import toy_corpus
from barlow_speech.upstream.pretraining.recipe import read_recipe
from barlow_speech.upstream.pretraining.run import pretrain

UPSTREAMS = ("barlow_speech", "barlow_speech_random", "fbank_no_cmvn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("-o", "--out", type=Path, default=Path("results/demo"), metavar="DIR",
                        help="folder of the results (default: results/demo)")  # fmt: skip
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="runs of each result")


def run(given: argparse.Namespace) -> None:
    """Do it."""
    demo(given.out, given.runs)


def demo(out: Path, runs: int = 50) -> None:
    """Speak the toy corpus, pretrain on it, evaluate on four tasks beside two baselines, report.

    What is there already is not done again.
    """
    started = time.monotonic()
    _say("1/3  speaking the toy corpus (eSpeak NG)")
    card = toy_corpus()
    _say("2/3  pretraining a small Barlow Twins encoder on it (configs/pretrain/toy.yaml)")
    recipe = read_recipe(configs.find("recipe", "toy"))
    checkpoint = pretrain(recipe, out / "pretrain", data_root=card.parent, resume=True)
    _say(f"3/3  four tasks, {len(UPSTREAMS)} upstreams, {runs} runs each")
    run_downstream.run(
        [
            "-u",
            *UPSTREAMS,
            "-d",
            "all",
            "-k",
            str(checkpoint),
            "-p",
            str(out),
            "--protocol",
            "quick",
            "--runs",
            str(runs),
        ]
    )
    print(
        f"""
done in {time.monotonic() - started:.0f} s. The toy corpus is for trying things out: no number above
is a claim about speech.

open      {out / "report.html"}
then try  run_downstream.py -u barlow_speech -d emotion            (the checkpoint in the package)
          run_downstream.py -u barlow_speech -d all --corpus my/manifest.tsv
          barlow-speech pretrain toy -o results/mine --set families.main.objective.redundancy=0
(both commands are in .venv/bin: `source .venv/bin/activate` puts them on your PATH)"""
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
