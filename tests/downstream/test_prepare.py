"""`barlow-speech prepare`: corpora in their official layouts, checked on trees made for it.

The files of those trees are empty, so that a reader that opened a recording would fail.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import corpus_trees as trees
import numpy as np
import pytest
import soundfile
import torch

from barlow_speech import configs
from barlow_speech.benchmark import entry, run_downstream
from barlow_speech.downstream import corpora
from barlow_speech.downstream.corpora import _known_faults as known_faults_module
from barlow_speech.downstream.corpora import (
    emodb,
    librispeech,
    speech_commands_v1,
    speech_commands_v2,
    timit,
    voxceleb1,
)
from barlow_speech.downstream.corpora._iemocap_dialogues import DIALOGUES
from barlow_speech.downstream.corpora._scan import Options
from barlow_speech.downstream.corpora._splits import split_names, split_shares, split_speakers
from barlow_speech.downstream.corpus import SPLITS, Corpus, read_card, read_corpus
from barlow_speech.downstream.preparation import from_table
from barlow_speech.downstream.preparation.audio_check import check_audio
from barlow_speech.downstream.preparation.plausibility import implausible
from barlow_speech.downstream.preparation.prepare import find_reader, prepare
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.data.allowed_folders import VARIABLE
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording, read_manifest
from barlow_speech.upstream.data.packed import chosen
from barlow_speech.upstream.pretraining.recipe import read_recipe
from barlow_speech.upstream.third_party.compatibility import s3prl_hub

# Corpora whose tree is as large as the published corpus, and the folders that the others have.
WHOLE = ("emodb", "ravdess", "crema_d", "timit", "iemocap")
FOLDERS = {
    "librispeech": "LibriSpeech",
    "voxceleb1": "VoxCeleb1",
    "speech_commands_v1": "speech_commands_v0.01",
    "speech_commands_v2": "speech_commands_v0.02",
    "common_voice": "cv-corpus-17.0-2024-03-15/en",
}
PARTIAL = Options(partial=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every corpus; not to be changed."""
    root = tmp_path_factory.mktemp("corpora")
    for name in WHOLE:
        getattr(trees, name)(root / name)
    trees.librispeech(root / "LibriSpeech")
    trees.voxceleb1(root / "VoxCeleb1")
    test_set = root / "speech_commands_test_set_v0.01"
    words = speech_commands_v1.VERSION.words
    trees.speech_commands(root / FOLDERS["speech_commands_v1"], words, test_set)
    words = speech_commands_v2.VERSION.words
    trees.speech_commands(root / FOLDERS["speech_commands_v2"], words)
    trees.common_voice(root)
    return root


@pytest.fixture
def made(data: Path, tmp_path: Path) -> Callable[[str], dict[str, Corpus]]:
    """Prepare a corpus into a folder of the test's own; its cards, read back, by their names."""

    def make(name: str) -> dict[str, Corpus]:
        cards = []
        for by_speaker in (False, True)[: 1 + ("split_by_speaker" in find_reader(name).takes)]:
            options = Options(partial=True, split_by_speaker=by_speaker)
            prepared = prepare(name, data / FOLDERS.get(name, name), tmp_path / name, options)
            assert prepared.leaks == []
            cards += prepared.cards
        corpora = [read_corpus(str(card)) for card in cards]
        return {corpus.name: corpus for corpus in corpora}

    return make


def columns(corpus: Corpus, *names: str) -> Iterator[tuple[str, ...]]:
    """File name and columns of each recording."""
    cells = zip(*(corpus.manifest.column(name) for name in names))
    for recording, row in zip(corpus.recordings, cells):
        yield (recording.path.name, *row)


# All corpora alike


@pytest.mark.parametrize("name", WHOLE)
def test_the_published_counts_are_found_in_a_whole_corpus(
    name: str, data: Path, tmp_path: Path
) -> None:
    prepared = prepare(name, data / name, tmp_path)
    assert prepared.differences == prepared.notes == prepared.leaks == []
    assert (
        read_corpus(str(tmp_path / f"{name}.yaml")).card.tasks.keys()
        == read_card(configs.find("corpus", name)).tasks.keys()
    )


@pytest.mark.parametrize("name", corpora.names())
def test_what_was_written_serves_its_tasks(name: str, made: Callable[[str], dict]) -> None:
    corpora = made(name)
    assert set(corpora) == set(find_reader(name).cards)
    for card, corpus in corpora.items():
        template = read_card(configs.find("corpus", card))
        assert corpus.card.tasks == template.tasks and corpus.card.tasks
        assert all((template.licence, template.citation, template.description))
        assert corpus.card.citation == template.citation and corpus.card.revision
        assert all(recording.path.is_file() for recording in corpus.recordings)
        assert len(set(corpus.recordings)) == len(corpus.recordings)
        for task in map(read_task, corpus.card.tasks):
            for examples in corpus.folds(task):
                held = [set(examples.labels[split]) for split in SPLITS]
                assert held[1] and held[2] and held[1] | held[2] <= held[0]
                if task.speakers_disjoint and "speaker" in corpus.manifest.columns:
                    speakers = np.array(corpus.manifest.column("speaker"))
                    train, test = (set(speakers[examples.rows[s]]) for s in ("train", "test"))
                    assert train - {""} and not (train & test) - {""}


@pytest.mark.parametrize("name", corpora.names())
def test_the_built_in_card_finds_the_manifest_below_a_data_root(
    name: str, data: Path, tmp_path: Path
) -> None:
    for card in find_reader(name).cards:
        template = read_card(configs.find("corpus", card))
        out = tmp_path / Path(template.manifest).parent
        options = Options(partial=True, split_by_speaker=card.endswith("_by_speaker"))
        prepare(name, data / FOLDERS.get(name, name), out, options)
        corpus = read_corpus(card, tmp_path)
        assert corpus.manifest.columns == read_corpus(str(out / f"{card}.yaml")).manifest.columns


def test_every_card_is_a_reader_s() -> None:
    ours = {card for name in corpora.names() for card in find_reader(name).cards}
    assert ours == set(configs.files("corpus"))


@pytest.mark.parametrize("name", corpora.names())
def test_the_corpus_is_named_that_a_folder_really_is(name: str, data: Path, tmp_path: Path) -> None:
    root = data / FOLDERS.get(name, name)
    for other in corpora.names():
        if other == name:
            continue
        with pytest.raises(BarlowSpeechError) as caught:
            prepare(other, root, tmp_path / "out")
        assert (
            f"{root} looks like {find_reader(name).title}, not {find_reader(other).title}"
            in str(caught.value)
        )
        assert f"`barlow-speech prepare {name} {root}`" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", corpora.names())
def test_a_folder_above_the_corpus_says_where_it_is(name: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "below").symlink_to(data / FOLDERS.get(name, name))
    with pytest.raises(BarlowSpeechError, match=rf"`barlow-speech prepare {name} .*above/below`"):
        prepare(name, tmp_path / "above")


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    (tmp_path / "TIMIT.zip").touch()
    for root, words in (
        ("empty", "expected TRAIN and TEST .*, found nothing; give the folder"),
        ("other", "expected TRAIN and TEST .*, found notes.txt"),
        ("TIMIT.zip", "is no folder; unpack it"),
        ("nowhere", "is no folder; check the path"),
    ):
        with pytest.raises(BarlowSpeechError, match=words) as caught:
            prepare("timit", tmp_path / root)
        assert "\n" not in str(caught.value)
    with pytest.raises(BarlowSpeechError, match="did you mean 'timit'"):
        prepare("timid", tmp_path)


@pytest.mark.parametrize(
    ("out", "absolute"),
    [
        (".", False),
        ("deep/er", False),
        ("..", False),
        ("../..", False),
        ("../beside", False),
        ("../../far/away", True),
        ("linked", False),  # to a folder beside that of the corpus
    ],
)
def test_paths_lead_to_the_recordings_from_wherever_the_manifest_is(
    out: str, absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.emodb(tmp_path / "a" / "b" / "EmoDB")
    (tmp_path / "a" / "b" / "other").mkdir()
    (root / "linked").symlink_to(Path("..") / "other")
    prepare("emodb", root, root / out)
    corpus = read_corpus(str(root / out / "emodb.yaml"))
    assert {one.path.resolve() for one in corpus.recordings} == set((root / "wav").iterdir())
    assert {one.startswith("/") for one in corpus.manifest.column("path")} == {absolute}
    if not absolute:  # then both can be moved together
        shutil.move(tmp_path / "a", tmp_path / "moved")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "moved"))
        moved = read_corpus(str(tmp_path / "moved" / "b" / "EmoDB" / out / "emodb.yaml"))
        assert all(recording.path.is_file() for recording in moved.recordings)


