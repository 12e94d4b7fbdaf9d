"""Lists of recordings in formats of others: the same manifest, and the samples that they read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from barlow_speech.benchmark import entry
from barlow_speech.downstream.corpus import Columns, read_corpus
from barlow_speech.downstream.preparation import formats
from barlow_speech.downstream.preparation.formats import jsonl, kaldi, lhotse
from barlow_speech.downstream.preparation.formats._entry import Samples
from barlow_speech.downstream.preparation.from_table import TableOptions, prepare_table
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.data.audio import Size, read_audio
from barlow_speech.upstream.data.manifest import read_manifest

RATE = 16_000
SPLITS = ("train", "dev", "test")
EMOTIONS = ("anger", "joy", "sadness")
Row = dict[str, str]
LABELS = ("id", "speaker", "gender", "emotion", "split", "text")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Eighteen recordings of six speakers in three splits."""
    made = []
    (tmp_path / "clips").mkdir()
    for i in range(18):
        file = tmp_path / "clips" / f"r{i:02d}.wav"
        wave = np.random.default_rng(i).integers(-9000, 9000, 1600 + 16 * i, dtype=np.int16)
        soundfile.write(file, wave, RATE)
        made.append(
            {
                "id": file.stem,
                "file": str(file),
                "speaker": f"s{i % 6}",
                "gender": ("female", "male")[i % 2],
                "emotion": EMOTIONS[i % 3],
                "split": SPLITS[i // 3 % 3],
                "text": f"it is {i}",
            }
        )
    return made


def table(folder: Path, split: str, rows: list[Row]) -> None:
    with (folder / f"{split}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", *LABELS])
        writer.writeheader()
        writer.writerows({"path": r["file"], **{name: r[name] for name in LABELS}} for r in rows)


def nemo(folder: Path, split: str, rows: list[Row]) -> None:
    said = [
        {"audio_filepath": r["file"], "duration": soundfile.info(r["file"]).duration}
        | {name: r[name] for name in LABELS if name != "split"}
        for r in rows
    ]
    (folder / f"{split}_manifest.json").write_text("".join(f"{json.dumps(r)}\n" for r in said))


def kaldi_folder(folder: Path, split: str, rows: list[Row]) -> None:
    (folder / split).mkdir()
    columns = {"wav.scp": "file", "utt2spk": "speaker", "utt2emo": "emotion", "text": "text"}
    for name, column in columns.items():
        lines = (f"{r['id']} {r[column]}\n" for r in rows)
        (folder / split / name).write_text("".join(lines))
    genders = {r["speaker"]: r["gender"][0] for r in rows}
    lines = (f"{speaker} {gender}\n" for speaker, gender in genders.items())
    (folder / split / "spk2gender").write_text("".join(lines))
    (folder / split / "spk2utt").write_text("".join(f"{r['speaker']} {r['id']}\n" for r in rows))


def kaldi_archive(folder: Path, split: str, rows: list[Row]) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    kaldi_folder(folder, split, rows)
    home = folder / split
    with kaldiio.WriteHelper(f"ark,scp:{home}/wav.ark,{home}/wav.scp") as writer:
        for r in rows:
            writer(r["id"], (RATE, soundfile.read(r["file"], dtype="int16")[0]))


def recording(r: Row) -> dict[str, Any]:
    info = soundfile.info(r["file"])
    source = {"type": "file", "channels": [0], "source": r["file"]}
    return {
        "id": r["id"], "sources": [source], "sampling_rate": info.samplerate,
        "num_samples": info.frames, "duration": info.duration, "channel_ids": [0],
    }  # fmt: skip


def supervision(r: Row) -> dict[str, Any]:
    own = {name: r[name] for name in ("speaker", "gender", "text")}
    custom = {"emotion": r["emotion"]}
    duration = soundfile.info(r["file"]).duration
    span = {"start": 0.0, "duration": duration, "channel": 0}
    return {"id": r["id"], "recording_id": r["id"], **span, **own, "custom": custom}


def packed(file: Path, said: list[dict[str, Any]]) -> None:
    file.write_bytes(gzip.compress("".join(f"{json.dumps(r)}\n" for r in said).encode()))


def cut(r: Row) -> dict[str, Any]:
    own = supervision(r)
    span = {name: own[name] for name in ("id", "start", "duration", "channel")}
    return {**span, "supervisions": [own], "recording": recording(r), "type": "MonoCut"}


