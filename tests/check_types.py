"""Run mypy over the tree under its import name: `python tests/check_types.py`.

The top-level folders are the subpackages of `barlow_speech`, whatever the checkout is called; mypy
follows folder names, so it is shown the tree through a link of the right name.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """mypy's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "barlow_speech"
        package.mkdir()
        for name in ("__init__.py", "upstream", "downstream", "benchmark", "configs"):
            (package / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        return subprocess.run([*command, "-p", "barlow_speech"], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
