"""What `prepare` writes for SUPERB's tasks, row by row against s3prl's own dataset code.

    python tests/superb/lists.py path/to/s3prl path/to/lists

The trees have the real names of the lists that public repositories hold, and recordings of a few
samples. `path/to/s3prl` is a checkout, `path/to/lists` has validation_list.txt and testing_list.txt
of Speech Commands v0.01. Ends with status 1 where a row differs.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from barlow_speech.downstream.corpora._scan import Options
from barlow_speech.downstream.corpora.speech_commands_v1 import COMMANDS, VERSION
from barlow_speech.downstream.corpus import SPLITS, read_corpus
from barlow_speech.downstream.preparation.prepare import prepare
from barlow_speech.downstream.s3prl import ctc_corpora, superb
from barlow_speech.downstream.s3prl.registry import register_downstream
from barlow_speech.downstream.task import read_task

PARTIAL = Options(partial=True)
CLASSES = {"neu": "neutral", "hap": "happiness", "ang": "anger", "sad": "sadness"}
Rows = set[tuple[str, str]]  # of a split: recording, class


def recordings(root: Path, paths: Iterable[str], seconds: float = 0.01) -> None:
    """Tiny recordings below `root`."""
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, int(16_000 * seconds))
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, wave, 16_000)


def ours(card: Path, task: str) -> list[dict[str, Rows]]:
    """Of each fold and split the recordings (their last names) and classes that a card has."""
    corpus = read_corpus(str(card))
    return [
        {
            split: {
                (tail(corpus.recordings[row].path), fold.classes[label])
                for row, label in zip(fold.rows[split], fold.labels[split])
            }
            for split in SPLITS
        }
        for fold in corpus.folds(read_task(task))
    ]


def tail(path: Path | str) -> str:
    return "/".join(Path(path).parts[-3:])


def report(what: str, here: Rows, there: Rows) -> int:
    """A line of the table; how many rows differ."""
    apart = len(here ^ there)
    print(f"| {what} | {len(there):,} | {apart} |")
    return apart


def keyword_spotting(lists: Path, root: Path) -> int:
    """KS; train has the listed speakers' names anew under words, since its own are in no list."""
    from s3prl.downstream.speech_commands.dataset import SpeechCommandsTestingDataset
    from s3prl.downstream.speech_commands.expert import split_dataset

    listed = [(lists / f"{one}_list.txt").read_text().split() for one in ("validation", "testing")]
    folder, test = root / "speech_commands_v0.01", root / VERSION.folder
    train = [f"{random.choice([*VERSION.words])}/{n:08x}_nohash_0.wav" for n in range(20_000)]
    recordings(folder, {*itertools.chain(*listed), *train})
    recordings(folder / "_background_noise_", ["pink_noise.wav"], 2.0)
    known = [(path, path.split("/")[0]) for path in listed[1]]
    recordings(test, [p if w in COMMANDS else f"_unknown_/{p.replace('/', '_')}" for p, w in known])
    recordings(test, ["_silence_/0.wav"])
    prepare("speech_commands_v1", folder, root / "ks", PARTIAL)
    (fold,) = ours(root / "ks" / "speech_commands_v1_superb.yaml", "superb_ks")
    data = dict(zip(("train", "dev"), split_dataset(folder)))
    data["test"] = SpeechCommandsTestingDataset(speech_commands_test_root=str(test)).data
    kept = {*COMMANDS, "_silence_"}
    wrong = 0
    for split, rows in data.items():
        there = {(tail(p), w if w in kept else "_unknown_") for w, p in rows}
        # Noise of train and dev is a fixed bank here, and drawn anew there.
        here = {one for one in fold[split] if "_background_noise_" not in one[0]}
        wrong += report(f"KS, {split}", here, there)
    hashed = {path.relative_to(folder).as_posix() for _, path in data["dev"]}
    return wrong + len(set(listed[0]) - hashed)


def emotion(checkout: Path, root: Path) -> int:
    """ER, from s3prl's own label files; the folders of the tree are made in another order."""
    from s3prl.downstream.emotion.dataset import IEMOCAPDataset

    meta = checkout / "s3prl" / "downstream" / "emotion" / "meta_data"
    lines: dict[tuple[str, str], list[str]] = {}
    for session in range(1, 6):
        file = meta / f"Session{session}" / "test_meta_data.json"
        for row in json.loads(file.read_text())["meta_data"]:
            path = Path(row["path"])
            line = f"[1.0 - 2.0]\t{path.stem}\t{row['label']}\t[2.5, 2.5, 2.5]"
            lines.setdefault((path.parts[0], path.parts[3]), []).append(line)
            recordings(root, [row["path"]])
    for (name, dialogue), own in sorted(lines.items()):
        labels = root / name / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("\n".join(own) + "\n")
    prepare("iemocap", root, root / "er", PARTIAL)
    wrong = 0
    for session, fold in enumerate(ours(root / "er" / "iemocap.yaml", "superb_er"), start=1):
        folder = meta / f"Session{session}"
        both = [
            IEMOCAPDataset(str(root), str(folder / f"{one}_meta_data.json"), False)
            for one in ("train", "test")
        ]
        size = int((1 - 0.2) * len(both[0]))  # as s3prl/downstream/emotion/expert.py
        torch.manual_seed(0)
        drawn = torch.utils.data.random_split(both[0], [size, len(both[0]) - size])
        data = {split: [both[0].meta_data[i] for i in one.indices]
                for split, one in zip(("train", "dev"), drawn)}  # fmt: skip
        data["test"] = both[1].meta_data
        for split, rows in data.items():
            there = {(tail(one["path"]), CLASSES[one["label"]]) for one in rows}
            wrong += report(f"ER, fold {session}, {split}", fold[split], there)
        made = json.loads((Path(superb.iemocap_labels(root)) / f"Session{session}"
                           / "train_meta_data.json").read_text())  # fmt: skip
        wrong += made["meta_data"] != both[0].meta_data
    return wrong


