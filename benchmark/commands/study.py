"""run a study: pretrainings, tasks and analyses from one YAML file, and one report

Does what is missing, goes on after an interruption, and writes report.html with all figures and
tables beside it.

examples:
  barlow-speech study toy --dry-run
  barlow-speech study toy -o results/toy
  barlow-speech study shared --data-root DATA -o results/shared
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from barlow_speech import configs
from barlow_speech.benchmark.arguments import add_over, add_permissions, permissions
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.over import read_over
from barlow_speech.upstream.common.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add = parser.add_argument
    add("study", help="a YAML file, or the name of one in configs/studies "
        f"({', '.join(configs.files('study'))})")  # fmt: skip
    add("-o", "--out", type=Path, metavar="DIR", help="default: results/study/STUDY")
    add("--data-root", type=Path, metavar="DIR",
        help="folder of the study's corpora and of its recipes' manifests "
        "(default: the toy corpus)")  # fmt: skip
    add("--dry-run", action="store_true", help="print the plan, with what is done, and stop")
    add("--metric", choices=tuple(METRICS), default="top1",
        help="what tables and tests are of (default: top1)")  # fmt: skip
    add_over(parser)
    add("--device", default="auto", help="cpu, cuda, … (default: cuda where there is one)")
    add("--executor", choices=("local", "ray"), default="local",
        help="ray: spread the jobs over a Ray cluster (extra [ray])")  # fmt: skip
    add("--address", metavar="HOST:PORT", help="of a running Ray cluster; auto finds it")
    add_permissions(parser)
    add("--allow-leakage", action="store_true",
        help="go on when splits share a speaker or a recording, and say so")  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Plan, and unless that is all that was wanted, do it.

    Raises:
        BarlowSpeechError: on anything that the user can fix.
    """
    over = read_over(given.over)
    path = configs.find("study", given.study, "barlow-speech study (or a path to a .yaml)")
    from barlow_speech.benchmark.study.config import read_study
    from barlow_speech.benchmark.study.planner import Planner, plan_text
    from barlow_speech.benchmark.study.run import planned, run_study
    from barlow_speech.benchmark.study.workspace import Workspace
    from barlow_speech.upstream.common.machine import usable

    study = read_study(path)
    workspace = Workspace(
        folder=given.out or Path("results/study") / path.stem,
        data_root=given.data_root,
        device=usable(given.device),
        metric=given.metric,
        over=over,
        executor=given.executor,
        address=given.address,
        allow_leakage=given.allow_leakage,
        permissions=permissions(given),
    )
    analyses, steps = planned(study, workspace, str(path))
    if given.dry_run:
        print(plan_text(steps, Planner(study, workspace).shared))
        return
    page = run_study(
        study, workspace, analyses, steps, shlex.join(["barlow-speech", *sys.argv[1:]])
    )
    print(f"report: {printable(page)}")
