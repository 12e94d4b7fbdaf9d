"""Audio files of every kind, decoded to where their sound really ends.

libsndfile decodes what it knows, and four of its habits are undone here. It estimates the length
of an MP3 without a Xing header from the first frame, and stops there. It takes the size that a
program wrote into a header before it knew it (0) at its word. It reads what is left of a file that
was cut off as if it were all. And it seeks to a wrong place in some codecs. What it does not know
(MPEG-4, AAC, WebM, WMA, …) is decoded by the program ffmpeg, where there is one.

Shapes: N samples, C channels.
"""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import is_pointer, parsed_json
from barlow_speech.upstream.data import mpeg_frames

BLOCK = 1 << 20  # values decoded at once
MAX_PER_BYTE = 1 << 16  # samples; FLAC packs silence into some thousand a byte
COUNTS_ITSELF = 128  # bytes; some programs write the size of the header into that of the data
SLACK_S = 0.1  # by which times in lossy containers and in manifests may be off
# soundfile raises TypeError for a headerless .raw file, pathlib ValueError for a NUL.
UNREADABLE = (soundfile.LibsndfileError, OSError, TypeError, ValueError)

# A header that was written into a pipe: the size is not known yet (0 is dealt with apart).
UNKNOWN_SIZES = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
# What libsndfile notes of a header that promises more than there is.
SIZES = re.compile(
    r"^ *(?:data|BODY|Data Size|riff) *: (?P<promised>\d+) \(should be (?P<found>\d+)\)"
    r"|read from 'COMM' chunk \((?P<comm>\d+)\)"
    r"|does not match value from 'ds64' chunk of (?P<ds64>\d+)"
    r"|(?P<said>Seems to be a truncated|File seems to be truncated)",
    re.MULTILINE,
)
SAMPLE_COUNT = re.compile(rb"sample_count -i (\d+)")

# Files that say where they end: their mark, and the order of the bytes of the size behind it.
SIZED: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
RF64 = struct.Struct("<4s4x4s8xQ")  # whose size stands in its first chunk
# FLAC says how many samples there are, and no bytes; its mark, and the size of what always follows.
FLAC = b"fLaC\0\0\0\x22"
# Apple's lossless packets, the last of which is padded in what a header of Core Audio promises.
CAF_PACKET = 4096

# Opus predicts from what it decoded before; after two seconds its state is the same to the bit.
OPUS_PREROLL_S = 2
LAST_PAGE = 4  # in the flags of an Ogg page (RFC 3533)
MPEG = {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}
# Whose samples libsndfile 1.2.2 gives alike wherever it begins. Of the others only the whole is
# right: mpg123 rounds by where it began, a seek into the last page of Vorbis, which is long where
# the end is quiet, comes to another time, the last packet of ALAC is lost, and DWVW fails.
SEEKS = {
    "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "OPUS",
}  # fmt: skip
NEVER_SEEKS = {"PAF"}  # containers; its last block of 24 bits is lost

# What ffmpeg may decode: bytes at a place of the file, ffmpeg's name for it and ours.
CONTAINERS = (
    (4, b"ftyp", "mov", "MPEG-4"),
    (0, b"\x1a\x45\xdf\xa3", "matroska", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "Windows Media"),
    (0, b"caff", "caf", "Core Audio"),
    (0, b"#!AMR", "amr", "AMR"),
    (0, b"wvpk", "wv", "WavPack"),
    (0, b"OggS", "ogg", "Ogg"),
    (0, b"fLaC", "flac", "FLAC"),
    (0, b"RIFF", "wav", "WAV"),
    (0, b"FORM", "aiff", "AIFF"),
    (0, b"NIST_1A", "nistsphere", "SPHERE"),
    (0, b"\x0b\x77", "ac3", "AC-3"),
)
ADTS = ((0xFF, 0xF0), (0xFF, 0xF6))  # value and mask of its first two bytes
NO_LENGTH = ("aac", "ac3", "amr", "asf")  # for these ffmpeg estimates a length


