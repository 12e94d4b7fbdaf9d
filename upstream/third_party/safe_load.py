"""Safe (weights-only) loading by loaders that others wrote: no code of a checkpoint is run.

Two ways lead from a checkpoint to running code. A pickle may call anything when it is read, and
most of s3prl's loaders read pickles. And s3prl evaluates texts of a checkpoint's configuration as
Python (`conv_feature_layers` in `upstream/hubert/hubert_model.py` and others, `feat_type` in
`upstream/baseline/extracter.py`). Inside `safe_load()` torch.load accepts tensors and plain
containers only, whatever its caller asks for, and no text that calls something when evaluated.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from barlow_speech.upstream.common.errors import BarlowSpeechError

# Read by torch.load itself, so they hold where somebody did `from torch import load` long ago.
FORCE, NEVER = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
TRUST = "if you trust whoever made it, add --trust-checkpoint"


@contextlib.contextmanager
def safe_load(trusted: bool = False, remedy: str = TRUST) -> Iterator[None]:
    """Inside, `torch.load` is weights-only, or, for what is `trusted`, as it was before torch 2.6.

    `remedy` ends the sentence that refuses a file.

    Raises:
        BarlowSpeechError: on leaving, if a file was refused, even when the loader went on without.
    """
    refused: list[BarlowSpeechError] = []
    original = torch.load

    def load(f: Any, *args: Any, **options: Any) -> Any:
        if trusted:
            options.setdefault("weights_only", False)
            return original(f, *args, **options)
        name = str(getattr(f, "name", f))
        try:
            result = original(f, *args, **{**options, "weights_only": True})
            check_texts(result, f"checkpoint {name}", remedy)
            return result
        except (pickle.UnpicklingError, RuntimeError) as error:
            text = str(error)
            if isinstance(error, RuntimeError) and "weights_only" not in text:
                raise  # a truncated archive and the like
            needs = re.search(r"GLOBAL ([\w.]+)", text)
            refused.append(
                BarlowSpeechError(
                    f"checkpoint {name} holds more than weights "
                    f"({needs[1] if needs else 'a pickle of another kind'}), and reading that can "
                    f"run code that it brings; {remedy}."
                )
            )
            raise refused[-1] from error
        except BarlowSpeechError as error:
            refused.append(error)
            raise

    before = {name: os.environ.pop(name, None) for name in (FORCE, NEVER)}
    if not trusted:
        os.environ[FORCE] = "1"
    torch.load = load
    try:
        yield
    except Exception as error:
        if refused:
            raise refused[0] from error
        raise
    finally:
        torch.load = original
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    if refused:
        raise refused[0]


def check_texts(value: Any, where: str, remedy: str = TRUST) -> None:
    """Refuse texts, anywhere in nested containers, that would call something if evaluated.

    A call needs a parenthesis in the text itself, also where s3prl puts something before it.

    Raises:
        BarlowSpeechError: there is one; it is named, and so is `where` it stands.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if "(" in one and (_calls(one) or _calls(f"_.{one}")):
                raise BarlowSpeechError(
                    f"{where} holds the text {one[:80]!r}, which s3prl may evaluate as Python, "
                    f"and it calls something; {remedy}."
                )
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple, set)):
            waiting += one
        elif isinstance(one, argparse.Namespace):
            waiting += vars(one).values()


def _calls(text: str) -> bool:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    # A comprehension or a lambda alone calls nothing that the text does not also call.
    return any(isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(tree))