def test_a_corpus_behind_a_link(tmp_path: Path) -> None:
    root = trees.emodb(tmp_path / "a" / "b" / "EmoDB")
    (tmp_path / "link").symlink_to(root)
    prepare("emodb", tmp_path / "link", tmp_path / "c")
    corpus = read_corpus(str(tmp_path / "c" / "emodb.yaml"))
    assert all(recording.path.is_file() for recording in corpus.recordings)


def test_a_second_call_writes_the_same(data: Path, tmp_path: Path) -> None:
    before = {}
    for _ in range(2):
        prepare("crema_d", data / "crema_d", tmp_path)
        now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert before in ({}, now)
        before = now


# What is not whole, or not the corpus's


def copy(source: Path, target: Path) -> Path:
    """A copy whose files are links: to change one, remove it first."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def lack(root: Path, *patterns: str) -> None:
    for pattern in patterns:
        found = list(root.glob(pattern))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("name", "gone", "words"),
    [
        ("emodb", ["wav/16*"], r"of 535 files.*speaker 16|speaker 16.*of 535 files"),
        ("ravdess", ["Actor_07"], "lacks Actor_07, 60 of 1440 files"),
        ("ravdess", ["Actor_*/03-01-02-*"], "192 of 192 calm"),
        ("crema_d", ["AudioWAV/1007_*"], "lacks actor 1007"),
        ("crema_d", ["VideoDemographics.csv"], r"lacks VideoDemographics\.csv \(gender"),
        ("timit", ["TEST"], "lacks folder TEST, 1680 of 6300 files"),
        ("iemocap", ["Session3"], "lacks folder Session3/sentences/wav"),
        ("iemocap", ["Session2/dialog"], "lacks folder Session2/dialog/EmoEvaluation"),
        ("librispeech", ["train-clean-100/26"], "lacks train-clean-100/26"),
        ("librispeech", ["SPEAKERS.TXT"], r"lacks SPEAKERS\.TXT \(gender\)"),
        ("voxceleb1", ["test"], "lacks speaker id10055, speaker id10056"),
        ("voxceleb1", ["vox1_meta.csv"], r"lacks vox1_meta\.csv \(gender"),
        ("speech_commands_v1", ["testing_list.txt"], r"lacks testing_list\.txt"),
        ("speech_commands_v1", ["cat"], "lacks folder cat, "),
        ("speech_commands_v1", ["_background_noise_"], "lacks folder _background_noise_"),
        ("speech_commands_v2", ["dog/*_0.wav"], r"lacks \d+ files of its lists, such as dog/"),
        ("common_voice", ["dev.tsv"], r"lacks dev\.tsv"),
        ("common_voice", ["clips/*_10?.mp3"], "10 of 24 files in train"),
    ],
)
def test_half_a_download_is_refused_unless_partial(
    name: str,
    gone: list[str],
    words: str,
    data: Path,
    tmp_path: Path,
    published: None,
) -> None:
    root = tmp_path / "release" / "en"
    copy(data / FOLDERS.get(name, name), root)
    lack(root, *gone)
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        prepare(name, root, tmp_path / "out")
    assert f"{root} is not the whole {find_reader(name).title}" in str(caught.value)
    assert str(caught.value).endswith("add --partial to take what is there.")
    assert not (tmp_path / "out").exists()
    prepared = prepare(name, root, tmp_path / "out", PARTIAL)
    assert any(line.startswith("missing: ") for line in prepared.differences)
    for card in prepared.cards:
        corpus = read_corpus(str(card))
        assert re.search(
            words.removeprefix("lacks "), corpus.card.description.partition("Partial")[2]
        )
        for task in corpus.card.tasks:  # what cannot be served is not promised
            corpus.folds(read_task(task))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the small trees hold for the published numbers."""
    files = {s: 20 * len(speakers) for s, speakers in trees.LIBRISPEECH.items()}
    sexes = {s: Counter(speakers.values()) for s, speakers in trees.LIBRISPEECH.items()}
    subsets = {
        s: librispeech.Subset(files[s], sexes[s]["F"], sexes[s]["M"], 1.0)
        for s in trees.LIBRISPEECH
    }
    monkeypatch.setattr(librispeech, "SUBSETS", subsets)
    monkeypatch.setattr(
        voxceleb1,
        "PUBLISHED",
        {
            "files": 360,
            "files in train": 120,
            "files in dev": 120,
            "files in test": 120,
            "speakers": 60,
            "female speakers": 30,
            "male speakers": 30,
        },
    )
    for module in (speech_commands_v1, speech_commands_v2):
        words = dict.fromkeys(module.VERSION.words, 40)
        split = 4 * len(words)
        unknown = 4 * (len(words) - 10)
        test_set = dict.fromkeys(speech_commands_v1.COMMANDS, 4)
        test_set |= {"_unknown_": unknown, "_silence_": 3}
        version = speech_commands_v1.Version(
            module.VERSION.number, words, 40, split, split, test_set
        )
        monkeypatch.setattr(module, "READER", speech_commands_v1.reader_of(version))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_corpus_with_the_published_counts_has_no_difference(
    name: str, data: Path, tmp_path: Path, published: None
) -> None:
    prepared = prepare(name, data / FOLDERS[name], tmp_path)
    assert prepared.differences == prepared.leaks == []
    without_test_set = name == "speech_commands_v2"
    assert len(prepared.notes) == without_test_set


def test_a_small_difference_is_named_and_no_error(tmp_path: Path) -> None:
    root = trees.emodb(tmp_path / "EmoDB")
    gone = sorted((root / "wav").glob("*W*"))[:2]
    for path in gone:
        path.unlink()
    prepared = prepare("emodb", root)
    assert prepared.differences == [
        "files: 535 published, 533 found",
        "anger: 127 published, 125 found",
    ]
    trees.touch(root, [f"wav/{path.name}" for path in gone] + ["wav/03a01Nz.wav"])
    assert prepare("emodb", root).differences == [
        "files: 535 published, 536 found",
        "neutral: 79 published, 80 found",
    ]


