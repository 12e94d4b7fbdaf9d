"""A checkpoint as a model hub takes it: weights, a README with metadata, results by data set.

`model.safetensors` is the checkpoint itself. `README.md` begins with Hugging Face's metadata block
(hub-docs, modelcard.md); what stands above `MARK` is its owner's and stays, what is below is
written anew. `.eval_results/*.yaml` hold a score each (hub-docs, eval_results.yaml), which the hub
shows beside a data set of its own.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from barlow_speech.benchmark.evaluation.records import read_records, result_of
from barlow_speech.benchmark.features.upstreams import fingerprint
from barlow_speech.benchmark.reporting.document import Table, Value
from barlow_speech.benchmark.reporting.leaderboard import merged, metric_name
from barlow_speech.benchmark.reporting.numbers import interval, percent
from barlow_speech.benchmark.reporting.tables import escaped, markdown
from barlow_speech.benchmark.statistics.results import TaskResult
from barlow_speech.benchmark.statistics.summaries import cell_summary
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line, unknown
from barlow_speech.upstream.common.files import (
    FILE_OF_FOLDER,
    checkpoint_file,
    read_text,
    write_text,
    written_whole,
)
from barlow_speech.upstream.common.text import counted, listed
from barlow_speech.upstream.expert import UpstreamExpert
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.names import NAMES

log = logging.getLogger(__name__)

README, SCORES = "README.md", ".eval_results"
MARK = "<!-- barlow-speech card: what follows is written anew -->"
SIGNATURE = "# written by barlow-speech card\n"
FRONT = re.compile(r"---\n(.*?\n)---\n+", re.DOTALL)
# A link to a file of the repository that the text comes from leads nowhere on a hub.
RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)")
METADATA = {
    "license": "unknown",
    "library_name": "barlow_speech",
    "pipeline_tag": "feature-extraction",
    "tags": ["audio", "speech", "self-supervised", "barlow-twins"],
}
HUB_METRICS = {"top1": "accuracy", "uar": "recall", "f1": "f1"}  # the pages that the hub has
USE = """\
## How to use it

With the package `barlow-speech` installed, and this folder on disk as `FOLDER`:

```python
import barlow_speech

encoder = barlow_speech.load("FOLDER")
encoder.embed(["one.wav", "two.flac"])  # an embedding of {embedding} numbers each
```

```sh
run_downstream.py -u barlow_speech -k FOLDER -d all
```

In s3prl it is `-u barlow_speech_local -k FOLDER`, after `barlow_speech.register()`.
"""


def results_of(checkpoint: Path, folders: Sequence[Path], metric: str = "top1") -> list[TaskResult]:
    """The stored results of the encoder in a checkpoint, known by its fingerprint.

    Raises:
        BarlowSpeechError: a folder has none, or two of them differ.
    """
    module = UpstreamExpert(checkpoint)
    own = [[fingerprint(name, module)] for name in NAMES]
    found = {}
    for folder in folders:
        records = read_records(folder)
        of_it = [one for one in records if one.facts.get("upstream_fingerprints") in own]
        if not of_it:
            others = sorted({one.upstream for one in records})
            raise BarlowSpeechError(
                f"{folder} holds no result of the encoder in {checkpoint}, only of other weights "
                f"(as {listed(others, most=5)}); run: run_downstream.py -u barlow_speech "
                f"-k {checkpoint} -p {folder}"
            )
        left = [
            one for one in records if one not in of_it and one.upstream.split("@")[0] == NAMES[0]
        ]
        if left:
            log.warning(
                "%s: %s of other weights are left out", folder, counted(len(left), "result")
            )
        results = (result_of(one, sorted(one.runs), metric) for one in of_it)
        # One encoder may have been given by -k and by @.
        alike = {(one.task, one.corpus, one.setup.comparison, one.values): one for one in results}
        found[folder] = [dataclasses.replace(one, upstream=NAMES[0]) for one in alike.values()]
    return merged(found)


def write_card(
    checkpoint: Path,
    folder: Path,
    results: Sequence[TaskResult],
    licence: str = "",
    datasets: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the folder and return its files, the README last; each is written whole.

    `datasets` is the hub's id of the data set of a corpus; results of other corpora stand in the
    README alone. Score files of ours that are there and are of no result are removed.

    Raises:
        BarlowSpeechError: the checkpoint is none of ours, the folder has a README that is not ours,
            `datasets` names a corpus without results, or the folder cannot be written; but for the
            last nothing is written then.
    """
    _, header = load_tensors(checkpoint)
    datasets = datasets or {}
    corpora = {one.corpus for one in results}
    for name in datasets:
        if name not in corpora:
            raise unknown("corpus", name, corpora, "the results")
    metadata, text = _owners(checkpoint_file(checkpoint), folder)
    metadata = {**METADATA, **metadata}
    if licence:
        metadata["license"] = licence
    if results:
        metadata["metrics"] = [HUB_METRICS[results[0].metric]]
    model = UpstreamExpert(checkpoint).model
    parts = [
        f"---\n{_yaml(metadata)}---\n",
        text or _described(header, sum(one.numel() for one in model.parameters())),
        f"{MARK}\n",
        USE.format(embedding=f"{model.embedding_dim:,}"),
        *([_table(results)] if results else []),
    ]
    scores = {
        folder / SCORES / f"{_stem(one)}.yaml": SIGNATURE + _yaml([_entry(one, datasets)])
        for one in results
        if one.corpus in datasets
    }
    weights = folder / FILE_OF_FOLDER
    if not (weights.exists() and weights.samefile(checkpoint_file(checkpoint))):
        content = checkpoint_file(checkpoint).read_bytes()
        with written_whole(weights) as part:
            part.write_bytes(content)
    for path, content_text in scores.items():
        write_text(path, content_text)
    for path in (folder / SCORES).glob("*.yaml"):
        if path not in scores and read_text(path).startswith(SIGNATURE):
            path.unlink()
    write_text(folder / README, "\n".join(parts))
    return [weights, *scores, folder / README]


