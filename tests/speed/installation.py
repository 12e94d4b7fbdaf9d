"""How much an installation takes: the packages of an environment and what they weigh.

Usage: PYTHON tests/speed/installation.py [N]
    of the environment of that PYTHON, with the names of the N largest (default 12). To count what
    pip makes of this repository alone: make an environment, `pip install .`, and ask its Python.

pip itself is not counted. A package weighs what its files do that pip has recorded, those that pip
compiled included; 1 MB is 1,000,000 bytes.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path


def sizes() -> dict[str, int]:
    """Bytes by package, of the packages that this Python finds."""
    found: dict[str, int] = {}
    for package in metadata.distributions():
        files = [Path(str(package.locate_file(one))) for one in package.files or ()]
        found[package.name] = sum(file.stat().st_size for file in files if file.is_file())
    found.pop("pip", None)
    return found


def main() -> None:
    """Print the sum and the largest."""
    found = sizes()
    print(f"{len(found)} packages, {sum(found.values()) / 1e6:,.0f} MB")
    largest = sorted(found, key=found.__getitem__, reverse=True)
    for name in largest[: int(sys.argv[1]) if len(sys.argv) > 1 else 12]:
        print(f"{found[name] / 1e6:8.1f} MB  {name}")


if __name__ == "__main__":
    main()
