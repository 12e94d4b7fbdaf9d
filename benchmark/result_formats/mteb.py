"""Result files of MTEB: `MODEL/REVISION/TASK.json`, as its results repository keeps them.

`scores_per_experiment` holds the experiments of a classification task (mostly ten): logistic
regression on another few training examples a class. They are drawn with the task's own seed,
whatever the model, so that they pair; so are the documents of `v_measures`, of clustering. Where
the split is `train`, experiments are the folds of a cross-validation. Of what has neither there is
one score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.result_formats._table import (
    Asked,
    Cell,
    Table,
    files_of,
    read_json,
    renamed,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.text import counted, listed

TITLE = "result files of MTEB"
META = "model_meta.json"
TOLERANCE = 2e-6  # newer files are rounded to six digits
DRAWN = (
    "Draws are the experiments of MTEB's tasks: other training examples (in clustering, other "
    "documents), the same for every model. All of a task share one encoder and one test set, and "
    "so are correlated: what is said holds for other draws, and neither for other test items nor "
    "for another training of the encoder."
)


@dataclass(frozen=True)
class _Stored:
    """One file: a model of a revision on a task, and its entries (a subset each) of one split."""

    file: Path
    model: str
    revision: str
    task: str
    split: str
    dataset: str  # revision
    version: str
    entries: tuple[dict[str, Any], ...]


def read(paths: Sequence[Path], asked: Asked) -> Table:
    """The cells of all files; the score of several subsets is their mean, draw by draw.

    Raises:
        BarlowSpeechError: no file is of MTEB's, one is damaged, its experiments do not fit its main
            score, or the files of a task have unlike main scores.
    """
    stored, remarks = _read(paths, asked)
    cells = []
    tasks: dict[str, list[_Stored]] = {}
    for one in stored:
        tasks.setdefault(one.task, []).append(one)
    for group in tasks.values():
        metric = _metric(group, asked)
        cells += [_cell(one, metric) for one in group]
    several = _several_revisions(stored)
    names = {f"{one.model}@{one.revision}": _shown(one, several) for one in stored}
    if several:
        remarks.append(
            f"{listed(sorted(several), most=4)}: files of several revisions, which are systems of "
            "their own here."
        )
    if any(cell.draws and len(cell.scores) > 1 for cell in cells):
        remarks.insert(0, DRAWN)
    folds = [one.task for one in stored if one.split == "train" and _draws(one.entries[0]) > 1]
    if folds:
        remarks.append(
            f"{listed(list(dict.fromkeys(folds)), most=8)}: scored on the split train, by "
            "cross-validation. Experiments are folds there; their training sets overlap, which "
            "makes intervals too short."
        )
    versions = sorted({one.version for one in stored if _version(one.version)}, key=_version)
    said = " to ".join(dict.fromkeys((*versions[:1], *versions[-1:])))
    remarks.append(f"{counted(len(stored), 'file')} of mteb {said or 'of unknown versions'}.")
    return Table(renamed(cells, names), tuple(remarks))


def _read(paths: Sequence[Path], asked: Asked) -> tuple[list[_Stored], list[str]]:
    stored: list[_Stored] = []
    old: list[Path] = []
    without: list[Path] = []
    others: list[Path] = []
    seen: dict[tuple[str, str, str], Path] = {}
    metas: dict[Path, tuple[str, str]] = {}
    for path in files_of(paths, "*.json", TITLE):
        if path.name == META:
            continue
        content = read_json(path)
        known = content.keys() if isinstance(content, dict) else set()
        if not {"scores", "task_name"} <= known:
            if "mteb_dataset_name" in known:
                old.append(path)
            elif path in paths or {"scores", "task_name"} & known:
                raise BarlowSpeechError(
                    f"{path} is no result file of MTEB, which has 'task_name' and 'scores'; leave "
                    "it out, or check --from."
                )
            else:
                others.append(path)
            continue
        if path.parent not in metas:
            metas[path.parent] = _model(path.parent)
        model, revision = metas[path.parent]
        one = _stored(path, model, revision, content, asked)
        if one is None:
            without.append(path)
            continue
        key = (model, revision, one.task)
        if key in seen:
            raise BarlowSpeechError(
                f"{seen[key]} and {path} are both of {model} ({revision}) on {one.task}; leave one "
                "of them out."
            )
        seen[key] = path
        stored.append(one)
    if not stored:
        more = f" (but {counted(len(old), 'file')} of the form of before 1.12)" if old else ""
        which = f", and of the subset {asked.subset}" if without else ""
        raise BarlowSpeechError(
            f"{listed([str(path) for path in paths], most=4)} holds no result file of MTEB, with "
            f"'task_name' and 'scores'{which}{more}; check the folder, and --from."
        )
    remarks = []
    for files, why in (
        (old, "of the form of before mteb 1.12, which has no experiments"),
        (without, f"without the subset {asked.subset}"),
        (others, "of JSON that is no result of MTEB"),
    ):
        if files:
            remarks.append(
                f"Left out: {counted(len(files), 'file')} {why} (the first is "
                f"{'/'.join(files[0].parts[-3:])})."
            )
    return stored, remarks


def _model(folder: Path) -> tuple[str, str]:
    """Name and revision, by the file that says so, or else by the folders."""
    content = read_json(folder / META) if (folder / META).is_file() else {}
    content = content if isinstance(content, dict) else {}
    name = content.get("name") or folder.resolve().parent.name.replace("__", "/", 1)
    return str(name), str(folder.resolve().name)


def _stored(
    path: Path, model: str, revision: str, content: dict[str, Any], asked: Asked
) -> _Stored | None:
    """One file; None where it has not the subset that is asked for."""
    splits = content["scores"]
    if not isinstance(splits, dict) or not splits:
        raise BarlowSpeechError(
            f"{path}: 'scores' holds no splits; it is of another form or damaged, so leave it out."
        )
    split = next((one for one in (asked.split, "test") if one in splits), "")
    split = split or (next(iter(splits)) if len(splits) == 1 else "")
    if not split:
        raise BarlowSpeechError(
            f"{path} has scores on the splits {listed(sorted(splits))}; choose one by --split."
        )
    entries = splits[split]
    if not isinstance(entries, list) or not all(
        isinstance(one, dict) and isinstance(one.get("main_score"), (int, float)) for one in entries
    ):
        raise BarlowSpeechError(
            f"{path}: an entry of its split {split} has no main_score that is a number; it is of "
            "another form or damaged, so leave it out."
        )
    entries = [one for one in entries if not asked.subset or one.get("hf_subset") == asked.subset]
    if not entries:
        return None
    entries.sort(key=lambda one: str(one.get("hf_subset")))
    _check_draws(path, split, entries)
    return _Stored(
        path, model, revision, str(content["task_name"]), split,
        str(content.get("dataset_revision")), str(content.get("mteb_version")), tuple(entries),
    )  # fmt: skip


def _check_draws(path: Path, split: str, entries: Sequence[dict[str, Any]]) -> None:
    counts = {str(one.get("hf_subset")): _draws(one) for one in entries}
    if len(set(counts.values())) > 1:
        (a, first), (b, other) = next(
            (x, y) for x in counts.items() for y in counts.items() if x[1] != y[1]
        )
        raise BarlowSpeechError(
            f"{path}: on the split {split} the subset {a} has {first} draws and {b} has {other}; "
            "choose one by --subset, or leave the file out."
        )


def _draws(entry: dict[str, Any]) -> int:
    experiments = entry.get("scores_per_experiment")
    if isinstance(experiments, list) and experiments:
        return len(experiments)
    return len(_measures(entry)) or 1


def _measures(entry: dict[str, Any]) -> list[float]:
    """Of clustering: the mean over its levels, of each draw."""
    levels = entry.get("v_measures")
    rows = list(levels.values()) if isinstance(levels, dict) else []
    same = rows and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    return [sum(row) / len(row) for row in zip(*rows)] if same else []


def _metric(group: Sequence[_Stored], asked: Asked) -> str:
    """The one metric of a task: what is asked for, or what the main score is, in every file."""
    common: set[str] = set()
    earlier: Path | None = None
    for one in group:
        for entry in one.entries:
            names = {name for name, value in entry.items() if _is_number(value)} - {"main_score"}
            for experiment in entry.get("scores_per_experiment") or ():
                if not isinstance(experiment, dict):
                    raise BarlowSpeechError(
                        f"{one.file}: scores_per_experiment holds what is no experiment; it is of "
                        "another form or damaged, so leave it out."
                    )
                names &= experiment.keys()
            if asked.metric:
                if asked.metric not in {*names, "main_score"}:
                    raise BarlowSpeechError(
                        f"{one.file} has no {asked.metric} (of every experiment, where there are "
                        f"some), but {listed(sorted(names), most=12)}; choose one by --metric."
                    )
                continue
            main = entry["main_score"]
            alike = {name for name in names if abs(entry[name] - main) <= TOLERANCE}
            if not names:  # a score that somebody reported, and no more
                continue
            if not alike and not math.isfinite(main):
                raise BarlowSpeechError(
                    f"{one.file}: its main_score is {main}, which is no score; evaluate it again, "
                    "or leave it out."
                )
            if not alike:
                raise BarlowSpeechError(
                    f"{one.file}: its main_score {main:g} is none of its metrics "
                    f"({listed(sorted(names), most=8)}); choose one by --metric, or leave it out."
                )
            if earlier is not None and not common & alike:
                raise BarlowSpeechError(
                    f"the main score of {earlier} is {listed(sorted(common))}, and that of "
                    f"{one.file} {listed(sorted(alike))}; choose a metric that both have by "
                    "--metric."
                )
            common = alike if earlier is None else common & alike
            earlier = one.file
    # Several are the same number under two names, such as accuracy and weighted recall.
    return asked.metric or min(common, key=lambda name: (len(name), name), default="main_score")


def _cell(one: _Stored, metric: str) -> Cell:
    rows = [list(_scores(one, entry, metric)) for entry in one.entries]
    draws = [sum(row) / len(row) for row in zip(*rows)]
    subsets = [str(entry.get("hf_subset")) for entry in one.entries]
    said = [f"split {one.split}", f"revision {one.dataset[:7]}"]
    if subsets != ["default"]:
        said.append(f"{counted(len(subsets), 'subset')} ({listed(subsets, most=6)})")
    said.append(counted(len(draws), "draw") if len(draws) > 1 else "one score")
    cell = Cell(
        f"{one.model}@{one.revision}", one.task, metric, one.file, dataset=", ".join(said),
        draws=len(draws) > 1,
    )  # fmt: skip
    for place, score in enumerate(draws):
        cell.add(score, str(one.file), f"draw {place + 1}" if len(draws) > 1 else "")
    return cell


def _scores(one: _Stored, entry: dict[str, Any], metric: str) -> Iterator[float]:
    """The score of each draw of an entry, or its one score."""
    where = f"{one.file}, subset {entry.get('hf_subset')}"
    experiments = entry.get("scores_per_experiment") or ()
    main = entry.get(metric, entry["main_score"])
    scores = [experiment.get(metric) for experiment in experiments]
    if not experiments and metric in ("v_measure", "main_score"):
        scores = list(_measures(entry))
    for place, score in enumerate(scores):
        if not _is_number(score) or not math.isfinite(score):
            raise BarlowSpeechError(
                f"{where}: the {metric} of experiment {place + 1} is {score}, which is no score; "
                "evaluate it again, or leave it out."
            )
    if scores and abs(sum(scores) / len(scores) - main) > 1e-3:
        raise BarlowSpeechError(
            f"{where}: the mean {metric} of its {len(scores)} experiments is "
            f"{sum(scores) / len(scores):g}, and it says {main:g}; it is damaged, so leave it out."
        )
    yield from scores or [main]


def _several_revisions(stored: Sequence[_Stored]) -> set[str]:
    revisions: dict[str, set[str]] = {}
    for one in stored:
        revisions.setdefault(one.model, set()).add(one.revision)
    return {model for model, found in revisions.items() if len(found) > 1}


def _shown(one: _Stored, several: set[str]) -> str:
    hashed = re.fullmatch("[0-9a-f]{40}", one.revision)
    revision = one.revision[:7] if hashed else one.revision
    return f"{one.model}@{revision}" if one.model in several else one.model


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
