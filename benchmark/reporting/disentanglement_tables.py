"""A disentanglement study for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import Any

from barlow_speech.benchmark.disentanglement.bases import OWN
from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.disentanglement.metrics import BY_FACTOR, HEADLINES
from barlow_speech.benchmark.disentanglement.probes import COMPONENTS, DIMENSIONS, Probe
from barlow_speech.benchmark.reporting.numbers import ABSENT, markdown_escape
from barlow_speech.benchmark.reporting.tables import aligned
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate
from barlow_speech.upstream.common.text import printable

WIDTH = 96  # columns of a terminal, for sentences
DETERMINED = 0.995  # an association from which on one factor is said to determine the other


@dataclass(frozen=True)
class Section:
    """A table with a title; each block has a title of its own and rows. Sentences stand beneath."""

    title: str
    header: list[str]
    blocks: list[tuple[str, list[list[str]]]]
    sentences: list[str]


def text_study(found: Study) -> str:
    """For a terminal."""
    parts = [printable(f"disentanglement – {found.corpus}")]
    for section in sections(found):
        blocks = [(printable(title), rows) for title, rows in section.blocks]
        lines = aligned([section.title, *section.header], blocks)
        sentences = [textwrap.fill(printable(one), WIDTH) for one in section.sentences]
        parts.append("\n".join([*lines, *([""] if sentences else []), *sentences]))
    return "\n\n".join(parts)


def markdown_study(found: Study) -> str:
    """The same as Markdown, with the blocks' titles in a column of their own."""
    parts = [f"# Disentanglement: {markdown_escape(found.corpus)}"]
    for section in sections(found):
        lines = [
            f"## {section.title.capitalize()}",
            "",
            f"| | | {' | '.join(map(markdown_escape, section.header))} |",
            "|---|---|" + "---:|" * len(section.header),
        ]
        for title, rows in section.blocks:
            for name, *cells in rows:
                cells = [markdown_escape(cell) for cell in (title, name.strip(), *cells)]
                lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
        parts += [markdown_escape(one) for one in section.sentences]
    return "\n\n".join(parts) + "\n"


def json_study(found: Study) -> dict[str, Any]:
    """Every number of the study, JSON-able; fractions, and None where there is no interval."""
    return {
        "corpus": found.corpus,
        "settings": found.settings,
        "classes": found.classes,
        "associations": [
            {"of": a, "given": b, "share": share} for (a, b), share in found.associations.items()
        ],
        "notes": list(found.notes),
        "rows": [
            {
                "upstream": row.upstream,
                "basis": row.basis,
                **row.facts,
                "metrics": {key: _estimate(one) for key, one in row.estimates.items()},
            }
            for row in found.rows
        ],
        "differences": [
            {
                "upstream": one.upstream,
                "basis": one.basis,
                "less_upstream": one.less_upstream,
                "less_basis": one.less_basis,
                "metrics": {key: _estimate(value, -1.0) for key, value in one.estimates.items()},
            }
            for one in found.differences
        ],
        "codes": {
            name: {
                "source": found.sources[name],
                **_spectrum(one),
                "variances": one.variances.tolist(),
            }
            for name, one in found.spectra.items()
        },
        "probes": {
            name: {
                "layers": {layer: _spectrum(one) for layer, one in matrix.spectra.items()},
                "probes": [
                    {**dataclasses.asdict(one), "accuracy": _estimate(one.accuracy)}
                    for one in matrix.probes
                ],
            }
            for name, matrix in found.probes.items()
        },
    }


def sections(found: Study) -> list[Section]:
    """The tables of a study."""
    return [_metrics(found), *_compared(found), _by_factor(found), _codes(found), *_probes(found)]


