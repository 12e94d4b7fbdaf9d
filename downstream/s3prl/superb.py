"""SUPERB's own tasks inside s3prl: their configurations, and the small files that they need.

s3prl's archive on PyPI has neither. A configuration is `configs/superb/<task>.yaml`; what is empty
in it is filled in here before s3prl sees it, by files that are made from the corpus itself and kept
in the cache. A path that is given is left alone.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from barlow_speech import configs
from barlow_speech.downstream.corpora._iemocap_dialogues import place_of
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import (
    cache_dir,
    digest,
    file_digest,
    made_folder,
    write_text,
)
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s

# The classes of s3prl's downstream/emotion; "exc" (excited) counts as happy, others are left out.
IEMOCAP_CLASSES = {"neu": 0, "hap": 1, "ang": 2, "sad": 3}
IEMOCAP_MERGED = {"exc": "hap"}

# Of phone recognition: one pronunciation a word. OpenSLR's librispeech-lexicon.txt has up to four,
# and lacks words of the transcripts.
LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
TRIALS, CLEANED = "veri_test.txt", "veri_test2.txt"  # of speaker verification

# The order of both lists is that of s3prl's own files: it numbers the outputs of a trained head.
CHARACTERS = "|ETAONIHSRDLUMCWFGYPBVK'XJQZ"  # of asr; "|" ends a word
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"  # with stress 0, 1 or 2
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
STRESSED = [vowel + stress for vowel in VOWELS.split(" ") for stress in "012"]
PHONES = ["SIL", "SPN", *sorted([*STRESSED, *CONSONANTS.split(" ")])]  # of ctc


def config_names() -> list[str]:
    """The configurations that there are; all but `snips` are named after a task of s3prl."""
    return list(configs.files("configuration"))


def complete(task: str, config: dict[str, Any]) -> None:
    """Fill in what is empty in the configuration of one of s3prl's own tasks, in place.

    A file of ours that a resumed experiment names and that has gone from the cache is made again.
    Also keeps what s3prl finds out about VoxCeleb1 in our cache: s3prl writes it into its own
    package, once, and takes it for that of every other copy of the corpus.

    Raises:
        BarlowSpeechError: the corpus is not where the configuration says, or lacks a file.
    """
    if task in COMPLETIONS and isinstance(config.get("downstream_expert"), dict):
        COMPLETIONS[task](config["downstream_expert"])


def _emotion(expert: dict[str, Any]) -> None:
    _fill(expert["datarc"], "meta_data", lambda: iemocap_labels(_corpus(expert, "datarc.root")))


def _voxceleb1(expert: dict[str, Any]) -> None:
    root, datarc = _corpus(expert, "datarc.file_path"), expert["datarc"]
    key = "datarc.meta_data"
    _fill(datarc, "meta_data", lambda: _list(root / "iden_split.txt", key, "put it there, or "))
    list_file = Path(_list(Path(str(datarc["meta_data"])), key))
    folder = _made_folder("voxceleb1", [str(root.resolve()), file_digest(list_file)])
    if not all((folder / f"{split}.pkl").is_file() for split in ("train", "dev", "test")):
        _check_listed(root, list_file)
    dataset: Any = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
    dataset.CACHE_PATH = f"{folder}/"


def _sv_voxceleb1(expert: dict[str, Any]) -> None:
    root, datarc = _corpus(expert, "datarc.file_path"), expert["datarc"]
    key = "datarc.test_meta_data"
    cleaned = root / CLEANED
    remedy = (
        f"SUPERB's 37,720 trials are the original {TRIALS} (s3prl's voxceleb1_test_v2.txt)"
        + (f", not the cleaned {CLEANED} that is there" if cleaned.is_file() else "")
        + "; put it there, or "
    )
    _fill(datarc, "test_meta_data", lambda: _list(root / TRIALS, key, remedy))
    _fill(datarc, "dev_meta_data", lambda: datarc["test_meta_data"])
    _fill(datarc, "train_meta_data", lambda: datarc["test_meta_data"])
    known = [str(root.resolve()), _listing(root / "dev" / "wav", ".wav")]
    dataset: Any = importlib.import_module("s3prl.downstream.sv_voxceleb1.dataset")
    # The lengths are kept in a folder beside the module's own file, by this name.
    dataset.__file__ = f"{_made_folder('sv_voxceleb1', known)}/dataset.py"


def _asr(expert: dict[str, Any]) -> None:
    datarc = expert["datarc"]
    symbols = "".join(f"{symbol} 1\n" for symbol in CHARACTERS)
    _fill(datarc, "dict_path", lambda: _written("char.dict", symbols))
    keys = ("train", "dev-clean", "dev-other", "test-clean", "test-other")
    splits = sorted({split for key in keys for split in datarc.get(key) or ()})
    _fill(
        datarc,
        "bucket_file",
        lambda: librispeech_lengths(_corpus(expert, "datarc.libri_root"), splits),
    )


def _ctc(expert: dict[str, Any]) -> None:
    corpus, text = expert["corpus"], expert["text"]
    tokens = PHONES if text["mode"] == "word" else [" ", *sorted(set(CHARACTERS) - set("|'")), "'"]
    _fill(text, "vocab_file", lambda: _written("vocabulary.txt", "\n".join(tokens) + "\n"))
    root = _corpus(expert, "corpus.path")
    if corpus["name"].lower() == "libriphone":
        remedy = (
            f"SUPERB's PER is computed with {' and '.join(LEXICONS)} of s3prl's repository "
            "(downstream/ctc/lexicon); put both there, or "
        )
        files = [root / one for one in LEXICONS]
        _fill(corpus, "lexicon", lambda: [_list(one, "corpus.lexicon", remedy) for one in files])
    if "-slot" in text["mode"]:
        slots, key = root / "slots.txt", "text.slots_file"
        _fill(text, "slots_file", lambda: _list(slots, key, "put it there, or "))


COMPLETIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "asr": _asr,
    "ctc": _ctc,
    "emotion": _emotion,
    "sv_voxceleb1": _sv_voxceleb1,
    "voxceleb1": _voxceleb1,
}


def iemocap_labels(root: Path) -> str:
    """A folder with `Session<n>/{train,test}_meta_data.json`, as s3prl's emotion task reads them.

    They say what s3prl's own say, in the same order, on which its draw of dev depends. `root` has
    `Session1/dialog/EmoEvaluation/*.txt` and `Session1/sentences/wav/*/*.wav`.

    Raises:
        BarlowSpeechError: there are not two sessions with labelled recordings.
    """
    sessions = {
        path.name: _iemocap_session(root, path.name)
        for path in sorted(root.glob("Session*"))
        if path.is_dir()
    }
    if len(sessions) < 2 or not all(sessions.values()):
        bare = next((name for name, labelled in sessions.items() if not labelled), "Session1")
        raise BarlowSpeechError(
            f"{root}: {bare} has no recording of {', '.join(IEMOCAP_CLASSES)} that is labelled in "
            f"{bare}/dialog/EmoEvaluation/*.txt and lies under {bare}/sentences/wav; unpack "
            "IEMOCAP_full_release there."
        )
    folder = _made_folder("iemocap", sessions)
    for name, test in sessions.items():
        train = [one for other in sessions if other != name for one in sessions[other]]
        for split, labelled in (("train", train), ("test", test)):
            text = json.dumps({"labels": IEMOCAP_CLASSES, "meta_data": labelled})
            write_text(folder / name / f"{split}_meta_data.json", text)
    return str(folder)


def _iemocap_session(root: Path, session: str) -> list[dict[str, str]]:
    waves = {
        path.stem: path.relative_to(root).as_posix()
        for path in (root / session / "sentences" / "wav").rglob("*.wav")
        if not path.name.startswith(".")  # what a Mac left
    }
    labelled = []
    files = (root / session / "dialog" / "EmoEvaluation").glob("[!.]*.txt")
    for path in sorted(files, key=lambda one: place_of(one.stem)):
        # "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]"
        for name, label in re.findall(r"^\[[^\t]*\t+(\S+)\t+(\S+)", path.read_text(), re.M):
            label = IEMOCAP_MERGED.get(label, label)
            if label in IEMOCAP_CLASSES and name in waves:
                speaker = name.partition("_")[0]
                labelled.append({"path": waves[name], "label": label, "speaker": speaker})
    return labelled


def librispeech_lengths(root: Path, splits: Sequence[str]) -> str:
    """A folder of tables `<split>.csv`: `file_path` (below `root`) and `length` (samples).

    What s3prl's `preprocess/generate_len_for_bucket.py` writes, the longest first. A split that is
    not there has no line.
    """
    files = {
        split: [f"{split}/{name}" for name, _ in _listing(root / split, ".flac")]
        for split in splits
    }
    folder = _made_folder("librispeech", [str(root.resolve()), files])
    if all((folder / f"{split}.csv").is_file() for split in splits):
        return str(folder)
    with progress(sum(map(len, files.values())), "lengths", "files") as bar:
        for split, names in files.items():
            lengths = []
            for name in names:
                lengths.append((-round(duration_s(root / name) * SAMPLE_RATE), name))
                bar.update()
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["file_path", "length"])
            table.writerows((name, -minus) for minus, name in sorted(lengths))
            write_text(folder / f"{split}.csv", text.getvalue())
    return str(folder)


def _check_listed(root: Path, list_file: Path) -> None:
    """Refuse a copy of VoxCeleb1 without a recording of the list ("1 id10001/video/00001.wav")."""
    folders = [path for path in root.glob("*/wav") if path.is_dir()]
    for line in list_file.read_text(encoding="utf-8").splitlines():
        name = line.split()[-1] if line.strip() else ""
        if not any((folder / name).is_file() for folder in folders) and name:
            raise BarlowSpeechError(
                f"{name}, which {list_file} lists, is in none of the folders {root}/*/wav; "
                "complete the corpus there."
            )


def _fill(section: dict[str, Any], key: str, make: Callable[[], Any]) -> None:
    """Set a key that is empty, or that names a file of ours which is there no longer."""
    value = section.get(key)
    ours = isinstance(value, str) and Path(value).is_relative_to(_cache())
    if not value or (ours and not Path(value).exists()):
        section[key] = make()


def _corpus(expert: dict[str, Any], key: str) -> Path:
    """The folder of a corpus, which the configuration has as `key`.

    Raises:
        BarlowSpeechError: it is not there.
    """
    section, _, name = key.partition(".")
    root = Path(str(expert[section][name]))
    if not root.is_dir():
        raise BarlowSpeechError(
            f"the corpus folder {root} does not exist; say where it is with "
            f"-o config.downstream_expert.{key}=DIR"
        )
    return root


def _list(path: Path, key: str, remedy: str = "") -> str:
    """The path of a list that comes with a corpus, and that the configuration has as `key`.

    Raises:
        BarlowSpeechError: it is not there.
    """
    if not path.is_file():
        raise BarlowSpeechError(
            f"{path} does not exist; {remedy}say where it is with "
            f"-o config.downstream_expert.{key}=FILE"
        )
    return str(path)


def _listing(root: Path, suffix: str) -> list[tuple[str, int]]:
    """(path below root, bytes) of every file with a suffix, sorted."""
    files = (path for path in root.rglob(f"*{suffix}") if not path.name.startswith("."))
    return sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)


def _cache() -> Path:
    return cache_dir().resolve() / "s3prl"


def _made_folder(name: str, content: Any) -> Path:
    """A folder in the cache for what was made from `content`."""
    return made_folder(_cache() / f"{name}-{digest(content)[:12]}")


def _written(name: str, text: str) -> str:
    """The path of a file in the cache with this text."""
    path = _made_folder(Path(name).stem, text) / name
    if not path.is_file():
        write_text(path, text)
    return str(path)