def _owners(checkpoint: Path, folder: Path) -> tuple[dict[str, Any], str]:
    """Metadata and text that are there: of the folder's README, else of those beside the weights.

    That is the file of the checkpoint's own name before the README of all that lie there.
    """
    path = folder / README
    if path.exists():
        if MARK not in read_text(path):
            raise BarlowSpeechError(
                f"{path} is there and was not written by this command; choose another folder, or "
                f"add the line {MARK} where its own text ends."
            )
    else:
        beside = (checkpoint.with_suffix(".md"), checkpoint.parent / README)
        path = next((one for one in beside if one.is_file()), path)
        if not path.is_file():
            return {}, ""
    text = read_text(path).partition(MARK)[0]
    front = FRONT.match(text)
    try:
        metadata = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError as error:
        raise BarlowSpeechError(
            f"the metadata at the start of {path} is no YAML ({one_line(error)}); correct it."
        ) from error
    if not isinstance(metadata, dict):
        raise BarlowSpeechError(f"the metadata at the start of {path} is no mapping; correct it.")
    text = text[front.end() :] if front else text
    return metadata, RELATIVE_LINK.sub(r"\1", text).strip() + "\n"


def _described(header: Mapping[str, Any], parameters: int) -> str:
    """What the header of a checkpoint says of its making, for an owner to go on from."""
    facts = header.get("facts") or {}
    recipe = facts.get("recipe") or {}
    encoder = header["model"]["encoder"]
    sources = recipe.get("data", {}).get("sources", ())
    hours, seconds = facts.get("hours"), facts.get("seconds")
    about: dict[str, Any] = {
        "encoder": ", ".join(f"{key} {value}" for key, value in encoder.items()),
        "parameters": f"{parameters:,}",
        "steps": recipe.get("steps"),
        "recordings of a step": recipe.get("batch"),
        "seed": recipe.get("seed"),
        "speech": None if hours is None else f"{hours:.2f} hours",
        "data": ", ".join(dict.fromkeys(one["manifest"] for one in sources)),
        "SHA-256 of the speech": facts.get("speech_sha256"),
        "seconds of training": None if seconds is None else f"{seconds:,.0f}",
        "machine": facts.get("machine"),
        "PyTorch": facts.get("torch"),
    }
    rows = tuple((key, str(value)) for key, value in about.items() if value not in (None, ""))
    table = Table("card", "", ("", "what"), rows, texts=2)
    return (
        f"# A Barlow Twins speech encoder\n\nAn encoder (`{encoder['name']}`) of log-mel "
        "spectrograms, trained without labels. All settings are in the header of the weights.\n\n"
        f"{markdown(table)}"
    )


def _table(results: Sequence[TaskResult]) -> str:
    rows: list[tuple[Value, ...]] = []
    for one in results:
        numbers = cell_summary(one)
        rows.append((
            one.task, one.corpus, f"{one.setup.protocol}, {one.setup.selection}, {one.setup.head}",
            one.setup.eval_split, len(one.values), percent(numbers["mean"]),
            interval(numbers["ci95"]), numbers["over"], percent(one.setup.chance),
            one.setup.licence,
        ))  # fmt: skip
    name = metric_name(results[0].metric)
    columns = (
        "task", "corpus", "how", "split", "runs", f"{name}, %", "95 % interval", "over",
        "chance", "licence of the corpus",
    )  # fmt: skip
    caption = (
        f"Mean {name} of the runs; “over” is what the interval generalises to, chance is to always "
        "say the most frequent class of train."
    )
    table = markdown(Table("scores", "", columns, tuple(rows), texts=4))
    return f"## Scores\n\n{escaped(caption)}\n\n{table}"


def _entry(result: TaskResult, datasets: Mapping[str, str]) -> dict[str, Any]:
    """One score as `.eval_results/*.yaml` has it."""
    numbers, setup = cell_summary(result), result.setup
    within = interval(numbers["ci95"])
    return {
        "dataset": {"id": datasets[result.corpus], "task_id": result.task},
        "value": round(100 * numbers["mean"], 2),
        "date": time.strftime("%Y-%m-%d", time.gmtime(result.recorded)),
        "notes": (
            f"{metric_name(result.metric)} in percent on {setup.eval_split}, mean of "
            f"{len(result.values)} runs, 95 % interval {within} over {numbers['over']}; protocol "
            f"{setup.protocol}, {setup.selection}, {setup.head}; by barlow_speech"
        ),
    }


def _stem(result: TaskResult) -> str:
    name = f"{result.task}.{result.corpus}.{result.setup.comparison[:12]}"
    return re.sub(r"[^\w.-]+", "-", name)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=96)
