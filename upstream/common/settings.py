"""YAML files into dataclasses: inheritance, overrides from the command line, no unknown key."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown

Settings = TypeVar("Settings")

# What PyYAML raises besides its own errors: ValueError on what looks like a date and is none, the
# others on `!!bool x`, `!!int ""`, `!!timestamp x` and a key that is a list.
NOT_YAML = (
    yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, TypeError
)  # fmt: skip
LARGEST = 1 << 17  # bytes of a YAML file; PyYAML reads some 100,000 a second
MAX_NODES = 100_000  # of a YAML file, with every alias written out


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; with `extends: other.yaml` (relative to it) merged over that one.

    Mappings are merged key by key, everything else is replaced; and so is a mapping whose `name`
    changes, since its other keys belong to what had the old name.

    Raises:
        BarlowSpeechError: the file is missing, is not YAML or not a mapping, or extends itself.
    """
    return _read_yaml(path, ())


def _read_yaml(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    whose = f", which {seen[-1]} extends," if seen else ""
    try:
        resolved = path.resolve()
        if resolved in seen:
            raise BarlowSpeechError(
                f"{path} extends itself; remove the `extends` that closes the ring."
            )
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError("it may have no end, as a device has")
        if path.exists() and path.stat().st_size > LARGEST:
            raise BarlowSpeechError(
                f"{path} has more than {LARGEST:,} bytes, so that it holds no settings; check the "
                "path."
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise BarlowSpeechError(f"cannot read {path}{whose}: {reason}; check the path.") from error
    try:
        tree = _parse(text)
    except NOT_YAML as error:
        reason = " ".join(str(error).split())
        raise BarlowSpeechError(f"{path} is not valid YAML: {reason}; fix it there.") from error
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise BarlowSpeechError(f"{path} must hold `key: value` lines, and does not; fix it there.")
    base = tree.pop("extends", None)
    if base is None:
        return tree
    return merge(_read_yaml(path.parent / str(base), (*seen, resolved)), tree)


def _parse(text: str) -> Any:
    """What a YAML text holds, as `yaml.safe_load` has it.

    Raises:
        NOT_YAML: it is no YAML; a node holds itself; or its aliases stand for too many nodes (a few
            lines can stand for more than any memory holds).
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many nodes a node is, with every alias written out."""
    if id(node) not in counted:
        counted[id(node)] = MAX_NODES  # what it is worth inside itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        total = 1
        for part in parts:
            total += sum(_count(one, counted) for one in (part if type(part) is tuple else (part,)))
        if total > MAX_NODES:
            raise ValueError(
                f"its aliases stand for themselves or for more than {MAX_NODES:,} values"
            )
        counted[id(node)] = total
    return counted[id(node)]


def shown(value: Any) -> str:
    """A value as a message quotes it: short, whatever it holds."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    try:
        return short.repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return f"a {type(value).__name__} that is too long to show"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base` as `read_yaml` describes it; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if (
            not isinstance(old, dict)
            or not isinstance(value, dict)
            or ("name" in old and value.get("name", old["name"]) != old["name"])
        ):
            result[key] = value
        else:
            result[key] = merge(old, value)
    return result


def override(tree: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`tree` with `key.sub=value` assignments applied; the values are read as YAML.

    Raises:
        BarlowSpeechError: an assignment has no `=` or its value is not YAML.
    """
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        try:
            value = _parse(text)
        except NOT_YAML as error:
            raise BarlowSpeechError(f"--set {assignment}: the value is not valid YAML.") from error
        if not equals or not dotted:
            raise BarlowSpeechError(f"--set {assignment}: write it as key=value or key.sub=value.")
        for key in reversed(dotted.split(".")):
            value = {key: value}
        tree = merge(tree, value)
    return tree


def build(cls: type[Settings], tree: Any, where: str) -> Settings:
    """An instance of the dataclass `cls` from a mapping; nested dataclasses are built too.

    `where` names the origin (a file) for messages.

    Raises:
        BarlowSpeechError: an unknown or missing key, or a value of the wrong type, each named.
    """
    if not isinstance(tree, dict):
        raise BarlowSpeechError(
            f"{where} must be a mapping of {cls.__name__} keys, not {shown(tree)}."
        )
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            raise unknown("key", str(key), fields, where)
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(hints[name], tree[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BarlowSpeechError(f"{where} lacks the key '{name}'; add it.")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, among the few that settings use."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin in (types.UnionType, typing.Union):  # only `X | None` is used
        if value is None and type(None) in inner:
            return None
        return _convert(next(one for one in inner if one is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BarlowSpeechError(f"{where} must be a list, not {shown(value)}.")
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_convert(inner[0], item, where) for item in value)
        if len(value) != len(inner):
            raise BarlowSpeechError(f"{where} must be a list of {len(inner)}, not {shown(value)}.")
        return tuple(_convert(one, item, where) for one, item in zip(inner, value))
    if origin is dict:
        if not isinstance(value, dict):
            raise BarlowSpeechError(f"{where} must be a mapping, not {shown(value)}.")
        return {
            _convert(inner[0], key, where): _convert(inner[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if origin is typing.Literal:
        if value not in inner:
            name = value if isinstance(value, str) else shown(value)
            raise unknown("value", name, map(str, inner), where)
        return value
    if hint is float and type(value) in (int, float, str):  # YAML reads 1e-4 as text
        with contextlib.suppress(ValueError, OverflowError):
            if math.isfinite(float(value)):
                return float(value)
    elif hint is int and type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise BarlowSpeechError(f"{where} must be an integer of 64 bits, not {shown(value)}.")
    elif hint is Any or type(value) is hint:
        return value
    raise BarlowSpeechError(f"{where} must be of type {hint.__name__}, not {shown(value)}.")
