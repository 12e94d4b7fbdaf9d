"""Judge upstreams on tasks, 50 runs each.

Usage: run_downstream.py -u barlow_speech barlow_speech_random fbank_no_cmvn -d all
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech import configs
from barlow_speech.benchmark.arguments import add_checkpoint, add_over, add_permissions, permissions
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.over import read_over
from barlow_speech.downstream import task as tasks
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import cache_dir, check_folder, write_json, write_text
from barlow_speech.upstream.names import NAMES

if TYPE_CHECKING:
    from barlow_speech.benchmark.statistics.results import TaskResult

EXAMPLES = """\
examples:
  run_downstream.py -u barlow_speech -d emotion
      50 runs on the toy corpus: one table row, one box in the boxplot
  run_downstream.py -u barlow_speech barlow_speech_random fbank_no_cmvn -d all
      all four tasks, with the two baselines that every claim needs
  run_downstream.py -u barlow_speech -k mine/encoder.safetensors -d emotion --corpus my/manifest.tsv
      your checkpoint on your corpus
  run_downstream.py -f -u barlow_speech barlow_speech_random -d emotion --protocol quick
      the encoder trained too: fine-tuned from its checkpoint, and from scratch
  run_downstream.py -u barlow_speech -d superb_ks superb_er superb_sid --data-root DATA
      SUPERB's own tasks and numbers, by s3prl's rules, on what `barlow-speech prepare` wrote there
  run_downstream.py -u barlow_speech -d all --json > cells.json
      one JSON object and nothing else on stdout
  run_downstream.py -m train -u barlow_speech -d barlow_emotion -p results/s3prl --device cpu
      with -m (train, evaluate, inference) this is s3prl's own program, with its flags
