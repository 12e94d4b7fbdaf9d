"""Manifests and audio files: what is right is read exactly, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data import sound_files
from barlow_speech.upstream.data.allowed_folders import VARIABLE
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio, resample
from barlow_speech.upstream.data.manifest import Recording, read_manifest, write_manifest
from barlow_speech.upstream.data.sound_files import open_sound

# Manifests


def manifest(folder: Path, content: str | bytes) -> Path:
    path = folder / "corpus.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_manifest_is_read(tmp_path: Path) -> None:
    file = manifest(
        tmp_path,
        "path\tstart_s\tend_s\tspeaker\na.wav\t\t\tann\nsub/b.wav\t0.5\t2\t\nc.wav\t1\t\tb ob\n",
    )
    found = read_manifest(file)
    assert found.recordings == [
        Recording(tmp_path / "a.wav"),
        Recording(tmp_path / "sub" / "b.wav", 0.5, 2.0),
        Recording(tmp_path / "c.wav", 1.0),
    ]
    assert found.column("speaker") == ["ann", "", "b ob"]
    assert len(found) == 3
    assert [str(one) for one in found.recordings] == [
        f"{tmp_path}/a.wav",
        f"{tmp_path}/sub/b.wav [0.5-2 s]",
        f"{tmp_path}/c.wav [1-end s]",
    ]


def test_an_absolute_path_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/x")
    found = read_manifest(manifest(tmp_path, "path\n/x/a.wav"))
    assert found.recordings[0].path == Path("/x/a.wav")


@pytest.mark.parametrize(
    "content",
    [
        b"path\tword\na.wav\tja\nb.wav\tnein\n",
        b"path\tword\na.wav\tja\nb.wav\tnein",  # no newline at the end
        b"\xef\xbb\xbfpath\tword\na.wav\tja\nb.wav\tnein\n",  # BOM
        b"path\tword\r\na.wav\tja\r\nb.wav\tnein\r\n",
        b"\xef\xbb\xbfpath\tword\r\na.wav\tja\r\n\r\nb.wav\tnein\r\n\r\n",
        b"path\tword\ra.wav\tja\rb.wav\tnein\r",
        b"path\tword\n\na.wav\tja\n  \n\t\nb.wav\tnein\n\n\n",  # blank lines
    ],
)
def test_every_editor_s_way_to_write_lines(tmp_path: Path, content: bytes) -> None:
    found = read_manifest(manifest(tmp_path, content))
    assert [one.path.name for one in found.recordings] == ["a.wav", "b.wav"]
    assert found.column("word") == ["ja", "nein"]


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\x0bd\x1ce\"f'g"
    found = read_manifest(manifest(tmp_path, f"path\ttext\na.wav\t{text}\n"))
    assert found.column("text") == [text]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no 'path' column"),
        ("\n\n", "no 'path' column"),
        ("file\tword\na.wav\tx\n", "no 'path' column"),
        ("path,word\na.wav,x\n", "no 'path' column"),
        ("path\tword\tword\na.wav\tx\ty\n", "twice"),
        ("path\tword\n", "no recording"),
        ("path\tword\n\n\n", "no recording"),
        (b"path\tword\n\xff\xfea.wav\tx\n", "not UTF-8"),
        ("path\tword\na.wav\tx\n".encode("utf-16"), "not UTF-8"),
        ("path\tword\na.wav\tx\nb.wav\n", "line 3: 1 cells where the header has 2"),
        ("path\tword\n\na.wav\tx\ty\n", "line 3: 3 cells where the header has 2"),
        ("path\tword\r\n\r\na.wav\r\n", "line 3: 1 cells"),
        ("path\tword\na.wav\tx\n\tx\n", "line 3: the path"),
        (b"path\tword\na\0.wav\tx\n", "line 2: the path"),
        ("path\tstart_s\na.wav\tsoon\n", "line 2: .*'soon'"),
        ("path\tend_s\na.wav\t1\nb.wav\t1,5\n", "line 3: .*'1,5'"),
        ("path\tstart_s\na.wav\t-1\n", "line 2: start_s"),
        ("path\tstart_s\na.wav\tnan\n", "line 2: start_s"),
        ("path\tstart_s\na.wav\tinf\n", "line 2: start_s"),
        ("path\tend_s\na.wav\tnan\n", "line 2: end_s must be seconds"),
        ("path\tend_s\na.wav\tinf\n", "line 2: end_s must be seconds"),
        ("path\tend_s\na.wav\t0\n", "line 2: start_s"),
        ("path\tstart_s\tend_s\na.wav\t0\t1\nb.wav\t2\t2\n", "line 3: start_s"),
        ("path\tstart_s\tend_s\na.wav\t0\t1\nb.wav\t2\t1.5\n", "line 3: start_s"),
    ],
)
def test_a_malformed_manifest_is_refused_with_file_and_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    file = manifest(tmp_path, content)
    with pytest.raises(BarlowSpeechError, match=message) as caught:
        read_manifest(file)
    assert str(file) in str(caught.value)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nobody.tsv", tmp_path):
        with pytest.raises(BarlowSpeechError, match=str(path)):
            read_manifest(path)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    file = manifest(tmp_path, "path\tspeaker\na.wav\tx\n")
    with pytest.raises(BarlowSpeechError, match=r"'speeker'.*corpus\.tsv.*'speaker'"):
        read_manifest(file).column("speeker")


def test_a_manifest_that_is_written_is_read_back(tmp_path: Path) -> None:
    columns = {
        "path": ["a.wav", "sub/b c.wav", "é\u2028.wav"],
        "start_s": ["", "0.5", "1"],
        "end_s": ["", "2", ""],
        "text": ['"', "", " #, 'x' "],
    }
    write_manifest(tmp_path / "new" / "m.tsv", columns)
    assert read_manifest(tmp_path / "new" / "m.tsv").columns == columns


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", "a\rb", "a\udce9b"])
@pytest.mark.parametrize("column", ["path", "word"])
def test_what_a_manifest_cannot_hold_is_not_written(tmp_path: Path, cell: str, column: str) -> None:
    columns = {"path": ["x.wav", "y.wav"], "word": ["x", "y"]}
    columns[column][1] = cell
    with pytest.raises(BarlowSpeechError, match=f"the {column} .* rename it"):
        write_manifest(tmp_path / "m.tsv", columns)
    assert not (tmp_path / "m.tsv").exists()


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ((0, None), (0, None), True),
        ((0, None), (5, 6), True),
        ((0, 5), (5, 6), False),
        ((0, 5.1), (5, 6), True),
        ((7, None), (5, 6), False),
        ((5, None), (5.9, None), True),
        ((1, 9), (2, 3), True),
    ],
)
def test_overlap(
    tmp_path: Path,
    one: tuple[float, float | None],
    other: tuple[float, float | None],
    overlap: bool,
) -> None:
    a, b = (Recording(tmp_path / "a.wav", *span) for span in (one, other))
    assert a.overlaps(b) is b.overlaps(a) is overlap
    roundabout = Recording(tmp_path / "x" / ".." / "a.wav", *other)
    assert a.overlaps(roundabout) is overlap
    assert not a.overlaps(Recording(tmp_path / "b.wav", *other))


# Audio


def sine(rate: int, seconds: float = 1.0, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def test_16_bit_samples_are_read_exactly(tmp_path: Path) -> None:
    samples = np.arange(-32768, 32768, dtype=np.int16)
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{suffix}", samples, SAMPLE_RATE, subtype="PCM_16")
        wave = read_audio(tmp_path / f"a.{suffix}")
        assert wave.dtype == np.float32
        np.testing.assert_array_equal(wave * 32768, samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.random.default_rng(0).uniform(-1, 1, (1000, 3)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", channels, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav"), channels.mean(axis=1), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_length_frequency_and_level(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(rate), rate, subtype="FLOAT")
    wave = read_audio(tmp_path / "a.wav")
    assert len(wave) == SAMPLE_RATE
    assert wave.dtype == np.float32
    assert duration_s(tmp_path / "a.wav") == 1.0
    middle = slice(1000, -1000)  # away from the edges of the file
    np.testing.assert_allclose(wave[middle], sine(SAMPLE_RATE)[middle], atol=0.005)


def test_resampling_lets_nothing_through_above_half_the_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(48_000, frequency=11_000), 48_000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav")[1000:-1000]).max() < 0.01


def test_resampling_cuts_at_half_the_rate_and_not_before() -> None:
    """A tone of 8.2 kHz would come back as one of 7.8 kHz."""

    def level_db(frequency: float) -> float:
        wave = resample(sine(48_000, 2.0, frequency).astype(np.float32), 48_000)[4000:-4000]
        return float(20 * np.log10(np.sqrt(np.mean(wave.astype(np.float64) ** 2)) * np.sqrt(8)))

    assert level_db(8_200) < -120
    assert abs(level_db(7_000)) < 0.1
    assert level_db(7_600) > -3


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_part_is_a_slice(tmp_path: Path, rate: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 2 * rate), rate)
    whole = read_audio(path)
    for start, end in ((0.0, 0.5), (0.25, 1.75), (1.5, None), (1.0, 2.09)):
        part = read_audio(path, start, end)
        expected = whole[round(start * SAMPLE_RATE) : end and round(end * SAMPLE_RATE)]
        assert part.shape == expected.shape
        # Resampling sees zeros beyond the part's ends.
        middle = slice(None) if rate == SAMPLE_RATE else slice(200, -200)
        np.testing.assert_allclose(part[middle], expected[middle], atol=1e-6)


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(SAMPLE_RATE), SAMPLE_RATE)
    for start, end in ((1.0, None), (2.0, 3.0), (0.5, 0.5), (0.75, 0.5), (-0.5, 0.5), (0, 1.2)):
        with pytest.raises(BarlowSpeechError, match=str(path)):
            read_audio(path, start, end)


def test_long_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (5000, 2))
    for suffix in ("wav", "flac", "ogg"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, samples, SAMPLE_RATE)
        whole = read_audio(path)
        with monkeypatch.context() as patch:
            patch.setattr(sound_files, "BLOCK", 2000)
            np.testing.assert_array_equal(read_audio(path), whole)
            np.testing.assert_array_equal(read_audio(path, 0.01, 0.2), whole[160:3200])


@pytest.mark.parametrize(
    "container", ["AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "PAF", "W64", "WAV"]
)
def test_a_part_is_that_of_the_whole_in_every_codec(container: str, tmp_path: Path) -> None:
    """libsndfile seeks wrong in some: in Vorbis within the last page, which is long in silence."""
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 6 * SAMPLE_RATE + 123)
    wave[2 * SAMPLE_RATE : -SAMPLE_RATE // 4] = 0
    codecs = 0
    for codec in soundfile.available_subtypes(container):
        path = tmp_path / f"{codec}.{container.lower()}"
        try:
            soundfile.write(path, wave, SAMPLE_RATE, format=container, subtype=codec)
        except soundfile.LibsndfileError:  # not at this rate
            continue
        with open_sound(path) as sound:
            whole = np.concatenate(list(sound.blocks()))
        for first in (6400, 9600, 48_000, 72_000, 94_400, len(whole) - 10):
            with open_sound(path) as sound:
                part = np.concatenate(list(sound.blocks(first)))
            np.testing.assert_allclose(part, whole[first:], atol=1e-12, err_msg=codec)
        codecs += 1
    assert codecs


def refused(path: Path) -> None:
    """Reading ends in the project's error, which names the file, and asking for the length too."""
    with pytest.raises(BarlowSpeechError) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    try:
        duration_s(path)
    except BarlowSpeechError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "raw", "txt", ""])
