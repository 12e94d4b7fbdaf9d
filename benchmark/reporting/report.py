"""The report of a set of results: one page that can be sent to somebody, and the files beside it.

`report.html` holds its figures and its style inside itself and asks nothing of the network.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from barlow_speech.benchmark.figures.boxplot import MIN_FOR_BOX, boxplot
from barlow_speech.benchmark.figures.confusion import (
    MAX_CLASSES,
    class_names,
    confusion_counts,
    confusion_figure,
    confusion_shares,
    confusion_text,
    shade,
)
from barlow_speech.benchmark.figures.critical_difference import critical_difference_diagram
from barlow_speech.benchmark.reporting import html as page
from barlow_speech.benchmark.reporting.numbers import (
    ABSENT,
    COLUMNS,
    MARK,
    cost_text,
    interval,
    percent,
    row_numbers,
)
from barlow_speech.benchmark.reporting.tables import footnote, markdown_table, marked_cells
from barlow_speech.benchmark.statistics.comparison import compare_all, leaders
from barlow_speech.benchmark.statistics.intervals import summary
from barlow_speech.benchmark.statistics.metrics import METRICS
from barlow_speech.benchmark.statistics.ranking import Ranking, ranking, verdict
from barlow_speech.benchmark.statistics.results import LEVEL, TaskResult, by_task
from barlow_speech.benchmark.statistics.summaries import cell_json, cell_summary
from barlow_speech.benchmark.statistics.variance import split_variance, variance_text
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import write_json, write_text
from barlow_speech.upstream.common.progress import progress

MAX_TITLE = 70  # letters; past it the upstreams are counted, not named

# How the facts of a setup are called on the page; any other keeps its own name.
LABELS = {
    "lr": "learning rate",
    "varied": "varied between runs",
    "chance": "chance (%)",
    "classes": "classes",
    "train_recordings": "training recordings",
    "dev_recordings": "dev recordings",
    "test_recordings": "test recordings",
}
COST_LABELS = {
    "parameters": "parameters of the upstream",
    "macs_per_second": "multiply-accumulates per second of speech",
    "real_time_factor": "real-time factor",
    "device": "real-time factor measured on",
    "threads": "threads of the real-time factor",
}
FIGURE_KEY = (
    "Box: quartiles; line: median; diamond: mean; whiskers: lowest and highest run; dots: the runs."
)
FEW_RUNS_KEY = f" Under {MIN_FOR_BOX} runs there is no box."
METRICS_KEY = (
    "Percent, means over the runs. Macro recall (unweighted average recall) and macro F1 are means "
    "over the classes, so that a rare class weighs as much as a frequent one."
)
CONFUSION_KEY = (
    "Rows are true classes, columns what was predicted: the percentage of a row's test recordings, "
    "over all runs; the darker, the more. The upstream of the best mean is drawn, the others are "
    f"folded up beneath it. Tasks of more than {MAX_CLASSES} classes have no matrix here."
)
MATRIX_STYLE = "\n".join(
    [
        ".matrix table { width: auto; font-size: .75rem; }",
        ".matrix td { text-align: center; min-width: 1.9em; padding: .15rem .2rem; border: 0; }",
        ".matrix th { padding: .15rem .4rem; border: 0; max-width: 11rem; min-width: 0; }",
        ".matrix tbody th { white-space: nowrap; }",
        ".matrix thead th { vertical-align: bottom; }",
        ".matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); }",
        *(
            f".s{tenth} {{ background: {shade(tenth / 10)}; "
            f"color: {'#fff' if tenth > 5 else 'inherit'}; }}"
            for tenth in range(11)
        ),
    ]
)
SCOPE = (
    "Intervals and tests are over the runs of the head: what varied between them is listed under "
    "“How it was measured”. They do not cover another choice of test recordings, another corpus, "
    "or another pretraining of an upstream."
)
PAIRS_KEY = (
    "Points are percentage points, with the 95 % BCa bootstrap interval of the mean difference of "
    "runs with one seed. p: two-sided sign-flip test, Holm-corrected over the pairs of the task "
    "(Wilcoxon's signed-rank p, corrected likewise, beside it). A12: how often a run of the first "
    "is better than a run of the other, ties counting half; 0.5 is no effect."
)


def write_report(
    folder: Path, cells: Sequence[TaskResult], facts: Mapping[str, str], command: str
) -> Path:
    """Write the report of `cells` into `folder` and return the path of its page.

    Files: `report.html`, `results.md`, `cells.json`, `boxplot_<task>_<corpus>.png` for each task of
    each corpus, and, where a confusion of at most 40 classes is recorded, that of the best mean as
    `confusion_<task>_<corpus>.png`, and with several tasks and three upstreams
    `critical_difference.png`; each is written whole or not at all, the page last. `facts` are
    versions and hardware, in the order to show; `command` is what was typed.

    Raises:
        BarlowSpeechError: there are no cells or `by_task` refuses one (nothing is written then), or
            the folder cannot be written.
    """
    groups = by_task(cells)
    if not groups:
        raise BarlowSpeechError("there are no results to report; run a task first.")
    names = figure_names(groups)
    matrices = {key: known[0] for key, group in groups.items() if (known := _with_confusion(group))}
    files = figure_names(matrices, "confusion")
    figures, confusions = {}, {}
    with progress(len(groups) + len(matrices), "figures", "figure") as bar:
        for key, group in groups.items():
            figures[key] = boxplot(group, folder / names[key])
            bar.update()
        for key, cell in matrices.items():
            confusions[key] = confusion_figure(cell, folder / files[key])
            bar.update()
    write_json(folder / "cells.json", {"cells": [cell_json(cell) for cell in cells]})
    write_text(folder / "results.md", _markdown(groups, facts, command))
    path = folder / "report.html"
    write_text(path, _page(groups, figures, confusions, _diagram(groups, folder), facts, command))
    return path


def figure_names(
    keys: Iterable[tuple[str, str]], kind: str = "boxplot"
) -> dict[tuple[str, str], str]:
    """The file name of each (task, corpus): only letters, digits, `_`, `-`, dots; no two alike."""
    names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for key in keys:
        # Short enough for any file system, counted in bytes; a dot cannot lead anywhere inside it.
        stem = "_".join([kind, *(re.sub(r"[^A-Za-z0-9_.-]+", "_", part)[:80] for part in key)])
        name, count = stem, 1
        while name.lower() in taken:  # some file systems do not tell the cases apart
            count += 1
            name = f"{stem}_{count}"
        taken.add(name.lower())
        names[key] = f"{name}.png"
    return names


def findings(group: Sequence[TaskResult]) -> list[str]:
    """What the statistics of one task support, in plain sentences to be read one after another.

    The best mean is set against every other upstream: as above it where the corrected test
    separates the two, as inseparable otherwise. Then come upstreams that cannot be told from
    chance, and how far the size of the test set alone reaches.
    """
    first = group[0]
    best_name = leaders(group)[0]
    best = next(cell for cell in group if cell.upstream == best_name)
    sentences = []
    if len(group) == 1:
        sentences.append(f"{_level(first)}. Nothing was compared with it.")
    for pair in compare_all(group):
        if best_name not in (pair["a"], pair["b"]):
            continue
        sign = 1 if pair["a"] == best_name else -1
        other = pair["b"] if sign == 1 else pair["a"]
        if pair["untested"]:
            sentences.append(
                f"{best_name} has the best mean; it was not tested against {other}, since "
                f"{pair['untested']}."
            )
            continue
        difference = sign * pair["difference"]
        numbers = f"{_interval_text(pair['ci95'], sign)}, Holm-corrected {p_text(pair['p_holm'])}"
        # The best mean over all runs may be the lower one over the shared seeds.
        if pair["separable"] and difference > 0:
            sentences.append(f"{best_name} is above {other} by {points(difference)} ({numbers}).")
        elif pair["separable"]:
            sentences.append(
                f"{best_name} has the higher mean of all runs, but over the "
                f"{pair['n']} shared seeds it is {points(-difference)} under {other} ({numbers})."
            )
        else:
            text = f"{best_name} and {other} cannot be separated"
            text += f" (difference {points(difference)}; {numbers})."
            if 2 * 0.5 ** pair["n"] >= LEVEL:
                text += f" {_runs_text(pair['n'])} cannot reach p < {LEVEL} whatever they show."
            sentences.append(text)
    at_chance = [cell.upstream for cell in group if _at_chance(cell)]
    if at_chance:
        sentences.append(f"The mean of {_listed(at_chance)} is not above chance.")
    reach = sampling_reach(best)
    if reach is not None:
        sentences.append(
            f"With {best.setup.test_recordings} test recordings, an accuracy of "
            f"{100 * summary(best.values)['mean']:.1f} % may well shift by "
            f"{points(reach)} on another test set of that size."
        )
    return [f"On {first.task} ({first.corpus}), {sentences[0]}", *sentences[1:]]


def sampling_reach(cell: TaskResult) -> float | None:
    """Half the 95 % Wilson interval (1927) of the mean accuracy, for the size of the test set.

    As a fraction; it is what drawing as many other test recordings could do, were they
    independent; recordings of shared speakers reach further. None where the size is not recorded,
    and for a metric that is no share of the recordings (macro recall, macro F1).
    """
    size = cell.setup.test_recordings
    if cell.metric != "top1" or not size:
        return None
    mean, z = summary(cell.values)["mean"], 1.96
    return z / (1 + z**2 / size) * math.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))


def points(fraction: float) -> str:
    """A difference of accuracies in percentage points; small ones with a further digit."""
    value = 100 * fraction
    return f"{value:.1f} points" if abs(value) >= 1 else f"{value:.2f} points"


def p_text(p: float | None) -> str:
    """A p value as "p = 0.012", or "p < 0.001"."""
    if p is None:
        return f"p {ABSENT}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _level(cell: TaskResult) -> str:
    numbers = cell_summary(cell)
    where = f"{cell.upstream} reaches {percent(numbers['mean'])} %"
    runs = _runs_text(numbers["n"]).lower()
    if numbers["ci95"] is None:
        return f"{where} in {runs}"
    low, high = numbers["ci95"]
    return f"{where} in {runs} (95 % interval {percent(low)} to {percent(high)} %)"


def _interval_text(ends: Sequence[float] | None, sign: int) -> str:
    if ends is None:
        return "no interval from one run"
    low, high = sorted(100 * sign * end for end in ends)
    return f"95 % interval {low:.2f} to {high:.2f}".replace("-", "−")


def _runs_text(count: int) -> str:
    return "One run" if count == 1 else f"{count} runs"


def _at_chance(cell: TaskResult) -> bool:
    """Whether the interval of the mean reaches down to chance; False where chance is not known."""
    chance, ends = cell.setup.chance, cell_summary(cell)["ci95"]
    return chance is not None and ends is not None and ends[0] <= chance


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _markdown(
    groups: Mapping[tuple[str, str], Sequence[TaskResult]], facts: Mapping[str, str], command: str
) -> str:
    cells = [cell for group in groups.values() for cell in group]
    # A fence longer than any run of backticks inside it cannot be closed from inside.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    lines = ["# Results", "", markdown_table(cells), f"{fence}sh", command, fence]
    if facts:
        listed = " · ".join(f"{name} {value}" for name, value in facts.items())
        lines += ["", escape(listed, quote=False)]
    return "\n".join(lines) + "\n"


def _page(
    groups: Mapping[tuple[str, str], Sequence[TaskResult]],
    figures: Mapping[tuple[str, str], Path],
    confusions: Mapping[tuple[str, str], Path],
    diagram: Path | None,
    facts: Mapping[str, str],
    command: str,
) -> str:
    cells = [cell for group in groups.values() for cell in group]
    upstreams = list(dict.fromkeys(cell.upstream for cell in cells))
    title = f"Results of {_listed(upstreams)}"
    if len(title) > MAX_TITLE:
        title = f"Results of {len(upstreams)} upstream" + ("s" if len(upstreams) > 1 else "")
    few = any(len(cell.values) < MIN_FOR_BOX for cell in cells)
    parts = [
        page.soft(_extent(groups)),
        "<h2>What the runs show</h2>",
        "<ul>",
        *(f"<li>{page.prose(' '.join(findings(group)))}</li>" for group in groups.values()),
        "</ul>",
        page.soft(SCOPE),
        *_across(groups, diagram),
        *_variances(cells),
        "<h2>Results</h2>",
        _results(groups),
        page.soft(footnote(cells)),
        "<h2>Runs</h2>",
        page.soft(FIGURE_KEY + FEW_RUNS_KEY * few),
        *(_figure(groups[key], path) for key, path in figures.items()),
    ]
    if any(cell.metrics for cell in cells):
        parts += ["<h2>All metrics</h2>", _metrics(groups), page.soft(METRICS_KEY)]
    if confusions:
        parts += [
            "<h2>Confusion</h2>",
            page.soft(CONFUSION_KEY),
            *_confusions(groups, confusions),
        ]
    if any(len(group) > 1 for group in groups.values()):
        parts += ["<h2>Pairs of upstreams</h2>", _pairs(groups), page.soft(PAIRS_KEY)]
    parts += ["<h2>How it was measured</h2>", *(_measured(group) for group in groups.values())]
    if facts:
        parts += ["<h2>Versions and hardware</h2>", page.definitions(facts)]
    parts += ["<h2>Command</h2>", f"<pre>{page.text(command)}</pre>"]
    return page.document(title, parts, MATRIX_STYLE)


def _extent(groups: Mapping[tuple[str, str], Sequence[TaskResult]]) -> str:
    counts = sorted({len(cell.values) for group in groups.values() for cell in group})
    runs = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    tasks = f"{len(groups)} task" + ("" if len(groups) == 1 else "s")
    return f"{tasks}, {runs} run{'' if counts == [1] else 's'} of each upstream on each."


def _title(group: Sequence[TaskResult]) -> str:
    return f"{group[0].task} – {group[0].corpus}"


def _ranked(groups: Mapping[tuple[str, str], Sequence[TaskResult]]) -> Ranking | None:
    """The upstreams over all tasks; None where two upstreams or two complete tasks are missing."""
    cells = [cell for group in groups.values() for cell in group]
    try:
        ranked = ranking(cells)
    except BarlowSpeechError:
        return None
    return ranked if len(ranked.blocks) > 1 else None


def _diagram(groups: Mapping[tuple[str, str], Sequence[TaskResult]], folder: Path) -> Path | None:
    """The critical-difference diagram, where there is such a difference."""
    ranked = _ranked(groups)
    if ranked is None or ranked.critical_difference is None:
        return None
    return critical_difference_diagram(ranked, folder / "critical_difference.png")


def _across(
    groups: Mapping[tuple[str, str], Sequence[TaskResult]], diagram: Path | None
) -> list[str]:
    ranked = _ranked(groups)
    if ranked is None:
        return []
    parts = ["<h2>Across tasks</h2>", f"<p>{page.prose(verdict(ranked))}</p>"]
    if diagram is not None:
        places = zip(ranked.upstreams, ranked.ranks)
        means = "; ".join(f"{name} {rank:.2f}" for name, rank in places)
        parts.append(page.figure(diagram, f"Critical-difference diagram. Average ranks: {means}."))
    return parts


def _variances(cells: Sequence[TaskResult]) -> list[str]:
    """Where the spread comes from, for the cells whose design tells."""
    splits = [(cell, split_variance(cell)) for cell in cells]
    lines = [page.prose(variance_text(cell, one)) for cell, one in splits if one.components]
    if not lines:
        return []
    return [
        "<h2>Where the spread comes from</h2>",
        "<ul>",
        *(f"<li>{x}</li>" for x in lines),
        "</ul>",
    ]


def _results(groups: Mapping[tuple[str, str], Sequence[TaskResult]]) -> str:
    body = []
    for group in groups.values():
        body.append(page.group_row(_title(group), 1 + len(COLUMNS)))
        for cell, marked in marked_cells(group):
            mark = f" <b>{MARK}</b>" if marked else ""
            numbers = "".join(f"<td>{page.text(number)}</td>" for number in row_numbers(cell))
            body.append(
                f'<tr><th scope="row">{page.breakable(cell.upstream)}{mark}</th>{numbers}</tr>'
            )
    return page.table(["upstream", *COLUMNS], body)


def _metrics(groups: Mapping[tuple[str, str], Sequence[TaskResult]]) -> str:
    """The mean of every metric, in percent."""
    body = []
    for group in groups.values():
        known = [cell for cell in group if cell.metrics]
        if known:
            body.append(page.group_row(_title(group), 1 + len(METRICS)))
        for cell in known:
            means = [cell.metrics.get(name) for name in METRICS]
            numbers = "".join(f"<td>{page.text(percent(mean))}</td>" for mean in means)
            name = page.breakable(cell.upstream)
            body.append(f'<tr><th scope="row">{name}</th>{numbers}</tr>')
    return page.table(["upstream", *METRICS.values()], body)


def _confusions(
    groups: Mapping[tuple[str, str], Sequence[TaskResult]], figures: Mapping[tuple[str, str], Path]
) -> list[str]:
    """Of each task the matrix of the best mean, and those of the others folded up beneath it."""
    parts = []
    for key, path in figures.items():
        first, *others = _with_confusion(groups[key])
        parts += [
            f"<h3>{page.text(_title(groups[key]))}</h3>",
            page.figure(path, confusion_text(first)),
            *(page.folded(f"Confusion of {cell.upstream}", [_matrix(cell)]) for cell in others),
        ]
    return parts


def _with_confusion(group: Sequence[TaskResult]) -> list[TaskResult]:
    """The cells whose confusion can be shown, from the best mean down."""
    shown = [
        cell
        for cell in group
        if (counts := confusion_counts(cell)) is not None and len(counts) <= MAX_CLASSES
    ]
    return sorted(shown, key=lambda cell: -summary(cell.values)["mean"])


def _matrix(cell: TaskResult) -> str:
    """The cell's confusion as a table of whole percentages, the darker the more."""
    names = [page.text(name) for name in class_names(cell)]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    body = []
    for name, row in zip(names, confusion_shares(cell).tolist()):
        fields = "".join(
            "<td></td>" if not share else f'<td class="s{round(10 * share)}">{100 * share:.0f}</td>'
            for share in (0.0 if math.isnan(share) else share for share in row)
        )
        body.append(f'<tr><th scope="row">{name}</th>{fields}</tr>')
    corner = '<th scope="col">true ↓ predicted →</th>'
    return f'<div class="matrix">{page.scrolling(f"<tr>{corner}{head}</tr>", body)}</div>'


