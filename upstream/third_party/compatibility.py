"""What lets an unmodified s3prl import and run on torch 2.8 … 2.14 and torchaudio 2.8 … 2.11.

s3prl 0.4.18 was last written for torchaudio below 2.9 and huggingface_hub below 1.0, and ESPnet's
fork of it asks for less of both, but for some of it. The names that have been taken away since are
put back here, each by one function that says which file of s3prl needs it, and each only where it
is missing: on an older installation that still has them nothing changes.

Usage:
    hub = s3prl_hub()
    model = hub.fbank_no_cmvn()
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import logging
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NoReturn

from barlow_speech.upstream.common import s3prl_package
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party.audio_io import audio_info, load_audio, save_audio
from barlow_speech.upstream.third_party.sox import apply_effects_file, apply_effects_tensor
from barlow_speech.upstream.third_party.stand_ins import patch_packages

TORCH_OLDEST = (2, 8)  # the first release of the range in setup.cfg

TORCH_BOUND = (2, 12)  # the first release after it

TORCH_DEFAULT = "2.11.0"  # a torch and a torchaudio of this version are a pair

# What an import can raise when a shared library does not fit: a CUDA version (RuntimeError, from
# torchaudio's own check), an undefined symbol or a missing library (OSError, ImportError), or a
# name that one package expects of the other (AttributeError).
IMPORT_FAILURES = (ImportError, OSError, RuntimeError, AttributeError)


def import_torchaudio() -> types.ModuleType:
    """Import torch and torchaudio, and return torchaudio.

    Raises:
        BarlowSpeechError: one is missing, or the two do not fit together; it names both versions
            and the pip command that installs a pair. The versions are those that pip recorded, so
            they are known even where neither package can be imported.
    """
    try:
        importlib.import_module("torch")
        return importlib.import_module("torchaudio")
    except IMPORT_FAILURES as error:
        raise BarlowSpeechError(
            f"torch {installed_version('torch')} and torchaudio {installed_version('torchaudio')} "
            f"do not work together ({_first_sentence(error)}); run: {_pair_command()}"
        ) from error


def installed_version(package: str) -> str:
    """The version of a package as pip recorded it, or "(not installed)"; imports nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _pair_command() -> str:
    """The pip command that installs a torch and a torchaudio that fit together."""
    # "2.11.0+cu130" is a build of 2.11.0; pip's default index knows the public version only.
    torch_version, audio_version = (
        installed_version(package).split("+")[0] for package in ("torch", "torchaudio")
    )
    found = re.match(r"(\d+)\.(\d+)", audio_version)
    in_range = found and TORCH_OLDEST <= (int(found[1]), int(found[2])) < TORCH_BOUND
    version = audio_version if in_range else TORCH_DEFAULT
    # Two builds of one version (a CPU and a CUDA one): pip would find nothing to do.
    force = " --force-reinstall" if torch_version == audio_version == version else ""
    return f"pip install{force} 'torch=={version}' 'torchaudio=={version}'"


def _first_sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].split('. ')[0].rstrip('. ')}"


def s3prl_hub() -> types.ModuleType:
    """Fix what is missing, import `s3prl.hub` and return it.

    Raises:
        BarlowSpeechError: s3prl is not installed, of neither kind or still fails to import, or
            torch and torchaudio do not fit together.
    """
    patch_s3prl()
    versions = ", ".join(
        f"{package} {installed_version(package)}"
        for package in ("torch", "torchaudio", "huggingface_hub")
    )
    s3prl = s3prl_package.find_s3prl()
    if s3prl is None:
        raise BarlowSpeechError(
            f"s3prl is not installed (beside {versions}); run: {s3prl_package.INSTALL}"
        )
    # On import s3prl warns of each optional package that one of its many upstreams would need, and
    # torch 2.14 of what s3prl is older than.
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hub = importlib.import_module("s3prl.hub")
        patch_hugging_face_experts()
        return hub
    except IMPORT_FAILURES as error:
        raise BarlowSpeechError(
            f"{s3prl} cannot be imported beside {versions} "
            f"({_first_sentence(_root_cause(error))}); "
            f"run: {_s3prl_command(s3prl, _root_cause(error))}"
        ) from error
    finally:
        logging.disable(disabled)


