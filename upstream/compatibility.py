"""What lets an unmodified s3prl 0.4.18 import and run on torch and torchaudio 2.8 … 2.11.

s3prl was last written for torchaudio below 2.9 and huggingface_hub below 1.0. The names that have
been taken away since are put back here, each by one function that says which file of s3prl needs
it, and each only where it is missing: on an older installation that still has them nothing changes.

Usage:
    hub = s3prl_hub()
    model = hub.fbank_no_cmvn()
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
import soundfile

from barlow_speech.upstream.errors import BarlowSpeechError

if TYPE_CHECKING:
    import torch

    Uri = str | os.PathLike[str] | BinaryIO

TORCH_OLDEST = (2, 8)  # the first release of the range in setup.cfg
TORCH_BOUND = (2, 12)  # the first release after it
TORCH_DEFAULT = "2.11.0"  # a torch and a torchaudio of this version are a pair

# What an import can raise when a shared library does not fit: a CUDA version (RuntimeError, from
# torchaudio's own check), an undefined symbol or a missing library (OSError, ImportError), or a
# name that one package expects of the other (AttributeError).
IMPORT_FAILURES = (ImportError, OSError, RuntimeError, AttributeError)


# --- torch and torchaudio ---------------------------------------------------------------------


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


# --- s3prl ------------------------------------------------------------------------------------


def s3prl_hub() -> types.ModuleType:
    """Mend what is missing, import `s3prl.hub` and return it.

    Raises:
        BarlowSpeechError: s3prl is not installed or still fails to import, or torch and torchaudio
            do not fit together.
    """
    mend_s3prl()
    versions = ", ".join(
        f"{package} {installed_version(package)}"
        for package in ("torch", "torchaudio", "huggingface_hub")
    )
    if importlib.util.find_spec("s3prl") is None:
        raise BarlowSpeechError(
            f"s3prl is not installed (beside {versions}); run: pip install 's3prl>=0.4.18,<0.5'"
        )
    # On import s3prl warns of each optional package that one of its many upstreams would need.
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        return importlib.import_module("s3prl.hub")
    except IMPORT_FAILURES as error:
        raise BarlowSpeechError(
            f"s3prl {installed_version('s3prl')} cannot be imported beside {versions} "
            f"({_first_sentence(_root_cause(error))}); run: {_s3prl_command(_root_cause(error))}"
        ) from error
    finally:
        logging.disable(disabled)


def _s3prl_command(cause: BaseException) -> str:
    """The pip command that most likely removes what keeps s3prl from being imported."""
    if "torchvision" in str(cause):
        # s3prl imports transformers, which imports a torchvision that another torch has left here.
        return f"pip install 'torch=={installed_version('torch').split('+')[0]}' torchvision"
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if missing and not missing.startswith(("s3prl", "torch", "huggingface_hub")):
        return f"pip install {missing.split('.')[0]}"
    return "pip install --force-reinstall --no-deps 's3prl==0.4.18'"


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: transformers wraps what its own imports raise."""
    while before := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = before
    return error


def mend_s3prl() -> list[str]:
    """Put back the names that s3prl 0.4.18 needs, and return those that were missing.

    To be called before s3prl is imported; a second call finds nothing to do. Warnings, logging,
    threads and random numbers stay as they are.

    Raises:
        BarlowSpeechError: torch and torchaudio do not fit together.
    """
    torchaudio = import_torchaudio()
    import torch

    mended: list[str] = []
    mended += mend_set_audio_backend(torchaudio)
    mended += mend_sox_effects(torchaudio)
    mended += mend_audio_files(torchaudio)
    if importlib.util.find_spec("huggingface_hub") is not None:
        mended += mend_huggingface_hub(importlib.import_module("huggingface_hub"))
    mended += mend_safe_globals(torch.serialization)
    mended += mend_pysox()
    return mended


def mend_set_audio_backend(torchaudio: Any) -> list[str]:
    """`torchaudio.set_audio_backend`, gone since 2.9 and without effect before.

    Needed by s3prl's `upstream/byol_s/byol_a/common.py` (so by `s3prl.hub`) and
    `dataio/dataset/load_audio.py` on import, and by `run_downstream.py`.
    """
    if hasattr(torchaudio, "set_audio_backend"):
        return []
    torchaudio.set_audio_backend = set_audio_backend
    return ["torchaudio.set_audio_backend"]


def mend_sox_effects(torchaudio: Any) -> list[str]:
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


