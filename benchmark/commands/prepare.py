"""write manifest and card of a public corpus, or of a list of your own

barlow-speech prepare                     the corpora there are, and what their folders hold
barlow-speech prepare emodb DATA/EmoDB    then: run_downstream.py --corpus DATA/EmoDB/emodb.yaml …
barlow-speech prepare --from mine.csv --column speaker=who --split-by speaker
barlow-speech prepare --from FILE_OR_FOLDER   lists of NeMo, EmoBox, Kaldi, lhotse, SpeechBrain, …
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from barlow_speech.downstream import corpora
from barlow_speech.upstream.common.errors import BarlowSpeechError

if TYPE_CHECKING:
    from barlow_speech.downstream.preparation.from_table import TableOptions
    from barlow_speech.downstream.preparation.prepare import Prepared
    from barlow_speech.upstream.data.manifest import Recording

SILENCE = "_silence_"  # recordings of this class may be silent
SHARES = (0.15, 0.15)  # of dev and test
OF_A_CORPUS = ("genders", "test_set", "statistics")
OF_A_TABLE = ("corpus_name", "column", "audio_root", "shares", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help=f"the corpus: {', '.join(corpora.names())}")
    add("root", nargs="?", type=Path, metavar="ROOT", help="its folder, as it is published")
    add(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="where manifest and card go (default: ROOT, or the folder of the list)",
    )
    add(
        "--partial",
        action="store_true",
        help="take what is there of a corpus that is not whole, and say so in the card",
    )
    add(
        "--check-audio",
        action="store_true",
        help="decode every recording, list what is broken, and end with status 2 if any is",
    )
    add(
        "--genders",
        choices=["published", "audit"],
        default="",
        help="of LibriSpeech's eight readers whom a public audit calls otherwise (default: what "
        "SPEAKERS.TXT says)",
    )
    add("--workers", type=int, metavar="N", help="threads of --check-audio (default: all cores)")
    add(
        "--test-set",
        type=Path,
        metavar="DIR",
        help="folder of the separate test set of Speech Commands (default: the one of its official "
        "name in or beside ROOT)",
    )
    add(
        "--statistics",
        type=Path,
        metavar="FILE",
        help="published counts of a release of Common Voice, "
        "datasets/scripted-speech/<release>.json of the repository common-voice/cv-dataset",
    )
    table = parser.add_argument_group("a list of your own")
    add = table.add_argument
    add(
        "--from",
        "--from-table",
        dest="source",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="a table (CSV, TSV) with a header, a column of paths and labels; JSON lines of NeMo; "
        "a folder of EmoBox or Kaldi; cuts or recordings of lhotse; CSV or JSON of SpeechBrain; "
        "parquet or a saved data set of Hugging Face; tars of WebDataset: by what is in it",
    )
    add("--corpus-name", default="", metavar="NAME", help="default: the name of the list")
    add(
        "--column",
        nargs="+",
        default=[],
        action="extend",
        metavar="OURS=THEIRS",
        help="what a column is called there, such as path=file speaker=spk_id keyword=word",
    )
    add(
        "--audio-root",
        type=Path,
        metavar="DIR",
        help="folder that its paths are relative to (default: that of the list)",
    )
    add(
        "--split-by",
        nargs="+",
        default=[],
        choices=["speaker", "recording"],
        help="make splits: by speaker, none in two of them (also of common_voice, of all that is "
        "validated); by recording, in equal shares of every speaker (or, without speakers, of "
        "every class)",
    )
    add(
        "--shares",
        nargs=2,
        type=float,
        metavar=("DEV", "TEST"),
        help=f"of --split-by (default: {SHARES[0]} {SHARES[1]})",
    )
    add("--seed", type=int, metavar="N", help="of --split-by (default: 0)")


def run(given: argparse.Namespace) -> None:
    """Do it, say where it is and what differs, and with --check-audio what is broken.

    Raises:
        BarlowSpeechError: on anything that the user can fix; among it broken recordings.
    """
    from barlow_speech.downstream.corpora._scan import Options
    from barlow_speech.downstream.preparation.from_table import prepare_table
    from barlow_speech.downstream.preparation.prepare import find_reader, prepare

    if given.workers is not None and given.workers < 1:
        raise BarlowSpeechError(f"--workers must be 1 or more, not {given.workers}.")
    if given.source is not None:
        if given.name is not None:
            raise BarlowSpeechError(
                f"--from {given.source} and the corpus {given.name} exclude each other; "
                "give one of them."
            )
        _refuse(given, OF_A_CORPUS, "is for a public corpus, and --from reads your own")
        if not given.split_by:
            _refuse(given, ("shares", "seed"), "is for a split, which --split-by asks for")
        prepared = prepare_table(given.source, given.out, _table_options(given))
    elif given.name is None:
        for name in corpora.names():
            reader = find_reader(name)
            print(f"{name:20} {reader.title}: {reader.layout}")
        return
    elif given.root is None:
        reader = find_reader(given.name)
        raise BarlowSpeechError(
            f"prepare {given.name} needs the folder of {reader.title} ({reader.layout}); run "
            f"`barlow-speech prepare {given.name} FOLDER`."
        )
    else:
        _refuse(given, OF_A_TABLE, "is for a list of your own (--from)")
        by_speaker = given.split_by == ["speaker"]
        if given.split_by and not by_speaker:
            raise BarlowSpeechError(
                "--split-by recording is for a list of your own (--from); leave it out."
            )
        options = Options(
            given.partial, given.genders, given.test_set, given.statistics, by_speaker
        )
        prepared = prepare(given.name, given.root, given.out, options)
    _say(prepared)
    if given.check_audio:
        _check(prepared, given.workers)


def _refuse(given: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    """What would be ignored is refused."""
    for name in names:
        if getattr(given, name) not in (None, "", []):
            raise BarlowSpeechError(f"--{name.replace('_', '-')} {why}; leave it out.")


def _table_options(given: argparse.Namespace) -> TableOptions:
    from barlow_speech.downstream.preparation.from_table import TableOptions

    dev, test = given.shares or SHARES
    columns = {}
    for one in given.column:
        ours, equals, theirs = one.partition("=")
        if not (ours and equals and theirs):
            raise BarlowSpeechError(f"--column {one}: write it as OURS=THEIRS, as speaker=spk_id.")
        columns[ours] = theirs
    return TableOptions(
        name=given.corpus_name,
        columns=columns,
        root=given.audio_root,
        split_by=tuple(given.split_by),
        dev=dev,
        test=test,
        seed=given.seed or 0,
        partial=given.partial,
    )


def _say(prepared: Prepared) -> None:
    if prepared.rows:
        print(f"rows        {prepared.rows}")
    for line, classes in zip(prepared.tasks, prepared.classes):
        print(f"task        {line}")
        print(f"classes     {classes}")
    told = {"difference": prepared.differences, "note": prepared.notes, "fault": prepared.faults}
    told["few"] = prepared.few
    for title, lines in told.items():
        for line in lines:
            print(f"{title:11} {line}", file=sys.stderr)
    for line in prepared.leaks:
        print(f"leak        {line}", file=sys.stderr)
    if prepared.tasks and not prepared.leaks:
        print("leak check  no recording, and where it matters no speaker, is on both sides")
    for path in (*prepared.manifests, *prepared.cards):
        print(f"wrote       {path}")
    if prepared.tasks:
        tried = prepared.cards[0]
        print(f"try         run_downstream.py -u barlow_speech -d all --corpus {tried}")


def _check(prepared: Prepared, workers: int | None) -> None:
    from barlow_speech.downstream.corpus import read_corpus
    from barlow_speech.downstream.preparation.audio_check import check_audio, copies
    from barlow_speech.downstream.preparation.plausibility import implausible
    from barlow_speech.upstream.data.manifest import Recording, read_manifest

    allowed: dict[Recording, bool] = {}
    manifests = [read_manifest(file) for file in prepared.manifests]
    listed = {one for manifest in manifests for one in manifest.recordings}
    for manifest in manifests:
        cells = zip(*manifest.columns.values())
        for recording, row in zip(manifest.recordings, cells):
            # A file that one manifest has whole is decoded once, not again in parts or quieter.
            whole = Recording(recording.path)
            once = whole if whole in listed else recording
            allowed[once] = allowed.get(once, False) or SILENCE in row
    decoded = check_audio(list(allowed), allowed.values(), workers)
    published = f", {prepared.hours:g} h published" if prepared.hours else ""
    print(f"audio       {len(allowed):,} recordings, {decoded.hours:.2f} h decoded{published}")
    for line in decoded.broken:
        print(f"broken      {line}")
    heard = dict(zip(allowed, decoded.digests))
    for card in prepared.cards:
        found = copies(read_corpus(str(card)), heard, decoded.silent)
        print(f"copies      {len(found)} recordings of {card} that are others to the bit")
        for line in found:
            print(f"copy        {line}")
    files = {recording.path for recording in allowed}
    wrong, unlike = implausible(files, decoded.hours, prepared.hours, prepared.rate)
    for line in (*wrong, *unlike):
        print(f"unlike      {line}")
    if wrong and not decoded.broken:
        raise BarlowSpeechError(
            f"this cannot be the corpus as published: {wrong[0]}; take its original recordings."
        )
    if decoded.broken:
        raise BarlowSpeechError(
            f"{len(decoded.broken)} of {len(allowed)} recordings are broken and listed above; "
            "replace them, or drop their rows from the manifest."
        )
