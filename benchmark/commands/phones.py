"""which phone single states hold: a linear probe, frame by frame, of synthesised speech

eSpeak NG speaks made-up words and says when each phone starts; speakers, sentences and words of
train, dev and test are others. No result is a claim about people's speech. Beside each of our
encoders stand its sizes with random weights.

examples:
  barlow-speech phones -u barlow_speech@fine_states fbank
  barlow-speech phones -u barlow_speech hf:models/wav2vec2-base --layers 6 9 12 -o out
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from barlow_speech.benchmark.arguments import add_permissions, add_upstreams, permissions
from barlow_speech.benchmark.commands.disentangle import RANDOM, with_random
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, check_folder, write_json, write_text
from barlow_speech.upstream.common.text import printable

LAYERS = ("each", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add_upstreams(parser)
    add = parser.add_argument
    add("-l", "--layers", nargs="+", default=list(LAYERS), metavar="LAYER",
        help="each, all (one behind the other), or numbers from 1 (default: each all)")  # fmt: skip
    add("--random-seeds", type=int, default=3, metavar="N",
        help="random weights that are drawn of each of our encoders (default: 3)")  # fmt: skip
    add("--speakers", type=int, default=16, metavar="N",
        help="of each split at most (default: 16, which dev has 8 of)")  # fmt: skip
    add("--sentences", type=int, default=12, metavar="N",
        help="of a speaker of train; of dev and test half as many (default: 12)")  # fmt: skip
    add("-o", "--out", type=Path, default=Path("results/phones"), metavar="DIR",
        help="where phones.json and phones.md go (default: results/phones)")  # fmt: skip
    add("--device", default="cpu", help="of the upstreams: cpu (default), cuda, …")
    add_permissions(parser)
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")


def run(given: argparse.Namespace) -> None:
    """Speak, probe, print and write.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    for layer in given.layers:
        if layer not in LAYERS and not (layer.isdecimal() and int(layer) > 0):
            raise BarlowSpeechError(f"--layers takes each, all, or numbers from 1, not '{layer}'.")
    if given.random_seeds < 1:
        raise BarlowSpeechError(f"--random-seeds must be 1 or more, not {given.random_seeds}.")
    from barlow_speech.benchmark.features.families import check_name

    upstreams, pairs = with_random(given.upstream)
    for name in upstreams:
        check_name(name, given.upstream_ckpt)
    check_folder(given.out)
    import numpy as np

    from barlow_speech.benchmark.disentanglement.frame_probe import (
        HOP,
        FrameTask,
        check_layers,
        probe_upstream,
    )
    from barlow_speech.benchmark.features.upstreams import load_upstream
    from barlow_speech.benchmark.reporting.frame_probe import document, record
    from barlow_speech.benchmark.reporting.tables import markdown_document, text_document
    from barlow_speech.downstream.toy.phones import (
        SILENCE,
        PhoneSettings,
        phone_corpus,
        phone_labels,
    )
    from barlow_speech.upstream.common.machine import environment, usable
    from barlow_speech.upstream.data.manifest import read_manifest

    settings = PhoneSettings(given.speakers, given.sentences)
    settings.check()
    device = usable(given.device)
    if not set(given.layers) <= set(LAYERS):  # before anything takes long
        for name in upstreams:
            check_layers(
                load_upstream(name, given.upstream_ckpt, device, 0, permissions(given)),
                given.layers,
            )
    manifest = read_manifest(phone_corpus(settings))
    splits_N, speakers_N = (np.array(manifest.column(name)) for name in ("split", "speaker"))
    phones_N = phone_labels(manifest, HOP)
    task = FrameTask(manifest.recordings, manifest.file, phones_N, splits_N, speakers_N, SILENCE)
    found = []
    for name in upstreams:
        plain = name.partition("@")[0]
        for seed in range(given.random_seeds) if plain == RANDOM else (None,):
            upstream = load_upstream(
                name, given.upstream_ckpt, device, seed or 0, permissions(given)
            )
            found.append(
                probe_upstream(upstream, seed, task, cache_dir() / "features", given.layers)
            )
    result = {
        "corpus": {"name": settings.name, "revision": settings.revision},
        **record(task, found, pairs),
        **environment(device),
    }
    page = document(task, found, pairs)
    write_json(given.out / "phones.json", result)
    write_text(given.out / "phones.md", markdown_document(page))
    if given.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(text_document(page))
        print(f"files: {printable(given.out)}")
