"""From a corpus's folder to manifests and cards: read, compare, refuse or write."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from barlow_speech import configs
from barlow_speech.downstream import corpora
from barlow_speech.downstream.corpora._known_faults import correct_table
from barlow_speech.downstream.corpora._scan import Options, Reader, Scan, Table, folders, listing
from barlow_speech.downstream.corpus import SPLITS, Card, ClassCount, Corpus, read_card, write_card
from barlow_speech.downstream.task import Task, read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.data.allowed_folders import allow
from barlow_speech.upstream.data.manifest import Manifest, check_cells, manifest_of, write_manifest

ENOUGH = 0.99  # of the published files or speakers; with fewer, a download is not whole

ENOUGH_SPEAKERS = 10  # of a class in a split; a score on fewer says more of them than of the class

MAX_CLASSES = 60  # that are counted one by one

WHOLE = ("files", "speakers")  # how the names of such items begin
GENDERS = ("female speakers", "male speakers")  # which a copy's table may have corrected

DEFAULTS = Options()

MAX_LISTED = 5  # that a message names of what is missing


@dataclass
class Prepared:
    """What was written, and what a user should know of it, a sentence each.

    `hours` and `rate` are those of the published corpus, `hours` only where it is whole here.
    `classes` has one for each of `tasks`, `few` one where a class has few speakers in a split.
    """

    manifests: list[Path]
    cards: list[Path]
    tasks: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    hours: float | None = None
    rows: str = ""  # of a table: read, and written
    rate: int | None = None


def prepare(
    name: str, root: Path, out: Path | None = None, options: Options = DEFAULTS
) -> Prepared:
    """Write the manifests and cards of the corpus `name`, whose official folder is `root`.

    They go to `out` (default: `root`). Paths in a manifest are relative to it where the recordings
    are below `out`, around it, or below the folder that holds it, so that both can be moved
    together, and absolute elsewhere.

    Raises:
        BarlowSpeechError: `root` is another corpus or not whole (unless `options.partial`), a file
            or label is none of the corpus's, `out` cannot be written, or an option is not for this
            corpus. Nothing is written then.
    """
    reader = find_reader(name)
    for name_of, value in dataclasses.asdict(options).items():
        if value and name_of not in ("partial", *reader.takes):
            flag = name_of.removesuffix("_speaker").replace("_", "-")
            raise BarlowSpeechError(f"--{flag} is not for {reader.title}; leave it out.")
    _check_root(name, reader, root)
    out = out or root
    check_writable(out)
    scan = reader.read(root, options)
    missing, differences = compare(scan)
    if not any(table.rows for table in scan.tables.values()):
        raise BarlowSpeechError(
            f"{root} has no recording of {reader.title}; expected {reader.layout}."
        )
    if missing and not options.partial:
        raise BarlowSpeechError(
            f"{root} is not the whole {reader.title} ({scan.source}): it lacks "
            f"{_listed(missing)}; finish the download, or add --partial to take what is there."
        )
    if missing:
        differences = [f"missing: {one}" for one in missing] + differences
        scan.notes.append(f"Partial: {_listed(missing)} are missing.")
    elsewhere = {
        row[table.columns.index("path")].rpartition("/")[0]
        for table in scan.tables.values()
        for row in table.rows
        if row[table.columns.index("path")].startswith("/")
    }
    if elsewhere:  # a part of the corpus that its reader found beside the folder
        allow(Path(os.path.commonpath(elsewhere)))
    tables, faults = _corrected(name, scan)
    asked = (card for card in reader.cards if card not in scan.unasked)
    cards = [read_card(configs.find("corpus", card)) for card in asked]
    scan.tables.clear()
    prepared = write_corpora(tables, cards, root, out, scan.revision, [*scan.notes, *faults])
    notes = [note for note in prepared.notes if note not in faults]
    return dataclasses.replace(
        prepared,
        differences=differences,
        hours=None if missing else scan.hours,
        rate=scan.rate,
        notes=notes,
        faults=faults,
    )


def _corrected(name: str, scan: Scan) -> tuple[dict[str, Table], list[str]]:
    """The tables without the known faults of the corpus, and a sentence for each fault."""
    tables, sentences = {}, dict.fromkeys(scan.faults)
    for stem, table in scan.tables.items():
        tables[stem] = table
        if table.rows:
            tables[stem], own = correct_table(name, table)
            sentences |= dict.fromkeys(own)
    return tables, list(sentences)


def compare(scan: Scan) -> tuple[list[str], list[str]]:
    """What a download lacks to be whole, and what differs otherwise, as sentences."""
    missing, differences = list(scan.missing), []
    for item, expected in scan.published.items():
        count = scan.counts.get(item, 0)
        if count == expected:
            continue
        whole = item.startswith(WHOLE) and count < ENOUGH * expected
        if whole or (count == 0 and not item.startswith(GENDERS)):
            missing.append(f"{expected - count} of {expected} {item}")
        else:
            differences.append(f"{item}: {expected} published, {count} found")
    return missing, differences


def write_corpora(
    tables: dict[str, Table],
    cards: Sequence[Card],
    root: Path,
    out: Path,
    revision: str = "",
    notes: Sequence[str] = (),
) -> Prepared:
    """Write tables as manifests, and the cards whose manifest is among them, into `out`.

    A card gets the revision and the notes, and keeps the tasks that its manifest can serve; why it
    cannot serve another is among the notes of the result, as are the leaks of its splits. The
    `tables` are taken out one by one, since their rows may be a million. Where
    `root` is not in `out`, this user's manifests may name its recordings from now on.

    Raises:
        BarlowSpeechError: `out` cannot be written.
    """
    if not root.resolve().is_relative_to(out.resolve()):
        allow(root)  # whoever runs this has named it
    prefix = _Prefix(root, out)
    here = [stem for stem, table in tables.items() if table.rows]
    for stem in here:
        cells = zip(tables[stem].columns, range(len(tables[stem].columns)))
        try:
            check_cells({name: (row[place] for row in tables[stem].rows) for name, place in cells})
        except BarlowSpeechError as error:
            raise BarlowSpeechError(f"for {out / stem}.tsv: {error}") from error
    manifests: dict[str, Manifest] = {}
    written = []
    result = Prepared([], [], notes=list(notes))
    for card in cards:
        stem = Path(card.manifest).stem
        if stem not in here:
            result.notes.append(f"No card '{card.name}': its recordings are not here.")
            continue
        if stem not in manifests:
            columns = _columns(tables.pop(stem), prefix)
            manifests[stem] = manifest_of(columns, out / f"{stem}.tsv")
        description = " ".join([card.description.strip(), *notes]).strip()
        card = dataclasses.replace(
            card,
            manifest=f"{stem}.tsv",
            description=description,
            revision=revision or card.revision,
        )
        written.append(_served(Corpus(card, manifests[stem]), result))
    for stem in here:
        made = stem in manifests
        columns = manifests.pop(stem).columns if made else _columns(tables.pop(stem), prefix)
        result.manifests.append(out / f"{stem}.tsv")
        write_manifest(result.manifests[-1], columns)
    for card in written:
        result.cards.append(out / f"{card.name}.yaml")
        write_card(result.cards[-1], card)
    return result


def _served(corpus: Corpus, result: Prepared) -> Card:
    """The card with the tasks that its manifest can serve; the result hears of the others."""
    tasks = {}
    for name, columns in corpus.card.tasks.items():
        task = read_task(name)
        try:
            folds = corpus.folds(task)
        except BarlowSpeechError as error:
            result.notes.append(f"Task '{name}' is left out of the card: {error}")
            continue
        tasks[name] = columns
        for examples in folds:
            where = f"{corpus.name}, {name} by {examples.columns.split}"
            sizes = "/".join(f"{len(examples.rows[split]):,}" for split in SPLITS)
            result.tasks.append(f"{where}: {len(examples.classes)} classes, {sizes}")
            counts = corpus.class_counts(examples)
            result.classes.append(_counted(counts))
            result.notes += [f"{where}: {note}" for note in examples.notes]
            result.few += [f"{where}: {few}" for few in _few(task, counts)]
            result.leaks += [f"{where}: {leak}" for leak in corpus.leaks(task, examples)]
    return dataclasses.replace(corpus.card, tasks=tasks)


def _counted(counts: Mapping[str, Mapping[str, ClassCount]]) -> str:
    """Every class with its recordings and speakers in train/dev/test; of very many the extremes."""
    said = []
    for name in counts["train"]:
        of = [counts[split][name] for split in SPLITS]
        voices = "/".join(f"{one.speakers:,}" for one in of)
        known = f" of {voices} speakers" if any(one.speakers for one in of) else ""
        said.append(f"{name} {'/'.join(f'{one.recordings:,}' for one in of)}{known}")
    if len(said) <= MAX_CLASSES:
        return "; ".join(said)
    order = sorted(range(len(said)), key=lambda i: [*counts["train"].values()][i].recordings)
    return f"from {said[order[0]]} to {said[order[-1]]}"


def _few(task: Task, counts: Mapping[str, Mapping[str, ClassCount]]) -> list[str]:
    """A sentence where a class has few speakers: its score says more of them than of the class."""
    if not task.speakers_disjoint:
        return []
    few = [
        f"{name} {count.speakers} in {split}"
        for split in SPLITS
        for name, count in counts[split].items()
        if 0 < count.speakers < ENOUGH_SPEAKERS
    ]
    sentence = f"fewer than {ENOUGH_SPEAKERS} speakers of a class: {_listed(few)}"
    return [sentence] if few else []


def _columns(table: Table, prefix: _Prefix) -> dict[str, list[str]]:
    """The columns of the table that hold anything; the paths as the manifest writes them."""
    # One after the other: zip(*rows) would take a million arguments.
    columns = {name: [row[place] for row in table.rows] for place, name in enumerate(table.columns)}
    columns["path"] = list(map(prefix.of, columns["path"]))
    return {name: cells for name, cells in columns.items() if any(cells)}


class _Prefix:
    """Paths of a corpus as a manifest in another folder writes them."""

    def __init__(self, root: Path, out: Path) -> None:
        self.out = os.path.realpath(out)
        self.root = self._seen(os.path.realpath(root))
        self.others: dict[str, str] = {}

    def of(self, path: str) -> str:
        if not path.startswith("/"):
            return self.root + path
        folder, _, name = path.rpartition("/")
        if folder not in self.others:
            self.others[folder] = self._seen(os.path.realpath(folder))
        return self.others[folder] + name

    def _seen(self, folder: str) -> str:
        relative = os.path.relpath(folder, self.out)
        if relative == ".":
            return ""
        # Links are resolved, so that ".." means the same to whoever opens the file. Unless one of
        # the folders holds the other, two levels up they have little to do with each other.
        steps = relative.split("/")
        near = steps[:2] != ["..", ".."] or set(steps) == {".."}
        return f"{relative if near else folder.rstrip('/')}/"


def _check_root(name: str, reader: Reader, root: Path) -> None:
    command = "barlow-speech prepare"
    if not root.is_dir():
        archive = root.suffix in (".zip", ".gz", ".tgz", ".tar") and root.is_file()
        remedy = "unpack it and give the folder" if archive else "check the path"
        raise BarlowSpeechError(f"{root} is no folder; {remedy}.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise BarlowSpeechError(f"{root} cannot be read; check its permissions.")
    if reader.recognises(root):
        return
    for other in corpora.names():
        if other != name and find_reader(other).recognises(root):
            raise BarlowSpeechError(
                f"{root} looks like {find_reader(other).title}, not {reader.title}; run "
                f"`{command} {other} {root}`, or give the folder of {reader.title}."
            )
    for folder in folders(root):
        if reader.recognises(root / folder):
            raise BarlowSpeechError(
                f"{root} is no {reader.title}, but its folder {folder} looks like it; run "
                f"`{command} {name} {root / folder}`."
            )
    here = listing(root)
    raise BarlowSpeechError(
        f"{root} is no {reader.title}: expected {reader.layout}, found "
        f"{_listed(here) if here else 'nothing'}; give the folder that holds it."
    )


def check_writable(out: Path) -> None:
    """Before a long walk, not after it."""
    folder = out
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BarlowSpeechError(
            f"{out} cannot be written; choose another folder for manifest and card by -o."
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def find_reader(name: str) -> Reader:
    """The reader of a corpus.

    Raises:
        BarlowSpeechError: there is no such corpus.
    """
    if name not in corpora.names():
        raise unknown("corpus", name, corpora.names(), "prepare")
    reader: Reader = importlib.import_module(f"{corpora.__name__}.{name}").READER
    return reader
