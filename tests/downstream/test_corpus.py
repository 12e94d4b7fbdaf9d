"""Corpora: cards and manifests, splits and their leaks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from barlow_speech.downstream.corpus import (
    SPLITS,
    Card,
    Columns,
    Corpus,
    check_names,
    read_card,
    read_corpus,
    write_card,
)
from barlow_speech.downstream.task import names, read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError


@pytest.fixture
def edited(tones: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tone corpus whose manifest's rows went through a function."""

    def edit(change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
        folder = tmp_path / "edited"
        shutil.copytree(tones.parent, folder)
        lines = tones.read_text().splitlines()
        header = lines[0].split("\t")
        rows = change([dict(zip(header, line.split("\t"))) for line in lines[1:]])
        table = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (folder / "manifest.tsv").write_text("\n".join(table) + "\n")
        return folder / "manifest.tsv"

    return edit


def test_classes_are_counted_with_their_speakers(tmp_path: Path) -> None:
    lines = ["path\tspeaker\tgender\tsplit"]
    rows = "a-f-train a-f-train b-f-train c-m-train -m-train d-f-dev e-m-dev -m-test f-f-test"
    for number, row in enumerate(f"{rows} f-f-test g--test h-m-".split()):
        speaker, gender, split = row.split("-")
        lines.append(f"{number}.wav\t{speaker}\t{gender}\t{split}")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(str(tmp_path / "manifest.tsv"))
    counts = corpus.class_counts(corpus.examples(read_task("gender")))
    assert counts == {
        "train": {"f": (3, 2), "m": (2, 1)},
        "dev": {"f": (1, 1), "m": (1, 1)},
        "test": {"f": (2, 1), "m": (1, 0)},
    }
    by_speaker = corpus.examples(read_task("gender"))
    del corpus.manifest.columns["speaker"]
    assert corpus.class_counts(by_speaker)["train"] == {"f": (3, 0), "m": (2, 0)}


def test_a_manifest_alone_serves_the_tasks_whose_labels_it_has(tones: Path) -> None:
    corpus = read_corpus(str(tones))
    assert corpus.name == "tones"
    assert set(corpus.card.tasks) == set(names())
    for name in names():
        examples = corpus.examples(read_task(name))
        for split in SPLITS:
            column = corpus.manifest.column(corpus.card.tasks[name].label)
            truth = [column[row] for row in examples.rows[split]]
            assert [examples.classes[i] for i in examples.labels[split]] == truth
        assert corpus.leaks(read_task(name), examples) == []


def test_an_empty_split_column_means_that_a_task_is_not_served(edited: Callable[..., Path]) -> None:
    path = edited(lambda rows: [{**row, "split_speaker_id": ""} for row in rows])
    assert set(read_corpus(str(path)).card.tasks) == set(names()) - {"speaker_id"}


def test_a_card_names_columns_of_its_own(tones: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(
        f"name: mine\nmanifest: {tones}\ntasks:\n  emotion: {{label: keyword, split: split}}\n"
    )
    corpus = read_corpus(str(card))
    assert corpus.examples(read_task("emotion")).classes == ["high", "low", "middle"]
    with pytest.raises(
        BarlowSpeechError, match=r"serve the task 'gender' \(only: emotion\); name its columns"
    ):
        corpus.examples(read_task("gender"))
    card.write_text(card.read_text().replace("label: keyword", "label: keywrd"))
    with pytest.raises(BarlowSpeechError, match="did you mean 'keyword'") as caught:
        read_corpus(str(card)).examples(read_task("emotion"))
    assert str(tones) in str(caught.value)
    card.write_text(card.read_text().replace("emotion:", "emotions:"))
    with pytest.raises(BarlowSpeechError, match=r"unknown task 'emotions'.*did you mean 'emotion'"):
        read_corpus(str(card))


def test_majority_is_counted_on_the_test_split(tones: Path) -> None:
    examples = read_corpus(str(tones)).examples(read_task("emotion"))
    most = np.bincount(examples.labels["train"]).argmax()
    assert examples.chance() == np.mean(examples.labels["test"] == most)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: [{**r, "split_speaker_disjoint": "trian"} for r in rows],
            "unknown split 'trian'",
        ),
        (lambda rows: [r for r in rows if r["split"] != "dev"], "'dev' has no labelled recording"),
        (lambda rows: [{**r, "emotion": "calm"} for r in rows], "one class only, 'calm'"),
        (lambda rows: [{**rows[0], "emotion": "NaN"}, *rows[1:]], "'NaN' is what .* leave the"),
        (
            lambda rows: [
                {**r, "emotion": "bored" if r["split"] == "test" else r["emotion"]} for r in rows
            ],
            "'bored' is in test but not in train",
        ),
    ],
)  # fmt: skip
def test_splits_that_cannot_work_are_refused(
    edited: Callable[..., Path], change: Callable[..., list[dict[str, str]]], words: str
) -> None:
    path = edited(change)
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        read_corpus(str(path)).examples(read_task("emotion"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def spelt(column: str, name: str) -> Callable[..., list[dict[str, str]]]:
    """The rows with another name of the column in the last of those that have the first one's."""

    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        last = max(i for i, row in enumerate(rows) if row[column] == rows[0][column])
        return [{**row, column: name} if i == last else row for i, row in enumerate(rows)]

    return change


@pytest.mark.parametrize(
    "name",
    [" calm", "Calm", "CALM", "calm\u200b", "ca\ufeffl\u00adm", "\uff43alm", "calm\0", "ca\x7flm"],
)
def test_nearly_equal_classes_are_refused(edited: Callable[..., Path], name: str) -> None:
    path = edited(spelt("emotion", name))
    with pytest.raises(BarlowSpeechError, match=r"line 67, column 'emotion': .*calm") as caught:
        read_corpus(str(path)).examples(read_task("emotion"))
    assert str(path) in str(caught.value) and "in line 2;" in str(caught.value)
    assert repr(name) in str(caught.value)  # which shows what has no width


def test_two_ways_to_compose_a_name_are_told_apart_in_the_message(
    edited: Callable[..., Path],
) -> None:
    def umlauts(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        names = {"calm": "W\u00fctend", "excited": "ruhig"}
        rows = [{**row, "emotion": names[row["emotion"]]} for row in rows]
        return spelt("emotion", "Wu\u0308tend")(rows)

    corpus = read_corpus(str(edited(umlauts)))
    with pytest.raises(BarlowSpeechError, match=r"'Wu\\u0308tend' is .* 'W\\xfctend' in line 2"):
        corpus.examples(read_task("emotion"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("k\u0131zg\u0131n", "KIZGIN"),  # Turkish: angry
        ("\u0130yi", "iyi"),
        ("\u063a\u0636\u0628", "\u063a\u0636\u0640\u0628"),  # Arabic: anger, drawn out
        ("\u03cc\u03c1\u03bf\u03c2", "\u038c\u03a1\u039f\u03a3"),  # Greek, with its final sigma
        ("7", "7.0"),
    ],
)
def test_names_of_any_language_that_are_nearly_equal_are_refused(
    edited: Callable[..., Path], one: str, other: str
) -> None:
    def named(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows = [{**row, "emotion": row["emotion"].replace("calm", one)} for row in rows]
        return spelt("emotion", other)(rows)

    with pytest.raises(BarlowSpeechError, match=r"line 67, column 'emotion'.*spelt otherwise"):
        read_corpus(str(edited(named))).examples(read_task("emotion"))


@pytest.mark.parametrize(
    ("one", "other"), [("s\u0131k", "sik"), ("7", "07"), ("7.5", "7"), ("ja", "j\u00e4")]
)
def test_names_that_differ_in_what_is_seen_are_two(
    edited: Callable[..., Path], one: str, other: str
) -> None:
    names = {"calm": one, "excited": other}
    path = edited(lambda rows: [{**row, "emotion": names[row["emotion"]]} for row in rows])
    classes = read_corpus(str(path)).examples(read_task("emotion")).classes
    assert classes == sorted((one, other))


def test_a_blank_around_every_name_is_refused(edited: Callable[..., Path]) -> None:
    path = edited(lambda rows: [{**row, "emotion": row["emotion"] + " "} for row in rows])
    with pytest.raises(BarlowSpeechError, match="'calm ' has blanks around it"):
        read_corpus(str(path)).examples(read_task("emotion"))


def test_a_speaker_of_two_spellings_does_not_pass_the_leak_check(
    edited: Callable[..., Path],
) -> None:
    path = edited(spelt("speaker", "Speaker0"))
    for task in ("emotion", "speaker_id"):
        with pytest.raises(BarlowSpeechError, match=r"'Speaker0' is spelt otherwise.*'speaker0'"):
            read_corpus(str(path)).examples(read_task(task))


@pytest.mark.parametrize("name", ["None", "NA", "null", "<NA>"])
def test_a_class_that_says_that_there_is_none_gets_a_line(
    edited: Callable[..., Path], name: str
) -> None:
    path = edited(lambda rows: [{**r, "emotion": r["emotion"].replace("calm", name)} for r in rows])
    (note,) = read_corpus(str(path)).examples(read_task("emotion")).notes
    assert note == f"the class '{name}' is what programs write where there is no label"


@pytest.mark.parametrize("name", ["nan", "NaN", "Nan"])
def test_a_speaker_that_is_a_missing_number_is_nobody(
    edited: Callable[..., Path], name: str
) -> None:
    """Else all whose speaker is not known are one person; but somebody may be called Nan."""
    path = edited(
        lambda rows: [{**r, "speaker": r["speaker"].replace("speaker0", name)} for r in rows]
    )
    corpus = read_corpus(str(path))
    if name == "Nan":
        assert len(corpus.examples(read_task("gender")).classes) == 2
    else:
        with pytest.raises(
            BarlowSpeechError, match=rf"line \d+, column 'speaker': '{name}' is what"
        ):
            corpus.examples(read_task("gender"))


def test_a_recording_with_two_labels_is_refused(edited: Callable[..., Path]) -> None:
    def again(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [*rows, {**rows[1], "emotion": "excited", "path": f"./{rows[1]['path']}"}]

    path = edited(again)
    with pytest.raises(BarlowSpeechError, match=r"lines 3 and 74.*two labels.*calm.*excited"):
        read_corpus(str(path)).examples(read_task("emotion"))
    read_corpus(str(path)).examples(read_task("gender"))


def test_rows_that_repeat_in_dev_or_test_count_once(
    edited: Callable[..., Path], tones: Path
) -> None:
    def repeated(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        first = {row["split"]: row for row in rows[::-1]}
        return [*rows, *(first[split] for split in ("train", "dev", "test", "test"))]

    examples = read_corpus(str(edited(repeated))).examples(read_task("emotion"))
    before = read_corpus(str(tones)).examples(read_task("emotion"))
    for split in ("dev", "test"):
        assert examples.rows[split].tolist() == before.rows[split].tolist()
        assert examples.labels[split].tolist() == before.labels[split].tolist()
    assert len(examples.rows["train"]) == len(before.rows["train"]) + 1  # as often as it is listed
    assert examples.notes == (
        "1 rows of dev list a recording again and do not count",
        "2 rows of test list a recording again and do not count",
    )


def test_what_is_identical_is_listed_by_what_is_wrong_with_it(tones: Path) -> None:
    corpus = read_corpus(str(tones))
    examples = corpus.examples(read_task("emotion"))
    audio = list(range(len(corpus.recordings)))
    of = {split: rows.tolist() for split, rows in examples.rows.items()}
    calm = [split_rows[0] for split_rows in of.values()]  # the first of each split is calm
    for row in calm:
        audio[row] = -1
    audio[of["train"][1]] = audio[of["train"][6]] = -2  # calm and excited
    audio[of["test"][1]] = audio[of["test"][2]] = -3
    audio[of["train"][2]] = audio[of["train"][3]] = -4  # as often as one likes
    found = corpus.identical(examples, audio, lambda row: audio[row] == -1)
    assert [len(one) for one in found] == [1, 2, 1]
    assert all("is digital silence, as is" in one for one in found.in_two_splits)
    lines = [corpus.manifest.lines[of["train"][row]] for row in (6, 1)]
    assert f"(line {lines[0]}, train, 'excited') is to the bit" in found.two_labels[0]
    assert f"(line {lines[1]}, train, 'calm')" in found.two_labels[0]


@pytest.mark.parametrize(
    "path", ["a/0.wav", "./a/0.wav", "a//0.wav", "b/../a/0.wav", "link/0.wav", "{}/a/0.wav"]
)
def test_a_file_is_one_however_its_path_is_written(path: str, tmp_path: Path) -> None:
    """In two splits, with two labels, and twice in one split; no audio is looked at."""
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    other = path.format(tmp_path)
    splits = ["train"] * 4 + ["dev"] * 4 + ["test"] * 4
    rows = [f"a/{i}.wav\t{'xy'[i % 2]}\t{split}\t0\t1" for i, split in enumerate(splits)]

    def corpus_with(*row: str) -> Corpus:
        lines = ["path\temotion\tsplit\tstart_s\tend_s", *rows, "\t".join(row)]
        (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
        return read_corpus(str(tmp_path / "m.tsv"))

    task = read_task("emotion")
    overlapping = corpus_with(other, "x", "test", "0.5", "1.5")
    assert overlapping.leaks(task, overlapping.examples(task))
    with pytest.raises(BarlowSpeechError, match="has two labels"):
        corpus_with(other, "y", "train", "0", "1").examples(task)
    twice = corpus_with(other.replace("/0.", "/9."), "y", "test", "0", "1").examples(task)
    assert len(twice.rows["test"]) == 4


def test_leaks_are_found(edited: Callable[..., Path]) -> None:
    def share(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        first = next(row for row in rows if row["split"] == "train")
        for column in ("split", "split_speaker_disjoint"):
            first = {**first, column: "test"}
        return [*rows, first]

    corpus = read_corpus(str(edited(share)))
    leaks = corpus.leaks(read_task("emotion"), corpus.examples(read_task("emotion")))
    assert any("recordings are in train and test" in leak for leak in leaks)
    assert any("speakers are in train and test" in leak for leak in leaks)
    # For speaker identification a speaker in both is the task itself.
    assert corpus.leaks(read_task("speaker_id"), corpus.examples(read_task("speaker_id"))) == []


def test_parts_of_one_file_leak_only_where_they_overlap(tmp_path: Path) -> None:
    def corpus_of(end: float) -> list[str]:
        rows = [("a.wav", 0, end, "x", "train"), ("b.wav", 0, 1, "y", "train")]
        rows += [("a.wav", 1, 2, "x", "dev"), ("b.wav", 1, 2, "y", "dev")]
        rows += [("a.wav", 2, 3, "x", "test"), ("b.wav", 2, 3, "y", "test")]
        lines = ["path\tstart_s\tend_s\tkeyword\tsplit", *("\t".join(map(str, r)) for r in rows)]
        (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
        corpus, task = read_corpus(str(tmp_path / "manifest.tsv")), read_task("keyword_spotting")
        return corpus.leaks(task, corpus.examples(task))

    assert corpus_of(1.0) == []
    assert len(corpus_of(1.1)) == 1


def test_corpora_of_one_name_are_refused(tones: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="2 corpora are called 'tones'"):
        check_names([read_corpus(str(tones))] * 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("emodbb", "unknown corpus"),
        ("emodb", "by --data-root"),
        ("no/such.tsv", "cannot read"),
        ("no/such.yaml", "cannot read"),
    ],
)
def test_a_corpus_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises(BarlowSpeechError, match=words) as caught:
        read_corpus(name)
    assert name in str(caught.value)


def test_a_card_that_is_written_is_read_back(tones: Path, tmp_path: Path) -> None:
    tasks = {
        "emotion": Columns("mood", folds=("fold1", "fold2")),
        "gender": Columns("sex", "split"),
    }
    cards = [
        Card(
            "mine", "m.tsv", tasks, "Of: words, 'quotes' and ÄÖ. " * 20, "1.0", "CC0 1.0", "I, 2024"
        ),
        Card("bare", str(tones), {}),
    ]
    for card in cards:
        write_card(tmp_path / "card.yaml", card)
        assert read_card(tmp_path / "card.yaml") == card
    assert read_corpus(str(tmp_path / "card.yaml")).manifest.file == tones


def test_a_card_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BarlowSpeechError, match=r"cannot write .*card\.yaml"):
        write_card(tmp_path / "file" / "card.yaml", Card("mine", "m.tsv", {}))