@pytest.mark.parametrize(
    ("name", "stray", "words"),
    [
        ("emodb", "wav/03a01Xa.wav", r"wav/03a01Xa\.wav has the emotion 'X'.* only W, L, E"),
        ("emodb", "wav/04a01Wa.wav", "the speaker '04'"),
        ("emodb", "wav/03a09Wa.wav", "the sentence 'a09'"),
        ("emodb", "wav/copy.wav", r"such as wav/copy\.wav, are not named as 03a01Fa"),
        ("ravdess", "Actor_01/03-01-09-01-01-01-01.wav", "the emotion '09'"),
        ("ravdess", "Actor_25/03-01-01-01-01-01-25.wav", "the actor '25'"),
        ("crema_d", "AudioWAV/1001_DFA_SUR_XX.wav", "the emotion 'SUR'.* only ANG, DIS"),
        ("timit", "TRAIN/DR1/FZAA1/XX1.WAV", r"such as TRAIN/DR1/FZAA1/XX1\.WAV"),
        ("iemocap", "Session1/sentences/wav/a/Ses06F_impro01_F000.wav", "are not named as Ses01F"),
        ("librispeech", "dev-clean/84/9/84-9-1.flac", "are not named as 103-1240-0000.flac"),
        ("librispeech", "dev-clean/61/9/61-9-0000.flac", r"speaker 61.*does not list in dev-clean"),
        ("voxceleb1", "dev/wav/id00012/v/00001.wav", "id00012 is no speaker of VoxCeleb1"),
        ("voxceleb1", "dev/wav/id10999/v/00001.wav", "id10999, which iden_split.txt does not list"),
        ("speech_commands_v1", "learned/0a_nohash_0.wav", "the word 'learned'.* only bed, bird"),
        ("speech_commands_v2", "dog/0a.wav", r"such as dog/0a\.wav, are not named as"),
    ],
)  # fmt: skip
def test_what_is_not_the_corpus_s_is_named(
    name: str, stray: str, words: str, data: Path, tmp_path: Path, published: None
) -> None:
    root = tmp_path / "root"
    copy(data / FOLDERS.get(name, name), root)
    trees.touch(root, [stray])
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        prepare(name, root, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "file", "content", "words"),
    [
        ("voxceleb1", "iden_split.txt", "1 id10001/x.wav\n", "line 1: '1 id10001/x.wav' is not"),
        ("voxceleb1", "iden_split.txt", None, "official identification split, is missing"),
        ("voxceleb1", "vox1_meta.csv", "a,b\n1,2\n", "no columns 'VoxCeleb1 ID'"),
        ("librispeech", "SPEAKERS.TXT", "14 | F\n", "line 1: '14 | F' is not like"),
        ("crema_d", "VideoDemographics.csv", "a,b\n1,2\n", "no columns ActorID and Sex"),
        ("common_voice", "train.tsv", "a\tb\n", "no column 'client_id'"),
        ("common_voice", "dev.tsv", "client_id\tpath\tsentence\tgender\nx\n", "line 2: 1 cells"),
        ("iemocap", "Session1/dialog/EmoEvaluation/x.txt", "[1 - 2]\tSes01\tjoy\t[1]", "'joy'"),
    ],
)
def test_broken_metadata_is_named(
    name: str, file: str, content: str | None, words: str, data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    copy(data / FOLDERS.get(name, name), root)
    (root / file).unlink(missing_ok=True)
    if content:
        (root / file).write_text(content)
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        prepare(name, root, tmp_path / "out", PARTIAL)
    assert str(root / file) in str(caught.value)


def test_a_clone_without_its_large_files_is_refused(data: Path, tmp_path: Path) -> None:
    copy(data / "crema_d", tmp_path / "CREMA-D")
    last = max((tmp_path / "CREMA-D" / "AudioWAV").glob("*.wav"))
    last.unlink()
    last.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BarlowSpeechError, match=r"1 files .*pointers of Git LFS.*git lfs pull"):
        prepare("crema_d", tmp_path / "CREMA-D")


def test_libritts_is_not_librispeech(tmp_path: Path) -> None:
    trees.touch(tmp_path, ["dev-clean/84/9/84_9_000000_000000.wav"])
    with pytest.raises(BarlowSpeechError, match=r"holds \.wav and no \.flac.*LibriTTS"):
        prepare("librispeech", tmp_path, options=PARTIAL)


# Each corpus

RAVDESS_EMOTIONS = (
    "neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise",
)  # fmt: skip


def test_labels_are_those_of_the_names(made: Callable[[str], dict[str, Corpus]]) -> None:
    for name, speaker, gender, emotion in columns(
        made("emodb")["emodb"], "speaker", "gender", "emotion"
    ):
        assert speaker == name[:2]
        assert gender == ("male" if speaker in ("03", "10", "11", "12", "15") else "female")
        german = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear"}
        german |= {"F": "happiness", "T": "sadness", "N": "neutral"}
        assert emotion == german[name[5]]
    for name, speaker, gender, emotion in columns(
        made("ravdess")["ravdess"], "speaker", "gender", "emotion"
    ):
        numbers = name.removesuffix(".wav").split("-")
        assert numbers[1] == "01" and speaker == numbers[6]
        assert gender == ("female", "male")[int(speaker) % 2]
        assert emotion == RAVDESS_EMOTIONS[int(numbers[2]) - 1]
    for name, speaker, gender, emotion in columns(
        made("crema_d")["crema_d"], "speaker", "gender", "emotion"
    ):
        assert speaker == name[:4]
        assert gender == ("female" if int(speaker) in trees.CREMA_D_WOMEN else "male")
        assert emotion[:3].upper() in (name[9:12], "")


def test_held_out_actors_are_as_many_women_as_men(made: Callable[[str], dict]) -> None:
    for name, number in (("emodb", 1), ("ravdess", 2), ("crema_d", 7)):
        corpus = made(name)[name]
        rows = set(
            zip(
                *(
                    corpus.manifest.column(c)
                    for c in ("speaker", "gender", "split_speaker_disjoint")
                )
            )
        )
        held = Counter((gender, split) for _, gender, split in rows if split != "train")
        assert set(held.values()) == {number} and len(held) == 4


def test_speaker_identification_is_tested_on_other_sentences(made: Callable[[str], dict]) -> None:
    for name in ("emodb", "crema_d", "timit"):
        corpus = made(name)[name]
        heard: dict[str, set[str]] = {}
        for file, split in columns(corpus, "split_speaker_id"):
            sentence = {"emodb": file[2:5], "crema_d": file[5:8], "timit": file}[name]
            heard.setdefault(split, set()).add(sentence)
        assert not heard["train"] & (heard["dev"] | heard["test"])
        assert not heard["dev"] & heard["test"]


def test_known_faults_of_a_corpus_are_applied_and_told(data: Path, tmp_path: Path) -> None:
    prepared = prepare("ravdess", data / "ravdess", tmp_path)
    corpus = read_corpus(str(tmp_path / "ravdess.yaml"))
    names = {recording.path.name for recording in corpus.recordings}
    assert len(names) == 1439 and "03-01-03-01-02-02-07.wav" not in names
    (said,) = prepared.faults
    assert "RavdessSounds@155b30b0" in said and said.endswith("here: 1 left out.")
    assert said in corpus.card.description
    prepared = prepare("crema_d", data / "crema_d", tmp_path)
    emotions = dict(columns(read_corpus(str(tmp_path / "crema_d.yaml")), "emotion"))
    assert len(emotions) == 7442 - 4 and "1017_IWW_FEA_XX.wav" not in emotions
    assert [name for name, emotion in emotions.items() if not emotion] == [
        "1006_TIE_HAP_XX.wav", "1013_WSI_DIS_XX.wav", "1017_IWW_ANG_XX.wav",
    ]  # fmt: skip
    assert len(prepared.faults) == 2


def test_a_table_whose_files_are_named_as_a_corpus_hears_of_its_faults(tmp_path: Path) -> None:
    lines = ["path,speaker,emotion,split"]
    for speaker, number in ((46, 156), (53, 209), (53, 999), (7, 1), (8, 2), (9, 3)):
        name = f"{speaker}-m-20-0-0-{number}.wav"
        trees.touch(tmp_path, [name])
        lines.append(f"{name},{speaker},{'ab'[number % 2]},{('train', 'dev', 'test')[number % 3]}")
    (tmp_path / "baved.csv").write_text("\n".join(lines) + "\n")
    prepared = from_table.prepare_table(tmp_path / "baved.csv")
    manifest = read_manifest(tmp_path / "baved.tsv")
    assert manifest.column("speaker") == ["46", "46", "7", "8", "9"]
    assert manifest.column("path")[:2] == ["46-m-20-0-0-156.wav", "53-m-20-0-0-999.wav"]
    assert [one.endswith("here: 2 called 46, 1 left out.") for one in prepared.faults] == [
        True, False,
    ]  # fmt: skip
    trees.touch(tmp_path, ["other.wav"])
    (tmp_path / "baved.csv").write_text("\n".join([*lines, "other.wav,10,a,train"]) + "\n")
    assert from_table.prepare_table(tmp_path / "baved.csv").faults == []


def test_known_faults_are_of_files_that_are_named_as_their_corpus() -> None:
    for name, corpus in known_faults_module._corpora().items():
        assert corpus.faults
        for fault in corpus.faults:
            for stem in (*fault.left_out, *fault.unlabelled):
                assert known_faults_module.named_as([f"x/{stem}.wav"]) == name


def test_actors_that_crema_d_does_not_have_are_a_line_and_move_nobody(
    data: Path, tmp_path: Path
) -> None:
    before = prepare("crema_d", data / "crema_d", tmp_path / "before")
    root = copy(data / "crema_d", tmp_path / "root")
    table = (root / "VideoDemographics.csv").read_text()
    (root / "VideoDemographics.csv").unlink()
    more = "".join(
        f'{actor},33,"Female","Unknown","Not Hispanic"\n' for actor in (1092, 1093, 1094)
    )
    (root / "VideoDemographics.csv").write_text(table + more)
    trees.touch(root, ["AudioWAV/1093_DFA_ANG_XX.wav"])
    after = prepare("crema_d", root, tmp_path / "after")
    assert after.differences == before.differences == []
    assert ["Actors 1092, 1093, 1094 are none" in note for note in after.notes] == [True]
    splits = [
        {(row[0], row[1]) for row in columns(read_corpus(str(card)), "split_speaker_disjoint")}
        for card in (*before.cards, *after.cards)
    ]
    assert splits[0] == splits[1]
    assert {split for name, split in splits[1] if name.startswith("1032")} == {"dev"}