def _metrics(found: Study) -> Section:
    settings, several = found.settings, found.settings["resamples"]
    rows = [[f"  {row.basis}", *_headlines(row.estimates)] for row in found.rows]
    blocks: dict[str, list[list[str]]] = {}
    for row, cells in zip(found.rows, rows):
        blocks.setdefault(row.upstream or "for comparison", []).append(cells)
    sentences = [
        "All × 100. D, C, I: disentanglement, completeness and informativeness of DCI (Eastwood & "
        f"Williams 2018; {settings['trees']} extremely randomised trees; I is balanced accuracy); "
        "MIG: mutual information gap (Chen et al. 2018); SAP (Kumar et al. 2018); modularity and "
        f"explicitness (Ridgeway & Mozer 2018; mean area under the ROC curve). {settings['bins']} "
        "bins. What is predicted is learnt on train and judged on dev and test.",
        _kept(found),
        f"{settings['recordings']} recordings; {_classes(found)}. "
        + (
            f"± is half a 95 % interval: {several} draws of {settings['speakers']} speakers, each "
            "with all recordings, and everything fitted anew."
            if several
            else f"There are no intervals: {settings['speakers']} speakers were drawn "
            f"{several} times."
        ),
        "The two last rows are what noise gets, and what a code gets that has one dimension for "
        "each factor, the number of its class (which nothing linear can read, so that it has no "
        "explicitness). Between them, or above, a metric says something. MIG and SAP are never "
        "under 0, so an interval that reaches 0 is that of a gap that cannot be told from none.",
        *_dependence(found),
        *(f"Note: {note}." for note in found.notes),
    ]
    if settings["within"]:
        sentences.insert(
            0,
            f"Measured within each class of {settings['within']} and averaged by recordings; "
            f"{settings['within']} itself is no factor here. Probes are of all recordings.",
        )
    return Section("metrics", list(HEADLINES.values()), list(blocks.items()), sentences)


def _compared(found: Study) -> list[Section]:
    if not found.differences:
        return []
    blocks: dict[str, list[list[str]]] = {}
    for one in found.differences:
        title = one.upstream if one.basis == OWN else f"{one.upstream}, {one.basis}"
        less = "its " + one.less_basis if one.upstream == one.less_upstream else "random weights"
        blocks.setdefault(title, []).append(
            [f"  less {less}", *_headlines(one.estimates, signed=True)]
        )
    sentence = (
        "Draw by draw on the same speakers. An interval that holds 0 says nothing; with this many "
        "of them, about one in twenty misses 0 by chance. Random weights are one draw of them "
        "(seed 0)."
    )
    return [Section("differences", list(HEADLINES.values()), list(blocks.items()), [sentence])]


def _by_factor(found: Study) -> Section:
    names = list(dict.fromkeys(
        key.partition("/")[2] for row in found.rows for key in row.estimates if "/" in key
    ))  # fmt: skip
    blocks: dict[str, list[list[str]]] = {}
    for row in found.rows:
        title = f"{row.upstream}, {row.basis}" if row.upstream else row.basis
        blocks[title] = [
            [f"  {name}", *(_cell(row.estimates.get(f"{metric}/{name}")) for metric in BY_FACTOR)]
            for name in names
        ]
    header = [HEADLINES[metric] for metric in BY_FACTOR]
    return Section("metrics of each factor", header, list(blocks.items()), [])


def _codes(found: Study) -> Section:
    rows = []
    for name, one in found.spectra.items():
        rows.append([
            f"  {name}", found.sources[name], str(one.dimensions), f"{one.effective_rank:.1f}",
            f"{one.participation:.1f}", *(str(count) for count in one.components.values()),
        ])  # fmt: skip
    header = ["source", "dimensions", "effective rank", "participation", "90 %", "99 %"]
    most = max(one.most for one in found.spectra.values())
    sentence = (
        "Effective rank: exp of the entropy of the singular values (Roy & Vetterli 2007), at most "
        f"{most} with this many recordings; participation: (Σλ)² / Σλ² of the variances; 90 %, "
        "99 %: principal components that hold so much of the variance."
    )
    return Section("spectrum of the codes", header, [("", rows)], [sentence])


