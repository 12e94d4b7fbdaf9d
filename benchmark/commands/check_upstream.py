"""a pass/fail list of what an upstream has to keep to

Checks marked with * are needed: without them the harness gives wrong numbers or stops. The others
cost speed, or are for those who fine-tune the upstream or use it elsewhere. The exit status is 1 if
any check fails.

examples:
  barlow-speech check-upstream barlow_speech -k mine/encoder.safetensors
  barlow-speech check-upstream hubert_base@hubert.pt
  barlow-speech check-upstream hf:models/wav2vec2-base --json
  barlow-speech check-upstream --families            # which models of transformers hear their batch
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from barlow_speech.benchmark.arguments import add_checkpoint, add_permissions, permissions
from barlow_speech.upstream.common.errors import BarlowSpeechError

if TYPE_CHECKING:
    from barlow_speech.benchmark.features.upstream_check import Finding
    from barlow_speech.benchmark.features.upstreams import Upstream


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument(
        "upstream",
        metavar="NAME",
        nargs="?",
        help="as for run_downstream.py -u: NAME, NAME@FILE, hf:FOLDER, hear:MODULE or mteb:NAME",
    )
    parser.add_argument(
        "--families",
        action="store_true",
        help="instead: a table of transformers' speech encoders, built at random, and whether they "
        "depend on others in their batch, on padding and on training mode",
    )
    add_checkpoint(parser)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    add_permissions(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on stdout"
    )


def run(given: argparse.Namespace) -> None:
    """Check it, print the list and exit with 1 if a check failed."""
    from barlow_speech.benchmark.features.families import check_name
    from barlow_speech.benchmark.features.upstream_check import check_upstream, subject
    from barlow_speech.upstream.common.machine import usable

    if given.families:
        from barlow_speech.benchmark.features.hugging_face_families import table

        for line in table():
            print(line, flush=True)
        return
    if given.upstream is None:
        raise BarlowSpeechError("no upstream is named; give one, or --families.")
    check_name(given.upstream, given.upstream_ckpt)
    device = usable(given.device)
    tested = subject(given.upstream, given.upstream_ckpt, device, permissions(given))
    findings = check_upstream(tested)
    if given.json:
        print(json.dumps({
            "upstream": tested.upstream.name,
            "rate": tested.upstream.rate,
            "checks": [dataclasses.asdict(one) for one in findings],
        }))  # fmt: skip
    else:
        print(report(tested.upstream, findings))
    if not all(one.passed for one in findings):
        sys.exit(1)


def report(upstream: Upstream, findings: list[Finding]) -> str:
    """The findings as lines of text, and a sentence that says what they come to."""
    width = max(len(one.name) for one in findings)
    lines = [f"{upstream.name}: {upstream.rate} samples a frame"]
    for one in findings:
        verdict = "PASS" if one.passed else "FAIL"
        lines.append(f"{verdict} {'*' if one.needed else ' '} {one.name:<{width}}  {one.detail}")
    failed = [one for one in findings if not one.passed]
    if not failed:
        lines.append(f"all {len(findings)} checks passed.")
    else:
        needed = sum(one.needed for one in failed)
        lines.append(
            f"{len(failed)} of {len(findings)} checks failed, "
            f"{needed or 'none'} of those that the harness needs (*)."
        )
    return "\n".join(lines)