def patch_hugging_face_experts() -> None:
    """`hf_hubert` and `hf_wav2vec2` give the states of transformers 4 (hidden_states.py).

    In the training mode that `s3prl.nn.S3PRLUpstream` leaves its upstream in, most calls would fail
    on a number of layers that differs from call to call.
    """
    for name in ("hf_hubert", "hf_wav2vec2"):
        expert = sys.modules.get(f"s3prl.upstream.{name}.expert")
        if expert is not None and not hasattr(expert.UpstreamExpert.__init__, "__wrapped__"):
            expert.UpstreamExpert.__init__ = _mended(expert.UpstreamExpert.__init__)


def _mended(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def built(self: Any, *arguments: Any, **options: Any) -> None:
        # It imports torch, which this file has to do without.
        from barlow_speech.upstream.third_party.hidden_states import as_published

        build(self, *arguments, **options)
        as_published(self.model)

    return built


def _s3prl_command(s3prl: s3prl_package.S3prl, cause: BaseException) -> str:
    """The pip command that most likely removes what keeps s3prl from being imported."""
    if "torchvision" in str(cause):
        # s3prl imports transformers, which imports a torchvision that another torch has left here.
        return f"pip install 'torch=={installed_version('torch').split('+')[0]}' torchvision"
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if missing and not missing.startswith(("s3prl", "torch", "huggingface_hub")):
        return f"pip install {missing.split('.')[0]}"
    return f"pip install --force-reinstall --no-deps '{s3prl.project}=={s3prl.version}'"


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: transformers wraps what its own imports raise."""
    while before := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = before
    return error


def patch_s3prl() -> list[str]:
    """Put back the names that s3prl needs, and return those that were missing.

    To be called before s3prl is imported; a second call finds nothing to do. Warnings, logging,
    threads and random numbers stay as they are.

    Raises:
        BarlowSpeechError: torch and torchaudio do not fit together.
    """
    torchaudio = import_torchaudio()
    import torch

    fixed: list[str] = []
    fixed += patch_set_audio_backend(torchaudio)
    fixed += patch_sox_effects(torchaudio)
    fixed += patch_audio_files(torchaudio)
    if importlib.util.find_spec("huggingface_hub") is not None:
        fixed += patch_huggingface_hub(importlib.import_module("huggingface_hub"))
    fixed += patch_safe_globals(torch.serialization)
    fixed += patch_packages()
    return fixed


def patch_set_audio_backend(torchaudio: Any) -> list[str]:
    """`torchaudio.set_audio_backend`, gone since 2.9 and without effect before.

    Needed by s3prl's `upstream/byol_s/byol_a/common.py` (so by `s3prl.hub`) and
    `dataio/dataset/load_audio.py` on import, and by `run_downstream.py`.
    """
    if hasattr(torchaudio, "set_audio_backend"):
        return []
    torchaudio.set_audio_backend = set_audio_backend
    return ["torchaudio.set_audio_backend"]


def patch_sox_effects(torchaudio: Any) -> list[str]:
    """`torchaudio.sox_effects`: gone since 2.9; there in 2.8, but useless where libsox is missing.

    Needed by s3prl's `upstream/mos_prediction/expert.py` and
    `downstream/speech_commands/dataset.py` on import, and by `dataset/common_pipes.py`.
    """
    try:
        module: Any = importlib.import_module("torchaudio.sox_effects")
    except ModuleNotFoundError:
        module = types.ModuleType("torchaudio.sox_effects", "SoX effects without SoX.")
        sys.modules["torchaudio.sox_effects"] = module
        torchaudio.sox_effects = module
    else:
        if module.apply_effects_tensor is apply_effects_tensor or _sox_works(module):
            return []
    module.apply_effects_file = apply_effects_file
    module.apply_effects_tensor = apply_effects_tensor
    return ["torchaudio.sox_effects"]


def patch_audio_files(torchaudio: Any) -> list[str]:
    """`torchaudio.load`, `save` and `info`, through soundfile.

    Since 2.9 the first two hand over to torchcodec, which needs FFmpeg; they are replaced only
    where that is not usable. `info` is gone since 2.9.

    Needed by s3prl's `downstream/emotion/dataset.py` and `downstream/voxceleb1/dataset.py` (load),
    `util/pseudo_data.py` and `problem/common/example.py` (save), and `util/audio_info.py` and
    `problem/common/superb_ks.py` (info).
    """
    fixed = []
    # Until 2.8 `load` comes from torchaudio._backend, which reads through soundfile itself; where
    # somebody else has put a function of their own, it has another module too, and stays.
    if torchaudio.load.__module__ == "torchaudio" and not _torchcodec_works():
        torchaudio.load = load_audio
        torchaudio.save = save_audio
        fixed += ["torchaudio.load", "torchaudio.save"]
    if not hasattr(torchaudio, "info"):
        torchaudio.info = audio_info
        fixed.append("torchaudio.info")
    return fixed


def patch_huggingface_hub(huggingface_hub: Any) -> list[str]:
    """`huggingface_hub.HfFolder` and `Repository`, gone since 1.0.

    Needed by s3prl's `downstream/runner.py` and `run_downstream.py` on import; called only for
    `--push_to_hf_hub` and `--hub huggingface`.
    """
    fixed = []
    for shim in (HfFolder, Repository):
        if not hasattr(huggingface_hub, shim.__name__):
            setattr(huggingface_hub, shim.__name__, shim)
            fixed.append(f"huggingface_hub.{shim.__name__}")
    return fixed


def patch_safe_globals(serialization: Any) -> list[str]:
    """`argparse.Namespace` among the classes that `torch.load` accepts by default since 2.6.

    Needed by s3prl's `run_downstream.py` and `downstream/runner.py`, whose checkpoints hold the
    command line, to resume (`-e`) and to evaluate (`-i`). A namespace runs no code on loading.
    """
    if argparse.Namespace in serialization.get_safe_globals():
        return []
    serialization.add_safe_globals([argparse.Namespace])
    return ["torch.serialization: argparse.Namespace"]


@contextlib.contextmanager
def without_gpu() -> Iterator[None]:
    """Let `tensor.cuda()` return the tensor itself inside the block.

    Needed by `expert.py` of s3prl's `downstream/sv_voxceleb1`, `downstream/quesst14_embedding` and
    `downstream/audio_snips`, which move a tensor to the GPU whatever `--device` says. Not among
    what `patch_s3prl` does: outside s3prl's program such a call is a mistake to be told of.
    """
    import torch

    moved = torch.Tensor.cuda
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.cuda = moved  # type: ignore[method-assign]


def _torchcodec_works() -> bool:
    """Whether torchcodec is installed and finds an FFmpeg; imports it only if it is installed."""
    if importlib.util.find_spec("torchcodec") is None:
        return False
    try:
        importlib.import_module("torchcodec.decoders")
    except IMPORT_FAILURES:  # FFmpeg's libraries missing: a RuntimeError of several pages
        return False
    return True


def _sox_works(sox_effects: Any) -> bool:
    """Whether torchaudio's own effects find libsox, by applying one to a single sample."""
    import torch

    # torchaudio 2.8 warns at each call that the effects will go: no news to the user, who did not
    # call them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sox_effects.apply_effects_tensor(torch.zeros(1, 1), 16_000, [["gain", "0"]])
        except IMPORT_FAILURES:
            return False
    return True


def set_audio_backend(backend: str | None = None) -> None:
    """Nothing, as in torchaudio 2.1 … 2.8: each file is read by whatever can read it."""


class HfFolder:
    """`huggingface_hub.HfFolder`, the keeper of the access token, in terms of today's functions."""

    @staticmethod
    def get_token() -> str | None:
        """The token that `hf auth login` or the variable HF_TOKEN left, if any."""
        import huggingface_hub

        return huggingface_hub.get_token()

    @staticmethod
    def save_token(token: str) -> NoReturn:
        """Keep no token.

        Raises:
            BarlowSpeechError: always; today only a login stores one.
        """
        raise BarlowSpeechError(
            f"huggingface_hub {installed_version('huggingface_hub')} stores no token for s3prl; "
            "run: hf auth login"
        )


class Repository:
    """`huggingface_hub.Repository`, a git clone of a model page, which has no successor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Refuse.

        Raises:
            BarlowSpeechError: always; it says how the same files are uploaded today.
        """
        raise BarlowSpeechError(
            f"huggingface_hub {installed_version('huggingface_hub')} cannot push through git as "
            "s3prl's --push_to_hf_hub asks for; leave it out and run: hf upload REPOSITORY EXPDIR"
        )
