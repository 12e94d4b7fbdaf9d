"""The shape that a tree of JSON must have, written as a tree of types.

A shape is `int`, `float` (an integer will do), `str`, `dict` or `None`; a tuple of shapes, any of
which will do; `[shape]` for a list of them; `{str: shape}` for a mapping of any keys; or a mapping
of names to shapes, in which a name that ends in "?" may be missing. Other keys are let be.
"""

from __future__ import annotations

import math
from typing import Any

from barlow_speech.upstream.settings import shown


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Check that a value has a shape; `where` names the value.

    Raises:
        ValueError: it has not; the place is named. A number that is not finite fits nothing.
    """
    if isinstance(shape, tuple):
        _check_one_of(value, shape, where)
    elif isinstance(shape, list):
        _check_type(value, list, where)
        for place, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{place}]")
    elif isinstance(shape, dict) and str in shape:
        _check_type(value, dict, where)
        for key, item in value.items():
            check_shape(item, shape[str], f"{where}.{key}")
    elif isinstance(shape, dict):
        _check_type(value, dict, where)
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value:
                check_shape(value[name], inner, f"{where}.{name}")
            elif name == key:
                raise ValueError(f"{where} lacks '{name}'")
    else:
        _check_type(value, shape, where)


def _check_one_of(value: Any, shapes: tuple[Any, ...], where: str) -> None:
    for place, shape in enumerate(shapes):
        try:
            return check_shape(value, shape, where)
        except ValueError:
            if place == len(shapes) - 1:
                raise
    raise ValueError(f"{where} may be nothing at all")


def _check_type(value: Any, kind: type | None, where: str) -> None:
    if kind is None:
        right = value is None
    elif kind is float:
        right = type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)
    elif kind is int:
        right = type(value) is int and abs(value) < 2**63
    else:
        right = type(value) is kind
    if not right:
        raise ValueError(f"{where} is {shown(value)}, which is no {kind and kind.__name__}")