def test_genders_of_librispeech_are_a_choice_and_never_a_lacking_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: None
) -> None:
    sexes = {"train-clean-100": {"26": "M", "103": "F"}, "dev-clean": {"2078": "M", "7976": "M"}}
    sexes |= {"test-clean": {"61": "M", "121": "F"}}
    monkeypatch.setattr(trees, "LIBRISPEECH", sexes)
    subsets = {
        name: librispeech.Subset(40, *(list(own.values()).count(s) for s in "FM"), 1.0)
        for name, own in sexes.items()
    }
    monkeypatch.setattr(librispeech, "SUBSETS", subsets)
    root = trees.librispeech(tmp_path / "LibriSpeech")
    trees.touch(root, ["dev-clean/.keep"])
    file = root / "SPEAKERS.TXT"
    audit = file.read_text().replace("2078 | M", "2078 | F").replace("7976 | M", "7976 | F")
    for text, choice, genders, said in (
        (file.read_text(), "", {"male"}, "those of the published table"),
        (audit, "", {"female"}, "those of the audit table"),
        (audit.replace("7976 | F", "7976 | M"), "", {"female", "male"}, "of neither"),
        (audit, "published", {"male"}, "those of the published table"),
        (file.read_text(), "audit", {"female"}, "those of the audit table"),
    ):
        file.write_text(text)
        prepared = prepare("librispeech", root, options=Options(genders=choice))
        corpus = read_corpus(str(prepared.cards[0]))
        own = zip(corpus.manifest.column("speaker"), corpus.manifest.column("gender"))
        assert {gender for speaker, gender in own if speaker in ("2078", "7976")} == genders
        assert said in prepared.faults[0] and said in corpus.card.description
        counted = "female speakers in dev-clean: 0 published"
        assert any(counted in one for one in prepared.differences) == (genders != {"male"})
        file.write_text(trees.librispeech(tmp_path / "again").joinpath("SPEAKERS.TXT").read_text())
        shutil.rmtree(tmp_path / "again")


def test_timit_in_small_letters_is_the_same(data: Path, tmp_path: Path) -> None:
    root = trees.timit(tmp_path / "timit", small=True)
    (next(root.glob("train/*/*")) / "SA1.WAV.wav").touch()  # as in copies for people without sox
    found = []
    for folder in (data / "timit", root):
        prepare("timit", folder, tmp_path / folder.parent.name)
        manifest = read_manifest(tmp_path / folder.parent.name / "timit.tsv")
        others = (cells for name, cells in manifest.columns.items() if name != "path")
        paths = ("/".join(one.path.parts[-4:]).upper() for one in manifest.recordings)
        found.append(sorted(zip(paths, *others)))
    assert found[0] == found[1]
    rows = [dict(zip(manifest.columns, row)) for row in zip(*manifest.columns.values())]
    prompts = {row["text"] for row in rows if row["path"].endswith("sa1.wav")}
    assert prompts == {"She had your dark suit in greasy wash water all year."}
    dev = {row["speaker"] for row in rows if row["split_speaker_disjoint"] == "dev"}
    assert dev == timit.DEV_SPEAKERS


def test_timit_may_have_every_file_under_the_longer_name_alone(data: Path, tmp_path: Path) -> None:
    root = copy(data / "timit", tmp_path / "timit")
    for path in root.rglob("*.WAV"):
        path.rename(f"{path}.wav")
    splits = []
    for folder in (data / "timit", root):
        prepare("timit", folder, tmp_path / folder.parent.name)
        columns = read_manifest(tmp_path / folder.parent.name / "timit.tsv").columns
        places = (one.rpartition("timit/")[2].partition(".")[0] for one in columns.pop("path"))
        splits.append(sorted(zip(places, *columns.values())))
    assert splits[0] == splits[1] and len(splits[0]) == 6300


def test_iemocap_is_s3prl_s(data: Path, tmp_path: Path) -> None:
    """Labels and folds against s3prl's own preprocessing script."""
    s3prl_hub()  # which stands in for librosa, whichever test comes first
    package = importlib.util.find_spec("s3prl")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "downstream/emotion/IEMOCAP_preprocess.py"
    spec = importlib.util.spec_from_file_location("IEMOCAP_preprocess", file)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    root = copy(data / "iemocap", tmp_path / "IEMOCAP_full_release")
    script.main(str(root))
    prepare("iemocap", root, tmp_path)
    corpus = read_corpus(str(tmp_path / "iemocap.yaml"))
    short = {"neu": "neutral", "hap": "happiness", "ang": "anger", "sad": "sadness"}
    for session, examples in enumerate(corpus.folds(read_task("emotion")), start=1):
        theirs = {}
        for part in ("train", "test"):
            meta = json.loads(
                (root / f"meta_data/Session{session}/{part}_meta_data.json").read_text()
            )["meta_data"]
            theirs[part] = {one["path"]: short[one["label"]] for one in meta}
        ours = {
            split: {
                str(corpus.recordings[row].path.relative_to(root)): examples.classes[label]
                for row, label in zip(examples.rows[split], examples.labels[split])
            }
            for split in SPLITS
        }
        assert ours["test"] == theirs["test"]
        assert ours["train"] | ours["dev"] == theirs["train"]
        assert len(ours["train"]) == int((1 - 0.2) * len(theirs["train"]))
        dev = Counter(ours["dev"].values())
        for emotion, count in Counter(theirs["train"].values()).items():
            assert dev[emotion] / count == pytest.approx(0.2, abs=0.07)  # drawn at random
    genders = {
        (name.rpartition("_")[2][0], gender, speaker[-1])
        for name, gender, speaker in columns(corpus, "gender", "speaker")
    }
    assert genders == {("F", "female", "F"), ("M", "male", "M")}


def test_dev_of_iemocap_follows_the_order_of_s3prl_s_label_files(tmp_path: Path) -> None:
    """Two dialogues a session whose names sort the other way, and one that s3prl does not have."""
    assert [sum(one.startswith(f"Ses0{n}") for one in DIALOGUES) for n in range(1, 6)] == [
        28, 30, 32, 30, 31,
    ]  # fmt: skip
    root, in_order = tmp_path / "IEMOCAP", []
    for session in range(1, 6):
        own = [one for one in DIALOGUES if one.startswith(f"Ses0{session}")]
        after = next(i for i in range(len(own)) if own[i + 1] < own[i])
        for dialogue in (*own[after : after + 2], f"Ses0{session}F_impro99"):
            evaluation = root / f"Session{session}/dialog/EmoEvaluation/{dialogue}.txt"
            evaluation.parent.mkdir(parents=True, exist_ok=True)
            names = [f"{dialogue}_{actor}{n:03d}" for actor in "FM" for n in range(6)]
            labels = ("neu", "hap", "ang", "sad", "exc", "xxx")
            lines = [
                f"[1.0 - 2.0]\t{name}\t{labels[i % 6]}\t[2, 2, 2]" for i, name in enumerate(names)
            ]
            evaluation.write_text("\n".join(lines) + "\n")
            folder = f"Session{session}/sentences/wav/{dialogue}"
            trees.touch(root, [f"{folder}/{name}.wav" for name in names])
            in_order += [(session, name) for i, name in enumerate(names) if labels[i % 6] != "xxx"]
    prepare("iemocap", root, options=PARTIAL)
    corpus = read_corpus(str(root / "iemocap.yaml"))
    for task in ("emotion", "superb_er"):
        for test, examples in enumerate(corpus.folds(read_task(task)), start=1):
            others = [name for session, name in in_order if session != test]
            torch.manual_seed(0)
            train = int(0.8 * len(others))
            drawn = torch.utils.data.random_split(others, [train, len(others) - train])
            for split, theirs in zip(("train", "dev"), drawn):
                ours = {corpus.recordings[row].path.stem for row in examples.rows[split]}
                assert ours == set(theirs)


