"""Speech Commands v0.01: 30 words; and the twelve classes of SUPERB's keyword spotting.

P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209:
<word>/<speaker>_nohash_<n>.wav, validation_list.txt, testing_list.txt, _background_noise_.

Twelve classes as in s3prl/downstream/speech_commands: ten words, every other word `_unknown_`, and
`_silence_`. Train and dev follow the lists (which hold what s3prl's hash gives). Test is a download
of its own, speech_commands_test_set_v0.01, with a folder a class; without it, test follows
testing_list.txt, and a note says so. Where s3prl draws a second of noise anew at each step, here is
a fixed bank: the seconds of each noise file, one after the other without overlap, its first 80 %
train, the next 10 % dev, the rest test (which only serves where there is no test set).

For SUPERB's own task (superb_ks) v0.01 has a manifest more, by s3prl's rules throughout: split by
the hash of the file's name, the archive's test part left out, every wave 3 dB quieter, and noise
from the whole of its files in train and dev alike.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from barlow_speech.downstream.corpora._scan import (
    Options,
    Reader,
    Scan,
    Table,
    files_below,
    folders,
    known,
    parsed,
    read_lines,
)
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE, NOISE = "_unknown_", "_silence_", "_background_noise_"
LISTS = {"validation_list.txt": "dev", "testing_list.txt": "test"}
NEW_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
# In the test sets, unknown words are called <word>_<speaker>_nohash_<n>.wav.wav.
NAME = re.compile(r"(?:[a-z]+_)?([0-9a-f]+)_nohash_\d+\.wav(?:\.wav)?")
SILENCE_NAME = re.compile(r".+\.wav")
EXAMPLE = "0a7c2a8d_nohash_0.wav (speaker, repetition)"
COLUMNS = ("path", "start_s", "end_s", "speaker", "keyword", "keyword_12")
SPLITS = ("split_speaker_disjoint", "split_12")
DEV_FROM, TEST_FROM = 0.8, 0.9  # of each noise file
SUPERB_COLUMNS = ("path", "start_s", "end_s", "gain_db", "speaker", "keyword_12", "split_superb")
SUPERB_GAIN_DB = "-3"  # of every wave, in s3prl/downstream/speech_commands/dataset.py
SUPERB_DEV = 5  # every fifth second of noise


@dataclass(frozen=True)
class Version:
    """A release: how often it has each word, and the published sizes of its splits and test set.

    `superb`: it is the one of SUPERB's keyword spotting.
    """

    number: str
    words: dict[str, int]
    speakers: int
    dev: int
    test: int
    test_set: dict[str, int]
    superb: bool = False

    @property
    def name(self) -> str:
        """Of its reader and cards."""
        return f"speech_commands_v{int(self.number[-1])}"

    @property
    def folder(self) -> str:
        """What the test set is called."""
        return f"speech_commands_test_set_v{self.number}"


def read(version: Version, root: Path, options: Options) -> Scan:
    """The recordings of a version below `root`, and those of its test set."""
    scan = Scan("Warden 2018", rate=16_000)
    files = sum(version.words.values())
    scan.published = {"files": files, "speakers": version.speakers, "files in dev": version.dev}
    scan.published |= {"files in test": version.test, **version.words}
    listed = _lists(root, scan)
    test_set = _test_set(version, root, options)
    rows: list[tuple[str, ...]] = []
    superb: list[tuple[str, ...]] = []
    counts: Counter[str] = Counter()
    for word in _words(version, root, options, scan):
        below = files_below(root / word, ".wav", version.words[word])
        for path, match in parsed((f"{word}/{n}" for n in below), NAME, EXAMPLE, options, scan):
            split = listed.pop(path, "train")
            label = word if word in COMMANDS else UNKNOWN
            split_12 = "" if split == "test" and test_set else split
            rows.append((path, "", "", match[1], word, label, split, split_12))
            if (by_hash := which_set(path)) != "test":
                superb.append((path, "", "", SUPERB_GAIN_DB, match[1], label, by_hash))
            counts.update((word, f"files in {split}"))
    if listed:
        scan.missing.append(f"{len(listed)} files of its lists, such as {next(iter(listed))}")
    scan.counts = {"files": len(rows), "speakers": len({row[3] for row in rows}), **counts}
    rows += _silence(root, bool(test_set), scan)
    if test_set:
        tested = list(_rows_of_test_set(version, test_set, options, scan))
        rows += tested
        superb += _superb_silence(root)
        superb += [(one[0], "", "", SUPERB_GAIN_DB, one[3], one[5], "test") for one in tested]
    else:
        scan.notes.append(
            f"Without {version.folder}: the twelve-class test is made of testing_list.txt and "
            "of noise, and not the one that SUPERB and the publication use."
        )
    scan.tables = {version.name: Table(COLUMNS + SPLITS, rows)}
    if version.superb and test_set:
        scan.tables[f"{version.name}_superb"] = Table(SUPERB_COLUMNS, superb)
    return scan


def which_set(path: str) -> str:
    """The split of a recording by its speaker: s3prl/downstream/speech_commands/expert.py."""
    speaker = re.sub(r"_nohash_.*$", "", path.rpartition("/")[2])
    number = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27
    share = number * (100.0 / (2**27 - 1))
    return "dev" if share < 10 else "test" if share < 20 else "train"


def _words(version: Version, root: Path, options: Options, scan: Scan) -> list[str]:
    """The folders of words that are there."""
    here = [name for name in folders(root) if name not in (NOISE, version.folder)]
    scan.missing += [f"folder {word}" for word in version.words if word not in here]
    strays = [word for word in here if word not in version.words]
    if strays and not options.partial:
        known({word: word for word in version.words}, strays[0], "word", str(root / strays[0]))
    if strays:
        scan.notes.append(f"Folders that are no words of it, {', '.join(strays)}, left out.")
    return [word for word in here if word in version.words]


def _lists(root: Path, scan: Scan) -> dict[str, str]:
    listed: dict[str, str] = {}
    for name, split in LISTS.items():
        if not (root / name).is_file():
            scan.missing.append(f"{name} (the official split)")
            continue
        listed |= {line.strip(): split for line in read_lines(root / name) if line.strip()}
    return listed


def _silence(root: Path, with_test_set: bool, scan: Scan) -> Iterator[tuple[str, ...]]:
    """A row for each whole second of the noise files."""
    below = files_below(root / NOISE, ".wav", 6) if (root / NOISE).is_dir() else []
    if not below:
        scan.missing.append(f"folder {NOISE} (the class {SILENCE})")
    for name in below:
        seconds = int(duration_s(root / NOISE / name))
        for second in range(seconds):
            if (second + 1) / seconds <= DEV_FROM:
                split = "train"
            elif (second + 1) / seconds <= TEST_FROM:
                split = "dev"
            else:
                split = "" if with_test_set else "test"
            span = (f"{NOISE}/{name}", str(second), str(second + 1))
            yield (*span, "", "", SILENCE, "", split)


def _superb_silence(root: Path) -> Iterator[tuple[str, ...]]:
    """As many seconds of every noise file, evenly spaced over it and apart from each other.

    s3prl draws a file, each as often as another, and a second anywhere in it, for train and dev.
    """
    folder = root / NOISE
    below = files_below(folder, ".wav", 6) if folder.is_dir() else []
    samples = {name: round(duration_s(folder / name) * SAMPLE_RATE) for name in below}
    count = min(samples.values(), default=0) // SAMPLE_RATE
    for name, length in samples.items():
        for number in range(count):
            start = number * (length - SAMPLE_RATE) // max(1, count - 1)
            span = (f"{start / SAMPLE_RATE}", f"{(start + SAMPLE_RATE) / SAMPLE_RATE}")
            split = "dev" if number % SUPERB_DEV == SUPERB_DEV - 1 else "train"
            yield (f"{NOISE}/{name}", *span, SUPERB_GAIN_DB, "", SILENCE, split)


def _test_set(version: Version, root: Path, options: Options) -> Path | None:
    """The folder of the test set: the given one, or that of its name in or beside `root`."""
    if options.test_set is not None:
        if not options.test_set.is_dir():
            raise BarlowSpeechError(f"--test-set {options.test_set} is no folder; check the path.")
        return options.test_set.resolve()
    for folder in (root / version.folder, root.resolve().parent / version.folder):
        if folder.is_dir():
            return folder.resolve()
    return None


def _rows_of_test_set(
    version: Version, folder: Path, options: Options, scan: Scan
) -> Iterator[tuple[str, ...]]:
    missing = [name for name in version.test_set if not (folder / name).is_dir()]
    if missing:
        raise BarlowSpeechError(
            f"{folder} has no folder {missing[0]}, so that it is not {version.folder}; unpack that "
            "one and give its folder by --test-set."
        )
    total = 0
    for label in version.test_set:
        below = files_below(folder / label, ".wav", version.test_set[label])
        pattern = SILENCE_NAME if label == SILENCE else NAME
        paths = (f"{folder}/{label}/{name}" for name in below)
        number = 0
        for path, match in parsed(paths, pattern, EXAMPLE, options, scan):
            speaker = "" if label == SILENCE else match[1]
            number += 1
            yield (path, "", "", speaker, "", label, "", "test")
        scan.counts[f"test set, {label}"] = number
        scan.published[f"test set, {label}"] = version.test_set[label]
        total += number
    scan.counts["files in the test set"] = total
    scan.published["files in the test set"] = sum(version.test_set.values())


def recognises(version: Version, root: Path) -> bool:
    """By its words; the two versions by the words that the second has and the first has not."""
    names = folders(root)
    second = any(word in names for word in NEW_IN_V2)
    return (
        {"yes", "no"} <= set(names)
        and UNKNOWN not in names
        and second == (NEW_IN_V2[0] in version.words)
    )


def reader_of(version: Version) -> Reader:
    """The reader of a version."""
    superb = (f"{version.name}_superb",) if version.superb else ()
    return Reader(
        title=f"Speech Commands v{version.number}",
        layout=f"{len(version.words)} folders of words, {NOISE} and {', '.join(LISTS)}",
        recognises=lambda root: recognises(version, root),
        read=lambda root, options: read(version, root, options),
        cards=(version.name, f"{version.name}_12", *superb),
        takes=("test_set",),
    )


VERSION = Version(
    number="0.01",
    # The counts of the words in the archive; their sum and the splits are the published ones.
    words={
        "bed": 1713, "bird": 1731, "cat": 1733, "dog": 1746, "down": 2359, "eight": 2352,
        "five": 2357, "four": 2372, "go": 2372, "happy": 1742, "house": 1750, "left": 2353,
        "marvin": 1746, "nine": 2364, "no": 2375, "off": 2357, "on": 2367, "one": 2370,
        "right": 2367, "seven": 2377, "sheila": 1734, "six": 2369, "stop": 2380, "three": 2356,
        "tree": 1733, "two": 2373, "up": 2375, "wow": 1745, "yes": 2377, "zero": 2376,
    },
    speakers=1881,
    dev=6798,
    test=6835,
    test_set={
        "yes": 256, "no": 252, "up": 272, "down": 253, "left": 267, "right": 259, "on": 246,
        "off": 262, "stop": 249, "go": 251, UNKNOWN: 257, SILENCE: 257,
    },
    superb=True,
)  # fmt: skip
READER = reader_of(VERSION)
