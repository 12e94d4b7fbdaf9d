"""EmoBox (emo-box/EmoBox): `data/NAME` of its repository, a folder for each fold of a corpus.

`fold_K/NAME_train_fold_K.jsonl`, `…_test_…` and seldom `…_valid_…`; `label_map.json` says what its
codes of emotions mean. Paths are relative to the folder that has EmoBox's `downloads`
(`--audio-root`). Where there is no valid, EmoBox draws a fifth of train anew in each run; here a
fifth is dev that the names alone decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from barlow_speech.downstream.corpora._scan import folders, listing
from barlow_speech.downstream.corpora._splits import split_shares
from barlow_speech.downstream.preparation.formats import jsonl
from barlow_speech.downstream.preparation.formats._entry import Asked, Entry
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import parsed_json, read_text

TITLE = "EmoBox"
FOLD = re.compile(r"fold_(\d+)")
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
DEV = 0.2  # of train, as EmoBox's split_ratio
SPLIT = "split_fold_"
NOTE = "Where a fold has no valid, a fifth of its train is dev, the same on every machine; ours."


def _files(path: Path) -> dict[int, dict[str, Path]]:
    """Of each fold the file of each split."""
    found: dict[int, dict[str, Path]] = {}
    for folder in folders(path):
        if not (fold := FOLD.fullmatch(folder)):
            continue
        for name in listing(path / folder):
            said = re.fullmatch(rf".+_(train|valid|test)_{folder}\.jsonl", name)
            if said:
                found.setdefault(int(fold[1]), {})[SPLITS[said[1]]] = path / folder / name
    return dict(sorted(found.items()))


def recognises(path: Path) -> bool:
    """Whether a folder has folds."""
    return path.is_dir() and bool(_files(path))


def entries(path: Path, asked: Asked) -> Iterator[Entry]:
    """The recordings of all folds, each with its split in each.

    Raises:
        BarlowSpeechError: a fold lacks train or test, or a file is damaged.
    """
    rows: dict[tuple[str, str], Entry] = {}
    splits: dict[tuple[str, str], dict[str, str]] = {}
    folds = _files(path)
    labels = _labels(path / "label_map.json")
    for fold, files in folds.items():
        missing = sorted({"train", "test"} - set(files))
        if missing:
            raise BarlowSpeechError(
                f"{path}: fold {fold} has no {missing[0]} (…_{missing[0]}_fold_{fold}.jsonl); "
                "download it again."
            )
        for split, file in files.items():
            for entry in jsonl.entries(file, asked):
                key = (entry.path, entry.cells.get("key", ""))
                rows.setdefault(key, entry)
                splits.setdefault(key, {})[f"{SPLIT}{fold}"] = split
        if "dev" not in files:
            column = f"{SPLIT}{fold}"
            train = {"\t".join(k): k for k, own in splits.items() if own.get(column) == "train"}
            for name, split in split_shares(train, DEV, 0.0, f"{fold} ").items():
                splits[train[name]][column] = "train" if split == "test" else split
    columns = [f"{SPLIT}{fold}" for fold in folds]
    for key, entry in rows.items():
        cells = {**entry.cells, **{name: splits[key].get(name, "") for name in columns}}
        if "emo" in cells:
            cells["emo"] = labels.get(cells["emo"], cells["emo"])
        yield entry._replace(where=f"its list, {entry.where}", cells=cells)


def _labels(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        return {str(code): str(name) for code, name in parsed_json(read_text(file)).items()}
    except (ValueError, AttributeError) as error:
        raise BarlowSpeechError(f"{file} is no table of labels; download it again.") from error