"""


def parser() -> argparse.ArgumentParser:
    """The command line; flags that s3prl's run_downstream.py has keep its letters and meaning."""

    result = argparse.ArgumentParser(
        prog="run_downstream.py",
        description="Repeat tasks on upstreams, mostly frozen, and compare them with statistics.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    more = "".join(f"{name}, " for name in tasks.other_names())
    add = result.add_argument
    add(
        "-u",
        "--upstream",
        nargs="+",
        required=True,
        metavar="NAME",
        help="names on s3prl.hub, ours among them; NAME@FILE takes the weights from FILE",
    )
    add(
        "-d",
        "--downstream",
        nargs="+",
        required=True,
        metavar="TASK",
        help=f"{', '.join(tasks.names())}, or all of these; or {more}SUPERB's own, by s3prl's "
        f"rules: {', '.join(tasks.superb_names())}",
    )
    add_checkpoint(result)
    add(
        "-f",
        "--upstream_trainable",
        action="store_true",
        help="train the upstream too, if it is ours: from its checkpoint, or for "
        "barlow_speech_random from scratch; --set encoder.crop_s=3 and the like say how",
    )
    add(
        "--corpus",
        nargs="+",
        metavar="CORPUS",
        help="built-in card, or path of a card (.yaml) or a manifest (.tsv); default: toy, and for "
        "SUPERB's tasks the cards of their own corpora below --data-root",
    )
    add("--data-root", type=Path, metavar="DIR", help="folder that built-in cards are relative to")
    add(
        "--protocol",
        metavar="NAME",
        help=f"how it is repeated: {', '.join(configs.files('protocol'))}, or a .yaml "
        "(default: paper; for SUPERB's tasks: superb)",
    )
    add(
        "--set",
        nargs="+",
        default=[],
        action="extend",
        metavar="KEY=VALUE",
        help="change a key of the protocol, such as head.name=mlp or clip=0",
    )
    add("--runs", type=int, metavar="N", help="runs of each result (paper: 50)")
    add("--seed", type=int, metavar="N", help="seed of the first run; run i has seed + i")
    add("--steps", type=int, metavar="N", help="optimiser steps of each run")
    add(
        "--lr",
        type=float,
        nargs="+",
        metavar="RATE",
        help="learning rate; of several, the best on dev is taken, for each upstream alike",
    )
    add("--batch-size", type=int, metavar="N", help="recordings in a batch")
    add(
        "-s",
        "--upstream_feature_selection",
        dest="selection",
        choices=("hidden_states", "embedding"),
        default="hidden_states",
        help="all layers, weighted by the head, or the upstream's own utterance embedding",
    )
    add("-l", "--upstream_layer_selection", dest="layer", type=int, metavar="N",
        help="one layer in place of all")  # fmt: skip
    add("--metric", choices=tuple(METRICS), default="top1",
        help="what tables and tests are of; a record has all (default: top1)")  # fmt: skip
    add_over(result)
    add(
        "-p",
        "--expdir",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where records, figures and the report go (default: results)",
    )
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    add(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="ray: spread the jobs over a Ray cluster (extra [ray])",
    )
    add("--address", metavar="HOST:PORT", help="of a running Ray cluster; auto finds it")
    add(
        "--verify-cache",
        action="store_true",
        help="read every recording and all that is kept of it, and see that neither has changed",
    )
    add_permissions(result)
    add("--overwrite", action="store_true", help="run again what is already in --expdir")
    add(
        "--allow-leakage",
        action="store_true",
        help="go on when splits share a speaker or a recording, and write it into the record",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    add("--debug", action="store_true", help="show the traceback of an error")
    return result


def run(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    given = parser().parse_args(arguments)
    over = read_over(given.over)
    every = [tasks.names() if name == "all" else [name] for name in given.downstream]
    chosen = [tasks.read_task(name) for name in dict.fromkeys(itertools.chain(*every))]
    changes = {
        "runs": given.runs,
        "seed": given.seed,
        "steps": given.steps,
        "batch": given.batch_size,
        "learning_rates": given.lr,
    }
    from barlow_speech.benchmark.evaluation.protocol import read_protocol

    read = {
        one.name: read_protocol(
            given.protocol or one.protocol, one.name, given.set, changes, given.upstream_trainable
        )
        for one in chosen
    }
    from barlow_speech.benchmark.evaluation.pretrainings import check_trainable, pretrainings
    from barlow_speech.benchmark.features.families import split_name
    from barlow_speech.benchmark.features.known import check_unknown

    if given.layer is not None and given.selection == "embedding":
        raise BarlowSpeechError("-l is a layer of -s hidden_states; leave one of them out.")
    plain = [split_name(name) for name in given.upstream]
    if given.upstream_ckpt and not any(name in NAMES and not own for name, own in plain):
        raise BarlowSpeechError(
            "-k is for barlow_speech and barlow_speech_random, not for "
            f"{', '.join(given.upstream)}; a checkpoint of another upstream is NAME@FILE."
        )
    features = cache_dir() / "features"
    upstreams = list(dict.fromkeys(given.upstream))
    for name in upstreams:
        if given.upstream_trainable:
            check_trainable(name)
        for member, seed in pretrainings(name, read[chosen[0].name]):
            check_unknown(features, member, given.upstream_ckpt, seed)
    if given.device not in ("auto", "cpu"):
        from barlow_speech.upstream.common.machine import usable

        usable(given.device)
    from barlow_speech.benchmark.evaluation.evaluator import Evaluator
    from barlow_speech.benchmark.evaluation.job import Job, Settings

    evaluator = Evaluator(
        Settings(
            results=given.expdir,
            cache=features,
            device=given.device,
            metric=given.metric,
            over=over,
            data_root=given.data_root,
            checkpoint=given.upstream_ckpt,
            overwrite=given.overwrite,
            allow_leakage=given.allow_leakage,
            verify_cache=given.verify_cache,
            permissions=permissions(given),
        )
    )
    if given.corpus is None and given.data_root is None:
        _check_at_hand(chosen)
    named = given.corpus or [one.corpus for one in chosen]
    corpora = {name: evaluator.corpus(name) for name in dict.fromkeys(named)}
    pieces = []
    for one in chosen:
        among = list(corpora) if given.corpus else [one.corpus]
        served = [name for name in among if one.name in corpora[name].card.tasks]
        # Among several corpora, or for `all`, a task goes to those that have its labels. A task
        # that was named and that none has is an error, which the first corpus words.
        if not served and ("all" not in given.downstream or len(corpora) == 1 == len(chosen)):
            served = among[:1]
        for corpus in served:
            evaluator.task_data(
                one.name, corpus, read[one.name]
            )  # refused before anything is computed
            pieces.append((one.name, corpus))
    if not pieces:
        others = sorted({task for corpus in corpora.values() for task in corpus.card.tasks})
        if others:
            raise BarlowSpeechError(
                f"{', '.join(corpora)}: none of {', '.join(one.name for one in chosen)} is served "
                f"there, only {', '.join(others)}; name it by -d."
            )
        raise BarlowSpeechError(
            f"{', '.join(corpus.name for corpus in corpora.values())}: no task finds its labels "
            f"there; the manifest needs one of the columns "
            f"{', '.join(task.label for task in chosen)}."
        )
    jobs = [
        Job(name, task, corpus, read[task], given.selection, given.layer)
        for task, corpus in pieces
        for name in upstreams
    ]
    check_folder(given.expdir)
    from barlow_speech.benchmark.analyses import _runs
    from barlow_speech.benchmark.evaluation.executor import run_jobs
    from barlow_speech.benchmark.reporting.files import Made
    from barlow_speech.benchmark.statistics.summaries import result_json
    from barlow_speech.upstream.common.machine import versions

    ordered = run_jobs(jobs, evaluator, given.executor, given.address)
    command = shlex.join(["run_downstream.py", *arguments])
    page = given.expdir / "report.html"
    made = Made(given.expdir, [command, given.device, versions(), ordered])
    if not made.still_there():
        page = write_report(given.expdir, ordered, _facts(evaluator.device), command)
        made.note()
    if given.json:
        print(json.dumps({"cells": [result_json(result) for result in ordered]}, allow_nan=False))
    else:
        print(_runs.terminal(ordered))
        print(f"\nfigures and details: {page}")


def write_report(
    folder: Path, results: Sequence[TaskResult], facts: Mapping[str, str], command: str
) -> Path:
    """Write the report of `results` into `folder` and return the path of its page.

    Files: `report.html`, `results.md`, `cells.json`, `boxplot_<task>_<corpus>.png` for each task of
    each corpus, and, where a confusion of at most 40 classes is recorded, that of the best mean as
    `confusion_<task>_<corpus>.png`, and with several tasks and three upstreams
    `critical_difference.png`; each is written whole or not at all, the page last. `facts` are
    versions and hardware, in the order to show; `command` is what was typed.

    Raises:
        BarlowSpeechError: there are no results or `by_task` refuses one (nothing is written then),
            or the folder cannot be written.
    """
    from barlow_speech.benchmark.analyses import _runs
    from barlow_speech.benchmark.reporting.document import Document
    from barlow_speech.benchmark.reporting.files import write_bare
    from barlow_speech.benchmark.reporting.tables import markdown_document
    from barlow_speech.benchmark.statistics.summaries import result_json

    page = _runs.page(results, facts, command)
    (scores,) = (section for section in page.sections if section.title == "Results")
    write_json(folder / "cells.json", {"cells": [result_json(result) for result in results]})
    untitled = (dataclasses.replace(scores, title=""),)
    summary = Document(scores.title, "", untitled, page.commands, page.facts)
    write_text(folder / "results.md", markdown_document(summary))
    return write_bare(page, folder)


def _check_at_hand(chosen: Sequence[tasks.Task]) -> None:
    """Refuse a task whose own corpus cannot be found, since nobody said where corpora are.

    Raises:
        BarlowSpeechError: there is one; it says how the corpus is made known.
    """
    for one in chosen:
        if one.corpus != "toy":
            raise BarlowSpeechError(
                f"task '{one.name}' is of the corpus '{one.corpus}': give the folder that holds it "
                "by --data-root, or the card that `barlow-speech prepare` wrote by --corpus."
            )


def _facts(device: str) -> dict[str, str]:
    """Versions and hardware as the report shows them."""
    from barlow_speech.upstream.common.machine import environment

    facts = environment(device)
    return {
        name: str(value) for part in ("versions", "hardware") for name, value in facts[part].items()
    }