def cuts(folder: Path, split: str, rows: list[Row]) -> None:
    packed(folder / f"cuts_{split}.jsonl.gz", [cut(r) for r in rows])


def recordings(folder: Path, split: str, rows: list[Row]) -> None:
    packed(folder / f"a_recordings_{split}.jsonl.gz", [recording(r) for r in rows])
    packed(folder / f"a_supervisions_{split}.jsonl.gz", [supervision(r) for r in rows])


def speechbrain_csv(folder: Path, split: str, rows: list[Row]) -> None:
    lines = ["ID, duration, wav, start, stop, spk_id, gender, emo, text"]
    for r in rows:
        frames = soundfile.info(r["file"]).frames
        place = f"$root/clips/{r['id']}.wav, 0, {frames}"
        labels = f"{r['speaker']}, {r['gender']}, {r['emotion']}, {r['text']}"
        lines.append(f"{r['id']}, 1.0, {place}, {labels}")
    (folder / f"{split.replace('dev', 'valid')}.csv").write_text("\n".join(lines))


def speechbrain_json(folder: Path, split: str, rows: list[Row]) -> None:
    said = {
        r["id"]: {"wav": f"{{root}}/clips/{r['id']}.wav", "length": 1.0, "emo": r["emotion"]}
        | {"spk_id": r["speaker"], "gender": r["gender"], "text": r["text"]}
        for r in rows
    }
    (folder / f"{split}.json").write_text(json.dumps(said, indent=2))


def tar(folder: Path, split: str, rows: list[Row]) -> None:
    with tarfile.open(folder / f"{split}-000000.tar", "w") as out:
        for r in rows:
            labels = {name: r[name] for name in ("speaker", "gender", "emotion")}
            parts = {"json": json.dumps(labels).encode(), "txt": r["text"].encode()}
            for ending, data in {"wav": Path(r["file"]).read_bytes(), **parts}.items():
                member = tarfile.TarInfo(f"{r['id']}.{ending}")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))


def hugging_face_table(rows: list[Row], in_it: bool) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    classes = {"gender": ["female", "male"], "emotion": list(EMOTIONS)}
    columns = {
        "id": [r["id"] for r in rows],
        "audio": [
            {"bytes": Path(r["file"]).read_bytes(), "path": Path(r["file"]).name}
            if in_it
            else {"bytes": None, "path": r["file"]}
            for r in rows
        ],
        "speaker": [r["speaker"] for r in rows],
        **{name: [known.index(r[name]) for r in rows] for name, known in classes.items()},
        "text": [r["text"] for r in rows],
    }
    features = {"audio": {"sampling_rate": RATE, "_type": "Audio"}}
    features |= {name: {"names": known, "_type": "ClassLabel"} for name, known in classes.items()}
    audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    types = {"audio": audio, "gender": pyarrow.int64(), "emotion": pyarrow.int64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in columns])
    said = json.dumps({"info": {"features": features}})
    return pyarrow.table(columns, schema.with_metadata({"huggingface": said}))


def parquet(folder: Path, split: str, rows: list[Row]) -> None:
    made = hugging_face_table(rows, in_it=True)
    import pyarrow.parquet

    (folder / "data").mkdir(exist_ok=True)
    named = split.replace("dev", "validation")
    pyarrow.parquet.write_table(made, folder / "data" / f"{named}-00000-of-00001.parquet")


def saved(folder: Path, split: str, rows: list[Row]) -> None:
    made = hugging_face_table(rows, in_it=False)
    import pyarrow

    home = folder / split
    home.mkdir()
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}))
    files = [{"filename": "data-00000-of-00001.arrow"}]
    (home / "state.json").write_text(json.dumps({"_data_files": files, "_split": split}))
    (home / "dataset_info.json").write_text("{}")
    with pyarrow.ipc.new_stream(home / files[0]["filename"], made.schema) as writer:
        writer.write_table(made)


WRITERS: list[Callable[[Path, str, list[Row]], None]] = [
    table, nemo, kaldi_folder, kaldi_archive, cuts, recordings, speechbrain_csv,
    speechbrain_json, tar, parquet, saved,
]  # fmt: skip


