"""A campaign of faults: `kill -9`, several processes in one folder, full disks, damaged files.

Usage: python tests/robustness/faults.py [--kills 200] [--together 2 8] [--full 0]
           [--damage 0] [--seed 0] [--folder DIR] [--only prepare pretrain benchmark study]

The commands are prepare, pretrain, run_downstream (feature extraction, then heads) and study, on a
corpus of tones. Each is run once without a fault. What it leaves (manifest, weights, features,
records, measurements, tables) must equal that, to the bit, times and costs left out, after each of:

- kills: in fresh folders, killed at a moment drawn from its whole length and started anew, until it
  ends;
- together: several processes that start it in the same folder at once;
- full: on a disk (a tmpfs, which needs the right to mount) too small for it, and on one that is
  read-only; it must end with status 2 and a sentence, and be right once there is room;
- damage: a file that it made is removed, cut short, or has one bit changed, while it runs or after;
  that run may end well or by a sentence, and the next must be right, or say which file is damaged.

Exit status 1 where anything is otherwise. Commands run in forks of this process, which has loaded
everything and computed nothing, so that faults meet the work and not the import of PyTorch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import soundfile
import torch
import yaml
from tqdm import tqdm

from barlow_speech import benchmark, upstream
from barlow_speech.benchmark import entry, run_downstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.packed import INDEX
from barlow_speech.upstream.model.checkpoint import load_tensors
from barlow_speech.upstream.third_party.registry import register_upstream

PATIENCE_S = 600.0  # a command that takes longer hangs, however busy the machine is
UNSTEADY = ("time_spent", "costs")  # tables of what differs between any two runs
TIMES = {"seconds", "cost", "recorded"}


@dataclass(frozen=True)
class Target:
    """A command that is killed.

    `arguments` and `outcome` (name → digest of what is left) are of a folder; `phase` says which
    part of the work a folder shows to be under way.
    """

    name: str
    main: Callable[[Sequence[str]], None]
    arguments: Callable[[Path], list[str]]
    outcome: Callable[[Path], dict[str, str]]
    phase: Callable[[Path], str]
    # What makes it look at all that it had made: features that no missing result asks for are not
    # read, and so neither missed nor found damaged.
    thorough: tuple[str, ...] = ()


@dataclass
class Tally:
    """What the kills of a target met, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    together: list[int] = field(default_factory=list)  # processes that started at once
    full: Counter[str] = field(default_factory=Counter)  # how it ended without room
    damage: Counter[str] = field(default_factory=Counter)  # what was done, and what came of it
    wrong: list[str] = field(default_factory=list)