def _probes(found: Study) -> list[Section]:
    factors = list(found.classes)
    header = ["effective rank"]
    for factor in factors:
        header += [factor, "PCs", "dims"]
    blocks = []
    for name, matrix in found.probes.items():
        rows = []
        for layer, one in matrix.spectra.items():
            cells = [f"{one.effective_rank:.1f}"]
            for factor in factors:
                cells += _probe(matrix.at(layer, factor))
            rows.append([f"  {layer}", *cells])
        blocks.append((name, rows))
    some = next(iter(found.probes.values())).probes
    judged = {one.factor: one for one in some}
    sentences = [
        "Balanced accuracy (%) of a logistic regression on the mean over time of a layer (or the "
        "embedding), its regularisation picked on dev, on the test recordings: "
        + ", ".join(
            f"{name} {one.recordings} (chance {100 * one.chance:.1f})"
            for name, one in judged.items()
        )
        + ". ± as above, but the probe is kept; it is left out where the test recordings are of "
        "fewer than five speakers, of whom a spread would say nothing.",
        "PCs: the fewest leading principal components, of 1, 2, 4, … 64, with which 90 % of the "
        "gain over chance of all dimensions is reached; dims: the same of the layer's own "
        "dimensions, the most telling (on train) first. "
        f"{ABSENT}: none of them does, or there is no gain.",
    ]
    return [Section("probes", header, blocks, sentences)]


def _probe(one: Probe) -> list[str]:
    few = (one.enough[COMPONENTS], one.enough[DIMENSIONS])
    return [_cell(one.accuracy), *(ABSENT if size is None else str(size) for size in few)]


def _kept(found: Study) -> str:
    own = [row for row in found.rows if row.basis == OWN]
    sizes = ", ".join(
        f"{row.facts['dimensions']} of {row.facts['of']} ({100 * row.facts['variance']:.0f} % of "
        f"the variance) of {row.upstream}"
        for row in own
    )
    late = [row.upstream for row in found.rows if row.facts.get("converged") is False]
    return (
        "Every basis keeps the dimensions of the largest variance, as many in each, and "
        f"standardises them: {sizes}. PCA and ICA are fitted to all recordings, "
        "without labels, and not anew in a draw."
        + (f" ICA did not converge for {', '.join(late)}." if late else "")
    )


def _classes(found: Study) -> str:
    return ", ".join(f"{name} ({count})" for name, count in found.classes.items())


def _dependence(found: Study) -> list[str]:
    determined = [pair for pair, share in found.associations.items() if share >= DETERMINED]
    others = [
        f"{b} tells {100 * share:.0f} % of {a}"
        for (a, b), share in found.associations.items()
        if (a, b) not in determined
    ]
    sentences = [f"{b} determines {a}" for a, b in determined]
    if not sentences and not others:
        return []
    tail = (
        " The metrics were made for factors that are independent: where one determines another, no "
        "code can be perfect."
        if determined
        else ""
    )
    return [f"How the factors hang together: {', '.join([*sentences, *others])}.{tail}"]


def _headlines(values: dict[str, Estimate], signed: bool = False) -> list[str]:
    return [_cell(values.get(key), signed) for key in HEADLINES]


def _cell(one: Estimate | None, signed: bool = False) -> str:
    if one is None:
        return ABSENT
    value = f"{100 * one.value:+.1f}" if signed else f"{100 * one.value:.1f}"
    reach = "" if one.reach is None else f" ± {100 * one.reach:.1f}"
    return f"{value}{reach}".replace("-", "−")


def _estimate(one: Estimate, low: float = 0.0) -> dict[str, Any]:
    return {"value": one.value, "error": one.error, "ci95": one.interval(low, 1.0)}


def _spectrum(one: Any) -> dict[str, Any]:
    return {
        "dimensions": one.dimensions,
        "effective_rank": one.effective_rank,
        "participation": one.participation,
        "components": {f"{share:g}": count for share, count in one.components.items()},
    }
