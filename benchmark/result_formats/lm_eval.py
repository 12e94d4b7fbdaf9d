"""Logged samples of the Language Model Evaluation Harness: `MODEL/samples_TASK_TIME.jsonl`.

`lm_eval --log_samples -o FOLDER` writes them. A line is an item of the test: its `doc_id`, hashes
of document, prompt and target, and its score by each metric (of each filter of the answer). Items
of one `doc_id` pair. Of several times of a model and task the last counts, as for the harness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.result_formats._table import Asked, Cell, Table, files_of, read_json
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import parsed_json, read_text
from barlow_speech.upstream.common.text import counted, listed

TITLE = "logged samples of lm-eval"
PATTERN = "samples_*.jsonl"
NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?))?")
# What a line has beside its metrics.
OTHERS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash",
}  # fmt: skip


@dataclass
class _Samples:
    """One file: the lines of a model on a task, by metric and item."""

    file: Path
    model: str
    task: str
    time: str
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    docs: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)


def read(paths: Sequence[Path], asked: Asked) -> Table:
    """The cells of all files.

    Raises:
        BarlowSpeechError: no file is of logged samples, a line is damaged, an item is there twice,
            a task has several metrics and none is asked for, or an item is another document in
            another file.
    """
    latest: dict[tuple[str, str], tuple[str, Path]] = {}
    left_out = 0
    for path in files_of(paths, PATTERN, TITLE):
        name = NAME.fullmatch(path.stem)
        if name is None or path.suffix != ".jsonl":
            raise BarlowSpeechError(
                f"{path} is not called {PATTERN}, as lm_eval --log_samples calls its files; check "
                "the file, and --from."
            )
        model, when = path.resolve().parent.name.replace("__", "/", 1), name["time"] or ""
        key = model, name["task"]
        other = latest.get(key)
        left_out += other is not None
        if other and other[0] == when:
            raise BarlowSpeechError(
                f"{other[1]} and {path} are both of {model} on {key[1]}; a model's samples lie in "
                "a folder of its name: rename one, or leave it out."
            )
        if other is None or when > other[0]:
            latest[key] = when, path
    read_in = [_samples(path, *key, when) for key, (when, path) in latest.items()]
    remarks = [
        "A score is that of one test item, and systems are paired by item. Each was run once: "
        "nothing is said about other prompts, samplings of the answers or trainings."
    ]
    if left_out:
        remarks.append(
            f"Left out: {counted(left_out, 'file')} of a model and task that has a later one."
        )
    cells, tasks = [], dict[str, list[_Samples]]()
    for one in read_in:
        tasks.setdefault(one.task, []).append(one)
    if not any(one.scores for one in read_in):
        raise _unscored(read_in[0])
    for group in tasks.values():
        unscored = [one for one in group if not one.scores]
        if len(unscored) == len(group):
            remarks.append(
                f"Left out: {group[0].task}, whose samples have no score that is one number (as "
                "perplexities, which are no mean over items)."
            )
            continue
        if unscored:
            raise _unscored(unscored[0])
        metric = _metric(group, asked)
        _check_lower(group, metric, asked)
        remarks += _compared(group)
        for one in group:
            cell = Cell(one.model, one.task, metric, one.file)
            for item, score in one.scores[metric].items():
                cell.add(score, str(one.file), item=item)
            cells.append(cell)
    return Table(cells, tuple(remarks))


def _samples(path: Path, model: str, task: str, when: str) -> _Samples:
    found = _Samples(path, model, task, when)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            sample = parsed_json(line)
        except ValueError as error:
            raise BarlowSpeechError(
                f"{where} is no JSON ({error}); it may be cut short: run the task again, or leave "
                "the file out."
            ) from error
        if not isinstance(sample, dict) or "doc_id" not in sample:
            raise BarlowSpeechError(
                f"{where} has no doc_id and so is no logged sample; leave the file out."
            )
        item, kind = str(sample["doc_id"]), str(sample.get("filter", "none"))
        for name, score in _scores(sample):
            metric = name if kind == "none" else f"{name},{kind}"
            of_metric = found.scores.setdefault(metric, {})
            if item in of_metric:
                raise BarlowSpeechError(
                    f"{where}: doc_id {item} has its {metric} twice; two runs may have been "
                    "written to one file, so run the task again, or leave the file out."
                )
            of_metric[item] = score
        found.docs[item] = str(sample.get("doc_hash", ""))
        found.prompts[item] = str(sample.get("prompt_hash", ""))
    if not found.docs:
        raise _unscored(found)
    return found


def _unscored(one: _Samples) -> BarlowSpeechError:
    return BarlowSpeechError(
        f"{one.file} holds no sample with a score that is one number; give one of a task whose "
        "metric is a mean over items."
    )


def _scores(sample: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Every metric of a line that is one number."""
    named = sample.get("metrics")
    names = named if isinstance(named, list) else [one for one in sample if one not in OTHERS]
    for name in names:
        if isinstance(sample.get(name), (bool, int, float)):
            yield str(name), float(sample[name])


def _metric(group: Sequence[_Samples], asked: Asked) -> str:
    """What is asked for where a task has it, or else its only metric."""
    common = [name for name in group[0].scores if all(name in one.scores for one in group)]
    wanted = asked.metric.removesuffix(",none")
    if wanted in common:
        return wanted
    if len(common) == 1:
        return common[0]
    where = listed([str(one.file) for one in group], most=3)
    if not common:
        raise BarlowSpeechError(
            f"{where} have no metric in common; leave out all but those of one metric."
        )
    why = f"no {wanted}, but" if wanted else "the metrics"
    raise BarlowSpeechError(
        f"{where}: {group[0].task} has {why} {listed(common, most=12)}; choose one by --metric."
    )


def _check_lower(group: Sequence[_Samples], metric: str, asked: Asked) -> None:
    """Refuse a metric of which the results beside the samples say otherwise."""
    for one in group:
        results = one.file.with_name(f"results_{one.time}.json")
        content = read_json(results) if one.time and results.is_file() else {}
        said = content.get("higher_is_better") if isinstance(content, dict) else None
        of_task = said.get(one.task) if isinstance(said, dict) else None
        higher = of_task.get(metric.partition(",")[0]) if isinstance(of_task, dict) else None
        if isinstance(higher, bool) and higher == asked.lower_is_better:
            word, flag = ("lower", "add") if not higher else ("higher", "leave out")
            raise BarlowSpeechError(
                f"{results}: {metric} of {one.task} is better the {word}; {flag} "
                "--lower-is-better, or choose another --metric."
            )


def _compared(group: Sequence[_Samples]) -> Iterator[str]:
    """What differs between the items of one task; another document is refused."""
    first = group[0]
    for one in group[1:]:
        shared = [item for item in first.docs if item in one.docs]
        for item in shared:
            if first.docs[item] and one.docs[item] and first.docs[item] != one.docs[item]:
                raise BarlowSpeechError(
                    f"doc_id {item} of {first.task} is another document in {one.file} than in "
                    f"{first.file} (doc_hash {one.docs[item][:7]} and {first.docs[item][:7]}); the "
                    "items do not pair, so leave one of the files out."
                )
        unlike = [item for item in shared if first.prompts[item] != one.prompts[item]]
        if unlike:
            yield (
                f"{first.task}: {one.model} was asked otherwise than {first.model} on "
                f"{len(unlike):,} of {counted(len(shared), 'item')} (the first is doc_id "
                f"{unlike[0]}), as by another template or other examples: it is systems with their "
                "prompts that are compared."
            )