def test_speech_commands_are_s3prl_s(data: Path, made: Callable[[str], dict]) -> None:
    """Classes and splits against s3prl's own, which splits by hash and not by the lists."""
    s3prl_hub()
    from s3prl.downstream.speech_commands.dataset import SpeechCommandsTestingDataset
    from s3prl.downstream.speech_commands.expert import split_dataset

    root = data / FOLDERS["speech_commands_v1"]
    corpora = made("speech_commands_v1")
    corpus = corpora["speech_commands_v1_12"]
    examples = corpus.examples(read_task("keyword_spotting"))
    assert len(examples.classes) == 12
    ours = {
        split: {
            (examples.classes[label], str(corpus.recordings[row].path.resolve()))
            for row, label in zip(examples.rows[split], examples.labels[split])
        }
        for split in SPLITS
    }
    commands = {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
    for split, theirs in zip(("train", "dev"), split_dataset(root)):
        wanted = {(w if w in commands else "_unknown_", str(p.resolve())) for w, p in theirs}
        assert {one for one in ours[split] if one[0] != "_silence_"} == wanted
    test_root = data / "speech_commands_test_set_v0.01"
    theirs = SpeechCommandsTestingDataset(speech_commands_test_root=str(test_root)).data
    assert ours["test"] == {(word, str(path.resolve())) for word, path in theirs}
    words = corpora["speech_commands_v1"].examples(read_task("keyword_spotting"))
    train, dev = split_dataset(root)
    assert [len(words.rows[s]) for s in ("train", "dev")] == [len(train), len(dev)]
    assert len(words.classes) == 30


@pytest.mark.parametrize("name", ["speech_commands_v1", "speech_commands_v2"])
def test_silence_is_a_fixed_bank_without_overlap(name: str, made: Callable[[str], dict]) -> None:
    corpus = made(name)[f"{name}_12"]
    found: dict[str, dict[str, list[Recording]]] = {}
    for recording, label, split in zip(
        corpus.recordings, corpus.manifest.column("keyword_12"), corpus.manifest.column("split_12")
    ):
        if label == "_silence_" and recording.path.parent.name == "_background_noise_":
            assert recording.end_s == recording.start_s + 1
            found.setdefault(recording.path.name, {}).setdefault(split, []).append(recording)
    held = "" if name == "speech_commands_v1" else "test"  # v1 has its official test set
    assert {n: {s: len(one) for s, one in v.items()} for n, v in found.items()} == {
        "pink_noise.wav": {"train": 16, "dev": 2, held: 2},
        "running_tap.wav": {"train": 8, "dev": 1, held: 2},
    }
    everything = [one for v in found.values() for ones in v.values() for one in ones]
    assert not any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[:i])


def test_a_test_set_may_be_given_and_is_checked(data: Path, tmp_path: Path) -> None:
    root = data / FOLDERS["speech_commands_v2"]
    given = data / "speech_commands_test_set_v0.01"
    prepare("speech_commands_v2", root, tmp_path, Options(partial=True, test_set=given))
    corpus = read_corpus(str(tmp_path / "speech_commands_v2_12.yaml"))
    test = corpus.examples(read_task("keyword_spotting")).rows["test"]
    assert all(given.resolve() in corpus.recordings[row].path.resolve().parents for row in test)
    for folder, words in ((tmp_path / "no", "is no folder"), (root, "no folder _unknown_")):
        with pytest.raises(BarlowSpeechError, match=words):
            prepare("speech_commands_v2", root, tmp_path, Options(partial=True, test_set=folder))


@pytest.mark.parametrize("split_archives", [True, False])
def test_voxceleb1_follows_its_official_lists(split_archives: bool, tmp_path: Path) -> None:
    root = trees.voxceleb1(tmp_path / "VoxCeleb1", split_archives)
    prepare("voxceleb1", root, options=PARTIAL)
    manifest = read_manifest(root / "identification.tsv")
    number = {"train": "1", "dev": "2", "test": "3"}
    lines = {
        f"{number[split]} {'/'.join(recording.path.parts[-3:])}"
        for recording, split in zip(manifest.recordings, manifest.column("split"))
    }
    assert lines == set((root / "iden_split.txt").read_text().split("\n")) - {""}
    assert manifest.column("split") == manifest.column("split_speaker_id")
    meta = [line.split("\t") for line in (root / "vox1_meta.csv").read_text().splitlines()[1:]]
    sexes = {row[0]: {"f": "female", "m": "male"}[row[2]] for row in meta}
    assert dict(zip(manifest.column("speaker"), manifest.column("gender"))) == sexes
    disjoint = dict(zip(manifest.column("speaker"), manifest.column("split_speaker_disjoint")))
    assert {s for s, d in disjoint.items() if d == "test"} == {r[0] for r in meta if r[4] == "test"}
    assert Counter(sexes[s] for s, d in disjoint.items() if d == "dev") == {
        "female": 20,
        "male": 20,
    }


def test_librispeech_has_a_manifest_a_subset_and_transcripts(
    made: Callable[[str], dict], data: Path, tmp_path: Path
) -> None:
    corpus = made("librispeech")["librispeech"]
    sexes = {s: sex for speakers in trees.LIBRISPEECH.values() for s, sex in speakers.items()}
    for name, speaker, gender, text in columns(corpus, "speaker", "gender", "text"):
        assert name.startswith(f"{speaker}-") and gender[0].upper() == sexes[speaker]
        assert text == f"TEXT OF {Path(name).stem}"
    for subset in trees.LIBRISPEECH:
        manifest = read_manifest(tmp_path / "librispeech" / f"{subset}.tsv")
        below = {path.resolve() for path in (data / "LibriSpeech" / subset).rglob("*.flac")}
        assert {recording.path.resolve() for recording in manifest.recordings} == below
    # Of each speaker the last utterances are held out; chapter 9 comes before chapter 1000.
    order = {"train": 0, "dev": 1, "test": 2}
    by_speaker: dict[str, list[tuple[list[int], int]]] = {}
    for name, speaker, split in columns(corpus, "speaker", "split_speaker_id"):
        if split:
            place = [int(one) for one in Path(name).stem.split("-")]
            by_speaker.setdefault(speaker, []).append((place, order[split]))
    assert set(by_speaker) == set(trees.LIBRISPEECH["train-clean-100"])
    for places in by_speaker.values():
        splits = [split for _, split in sorted(places)]
        assert splits == [0] * 16 + [1] * 2 + [2] * 2


def test_common_voice_is_compared_with_the_numbers_of_its_release(
    data: Path, tmp_path: Path
) -> None:
    root = data / FOLDERS["common_voice"]
    prepared = prepare("common_voice", root, tmp_path)
    corpus = read_corpus(str(tmp_path / "common_voice.yaml"))
    assert corpus.card.revision == "cv-corpus-17.0-2024-03-15, en"
    assert set(zip(corpus.manifest.column("speaker"), corpus.manifest.column("gender"))) == {
        *((f"train{voice}", "male") for voice in (0, 3)),
        *((f"train{voice}", "female") for voice in (1, 4)),
        *((f"{split}0", "male") for split in ("dev", "test")),
        *((f"{split}1", "female") for split in ("dev", "test")),
    }
    assert len(read_manifest(tmp_path / "common_voice_train.tsv")) == 24
    statistics = tmp_path / "cv.json"
    published = (data / "cv-corpus-17.0-2024-03-15.json").read_text()
    statistics.write_text(published.replace('"train": 24', '"train": 2400'))
    options = Options(statistics=statistics)
    with pytest.raises(BarlowSpeechError, match=r"\(cv\.json\).* 2376 of 2400 files in train"):
        prepare("common_voice", root, tmp_path, options)
    statistics.write_text(published.replace('"en"', '"de"'))
    with pytest.raises(BarlowSpeechError, match="no counts of the language 'en'"):
        prepare("common_voice", root, tmp_path, options)
    copy(root, tmp_path / "x" / "en")
    prepared = prepare("common_voice", tmp_path / "x" / "en", tmp_path)
    assert "Not compared with the published counts" in prepared.notes[0]


