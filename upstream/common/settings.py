"""YAML files into dataclasses: inheritance, overrides from the command line, no unknown key.

The dataclasses are plain ones. Their types say all that is checked, and pydantic checks it: bounds
as `Annotated[int, Field(ge=1)]`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line, unknown
from barlow_speech.upstream.common.files import read_text

Settings = TypeVar("Settings")

# What PyYAML raises besides its own errors: ValueError on what looks like a date and is none, the
# others on `!!bool x`, `!!int ""`, `!!timestamp x` and a key that is a list.
NOT_YAML = (
    yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, TypeError
)  # fmt: skip
MAX_BYTES = 1 << 17  # bytes of a YAML file; PyYAML reads some 100,000 a second
MAX_NODES = 100_000  # of a YAML file, with every alias written out

# Keys that were renamed: files of before are read. Of both names, the one that stands later counts.
OLD_KEYS = {"deltas": "overrides", "judge": "eval_split"}


class Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML has it, but for `1e-4`, which is a number here as in YAML 1.2."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path, named: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The mapping in a YAML file; with `extends: other.yaml` (relative to it) merged over that one.

    `named` are files that `extends` may name by a word, as `extends: paper`.

    Mappings are merged key by key, everything else is replaced; and so is a mapping whose `name`
    changes, since its other keys belong to what had the old name.

    Raises:
        BarlowSpeechError: the file is missing, is not YAML or not a mapping, or extends itself.
    """
    return merged(read_layers(path, named))


def read_layers(path: Path, named: Mapping[str, Path] | None = None) -> list[dict[str, Any]]:
    """The mappings that `read_yaml` merges, that of the file itself last; it raises the same."""
    return _read_layers(path, (), named or {})


def _read_layers(
    path: Path, seen: tuple[Path, ...], named: Mapping[str, Path]
) -> list[dict[str, Any]]:
    whose = f", which {seen[-1]} extends" if seen else ""
    names = f", or one of {', '.join(named)}" if named else ""
    remedy = f"`extends` is a path from the file that says it{names}" if seen else "check the path"
    try:
        resolved = path.resolve()
        if resolved in seen:
            raise BarlowSpeechError(
                f"{path} extends itself; remove the `extends` that closes the ring."
            )
        if path.exists() and path.stat().st_size > MAX_BYTES:
            raise BarlowSpeechError(
                f"{path} has more than {MAX_BYTES:,} bytes, so that it holds no settings; "
                "check the path."
            )
    except (OSError, ValueError):  # reading it says what is wrong
        resolved = path
    text = read_text(path, f"{path}{whose}", remedy)
    try:
        tree = _parse(text)
    except NOT_YAML as error:
        raise BarlowSpeechError(
            f"{path} is not valid YAML: {one_line(error)}; fix it there."
        ) from error
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise BarlowSpeechError(f"{path} must hold `key: value` lines, and does not; fix it there.")
    base = tree.pop("extends", None)
    if base is None:
        return [tree]
    file = named.get(str(base), path.parent / str(base))
    return [*_read_layers(file, (*seen, resolved), named), tree]


def _parse(text: str) -> Any:
    """What a YAML text holds, as a `Loader` has it.

    Raises:
        NOT_YAML: it is no YAML; a node holds itself; or its aliases stand for too many nodes (a few
            lines can stand for more than any memory holds).
    """
    loader = Loader(text)
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


