"""s3prl's own downstream program, unmodified, on today's PyTorch and with our names in it.

Usage: run_downstream.py -m train -u barlow_speech -d barlow_emotion -p results/s3prl --device cpu
       run_downstream.py -m train -u barlow_speech -d voxceleb1 -p results/sid \\
           -o config.downstream_expert.datarc.file_path=/data/VoxCeleb1
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import multiprocessing
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from barlow_speech import configs
from barlow_speech.downstream import task
from barlow_speech.downstream.s3prl import superb
from barlow_speech.downstream.s3prl.registry import PREFIX, register_downstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.machine import usable
from barlow_speech.upstream.common.s3prl_package import find_s3prl
from barlow_speech.upstream.third_party.compatibility import without_gpu
from barlow_speech.upstream.third_party.permissions import NetworkRefusedError, Permissions, network
from barlow_speech.upstream.third_party.registry import register_upstream
from barlow_speech.upstream.third_party.safe_load import safe_load

# Packages that pip knows by another name than Python.
PIP_NAMES = {
    "dtw": "dtw-python",
    "flashlight": "flashlight-text",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# What the extra `superb` installs, by import name: see setup.cfg.
SUPERB = ("dtw", "h5py", "librosa", "lxml", "pandas")
NETWORK = ("http", "requests", "urllib", "urllib3")  # modules of what a failed download raises


def run(arguments: Sequence[str]) -> None:
    """Run s3prl's `run_downstream.py` with its own flags.

    A task of ours or of SUPERB that is given without `-c` gets our configuration, since s3prl looks
    for one under the working directory and its archive has none; `-c NAME` finds one of ours by its
    name. Checkpoints, those of s3prl's upstreams as those it goes on from, run no code, unless
    `--trust-checkpoint` is among the arguments, and nothing is downloaded without `--download`. The
    process is left as it was.

    Raises:
        BarlowSpeechError: s3prl cannot be imported; a name is unknown; a package, a file or a GPU
            that the task needs is missing.
        SystemExit: as s3prl's own program exits.
    """
    register_upstream()
    register_downstream()
    program = importlib.import_module("s3prl.run_downstream")
    permissions = Permissions("--trust-checkpoint" in arguments, "--download" in arguments)
    ours = ("--debug", "--trust-checkpoint", "--download")
    given = _with_config([one for one in arguments if one not in ours])
    seen: dict[str, Any] = {}
    with _as_it_was(program), contextlib.ExitStack() as cleanup:
        parse = program.get_downstream_args

        def parse_and_complete() -> tuple[argparse.Namespace, dict[str, Any], list[str]]:
            args, config, backups = parse()
            seen.update(task=args.downstream, config=config)
            try:
                _check(args)
                superb.complete(args.downstream, config)
            except BaseException:
                with contextlib.suppress(OSError):  # s3prl has made it; it goes if it is empty
                    Path(args.expdir).rmdir()
                raise
            if str(args.device).startswith("cpu"):
                cleanup.enter_context(without_gpu())
            return args, config, backups

        program.get_downstream_args = parse_and_complete  # type: ignore[attr-defined]
        # s3prl reads the command line from sys.argv alone.
        sys.argv = ["run_downstream.py", *given]
        try:
            with safe_load(permissions.trust_checkpoint), network(permissions.download):
                program.main()
        except BarlowSpeechError:
            raise
        except Exception as error:
            message = _explanation(error, seen.get("task"), seen.get("config", {}))
            if message is None:
                raise
            raise BarlowSpeechError(message) from error


@contextlib.contextmanager
def _as_it_was(program: Any) -> Iterator[None]:
    """Undo what s3prl's program changes in the process: it is written to be run once."""
    argv, isinstance_, parse = sys.argv, builtins.isinstance, program.get_downstream_args
    cudnn = torch.backends.cudnn
    flags = (cudnn.enabled, cudnn.deterministic, cudnn.benchmark)
    start = multiprocessing.get_start_method(allow_none=True)
    # The workers of its loaders must have what was patched here. From Python 3.14 on they are not
    # copies of this process unless they are asked to be.
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(start, force=True)
        sys.argv = argv
        builtins.isinstance = isinstance_
        program.get_downstream_args = parse
        cudnn.enabled, cudnn.deterministic, cudnn.benchmark = flags