def written(writer: Callable[[Path, str, list[Row]], None], folder: Path, rows: list[Row]) -> Path:
    folder.mkdir()
    for split in SPLITS:
        writer(folder, split, [r for r in rows if r["split"] == split])
    return folder


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_every_format_gives_the_same_corpus(
    writer: Callable[[Path, str, list[Row]], None], rows: list[Row], tmp_path: Path
) -> None:
    source = written(writer, tmp_path / "lists", rows)
    options = TableOptions(root=tmp_path, name="same")
    prepared = prepare_table(source, tmp_path / "out", options)
    corpus = read_corpus(str(prepared.cards[0]))
    assert set(corpus.card.tasks) == {"emotion", "gender", "speaker_id"}
    columns = [corpus.manifest.column(name) for name in LABELS]
    expected = {r["id"]: r for r in rows}
    assert len(corpus.recordings) == len(rows)
    for recording, *cells in zip(corpus.recordings, *columns):
        said = expected[cells[0]]
        assert dict(zip(LABELS, cells)) == {name: said[name] for name in LABELS}
        heard = read_audio(recording.path, recording.start_s, recording.end_s)
        np.testing.assert_array_equal(heard, read_audio(Path(said["file"])))


# The samples of a part, next to those that the format's own library reads. Measured with lhotse
# 1.33, kaldiio 2.18, speechbrain 1.1 and NeMo's formula on a thousand parts each: none differs.


@pytest.mark.parametrize(
    ("cut", "rate", "samples"),
    [
        (kaldi._segment("r 0.29 0.58", "")[1], 100, (28, 57)),  # 0.29 · 100 is 28.999…
        (kaldi._segment("r 1.5 -1", "")[1], 16_000, (24_000, 32_000)),
        (
            kaldi._segment("r 0.5 2.4", "")[1],
            16_000,
            (8000, 32_000),
        ),  # half a second behind the end
        (lambda size: lhotse._samples((0.29, 0.29), 100, 1, size), 100, (29, 58)),
        (lambda size: lhotse._samples((0.5 / 8000, 2.5 / 8000), 8000, 1, size), 8000, (1, 4)),
        (lambda size: jsonl._nemo(0.29, 0.29, size), 100, (28, 56)),
        (lambda size: jsonl._nemo(0.5, None, size), 100, (50, 200)),
        (lambda size: jsonl._emobox(0.29, 0.58, size), 100, (28, 57)),
    ],
)
def test_a_part_has_the_samples_that_its_own_library_reads(
    cut: Samples, rate: int, samples: tuple[int, int]
) -> None:
    assert cut(Size(rate, 2 * rate, 1)) == samples


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100])
def test_the_seconds_of_a_manifest_are_those_samples(rate: int, tmp_path: Path) -> None:
    wave = np.random.default_rng(0).integers(-9000, 9000, 2 * rate, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", wave, rate)
    spans = [(i / 97, i / 97 + 0.1234567) for i in range(1, 60)]
    lines = (f"u{i} a {start} {end}\n" for i, (start, end) in enumerate(spans))
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "segments").write_text("".join(lines))
    corpus = read_corpus(str(prepare_table(tmp_path).cards[0]))
    for one, (start, end) in zip(corpus.recordings, spans, strict=True):
        assert round(one.start_s * rate) == int(start * rate)
        assert one.end_s is not None and round(one.end_s * rate) == int(end * rate)


