"""the encoder as an ONNX file, compared with onnxruntime before it is kept

Input `waves` [batch, samples], mono at 16 kHz, all of one length. Outputs: `embedding` [batch, E]
and `last_hidden_state` [batch, states, D]. Needs: pip install 'barlow-speech[onnx]'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from barlow_speech.upstream.common.files import check_output, checkpoint_file, file_digest
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.onnx",
                        help="file that the encoder is written to")  # fmt: skip
    parser.add_argument(
        "-k", "--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, metavar="FILE",
        help="the encoder (default: the one that comes with the package)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Export the encoder and say how near onnxruntime comes to it."""
    from barlow_speech.upstream.model.checkpoint import load_model
    from barlow_speech.upstream.model.onnx_export import export_onnx

    check_output(given.out, [checkpoint_file(given.checkpoint)])
    model = load_model(given.checkpoint)
    facts = {
        "checkpoint": given.checkpoint.name,
        "sha256": file_digest(checkpoint_file(given.checkpoint)),
    }
    difference = export_onnx(model, given.out, facts)
    print(
        f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB; onnxruntime differs from the "
        f"encoder by at most {difference:.1g} of the largest value."
    )
