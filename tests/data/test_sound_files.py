"""One sound in many containers: as the WAV of it, whole and in parts, or named as cut off."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio, resample
from barlow_speech.upstream.data.sound_files import Sound, open_sound
from barlow_speech.upstream.third_party.audio_io import audio_info, load_audio
from tests.programs import program

SECONDS = 3.0
MP3 = ["-c:a", "libmp3lame", "-q:a", "7"]
# By ffmpeg (its arguments) or by soundfile (format and subtype); the error left by the codec,
# relative; and how a stream of it is written, where a stream is another thing than a file.
KINDS: dict[str, tuple[list[str] | tuple[str, str], float]] = {
    "wav": (("WAV", "PCM_16"), 1e-3),
    "aiff": (("AIFF", "PCM_16"), 1e-3),
    "au": (("AU", "PCM_16"), 1e-3),
    "w64": (("W64", "PCM_16"), 1e-3),
    "sph": (("NIST", "PCM_16"), 1e-3),
    "caf": (("CAF", "ALAC_16"), 1e-3),
    "flac": (("FLAC", "PCM_16"), 1e-3),
    "mp3": (MP3, 0.3),
    "ogg": (["-c:a", "libvorbis", "-q:a", "5"], 0.3),
    "opus": (["-c:a", "libopus", "-b:a", "48k", "-f", "ogg"], 0.3),
    "m4a": (["-c:a", "aac", "-b:a", "96k", "-f", "mp4", "-movflags", "faststart"], 0.3),
    "webm": (["-c:a", "libopus", "-b:a", "48k", "-f", "webm"], 0.3),
    "wma": (["-c:a", "wmav2", "-b:a", "96k", "-f", "asf"], 0.3),
    "aac": (["-c:a", "aac", "-b:a", "96k", "-f", "adts"], 0.3),
}
# What ffmpeg writes where it cannot go back to the header.
PIPES = {
    "wav": ["-f", "wav"],
    "aiff": ["-f", "aiff"],
    "au": ["-f", "au"],
    "w64": ["-f", "w64"],
    "caf": ["-f", "caf", "-c:a", "pcm_s16le"],
    "flac": ["-f", "flac"],
    "mp3": [*MP3, "-f", "mp3"],
    "ogg": ["-c:a", "libvorbis", "-q:a", "5", "-f", "ogg"],
    "opus": KINDS["opus"][0],
    "webm": KINDS["webm"][0],
    "m4a": ["-c:a", "aac", "-b:a", "96k", "-f", "mp4", "-movflags", "empty_moov+frag_keyframe"],
    "wma": KINDS["wma"][0],
    "aac": KINDS["aac"][0],
}
DELAYS = {
    "wma": -512,
    "wma pipe": -512,
    "m4a pipe": 1024,
    "aac": 1024,
    "aac pipe": 1024,
    "mp3 pipe": 1105,
}


def sound() -> np.ndarray:
    """Quiet, then loud, then gone: a length that is estimated from its start is wrong."""
    time = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * 220 * time) + np.sin(2 * np.pi * (300 * time + 90 * time**2))
    wave *= np.where(time < 0.8, 0.01, 0.2) * (time < 2.9)
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sound.wav, and for each kind a file and a stream."""
    ffmpeg = program("ffmpeg")
    where = tmp_path_factory.mktemp("sounds")
    soundfile.write(where / "sound.wav", sound(), SAMPLE_RATE)
    encode = [ffmpeg, "-v", "error", "-y", "-i", str(where / "sound.wav")]
    for kind, (how, _) in KINDS.items():
        if isinstance(how, tuple):
            target = where / f"file.{kind}"
            soundfile.write(target, sound(), SAMPLE_RATE, format=how[0], subtype=how[1])
        else:
            subprocess.run([*encode, *how, where / f"file.{kind}"], check=True)
    for kind, how in PIPES.items():
        with (where / f"pipe.{kind}").open("wb") as file:
            subprocess.run([*encode, *how, "pipe:1"], stdout=file, check=True)
    return where


def assert_is_the_sound(path: Path, error: float, delay: int = 0) -> np.ndarray:
    wave = read_audio(path)
    assert duration_s(path) == pytest.approx(len(wave) / SAMPLE_RATE, abs=1e-4)
    assert SECONDS - 0.1 <= len(wave) / SAMPLE_RATE <= SECONDS + 0.15
    wanted = sound()[max(0, -delay) :]
    here = wave[max(0, delay) :][: len(wanted)]
    wanted = wanted[: len(here)]
    assert np.linalg.norm(here - wanted) <= error * np.linalg.norm(wanted)
    return wave