def test_genders_of_common_voice_6_0_are_refused(tmp_path: Path) -> None:
    root = trees.common_voice(tmp_path, "cv-corpus-6.0-2020-12-11")
    with pytest.raises(BarlowSpeechError, match=r"release 6\.0 has wrong genders.*corrected 6\.1"):
        prepare("common_voice", root, tmp_path / "out")
    prepared = prepare("common_voice", root, tmp_path / "out", PARTIAL)
    assert prepared.cards == []
    assert [one.name for one in prepared.manifests] == ["common_voice_train.tsv"]
    assert "gender" not in read_manifest(prepared.manifests[0]).columns
    next_one = trees.common_voice(tmp_path / "fixed", "cv-corpus-6.1-2020-12-11")
    assert prepare("common_voice", next_one).cards


def test_common_voice_split_by_speaker_takes_all_that_is_validated(
    data: Path, tmp_path: Path
) -> None:
    root = data / FOLDERS["common_voice"]
    options = Options(split_by_speaker=True)
    (card,) = prepare("common_voice", root, tmp_path, options).cards
    corpus = read_corpus(str(card))
    assert corpus.name == "common_voice_by_speaker"
    rows = set(
        zip(*(corpus.manifest.column(c) for c in ("speaker", "gender", "split_speaker_disjoint")))
    )
    speakers = [speaker for speaker, _, _ in rows]
    assert len(speakers) == len(set(speakers)) == 16
    counts = Counter((gender, split) for _, gender, split in rows)
    assert counts == {(g, s): n for g in ("female", "male") for s, n in zip(SPLITS, (6, 1, 1))}
    with pytest.raises(BarlowSpeechError, match="--split-by is not for"):
        prepare("emodb", data / "emodb", tmp_path, options)


@pytest.mark.parametrize(
    "genders",
    [("", ""), ("female_feminine", "female_feminine"), ("male_masculine", "female_feminine")],
)
def test_spontaneous_speech_and_a_language_without_dev_or_men(
    genders: tuple[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "sps-corpus-3.0-2026-03-09-aat"
    header = ["client_id", "audio_id", "audio_file", "transcription", "split"]
    header += ["gender"] if genders[0] else []  # which releases 1.0 and 2.0 do not have
    lines = ["\t".join(header)]
    for number in range(24):
        split = ("train", "train", "dev", "test", "unassigned", "train")[number % 6]
        row = [
            f"voice{number}",
            str(number),
            f"spontaneous-speech-aat-{number}.mp3",
            "Well [noise]",
            split,
        ]
        row += [genders[number // 6 % 2]] if genders[0] else []
        trees.touch(root, [f"audios/{row[2]}"])
        lines.append("\t".join(row))
    (root / "ss-corpus-aat.tsv").write_text("\n".join(lines) + "\n")
    counts = {"train": {"clips": 12}, "dev": {"clips": 4}, "test": {"clips": 4}}
    (tmp_path / "sps.json").write_text(json.dumps({"locales": {"aat": {"buckets": counts}}}))
    prepared = prepare("common_voice", root, options=Options(statistics=tmp_path / "sps.json"))
    assert prepared.differences == []
    assert len(read_manifest(root / "common_voice_train.tsv")) == 12
    if not genders[0]:
        assert prepared.cards == []
        return
    corpus = read_corpus(str(root / "common_voice.yaml"))
    if "male_masculine" in genders:
        assert "female 6/2/2 of 6/2/2 speakers; male 6/2/2 of 6/2/2 speakers" in prepared.classes[0]
        assert "fewer than 10 speakers of a class: female 6 in train" in prepared.few[0]
        assert corpus.card.revision == root.name
    else:
        assert corpus.card.tasks == {} and "one class only" in prepared.notes[-1]


@pytest.mark.parametrize("recipe", ["librispeech100", "librispeech360", "voxceleb1"])
def test_pretraining_recipes_find_what_prepare_writes(recipe: str, tmp_path: Path) -> None:
    name = "voxceleb1" if recipe == "voxceleb1" else "librispeech"
    root = getattr(trees, name)(tmp_path / "DATA" / FOLDERS[name])
    prepare(name, root, options=PARTIAL)
    recordings = chosen(read_recipe(configs.find("recipe", recipe)).data, tmp_path / "DATA")
    if name == "voxceleb1":
        lines = (root / "iden_split.txt").read_text().splitlines()
        wanted = {line[2:] for line in lines if line.startswith("1 ")}
        assert {"/".join(one.path.parts[-3:]) for one in recordings} == wanted
    else:
        subset = f"train-clean-{recipe[-3:]}"
        assert {one.path for one in recordings} == set((root / subset).rglob("*.flac"))


# Splits


def test_splits_depend_on_the_names_alone() -> None:
    names = [f"speaker {number}" for number in range(50)]
    split = split_names(names, 7, 9)
    assert split == split_names(reversed(names), 7, 9) == split_names(names * 2, 7, 9)
    assert Counter(split.values()) == {"train": 34, "dev": 7, "test": 9}
    assert split != split_names(names, 7, 9, seed="1")
    first = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:9]
    assert {name for name in names if split[name] == "test"} == set(first)


def test_speakers_are_split_within_their_gender() -> None:
    genders = {str(number): ("a", "b", "c")[number % 3] for number in range(30)}
    split = split_speakers(genders, 2, 3)
    counts = Counter((genders[name], one) for name, one in split.items())
    assert counts == {(g, s): n for g in "abc" for s, n in zip(SPLITS, (5, 2, 3))}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 10, 101])
def test_shares_leave_no_split_empty_where_it_can_be_helped(number: int) -> None:
    counts = Counter(split_shares(map(str, range(number)), 0.2, 0.1).values())
    assert sum(counts.values()) == number and counts["train"]
    if number >= 3:
        assert min(counts[split] for split in SPLITS) >= 1
        assert abs(counts["dev"] - 0.2 * number) <= 1 and abs(counts["test"] - 0.1 * number) <= 1


# Audio


def test_every_broken_recording_is_named(tmp_path: Path) -> None:
    for number in range(40):
        trees.sound(tmp_path / f"good{number}.wav", 0.1 + number / 100, number)
    rate = SAMPLE_RATE
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, rate)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), rate)
    soundfile.write(tmp_path / "silent.wav", np.zeros(rate), rate)
    soundfile.write(tmp_path / "offset.wav", np.full(rate, 0.2), rate)
    soundfile.write(tmp_path / "quiet.wav", noise / 100, rate)  # -60 dB: quiet, and no fault
    soundfile.write(
        tmp_path / "nan.wav", np.where(noise > 0.09, np.nan, noise), rate, subtype="FLOAT"
    )
    soundfile.write(tmp_path / "cut.flac", noise, rate)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:5000])
    (tmp_path / "text.wav").write_text("not found")
    (tmp_path / "none.wav").touch()
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "absent.wav"]
    recordings = [Recording(path) for path in paths]
    recordings += [Recording(tmp_path / "good0.wav", 5.0, 6.0)]
    heard = check_audio(recordings, [False] * len(recordings), workers=3)
    broken = ["cut.flac", "empty.wav", "nan.wav", "none.wav", "offset.wav", "silent.wav"]
    broken += ["text.wav", "absent.wav", "good0.wav"]
    assert [Path(re.search(r"recording (\S+)", one)[1]).name for one in heard.broken] == broken  # type: ignore[index]
    seconds = sum(0.1 + number / 100 for number in range(40)) + 3  # silence is heard, and quiet
    assert heard.hours * 3600 == pytest.approx(seconds, abs=1e-3)
    allowed = [recording.path.name in ("silent.wav", "offset.wav") for recording in recordings]
    assert len(check_audio(recordings, allowed).broken) == len(broken) - 2


def test_what_cannot_be_the_published_corpus_is_said(tmp_path: Path) -> None:
    """As a copy of EmoDB that is cut to exactly 2 s at 22.05 kHz, with all 535 names."""
    cut = [tmp_path / f"cut{number}.wav" for number in range(20)]
    for number, file in enumerate(cut):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 2205)
        soundfile.write(file, noise, 22_050)
    wrong, unlike = implausible(cut, 0.30, 0.41, SAMPLE_RATE)
    assert wrong[0] == "0.30 h are here, where 0.41 h were published"
    assert wrong[1].startswith("all 20 files are exactly 0.100 s long")
    assert unlike == ["20 at 22,050 Hz, where the corpus was published at 16,000 Hz"]
    good = [tmp_path / f"good{number}.wav" for number in range(20)]
    for number, file in enumerate(good):
        trees.sound(file, 0.1 + number / 1000, number)
    stereo = np.repeat(np.linspace(-0.1, 0.1, 900)[:, None], 2, axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, SAMPLE_RATE)
    (tmp_path / "broken.wav").touch()
    files = [*good, tmp_path / "stereo.wav", tmp_path / "broken.wav"]
    assert implausible(files, 0.42, 0.41, SAMPLE_RATE) == ([], [])
    assert implausible(cut[:5], 1.0, None, None) == ([], [])  # too few, and nothing published


