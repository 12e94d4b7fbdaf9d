"""What a command line costs before anything is computed: no module that takes long is loaded.

Counted by what is imported, not by the clock.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from barlow_speech.benchmark import commands
from barlow_speech.upstream.common.discovery import module_names

HEAVY = ("torch", "torchaudio", "numpy", "scipy", "matplotlib", "s3prl", "sklearn", "transformers")
VERBS = [name.replace("_", "-") for name in module_names(commands.__path__)]
# The process ends by os._exit: what was loaded is printed by an exit handler before.
PROGRAM = """
import atexit, json, sys
sys.argv = ["COMMAND", *json.loads(sys.argv[1])]
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from barlow_speech.benchmark import entry
entry.COMMAND()
"""


def loaded(command: str, *arguments: str) -> tuple[int, str, set[str]]:
    """Exit status, output, and what a command has imported when it ends."""
    program = [sys.executable, "-c", PROGRAM.replace("COMMAND", command), json.dumps(arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    *said, modules = done.stderr.splitlines()
    return done.returncode, done.stdout + "\n".join(said), set(json.loads(modules))


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_that_takes_long(verb: str) -> None:
    status, said, modules = loaded("barlow_speech", *([verb] if verb else []), "-h")
    assert status == 0 and f"usage: barlow-speech {verb}" in said
    assert not modules & {*HEAVY, "pydantic"}
    named = set(VERBS) if not verb else {verb}
    assert all(one in said for one in named)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-h"], 0, "usage: run_downstream.py"),
        (["--nosuch"], 2, "error: "),
        (["-u", "barlow_speech", "-d", "emotoin"], 2, "did you mean 'emotion'?"),
        (["-u", "fbankk", "-d", "emotion"], 2, "did you mean 'fbank'?"),
        (["-u", "barlow_speech@corse_states", "-d", "emotion"], 2, "(coarse_states, fine_states)"),
        (["-u", "barlow_speech", "-k", "no.safetensors", "-d", "emotion"], 2, "does not exist"),
        (["-u", "barlow_speech", "-d", "emotion", "--protocol", "papr"], 2, "mean 'paper'?"),
        (["-u", "barlow_speech", "-d", "emotion", "--corpus", "tooy"], 2, "did you mean 'toy'?"),
    ],
)
def test_a_command_line_is_refused_before_torch_is_loaded(
    arguments: list[str], status: int, said: str
) -> None:
    found, words, modules = loaded("run_downstream", *arguments)
    assert (found, said in words) == (status, True), words
    assert not modules & (set(HEAVY) - ({"numpy"} if "--corpus" in arguments else set()))


@pytest.mark.parametrize("verb", ["pretrain", "study", "figures correlation", "pack"])
def test_an_unknown_recipe_is_refused_before_torch_is_loaded(verb: str, tmp_path: Path) -> None:
    given = {"figures correlation": ["x", "-o", "x.png"], "pack": ["-o", str(tmp_path)]}
    status, said, modules = loaded("barlow_speech", *verb.split(), "tooy", *given.get(verb, []))
    assert status == 2 and "did you mean 'toy'?" in said
    assert not modules & set(HEAVY)


def test_preparing_and_listing_load_no_torch(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("path,emotion\na.wav,x\nb.wav,y\n")
    table = str(tmp_path / "my.csv")
    status, _, modules = loaded("barlow_speech", "prepare", "--from-table", table)
    assert status in (0, 2) and "torch" not in modules
    status, said, modules = loaded("barlow_speech", "cache")
    assert status == 0 and " GB in " in said and "torch" not in modules


def test_what_is_stored_is_shown_without_torch_and_drawn_again_only_if_it_changed(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path / "cache"))
    call = ["-u", "barlow_speech", "fbank_no_cmvn", "-d", "gender", "--corpus", str(tones)]
    call += ["--runs", "3", "--steps", "3", "--lr", "0.01", "-p", str(tmp_path / "out")]
    status, first, modules = loaded("run_downstream", *call)
    assert status == 0 and "torch" in modules
    page, figure = tmp_path / "out" / "report.html", tmp_path / "out" / "boxplot_gender_tones.png"
    drawn = page.read_bytes(), figure.read_bytes()
    os.utime(page, ns=(1, 1))  # touched: it is made again
    status, again, modules = loaded("run_downstream", *call)
    assert status == 0 and "matplotlib" in modules
    made = page.stat().st_mtime_ns
    assert made > 1
    status, third, modules = loaded("run_downstream", *call)
    assert status == 0 and not modules & {"torch", "torchaudio", "matplotlib", "s3prl"}
    assert page.stat().st_mtime_ns == made
    assert third == again and third.splitlines()[-1] in first
    assert (page.read_bytes(), figure.read_bytes()) == drawn
    figure.unlink()
    loaded("run_downstream", *call)
    assert figure.read_bytes() == drawn[1]
    status, _, modules = loaded("run_downstream", *call, "--metric", "uar")
    assert status == 0 and page.read_bytes() != drawn[0]


@pytest.mark.parametrize(("set_by_user", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torchs_threads_do_not_spin_while_they_wait(
    set_by_user: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the OpenMP library of a command that loads torch says of itself."""
    monkeypatch.setenv("OMP_DISPLAY_ENV", "true")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_by_user)
    call = ["-u", "barlow_speech", "-d", "emotion", "--device", "nosuch"]
    program = [sys.executable, "-c", "from barlow_speech.benchmark import entry as e; "
               f"import sys; sys.argv = ['', *{call}]; e.run_downstream()"]  # fmt: skip
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    policies = re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", done.stdout + done.stderr)
    assert policies and set(policies) == {used}, done.stderr
