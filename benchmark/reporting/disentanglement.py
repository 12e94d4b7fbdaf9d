"""A disentanglement study as sections: metrics, differences, spectra and probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from barlow_speech.benchmark.disentanglement.bases import OWN
from barlow_speech.benchmark.disentanglement.measure import Study
from barlow_speech.benchmark.disentanglement.metrics import BY_FACTOR, HEADLINES
from barlow_speech.benchmark.disentanglement.probes import COMPONENTS, DIMENSIONS, Probe
from barlow_speech.benchmark.reporting.document import Document, Section, Table, Value
from barlow_speech.benchmark.reporting.numbers import ABSENT, estimate, percent
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate

DETERMINED = 0.995  # an association from which on one factor is said to determine the other


def document(study: Study) -> Document:
    """All sections of a study."""
    sections = (
        _metrics(study), *_compared(study), _by_factor(study), _spectra(study), _probes(study),
    )  # fmt: skip
    return Document(f"Disentanglement: {study.corpus}", "", sections)


def _section(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]], notes: Sequence[str] = ()
) -> Section:
    """A table whose first two columns are texts: the name of a block, and of a row in it."""
    table = Table(title, "", tuple(columns), tuple(rows), texts=2, groups=1)
    return Section(title, (), tuple(notes), (table,))


def _metrics(study: Study) -> Section:
    settings, several = study.settings, study.settings["resamples"]
    rows = [
        (row.upstream or "for comparison", row.basis, *_headlines(row.estimates))
        for row in study.rows
    ]
    sentences = [
        "All × 100. D, C, I: disentanglement, completeness and informativeness of DCI (Eastwood & "
        f"Williams 2018; {settings['trees']} extremely randomised trees; I is balanced accuracy); "
        "MIG: mutual information gap (Chen et al. 2018); SAP (Kumar et al. 2018); modularity and "
        f"explicitness (Ridgeway & Mozer 2018; mean area under the ROC curve). {settings['bins']} "
        "bins. What is predicted is learnt on train and evaluated on dev and test.",
        _kept(study),
        f"{settings['recordings']} recordings; {_classes(study)}. "
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
        *_dependence(study),
        *(f"Note: {note}." for note in study.notes),
    ]
    if settings["within"]:
        sentences.insert(
            0,
            f"Measured within each class of {settings['within']} and averaged by recordings; "
            f"{settings['within']} itself is no factor here. Probes are of all recordings.",
        )
    return _section("metrics", ("upstream", "basis", *HEADLINES.values()), rows, sentences)


def _compared(study: Study) -> list[Section]:
    if not study.differences:
        return []
    rows = []
    for pair in study.differences:
        title = pair.upstream if pair.basis == OWN else f"{pair.upstream}, {pair.basis}"
        less = f"its {pair.less_basis}" if pair.upstream == pair.less_upstream else "random weights"
        estimates = _headlines(pair.estimates, plus=True)
        rows.append((title, f"less {less}", *estimates))
    sentence = (
        "Draw by draw on the same speakers. An interval that holds 0 says nothing; with this many "
        "of them, about one in twenty misses 0 by chance. Random weights are one draw of them "
        "(seed 0)."
    )
    columns = ("upstream", "difference", *HEADLINES.values())
    return [_section("differences", columns, rows, [sentence])]


def _by_factor(study: Study) -> Section:
    names = list(dict.fromkeys(
        key.partition("/")[2] for row in study.rows for key in row.estimates if "/" in key
    ))  # fmt: skip
    rows = []
    for row in study.rows:
        title = f"{row.upstream}, {row.basis}" if row.upstream else row.basis
        for name in names:
            metrics = (_text(row.estimates.get(f"{metric}/{name}")) for metric in BY_FACTOR)
            rows.append((title, name, *metrics))
    columns = ("upstream", "factor", *(HEADLINES[metric] for metric in BY_FACTOR))
    return _section("metrics of each factor", columns, rows)


def _spectra(study: Study) -> Section:
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            name,
            study.sources[name],
            spectrum.dimensions,
            f"{spectrum.effective_rank:.1f}",
            f"{spectrum.participation:.1f}",
            *spectrum.components.values(),
        )
        for name, spectrum in study.spectra.items()
    )
    most = max(spectrum.most for spectrum in study.spectra.values())
    sentence = (
        "Effective rank: exp of the entropy of the singular values (Roy & Vetterli 2007), at most "
        f"{most} with this many recordings; participation: (Σλ)² / Σλ² of the variances; 90 %, "
        "99 %: principal components that hold so much of the variance."
    )
    title = "spectrum of the representations"
    columns = (
        "upstream", "source", "dimensions", "effective rank", "participation", "90 %", "99 %",
    )  # fmt: skip
    return Section(title, (), (sentence,), (Table(title, "", columns, rows, texts=2),))


def _probes(study: Study) -> Section:
    factors = list(study.classes)
    columns = ["upstream", "layer", "effective rank"]
    for factor in factors:
        columns += [factor, "PCs", "dims"]
    rows = []
    for name, matrix in study.probes.items():
        for layer, spectrum in matrix.spectra.items():
            probes = [text for factor in factors for text in _probe(matrix.at(layer, factor))]
            rows.append((name, layer, f"{spectrum.effective_rank:.1f}", *probes))
    of_factors = {probe.factor: probe for probe in next(iter(study.probes.values())).probes}
    sentences = [
        "Balanced accuracy (%) of a logistic regression on the mean over time of a layer (or the "
        "embedding), its regularisation picked on dev, on the test recordings: "
        + ", ".join(
            f"{name} {probe.recordings} (chance {percent(probe.chance)})"
            for name, probe in of_factors.items()
        )
        + ". ± as above, but the probe is kept; it is left out where the test recordings are of "
        "fewer than five speakers, of whom a spread would say nothing.",
        "PCs: the fewest leading principal components, of 1, 2, 4, … 64, with which 90 % of the "
        "gain over chance of all dimensions is reached; dims: the same of the layer's own "
        "dimensions, the most telling (on train) first. "
        f"{ABSENT}: none of them does, or there is no gain.",
    ]
    return _section("probes", columns, rows, sentences)


def _probe(probe: Probe) -> list[str]:
    few = (probe.enough[COMPONENTS], probe.enough[DIMENSIONS])
    return [_text(probe.accuracy), *(ABSENT if size is None else str(size) for size in few)]


def _kept(study: Study) -> str:
    own = [row for row in study.rows if row.basis == OWN]
    sizes = ", ".join(
        f"{row.facts['dimensions']} of {row.facts['of']} ({100 * row.facts['variance']:.0f} % of "
        f"the variance) of {row.upstream}"
        for row in own
    )
    late = [row.upstream for row in study.rows if row.facts.get("converged") is False]
    return (
        "Every basis keeps the dimensions of the largest variance, as many in each, and "
        f"standardises them: {sizes}. PCA and ICA are fitted to all recordings, "
        "without labels, and not anew in a draw."
        + (f" ICA did not converge for {', '.join(late)}." if late else "")
    )


def _classes(study: Study) -> str:
    return ", ".join(f"{name} ({count})" for name, count in study.classes.items())


def _dependence(study: Study) -> list[str]:
    determined = [pair for pair, share in study.associations.items() if share >= DETERMINED]
    others = [
        f"{b} tells {100 * share:.0f} % of {a}"
        for (a, b), share in study.associations.items()
        if (a, b) not in determined
    ]
    sentences = [f"{b} determines {a}" for a, b in determined]
    if not study.associations:
        return []
    tail = (
        " The metrics were made for factors that are independent: where one determines another, no "
        "code can be perfect."
        if determined
        else ""
    )
    return [f"How the factors hang together: {', '.join([*sentences, *others])}.{tail}"]


def _headlines(values: Mapping[str, Estimate], plus: bool = False) -> list[str]:
    return [_text(values.get(key), plus) for key in HEADLINES]


def _text(value: Estimate | None, plus: bool = False) -> str:
    return ABSENT if value is None else estimate(value.value, value.reach, plus)