def _with_config(arguments: list[str]) -> list[str]:
    """The arguments with `-c`, the path of one of our configurations, where they need one.

    Raises:
        BarlowSpeechError: neither we nor the working directory have a configuration of the task;
            there is nothing to resume.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flags in (("-d", "--downstream"), ("-c", "--config"), ("-e", "--past_exp")):
        parser.add_argument(*flags, dest=flags[1][2:])
    parser.add_argument("-p", "--expdir")
    parser.add_argument("-n", "--expname")
    parser.add_argument("-a", "--auto_resume", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    given, _ = parser.parse_known_args(arguments)
    folder = Path(given.expdir or f"result/downstream/{given.expname}")
    if given.past_exp and Path(given.past_exp).is_dir():
        if not any(Path(given.past_exp).glob("states-*.ckpt")):
            raise BarlowSpeechError(
                f"{given.past_exp} has no checkpoint states-*.ckpt; give -e a folder that -m train "
                "has saved one in, or a checkpoint's own path."
            )
    elif given.past_exp and not Path(given.past_exp).is_file():
        raise BarlowSpeechError(f"-e {given.past_exp} does not exist; check the path.")
    resumed = given.past_exp or (given.auto_resume and any(folder.glob("states-*.ckpt")))
    if given.help or resumed:
        return arguments
    if not given.downstream:
        raise BarlowSpeechError(
            "-m needs a task: give one with -d, or an experiment that goes on with -e."
        )
    if given.config:
        if given.config in superb.config_names() and not Path(given.config).exists():
            return [*arguments, "-c", str(configs.find("configuration", given.config))]
        if not Path(given.config).is_file():
            raise BarlowSpeechError(
                f"-c {given.config} does not exist; give a file, or one of "
                f"{', '.join(superb.config_names())}."
            )
        return arguments
    ours = given.downstream.removeprefix(PREFIX)
    if given.downstream.startswith(PREFIX) and ours in task.names():
        return [*arguments, "-c", str(task.FOLDER / ours / "config.yaml")]
    if given.downstream in superb.config_names() and given.downstream != "snips":
        return [*arguments, "-c", str(configs.find("configuration", given.downstream))]
    if not Path(f"downstream/{given.downstream}/config.yaml").is_file():
        known = _tasks()
        if given.downstream not in known:
            raise unknown("s3prl task", given.downstream, known)
        raise BarlowSpeechError(
            f"{find_s3prl()} has no configuration of its task "
            f"'{given.downstream}' here; give one with -c."
        )
    return arguments


def _tasks() -> list[str]:
    """The tasks that s3prl knows here, ours among them."""
    import s3prl.downstream

    theirs = [one.name for one in pkgutil.iter_modules(s3prl.downstream.__path__) if one.ispkg]
    return sorted({*theirs, *(PREFIX + name for name in task.names())})


def _check(args: argparse.Namespace) -> None:
    """Refuse an upstream, a task or a device that is not there.

    Raises:
        BarlowSpeechError: it names the nearest valid name.
    """
    import s3prl.hub

    upstreams = [name for name in s3prl.hub.options() if not name.startswith("_")]
    hub = getattr(args, "hub", "torch") == "torch"
    if hub and not args.upstream:
        raise BarlowSpeechError("-m needs an upstream: give one with -u.")
    if hub and not hasattr(s3prl.hub, args.upstream):
        plain, at, checkpoint = args.upstream.partition("@")
        if at and hasattr(s3prl.hub, plain):
            raise BarlowSpeechError(
                f"-m takes no '{args.upstream}'; give the checkpoint by -k: -u {plain} -k "
                f"{checkpoint}."
            )
        raise unknown("upstream", args.upstream, upstreams)
    if args.downstream not in _tasks():
        raise unknown("s3prl task", str(args.downstream), _tasks())
    usable(args.device)


def _explanation(error: BaseException, name: str | None, config: dict[str, Any]) -> str | None:
    """In one sentence, which package or file an error of s3prl's comes from; None: neither."""
    where = f"s3prl's task '{name}'" if name else "s3prl"
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, BarlowSpeechError):
            return _said(one)
    for one in reversed(chain):
        reason = _reason(one)
        package = _imported(one)
        path = _missing_path(one)
        if isinstance(one, ModuleNotFoundError):
            return _about_package((one.name or "").split(".")[0], one, where)
        if package:
            return f"{where} needs the package {package}, which cannot be imported here ({reason})."
        if path:
            return _about_path(path, where, config)
        refused = isinstance(one, NetworkRefusedError)
        if refused or (isinstance(one, OSError) and type(one).__module__.split(".")[0] in NETWORK):
            return (
                f"{where} could not download what it needs ({reason}); add --download to let it, "
                "and check the network."
            )
        if isinstance(one, soundfile.LibsndfileError):
            return f"{where} cannot read a recording ({reason}); replace the file."
        if isinstance(one, AssertionError):
            return f"{where} stopped: {_assertion(one)}"
    lost = [f"{key}={path}" for key, path in _paths(config) if not Path(path).exists()]
    if lost:
        return (
            f"{where} stopped ({_reason(error)}), and of its files these do not exist: "
            f"{', '.join(lost)}; say where they are with -o"
        )
    return None


