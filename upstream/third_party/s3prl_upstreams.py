"""Other people's upstreams: those on s3prl's hub, with their own weights or with a local file.

A name on the hub stands for one set of weights, which s3prl downloads: `hubert_base(ckpt=mine)`
would load the published weights and ignore `mine`. So a name with a checkpoint goes to the loader
for local files beside it: `hubert_base@mine.pt` is `hubert_local("mine.pt")`.
"""

from __future__ import annotations

import inspect
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line, unknown
from barlow_speech.upstream.model.checkpoint import describe
from barlow_speech.upstream.third_party.permissions import (
    NONE,
    NetworkRefusedError,
    Permissions,
    guest,
)
from barlow_speech.upstream.third_party.registry import register_upstream
from barlow_speech.upstream.third_party.safe_load import check_texts, safe_load

LOCAL = ("_local", "_custom")  # endings of s3prl's loaders for a file
NEEDY = (*LOCAL, "_url")  # endings of names without weights of their own
EXAMPLE = "s3prl.upstream.example."  # s3prl's template, whose factory passes everything on


def build_third_party(
    name: str, checkpoint: Path | None = None, permissions: Permissions = NONE
) -> nn.Module:
    """The upstream of a name on s3prl's hub, with its published weights or those of a checkpoint.

    What s3prl prints goes to stderr.

    Raises:
        BarlowSpeechError: there is no such name, its checkpoint is missing, of another kind or
            refused by safe loading, its weights cannot or may not be downloaded, or s3prl fails.
    """
    factory, arguments = find_third_party(name, checkpoint)
    if "model_config" in arguments and not permissions.trust_checkpoint:
        check_texts(_read_yaml(Path(arguments["model_config"])), f"file {checkpoint}")
    try:
        with (
            warnings.catch_warnings(),
            safe_load(permissions.trust_checkpoint),
            guest(Permissions(download=permissions.download and checkpoint is None)),
        ):
            warnings.simplefilter("ignore")  # s3prl's code is older than what torch now deprecates
            upstream = factory(**arguments)
    except BarlowSpeechError:
        raise
    except Exception as error:  # s3prl's factories raise whatever their authors liked
        raise _failure(name, checkpoint, factory, error, permissions.download) from error
    if not isinstance(upstream, nn.Module) or not hasattr(upstream, "get_downsample_rates"):
        raise BarlowSpeechError(
            f"'{name}' on s3prl's hub gives a {type(upstream).__name__}, which is no upstream; "
            "choose another name."
        )
    return upstream


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BarlowSpeechError(
            f"file {path} is no readable YAML ({error}); give the settings of an upstream."
        ) from error


def find_third_party(name: str, checkpoint: Path | None = None) -> tuple[Callable[..., Any], dict]:
    """The factory for a name on s3prl's hub and the arguments to call it with; nothing is loaded.

    Raises:
        BarlowSpeechError: there is no such name, it needs a checkpoint or takes none, or the
            checkpoint is missing or of another kind.
    """
    hub = register_upstream()
    factory: Any = getattr(hub, name, None)
    if name.startswith("_") or name == "options" or not _is_factory(factory):
        known = [one for one in hub.options() if _is_factory(getattr(hub, one))]
        raise unknown_name(name, known)
    if checkpoint is None:
        _check_complete(name, factory)
        return factory, {}
    loader = _loader(name, factory)
    if not checkpoint.exists():
        raise BarlowSpeechError(
            f"checkpoint {checkpoint} of upstream '{name}' does not exist; "
            "give a local file or folder."
        )
    what = describe(checkpoint)
    if "safetensors" in what and _of_s3prl(loader):
        theirs = "; give it as barlow_speech@FILE." if "of barlow_speech" in what else "."
        raise BarlowSpeechError(
            f"upstream '{name}' of s3prl expects a checkpoint that torch.save wrote, and "
            f"{checkpoint} is {what}{theirs}"
        )
    return loader, {next(iter(_named(loader)), "ckpt"): str(checkpoint)}