def speakers(checkout: Path, root: Path) -> int:
    """SID and ASV, by the recordings of the trials; which of them train is invented."""
    import s3prl.downstream.voxceleb1.dataset as identification
    from s3prl.downstream.sv_voxceleb1.dataset import SpeakerVerifi_test

    trials = checkout / "s3prl" / "downstream" / "sv_voxceleb1" / "voxceleb1_test_v2.txt"
    names = sorted({n for line in trials.read_text().splitlines() for n in line.split()[1:]})
    recordings(root / "test" / "wav", names)
    lines = [f"{(1, 1, 2, 3)[i % 4]} {name}" for i, name in enumerate(names)]
    (root / "iden_split.txt").write_text("\n".join(lines) + "\n")
    prepare("voxceleb1", root, root / "sid", PARTIAL)
    (fold,) = ours(root / "sid" / "voxceleb1_superb.yaml", "superb_sid")
    identification.CACHE_PATH = f"{root}/cache/"
    wrong = 0
    for split in SPLITS:
        data = identification.SpeakerClassifiDataset(split, root, str(root / "iden_split.txt"))
        whose = data.label2speaker(data.label)
        wrong += report(f"SID, {split}", fold[split], set(zip(map(tail, data.dataset), whose)))
    (root / "veri_test.txt").write_text(trials.read_text())
    config: dict[str, Any] = {"downstream_expert": {"datarc": {"file_path": str(root)}}}
    superb.complete("sv_voxceleb1", config)
    chosen = config["downstream_expert"]["datarc"]["test_meta_data"]
    pairs = [SpeakerVerifi_test({}, "", file).pair_table for file in (chosen, str(trials))]
    print(f"| ASV, trials | {len(pairs[1]):,} | {sum(a != b for a, b in zip(*pairs))} |")
    return wrong + (pairs[0] != pairs[1])


def phones(checkout: Path, root: Path) -> int:
    """PR, on utterances of the words of s3prl's second lexicon."""
    from s3prl.downstream.ctc.text import load_text_encoder

    ctc = checkout / "s3prl" / "downstream" / "ctc"
    spec = importlib.util.spec_from_file_location("libriphone", ctc / "corpus" / "libriphone.py")
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    lexicon = ctc / "lexicon" / superb.LEXICONS[1]
    words = [line.split()[0] for line in lexicon.read_text().splitlines()]
    random.shuffle(words)
    lines = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    chapter = root / "dev-clean" / "84" / "9"
    recordings(chapter, [f"84-9-{i:04d}.flac" for i in range(len(lines))])
    texts = "".join(f"84-9-{i:04d} {line}\n" for i, line in enumerate(lines))
    (chapter / "84-9.trans.txt").write_text(texts)
    vocabulary = root / "vocabulary.txt"
    vocabulary.write_text("\n".join(superb.PHONES) + "\n")
    wrong = int((ctc / "vocab" / "phoneme.txt").read_text().split() != superb.PHONES)
    found = []
    for cls, file in (
        (ctc_corpora.LibriPhoneDataset, vocabulary),
        (theirs.LibriPhoneDataset, ctc / "vocab" / "phoneme.txt"),
    ):
        tokenizer = load_text_encoder("word", str(file))
        data = cls(["dev-clean"], tokenizer, 1, str(root), [str(lexicon)])
        found.append(
            {
                (tail(path), str(list(text)))
                for path, text in map(data.__getitem__, range(len(data)))
            }
        )
    print(
        f"| PR, words of {superb.LEXICONS[1]} | {len(words):,} | {len(words) - len(set(words))} |"
    )
    return wrong + report("PR, utterances as phones", *found)


def main(checkout: Path, lists: Path) -> int:
    """Build, compare, print the table."""
    register_downstream()
    random.seed(0)
    print("| task, split | rows | that differ |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        wrong = keyword_spotting(lists, root / "ks") + emotion(checkout, root / "IEMOCAP")
        wrong += speakers(checkout, root / "VoxCeleb1") + phones(checkout, root / "LibriSpeech")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
