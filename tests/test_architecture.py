"""Who may import whom: each room those below it, at the top of a file or inside a function."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("benchmark", "configs", "downstream", "upstream")
TOP = [ROOT / "__init__.py", ROOT / "s3prl_fix.py"]
SOURCES = [*TOP, *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
# From the top down; those on one line do not import each other. A folder stands for its files, and
# for what is in it and has no line of its own.
LEVELS = """
    __init__.py
    benchmark/entry.py s3prl_fix.py
    benchmark/commands
    benchmark/study benchmark/run_downstream.py
    benchmark/arguments.py
    benchmark/analyses
    benchmark/reporting
    benchmark/figures
    benchmark/evaluation benchmark/disentanglement benchmark/result_formats upstream/adapters
    benchmark/features benchmark/statistics
    benchmark/features/families
    benchmark/__init__.py downstream/s3prl downstream/preparation
    downstream
    downstream/corpora downstream/heads downstream/toy
    upstream/compatibility.py upstream/pretraining
    upstream/third_party upstream/pretraining/views
    upstream
    upstream/model
    upstream/encoders
    upstream/data
    configs
    upstream/common
"""
LEVEL = {room: n for n, line in enumerate(LEVELS.strip().splitlines()) for room in line.split()}
USABLE = {"corpus.py", "task.py", "heads"}  # of downstream, for all rooms of benchmark
MOST, OF_ONE_KIND = (
    16,
    {"corpora", "analyses", "commands", "encoders", "heads", "families", "formats"},
)


def file_of(module: str) -> Path | None:
    """The file of a module of ours; None of anything else."""
    package, *parts = module.split(".")
    path = ROOT.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py")) if package == "barlow_speech" else ()
    return next((one for one in files if one.exists()), None)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every module that a file imports, and the name out of it, if one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path} imports by dots"
            yield from ((node.module, one.name) for one in node.names)


def room(path: Path) -> str:
    """The entry of LEVELS that a file belongs to."""
    whole = path.relative_to(ROOT)
    return next(str(one) for one in (whole, *whole.parents) if str(one) in LEVEL)


def test_imports_go_down() -> None:
    """That leaves no circle between folders either."""
    upwards = set()
    for path in SOURCES:
        here = room(path)
        for module, name in imports(path):
            target = file_of(f"{module}.{name}") or file_of(module)
            if target is None or room(target) == here:
                continue
            if LEVEL[here] >= LEVEL[room(target)]:
                upwards.add((here, room(target)))
            if here.startswith("benchmark") and LEVEL[here] > LEVEL["benchmark/arguments.py"]:
                top, *inner = target.relative_to(ROOT).parts
                assert top != "downstream" or inner[0] in USABLE, path
    assert not upwards


def test_statistics_read_no_file_and_nothing_imports_tests() -> None:
    readers = {"csv", "io", "json", "os", "pathlib", "pickle", "safetensors", "soundfile", "yaml"}
    tests = {path.stem for path in (ROOT / "tests").rglob("*.py")} - set(sys.stdlib_module_names)
    for path in SOURCES:
        modules = {module.split(".")[0] for module, _ in imports(path)}
        assert not modules & (tests | {"tests"}), path
        assert room(path) != "benchmark/statistics" or not modules & readers, path


def test_no_private_name_of_another_file_is_imported() -> None:
    private = set()
    for path in SOURCES:
        for module, name in imports(path):
            if file_of(module) and not file_of(f"{module}.{name}") and name.startswith("_"):
                private.add("/".join(path.parts[-2:]))
    assert not private


def test_no_folder_is_a_heap() -> None:
    for folder in {path.parent for path in SOURCES}:
        assert folder.name in OF_ONE_KIND or len(list(folder.glob("*.py"))) <= MOST, folder
