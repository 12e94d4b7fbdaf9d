"""What is installed is the whole package, on a Python that is supported, over no other s3prl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("upstream", "downstream", "benchmark", "configs")
# The files that `pip wheel` takes, without its network, its build environment and its archive.
FILES = """
from setuptools import Distribution
distribution = Distribution({"script_name": "setup.py"})
distribution.parse_config_files()
build = distribution.get_command_obj("build_py")
build.ensure_finalized()
print(*build.get_outputs(include_bytecode=False), sep="\\n")
"""


def git(*arguments: str) -> list[str]:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_every_file_of_the_package_is_installed_at_any_depth() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILES], cwd=ROOT, check=True, capture_output=True, text=True
    )
    prefix = "build/lib/barlow_speech/"
    taken = {one.removeprefix(prefix) for one in done.stdout.split("\n") if one.startswith(prefix)}
    here = git("ls-files", "--cached", "--others", "--exclude-standard", *PARTS)
    wanted = {one for one in here if (ROOT / one).is_file() and not one.endswith(".md")}
    kinds = {".py", ".c", ".yaml", ".safetensors", ".j2", ".css", ".js"}
    assert {Path(one).suffix for one in wanted} == kinds
    assert max(one.count("/") for one in wanted) >= 2
    assert sorted(wanted - taken) == []
    others = {one for one in taken - wanted if not one.endswith(".md")}
    assert others == {"__init__.py", "hubconf.py", "s3prl_fix.py"}  # of the root; none of the tests


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with nothing in it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.mark.parametrize(
    ("installed", "requirement"),
    [
        ({}, "espnet-s3prl>=2026.5.14"),
        ({"s3prl": "0.4.18"}, "s3prl>=0.4.18,<0.5"),
        ({"s3prl": "0.3.4"}, "s3prl>=0.4.18,<0.5"),  # pip brings it up to date
        ({"espnet_s3prl": "2026.5.14"}, "espnet-s3prl>=2026.5.14"),
        ({"espnet_s3prl": "2027.1.1", "s3prl": "0.4.18"}, "espnet-s3prl>=2026.5.14"),
    ],
)
def test_the_s3prl_that_is_there_is_the_one_required(
    environment: Path, tmp_path: Path, installed: dict[str, str], requirement: str
) -> None:
    packages = next((environment / "lib").glob("python*/site-packages"))
    records = [packages / f"{name}-{version}.dist-info" for name, version in installed.items()]
    for record in records:
        name, version = record.name.removesuffix(".dist-info").split("-")
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    # As in pip's build environment: setuptools is on a path that the Python itself does not have.
    outside = str(Path(setuptools.__file__).parent.parent)
    subprocess.run(
        [environment / "bin" / "python", "setup.py", "-q", "egg_info", "-e", tmp_path],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": outside, "PYTHONNOUSERSITE": "1"},
        capture_output=True,
    )  # fmt: skip
    for record in records:
        (record / "METADATA").unlink()
        record.rmdir()
    written = (tmp_path / "barlow_speech.egg-info" / "requires.txt").read_text().splitlines()
    # Below a line in brackets are the extras and what only some Pythons need.
    required = written[: next(at for at, one in enumerate(written) if one.startswith("["))]
    s3prl = [Requirement(one) for one in required if "s3prl" in one]
    assert s3prl == [Requirement(requirement)] and "numpy" in required


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_make_refuses_another_python_in_one_sentence(
    version: tuple[int, int], tmp_path: Path
) -> None:
    """A stand-in that calls itself another version, asked as make asks."""
    python = tmp_path / "python"
    source = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec \'{sys.executable}\' -c "{source}" "$2"\n')
    python.chmod(0o755)
    command = ["make", "--no-print-directory", "demo", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    number = ".".join(map(str, version))
    sentence = f"error: Python {number} is not supported, only 3.11 to 3.14; run: make PYTHON="
    assert done.returncode == 2 and not (tmp_path / "venv").exists()
    assert done.stderr.startswith(sentence)


def test_a_program_that_is_absent_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from programs import program

    assert program("no-such-program", "sh")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        program("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="in CI this test may not be skipped"):
        program("no-such-program", "nor-this")