def unknown_name(name: str, known: Iterable[str]) -> BarlowSpeechError:
    """The error for a name that is on no list, or the path of a file that is given as one."""
    path = Path(name)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return BarlowSpeechError(
            f"'{name}' is no name of an upstream{'' if path.exists() else ', nor a file here'}; a "
            "checkpoint goes behind a name, as in barlow_speech@FILE or hubert@FILE, a folder of "
            "Hugging Face's behind hf:, as in hf:FOLDER."
        )
    return unknown("upstream", name, known, "the names on s3prl.hub")


def _is_factory(value: Any) -> bool:
    """s3prl's hub also shows what its files import, such as pathlib's Path."""
    return callable(value) and not inspect.isclass(value)


def _named(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a factory that have a name of their own."""
    return {
        name: one
        for name, one in inspect.signature(factory).parameters.items()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }


def _required(factory: Callable[..., Any]) -> list[str]:
    return [key for key, one in _named(factory).items() if one.default is one.empty]


def _of_s3prl(factory: Callable[..., Any]) -> bool:
    """Whether it is one of s3prl's own upstreams, but for the template that people rewrite."""
    module = getattr(factory, "__module__", "")
    return module.startswith("s3prl.") and not module.startswith(EXAMPLE)


def _check_complete(name: str, factory: Callable[..., Any]) -> None:
    if _required(factory) or name.endswith(NEEDY):
        raise BarlowSpeechError(
            f"upstream '{name}' of s3prl has no weights of its own; give a checkpoint: {name}@FILE."
        )


def _loader(name: str, factory: Callable[..., Any]) -> Callable[..., Any]:
    """What loads a local checkpoint for a name: itself, or s3prl's loader beside it.

    Raises:
        BarlowSpeechError: s3prl has no loader for it.
    """
    if name.endswith("_url"):
        raise BarlowSpeechError(
            f"upstream '{name}' of s3prl downloads its weights; download them and give the file "
            f"as {name.removesuffix('_url')}_local@FILE."
        )
    home = sys.modules.get(getattr(factory, "__module__", ""), None)
    if name.endswith(LOCAL) or "ckpt" in _named(factory) or _required(factory):
        return factory
    beside: dict[str, Callable[..., Any]] = {}
    for key, value in vars(home).items() if home else ():
        if key.endswith(LOCAL) and not key.startswith("_") and callable(value):
            first = next(iter(_named(value)), "ckpt")
            if first == "ckpt":
                stem = key.removesuffix("_local").removesuffix("_custom")
                beside.setdefault(stem, value)
    alike = [stem for stem in beside if name.startswith(stem)]
    if alike or len(beside) == 1:
        return beside[max(alike, key=len) if alike else next(iter(beside))]
    if not _of_s3prl(factory):
        return factory
    raise BarlowSpeechError(f"upstream '{name}' of s3prl takes no checkpoint; give the name alone.")


def _failure(
    name: str,
    checkpoint: Path | None,
    factory: Callable[..., Any],
    error: Exception,
    download: bool,
) -> BarlowSpeechError:
    import urllib.error

    import requests  # needed by s3prl itself

    why = one_line(error, 200, named=True)
    if checkpoint is not None:
        return BarlowSpeechError(
            f"upstream '{name}' of s3prl cannot be loaded from {checkpoint}, which is "
            f"{describe(checkpoint)} ({why}); give a checkpoint of this upstream."
        )
    unreachable = (
        requests.RequestException, urllib.error.URLError, socket.gaierror, TimeoutError,
        NetworkRefusedError,
    )  # fmt: skip
    if not isinstance(error, unreachable):
        return BarlowSpeechError(
            f"upstream '{name}' of s3prl cannot be loaded ({why}); "
            "check the packages that it needs."
        )
    try:
        _loader(name, factory)
        remedy = f", or download them elsewhere and give them as {name}@FILE"
    except BarlowSpeechError:
        remedy = ""
    if not download:
        return BarlowSpeechError(
            f"upstream '{name}' of s3prl needs its weights from the network; "
            f"add --download to let it{remedy}."
        )
    host = re.search(r"host='([^']+)'", why)
    return BarlowSpeechError(
        f"upstream '{name}' of s3prl could not download its weights "
        f"({f'no connection to {host[1]}' if host else why}); connect to the network{remedy}."
    )