def write_tones(folder: Path) -> Path:
    """Recordings of tones and a table of them; the path of the table.

    Eight speakers with a pitch each, two emotions (tremolo), three words (second tone), twice.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["path,speaker,gender,emotion,keyword,split,split_speaker_id"]
    splits = ("train", "train", "train", "train", "dev", "dev", "test", "test")
    for speaker, split in enumerate(splits):
        for place in range(12):
            emotion, word, again = place % 2, place // 2 % 3, place // 6
            time_N = np.arange(int(rng.integers(4000, 6400))) / SAMPLE_RATE
            wave_N = np.sin(2 * np.pi * 110 * (1 + 0.2 * speaker) * time_N)
            wave_N += 0.7 * np.sin(2 * np.pi * (700 + 900 * word) * time_N)
            wave_N *= 1 + 0.8 * emotion * np.sin(2 * np.pi * 9 * time_N)
            name = f"{speaker}-{place}.wav"
            noise_N = 0.02 * rng.standard_normal(len(time_N))
            soundfile.write(folder / name, 0.1 * wave_N + noise_N, SAMPLE_RATE)
            own = ("train", "dev", "test")[again and 1 + (emotion + word) % 2]
            lines.append(
                f"{name},s{speaker},{('female', 'male')[speaker % 2]},e{emotion},w{word},"
                f"{split},{own}"
            )
    table = folder / "tones.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def targets(shared: Path) -> list[Target]:
    """The commands, on tones and recipes that are written to `shared`."""
    table = write_tones(shared / "tones")
    manifest = shared / "tones" / "manifest.tsv"
    manifest.write_text(table.read_text().replace(",", "\t"))
    recipe = {
        "steps": 60, "batch": 8, "crop_s": 0.25, "checkpoint_every": 5, "memory": 16,
        "precision": "float32",
        "data": {"sources": [{"manifest": str(manifest), "where": {"split": ["train"]}}]},
        "model": {"frontend": {"n_mels": 16}, "encoder": {"name": "cnn2d", "channels": 8}},
        "families": {"main": {"projector": {"width": 32}}},
    }  # fmt: skip
    (shared / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    study = {
        "title": "Tones",
        "corpora": {str(manifest): ["keyword_spotting", "gender"]},
        "pretraining": {"recipe": str(shared / "recipe.yaml"), "set": ["steps=20"]},
        "protocol": {"name": "quick", "set": ["runs=4", "steps=20", "eval_step=5"]},
        "upstreams": {"BT": {"seeds": 2}, "random": {"untrained": "BT"}},
        "analyses": {
            "Side by side": {"kind": "compare"},
            "Matrix": {"kind": "correlation", "upstreams": ["BT"]},
            "Ranks": {"kind": "spectrum"},
        },
    }
    (shared / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    columns = ["path", "speaker", "gender", "emotion", "keyword", "split", "split_speaker_id"]
    barlow_speech = entry.run
    return [
        Target(
            "prepare",
            barlow_speech,
            lambda out: [
                "prepare", "--from-table", str(table), "--audio-root", str(table.parent), "-o",
                str(out / "prepared"), "--check-audio", "--workers", "1", "--column",
                *(f"{one}={one}" for one in columns),
            ],
            lambda out: _bytes(out / "prepared"),
            lambda out: "prepare",
        ),
        Target(
            "pretrain",
            barlow_speech,
            lambda out: [
                "pretrain", str(shared / "recipe.yaml"), "-o", str(out / "run"), "--resume",
                "--device", "cpu",
            ],
            lambda out: _weights(out / "run"),
            lambda out: "pretrain" if (out / "run" / "packed" / INDEX).exists() else "packing",
        ),
        Target(
            "benchmark",
            run_downstream.run,
            lambda out: [
                "-u", "barlow_speech", "fbank_no_cmvn", "-d", "all", "--corpus", str(manifest),
                "-p", str(out / "results"), "--device", "cpu", "--steps", "60", "--runs", "8",
            ],
            lambda out: _features(out / "cache") | _records(out / "results"),
            _extracting,
            ("--verify-cache",),
        ),
        Target(
            "study",
            barlow_speech,
            lambda out: [
                # Records bear the names of checkpoints, and these the path as it is given.
                "study", str(shared / "study.yaml"), "-o", "study", "--device", "cpu",
            ],
            lambda out: _features(out / "cache")
            | _records(out / "study")
            | _study(out / "study"),
            lambda out: "study",
        ),
    ]  # fmt: skip


def _extracting(out: Path) -> str:
    upstreams = {path.parent for path in (out / "cache").rglob("*.safetensors")}
    return "heads" if len(upstreams) > 1 else "feature extraction"


def _bytes(folder: Path) -> dict[str, str]:
    """Every file to the byte; hidden files, such as one that was cut short, are no outcome."""
    return {
        str(path.relative_to(folder)): digest(path.read_bytes().hex())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _weights(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("encoder.safetensors")):
        tensors, header = load_tensors(path)
        name = str(path.relative_to(folder))
        found[name] = _tensors(tensors) + digest(_steady(header))
    return found


def _tensors(tensors: dict[str, torch.Tensor]) -> str:
    return digest(
        {
            name: digest(one.contiguous().view(-1).view(torch.uint8).numpy().tobytes().hex())
            for name, one in sorted(tensors.items())
        }
    )


def _features(cache: Path) -> dict[str, str]:
    """What is cached for each recording, however it lies in files."""
    found = {}
    for path in sorted(cache.rglob("*.safetensors")):
        try:
            shard = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError):  # as good as none
            continue
        rows = {one: shard[one] for one in ("audio", "mean", "std", "embedding") if one in shard}
        for place, key in enumerate(shard["keys"]):
            name = f"features/{path.parent.name}/{bytes(key.tolist()).hex()}"
            found[name] = _tensors({one: tensor[place] for one, tensor in rows.items()})
    return found


def _records(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted((folder / "records").rglob("*.json")):
        record = json.loads(path.read_text())
        del record["sha256"]
        found[f"records/{path.relative_to(folder)}"] = digest(_steady(record))
    return found


def _study(folder: Path) -> dict[str, str]:
    found = {
        f"measurements/{path.name}": digest(json.loads(path.read_text()))
        for path in sorted((folder / "measurements").glob("*.json"))
    }
    for path in sorted((folder / "tables").glob("*.csv")):
        if not any(one in path.name for one in UNSTEADY):
            found[f"tables/{path.name}"] = digest(path.read_text())
    page = folder / "report.html"
    found["report.html"] = str(page.exists() and page.read_text().rstrip().endswith("</html>"))
    return found | _weights(folder / "pretraining")


def _steady(tree: Any) -> Any:
    """A tree without what was measured in seconds."""
    if isinstance(tree, dict):
        return {key: _steady(value) for key, value in tree.items() if key not in TIMES}
    return [_steady(one) for one in tree] if isinstance(tree, list) else tree


def said_in(out: Path) -> Path:
    """Where a command's words go: beside its folder, in which there may be no room."""
    return out.parent / f"{out.name}.said.txt"