# The command


def command(*arguments: object) -> int:
    return run_command(entry.run, ["prepare", *map(str, arguments)])


def tiny_emodb(root: Path) -> Path:
    """Three sentences and two emotions of each speaker, as audio."""
    takes = itertools.product(emodb.SPEAKERS, ("a01", "a05", "a07"), "WN")
    for number, (speaker, sentence, letter) in enumerate(takes):
        trees.sound(root / "wav" / f"{speaker}{sentence}{letter}a.wav", 0.2, number)
    return root


def test_the_command_says_what_it_did_and_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_emodb(tmp_path / "EmoDB")
    assert command("emodb", root) == 2
    assert "is not the whole EmoDB" in capsys.readouterr().err
    assert command("emodb", root, "--partial", "--check-audio") == 0
    said = capsys.readouterr()
    assert f"wrote       {root / 'emodb.tsv'}\nwrote       {root / 'emodb.yaml'}" in said.out
    assert "emodb, emotion by split_speaker_disjoint: 2 classes, 36/12/12" in said.out
    assert "classes     anger 18/6/6 of 6/2/2 speakers; neutral 18/6/6 of 6/2/2" in said.out
    assert "few         emodb, emotion by split_speaker_disjoint: fewer than 10" in said.err
    assert "60 recordings, 0.00 h decoded" in said.out
    assert "missing: 475 of 535 files" in said.err
    (root / "wav" / "03a01Wa.wav").write_bytes(b"")
    assert command("emodb", root, "--partial", "--check-audio", "--workers", 2) == 2
    said = capsys.readouterr()
    assert re.search(r"^broken .*03a01Wa\.wav", said.out, re.MULTILINE)
    assert "1 of 60 recordings are broken" in said.err
    trees.sound(root / "wav" / "03a01Wa.wav")
    given = ["-u", "fbank_no_cmvn", "-d", "emotion", "--corpus", str(root / "emodb.yaml")]
    given += ["--runs", "2", "--steps", "4", "--lr", "0.01", "--device", "cpu"]
    run_downstream.run([*given, "-p", str(tmp_path / "results")])
    assert "emodb" in capsys.readouterr().out


