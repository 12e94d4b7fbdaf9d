"""Our own upstreams: `barlow_speech`, `barlow_speech_local` and `barlow_speech_random`."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barlow_speech import upstream
from barlow_speech.benchmark.features.families import digests, split_name
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import checkpoint_file, missing_checkpoint
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT, NAMES
from barlow_speech.upstream.third_party.permissions import Permissions

if TYPE_CHECKING:
    from barlow_speech.upstream.expert import UpstreamExpert

UPSTREAM = Path(upstream.__file__).parent
CODE = [UPSTREAM / "expert.py", *sorted(UPSTREAM.glob("encoders/*.py"))]
CODE += sorted(UPSTREAM.glob("model/*.py"))


def matches(name: str) -> bool:
    """See `families`."""
    return split_name(name)[0] in NAMES


def check(name: str, checkpoint: Path | None) -> None:
    """See `families`.

    Raises:
        BarlowSpeechError: the checkpoint is missing or of another kind.
    """
    plain, own = split_name(name)
    file = own or checkpoint
    if file is None:
        if plain == "barlow_speech_local":
            raise BarlowSpeechError(
                "upstream 'barlow_speech_local' needs a checkpoint; give it with -k."
            )
        return
    file = checkpoint_file(file)
    if not file.exists():
        raise missing_checkpoint(file)
    from barlow_speech.upstream.model.checkpoint import describe, load_settings

    what = describe(file)
    if "safetensors" not in what:
        raise BarlowSpeechError(
            f"upstream '{plain}' expects a safetensors file that `barlow-speech pretrain` wrote, "
            f"and {file} is {what}; a checkpoint of s3prl's goes behind the name of its own "
            "upstream, as in hubert@FILE."
        )
    load_settings(file)


def load(name: str, checkpoint: Path | None, seed: int, permissions: Permissions) -> UpstreamExpert:
    """See `families`; without s3prl, whose import takes seconds."""
    from barlow_speech.upstream.expert import UpstreamExpert

    check(name, checkpoint)
    plain, own = split_name(name)
    return UpstreamExpert(own or checkpoint, seed if plain == "barlow_speech_random" else None)


def origin(name: str, checkpoint: Path | None, seed: int) -> list[Any] | None:
    """See `families`; PyTorch's version and our code say how random weights are drawn."""
    plain, own = split_name(name)
    with contextlib.suppress(BarlowSpeechError):
        files = [checkpoint_file(own or checkpoint or DEFAULT_CHECKPOINT), *CODE]
        drawn = seed if plain.endswith("_random") else None
        return [plain, drawn, version("torch"), *digests(files)]
    return None


def identity(name: str, module: Any, weights: str) -> list[Any]:
    """See `families`."""
    return [split_name(name)[0], weights]