@pytest.mark.parametrize("size", [0, 1, 43, 1000])
def test_random_bytes_are_refused(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    refused(path)


@pytest.mark.parametrize(
    ("suffix", "kept"),
    [("wav", 20), ("wav", 44), ("flac", 4), ("flac", 42), ("flac", 0.5), ("flac", 0.999)],
)
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, SAMPLE_RATE), SAMPLE_RATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    refused(path)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 4000), SAMPLE_RATE)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(50):
        damaged = bytearray(content)
        for place in rng.integers(0, 60, size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert np.isfinite(read_audio(path)).all()
        except BarlowSpeechError as error:
            assert str(path) in str(error)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(SAMPLE_RATE), SAMPLE_RATE)
    content = bytearray(path.read_bytes())
    # STREAMINFO: the number of samples is in the last 36 bits of the 18 bytes before the MD5.
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_001])
def test_a_rate_that_nobody_records_at_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(SAMPLE_RATE), SAMPLE_RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=str(path)):
        read_audio(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, value: float, channels: int
) -> None:
    samples = np.zeros((100, channels), dtype=np.float32)
    samples[50, 0] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(BarlowSpeechError, match=r"a\.wav.*finite"):
        read_audio(tmp_path / "a.wav")
    assert len(read_audio(tmp_path / "a.wav", 0, 50 / SAMPLE_RATE)) == 50


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "file").write_text("")
    for path in (
        tmp_path,
        tmp_path / "nobody.wav",
        tmp_path / "loop.wav",
        tmp_path / "file" / "a.wav",
        tmp_path / ("x" * 300),
        tmp_path / "a\0.wav",
    ):
        with pytest.raises(BarlowSpeechError) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)
        with pytest.raises(BarlowSpeechError):
            duration_s(path)


@pytest.mark.parametrize("rest", [0.0, 0.001])
def test_channels_that_cancel_each_other_are_no_silence(tmp_path: Path, rest: float) -> None:
    """One microphone of two, wired the wrong way round; what they share is all of the sound."""
    wave = 0.3 * np.sin(np.arange(16_000) / 9).astype(np.float32)
    path = tmp_path / "wrong.wav"
    soundfile.write(path, np.stack([wave, (rest - 1) * wave], axis=1), 16_000, subtype="FLOAT")
    for part in ((0.0, None), (0.25, 0.5)):
        with pytest.raises(BarlowSpeechError, match=r"wrong\.wav has channels that cancel"):
            read_audio(path, *part)
    for other in (0.5 * wave, 0 * wave, -0.5 * wave):  # near, on one side alone, weaker
        soundfile.write(path, np.stack([wave, other], axis=1), 16_000, subtype="FLOAT")
        np.testing.assert_allclose(read_audio(path), (wave + other) / 2, atol=1e-7)
    soundfile.write(path, np.zeros((16_000, 2), np.float32), 16_000, subtype="FLOAT")
    assert not read_audio(path).any()
