"""Damage to files, drawn by hypothesis: what disks and downloads do, and what somebody writes.

A kind of damage is a function of `draw` and a file's bytes, and returns others; the bytes stay as
they are where it does not apply (a tree of a text that is no JSON, say). What comes first in a list
of choices is what hypothesis ends with when it makes a failing input small.
"""

from __future__ import annotations

import base64
import fnmatch
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
import yaml
from hypothesis import strategies as st

Files = dict[str, bytes]  # by their paths in the folder that is read
Draw = Callable[[st.SearchStrategy[Any]], Any]
Damage = Callable[[Draw, bytes], bytes]

STRICT = ".strict"  # a file that says: without --partial
LARGEST = 1 << 20  # bytes that damage lets a file grow to
INTEGERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1 << 24, (1 << 31) - 1,
            1 << 31, (1 << 32) - 1, (1 << 36) - 1, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1)  # fmt: skip
FLOATS = (0.0, 1.0, -1.0, 2.0, 0.5, np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 1e-40, 1e9)
NUMBERS: tuple[Any, ...] = (
    0, -0.0, -1, 1, 0.5, 2, 3, 1.5, 16, 64, 1000, 65536, 10**6, 2**31, 2**63, -(2**63), 10**30,
    10**400, 5e-324, 1e-30, 1e30, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
DTYPES = ("F8_E4M3", "BF16", "F16", "F32", "F64", "F4", "I8", "I16", "I64", "U8", "BOOL", "C64")
WORDS = (
    "", " ", "0", "-1", "nan", "NaN", "inf", "-Infinity", "1e308", "1e-400", "1e999", "1_0", "٣",
    "0x10", "true", "null", "None", "~", "train", "dev", "test", "path", "name", "extends", "a\tb",
    "a\nb", "a\r\nb", "a\x00b", "a\x1bb", "a\u2028b", "\ufeff", "\u202e", "é", "x" * 300,
    "x" * 20_000, "1" * 5000, "../..", "/", ".", "/dev/zero", "/dev/full", "/proc/self/mem", "~",
    "a|b;c,d", '"', "'", "<b>", "%s%n", "{}", "$(x)", "\ud800",
)  # fmt: skip
# Predictions, packed, that unpack into tens or hundreds of millions of zeros.
BOMBS = tuple(base64.b64encode(zlib.compress(bytes(1 << n), 9)).decode() for n in (26, 28))


def rows_of_aliases(first: str, of: str, rows: int = 11) -> str:
    """YAML of nine times nine times … nine."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {of.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, rows + 1)]
    return "\n".join([*lines, f"name: *a{rows}\n"])


# What has a meaning in YAML, JSON and CSV; & and * make bombs.
SNIPPETS = (
    "{", "}", "[", "]", ":", ": ", ",", "- ", "? ", "# ", "| ", ">-\n", "---\n", "...\n", "%YAML 9",
    "&a ", "*a", "&a [*a, *a]", "<<: *a", "!!bool x", "!!int x", "!!float x", "!!timestamp x",
    "!!binary x", "!!set {a}", "!!python/object/apply:os.getcwd []", "2020-13-45", "2020-01-01",
    "1:30:00", "0o9", ".nan", ".inf", "NaN", "Infinity", '"', "'", "\\", "\\u0000", "\t", "\n",
    "\r", "\r\n", "\x00", "\x85", "\u2028", ";", "|", "[" * 3000, '{"a":' * 3000, "\n" * 1000,
    "extends: /dev/zero\n", "extends: a.yaml\n", "name: &r {x: *r}\n",
    rows_of_aliases("[x]", "[{}]"), rows_of_aliases("{x: 1}", "{{<<: [{}]}}"),
)  # fmt: skip


def a_span(draw: Draw, size: int) -> tuple[int, int]:
    """Two ends in order; short spans as often as long ones, and the whole at first."""
    first = draw(st.integers(0, size))
    return first, first + ((size - first) >> draw(st.integers(0, (size - first).bit_length())))


# Bytes

_integers = st.builds(
    lambda value, size, order: (value % (1 << 8 * size)).to_bytes(size, order),
    st.sampled_from(INTEGERS), st.sampled_from((1, 2, 4, 8)), st.sampled_from(("little", "big")),
)  # fmt: skip
_some = st.binary(min_size=1, max_size=100)


def spliced(draw: Draw, data: bytes) -> bytes:
    """A span (or what comes after a place) is gone, noise, zeros, or there twice."""
    first, last = a_span(draw, len(data))
    old = data[first:last]
    new = draw(st.just(b"") | _some | _integers | st.sampled_from((bytes(len(old)), old + old)))
    return (data[:first] + new + data[last:])[:LARGEST]


def overwritten(draw: Draw, data: bytes) -> bytes:
    """Bytes are others: noise, zeros, or a binary number that programs stumble over."""
    new = draw(_integers | _some | st.integers(1, 5000).map(bytes))
    end = draw(st.sampled_from((128, len(data))))  # headers are in front
    at = draw(st.integers(0, min(len(data), end)))
    return data[:at] + new[: len(data) - at] + data[at + len(new) :]


def flipped(draw: Draw, data: bytes) -> bytes:
    """One bit to thirty are turned."""
    result = bytearray(data)
    for _ in range(1 << draw(st.integers(0, 5)) if data else 0):
        place = draw(st.integers(0, 8 * len(data) - 1))
        result[place // 8] ^= 1 << place % 8
    return bytes(result)


BYTES: tuple[Damage, ...] = (spliced, overwritten, flipped)


# Texts


def reworded(separators: str) -> Damage:
    """Damage to a text of what stands between `separators`: letters, words, cells or lines.

    Some are gone, there twice or often, in another place, or something that nobody writes; here, or
    wherever the same stands.
    """

    def damage(draw: Draw, data: bytes) -> bytes:
        text = data.decode("utf-8", errors="replace")
        parts = re.findall(rf"[^{separators}]+|[{separators}]", text) if separators else list(text)
        first, last = a_span(draw, len(parts))
        old = parts[first : draw(st.sampled_from((last, first + 1, first + 1, first + 1)))]
        word = st.sampled_from(WORDS) | st.sampled_from((*WORDS, *SNIPPETS))
        if parts:
            word |= st.integers(0, len(parts) - 1).map(parts.__getitem__)
        how = draw(
            st.sampled_from(("lose", "change", "double", "many", "move", "everywhere", "change"))
        )
        if how == "everywhere" and old:
            new = draw(word)
            parts = [new if part == old[0] else part for part in parts]
        else:
            many = min(20_000, LARGEST // (1 + len("".join(old))))
            new = {"lose": 0, "double": 2, "many": many, "move": 0}.get(how, 1)
            parts[first : first + len(old)] = [draw(word)] if how == "change" else old * new
            at = draw(st.integers(0, len(parts))) if how == "move" else 0
            parts[at:at] = old if how == "move" else []
        return "".join(parts).encode("utf-8", errors="replace")[:LARGEST]

    return damage


letters, words = reworded(""), reworded(r"""\s,:;|\[\]{}"'""")
lines, cells = reworded("\n"), reworded(r"\t,;|\n")
TEXT: tuple[Damage, ...] = (words, letters, lines, cells, cells, flipped, spliced)


