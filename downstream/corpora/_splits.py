"""Splits for what has no official one: fixed by the names alone, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def shuffled(names: Iterable[str], seed: str = "") -> list[str]:
    """The names in the order of the SHA-256 of `seed` and name, so that nothing else decides it."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}{name}".encode()).digest())


def split_names(names: Iterable[str], dev: int, test: int, seed: str = "") -> dict[str, str]:
    """The split of each name: in `shuffled` order `test` of them, then `dev`, the rest train."""
    return {
        name: "test" if place < test else "dev" if place < test + dev else "train"
        for place, name in enumerate(shuffled(names, seed))
    }


def split_speakers(genders: Mapping[str, str], dev: int, test: int) -> dict[str, str]:
    """The split of each speaker, of every gender `dev` and `test` speakers, the rest train."""
    result = {}
    for gender in sorted(set(genders.values())):
        result.update(split_names((one for one in genders if genders[one] == gender), dev, test))
    return result


def split_shares(names: Iterable[str], dev: float, test: float, seed: str = "") -> dict[str, str]:
    """The split of each name by shares of their number; of three names each split gets one."""
    names = set(names)
    least = 1 if len(names) >= 3 else 0
    count = {share: max(least, round(share * len(names))) for share in (dev, test)}
    return split_names(names, count[dev], count[test], seed)


def held_out(one: str, dev: Iterable[str], test: Iterable[str]) -> str:
    """The split of a name where those of dev and test are listed and all others train."""
    return "dev" if one in dev else "test" if one in test else "train"