def _figure(group: Sequence[TaskResult], path: Path) -> str:
    means = "; ".join(
        f"{cell.upstream} {percent(summary(cell.values)['mean'])} %" for cell in group
    )
    return page.figure(path, f"Boxplot of the runs on {_title(group)}. Means: {means}.")


def _pairs(groups: Mapping[tuple[str, str], Sequence[TaskResult]]) -> str:
    header = ["pair", "points", "95 % interval", "p (Holm)", "Wilcoxon p", "A12"]
    header += ["95 % interval", "seeds"]
    body = []
    for group in groups.values():
        if len(group) < 2:
            continue
        body.append(page.group_row(_title(group), len(header)))
        for pair in compare_all(group):
            ends = pair["a12_ci95"]
            numbers = [
                ABSENT
                if pair["difference"] is None
                else f"{100 * pair['difference']:+.2f}".replace("-", "−"),
                interval(pair["ci95"]),
                _p(pair["p_holm"]),
                _p(pair["p_wilcoxon_holm"]),
                ABSENT if pair["a12"] is None else f"{pair['a12']:.2f}",
                ABSENT if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]",
                pair["n"],
            ]
            cells = "".join(f"<td>{page.text(number)}</td>" for number in numbers)
            body.append(
                f'<tr><th scope="row">{page.breakable(pair["a"])}<br>'
                f'<span class="soft">against</span> {page.breakable(pair["b"])}</th>{cells}</tr>'
            )
    return page.table(header, body)


