"""The errors that are meant for people, and how a command ends on one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import FrameType

MAX_NAMES = 20  # that a message lists
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of a disk, a quota, a terminal that is gone
MAX_LENGTH = 2000  # letters of a message; what is left out stood in its middle
LINE_ENDS = re.compile("[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
# By which schedulers, containers and `timeout` end a program, and a terminal that is closed.
ENDING = ("SIGTERM", "SIGHUP")


class BarlowSpeechError(Exception):
    """What went wrong, where, and what to do: one sentence that a command prints without traceback.

    Every error that a user's input can cause is of this class or of a subclass of it. It often
    quotes the input, which may hold anything: ends of lines become spaces, what is too long is cut.
    """

    def __init__(self, sentence: str) -> None:
        sentence = LINE_ENDS.sub(" ", sentence)
        if len(sentence) > MAX_LENGTH:
            sentence = f"{sentence[: MAX_LENGTH // 2]} … {sentence[3 - MAX_LENGTH // 2 :]}"
        super().__init__(sentence)


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> BarlowSpeechError:
    """The error for a `name` that is none of the `known` ones, with the nearest valid name.

    `kind` is the noun ("task", "key"); `where` a place to add, such as a file's path.
    """
    names = sorted(known)
    # Nobody misspells so long a name, and the search takes the square of its length.
    near = get_close_matches(name, names, n=1) if len(name) < 200 else []
    place = f" in {where}" if where else ""
    if near:
        remedy = f"did you mean '{near[0]}'?"
    elif len(names) > MAX_NAMES:
        remedy = f"none of the {len(names)} that there are is spelt like it; check the name."
    else:
        remedy = f"choose one of: {', '.join(names) or '(there is none)'}."
    return BarlowSpeechError(f"unknown {kind} '{name}'{place}; {remedy}")


def one_line(error: BaseException, most: int | None = None, named: bool = False) -> str:
    """What an exception says, in one line of at most `most` letters, without its full stop.

    `named` puts its class in front, which stands alone where it says nothing.
    """
    text, name = " ".join(str(error).split())[:most].rstrip("."), type(error).__name__
    if not text:
        return name
    return f"{name}: {text}" if named else text


def run_command(main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """Run `main(arguments)` and return its exit status.

    A `BarlowSpeechError` becomes one line on stderr and status 2, and so does a device that is
    full; `--debug` among the arguments shows the traceback instead. Ctrl-C becomes status 130;
    `ENDING` signals tidy up as it does, and their status is 128 and their number. A reader of the
    output who left is 141, and `sys.exit` what it says. What was printed is flushed.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    try:
        status = _run(main, arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as `| head` does
        return _without_output(141)
    except OSError as error:
        if error.errno not in FULL or "--debug" in arguments:
            raise
        what = error.filename or "the output"
        _say(f"error: cannot write {what}: {error.strerror}; free some space, or write elsewhere.")
        return _without_output(2)


def _run(main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    status = 130

    def ended(number: int, frame: FrameType | None) -> None:
        nonlocal status
        status = 128 + number
        raise KeyboardInterrupt

    try:
        with _on_ending_signals(ended):
            main(arguments)
    except BarlowSpeechError as error:
        if "--debug" in arguments:
            raise
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted; what was finished is kept, the same command goes on")
        return status
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        _say(str(left.code))
        return 1
    return 0


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone; the status says it too
        print(line, file=sys.stderr)


def _without_output(status: int) -> int:
    """`status`; nothing is written to stdout any more, not what it holds back either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


@contextlib.contextmanager
def _on_ending_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle them where nobody else does (`nohup` ignores one); forked processes die by them."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    ours = []
    if threading.current_thread() is threading.main_thread():  # no other may handle any
        numbers = (getattr(signal, name) for name in ENDING if hasattr(signal, name))
        ours = [one for one in numbers if signal.getsignal(one) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