def test_the_silence_of_a_keyword_task_may_be_silent(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, test_set = tmp_path / "speech_commands_v0.01", tmp_path / "test"
    copy(data / "speech_commands_v0.01", root)
    copy(data / "speech_commands_test_set_v0.01", test_set)
    for path in (*root.glob("*/*_nohash_*.wav"), *test_set.glob("*/*_nohash_*.wav")):
        path.unlink()
        if path.parent.name in ("yes", "no", "_unknown_", "cat"):
            trees.sound(path, 0.05)
    for path in test_set.glob("_silence_/*"):
        path.unlink()
        soundfile.write(path, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    given = ["speech_commands_v1", root, "--partial", "--test-set", test_set, "--check-audio"]
    assert command(*given) == 0
    soundfile.write(next(root.glob("yes/*.wav")), np.zeros(100), SAMPLE_RATE)
    assert command(*given) == 2
    assert "yes/" in capsys.readouterr().out.partition("broken")[2]


def test_the_command_lists_the_corpora(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == corpora.names()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["timit"], "prepare timit needs the folder of TIMIT"),
        (["timit", ".", "--from-table", "x.csv"], "exclude each other"),
        (["timit", ".", "--workers", "0"], "--workers must be 1 or more"),
        (["timit", ".", "--genders", "audit"], "--genders is not for TIMIT"),
        (["timit", ".", "--test-set", "x"], "--test-set is not for TIMIT"),
        (["librispeech", ".", "--statistics", "x"], "--statistics is not for LibriSpeech"),
        (["timit", ".", "--split-by", "speaker"], "--split-by is not for TIMIT"),
        (["timit", ".", "--seed", "0"], "--seed is for a list of your own"),
        (["timit", ".", "--column", "speaker=who"], "--column is for a list of your own"),
        (["--from-table", "x.csv", "--genders", "audit"], "--genders is for a public corpus"),
        (["--from-table", "x.csv", "--test-set", "x"], "--test-set is for a public corpus"),
        (["--from-table", "x.csv", "--seed", "1"], "which --split-by asks for"),
        (["--from-table", "x.csv", "--column", "speaker"], "write it as OURS=THEIRS"),
        (
            ["--from-table", "x.csv", "--split-by", "speaker", "--shares", "0.6", "0.4"],
            "must be above 0, and below 1",
        ),
        (["--from-table", "x.csv", "--corpus-name", "a/b"], "must be a file's name"),
        (["--from-table", "no/such.csv"], "no/such.csv is not there"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and "Traceback" not in said


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_read(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BarlowSpeechError, match=r"cannot be written.*by -o"):
        prepare("emodb", data / "emodb", tmp_path / "file" / "out")


# A table of one's own


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Ninety recordings of ten speakers, two genders and three words, and their table."""
    lines = ["file;spk_id;gender;word;comment"]
    for number in range(90):
        name = f"clips/{number}.wav"
        trees.sound(tmp_path / name, 0.05, number)
        speaker = number % 10
        said = '"one; ""two""\nthree"' if number == 0 else ""
        lines.append(f"{name};s{speaker};{'fm'[speaker % 2]};{'abc'[number // 30]};{said}")
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "mine.csv"


MAPPED = ["--column", "path=file", "speaker=spk_id", "--column", "keyword=word"]


def test_a_table_becomes_a_corpus(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = ["--split-by", "speaker", "recording"]
    assert command("--from-table", sounds, *MAPPED, *split, "--check-audio") == 0
    assert "copies      0 recordings of" in capsys.readouterr().out
    corpus = read_corpus(str(sounds.with_suffix(".yaml")))
    assert set(corpus.card.tasks) == {"gender", "keyword_spotting", "speaker_id"}
    assert corpus.manifest.column("comment")[0] == 'one; "two" three'
    by_speaker: dict[str, set[str]] = {}
    for speaker, split in zip(
        corpus.manifest.column("speaker"), corpus.manifest.column("split_speaker_disjoint")
    ):
        by_speaker.setdefault(speaker, set()).add(split)
    assert all(len(splits) == 1 for splits in by_speaker.values())
    for gender in (0, 1):  # each split has speakers of each gender
        own = [split for s, one in by_speaker.items() if int(s[1]) % 2 == gender for split in one]
        assert set(own) == set(SPLITS)
    counts = Counter(
        zip(corpus.manifest.column("speaker"), corpus.manifest.column("split_speaker_id"))
    )
    assert {counts[f"s{s}", split] for s in range(10) for split in ("dev", "test")} == {1}


def test_copies_under_other_names_are_all_listed(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another label, in another split; a part of a file that is listed whole too."""
    wave, rate = soundfile.read(sounds.parent / "clips/0.wav", dtype="int16")
    for name in ("copy.flac", "dev.flac", "again.wav"):
        soundfile.write(sounds.parent / name, wave, rate)
    rows = [f"clips/{i}.wav,{'ab'[i % 2]},{('train', 'dev', 'test')[i // 4]},," for i in range(12)]
    rows += ["copy.flac,b,train,,", "dev.flac,a,dev,,", "again.wav,a,train,,"]
    rows += ["clips/0.wav,a,train,0.01,0.03", "copy.flac,a,test,0.01,0.03"]
    table = sounds.with_name("copies.csv")
    table.write_text("\n".join(["path,keyword,split,start_s,end_s", *rows]) + "\n")
    assert command("--from-table", table, "--corpus-name", "t", "--check-audio") == 0
    said = capsys.readouterr().out
    copies = [line for line in said.splitlines() if line.startswith("copy ")]
    assert f"copies      {len(copies)} recordings of" in said and len(copies) == 3
    for words in (
        r"two labels: .*copy.flac \(line 14, train, 'b'\) is to the bit .*0.wav \(line 2, train",
        r"two splits: .*dev.flac \(line 15, dev, 'a'\) is to the bit .*0.wav \(line 2, train",
        r"two splits: .*copy.flac \[0.01-0.03 s\] \(line 18, test, .*0.wav \[.* s\] \(line 17",
    ):
        assert re.search(words, said), words


def test_splits_of_a_table_follow_the_seed_and_not_the_order(sounds: Path, tmp_path: Path) -> None:
    header, *lines = sounds.read_text().split("\n", 1)[0], *sounds.read_text().splitlines()[3:]
    names = []
    for number, rows in enumerate((lines, lines[::-1], lines)):
        table = tmp_path / f"table{number}.csv"
        table.write_text("\n".join([header, *rows]) + "\n")
        options = from_table.TableOptions(
            columns={"path": "file", "speaker": "spk_id"},
            split_by=("speaker", "recording"),
            seed=int(number == 2),
        )
        from_table.prepare_table(table, options=options)
        manifest = read_manifest(table.with_suffix(".tsv"))
        cells = (manifest.column(c) for c in ("split_speaker_disjoint", "split_speaker_id"))
        names.append(dict(zip(manifest.column("path"), zip(*cells))))
    assert names[0] == names[1] != names[2]


def test_recordings_without_speakers_are_split_within_their_class(
    sounds: Path, tmp_path: Path
) -> None:
    options = from_table.TableOptions(
        name="words", columns={"path": "file", "keyword": "word"}, split_by=("recording",)
    )
    from_table.prepare_table(sounds, tmp_path / "out", options)
    corpus = read_corpus(str(tmp_path / "out" / "words.yaml"))
    counts = Counter(zip(corpus.manifest.column("keyword"), corpus.manifest.column("split")))
    assert set(counts.values()) == {4, 22} and len(counts) == 9
    assert all(recording.path.is_file() for recording in corpus.recordings)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_splits_of_a_table_are_read_under_their_usual_names(
    delimiter: str, bom: str, sounds: Path
) -> None:
    rows = [("path", "keyword", "split")]
    usual = ("train", "Training", "validation", "dev", "TEST", "eval")
    rows += [(f"clips/{i}.wav", "ab"[i // 6 % 2], usual[i % 6]) for i in range(12)]
    table = sounds.with_name("other.txt")
    table.write_text(bom + "\r\n".join(map(delimiter.join, rows)), encoding="utf-8")
    from_table.prepare_table(table)
    corpus = read_corpus(str(table.with_suffix(".yaml")))
    examples = corpus.examples(read_task("keyword_spotting"))
    assert [len(examples.rows[split]) for split in SPLITS] == [4, 4, 4]


def test_a_table_without_labels_or_splits_says_so(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--from-table", sounds, "--column", "path=file", "gender=comment") == 0
    assert "Serves no task: no column of splits" in capsys.readouterr().err
    assert read_corpus(str(sounds.with_suffix(".yaml"))).card.tasks == {}
    table = sounds.with_name("bare.csv")
    table.write_text("path\nclips/1.wav\n")
    assert command("--from-table", table) == 0
    assert "none of the columns emotion, gender, keyword, speaker" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,word\nclips/1.wav,a\n", "has no column 'path'; say which of file, word"),
        ("path,word\n", "no row below its header"),
        ("", "bad.csv is empty"),
        ("path,word,word\nclips/1.wav,a,b\n", "two columns 'word'"),
        ("path,word\nclips/1.wav,a\nclips/2.wav\n", "line 3: 1 cells where the header has 2"),
        ("path,start_s\n\nclips/1.wav,0\nclips/2.wav,1_5\n", "line 4: start_s .* not '1_5'"),
        ('path;end_s\nclips/1.wav;"0,5"\n', "line 2: end_s .* '0,5'; write a point for the comma"),
        ("path\tword\nclips/1.wav\ta\nclips/2.wav\n", "line 3: 1 cells"),
        ("path,word\nclips/1.wav,a\n".encode("utf-16"), "UTF-16, not UTF-8; save it as UTF-8"),
        ("path,word\nclips/1.wav,a\n".encode("utf-16-le"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        # A quotation mark that nothing closes, or that the next one closes by chance.
        ('path,word,x\nclips/1.wav,"a,1\nclips/2.wav,b,2\n', "line 2: it is no row of a CSV"),
        ('path,word,x\nclips/1.wav,"a,1\nclips/2.wav,"b,2\n', "line 2: it is no row of a CSV"),
        (
            'path,word,x\nclips/1.wav,"a,1\nclips/2.wav,b,2\nclips/3.wav,b",3\n',
            "line 2: a quoted cell takes in the row of clips/2.wav",
        ),
        (
            'path\tword\n"clips/1.wav"\t"a\nclips/2.wav\tb"\n'.replace(
                "path\tword", '"path"\t"word"'
            ),
            "line 2: a quoted cell takes in the row of clips/2.wav",
        ),
        (
            "path,word\nclips/1.wav,a\nclips/x.wav,a\n",
            "1 of 2 files of .*clips/x.wav .*line 3., are not",
        ),
        (b"path,word\nclips/1.wav,\xff\n", "not UTF-8 text in line 2; save it as UTF-8"),
    ],
)
def test_tables_that_cannot_work_are_named(content: str | bytes, words: str, sounds: Path) -> None:
    table = sounds.with_name("bad.csv")
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        from_table.prepare_table(table)
    assert str(table) in str(caught.value)
    assert not table.with_suffix(".tsv").exists()


@pytest.mark.parametrize("said", ['"Stop it, she said', 'he said "no"', '"', "U+2028:\u2028", "5'"])
def test_in_a_tab_separated_table_a_quotation_mark_is_a_character(
    said: str, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = sounds.with_name("other.tsv")
    rows = [f"clips/{i}.wav\t{said if i in (5, 17) else i}\t{'ab'[i % 2]}" for i in range(48)]
    table.write_text("\n".join(["path\tsentence\tkeyword", *rows]), encoding="utf-8")
    assert command("--from-table", table, "--corpus-name", "t", "--split-by", "recording") == 0
    assert "rows        48 read, 48 written\n" in capsys.readouterr().out
    manifest = read_manifest(table.with_name("t.tsv"))
    assert len(manifest) == 48 and manifest.column("sentence")[17] == " ".join(said.split())


def test_a_tab_separated_table_may_quote_every_cell(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As R's write.table does."""
    table = sounds.with_name("other.tsv")
    table.write_text('"path"\t"keyword"\n"clips/1.wav"\t"a ""b"""\n"clips/2.wav"\t"c\nd"\n')
    assert command("--from-table", table, "--corpus-name", "t") == 0
    said = capsys.readouterr().out
    assert "rows        2 read, 1 of them over several lines, 2 written\n" in said
    assert read_manifest(table.with_name("t.tsv")).column("keyword") == ['a "b"', "c d"]


def test_a_column_of_a_table_that_is_not_there_is_named(sounds: Path) -> None:
    options = from_table.TableOptions(columns={"path": "fiel"})
    with pytest.raises(BarlowSpeechError, match=r"'fiel'.*did you mean 'file'"):
        from_table.prepare_table(sounds, options=options)
    options = from_table.TableOptions(columns={"path": "file"}, split_by=("speaker",))
    with pytest.raises(BarlowSpeechError, match="needs the column 'speaker'"):
        from_table.prepare_table(sounds, options=options)


def test_the_table_itself_is_never_replaced(sounds: Path) -> None:
    table = sounds.with_name("mine.tsv")
    table.write_text("path\tkeyword\nclips/1.wav\ta\n")
    with pytest.raises(BarlowSpeechError, match="would replace the table"):
        from_table.prepare_table(table)
    assert table.read_text() == "path\tkeyword\nclips/1.wav\ta\n"


def test_files_of_a_table_that_are_not_there_may_be_left_out(sounds: Path) -> None:
    (sounds.parent / "clips/5.wav").unlink()
    options = from_table.TableOptions(columns={"path": "file", "keyword": "word"}, partial=True)
    prepared = from_table.prepare_table(sounds, options=options)
    assert prepared.rows == "90 read, 1 of them over several lines, 89 written"
    assert len(read_manifest(prepared.manifests[0])) == 89
    assert "1 of 90 files" in prepared.notes[0]