def test_folds_of_emobox_become_those_of_a_card(rows: list[Row], tmp_path: Path) -> None:
    home = tmp_path / "data" / "mine"
    codes = {"A": "anger", "J": "joy", "S": "sadness"}
    for fold in (1, 2):
        (home / f"fold_{fold}").mkdir(parents=True)
        for split, part in (("train", 0), ("test", 1)):
            said = [
                {"key": r["id"], "wav": f"clips/{r['id']}.wav", "emo": r["emotion"][0].upper()}
                | {"type": "raw", "length": 1.0, "channel": 1, "dataset": "mine"}
                for i, r in enumerate(rows)
                if (i // 3 % 3 == fold) == part
            ]
            lines = "".join(f"{json.dumps(one)}\n" for one in said)
            (home / f"fold_{fold}" / f"mine_{split}_fold_{fold}.jsonl").write_text(lines)
    (home / "label_map.json").write_text(json.dumps(codes))
    prepared = prepare_table(home, tmp_path, TableOptions(root=tmp_path))
    corpus = read_corpus(str(prepared.cards[0]))
    assert set(corpus.manifest.column("emotion")) == set(codes.values())
    folds = ("split_fold_1", "split_fold_2")
    assert corpus.card.tasks == {"emotion": Columns("emotion", folds=folds)}
    splits = [corpus.manifest.column(f"split_fold_{fold}") for fold in (1, 2)]
    for fold, column in enumerate(splits, start=1):
        assert {i for i, split in enumerate(column) if split == "test"} == {
            i
            for i, name in enumerate(corpus.manifest.column("id"))
            if int(name[1:]) // 3 % 3 == fold
        }
        assert column.count("dev") == 2  # a fifth of 12


# What cannot work: one sentence, status 2, and nothing is written.

HALF = [
    ("a.json", '{"text": "no path"}\n', "line 1: it names no recording by any of audio_filepath"),
    ("a.json", '{"audio_filepath": "r.wav"}\n{"audio_filepath": \n', "line 2 is damaged"),
    ("a.json", '{"audio_filepath": "r.wav"}\n7\n', "line 2 is damaged or cut off .an object"),
    ("a.json", '{"audio_filepath": "r.wav", "duration": "x"}\n', "must be seconds, not 'x'"),
    ("a.json", '{"audio_filepath": "r.wav", "duration": 9}\n', "asks for the samples 0 to 144,000"),
    ("a.json", '{"audio_filepath": ["r.wav", "r.wav"]}\n', "'audio_filepath' is a list"),
    ("a.json", '{"wav": "r.wav", "start": 0.1}\n', "'start' looks like a part of a recording"),
    ("a.json", '{"wav": "/etc/r.wav"}\n', "outside of .* by --audio-root"),
    ("a.json", '{"wav": "gone.wav"}\n', r"1 of 1 files of .*gone.wav \(.*, line 1\), are not"),
    ("a.json", "{}\n", "it names no recording"),
    ("a.json", "[]", "lists no recording"),
    ("a.json", "[" * 99_999, "is damaged or cut off .it is nested too deeply"),
    ("a.jsonl.gz", b"", "is empty"),
    ("cuts.yaml", "- channel: 0\n  id: a\n", "is none of what is known here"),
    ("a.json", '{"a": {"b": {}}}', "it names no recording .* which of id, b"),
    ("a.json", '{"x": {"wav": "{root}/r.wav"}}', "entry 'x': say by --audio-root which folder"),
    ("a.json", '{"x": {"wav": 7}}', "one recording is expected in 'wav', not 7"),
    ("a.csv", "ID,wav,start,stop\nx,r.wav,0.5,1\n", "start and stop must be whole numbers"),
    ("a.csv", "ID,wav\nx,r.wav,1\n", "line 2: 3 cells where the header has 2"),
    ("wav.scp", "a sph2pipe -f wav r.sph |\n", "recording a is a command in a pipe"),
    ("wav.scp", "a r.wav\na r.wav\n", "line 2: 'a' stands there twice"),
    ("wav.scp", "a /etc/a.ark:5\n", "/etc/a.ark is outside of .*--audio-root"),
    ("x.pkl", b"\x80\0\0", "is none of what is known here"),
    ("wav.scp", "a\n", "'a' has nothing behind it"),
    ("c.jsonl", '{"id": "c", "type": "MixedCut", "tracks": []}', "a MixedCut is no part of one"),
    ("c.jsonl", '{"id": "c", "type": "MonoCut", "start": 0}', "a cut without a recording"),
    ("c.jsonl", '{"id": "r", "sources": [], "sampling_rate": 1}', "r has several sources"),
    (
        "c.jsonl",
        '{"type": "MonoCut", "start": Infinity, "duration": 1, "recording": {"sampling_rate": 1,'
        ' "sources": [{"type": "file", "source": "r.wav"}]}}',
        "start and duration must be seconds",
    ),
    (
        "c.jsonl",
        '{"id": "r", "sources": [{"type": "file", "source": "r.wav"}], "sampling_rate": 8000}',
        "its file has 16000 Hz, and the manifest says 8000",
    ),
    (
        "c.jsonl",
        '{"id": "r", "sources": [{"type": "command", "source": "x"}], "sampling_rate": 8000}',
        "of a source of type 'command'",
    ),
    (
        "c.jsonl",
        '{"id": "s", "recording_id": "r", "start": 0, "duration": 1}',
        "supervisions of lhotse, which name no audio files",
    ),
    ("c.jsonl.gz", gzip.compress(b'{"wav": "r.wav"}\n' * 99)[:-9], "is damaged or cut off"),
    ("p.parquet", b"PAR1 and no more", "is damaged or cut off|is not installed"),
    ("p.arrow", b"\xff\xff\xff\xff\x10\0\0\0", "is damaged or cut off|is not installed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), HALF, ids=range(len(HALF)))
def test_what_is_half_a_format_is_one_sentence(
    name: str,
    content: str | bytes,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write(tmp_path / "r.wav", np.zeros(1600), RATE)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.rglob("*"))
    given = ["prepare", "--from", str(tmp_path / name), "-o", str(tmp_path / "out")]
    assert run_command(entry.run, given) == 2
    said = capsys.readouterr().err
    assert re.search(words, said), said
    assert said.count("\n") == 1 and str(tmp_path) in said
    assert sorted(tmp_path.rglob("*")) == before


def samples_of_a_tar(*names: str, content: bytes = b"RIFF") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (samples_of_a_tar("a.wav", "a.txt", "b.txt"), "sample b: it has no audio"),
        (samples_of_a_tar("a.wav", "a.flac"), "sample a: it has wav and flac"),
        (samples_of_a_tar("a.wav", "a.json"), r"sample a: its \.json is no JSON"),
        (samples_of_a_tar("a.wav", "b.wav")[:1536], "is damaged or cut off|lists"),
        (samples_of_a_tar("readme"), "lists no recording"),
        (samples_of_a_tar("a.wav", "a.json", content=b"[" * 99_999), "is nested too deeply"),
    ],
    ids=range(6),
)
def test_a_tar_that_fails_in_the_middle_leaves_nothing(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=words):
        prepare_table(tmp_path / "a.tar", tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_audio_is_written_once_and_never_over_another_folder(
    rows: list[Row], tmp_path: Path
) -> None:
    source = written(tar, tmp_path / "lists", rows)
    prepare_table(source, tmp_path, TableOptions(name="t"))
    assert len(list((tmp_path / "t_audio").iterdir())) == len(rows)
    with pytest.raises(BarlowSpeechError, match=r"t_audio, where the .* is there already"):
        prepare_table(source, tmp_path, TableOptions(name="t"))
    assert not list(tmp_path.glob(".t_audio*"))


def waves(*lengths: int) -> list[bytes]:
    made = []
    for length in lengths:
        file = io.BytesIO()
        soundfile.write(file, np.ones(length) / 2, RATE, format="WAV")
        made.append(file.getvalue())
    return made


def parquet_of(folder: Path, audio: list[Any]) -> Path:
    made = pytest.importorskip("pyarrow").table({"audio": audio})
    import pyarrow.parquet

    pyarrow.parquet.write_table(made, folder / "a.parquet")
    return folder / "a.parquet"


def test_recordings_of_one_name_are_each_their_own_in_a_tar(tmp_path: Path) -> None:
    lengths = (1600, 1700, 1800)
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for name, wave in zip("aba", waves(*lengths)):
            member = tarfile.TarInfo(f"{name}.wav")
            member.size = len(wave)
            out.addfile(member, io.BytesIO(wave))
    corpus = read_corpus(str(prepare_table(tmp_path / "a.tar").cards[0]))
    assert [soundfile.info(one.path).frames for one in corpus.recordings] == list(lengths)


# Embedding by `datasets` keeps the last part of a path alone, which many corpora have many times.
def test_recordings_of_one_name_are_each_their_own_in_parquet(tmp_path: Path) -> None:
    lengths = (1600, 1700, 1800)
    audio = [{"bytes": wave, "path": "0a.wav"} for wave in waves(*lengths)]
    corpus = read_corpus(str(prepare_table(parquet_of(tmp_path, audio)).cards[0]))
    assert [soundfile.info(one.path).frames for one in corpus.recordings] == list(lengths)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([{"bytes": b"RIFF", "path": None}, None], "such as that of .*row 2, are not there"),
        ([{"array": [0.1], "sampling_rate": 8000}], "row 1: 'audio' holds neither .* but array"),
    ],
)
def test_a_row_without_a_file_is_named(column: list[Any], words: str, tmp_path: Path) -> None:
    file = parquet_of(tmp_path, column)
    with pytest.raises(BarlowSpeechError, match=words):
        prepare_table(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_a_column_of_bytes_is_audio(tmp_path: Path) -> None:
    (one,) = read_corpus(str(prepare_table(parquet_of(tmp_path, waves(1600))).cards[0])).recordings
    assert soundfile.info(one.path).frames == 1600


def test_an_offset_of_nothing_is_an_offset(rows: list[Row], tmp_path: Path) -> None:
    one = {"wav": "clips/r00.wav", "duration": 0.05}
    lines = [json.dumps({**one, "offset": offset}) for offset in (0, 0.05)]
    (tmp_path / "a.json").write_text("\n".join(lines))
    corpus = read_corpus(str(prepare_table(tmp_path / "a.json").cards[0]))
    assert [(one.start_s, one.end_s) for one in corpus.recordings] == [(0.0, 0.05), (0.05, None)]


def test_columns_that_may_be_times_are_noted(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,start,end,stop\nclips/r00.wav,0,0.05,word\n")
    (note, *_) = prepare_table(tmp_path / "a.csv").notes
    assert "whole: start and end may be times" in note
    said = TableOptions(columns={"start_s": "start", "end_s": "end"})
    prepared = prepare_table(tmp_path / "a.csv", options=said)
    assert not any("may be times" in note for note in prepared.notes)
    assert read_corpus(str(prepared.cards[0])).recordings[0].end_s == 0.05


def test_one_channel_of_two_is_no_mean_of_them(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "r.wav", np.random.default_rng(0).normal(0, 0.1, (800, 2)), RATE)
    one = {"id": "r", "file": str(tmp_path / "r.wav"), "speaker": "s", "gender": "female"}
    rows = [{**one, "text": "", "emotion": "anger"}]
    packed(tmp_path / "recordings.jsonl.gz", [recording(r) for r in rows])
    packed(tmp_path / "supervisions.jsonl.gz", [supervision(r) for r in rows])
    with pytest.raises(BarlowSpeechError, match="it is 1 of 2 channels"):
        prepare_table(tmp_path)
    packed(
        tmp_path / "supervisions.jsonl.gz", [{**supervision(r), "channel": [0, 1]} for r in rows]
    )
    assert prepare_table(tmp_path).manifests


@pytest.mark.parametrize("named", [("0", "1"), ("1", "2"), ("A", "B"), ("left", "right")])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_speakers_of_a_call_are_not_averaged(
    named: tuple[str, str], as_json: bool, tmp_path: Path
) -> None:
    """Each has a channel, which a column of any list says; of files of one it says nothing."""
    wave = np.random.default_rng(0).normal(0, 0.1, (800, 2))
    rows = [{"path": "call.wav", "speaker": f"s{one}", "channel": one} for one in named]
    if as_json:
        source = tmp_path / "list.jsonl"
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        source = tmp_path / "list.csv"
        cells = [",".join(row.values()) for row in rows]
        source.write_text("\n".join(["path,speaker,channel", *cells]) + "\n")
    soundfile.write(tmp_path / "call.wav", wave, RATE)
    with pytest.raises(BarlowSpeechError, match=f"it is channel {named[0]} of 2"):
        prepare_table(source)
    soundfile.write(tmp_path / "call.wav", wave[:, 0], RATE)
    assert prepare_table(source).manifests
    if not as_json and named == ("0", "1"):  # how many there are
        soundfile.write(tmp_path / "call.wav", wave, RATE)
        source.write_text("path,speaker,channel\ncall.wav,a,2\n")
        assert prepare_table(source).manifests


def test_names_in_a_tar_lead_nowhere_else(tmp_path: Path) -> None:
    wave = io.BytesIO()
    soundfile.write(wave, np.ones(1600) / 2, RATE, format="WAV")
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for name in ("../../x/a", "/abs/a", "x/a", ".../a"):
            member = tarfile.TarInfo(f"{name}.wav")
            member.size = len(wave.getvalue())
            out.addfile(member, io.BytesIO(wave.getvalue()))
    prepared = prepare_table(tmp_path / "a.tar", tmp_path / "out")
    corpus = read_corpus(str(prepared.cards[0]))
    homes = {one.path.resolve().parent for one in corpus.recordings}
    assert homes == {(tmp_path / "out" / "a_audio").resolve()} and len(corpus.recordings) == 4


def test_a_folder_of_two_formats_or_of_none_is_refused(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BarlowSpeechError, match=r"none of what is known here .*Kaldi folder"):
        prepare_table(tmp_path / "empty")
    both = written(nemo, tmp_path / "both", rows)
    tar(both, "train", rows)
    with pytest.raises(BarlowSpeechError, match=r"in several ways: .*JSON lines.*WebDataset"):
        prepare_table(both)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train.json", "more.json"], "that of .*more.json does not"),
        (["train_dev.json", "test.json"], "train_dev.json says dev and train"),
    ],
)
def test_a_split_that_is_not_clear_is_asked_for(
    names: list[str], words: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text('{"audio_filepath": "r.wav"}\n')
    with pytest.raises(BarlowSpeechError, match=words):
        prepare_table(tmp_path)


def test_every_format_says_what_it_is() -> None:
    assert formats.names() == sorted(formats.names()) and len(formats.names()) == 8
    assert "Kaldi folder" in formats.titles()


def test_a_missing_number_is_an_empty_cell(rows: list[Row], tmp_path: Path) -> None:
    """As pandas leaves it in JSON, and Arrow in a column of floats; not a speaker called nan."""
    numbers = [float("nan") if i % 3 == 0 else i for i in range(len(rows))]
    said = [{"audio": r["file"], "speaker": n} for r, n in zip(rows, numbers)]
    packed(tmp_path / "list.jsonl.gz", said)
    (manifest,) = prepare_table(tmp_path / "list.jsonl.gz", tmp_path / "out").manifests
    assert read_manifest(manifest).column("speaker") == [
        "" if i % 3 == 0 else str(i) for i in range(len(rows))
    ]


def test_blanks_and_tabs_are_alike_in_kaldi(rows: list[Row], tmp_path: Path) -> None:
    written(kaldi_folder, tmp_path / "lists", rows)
    folder = tmp_path / "lists" / "train"
    options = TableOptions("t", root=tmp_path)
    before = prepare_table(folder, tmp_path / "a", options)
    lines = (folder / "text").read_text().splitlines()
    (folder / "text").write_text("".join(f" {line}\tagain \n" for line in lines))
    after = prepare_table(folder, tmp_path / "b", options)
    texts = [read_manifest(one.manifests[0]).column("text") for one in (before, after)]
    assert texts[1] == [f"{text} again" for text in texts[0]] and all(texts[0])


def test_splits_by_recording_follow_names_alone(rows: list[Row], tmp_path: Path) -> None:
    """Not the folder that audio of a tar is unpacked to, how paths are written, or row order."""
    options = TableOptions("t", {"path": "file"}, tmp_path, split_by=("recording",))
    in_tar = written(tar, tmp_path / "lists", rows)
    given = []
    for number in range(2):
        manifest = prepare_table(
            in_tar, tmp_path / f"out{number}", TableOptions("t", split_by=("recording",))
        )
        given.append((tmp_path / f"out{number}" / "t.tsv").read_text())
        assert manifest.cards
    assert given[0] == given[1]
    splits = []
    relative = [{**row, "file": f"clips/{Path(row['file']).name}"} for row in rows]
    # The voice of one more speaker is in some of the files, whose rows come first or last.
    second = [{**row, "speaker": "x", "id": f"x{row['id']}"} for row in relative[::3]]
    for number, some in enumerate((relative + second, second + relative[::-1], [*rows, *second])):
        with (tmp_path / f"{number}.csv").open("w") as out:
            writer = csv.DictWriter(out, list(some[0]))
            writer.writeheader()
            writer.writerows(some)
        prepare_table(tmp_path / f"{number}.csv", tmp_path / f"csv{number}", options)
        manifest_of = read_corpus(str(tmp_path / f"csv{number}" / "t.yaml")).manifest
        splits.append(dict(zip(manifest_of.column("id"), manifest_of.column("split_speaker_id"))))
    assert splits[0] == splits[1] == splits[2]
    assert {*splits[0].values()} == {*SPLITS}