def _p(p: float | None) -> str:
    return p_text(p).removeprefix("p ").removeprefix("= ")


def _measured(group: Sequence[TaskResult]) -> str:
    """How the cells were measured: one list of those that all share, a table of the others."""
    rows = [_facts(cell) for cell in group]
    names = list(dict.fromkeys(name for row in rows for name in row))
    shared = {name: rows[0][name] for name in names if len({row.get(name) for row in rows}) == 1}
    parts = [f"<h3>{page.text(_title(group))}</h3>", page.definitions(shared)]
    differing = [name for name in names if name not in shared]
    if differing:
        body = [
            f'<tr><th scope="row">{page.breakable(cell.upstream)}</th>'
            + "".join(f'<td class="text">{page.text(row.get(n, ABSENT))}</td>' for n in differing)
            + "</tr>"
            for cell, row in zip(group, rows)
        ]
        parts.append(page.table(["upstream", *differing], body, texts=1 + len(differing)))
    notes = dict.fromkeys(
        note if len(group) == 1 or all(note in other.notes for other in group) else
        f"{cell.upstream}: {note}"
        for cell in group
        for note in cell.notes
    )  # fmt: skip
    if notes:
        parts += ["<ul>", *(f"<li>{page.text(note)}</li>" for note in notes), "</ul>"]
    return "\n".join(parts)


