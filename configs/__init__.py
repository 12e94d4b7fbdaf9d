"""The YAML files that come with the package, by kind, and how any of them is found by its name."""

from __future__ import annotations

from pathlib import Path

from barlow_speech.upstream.common.errors import unknown

# The folder of each kind. A kind is what a message calls one of its files.
FOLDERS = {
    "recipe": "pretrain",
    "override": "overrides",
    "corpus": "corpora",
    "protocol": "protocols",
    "study": "studies",
    "table of published scores": "published",
    "configuration": "superb",
}
KNOWN_FAULTS = Path(__file__).parent / "corpora" / "known_faults.yaml"  # no card, a table of facts
ENDINGS = (".yaml", ".yml")


def files(kind: str) -> dict[str, Path]:
    """The files of a kind, by name."""
    folder = Path(__file__).parent / FOLDERS[kind]
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if path != KNOWN_FAULTS}


def find(kind: str, name: str, where: str = "", also: tuple[str, ...] = ()) -> Path:
    """The file that a user names: a path that ends as YAML does, or the name of one of a kind.

    `where` ends the message's first half; `also` are names that are no files.

    Raises:
        BarlowSpeechError: it is neither.
    """
    if Path(name).suffix in ENDINGS:
        return Path(name)
    known = files(kind)
    if name not in known:
        raise unknown(kind, name, [*known, *also], where)
    return known[name]