def decoded(path: Path, first: int = 0, last: int | None = None) -> tuple[np.ndarray, int]:
    with open_sound(path) as file:
        return np.concatenate(list(file.blocks(first, last))), file.rate


def truncated(path: Path, target: Path) -> Path:
    content = path.read_bytes()
    target.write_bytes(content[: len(content) * 2 // 5])
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_a_file(kind: str, folder: Path) -> None:
    assert_is_the_sound(folder / f"file.{kind}", KINDS[kind][1], DELAYS.get(kind, 0))


@pytest.mark.parametrize("kind", PIPES)
def test_a_stream(kind: str, folder: Path) -> None:
    delay = DELAYS.get(f"{kind} pipe", 0)
    assert_is_the_sound(folder / f"pipe.{kind}", KINDS[kind][1], delay)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_off_is_named(kind: str, folder: Path) -> None:
    path = truncated(folder / f"file.{kind}", folder / f"short.{kind}")
    with pytest.raises(
        BarlowSpeechError, match=r"short\..*(truncated|cut off|lost sync|malformed)"
    ):
        read_audio(path)


@pytest.mark.parametrize("kind", ["wav", "aiff", "au", "w64", "sph", "mp3"])
def test_both_lengths_of_a_file_that_was_cut_off_are_said(kind: str, folder: Path) -> None:
    path = truncated(folder / f"file.{kind}", folder / f"short.{kind}")
    pattern = r"truncated: it ends after [01]\.\d+ s of the (2\.9|3\.0)\d+ s that its header"
    with pytest.raises(BarlowSpeechError, match=pattern):
        read_audio(path)


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus", "flac", "m4a"])
def test_a_stream_that_was_cut_off_is_named(kind: str, folder: Path) -> None:
    """No header says how long it was to be."""
    path = truncated(folder / f"pipe.{kind}", folder / f"shortpipe.{kind}")
    with pytest.raises(
        BarlowSpeechError, match=r"shortpipe\..*(truncated|cut off|lost sync|malformed)"
    ):
        read_audio(path)


@pytest.mark.parametrize("codec", ["libvorbis", "libopus", "flac"])
def test_an_ogg_file_without_its_last_page_is_named(codec: str, folder: Path) -> None:
    path = folder / "pages.ogg"
    command = [program("ffmpeg"), "-v", "error", "-y", "-i", folder / "sound.wav", "-c:a", codec]
    subprocess.run([*command, path], check=True)
    assert len(read_audio(path)) == SECONDS * SAMPLE_RATE
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS\0")])
    with pytest.raises(BarlowSpeechError, match="truncated: it ends without the mark of its end"):
        read_audio(path)


def test_an_mp3_without_header_ends_with_a_frame(folder: Path) -> None:
    """Of what was cut off between frames nothing is to be seen."""
    content = (folder / "pipe.mp3").read_bytes()
    path = folder / "ends.mp3"
    for behind in (b"", b"TAG" + bytes(125), b"no frame"):
        path.write_bytes(content + behind)
        assert len(read_audio(path)) == len(read_audio(folder / "pipe.mp3"))
    for less in (1, 20, 100):
        path.write_bytes(content[:-less])
        with pytest.raises(BarlowSpeechError, match=r"truncated: it ends within a frame.*ffmpeg"):
            read_audio(path)


@pytest.mark.parametrize("name", [f"file.{one}" for one in KINDS] + ["pipe.mp3", "pipe.flac"])
def test_a_part_is_a_slice_to_the_bit(name: str, folder: Path) -> None:
    whole, rate = decoded(folder / name)
    several = name.split(".")[1] not in FFMPEG
    for start in np.random.default_rng(0).uniform(0.5, 2.9, 15 if several else 1):
        first, last = (round(one * rate) for one in (start, start + 0.05))
        np.testing.assert_array_equal(decoded(folder / name, first, last)[0], whole[first:last])
        if rate == SAMPLE_RATE and several:
            part = read_audio(folder / name, start, start + 0.05)
            np.testing.assert_array_equal(part, whole[first:last, 0])


@pytest.mark.parametrize("name", ["file.mp3", "pipe.mp3", "file.m4a", "pipe.flac"])
def test_parts_of_a_file_take_one_decoding(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second part on, while no other file is asked for; and to the bit as the first."""
    path = folder / f"again.{name}"
    shutil.copy(folder / name, path)
    spans = [(0.5, 0.9), (2.0, 2.5), (0.5, 0.9), (1.0, None), (0.0, 0.3)]
    whole, rate = decoded(path)
    calls: list[int] = []
    blocks = Sound.blocks
    monkeypatch.setattr(Sound, "blocks", lambda self, *a: (calls.append(1), blocks(self, *a))[1])
    for first, last in spans:
        end = None if last is None else round(last * rate)
        wanted = whole[round(first * rate) : end, 0]
        np.testing.assert_array_equal(read_audio(path, first, last), resample(wanted, rate))
    assert len(calls) == 2
    with pytest.raises(BarlowSpeechError, match="no sample from 7 s"):
        read_audio(path, 7.0, 8.0)


@pytest.mark.parametrize("name", ["file.wav", "file.opus", "pipe.mp3", "pipe.flac", "file.m4a"])
def test_what_is_behind_the_end_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(BarlowSpeechError, match=r"no sample from 7 s to its end \(it is [23]\."):
        read_audio(folder / name, 7.0)
    with pytest.raises(BarlowSpeechError, match=r"s long, and its row asks for what is up to 400"):
        read_audio(folder / name, 1.0, 400)


FFMPEG = ("m4a", "webm", "wma", "aac")


@pytest.mark.parametrize(
    "arguments", ["-ar 8000 -b:a 8k", "-ar 16000 -b:a 16k", "-ar 24000", "-ar 44100"]
)
def test_parts_of_a_thin_mp3(arguments: str, folder: Path) -> None:
    path = folder / "thin.mp3"
    command = [program("ffmpeg"), "-v", "error", "-y", "-i", folder / "sound.wav"]
    subprocess.run([*command, *arguments.split(), "-write_xing", "0", path], check=True)
    whole, rate = decoded(path)
    assert SECONDS <= len(whole) / rate <= SECONDS + 0.3
    for first in (1, 1151, 5000, 17_003):
        part, _ = decoded(path, first, first + 700)
        np.testing.assert_array_equal(part, whole[first : first + 700])


@pytest.mark.parametrize("kind", ["wav", "au"])
@pytest.mark.parametrize("outer", [True, False])
def test_a_size_of_zero_is_not_yet_known(kind: str, outer: bool, folder: Path) -> None:
    content = bytearray((folder / f"file.{kind}").read_bytes())
    place = content.index(b"data") + 4 if kind == "wav" else 8
    content[place : place + 4] = bytes(4)
    if outer:
        content[4:8] = bytes(4) if kind == "wav" else content[4:8]
    path = folder / f"zero.{kind}"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path), read_audio(folder / f"file.{kind}"))


def test_a_wav_without_a_sample_is_empty(tmp_path: Path) -> None:
    """Its size of zero is true: another chunk follows, or nothing."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    for behind in (b"", b"LIST\4\0\0\0INFO"):
        body = b"WAVE" + form + b"data\0\0\0\0" + behind
        (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        with pytest.raises(BarlowSpeechError, match=r"no sample.*0\.000 s long"):
            read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sizes_that_programs_write_into_pipes(size: int, folder: Path) -> None:
    content = bytearray((folder / "file.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    (folder / "unknown.wav").write_bytes(content)
    np.testing.assert_array_equal(
        read_audio(folder / "unknown.wav"), read_audio(folder / "file.wav")
    )


def test_a_header_that_counts_itself_is_no_truncation(folder: Path) -> None:
    content = bytearray((folder / "file.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", len(content))
    (folder / "counts.wav").write_bytes(content)
    assert len(read_audio(folder / "counts.wav")) == SECONDS * SAMPLE_RATE


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus"])
def test_joined_files_are_refused(kind: str, folder: Path) -> None:
    """libsndfile would read the first of them; an MP3 without a header of its length is a stream
    and goes on."""
    other = {"mp3": "file.mp3", "ogg": "pipe.ogg", "opus": "pipe.opus"}[kind]
    both = (folder / f"file.{kind}").read_bytes() + (folder / other).read_bytes()
    (folder / f"joined.{kind}").write_bytes(both)
    with pytest.raises(BarlowSpeechError, match=r"several streams.*ffmpeg -i joined"):
        read_audio(folder / f"joined.{kind}")
    stream = (folder / "pipe.mp3").read_bytes()
    (folder / "twice.mp3").write_bytes(stream * 2)
    assert len(read_audio(folder / "twice.mp3")) == 2 * len(read_audio(folder / "pipe.mp3"))


STREAM = [*MP3, "-write_xing", "0", "-id3v2_version", "0"]


def encoded(source: Path, target: Path, *how: str) -> Path:
    subprocess.run([program("ffmpeg"), "-v", "error", "-y", "-i", source, *how, target], check=True)
    return target


@pytest.mark.parametrize("ending", ["mka", "webm", "mp4"])
def test_a_sound_that_begins_later_than_its_file_is_whole(ending: str, folder: Path) -> None:
    """As beside a picture; what a header says is then its end, not its length."""
    path = folder / f"later.{ending}"
    later = ["-itsoffset", "0.7", "-i", folder / "sound.wav"]
    codec = "aac" if ending == "mp4" else "libopus"
    command = [program("ffmpeg"), "-v", "error", "-y", *later, "-c:a", codec, path]
    subprocess.run(command, check=True)
    assert SECONDS <= duration_s(path) <= SECONDS + 0.2
    whole, rate = decoded(path)
    part, _ = decoded(path, rate)
    np.testing.assert_array_equal(part, whole[rate:])
    with pytest.raises(BarlowSpeechError, match=rf"cut\.{ending}"):
        read_audio(truncated(path, folder / f"cut.{ending}"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["-ar", "44100"], ["-ar", "48000"]),
        (["-ar", "16000"], ["-ar", "44100"]),
        (["-ac", "1"], ["-ac", "2"]),
        (["-ac", "2"], ["-ac", "1"]),
    ],
)
def test_an_mp3_that_changes_on_the_way_is_refused(
    first: list[str], second: list[str], folder: Path
) -> None:
    """libsndfile would end there; tags between the two change nothing."""
    sound = folder / "sound.wav"
    both = [
        encoded(sound, folder / f"{name}.mp3", *how, *STREAM).read_bytes()
        for name, how in (("one", first), ("two", second))
    ]
    tag = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)
    for between in (b"", tag):
        (folder / "joined.mp3").write_bytes(both[0] + between + both[1])
        with pytest.raises(BarlowSpeechError, match="several streams"):
            read_audio(folder / "joined.mp3")
    (folder / "joined.mp3").write_bytes(both[0] + tag + both[0])
    alone = len(read_audio(folder / "one.mp3"))
    assert 2 * alone - 4_000 < len(read_audio(folder / "joined.mp3")) <= 2 * alone


@pytest.mark.parametrize("kind", ["wav", "f64.wav", "rf64.wav", "aiff", "flac", "m4a", "mp4"])
def test_a_file_behind_a_file_is_refused(kind: str, folder: Path) -> None:
    """As `cat` joins them: a player would play the first of them."""
    other = {
        "f64.wav": ["-c:a", "pcm_f64le"],
        "rf64.wav": ["-rf64", "always"],
        "mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    }.get(kind)
    one = folder / f"file.{kind}"
    if other is not None:
        one = encoded(folder / "sound.wav", folder / f"single.{kind}", *other)
    assert SECONDS - 0.1 < duration_s(one) < SECONDS + 0.15
    (folder / f"behind.{kind}").write_bytes(one.read_bytes() * 2)
    for read in (read_audio, duration_s):
        with pytest.raises(BarlowSpeechError, match=r"several files.*take it apart"):
            read(folder / f"behind.{kind}")


@pytest.mark.parametrize(
    ("name", "how", "delay"),
    [
        ("lossless.caf", ["-c:a", "alac"], 0),
        ("inside.wav", ["-c:a", "libmp3lame", "-q:a", "2"], 1105),
    ],
)
def test_a_length_in_packets_is_no_promise(
    name: str, how: list[str], delay: int, folder: Path
) -> None:
    """The last packet is not full, or the header counts what a decoder keeps back."""
    path = encoded(folder / "sound.wav", folder / name, *how)
    whole = assert_is_the_sound(path, 0.3 if delay else 1e-3, delay)
    np.testing.assert_array_equal(read_audio(path, 1.25, 2.5), whole[20_000:40_000])
    content = path.read_bytes()
    for share in (0.4, 0.67):
        (folder / f"part-{name}").write_bytes(content[: int(share * len(content))])
        with pytest.raises(BarlowSpeechError, match=r"truncated|malformed"):
            read_audio(folder / f"part-{name}")


@pytest.mark.parametrize("ending", ["vox", "gsm", "VOX", "raw", "wav"])
def test_bytes_without_a_header_are_no_sound(ending: str, tmp_path: Path) -> None:
    """An error page, or one sound under two names: what is in a file says what it is."""
    path = tmp_path / f"page.{ending}"
    path.write_bytes(b"<html>404 Not Found</html>" * 300)
    for read in (read_audio, duration_s):
        with pytest.raises(BarlowSpeechError, match=f"page.{ending}"):
            read(path)


def test_voc_is_refused(folder: Path) -> None:
    """Its blocks, as ffmpeg writes them, come out of libsndfile with their headers, as noise."""
    path = encoded(folder / "sound.wav", folder / "blocks.voc", "-c:a", "pcm_s16le")
    with pytest.raises(BarlowSpeechError, match=r"VOC.*ffmpeg -i blocks\.voc"):
        read_audio(path)


@pytest.mark.parametrize("name", ["file.mp3", "pipe.mp3"])
def test_s3prl_reads_an_mp3_to_its_end(name: str, folder: Path) -> None:
    whole, rate = decoded(folder / name)
    wave, said = load_audio(str(folder / name))
    assert said == rate
    assert audio_info(folder / name).num_frames == len(whole)
    np.testing.assert_array_equal(wave.numpy(), whole.T)
    part, _ = load_audio(folder / name, 1_000, 500, channels_first=False)
    np.testing.assert_array_equal(part.numpy(), whole[1_000:1_500])
    assert load_audio(folder / name, frame_offset=99_999_999)[0].shape == (1, 0)


def test_tags_around_an_mp3_are_no_sound(folder: Path) -> None:
    front = b"ID3\4\0\0\0\0\x02\0" + bytes(256)
    for name in ("file.mp3", "pipe.mp3"):
        content = (folder / name).read_bytes()
        (folder / "tagged.mp3").write_bytes(front + content + b"TAG" + bytes(125))
        np.testing.assert_array_equal(read_audio(folder / "tagged.mp3"), read_audio(folder / name))


@pytest.mark.parametrize("kind", FFMPEG)
def test_without_ffmpeg_it_is_named(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BarlowSpeechError, match=r"no program ffmpeg here; install FFmpeg"):
        read_audio(folder / f"file.{kind}")
    with pytest.raises(BarlowSpeechError, match="install FFmpeg"):
        duration_s(folder / f"file.{kind}")


def test_a_name_is_no_option_and_no_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("-i.m4a", "concat:a|b.m4a"):
        shutil.copy(folder / "file.m4a", folder / name)
        assert len(read_audio(Path(name))) == len(read_audio(folder / "file.m4a"))


def test_a_playlist_reads_no_other_file(folder: Path) -> None:
    """Only what begins as audio does goes to ffmpeg, and as that kind of file."""
    list_ = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile.aac\n#EXT-X-ENDLIST\n"
    for name in ("list.m3u8", "list.m4a", "list.aac"):
        (folder / name).write_text(list_)
        with pytest.raises(BarlowSpeechError, match="cannot be read"):
            read_audio(folder / name)


def test_a_video_has_sound(folder: Path) -> None:
    command = [program("ffmpeg"), "-v", "error", "-y", "-i", folder / "sound.wav", "-f", "lavfi"]
    command += ["-i", "color=size=16x16:duration=4:rate=5", "-c:a", "aac", "-c:v", "mpeg4"]
    for name, delay in (("video.mp4", 0), ("video.mkv", 1024)):
        subprocess.run([*command, folder / name], check=True)
        assert_is_the_sound(folder / name, 0.3, delay)


def test_what_is_no_audio_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / "b.wav").write_bytes(pointer)
    for name, said in (("a.wav", r"empty \(0 bytes\)"), ("b.wav", "git lfs pull")):
        for call in (read_audio, duration_s):
            with pytest.raises(BarlowSpeechError, match=said):
                call(tmp_path / name)


def test_a_length_that_was_counted_is_counted_again_when_the_file_changes(folder: Path) -> None:
    path = folder / "changing.mp3"
    stream = (folder / "pipe.mp3").read_bytes()
    path.write_bytes(stream)
    once = duration_s(path)
    path.write_bytes(stream * 2)
    os.utime(path, ns=(1, 1))
    assert duration_s(path) == 2 * once
