"""The frames of an MP3 file: what the first says of the others, and whether the last is whole.

Headers as in ISO/IEC 11172-3 and 13818-3, the frame of a header of its length ("Xing", "Info") as
LAME writes it.
"""

from __future__ import annotations

import enum
from pathlib import Path

XING_PLACES = (13, 21, 36)  # bytes from the start of a frame, by version and channels
# kbit/s of layer III by the index in a header, in MPEG 1 and in MPEG 2 and 2.5; 0 is not told.
RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG_1, LAYER_3 = 3, 1  # in a header


def promise(path: Path) -> tuple[bool, bool]:
    """Whether the first frame says how many there are, and whether more follow than it says."""
    with path.open("rb") as file:
        start = _start(file.read(10))
        file.seek(start)
        frame = file.read(200)
        tags = [i for i in XING_PLACES if frame[i : i + 4] in (b"Xing", b"Info")]
        if frame[:1] != b"\xff" or not tags:
            return False, False
        flags = frame[tags[0] + 7]
        more = False
        if flags & 2:  # the size in bytes, behind the number of frames
            place = tags[0] + (12 if flags & 1 else 8)
            file.seek(start + int.from_bytes(frame[place : place + 4], "big"))
            behind = file.read(3)
            more = behind == b"ID3" or (behind[:2] == frame[:2] and len(behind) == 3)
    return bool(flags & 1), more


class End(enum.Enum):
    """How the frames of layer III end, where they are not lost track of before."""

    WHOLE = enum.auto()
    CUT = enum.auto()  # within a frame
    CHANGED = enum.auto()  # others follow, of another rate or number of channels


def end_of_frames(path: Path) -> End:
    """How the frames of a file end; where they are lost track of, as if all were well."""
    data = path.read_bytes()
    at, first = 0, b""
    while len(header := data[at : at + 4]) == 4:
        if header[:3] == b"ID3":  # in front, or of a file that was joined to another
            at += _start(data[at : at + 10])
            continue
        size = _size(header)
        if not size:
            return End.WHOLE
        first = first or header
        if _stream(header) != _stream(first):
            following = data[at + size : at + size + 4]
            alike = len(following) == 4 and _size(following) and _stream(following)
            return End.CHANGED if alike == _stream(header) else End.WHOLE
        at += size
    cut = at > len(data) or (at < len(data) and data[at] == 0xFF)
    return End.CUT if cut else End.WHOLE


def _stream(header: bytes) -> tuple[int, int, bool]:
    """What a decoder is made for: version and layer, sampling rate, one channel or two."""
    return header[1] >> 1, header[2] >> 2 & 3, header[3] >> 6 == 3


def _start(head: bytes) -> int:
    """Where the first frame stands, behind a tag whose size is in four times seven bits."""
    if head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))


def _size(header: bytes) -> int:
    """Bytes of a frame; 0 for what is none of layer III, or does not tell."""
    version, layer, index = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 2 & 3
    sync = header[0] == 0xFF and header[1] >> 5 == 7
    if not sync or layer != LAYER_3 or version == 1 or index == 3 or header[2] >> 4 == 15:
        return 0
    rate = (44_100, 48_000, 32_000)[index] >> {MPEG_1: 0, 2: 1, 0: 2}[version]
    kbits = (RATES_1 if version == MPEG_1 else RATES_2)[header[2] >> 4]
    whole = (144 if version == MPEG_1 else 72) * 1000 * kbits // rate
    return whole + (header[2] >> 1 & 1) if kbits else 0
