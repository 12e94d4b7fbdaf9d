"""What an upstream's name may stand for: several pretrainings, or an encoder to be trained."""

from __future__ import annotations

import glob
from pathlib import Path

from barlow_speech.benchmark.evaluation.protocol import Protocol
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.names import NAMES


def pretrainings(name: str, protocol: Protocol) -> list[tuple[str, int]]:
    """The (name, seed) of each pretraining of an upstream; one, unless `pretrain_seed` varies.

    `name@some/*/encoder.safetensors` stands for every file that it matches, in their order;
    `barlow_speech_random` for as many draws of its weights as the protocol has levels or runs.

    Raises:
        BarlowSpeechError: nothing matches, or the number does not fit the protocol.
    """
    varies = "pretrain_seed" in protocol.varies
    wanted = protocol.levels.get("pretrain_seed", protocol.runs)
    plain, _, pattern = name.partition("@")
    if plain == "barlow_speech_random" and varies:
        return [(name, seed) for seed in range(wanted)]
    # A folder's name may have such marks, too.
    if not any(mark in pattern for mark in "*?[") or Path(pattern).is_file():
        if varies:
            raise BarlowSpeechError(
                f"upstream '{name}' is one pretraining, but the protocol '{protocol.name}' varies "
                f"pretrain_seed; give several as '{plain}@folder/*/encoder.safetensors'."
            )
        return [(name, 0)]
    files = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not files:
        raise BarlowSpeechError(f"upstream '{name}': no file matches {pattern}; check the path.")
    if not varies:
        raise BarlowSpeechError(
            f"upstream '{name}' is {len(files)} pretrainings; choose a protocol whose runs vary in "
            "pretrain_seed, such as --protocol pretraining, or give one file."
        )
    if protocol.levels and len(files) != wanted:
        raise BarlowSpeechError(
            f"upstream '{name}' is {len(files)} pretrainings, but the protocol '{protocol.name}' "
            f"has {wanted} levels of pretrain_seed; let them agree."
        )
    return [(f"{plain}@{file}", 0) for file in files]


def check_trainable(name: str) -> None:
    """Refuse an upstream whose encoder is not ours.

    Raises:
        BarlowSpeechError: it is not.
    """
    if name.partition("@")[0] not in NAMES:
        raise BarlowSpeechError(
            f"upstream '{name}' cannot be trained here, only {', '.join(NAMES)} can; leave -f away "
            "to evaluate it frozen, or let s3prl fine-tune it (-m train -f)."
        )