def mend_audio_files(torchaudio: Any) -> list[str]:
    """`torchaudio.load`, `save` and `info`, through soundfile.

    Since 2.9 the first two hand over to torchcodec, which needs FFmpeg; they are replaced only
    where that is not usable. `info` is gone since 2.9.

    Needed by s3prl's `downstream/emotion/dataset.py` and `downstream/voxceleb1/dataset.py` (load),
    `util/pseudo_data.py` and `problem/common/example.py` (save), and `util/audio_info.py` and
    `problem/common/superb_ks.py` (info).
    """
    mended = []
    # Until 2.8 `load` comes from torchaudio._backend, which reads through soundfile itself; where
    # somebody else has put a function of their own, it has another module too, and stays.
    if torchaudio.load.__module__ == "torchaudio" and not _torchcodec_works():
        torchaudio.load = load_audio
        torchaudio.save = save_audio
        mended += ["torchaudio.load", "torchaudio.save"]
    if not hasattr(torchaudio, "info"):
        torchaudio.info = audio_info
        mended.append("torchaudio.info")
    return mended


def mend_huggingface_hub(huggingface_hub: Any) -> list[str]:
    """`huggingface_hub.HfFolder` and `Repository`, gone since 1.0.

    Needed by s3prl's `downstream/runner.py` and `run_downstream.py` on import; called only for
    `--push_to_hf_hub` and `--hub huggingface`.
    """
    mended = []
    for shim in (HfFolder, Repository):
        if not hasattr(huggingface_hub, shim.__name__):
            setattr(huggingface_hub, shim.__name__, shim)
            mended.append(f"huggingface_hub.{shim.__name__}")
    return mended


def mend_safe_globals(serialization: Any) -> list[str]:
    """`argparse.Namespace` among the classes that `torch.load` accepts by default since 2.6.

    Needed by s3prl's `run_downstream.py` and `downstream/runner.py`, whose checkpoints hold the
    command line, to resume (`-e`) and to evaluate (`-i`). A namespace runs no code on loading.
    """
    if argparse.Namespace in serialization.get_safe_globals():
        return []
    serialization.add_safe_globals([argparse.Namespace])
    return ["torch.serialization: argparse.Namespace"]


def mend_pysox() -> list[str]:
    """`sox.Transformer`, of the package pysox, which s3prl does not declare.

    Needed by s3prl's `downstream/sv_voxceleb1/dataset.py` and
    `downstream/voxceleb2_ge2e/dataset.py` on import; neither uses it.
    """
    found = "sox" in sys.modules or importlib.util.find_spec("sox")
    # A folder called "sox" on the path is a module without a file; it is not pysox.
    if found and (found is True or found.origin):
        return []
    module: Any = types.ModuleType("sox", "pysox, as far as s3prl needs it.")
    module.__spec__ = importlib.machinery.ModuleSpec("sox", None)
    module.Transformer = Transformer
    sys.modules["sox"] = module
    return ["sox.Transformer"]