def _facts(cell: TaskResult) -> dict[str, str]:
    """How a cell was measured, as label and text."""
    shown = {"metric": METRICS.get(cell.metric, cell.metric), "runs": str(len(cell.values))}
    for one in dataclasses.fields(cell.setup):
        value = getattr(cell.setup, one.name)
        if value is None or value in ("", ()):
            continue
        if one.name == "chance":
            value = f"{100 * value:.3g}"
        elif one.name == "comparison":
            value = value[:12]
        shown[LABELS.get(one.name, one.name.replace("_", " "))] = _plain(value)
    if cell.seeds is not None:
        shown["seeds"] = seed_ranges(cell.seeds)
    if cell.seconds:
        shown["seconds for all runs"] = _plain(cell.seconds)
    for key, label in COST_LABELS.items():
        if (value := getattr(cell.cost, key)) is not None:
            shown[label] = cost_text(key, value)
    reach = sampling_reach(cell)
    if reach is not None:
        shown["± from the size of the test set"] = f"{100 * reach:.1f} points (95 %, Wilson)"
    return shown


def seed_ranges(seeds: Iterable[Any]) -> str:
    """Seeds as "0–49, 60": consecutive whole numbers are joined."""
    runs: list[list[Any]] = []
    for seed in seeds:
        if runs and isinstance(seed, int) and runs[-1][-1] == seed - 1:
            runs[-1] = [runs[-1][0], seed]
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, tuple) else str(value)