# Trees: what JSON, YAML, safetensors and .npy files hold


def arrays(draw: Draw, array: np.ndarray) -> np.ndarray:
    """An array with other values, levels, sizes or numbers of another kind."""
    kind = draw(st.sampled_from(("values", "level", "shape", "dtype")))
    with np.errstate(all="ignore"):
        if kind == "values" and array.size:
            flat = array.flatten()
            first, last = a_span(draw, flat.size)
            number = draw(st.sampled_from((*FLOATS, 2.0**62, -(2.0**63), 5000.0)))
            flat[first : max(last, first + 1)] = np.float64(number).astype(array.dtype)
            return flat.reshape(array.shape)
        if kind == "level":
            louder = array * 10.0 ** draw(st.integers(-45, 38))
            return (louder.clip(-1, 1) if draw(st.booleans()) else louder).astype(array.dtype)
        if kind == "dtype":
            types = ("f4", "f2", "f8", "i4", "i8", "u8", "?", "c8")
            return array.astype(draw(st.sampled_from(types)))
        shape = list(array.shape)
        sizes = st.sampled_from((0, 1, 2, 3, 16, 17, 159, 160, 161, 639, 800, 1281, 4001))
        if shape and draw(st.booleans()):
            shape[draw(st.integers(0, len(shape) - 1))] = draw(sizes)
        else:
            shape = draw(st.sampled_from(([], [array.size], [*shape, 1], [1, *shape])))
        many = np.prod(shape, dtype=object) * array.itemsize > LARGEST
        return array if many else np.resize(array, shape)