def _said(error: BaseException) -> str:
    """The message of an error, in one line."""
    try:
        text = str(error)
    except TypeError:  # soundfile's, when a DataLoader has built it anew from its message
        text = str(getattr(error, "code", error.args))
    if "Original Traceback" in text:  # a worker process sends its whole traceback as the message
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {_said(error)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from, the first of them last."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _about_package(package: str, error: ModuleNotFoundError, where: str) -> str:
    if package == "s3prl":
        return (
            f"{where} needs {error.name}, which {find_s3prl()} as installed lacks; take it from a "
            "git checkout of s3prl."
        )
    extra = "'barlow-speech[superb]' (or: pip install " if package in SUPERB else ""
    return (
        f"{where} needs the package {package}, which is not installed; "
        f"run: pip install {extra}{PIP_NAMES.get(package, package)}{')' if extra else ''}"
    )


def _imported(error: BaseException) -> str | None:
    """The package outside s3prl whose import an error comes from."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").split(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("s3prl", "barlow_speech"):
            return package
    if isinstance(error, ImportError) and error.name:
        return error.name.split(".")[0]
    return None


def _assertion(error: AssertionError) -> str:
    """What an assertion says; one without a message is shown itself."""
    if str(error):
        return _said(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"it needs `{(last.line or '').removeprefix('assert ')}` ({last.filename}:{last.lineno})"


def _missing_path(error: BaseException) -> str | None:
    """The path of the file that an error says is not there."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) and error.filename:
        return str(error.filename)
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    # What soundfile and DataLoader's worker processes raise has the path in its message alone.
    quoted = re.findall(r"'([^'\n]*/[^'\n]*)'|\"([^\"\n]*/[^\"\n]*)\"", _said(error))
    return next(
        (path for pair in quoted for path in pair if path and not Path(path).exists()), None
    )


def _about_path(path: str, where: str, config: dict[str, Any]) -> str:
    above = [
        (len(value), key, value)
        for key, value in _paths(config)
        if path.startswith(str(Path(value)))
    ]
    if not above:
        return f"{where} needs {path}, which does not exist; check the path."
    _, key, value = max(above)
    if Path(value).exists():
        return f"{where} needs {path}, which does not exist below {key}={value}; complete it there."
    return f"{where} needs {path}, which does not exist; say where it is with -o {key}=PATH"


def _paths(tree: Any, key: str = "config") -> Iterator[tuple[str, str]]:
    """(key, value) of every text in a configuration that has the form of a path."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _paths(value, f"{key}.{name}")
    elif isinstance(tree, list):
        for value in tree:
            yield from _paths(value, key)
    elif isinstance(tree, str) and "/" in tree:
        yield key, tree
