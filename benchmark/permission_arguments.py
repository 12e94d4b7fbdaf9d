"""The arguments by which a user permits what an upstream of somebody else may do."""

from __future__ import annotations

import argparse

from barlow_speech.upstream.permissions import Permissions


def add_permissions(parser: argparse.ArgumentParser) -> None:
    """--trust-checkpoint and --download."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="let s3prl unpickle the checkpoint of a peer, which can run any code that is in it",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="let s3prl download the weights of a peer; nothing uses the network without it",
    )


def permissions(given: argparse.Namespace) -> Permissions:
    """What was permitted."""
    return Permissions(given.trust_checkpoint, given.download)