def nonsense(draw: Draw, value: Any) -> Any:
    """Something else in the place of a value: of the same kind as often as not."""
    if isinstance(value, np.ndarray):
        return arrays(draw, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and draw(st.booleans()):
        # No float holds a third of an integer of hundreds of digits.
        third = value / 3 if abs(value) < 1e300 else 0
        near = (value + 1, value - 1, -value, value * 2, third, str(value))
        return draw(st.sampled_from((*NUMBERS, *near)))
    if isinstance(value, str) and draw(st.booleans()):
        near = (value[: len(value) // 2], value + value, value.upper(), *DTYPES, *BOMBS)
        return draw(st.sampled_from((*WORDS, *near)))
    empty: st.SearchStrategy[Any] = st.builds(list) | st.builds(dict) | st.just([None])
    return draw(st.sampled_from((None, True, False, *NUMBERS, *WORDS)) | empty)


def changed(draw: Draw, tree: Any) -> Any:
    """A tree in which one node is another, gone, renamed, wrapped or that of another place."""
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(isinstance(node, list) and len(node))
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    if not places or draw(st.integers(0, 50)) == 50:
        return nonsense(draw, tree)
    node, key = places[draw(st.integers(0, len(places) - 1))]
    kind = draw(st.sampled_from(("value", "lose", "rename", "wrap", "other", "grow", "value")))
    if kind == "value":
        node[key] = nonsense(draw, node[key])
    elif kind == "lose":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[draw(st.sampled_from((*WORDS, str(key)[:-1], f"{key}x")))] = node.pop(key)
    elif kind == "wrap":
        node[key] = [node[key]] if draw(st.booleans()) else {"name": node[key]}
    elif kind == "other":
        other, place = places[draw(st.integers(0, len(places) - 1))]
        if not isinstance(other[place], (dict, list)):  # no tree that holds itself
            node[key] = other[place]
    elif kind == "grow" and isinstance(node, list):
        node.extend([node[key]] * draw(st.sampled_from((1, 2, 1000))))
    return tree


def tree_of(load: Callable[[bytes], Any], save: Callable[[Any], bytes]) -> Damage:
    """Damage to a node of the tree that a file holds."""

    def damage(draw: Draw, data: bytes) -> bytes:
        try:
            tree = load(data)
        except Exception:  # libraries raise half of Python's exceptions on what is damaged already
            return data
        tree = changed(draw, tree)
        try:
            return save(tree)
        except Exception:
            return data

    return damage


def load_yaml(data: bytes) -> Any:
    """What a YAML file holds; one with anchors may be a bomb, and is refused."""
    if re.search(rb"[:,\[-]\s*&\w", data):
        raise ValueError
    return yaml.safe_load(data)


def save_yaml(tree: Any) -> bytes:
    """A YAML file."""
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")


def save_json(tree: Any) -> bytes:
    """A JSON file; NaN and Infinity are written as Python writes them."""
    return json.dumps(tree).encode()


def split_safetensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and values of a safetensors file.

    Raises:
        ValueError, RecursionError, struct.error: it is none.
    """
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : min(8 + size, len(data))])
    if not isinstance(header, dict):
        raise ValueError
    return header, data[8 + size :]


def joined_safetensors(parts: Sequence[Any]) -> bytes:
    """A safetensors file of a header and values, whatever they are."""
    text = json.dumps(parts[0]).encode()
    return struct.pack("<Q", len(text)) + text + parts[1]


def load_tensors(data: bytes) -> dict[str, Any]:
    """Arrays by their names, and at "" the strings of the header, of which some are JSON."""
    strings = split_safetensors(data)[0].get("__metadata__", {})
    tensors = sorted(safetensors.numpy.load(data).items())  # in another order every time
    return {"": {key: _parsed(text) for key, text in strings.items()}, **dict(tensors)}


def save_tensors(tree: dict[str, Any]) -> bytes:
    """The safetensors file of such a tree: whole, whatever is in it."""
    strings = {k: v if isinstance(v, str) else json.dumps(v) for k, v in tree[""].items()}
    arrays = {key: np.ascontiguousarray(one) for key, one in tree.items() if key}
    header, contents = split_safetensors(safetensors.numpy.save(arrays, strings))
    # It writes the strings in another order every time.
    return joined_safetensors(({**header, "__metadata__": strings}, contents))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def save_npy(tree: list[Any]) -> bytes:
    """A .npy file of the array in a list."""
    file = io.BytesIO()
    np.save(file, tree[0])
    return file.getvalue()


def save_waveform(tree: list[Any]) -> bytes:
    """float32 samples of the array in a list."""
    return np.asarray(tree[0]).real.astype("<f4").tobytes()


json_tree = tree_of(json.loads, save_json)
yaml_tree = tree_of(load_yaml, save_yaml)
tensors = tree_of(load_tensors, save_tensors)
header = tree_of(lambda data: list(split_safetensors(data)), joined_safetensors)
array = tree_of(lambda data: [np.load(io.BytesIO(data))], save_npy)
waveform = tree_of(lambda data: [np.frombuffer(data[: len(data) // 4 * 4], "<f4")], save_waveform)
JSON = (json_tree, json_tree, json_tree, words, letters, flipped, spliced)
YAML = (yaml_tree, yaml_tree, yaml_tree, words, letters, lines, flipped, spliced)
SAFETENSORS = (tensors, tensors, tensors, header, *BYTES)
NPY = (array, array, words, *BYTES)
WAVEFORM = (waveform, waveform, waveform, flipped, spliced)


# Folders


def renamed(draw: Draw, files: Files) -> Files:
    """One file is gone, empty, a copy of another, or has a name of another kind."""
    result, names = dict(files), sorted(files)
    name = draw(st.sampled_from(names))
    kind = draw(st.sampled_from(("lose", "empty", "copy", "strict", "letter", "name")))
    if kind == "lose" and len(files) > 1:
        del result[name]
    elif kind == "empty":
        result[name] = b""
    elif kind == "copy":
        result[name] = files[draw(st.sampled_from(names))]
    elif kind == "strict":
        result[STRICT] = b""
    elif kind in ("letter", "name"):
        folder, slash, last = name.rpartition("/")
        at = draw(st.integers(0, len(last) - 1))
        letter = draw(st.sampled_from("0aZ_-. é\u2028%\n\t|'\"*"))
        new = f"{last[:at]}{letter}{last[at + (kind == 'letter') :]}".strip(".") or "x"
        result[f"{folder}{slash}{new}"] = result.pop(name)
    return result


def damaged(
    draw: Draw,
    examples: Sequence[Files],
    damages: Sequence[tuple[str, Sequence[Damage]]],
    renames: bool = False,
    seal: Callable[[Files], Files] | None = None,
) -> Files:
    """One of the examples with one kind of damage to eight.

    `damages` are (pattern of file names, kinds); `seal` makes checksums right again, as an
    adversary would; with `renames` files are lost and have other names as well.
    """
    files = dict(examples[draw(st.integers(0, len(examples) - 1))])
    for _ in range(draw(st.sampled_from((1, 1, 1, 1, 1, 1, 2, 2, 3, 8)))):
        if renames and (not damages or draw(st.booleans())):
            files = renamed(draw, files)
            continue
        pattern, kinds = draw(st.sampled_from(damages))
        names = fnmatch.filter(sorted(files), pattern)
        if names:
            name = draw(st.sampled_from(names))
            files[name] = draw(st.sampled_from(kinds))(draw, files[name])
    return seal(files) if seal and draw(st.integers(0, 9)) < 7 else files
