"""Adds to setup.cfg the one requirement that depends on what is there: s3prl, or ESPnet's fork.

Both are imported as `s3prl` and write the same files, so requiring one where the other is installed
would overwrite it, and pip has no words for "this or that". Where one of them is installed it is
the one required; where neither is, it is the fork, which is maintained and comes as a wheel.

Seen from inside pip's build environment, the Python that is installed into is another one: it is
asked in a process of its own. A tool that builds with a Python of its own sees nothing there.
"""

from __future__ import annotations

import os
import subprocess
import sys

from setuptools import Distribution, setup

REQUIREMENTS = {"espnet-s3prl": "espnet-s3prl>=2026.5.14", "s3prl": "s3prl>=0.4.18,<0.5"}
ASK = """
from importlib import metadata
import sys
for name in sys.argv[1:]:
    try:
        metadata.version(name)
        print(name)
    except metadata.PackageNotFoundError:
        pass
"""


def required() -> str:
    """The requirement that overwrites nothing."""
    # What pip isolates its build environments by.
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    command = [sys.executable, "-c", ASK, *REQUIREMENTS]
    done = subprocess.run(command, env=outside, capture_output=True, text=True)
    found = done.stdout.split()
    return REQUIREMENTS[found[0] if found else "espnet-s3prl"]


class WithS3prl(Distribution):
    """The distribution of setup.cfg with that requirement."""

    def parse_config_files(self, *arguments: object, **options: object) -> None:
        super().parse_config_files(*arguments, **options)
        self.install_requires = [*self.install_requires, required()]
        self.metadata.install_requires = self.install_requires  # what is written into the metadata


if __name__ == "__main__":
    setup(distclass=WithS3prl)