@dataclass(frozen=True)
class Sound:
    """An open file: `rate` in Hz, `channels`, and `frames`, the number of samples N.

    `frames` is None where only decoding to the end tells. `decode(first)` gives blocks [n, C] of
    float32 from that sample on, to the end; `promised` is what decoding has to come to. Without
    `seeks` decoding begins at the start of the file, wherever `first` is.
    """

    path: Path
    rate: int
    channels: int
    frames: int | None
    promised: float
    decode: Callable[[int], Iterator[np.ndarray]]
    seeks: bool = False

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Blocks [n, C] of the samples from `first` to before `last`, or to the end.

        Raises:
            BarlowSpeechError: the file ends before its header says, or is damaged.
        """
        at = first
        try:
            for block in self.decode(first):
                part = block if last is None else block[: last - at]
                at += len(part)
                yield part
                if at == last:
                    return
        except UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        if at < self.promised if last is None else at < min(last, self.promised):
            raise _truncated(self.path, self.promised / self.rate, at / self.rate)


@contextlib.contextmanager
def open_sound(path: Path) -> Iterator[Sound]:
    """An audio file of any kind, open.

    Raises:
        BarlowSpeechError: it is missing, empty, no audio, truncated, or needs a program that is
            not here.
    """
    with contextlib.ExitStack() as stack:
        try:
            if not path.is_file():
                raise BarlowSpeechError(
                    f"recording {path} does not exist or is no file; check its path."
                )
            try:
                sound = _of_libsndfile(path, stack)
            except (soundfile.LibsndfileError, TypeError) as error:
                sound = _of_ffmpeg(path, stack, error)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        yield sound


def _unreadable(path: Path, error: Exception) -> BarlowSpeechError:
    reason = " ".join(str(error).split()).rstrip(": .") or type(error).__name__
    return BarlowSpeechError(
        f"recording {path} cannot be read ({reason}); replace the file or drop its manifest row."
    )


def _truncated(path: Path, promised_s: float | None, found_s: float) -> BarlowSpeechError:
    promised = "" if promised_s is None else f" of the {promised_s:.3f} s that its header promises"
    return BarlowSpeechError(
        f"recording {path} is truncated: it ends after {found_s:.3f} s{promised}; replace the "
        "file, or drop its manifest row."
    )


def _unended(path: Path, how: str) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"recording {path} is truncated: it ends {how}; replace the file, or, if no more was "
        f"recorded, write what there is anew, as by ffmpeg -i {path.name} new.flac."
    )


# libsndfile


class _Decoder(soundfile.SoundFile):
    """Reads on. soundfile would seek to the place that it has come to after every read, which
    fails at an end that the header does not know."""

    def seekable(self) -> bool:
        return False


class _Retold(io.RawIOBase):
    """A file as libsndfile is to see it: of another size, or with other bytes at a place."""

    def __init__(self, file: IO[bytes], size: int, place: int = 0, patch: bytes = b"") -> None:
        self.file, self.size, self.place, self.patch, self.at = file, size, place, patch, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        if self.at >= self.size - 128 > self.file.seek(0, 2):  # where mpg123 looks for a tag
            buffer[:] = bytes(len(buffer))
            count = len(buffer)
        else:
            self.file.seek(self.at)
            data = bytearray(self.file.read(len(buffer)))
            for i, value in enumerate(self.patch, self.place - self.at):
                if 0 <= i < len(data):
                    data[i] = value
            buffer[: len(data)] = data
            count = len(data)
        self.at += count
        return count


def _of_libsndfile(path: Path, stack: contextlib.ExitStack) -> Sound:
    file = stack.enter_context(_Decoder(path))
    if file.format == "VOC":
        raise BarlowSpeechError(
            f"recording {path} is a Creative Voice file (VOC), and libsndfile takes the headers of "
            f"its blocks for sound; convert it, as by ffmpeg -i {path.name} new.flac."
        )
    if file.format == "RAW":  # which libsndfile takes any bytes for that are called .vox or .gsm
        raise BarlowSpeechError(
            f"recording {path} has no header, and its name alone does not tell what it holds; "
            f"convert it, as by sox -t {path.suffix[1:].lower()} -r 8000 {path.name} new.wav."
        )
    _check_one(path)
    if file.subtype in MPEG and file.format not in ("MP3", "MPEG"):
        # Inside a WAV, where nothing tells mpg123 of another end than the one that it estimates.
        _check_notes(path, file, file.extra_info)
        raise soundfile.LibsndfileError(1, prefix=f"{file.subtype} in {file.format}: ")
    size = path.stat().st_size
    notes = file.extra_info
    retold = None
    if file.format in ("MP3", "MPEG"):
        told, more = mpeg_frames.promise(path)
        if more:
            raise _joined(path)
        if not told:
            end = mpeg_frames.end_of_frames(path)
            if end is mpeg_frames.End.CUT:
                raise _unended(path, "within a frame")
            if end is mpeg_frames.End.CHANGED:
                raise _joined(path)
            # mpg123 multiplies the size by what the first frame takes: an end far behind the
            # true one is never met.
            retold = _Retold(stack.enter_context(path.open("rb")), 1 << 40)
    elif file.frames == 0 and file.format in ("WAV", "WAVEX", "AU"):
        place = _place_of_size(path, file.format)
        if place and size - place - 4 > 0:
            raw = stack.enter_context(path.open("rb"))
            retold = _Retold(raw, size, place, b"\xff\xff\xff\xff")
    if retold is not None:
        file = stack.enter_context(_Decoder(retold))
    rate, frames = file.samplerate, file.frames
    # More than the file could hold: where nothing is known libsndfile gives 2^63 - 1.
    unknown = frames >= 1 << 62 or (retold is not None and retold.size > size)
    if not unknown and frames > MAX_PER_BYTE * size:
        raise BarlowSpeechError(
            f"recording {path} cannot hold the {frames:,} samples that its header promises; "
            "replace the file or drop its manifest row."
        )
    if retold is None:
        _check_notes(path, file, notes)

    seeks = not unknown and file.subtype in SEEKS and file.format not in NEVER_SEEKS

    def decode(first: int) -> Iterator[np.ndarray]:
        most = max(1, BLOCK // file.channels)
        begin = _seek(file, first) if seeks else 0
        left = (1 << 62) if unknown else frames - begin
        skip = first - begin
        while left > 0:
            wanted = min(left, most)
            block = file.read(wanted, dtype="float32", always_2d=True)
            yield block[skip:] if skip else block
            skip = max(0, skip - len(block))
            left = left - len(block) if len(block) == wanted else 0

    promised = 0 if unknown else frames
    return Sound(path, rate, file.channels, None if unknown else frames, promised, decode, seeks)


def _seek(file: _Decoder, first: int) -> int:
    """Go to a sample, or to one before it from which what follows is as in the whole; says which.

    Raises:
        soundfile.LibsndfileError: the file is damaged.
    """
    if first == 0 or not soundfile.SoundFile.seekable(file):
        return 0
    preroll_s = OPUS_PREROLL_S if file.subtype == "OPUS" else 0
    begin = max(0, first - preroll_s * file.samplerate)
    return file.seek(begin) if begin else 0


def _joined(path: Path) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"recording {path} holds several streams, joined or side by side, and only the first would "
        f"be read; make it one, as by ffmpeg -i {path.name} new.flac."
    )


def _check_one(path: Path) -> None:
    """Refuse a file that is cut off, or of whose sounds only the first would be read.

    Raises:
        BarlowSpeechError: it is one.
    """
    _check_pages(path)
    if _has_another_behind(*as_it_is(path)):
        raise BarlowSpeechError(
            f"recording {path} holds several files, one behind the other, and only the first would "
            "be read; take it apart, or join the sounds of the files and not their bytes."
        )


def as_it_is(path: Path) -> tuple[Path, int, int, int]:
    """What is kept about a file under: its path, and what changes if the file does."""
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino


@functools.lru_cache(maxsize=1 << 16)  # a file may be opened for each of its many segments
def _has_another_behind(path: Path, *state: int) -> bool:
    """Whether a second WAV, AIFF, FLAC or MPEG-4 file begins where the first ends."""
    with path.open("rb") as file:
        head = file.read(RF64.size)
        if head[:4] == b"fLaC":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return whole.find(FLAC, 1) > 0
        if head[4:8] == b"ftyp":
            return _boxes(file).count(b"ftyp") > 1
        if head[:4] in SIZED:
            size = int.from_bytes(head[4:8], SIZED[head[:4]])
        elif head[:4] == b"RF64" and len(head) == RF64.size:
            size = RF64.unpack(head)[2]
        else:
            return False
        file.seek(8 + min(size + size % 2, 1 << 62))
        behind = file.read(12)
    return behind[:4] == head[:4] and behind[8:11] == head[8:11]


def _boxes(file: IO[bytes]) -> list[bytes]:
    """The names of the outermost boxes of an MPEG-4 file (ISO/IEC 14496-12)."""
    names, at = [], 0
    while file.seek(at) == at and len(box := file.read(16)) >= 8:
        size = int.from_bytes(box[:4], "big")
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        names.append(box[4:8])
        if not 8 <= size < 1 << 62:  # 0: to the end
            break
        at += size
    return names


def _place_of_size(path: Path, kind: str) -> int:
    """Where the size of the samples stands in a WAV or AU file that says 0; 0 if it is true."""
    if kind == "AU":
        return 8
    with path.open("rb") as file:
        head = file.read(1 << 16)
    place = 12
    while place + 8 <= len(head):
        size = int.from_bytes(head[place + 4 : place + 8], "little")
        if head[place : place + 4] == b"data":
            following = head[place + 8 : place + 12]
            another = following.isalnum() and following.isascii()
            return 0 if size or another else place + 4
        place += 8 + size + size % 2
    return 0


def _check_notes(path: Path, file: _Decoder, notes: str) -> None:
    """Refuse a file that is shorter than its header says.

    Raises:
        BarlowSpeechError: it is.
    """
    promised: float | None = None
    missing = False
    for note in SIZES.finditer(notes):
        if note["promised"] and file.frames:
            size, found = int(note["promised"]), int(note["found"])
            if size - found > COUNTS_ITSELF and not any(size in one for one in UNKNOWN_SIZES):
                missing, promised = True, file.frames * size / found
        elif note["comm"] or note["ds64"]:
            frames = int(note["comm"] or note["ds64"])
            if frames > file.frames and not any(frames in one for one in UNKNOWN_SIZES):
                missing, promised = True, frames
        elif note["said"]:
            missing = True
    if file.format == "NIST":
        with path.open("rb") as raw:
            said = SAMPLE_COUNT.search(raw.read(1024))
        if said and int(said[1]) > file.frames:
            missing, promised = True, int(said[1])
    if missing:
        found_s = file.frames / file.samplerate
        raise _truncated(path, None if promised is None else promised / file.samplerate, found_s)


def _check_pages(path: Path) -> None:
    """Refuse a file of Ogg, of any codec, whose pages end early, or that holds several streams.

    Raises:
        BarlowSpeechError: it does.
    """
    with path.open("rb") as raw:
        head = raw.read(18)
        if head[:4] != b"OggS":
            return
        size = raw.seek(0, 2)
        start = raw.seek(max(0, size - (1 << 16) - 300))
        tail = raw.read()
    place = tail.rfind(b"OggS\0")
    lacing = tail[place + 27 :][: tail[place + 26]] if place + 26 < len(tail) else b""
    whole = place + 26 < len(tail) and len(lacing) == tail[place + 26]
    if place < 0 or not whole or start + place + 27 + len(lacing) + sum(lacing) > size:
        raise _unended(path, "within a page")
    if tail[place + 14 : place + 18] != head[14:]:
        raise _joined(path)
    if not tail[place + 5] & LAST_PAGE:
        raise _unended(path, "without the mark of its end")


# ffmpeg


def _of_ffmpeg(path: Path, stack: contextlib.ExitStack, error: Exception) -> Sound:
    """A file that libsndfile gave up on with `error`, decoded by ffmpeg."""
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise BarlowSpeechError(
            f"recording {path} is empty (0 bytes); copy or download it again, or drop its row."
        ) from error
    if is_pointer(path):
        raise BarlowSpeechError(
            f"recording {path} is a pointer of Git LFS and no audio; run `git lfs pull` there."
        ) from error
    kinds = [
        (kind, title) for at, mark, kind, title in CONTAINERS if head[at : at + len(mark)] == mark
    ]
    if not kinds and tuple(a & b for a, b in zip(head, ADTS[1])) == ADTS[0]:
        kinds = [("aac", "AAC")]
    if not kinds:
        raise error
    kind, title = kinds[0]
    _check_one(path)
    program, prober = shutil.which("ffmpeg"), shutil.which("ffprobe")
    if program is None or prober is None:
        raise BarlowSpeechError(
            f"recording {path} ({title}) is not decoded by libsndfile "
            f"({' '.join(str(error).split()).rstrip(': .')}) and there is no program ffmpeg here; "
            "install FFmpeg, or convert the file to WAV or FLAC."
        ) from error
    facts = _probed(path, prober, kind, error)
    rate, channels = int(facts["sample_rate"]), int(facts["channels"])
    promised_s = 0.0 if kind in NO_LENGTH else facts["seconds"]

    def decode(first: int) -> Iterator[np.ndarray]:
        command = [program, "-nostdin", "-v", "error", "-f", kind, "-i", f"file:{path}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
        ):
            assert process.stdout is not None
            skip, ended = first, False
            try:
                while data := process.stdout.read(4 * channels * max(1, BLOCK // channels)):
                    whole = data[: len(data) // channels // 4 * channels * 4]
                    block = np.frombuffer(bytearray(whole), "<f4").reshape(-1, channels)
                    yield block[skip:]
                    skip = max(0, skip - len(block))
                ended = True
            finally:
                if not ended:  # the rest is not wanted
                    process.kill()
            status = process.wait()
            said.seek(0)
            reason = _last_line(said.read(), path)
            if status or reason:
                raise OSError(f"damaged or cut off; ffmpeg: {reason or status}")

    slack = max(SLACK_S * rate, CAF_PACKET) if kind == "caf" else SLACK_S * rate
    return Sound(path, rate, channels, None, promised_s * rate - slack, decode)


def _probed(path: Path, prober: str, kind: str, error: Exception) -> dict[str, Any]:
    """`sample_rate`, `channels` and `seconds` (0: not known) of the first audio of a file."""
    command = [prober, "-v", "error", "-f", kind, "-of", "json", "-show_streams", "-show_format"]
    done = subprocess.run([*command, f"file:{path}"], capture_output=True, check=False)
    try:
        found = parsed_json(done.stdout)
        streams = found["streams"]
        stream = next(one for one in streams if one["codec_type"] == "audio")
        whole = found["format"].get("duration", 0) if len(streams) == 1 else 0
        # Where it ends, in Matroska: it may begin after the start of the file, as beside a picture.
        end = _clock(stream.get("tags", {}).get("DURATION")) or float(whole)
        seconds = stream.get("duration") or end - max(0.0, float(stream.get("start_time", 0)))
        return {**stream, "seconds": float(seconds)}
    except (ValueError, LookupError, StopIteration):
        reason = _last_line(done.stderr, path) or "it holds no audio"
        raise OSError(
            f"libsndfile: {' '.join(str(error).split()).rstrip(': .')}; ffmpeg: {reason}"
        ) from error


def _clock(text: str | None) -> float:
    """Seconds of "00:01:02.5"."""
    return sum(float(one) * 60**i for i, one in enumerate(reversed((text or "0").split(":"))))


def _last_line(said: bytes, path: Path) -> str:
    lines = [one for one in said.decode(errors="replace").splitlines() if one.strip()]
    return re.sub(r"^\[[^]]*\] ", "", lines[-1]).replace(f"file:{path}: ", "") if lines else ""