@contextlib.contextmanager
def without_gpu() -> Iterator[None]:
    """Let `tensor.cuda()` return the tensor itself inside the block.

    Needed by `expert.py` of s3prl's `downstream/sv_voxceleb1`, `downstream/quesst14_embedding` and
    `downstream/audio_snips`, which move a tensor to the GPU whatever `--device` says. Not among
    what `mend_s3prl` does: outside s3prl's program such a call is a mistake to be told of.
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


# --- what takes the place of a missing name ---------------------------------------------------


def set_audio_backend(backend: str | None = None) -> None:
    """Nothing, as in torchaudio 2.1 … 2.8: each file is read by whatever can read it."""


def apply_effects_file(
    path: Uri,
    effects: Sequence[Sequence[str]],
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
) -> tuple[torch.Tensor, int]:
    """The samples of a file after SoX effects, and their rate; as `apply_effects_tensor`.

    Raises:
        BarlowSpeechError: an effect is not one of those supported, or `normalize` is false.
    """
    if not normalize:
        raise BarlowSpeechError("apply_effects_file supports only normalize=True (float32).")
    wave, rate = load_audio(path, channels_first=channels_first, format=format)
    return apply_effects_tensor(wave, rate, effects, channels_first)


def apply_effects_tensor(
    tensor: torch.Tensor,
    sample_rate: int,
    effects: Sequence[Sequence[str]],
    channels_first: bool = True,
) -> tuple[torch.Tensor, int]:
    """A waveform [C, N] (or [N, C]) after SoX effects, and its rate in Hz.

    `channels 1` averages the channels, `channels n` copies a single one; `gain` multiplies by
    10^(dB/20) and clips to [-1, 1]. Both agree with SoX to the 2^-31 of its integer samples. `rate`
    changes nothing at the rate asked for and otherwise resamples with torchaudio's windowed sinc,
    whose filter is not that of SoX. `silence 1 S T% -1 S T%` (S in seconds) keeps the samples that
    SoX keeps, of one channel.

    Raises:
        BarlowSpeechError: another effect, or another form of these, is asked for.
    """
    import torch

    wave = tensor if channels_first else tensor.T
    for effect in effects:
        name, *arguments = map(str, effect)
        if name == "channels" and arguments:
            wave = _channels(wave, effect)
        elif name == "rate" and len(arguments) == 1:
            target = round(_number(arguments[0], effect))
            if target != sample_rate:
                import torchaudio.functional

                wave = torchaudio.functional.resample(wave, sample_rate, target).clamp(-1, 1)
                sample_rate = target
        elif name == "gain" and len(arguments) == 1:
            wave = (wave * 10 ** (_number(arguments[0], effect) / 20)).clamp(-1, 1)
        elif name == "silence" and len(wave) == 1:
            wave = wave[:, torch.from_numpy(_sounding(wave[0].numpy(), sample_rate, effect))]
        else:
            _unsupported(effect)
    return (wave if channels_first else wave.T).contiguous(), sample_rate


def _channels(wave: torch.Tensor, effect: Sequence[str]) -> torch.Tensor:
    count = _number(effect[1], effect)
    if count == len(wave):
        return wave
    if count == 1:
        return wave.mean(dim=0, keepdim=True)
    if len(wave) == 1 and count > 1:
        return wave.expand(int(count), -1)
    return _unsupported(effect)


def _sounding(wave_N: np.ndarray, rate: int, effect: Sequence[str]) -> np.ndarray:
    """The numbers of the samples that SoX's `silence 1 S T% -1 S T%` keeps (its silence.c).

    A sample is loud when the root mean square of the last 20 ms is above T % of full scale. Samples
    are dropped until the first S seconds that are loud throughout, then kept until S seconds that
    are quiet throughout; these are dropped, the 20 ms begin anew, and so on. The quiet end of a
    recording stays when it is shorter than S.
    """
    _, *arguments = map(str, effect)
    forms = [arguments[i] for i in (0, 3)] if len(arguments) == 6 else []
    if forms != ["1", "-1"] or not (arguments[2].endswith("%") and arguments[5].endswith("%")):
        _unsupported(effect)
    loud_length, quiet_length = (round(_number(arguments[i], effect) * rate) for i in (1, 4))
    loud_level, quiet_level = (_number(arguments[i][:-1], effect) / 100 for i in (2, 5))
    if min(loud_length, quiet_length) < 1:
        _unsupported(effect)
    window = rate // 50
    energy = np.concatenate([[0.0], np.cumsum(wave_N.astype(np.float64) ** 2)])
    kept, at, begun, count = [], 0, 0, len(wave_N)
    looking_for_sound, first = True, 0
    while at < count:
        length = loud_length if looking_for_sound else quiet_length
        level = loud_level if looking_for_sound else quiet_level
        run, block = None, 8 * length
        while run is None and block < 2 * (count - at) + 8 * length:
            ends = np.arange(at, min(at + block, count))
            starts = np.maximum(ends + 1 - window, begun)
            loud = energy[ends + 1] - energy[starts] > level**2 * window
            run = _first_run(loud == looking_for_sound, length)
            block *= 2
        if run is None:
            break
        if looking_for_sound:
            first = at + run
        else:
            kept.append(np.arange(first, at + run))
        at += run + length
        begun = begun if looking_for_sound else at
        looking_for_sound = not looking_for_sound
    if not looking_for_sound:
        kept.append(np.arange(first, count))
    return np.concatenate(kept) if kept else np.arange(0)


def _first_run(flags: np.ndarray, length: int) -> int | None:
    """Where the first `length` true flags in a row begin, if they are there."""
    breaks = np.concatenate([[-1], np.flatnonzero(~flags), [len(flags)]])
    long = np.flatnonzero(np.diff(breaks) > length)
    return int(breaks[long[0]]) + 1 if len(long) else None


def _number(text: str, effect: Sequence[str]) -> float:
    """A number as SoX writes it: "16k" is 16000."""
    with contextlib.suppress(ValueError):
        return float(text[:-1]) * 1000 if text.endswith("k") else float(text)
    return _unsupported(effect)


def _unsupported(effect: Sequence[str]) -> NoReturn:
    raise BarlowSpeechError(
        f"the SoX effect '{' '.join(map(str, effect))}' is not supported without SoX; only "
        "'channels', 'rate', 'gain' with one number and 'silence 1 S T% -1 S T%' are; or install "
        "torchaudio 2.8 and libsox."
    )


# libsndfile's subtype → (bits of a sample or 0, encoding), in the words of torchaudio.info; what
# is not listed is (0, "UNKNOWN").
ENCODINGS = {
    "PCM_S8": (8, "PCM_S"),
    "PCM_16": (16, "PCM_S"),
    "PCM_24": (24, "PCM_S"),
    "PCM_32": (32, "PCM_S"),
    "PCM_U8": (8, "PCM_U"),
    "FLOAT": (32, "PCM_F"),
    "DOUBLE": (64, "PCM_F"),
    "ULAW": (8, "ULAW"),
    "ALAW": (8, "ALAW"),
    "VORBIS": (0, "VORBIS"),
    "OPUS": (0, "OPUS"),
    "MPEG_LAYER_III": (0, "MP3"),
}

# The type that `normalize=False` gives the samples of a WAV file, by its subtype.
NATIVE_TYPES = {
    "PCM_16": "int16",
    "PCM_24": "int32",  # in the upper 24 bits
    "PCM_32": "int32",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}

# The subtype that `save` gives a WAV file, by the name of the samples' type.
WAV_SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}


@dataclass
class AudioMetaData:
    """What a file's header says, under the names of `torchaudio.info`'s return value."""

    sample_rate: int  # Hz
    num_frames: int  # samples of each channel
    num_channels: int
    bits_per_sample: int  # 0 for lossy formats
    encoding: str  # "PCM_S", "PCM_U", "PCM_F", "FLAC", "ULAW", …, or "UNKNOWN"


def load_audio(
    uri: Uri,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
) -> tuple[torch.Tensor, int]:
    """`torchaudio.load` through soundfile: the samples [C, N] of a file and their rate in Hz.

    At most `num_frames` samples (-1: all) from `frame_offset` on; none where that is behind the
    end. `normalize=False` keeps the sample type of a WAV file, anything else is float32 in [-1, 1].
    `format`, `buffer_size` and `backend` are ignored: libsndfile reads the format from the file.

    Raises:
        soundfile.LibsndfileError: a RuntimeError, as torchaudio's own: no such file, or no audio.
        BarlowSpeechError: `normalize=False` on a WAV file whose sample type torch lacks.
    """
    import torch

    with soundfile.SoundFile(uri) as file:
        dtype = "float32"
        if file.format == "WAV" and not normalize:
            if file.subtype not in NATIVE_TYPES:
                raise BarlowSpeechError(
                    f"{uri} holds {file.subtype} samples, which normalize=False does not support; "
                    f"leave it out, or convert the file to one of {', '.join(NATIVE_TYPES)}."
                )
            dtype = NATIVE_TYPES[file.subtype]
        file.seek(min(frame_offset, file.frames))
        samples = file.read(num_frames, dtype=dtype, always_2d=True)
        rate = file.samplerate
    wave = torch.from_numpy(samples)
    return (wave.T.contiguous() if channels_first else wave), rate


def save_audio(
    uri: Uri,
    src: torch.Tensor,
    sample_rate: int,
    channels_first: bool = True,
    format: str | None = None,
    encoding: str | None = None,
    bits_per_sample: int | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
    compression: float | int | None = None,
) -> None:
    """`torchaudio.save` through soundfile: write the samples [C, N] to a file.

    The file's extension says its format. A WAV file keeps the type of the samples (float32 as
    32-bit float), any other format gets libsndfile's default (FLAC: 16 bits). `buffer_size`,
    `backend` and `compression` are ignored.

    Raises:
        BarlowSpeechError: `format`, `encoding` or `bits_per_sample` is given, or a WAV file cannot
            hold samples of this type.
    """
    if (format, encoding, bits_per_sample) != (None, None, None):
        raise BarlowSpeechError(
            "torchaudio.save takes format, encoding and bits_per_sample only with torchcodec and "
            "FFmpeg; install them, or write the file with soundfile.write."
        )
    samples = np.asarray(src.detach().cpu())
    subtype = None
    if str(uri).lower().endswith(".wav"):
        if samples.dtype.name not in WAV_SUBTYPES:
            raise BarlowSpeechError(
                f"{uri} cannot be saved from {samples.dtype.name} samples; convert them to one of "
                f"{', '.join(WAV_SUBTYPES)}."
            )
        subtype = WAV_SUBTYPES[samples.dtype.name]
    soundfile.write(uri, samples.T if channels_first else samples, sample_rate, subtype=subtype)


def audio_info(
    uri: Uri,
    format: str | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
) -> AudioMetaData:
    """`torchaudio.info` through soundfile: what the header of a file says.

    `format`, `buffer_size` and `backend` are ignored.

    Raises:
        soundfile.LibsndfileError: a RuntimeError, as torchaudio's own: no such file, or no audio.
    """
    header = soundfile.info(uri)
    bits, encoding = ENCODINGS.get(header.subtype, (0, "UNKNOWN"))
    if header.format == "FLAC":
        encoding = "FLAC"
    return AudioMetaData(header.samplerate, header.frames, header.channels, bits, encoding)


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


class Transformer:
    """`sox.Transformer`, which s3prl imports and does not use."""

    def __init__(self) -> None:
        """Refuse.

        Raises:
            BarlowSpeechError: always; it names the package that has the real one.
        """
        raise BarlowSpeechError("sox.Transformer needs pysox and SoX; run: pip install sox")


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