def start(target: Target, out: Path, more: Sequence[str] = ()) -> int:
    """A fork of this process that runs the command; its process id, which is also its group's."""
    out.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        os.environ["BARLOW_SPEECH_CACHE"] = str(out / "cache")
        os.environ["XDG_CONFIG_HOME"] = str(out / "config")
        said = os.open(said_in(out), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(out)
        status = run_command(target.main, [*target.arguments(out), *more])
    except BaseException:  # whatever it is, the fork must end here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, seconds: float) -> int | None:
    """The exit status of a child, or None if it is still at work after so long."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def kill(child: int) -> None:
    """SIGKILL to the child and all it started."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def undisturbed(target: Target, out: Path) -> tuple[dict[str, str], float]:
    """What the command leaves when nothing happens to it, and the seconds it takes.

    Raises:
        RuntimeError: it fails.
    """
    started = time.monotonic()
    status = wait(start(target, out), PATIENCE_S)
    if status != 0:
        said = said_in(out).read_text()[-2000:]
        raise RuntimeError(f"{target.name} fails by itself (status {status}):\n{said}")
    return target.outcome(out), time.monotonic() - started


def one_round(
    target: Target, out: Path, wanted: dict[str, str], seconds: float, rng: random.Random,
    tally: Tally,
) -> int:  # fmt: skip
    """Kill and start again until the command ends; how many kills there were.

    `seconds` is what it takes undisturbed, within which the first kill falls.
    """
    kills = 0
    while True:
        child = start(target, out)
        status = wait(child, rng.uniform(0, 1.1 * seconds))
        if status is not None:
            break
        phase = target.phase(out)
        kill(child)
        tally.kills[phase] += 1
        kills += 1
        # Some commands begin anew: on a machine busier than it was they would be killed for ever.
        seconds *= 1.05
    tally.rounds += 1
    judge(target, out, wanted, [status], f"after {kills} kills", tally)
    return kills


def at_once(target: Target, out: Path, wanted: dict[str, str], count: int, tally: Tally) -> None:
    """Start the command `count` times in one folder, and wait for all."""
    children = [start(target, out) for _ in range(count)]
    statuses = [wait(child, PATIENCE_S) for child in children]
    for child, status in zip(children, statuses):
        if status is None:
            kill(child)
    tally.together.append(count)
    judge(target, out, wanted, statuses, f"by {count} processes", tally)


def without_room(
    target: Target, out: Path, wanted: dict[str, str], size: int, tally: Tally
) -> None:
    """Run the command on a disk of `size` bytes (0: read-only), then again with enough room."""
    out.mkdir()
    options = f"size={max(size, 4096)}" + ("" if size else ",ro")
    _mount("-t", "tmpfs", "-o", options, "none", str(out))
    try:
        how = f"on {size} bytes" if size else "on a read-only disk"
        status = _well_or_said(start(target, out), target, out, how, tally)
        if status is not None:
            said = "there was room" if status == 0 else "said so"
            tally.full[said if size else f"read-only, {said}"] += 1
        _mount("-o", f"remount,rw,size={1 << 30}", str(out))
        said_in(out).unlink()
        status = wait(start(target, out), PATIENCE_S)
        judge(target, out, wanted, [status], f"{how}, then with room", tally)
    finally:
        subprocess.run(["umount", str(out)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BarlowSpeechError(
            f"a disk for --full cannot be mounted ({done.stderr.strip()}); run this as root, or "
            "behind `unshare --map-root-user --mount`."
        )


def damaged(
    target: Target, out: Path, wanted: dict[str, str], seconds: float, rng: random.Random,
    tally: Tally,
) -> None:  # fmt: skip
    """Damage a file while the command runs or afterwards, let it end, and start it again."""
    child = start(target, out)
    during = rng.random() < 0.5
    status = wait(child, rng.uniform(0, seconds)) if during else wait(child, PATIENCE_S)
    during = during and status is None
    kind = rng.choice(("removed", "cut short", "one bit changed"))
    files = _files(out)
    if files:
        file = rng.choice(files)
        _damage(file, kind, rng)
        how = f"with {file.relative_to(out)} {kind} {'while it ran' if during else 'afterwards'}"
    else:
        how = "with nothing to damage"
    if during and _well_or_said(child, target, out, how, tally) is None:
        return
    said_in(out).unlink()
    status = _well_or_said(start(target, out, target.thorough), target, out, f"{how}, again", tally)
    if status == 0:
        # Of features that nothing asks for, the damage is found by whoever does.
        kept = wanted if target.thorough else _without_features(wanted)
        judge(target, out, kept, [status], how, tally, kept is not wanted)
    if status is not None:
        tally.damage[f"{kind}: {'right at the end' if status == 0 else 'named'}"] += 1


def _files(folder: Path) -> list[Path]:
    """Every file that holds anything; one that goes meanwhile is left out (os.walk minds none)."""
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    with contextlib.suppress(FileNotFoundError):
        return sorted(one for one in found if one.is_file() and one.lstat().st_size)
    return []


def _damage(file: Path, kind: str, rng: random.Random) -> None:
    try:
        data = bytearray(file.read_bytes())
        at = rng.randrange(len(data))
        if kind == "one bit changed":
            data[at] ^= 1 << rng.randrange(8)
        file.unlink()  # never in place: what is mapped must not change
        if kind != "removed":
            file.write_bytes(data[:at] if kind == "cut short" else data)
    except FileNotFoundError:  # the command has just replaced it itself
        pass


def _well_or_said(child: int, target: Target, out: Path, how: str, tally: Tally) -> int | None:
    """Wait for a command that may end well (0) or by one sentence (2); None, noted, if neither."""
    status = wait(child, PATIENCE_S)
    if status is None:
        kill(child)
    said = said_in(out).read_text()
    last = said.rstrip().rpartition("\n")[2]
    if status == 0 or (status == 2 and "Traceback" not in said and "error" in last.lower()):
        return status
    tally.wrong.append(f"{target.name} {how}: it ends with status {status}: {said[-600:]}")
    return None


def _without_features(outcome: dict[str, str]) -> dict[str, str]:
    return {name: one for name, one in outcome.items() if not name.startswith("features/")}


def judge(
    target: Target, out: Path, wanted: dict[str, str], statuses: Sequence[int | None], how: str,
    tally: Tally, without_features: bool = False,
) -> None:  # fmt: skip
    """Note what is wrong with what a command left."""
    if any(statuses):
        said = said_in(out).read_text()
        at = max(said.rfind("Traceback "), said.rfind("error: "))  # others may have spoken since
        said = said[at:][:3000] if at >= 0 else said[-300:]
        tally.wrong.append(f"{target.name} {how}: it ends with status {statuses}: {said}")
    elif None in statuses:
        tally.wrong.append(f"{target.name} {how}: it hangs")
    found = target.outcome(out)
    if without_features:
        found = _without_features(found)
    different = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if different:
        tally.wrong.append(f"{target.name} {how}: {', '.join(different[:5])} differ")


def load_what_forks_need() -> None:
    """Import, once for all forks, what commands import where they use it."""
    for package in (benchmark, upstream):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError, BarlowSpeechError):  # of an extra
                importlib.import_module(module.name)
    register_upstream()  # s3prl's hub
    importlib.import_module("torch._dynamo")  # by every optimiser
    # The lock of tqdm is one for all forks: one that is killed with it stops the others for ever.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # no thread that may hold it during a fork


def campaign(
    kills: int,
    seed: int,
    folder: Path,
    only: Sequence[str] = (),
    together: Sequence[int] = (),
    full: int = 0,
    damage: int = 0,
    done: Callable[[str, Tally], object] = lambda name, tally: None,
) -> dict[str, Tally]:
    """At least `kills` kills, in equal shares for every target; what came of them.

    Then the numbers of processes in `together`, at once; `full` disks of each target, the first of
    them read-only, the others with room for a growing part of what it writes; and `damage` files.
    `done` hears of each target when it has met them all.
    """
    load_what_forks_need()
    torch.set_num_threads(1)  # threads of a pool would not be there in a fork
    rng = random.Random(seed)
    chosen = [one for one in targets(folder / "shared") if not only or one.name in only]
    share = -(-kills // len(chosen))
    result = {}
    total = (share + len(together) + full + damage) * len(chosen)
    with progress(total, "faults", "fault") as bar:
        for target in chosen:
            tally = result[target.name] = Tally()
            wanted, seconds = undisturbed(target, folder / f"{target.name}-undisturbed")
            while sum(tally.kills.values()) < share:
                out = folder / f"{target.name}-{tally.rounds}"
                bar.update(one_round(target, out, wanted, seconds, rng, tally))
            for count in together:
                at_once(target, folder / f"{target.name}-by-{count}", wanted, count, tally)
                bar.update()
            written = _written(folder / f"{target.name}-undisturbed")
            for number in range(full):
                room = written * number // full
                out = folder / f"{target.name}-full-{number}"
                without_room(target, out, wanted, room, tally)
                bar.update()
            for number in range(damage):
                out = folder / f"{target.name}-damage-{number}"
                damaged(target, out, wanted, seconds, rng, tally)
                shutil.rmtree(out)
                bar.update()
            done(target.name, tally)
    return result


def _written(folder: Path) -> int:
    """Bytes of all files, in whole pages."""
    return sum(-(-one.stat().st_size // 4096) * 4096 for one in folder.rglob("*") if one.is_file())


def say(name: str, tally: Tally) -> None:
    """Print what a target met."""
    met = ", ".join(f"{count} in {phase}" for phase, count in sorted(tally.kills.items()))
    several = f"; {', '.join(map(str, tally.together))} at once" if tally.together else ""
    lines = [
        f"{name:10s} {sum(tally.kills.values()):4d} kills ({met or 'none'}), {tally.rounds} "
        f"ends{several}"
    ]
    for title, counts in (("without room", tally.full), ("files damaged", tally.damage)):
        if counts:
            lines.append(f"  {title}: " + ", ".join(f"{n} {k}" for k, n in counts.items()))
    print(*lines, *tally.wrong, sep="\n", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run the campaign and print what the kills met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--together", type=int, nargs="*", default=[2, 8], metavar="N")
    parser.add_argument("--full", type=int, default=0, metavar="N")
    parser.add_argument("--damage", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--only", nargs="+", default=[], metavar="TARGET")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        tallies = campaign(
            given.kills, given.seed, Path(folder), given.only, given.together, given.full,
            given.damage, say,
        )  # fmt: skip
    wrong = [one for tally in tallies.values() for one in tally.wrong]
    print(f"{len(wrong)} ends differ from the run without a fault")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
