"""A checkout of s3prl learns our names, its own command line uses them, and it is undone."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from barlow_speech.benchmark import entry
from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl import plug_into
from barlow_speech.upstream.common import s3prl_package
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.names import NAMES


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder."""
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the installed s3prl in it, as a clone has it."""
    root = tmp_path_factory.mktemp("git") / "s3prl"
    spec = importlib.util.find_spec("s3prl")
    assert spec is not None and spec.origin is not None
    ignored = shutil.ignore_patterns("__pycache__", ".cache", ".wav_lengths")
    shutil.copytree(Path(spec.origin).parent, root / "s3prl", ignore=ignored)
    (root / ".gitignore").write_text("__pycache__/\n")
    (root / "s3prl" / "run_downstream.py").chmod(0o755)
    (root / "s3prl" / "hub.py").chmod(0o755)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "s3prl")
    return root


@pytest.fixture
def checkout(pristine: Path, tmp_path: Path) -> Path:
    """A copy for one test to change."""
    return Path(shutil.copytree(pristine, tmp_path / "s3prl", symlinks=True))


def status(checkout: Path) -> str:
    return git(checkout, "status", "--porcelain", "--ignored=matching")


def python(checkout: Path, *arguments: str, in_package: bool = True) -> str:
    """What Python prints on the checkout: in its package's folder, or in its root."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    if in_package:
        environment["PYTHONPATH"] = str(checkout)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout / "s3prl" if in_package else checkout,
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_its_own_command_line_trains_on_our_upstream(
    checkout: Path, checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    """From plugging in to a clean `git status`, with the checkout's own unmodified program."""
    plug_into.plug_into(checkout)
    changed = git(checkout, "diff", "--numstat").split("\n")
    # One line more, none less, and no other file that s3prl tracks.
    assert changed == [*(f"1\t0\ts3prl/{name}" for name in plug_into.LINES), ""]
    source = "import s3prl.hub, s3prl.downstream.emotion.expert as e; "
    source += "print(s3prl.hub.__file__, e.__file__, *s3prl.hub.options())"
    hub, emotion, *options = python(checkout, "-c", source).split()
    assert hub == str(checkout / "s3prl" / "hub.py") and set(NAMES) <= set(options)
    assert "patch_s3prl" not in options and "fbank" in options
    assert emotion == str(checkout / "s3prl" / "downstream" / "emotion" / "expert.py")
    out = tmp_path / "out"
    changes = [
        f"config.downstream_expert.datarc.corpus={tones}",
        *(f"config.runner.{key}=2" for key in ("total_steps", "eval_step", "save_step")),
    ]
    # Without -c: the program looks for ./downstream/barlow_emotion/config.yaml, and it is there.
    train = ["-m", "train", "-u", "barlow_speech_local", "-k", str(checkpoint), "--device", "cpu"]
    train += ["-d", "barlow_emotion", "-p", str(out), "-o", ",,".join(changes)]
    python(checkout, "run_downstream.py", *train)
    with torch.serialization.safe_globals([argparse.Namespace]):
        assert torch.load(out / "states-2.ckpt")["Args"].upstream == "barlow_speech_local"
    evaluate = ["-m", "evaluate", "-t", "test", "-e", str(out), "--device", "cpu"]
    printed = python(checkout, "-m", "s3prl.run_downstream", *evaluate, in_package=False)
    assert "test acc: " in printed
    plug_into.unplug(checkout)
    assert git(checkout, "status", "--porcelain") == ""
    assert not list((checkout / "s3prl").glob("*/barlow*"))


def test_other_ways_into_the_checkout_work(checkout: Path) -> None:
    """s3prl's newer interface, which does not begin with the hub, finds our upstream too."""
    plug_into.plug_into(checkout)
    source = "from s3prl.nn import S3PRLUpstream as U; import torch; "
    source += "print(U('barlow_speech_random')(torch.randn(1, 8000), torch.tensor([8000]))[1][0])"
    assert python(checkout, "-c", source).startswith("tensor(")


def test_a_checkout_that_an_earlier_version_plugged_into_works(checkout: Path) -> None:
    """Its files import what theirs did then; what ours import must be there tomorrow, too."""
    written = plug_into.plug_into(checkout).changed
    text = "".join(path.read_text() for path in written)
    assert set(
        re.findall(r"^from (barlow_speech\S*) import (.+?)(?:  #.*)?$", text, re.MULTILINE)
    ) == {
        ("barlow_speech.upstream.compatibility", "patch_s3prl"),
        ("barlow_speech.upstream.hubconf", ", ".join(NAMES)),
        *((f"barlow_speech.downstream.{one}.expert", "DownstreamExpert") for one in task.names()),
    }
    package = checkout / "s3prl" / "upstream" / "barlow_speech" / "__init__.py"
    package.write_text(package.read_text().replace("patch_s3prl", "mend_s3prl"))
    source = "import s3prl.hub as hub; print(type(hub.barlow_speech()).__name__)"
    assert python(checkout, "-c", source) == "UpstreamExpert\n"


def test_espnet_s_fork_is_taken_too(checkout: Path) -> None:
    """Known by its version; the rest is s3prl without the calls that today's torchaudio lacks."""
    (checkout / "s3prl" / "version.txt").write_text("2026.05.14\n")
    for path in (checkout / "s3prl").rglob("*.py"):
        if "torchaudio.set_audio_backend" in (text := path.read_text()):
            path.write_text(text.replace("torchaudio.set_audio_backend", "str"))
    plug_into.plug_into(checkout)
    # As ESPnet's S3prlFrontend does, which knows nothing of us.
    source = "from s3prl.nn import S3PRLUpstream as U; import torch; "
    source += "print(U('barlow_speech')(torch.randn(1, 8000), torch.tensor([8000]))[1][0])"
    assert python(checkout, "-c", source).startswith("tensor(")
    plug_into.unplug(checkout)
    assert not list((checkout / "s3prl").glob("*/barlow*"))


def test_the_installed_one_is_found_and_undone(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = s3prl_package.S3prl("espnet-s3prl", "2026.5.14", checkout / "s3prl")
    monkeypatch.setattr(plug_into, "find_s3prl", lambda: found)
    assert run_command(entry.run, ["plug-into", "--installed"]) == 0
    printed = capsys.readouterr().out
    assert "wrote   s3prl/upstream/barlow_speech/hubconf.py" in printed
    assert "undo: barlow-speech plug-into --remove --installed" in printed
    assert "git shows" not in printed and "run this again" in printed
    assert git(checkout, "diff", "--numstat").count("\n") == len(plug_into.LINES)
    assert run_command(entry.run, ["plug-into", "--installed", "--remove"]) == 0
    assert status(checkout) == ""


def test_without_an_installed_one_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plug_into, "find_s3prl", lambda: None)
    assert run_command(entry.run, ["plug-into", "--installed"]) == 2
    error = capsys.readouterr().err
    assert "no s3prl to plug into; run: pip install espnet-s3prl (or: pip install 's3prl>" in error


def test_twice_is_harmless_and_removing_restores_every_byte(checkout: Path, pristine: Path) -> None:
    first = plug_into.plug_into(checkout)
    assert len(first.changed) == 5 + 3 * len(task.names()) and not first.kept
    before = status(checkout)
    assert plug_into.plug_into(checkout).changed == [] and status(checkout) == before
    removed = plug_into.unplug(checkout)
    assert sorted(removed.changed) == sorted(first.changed) and not removed.kept
    assert status(checkout) == ""
    assert (checkout / "s3prl/hub.py").stat().st_mode == (pristine / "s3prl/hub.py").stat().st_mode
    again = plug_into.unplug(checkout)
    assert again.changed == again.kept == []


@pytest.mark.parametrize("lost", ["hub line", "hub line twice", "hubconf", "expert", "older"])
def test_a_half_plugged_one_is_repaired(checkout: Path, lost: str) -> None:
    plug_into.plug_into(checkout)
    hub = checkout / "s3prl" / "hub.py"
    expert = checkout / "s3prl" / "downstream" / "barlow_gender" / "expert.py"
    whole = {path: path.read_bytes() for path in (hub, expert)}
    if lost.startswith("hub line"):
        ours = f"{plug_into.LINES['hub.py']}\n"
        hub.write_text(hub.read_text().replace(ours, "" if lost == "hub line" else 2 * ours))
    elif lost == "hubconf":
        shutil.rmtree(checkout / "s3prl" / "upstream" / "barlow_speech")
    elif lost == "expert":
        expert.unlink()
    else:  # of an older version of ours: the first line says what the rest was
        body = '"""Older."""\n'
        digest = hashlib.sha256(body.encode()).hexdigest()[:12]
        header = f"# {plug_into.SIGNATURE} ({digest}); --remove takes it away\n"
        expert.write_text(header + body)
    assert plug_into.plug_into(checkout).changed
    assert {path: path.read_bytes() for path in whole} == whole
    plug_into.unplug(checkout)
    assert status(checkout) == ""


def test_what_somebody_edited_is_left(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plug_into.plug_into(checkout)
    config = checkout / "s3prl" / "downstream" / "barlow_emotion" / "config.yaml"
    config.write_text(config.read_text().replace("total_steps: 300", "total_steps: 9"))
    edited = config.read_text()
    assert "total_steps: 9" in edited
    assert plug_into.plug_into(checkout).kept == [config]
    notes = config.with_name("notes.txt")
    notes.write_text("mine")
    assert run_command(entry.run, ["plug-into", "--remove", str(checkout)]) == 0
    printed = capsys.readouterr().out
    for path in (config, notes):
        assert f"left    {path.relative_to(checkout)}" in printed
    assert config.read_text() == edited and notes.read_text() == "mine"
    assert git(checkout, "diff") == ""  # every tracked file is as it was
    assert [one.name for one in (checkout / "s3prl").glob("*/barlow*")] == ["barlow_emotion"]


def test_an_edited_hub_keeps_its_edits(checkout: Path) -> None:
    hub = checkout / "s3prl" / "hub.py"
    text = '"""Mine."""\r\nfrom __future__ import annotations\r\nimport os\r\n# the end'
    hub.write_bytes(text.encode())
    plug_into.plug_into(checkout)
    lines = hub.read_bytes().decode().split("\r\n")
    assert lines[2:4] == [plug_into.LINES["hub.py"], "import os"]
    plug_into.unplug(checkout)
    assert hub.read_bytes() == text.encode()


def test_without_barlow_speech_the_checkout_says_so(checkout: Path) -> None:
    plug_into.plug_into(checkout)
    source = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if 'ditable' not in str(one)]"
    )
    source += (
        "; sys.modules['barlow_speech'] = None; import importlib.util as u; find = u.find_spec"
    )
    source += "; u.find_spec = lambda name: None if name == 'barlow_speech' else find(name)\n"
    source += "try: import s3prl.hub\nexcept ModuleNotFoundError as error: print(error)"
    assert "plug-into --remove" in python(checkout, "-c", source)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("no s3prl", "is no checkout of s3prl"),
        (
            "version 0.3.4",
            "is s3prl 0.3.4, and what is needed is s3prl 0.4.18 or espnet-s3prl 2026.",
        ),
        (
            "version 2026.05.13",
            "is s3prl 2026.05.13, and what is needed is s3prl 0.4.18 or espnet-",
        ),
        ("no version", "is s3prl without version.txt"),
        ("theirs", "expert.py is there and is not ours"),
        ("syntax", "hub.py is not valid Python"),
    ],
)
def test_it_refuses_and_writes_nothing(
    checkout: Path, wrong: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    package = checkout / "s3prl"
    if wrong == "no s3prl":
        (package / "hub.py").unlink()
    elif wrong.startswith("version"):
        (package / "version.txt").write_text(wrong.split()[1])
    elif wrong == "no version":
        (package / "version.txt").unlink()
    elif wrong == "theirs":
        (package / "downstream" / "barlow_gender").mkdir()
        (package / "downstream" / "barlow_gender" / "expert.py").write_text("mine = 1\n")
    else:
        (package / "hub.py").write_text("from s3prl.upstream import (\n")
    before = status(checkout)
    assert run_command(entry.run, ["plug-into", str(checkout)]) == 2
    assert words in capsys.readouterr().err
    assert status(checkout) == before


def test_the_package_itself_will_do_and_other_folders_will_not(
    checkout: Path, tmp_path: Path
) -> None:
    package = checkout / "s3prl"
    assert plug_into.find_package(package) == plug_into.find_package(checkout) == package
    with pytest.raises(BarlowSpeechError, match="is no checkout"):
        plug_into.find_package(tmp_path / "none")


def test_the_command_says_what_it_wrote_and_how_to_go_on(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(entry.run, ["plug-into", str(checkout)]) == 0
    printed = capsys.readouterr().out
    untracked = git(checkout, "status", "--porcelain", "-uall").splitlines()
    for line in untracked:
        assert line.split()[-1] in printed
    assert f"PYTHONPATH={checkout} python run_downstream.py" in printed
    assert f"undo: barlow-speech plug-into --remove {checkout}" in printed
