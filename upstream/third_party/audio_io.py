"""`torchaudio.load`, `save` and `info` by soundfile, where torchaudio has none of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import duration_s
from barlow_speech.upstream.data.sound_files import open_sound

if TYPE_CHECKING:
    import torch

Uri: TypeAlias = str | os.PathLike[str] | BinaryIO  # what a file is given by

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
        BarlowSpeechError: `normalize=False` on a WAV file whose sample type torch lacks, or an MP3
            that is not there or cut off.
    """
    import torch

    if normalize and isinstance(uri, (str, os.PathLike)) and Path(uri).suffix.lower() == ".mp3":
        # libsndfile may stop before its end.
        last = None if num_frames < 0 else frame_offset + num_frames
        with open_sound(Path(uri)) as sound:
            nothing = np.zeros((0, sound.channels), np.float32)
            samples = np.concatenate([nothing, *sound.blocks(frame_offset, last)])
        wave = torch.from_numpy(samples)
        return (wave.T.contiguous() if channels_first else wave), sound.rate
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
    """`torchaudio.info` through soundfile: what the header of a file says, or its true length.

    `format`, `buffer_size` and `backend` are ignored.

    Raises:
        soundfile.LibsndfileError: a RuntimeError, as torchaudio's own: no such file, or no audio.
        BarlowSpeechError: an MP3 is cut off.
    """
    header = soundfile.info(uri)
    bits, encoding = ENCODINGS.get(header.subtype, (0, "UNKNOWN"))
    if header.format == "FLAC":
        encoding = "FLAC"
    frames = header.frames
    if header.format in ("MP3", "MPEG") and isinstance(uri, (str, os.PathLike)):
        frames = round(duration_s(Path(uri)) * header.samplerate)
    return AudioMetaData(header.samplerate, frames, header.channels, bits, encoding)
