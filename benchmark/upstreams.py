"""Upstreams by name: ours and any other on s3prl's hub, with a fingerprint of their weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream import expert
from barlow_speech.upstream.checkpoint import load_settings
from barlow_speech.upstream.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.files import digest, file_digest
from barlow_speech.upstream.registry import NAMES as OURS
from barlow_speech.upstream.registry import register_upstream

HIDDEN = "hidden_states"


@dataclass(frozen=True)
class Upstream:
    """An upstream that is ready to run.

    `fingerprint` changes with its weights, its code and its checkpoint. `batched`: its output for
    a recording does not depend on the batch, so recordings may be run together.
    """

    name: str
    module: nn.Module
    rate: int
    fingerprint: str
    batched: bool

    def layers(self, waves: list[Tensor]) -> list[Tensor]:
        """Hidden states, a list of [B, T, D], of 1-D waveforms on the module's device."""
        with torch.no_grad():
            hidden = self.module(waves)[HIDDEN]
        return list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]


def check_name(name: str, checkpoint: Path | None) -> None:
    """Refuse a name that nothing can be loaded for, before anything is computed.

    Raises:
        BarlowSpeechError: there is no such upstream, or its checkpoint file is missing.
    """
    plain, _, own = name.partition("@")
    if plain in OURS:
        file = Path(own) if own else checkpoint
        if plain == "barlow_speech_local" and file is None:
            raise BarlowSpeechError(
                "upstream 'barlow_speech_local' needs a checkpoint; give it with -k."
            )
        if file is not None:
            load_settings(file)
        return
    hub = register_upstream()
    if plain.startswith("_") or plain == "options" or not callable(getattr(hub, plain, None)):
        raise unknown("upstream", plain, hub.options(), "-u (any name on s3prl.hub)")


def load_upstream(name: str, checkpoint: Path | None, device: str, seed: int = 0) -> Upstream:
    """An upstream by its name on s3prl's hub, or as `name@checkpoint`.

    `checkpoint` is used for our own upstreams without an `@`; `seed` draws the weights of
    `barlow_speech_random`.

    Raises:
        BarlowSpeechError: there is no such upstream, its checkpoint is wrong, or s3prl fails.
    """
    plain, at, own = name.partition("@")
    if plain in OURS:
        module = _ours(plain, Path(own) if at else checkpoint, seed)
        code = _code_digest()
    else:
        module = _peer(plain, own)
        code = version("s3prl")
    module = module.to(device).eval()
    parts = [plain, code, _weights_digest(module)]
    if own and plain not in OURS and Path(own).is_file():
        parts.append(file_digest(Path(own)))
    rate = int(module.get_downsample_rates(HIDDEN))  # type: ignore[operator]
    return Upstream(name, module, rate, digest(parts), batched=plain in OURS)


def _ours(name: str, checkpoint: Path | None, seed: int) -> nn.Module:
    """Ours needs no s3prl, whose import takes seconds."""
    if name == "barlow_speech_random":
        return expert.UpstreamExpert(checkpoint, random_seed=seed)
    return expert.UpstreamExpert(checkpoint)


def _peer(name: str, checkpoint: str) -> nn.Module:
    check_name(name, None)
    hub = register_upstream()
    try:
        return getattr(hub, name)(ckpt=checkpoint) if checkpoint else getattr(hub, name)()
    except BarlowSpeechError:
        raise
    except Exception as error:  # s3prl's factories raise whatever their authors liked
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BarlowSpeechError(
            f"upstream '{name}' of s3prl cannot be loaded ({reason[:300]}); "
            "check its checkpoint and the packages that it needs."
        ) from error


def _code_digest() -> str:
    """A digest of the sources that our features depend on, so that a change of them is noticed."""
    folder = Path(expert.__file__).parent
    sources = [folder / name for name in ("expert.py", "frontend.py", "model.py", "subsampling.py")]
    sources += sorted((folder / "encoders").glob("*.py"))
    return digest([source.read_text(encoding="utf-8") for source in sources])


def _weights_digest(module: nn.Module) -> str:
    result = hashlib.sha256()
    settings: Any = getattr(getattr(module, "model", None), "settings", None)
    if settings is not None and hasattr(settings, "as_dict"):
        result.update(digest(settings.as_dict()).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        result.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        result.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()
