"""which factor an embedding holds where: DCI, MIG, SAP, modularity, explicitness, linear probes

Prints tables and writes disentanglement.json, disentanglement.md and figures (PNG and PDF). Every
upstream is measured in its own dimensions and by the PCA and ICA of them; one of ours is also
compared with the same encoder of random weights, which is added where it is not named.

examples:
  barlow-speech disentangle -u barlow_speech fbank_no_cmvn --corpus my/manifest.tsv
  barlow-speech disentangle -u barlow_speech hubert_base@hubert.pt --corpus my/manifest.tsv -o out
  barlow-speech disentangle -u barlow_speech --corpus my/manifest.tsv --within gender
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from barlow_speech.benchmark.arguments import add_permissions, add_upstreams, permissions
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, write_json, write_text
from barlow_speech.upstream.common.text import printable
from barlow_speech.upstream.names import NAMES as OURS

RANDOM = "barlow_speech_random"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add_upstreams(parser)
    add = parser.add_argument
    add("-s", "--upstream_feature_selection", dest="selection",
        choices=("embedding", "hidden_states"), default="embedding",
        help="the code: the upstream's own utterance embedding, or (also of those that have none) "
        "the mean over time of the last layer; probes see all layers")  # fmt: skip
    add("--corpus", default="toy", metavar="CORPUS",
        help="a manifest (.tsv), a card (.yaml) or the name of one (default: toy)")  # fmt: skip
    add("--data-root", type=Path, metavar="DIR", help="where the data of built-in cards is")
    add("-o", "--out", type=Path, metavar="DIR",
        help="where the files go (default: results/disentanglement/CORPUS)")  # fmt: skip
    add("--factors", nargs="+", action="extend", default=[], metavar="NAME",
        help="of speaker, gender, emotion, keyword (default: all that the corpus has)")  # fmt: skip
    add("--within", default="", metavar="FACTOR",
        help="measure the other factors within each class of this one")  # fmt: skip
    add("--dimensions", type=int, default=64, metavar="N",
        help="that each basis keeps, of the largest variance (default: 64)")  # fmt: skip
    add("--resamples", type=int, default=50, metavar="N",
        help="draws of speakers behind every interval; 0 for none (default: 50)")  # fmt: skip
    add("--recordings", type=int, default=5000, metavar="N",
        help="that are taken of a corpus at most (default: 5000)")  # fmt: skip
    add("--workers", type=int, metavar="N", help="processes (default: all cores)")
    add("--device", default="cpu", help="of the upstreams: cpu (default), cuda, …")
    add_permissions(parser)
    add("--allow-leakage", action="store_true",
        help="go on when splits share a speaker or a recording, and say so")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")


def run(given: argparse.Namespace) -> None:
    """Measure, print and write.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    # Only this verb pays for scikit-learn, which takes a second or two to import.
    from barlow_speech.benchmark.disentanglement.factors import read_factors
    from barlow_speech.benchmark.disentanglement.measure import check_factors, study
    from barlow_speech.benchmark.disentanglement.record import json_study
    from barlow_speech.benchmark.disentanglement.representations import represent
    from barlow_speech.benchmark.features.families import check_name
    from barlow_speech.benchmark.features.upstreams import load_upstream
    from barlow_speech.benchmark.figures.disentanglement import draw_study
    from barlow_speech.benchmark.reporting.disentanglement import document
    from barlow_speech.benchmark.reporting.tables import markdown_document, text_document
    from barlow_speech.downstream.corpus import read_corpus
    from barlow_speech.upstream.common.machine import usable

    for name, least in (("dimensions", 2), ("resamples", 0), ("recordings", 8), ("workers", 1)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise BarlowSpeechError(f"--{name} must be {least} or more, not {value}.")
    upstreams, baselines = with_random(given.upstream)
    for name in upstreams:
        check_name(name, given.upstream_ckpt)
    corpus = read_corpus(given.corpus, given.data_root)
    factors = read_factors(corpus, given.factors, given.recordings, given.allow_leakage)
    check_factors(corpus.name, factors, given.within)
    recordings = [corpus.recordings[row] for row in factors.rows_N]
    representations = []
    for name in upstreams:
        upstream = load_upstream(
            name, given.upstream_ckpt, usable(given.device), permissions=permissions(given)
        )
        cache, manifest = cache_dir() / "features", corpus.manifest.file
        representations.append(
            represent(name, upstream, recordings, cache, manifest, given.selection)
        )
    found = study(
        corpus.name,
        factors,
        representations,
        baselines=baselines,
        within=given.within,
        dimensions=given.dimensions,
        resamples=given.resamples,
        workers=given.workers or os.cpu_count() or 1,
    )
    out = given.out or Path("results/disentanglement") / corpus.name
    result = json_study(found)
    write_json(out / "disentanglement.json", result)
    page = document(found)
    write_text(out / "disentanglement.md", markdown_document(page))
    draw_study(found, out)
    if given.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(text_document(page))
        print(f"\nfigures and files: {printable(out)}")


def with_random(upstreams: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The upstreams with random weights for each of ours, and which is compared with which."""
    result = list(dict.fromkeys(upstreams))
    baselines = {}
    for name in list(result):
        plain, at, own = name.partition("@")
        if plain in OURS and plain != RANDOM:
            baselines[name] = f"{RANDOM}{at}{own}"
    result += [name for name in dict.fromkeys(baselines.values()) if name not in result]
    return result, baselines
