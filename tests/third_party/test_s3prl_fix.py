"""An unmodified s3prl in an ordinary Python, which our line at its start lets import and train."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import superb_trees as trees
import yaml
from s3prl_runner import superb_config

from barlow_speech.upstream.common.errors import run_command

STEPS = 2
# A Python that finds the file in its site-packages, then s3prl's own program.
PROGRAM = """
import json, runpy, site, sys
site.addsitedir(sys.argv[1])
early = {"torch", "s3prl", "numpy"} & set(sys.modules)
sys.argv = ["run_downstream.py", *json.loads(sys.argv[2])]
runpy.run_module("s3prl.run_downstream", run_name="__main__", alter_sys=True)
import s3prl.upstream.hf_hubert.expert as expert
import torchaudio
print(json.dumps([sorted(early), hasattr(torchaudio, "set_audio_backend"),
                  hasattr(expert.UpstreamExpert.__init__, "__wrapped__"),
                  [one for one in sys.modules if one.startswith("barlow_speech.downstream")]]))
"""


@pytest.fixture
def fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module, with a folder of the test's as site-packages, and no hook in this Python."""
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    module = importlib.import_module("barlow_speech.s3prl_fix")
    monkeypatch.setattr(module, "_folders", lambda: [tmp_path])
    yield module
    sys.modules.pop("barlow_speech.s3prl_fix", None)


@pytest.mark.slow
def test_s3prl_s_program_trains_and_nothing_is_loaded_before(
    fix: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python of its own imports torch, transformers and all of s3prl's upstreams."""
    (tmp_path / fix.NAME).write_text(fix.LINE)
    root = trees.speech_commands(tmp_path / "corpus")
    roots = {"root": "speech_commands_v0.01", "test_root": "speech_commands_test_set_v0.01"}
    changes = [
        *(f"downstream_expert.datarc.speech_commands_{k}={root / v}" for k, v in roots.items()),
        *("downstream_expert.datarc.num_workers=0", "downstream_expert.datarc.batch_size=4"),
        *(f"runner.{key}={STEPS}" for key in ("total_steps", "eval_step", "save_step")),
    ]
    config = superb_config("speech_commands", changes, monkeypatch)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    given = ["-m", "train", "-u", "fbank", "-d", "speech_commands", "--device", "cpu"]
    given += ["-c", str(tmp_path / "config.yaml"), "-p", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(given)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    early, mended, hugging_face, ours = json.loads(done.stdout.splitlines()[-1])
    assert early == [] and mended and hugging_face and ours == []
    assert (tmp_path / "out" / f"states-{STEPS}.ckpt").is_file()


def test_the_file_is_written_once_and_undone(
    fix: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compatibility = importlib.import_module("barlow_speech.upstream.third_party.compatibility")
    hub = types.SimpleNamespace(options=lambda: ["fbank"])
    monkeypatch.setattr(compatibility, "s3prl_hub", lambda: hub)  # its import takes seconds
    path = tmp_path / fix.NAME
    for said in (f"wrote {path}", "nothing to do"):
        assert run_command(fix.run, []) == 0
        assert said in capsys.readouterr().out and path.read_text() == fix.LINE
    for said in (f"removed {path}", "nothing to do"):
        assert run_command(fix.run, ["--undo"]) == 0
        assert said in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_one_sentence(
    fix: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / fix.NAME
    path.write_text("import os\n")
    for arguments in ([], ["--undo"]):
        assert run_command(fix.run, arguments) == 2
        assert "is not ours; move it away." in capsys.readouterr().err
    assert path.read_text() == "import os\n"
    package = importlib.import_module("barlow_speech.upstream.common.s3prl_package")
    with monkeypatch.context() as patch:
        patch.setattr(package, "find_s3prl", lambda: None)
        patch.setattr(fix, "_folders", lambda: [tmp_path / "other"])
        assert run_command(fix.run, []) == 2
    assert "s3prl is not installed" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    compatibility = importlib.import_module("barlow_speech.upstream.third_party.compatibility")
    monkeypatch.setattr(compatibility, "s3prl_hub", lambda: None)
    monkeypatch.setattr(fix, "_folders", lambda: [path / "below a file"])
    assert run_command(fix.run, []) == 2
    assert "error: cannot write" in capsys.readouterr().err


def test_help_and_the_line_load_nothing_that_takes_long() -> None:
    source = "import sys, runpy; sys.argv = ['s3prl_fix', '-h']\n"
    source += "try: runpy.run_module('barlow_speech.s3prl_fix', run_name='__main__')\n"
    source += "finally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert "usage: python -m barlow_speech.s3prl_fix" in done.stdout
    assert not {"torch", "numpy", "s3prl", "torchaudio"} & set(done.stdout.splitlines()[-1].split())
