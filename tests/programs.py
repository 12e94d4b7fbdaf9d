"""Programs that are no Python packages and that some tests run: .ci/run installs them."""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str) -> str:
    """The path of the first of some programs that is here; without any the test is skipped.

    In CI (the variable CI is set) it fails instead: nobody would see what was left out.
    """
    for name in names:
        if found := shutil.which(name):
            return found
    absent = f"needs {' or '.join(names)}"
    if os.environ.get("CI"):
        pytest.fail(f"{absent}, and in CI this test may not be skipped: see .ci/run")
    pytest.skip(absent)