def merged(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Each laid over those before it."""
    return functools.reduce(merge, layers)


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

    Nothing is converted, but integers to floats. `where` names the origin (a file) for messages.

    Raises:
        BarlowSpeechError: an unknown or missing key, or a value of the wrong type or out of its
            bounds, each named.
    """
    if not isinstance(tree, dict):
        raise BarlowSpeechError(
            f"{where} must be a mapping of {cls.__name__} keys, not {shown(tree)}."
        )
    try:
        _check_plain(tree, where, ())
        # As JSON, of which strict pydantic takes lists for tuples and mappings for dataclasses.
        return _validator(typing.cast(Any, cls)).validate_json(json.dumps(tree))
    except RecursionError as error:
        raise BarlowSpeechError(f"{where} is nested too deeply; fix it there.") from error
    except ValidationError as error:
        errors = error.errors(include_url=False)
        renamed = _renamed(cls, tree, errors)
        if renamed is not None:
            return build(cls, renamed, where)
        # A key that is misspelt comes first: it explains the one that is missing.
        first = min(errors, key=lambda one: one["type"] != UNKNOWN_KEY)
        raise _refusal(cls, first, where) from error


# Metadata of a field that came later than what was named by a digest of the others.
LATER = {"later": True}


def as_plain(value: Any) -> Any:
    """A JSON-able copy of a dataclass with every default written out, but for `LATER` fields.

    These stand in it only where they are not at their default: what was named by a digest of it
    before there were such fields keeps its name.
    """
    if dataclasses.is_dataclass(value):
        every = ((one, getattr(value, one.name)) for one in dataclasses.fields(value))
        return {
            one.name: as_plain(inner)
            for one, inner in every
            if not (one.metadata.get("later") and inner == one.default)
        }
    if isinstance(value, dict):
        return {key: as_plain(inner) for key, inner in value.items()}
    return [as_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


UNKNOWN_KEY = "unexpected_keyword_argument"  # pydantic's name for it


@functools.cache
def _validator(cls: Any) -> TypeAdapter[Any]:
    # A dataclass alone takes no configuration from here; as one of two types it does.
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return TypeAdapter(cls | None, config=config)


def _check_plain(value: Any, where: str, path: Sequence[Any]) -> None:
    """Refuse what JSON has not, and integers that no tensor holds."""
    place = _place(where, path)
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise BarlowSpeechError(f"{place}: keys must be text, not {shown(key)}; quote it.")
            _check_plain(item, where, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, where, (*path, index))
    elif type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise BarlowSpeechError(f"{place} must be an integer of 64 bits, not {shown(value)}.")
    elif value is not None and not isinstance(value, (str, int, float)):
        raise BarlowSpeechError(f"{place} is a {type(value).__name__}; if it is text, quote it.")


def _renamed(cls: type, tree: dict[str, Any], errors: Sequence[Any]) -> dict[str, Any] | None:
    """The tree with new names for the keys among the errors that are only old; None if none is."""
    result = json.loads(json.dumps(tree))
    changed = False
    for error in errors:
        *path, key = error["loc"] or [None]
        if error["type"] != UNKNOWN_KEY or OLD_KEYS.get(key) not in _keys(_hint_at(cls, path)):
            continue
        parent = functools.reduce(lambda inner, step: inner[step], path, result)
        later = [one for one in parent if one in (key, OLD_KEYS[key])][-1]
        parent[OLD_KEYS[key]] = parent[later]
        del parent[key]
        changed = True
    return result if changed else None


def _refusal(cls: type, error: Any, where: str) -> BarlowSpeechError:
    """One of pydantic's errors as a sentence with the key, its place and the remedy."""
    kind, loc, value = error["type"], error["loc"], error["input"]
    place = _place(where, loc)
    if kind == UNKNOWN_KEY:
        return unknown("key", loc[-1], _keys(_hint_at(cls, loc[:-1])), _place(where, loc[:-1]))
    if kind == "missing" and _keys(_hint_at(cls, loc[:-1])):
        return BarlowSpeechError(f"{_place(where, loc[:-1])} lacks the key '{loc[-1]}'; add it.")
    if kind == "json_invalid":  # letters that are none, or too many levels
        return BarlowSpeechError(f"{where} cannot be read ({error['msg']}); fix it there.")
    if kind in ("missing", "too_long"):  # of a list of fixed length
        loc = loc[:-1] if kind == "missing" else loc
        place = _place(where, loc)
        must = f"must be a list of {len(typing.get_args(_hint_at(cls, loc)))}"
    elif kind == "literal_error":
        name = value if isinstance(value, str) else shown(value)
        return unknown("value", name, map(str, typing.get_args(_hint_at(cls, loc))), place)
    elif kind == "too_short":  # of a list of any length
        must = f"must be a list of {error['ctx']['min_length']} or more"
    elif kind == "value_error":  # of a check of ours
        must = str(error["ctx"]["error"])
    elif kind.endswith("_type") or kind == "finite_number":
        expected = {"dataclass_type": "a mapping", "dict_type": "a mapping", "tuple_type": "a list"}
        must = f"must be {expected.get(kind) or f'of type {_hint_at(cls, loc).__name__}'}"
    else:
        must = error["msg"].replace("Input should", "must")
    return BarlowSpeechError(f"{place} {must}, not {shown(value)}; change it.")


def _place(where: str, path: Sequence[Any]) -> str:
    return f"{where}: {'.'.join(map(str, path))}" if path else where


def _keys(hint: Any) -> list[str]:
    return [one.name for one in dataclasses.fields(hint)] if dataclasses.is_dataclass(hint) else []


def _hint_at(hint: Any, path: Sequence[Any]) -> Any:
    """The type at a path into a dataclass, without `| None`."""
    for step in path:
        hint = _required(hint)
        inner = typing.get_args(hint)  # of a dict, or of a tuple of one type or of several
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint)[step]
        elif inner[-1] is Ellipsis:
            hint = inner[0]
        else:
            hint = inner[step] if type(step) is int else inner[-1]
    return _required(hint)


def _required(hint: Any) -> Any:
    """X of `X | None`, the only union that settings use."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(one for one in typing.get_args(hint) if one is not type(None))
    return hint
