"""a folder for a model hub: weights, README with metadata, scores of stored results

FOLDER then has model.safetensors, README.md (Hugging Face's metadata block, text, scores) and
.eval_results/*.yaml. `load("FOLDER")`, `-u barlow_speech -k FOLDER`, `barlow_speech@FOLDER` and the
adapters read it back. Nothing is uploaded: `hf upload OWNER/NAME FOLDER` does that.

The text is that of a README.md beside the checkpoint, if there is one; what you write into
FOLDER/README.md above its mark stays when the command is run again. Results are known by the
weights, whatever they were called.

examples:
  barlow-speech card results/mine/encoder.safetensors -o mine --licence cc-by-4.0
  barlow-speech card results/mine/encoder.safetensors -o mine --results results \\
      --dataset librispeech=openslr/librispeech_asr
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT, metavar="CHECKPOINT",
        help="the encoder (default: the one that comes with the package)",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER",
                        help="where the files go")  # fmt: skip
    parser.add_argument("--results", nargs="+", type=Path, default=[], metavar="RESULTS",
                        help="folders that run_downstream.py wrote (-p)")  # fmt: skip
    parser.add_argument("--metric", choices=list(METRICS), default="top1",
                        help="of the scores (default: top1)")  # fmt: skip
    parser.add_argument("--licence", default="", metavar="ID",
                        help="of the weights, as the hub spells it: mit, cc-by-4.0, …")  # fmt: skip
    parser.add_argument(
        "--dataset", nargs="+", action="extend", default=[], metavar="CORPUS=OWNER/NAME",
        help="the hub's data set of a corpus; its scores then stand in .eval_results too",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Write the folder, and say what is left to its owner."""
    if given.out.exists() and not given.out.is_dir():
        raise BarlowSpeechError(f"-o {given.out} is no folder; name one.")
    if given.licence and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", given.licence):
        raise BarlowSpeechError(
            f"--licence {given.licence} is no identifier of the hub's (small letters, digits, "
            "points and dashes); give one such as mit or cc-by-4.0, or other."
        )
    datasets = {}
    for one in given.dataset:
        corpus, _, name = one.partition("=")
        if not corpus or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise BarlowSpeechError(
                f"--dataset {one} is not CORPUS=OWNER/NAME; give it as in "
                "librispeech=openslr/librispeech_asr."
            )
        datasets[corpus] = name
    if datasets and not given.results:
        raise BarlowSpeechError(
            "--dataset is for scores; give the folders that hold them by --results."
        )
    from barlow_speech.benchmark.reporting.model_card import results_of, write_card

    results = results_of(given.checkpoint, given.results, given.metric)
    for path in write_card(given.checkpoint, given.out, results, given.licence, datasets):
        print(f"wrote {path}")
    left = sorted({one.corpus for one in results} - set(datasets))
    if left:
        print(
            f"in README.md alone, for want of the hub's data set: {', '.join(left)} "
            f"(--dataset {left[0]}=OWNER/NAME)"
        )
