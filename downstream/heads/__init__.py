"""The heads that judge frozen features, one file each; a protocol's `head.name` is the file's name.

A file has a frozen dataclass `Settings` of its sizes, `INPUT` (what of a recording it sees) and

- `parts(settings, width, classes)`, the modules of a `Head` (`_head.py`) by name, and
  `forward(head, …)`, which makes logits [B, C] of x_BD, the layers' weighted sum, or, for the input
  `frames`, of x_BTD and lengths_B: it is trained by gradient descent; or
- `fit(settings, train_NX, labels_N, dev_NX, dev_labels_N, seed, score)`, a closed form, which
  returns a function from x_NX to the class numbers [N]; `score`, of labels and such numbers, is the
  metric that the protocol chooses by on dev.

`NOTE` says in a few words what the head computes; it stands in every record. Adding a file adds a
head. It imports torch where it needs it: whoever reads stored results does not.
A head draws nothing at random but its initial weights: runs are trained side by side, and
none may depend on how many there are.

Shapes: B utterances, T frames, L layers, D width, N utterances of a split, X = L · D.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal

from barlow_speech.upstream.common.discovery import module_names
from barlow_speech.upstream.common.errors import unknown
from barlow_speech.upstream.common.settings import build

Input = Literal["mean", "mean_std", "frames"]


def names() -> list[str]:
    """The heads there are."""
    return module_names(__path__)


def head_module(name: str, where: str = "head") -> ModuleType:
    """The file of a head.

    Raises:
        BarlowSpeechError: there is no such head.
    """
    if name not in names():
        raise unknown("head", name, names(), where)
    return importlib.import_module(f"{__name__}.{name}")


def head_settings(tree: dict[str, Any], where: str = "head") -> Any:
    """The `Settings` of a head from a mapping with its `name` and its own keys.

    Raises:
        BarlowSpeechError: an unknown head or key, or a value of the wrong type.
    """
    own = {key: value for key, value in tree.items() if key != "name"}
    return build(head_module(str(tree.get("name")), where).Settings, own, where)
