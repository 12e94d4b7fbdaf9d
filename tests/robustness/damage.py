"""Damage to files, at random: what disks and downloads do, and what somebody writes on purpose.

Every kind is a pure function of a file's bytes and a `random.Random`; it returns the bytes as they
are where it does not apply (a tree of a text that is no JSON, for example).
"""

from __future__ import annotations

import base64
import functools
import io
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml

Damage = Callable[[bytes, random.Random], bytes]

LARGEST = 1 << 20  # bytes that damage lets a file grow to
INTEGERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1 << 24, (1 << 31) - 1,
            1 << 31, (1 << 32) - 1, (1 << 36) - 1, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, -0.0, -1, 1, 0.5, 2, 3, 1.5, 16, 64, 1000, 65536, 10**6, 2**31, 2**63, -(2**63), 10**30,
    10**400, 5e-324, 1e-30, 1e30, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
WORDS = (
    "", " ", "0", "-1", "nan", "NaN", "inf", "-Infinity", "1e308", "1e-400", "1e999", "1_0", "٣",
    "0x10", "true", "null", "None", "~", "train", "dev", "test", "path", "name", "extends", "a\tb",
    "a\nb", "a\r\nb", "a\x00b", "a\x1bb", "a\u2028b", "\ufeff", "\u202e", "é", "x" * 300,
    "x" * 20_000, "1" * 5000, "../..", "/", ".", "/dev/zero", "/dev/full", "/proc/self/mem", "~",
    "a|b;c,d", '"', "'", "<b>", "%s%n", "{}", "$(x)", "\ud800",
)  # fmt: skip
# What has a meaning in YAML, JSON and CSV; & and * make bombs.
SNIPPETS = (
    "{", "}", "[", "]", ":", ": ", ",", "- ", "? ", "# ", "| ", ">-\n", "---\n", "...\n", "%YAML 9",
    "&a ", "*a", "&a [*a, *a]", "<<: *a", "!!bool x", "!!int x", "!!float x", "!!timestamp x",
    "!!binary x", "!!set {a}", "!!python/object/apply:os.getcwd []", "2020-13-45", "2020-01-01",
    "1:30:00", "0o9", ".nan", ".inf", "NaN", "Infinity", '"', "'", "\\", "\\u0000", "\t", "\n",
    "\r", "\x00", "\x85", "\u2028", ";", "|", "[" * 3000, '{"a":' * 3000, "\n" * 1000,
    "extends: /dev/zero\n", "extends: a.yaml\n",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
    "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nname: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n",
    "name: &r {x: *r}\n",
    "a: &a {x: 1}\nb: &b {<<: [*a,*a,*a,*a,*a,*a,*a,*a]}\nc: &c {<<: [*b,*b,*b,*b,*b,*b,*b,*b]}\n"
    "d: &d {<<: [*c,*c,*c,*c,*c,*c,*c,*c]}\ne: &e {<<: [*d,*d,*d,*d,*d,*d,*d,*d]}\n"
    "f: &f {<<: [*e,*e,*e,*e,*e,*e,*e,*e]}\ng: &g {<<: [*f,*f,*f,*f,*f,*f,*f,*f]}\n"
    "h: &h {<<: [*g,*g,*g,*g,*g,*g,*g,*g]}\ni: {<<: [*h,*h,*h,*h,*h,*h,*h,*h]}\n",
)  # fmt: skip
FLOATS = (np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 1e-40, 0.0, -1.0, 2.0)


def a_span(size: int, rng: random.Random) -> tuple[int, int]:
    """Two ends in order; short spans as often as long ones."""
    length = min(size, int(2 ** rng.uniform(0, max(1, size.bit_length()))))
    first = rng.randint(0, size - length)
    return first, first + length


def flipped(data: bytes, rng: random.Random) -> bytes:
    """One bit to thirty are turned."""
    result = bytearray(data)
    for _ in range(int(2 ** rng.uniform(0, 5)) if data else 0):
        result[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(result)


def flipped_in_front(data: bytes, rng: random.Random) -> bytes:
    """Bytes of the first hundred, where headers are, are others."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4) if data else 0):
        result[rng.randrange(min(100, len(data)))] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(result)


def truncated(data: bytes, rng: random.Random) -> bytes:
    """Cut off somewhere."""
    return data[: rng.randint(0, len(data))]


def lost(data: bytes, rng: random.Random) -> bytes:
    """A span is missing."""
    first, last = a_span(len(data), rng)
    return data[:first] + data[last:]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """A span is zeros, as of a file with holes."""
    first, last = a_span(len(data), rng)
    return data[:first] + bytes(last - first) + data[last:]


def repeated(data: bytes, rng: random.Random) -> bytes:
    """A span is there twice."""
    first, last = a_span(len(data), rng)
    return (data[:last] + data[first:])[:LARGEST]


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """A span is noise, or noise of up to 100 bytes is in between."""
    first, last = a_span(len(data), rng)
    if rng.random() < 0.5:
        last = first
        return data[:first] + rng.randbytes(rng.randint(1, 100)) + data[last:]
    return data[:first] + rng.randbytes(last - first) + data[last:]


def lied(data: bytes, rng: random.Random) -> bytes:
    """A binary number, mostly in the header, is one that programs stumble over."""
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    place = rng.randrange(min(len(data), 128 if rng.random() < 0.8 else len(data)) - size + 1)
    value = rng.choice(INTEGERS) & ((1 << 8 * size) - 1)
    number = value.to_bytes(size, rng.choice(("little", "big")))
    return data[:place] + number + data[place + size :]


BYTES = (flipped, flipped_in_front, truncated, lost, zeroed, repeated, scrambled, lied)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")[:LARGEST]


def words(data: bytes, rng: random.Random) -> bytes:
    """A word of a text is another, or something that nobody writes."""
    text = data.decode("utf-8", errors="replace")
    places = [i for i, letter in enumerate(text) if letter in " \t\n,:;|[]{}\"'"]
    first = rng.choice([-1, *places])
    last = next((place for place in places if place > first), len(text))
    return _encoded(text[: first + 1] + rng.choice(WORDS) + text[last:])


def snippets(data: bytes, rng: random.Random) -> bytes:
    """A piece of syntax is put in somewhere."""
    text = data.decode("utf-8", errors="replace")
    at = rng.choice((0, len(text), rng.randint(0, len(text)), 1 + text.rfind("\n")))
    return _encoded(text[:at] + rng.choice(SNIPPETS) + text[at:])


def lines(data: bytes, rng: random.Random) -> bytes:
    """Lines are lost, there twice or many times, joined, or in another place."""
    rows = data.decode("utf-8", errors="replace").split("\n")
    at = rng.randrange(len(rows))
    kind = rng.choice(("lose", "double", "many", "join", "move", "end"))
    if kind == "lose":
        del rows[at]
    elif kind == "double":
        rows.insert(at, rows[at])
    elif kind == "many":
        rows[at:at] = [rows[at]] * min(20_000, LARGEST // (len(rows[at]) + 1))
    elif kind == "join":
        rows[at : at + 2] = ["".join(rows[at : at + 2])]
    elif kind == "move":
        rows.insert(rng.randrange(len(rows)), rows.pop(at))
    return _encoded(rng.choice(("\n", "\r\n", "\r")).join(rows) if kind == "end" else
                    "\n".join(rows))  # fmt: skip


def cells(data: bytes, rng: random.Random) -> bytes:
    """A cell of a table is another, lost, or there twice."""
    text = data.decode("utf-8", errors="replace")
    separator = max("\t,;|", key=text.count)
    rows = [line.split(separator) for line in text.split("\n")]
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    kind = rng.choice(("change", "change", "lose", "double", "swap", "column"))
    if kind == "change":
        row[at] = rng.choice((*WORDS, *(cell for one in rows for cell in one)))
    elif kind == "lose":
        del row[at]
    elif kind == "double":
        row.insert(at, row[at])
    elif kind == "swap":
        other = rng.choice(rows)
        place = rng.randrange(len(other))
        row[at], other[place] = other[place], row[at]
    else:
        word = rng.choice(WORDS)
        for one in rows[1:]:
            if at < len(one):
                one[at] = word
    return _encoded("\n".join(map(separator.join, rows)))


TEXT = (words, snippets, lines, cells, flipped, truncated, scrambled)


def changed(tree: Any, rng: random.Random) -> Any:
    """A tree of mappings and lists in which one node is another, gone, renamed or wrapped.

    The tree itself is changed where it can be.
    """
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node) if _is_list(node) else 0)
        for key in list(keys):
            places.append((node, key))
            waiting.append(node[key])
    if not places or rng.random() < 0.02:
        return rng.choice((None, [], {}, "x", 1, [tree], {"a": tree}))
    node, key = rng.choice(places)
    kind = rng.choice(("value", "value", "value", "lose", "rename", "wrap", "other", "grow"))
    if kind == "value":
        node[key] = nonsense(node[key], rng)
    elif kind == "lose":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[rng.choice((*WORDS, str(key)[:-1], str(key) + "x"))] = node.pop(key)
    elif kind == "wrap":
        node[key] = [node[key]] if rng.random() < 0.5 else {"name": node[key]}
    elif kind == "other":
        other, place = rng.choice(places)
        node[key] = json.loads(json.dumps(other[place], default=str))
    elif kind == "grow" and _is_list(node):
        node.extend([node[key]] * rng.choice((1, 1, 2, 1000)))
    return tree


def _is_list(node: Any) -> bool:
    return isinstance(node, list)


def nonsense(value: Any, rng: random.Random) -> Any:
    """Something else in the place of a value: a number for a number as often as not."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and rng.random() < 0.6:
        # No float holds a third of an integer of hundreds of digits.
        third = value / 3 if abs(value) < 1e300 else 0
        near = (value + 1, value - 1, -value, value * 2, third, str(value))
        return rng.choice((*NUMBERS, *near))
    if isinstance(value, str) and rng.random() < 0.6:
        return rng.choice((*WORDS, value[: len(value) // 2], value + value, value.upper()))
    return rng.choice((None, True, False, [], {}, [None], {"": None}, *NUMBERS, *WORDS))


def json_tree(data: bytes, rng: random.Random) -> bytes:
    """A node of a JSON file is another; NaN and Infinity are written as Python writes them."""
    try:
        tree = json.loads(data)
        return json.dumps(changed(tree, rng)).encode()
    except (ValueError, RecursionError):
        return data


def yaml_tree(data: bytes, rng: random.Random) -> bytes:
    """A node of a YAML file is another; one with anchors stays as it is, it may be a bomb."""
    if re.search(rb"[:,\[-]\s*&\w", data):
        return data
    try:
        tree = yaml.safe_load(data)
        return yaml.safe_dump(changed(tree, rng), allow_unicode=True).encode("utf-8", "replace")
    except Exception:  # PyYAML raises half of Python's exceptions on what earlier damage left
        return data


@functools.cache
def _bomb(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size), 1)).decode()


def packed_bomb(data: bytes, rng: random.Random) -> bytes:
    """Packed predictions unpack into tens or hundreds of millions of zeros."""
    found = re.search(rb'"(?:predicted|truth)": \[?\s*"([^"]*)"', data)
    if found is None:
        return data
    bomb = _bomb(rng.choice((1 << 26, 1 << 28))).encode()
    return data[: found.start(1)] + bomb + data[found.end(1) :]


JSON = (json_tree, json_tree, json_tree, words, snippets, flipped, truncated)
YAML = (yaml_tree, yaml_tree, yaml_tree, words, snippets, lines, flipped, truncated, scrambled)


# Files of tensors. A safetensors file is 8 bytes with the length of a JSON header, the header with
# dtype, shape and place of every tensor, and the values.

ITEM_SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "F4": 1, "X": 1,
}  # fmt: skip
SIZES = (0, 1, 2, 3, 16, 17, 1000)


def split_safetensors(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Header and values of a safetensors file; None where it is none."""
    try:
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        return (header, data[8 + size :]) if isinstance(header, dict) else None
    except (struct.error, ValueError, OverflowError, RecursionError):
        return None


def joined_safetensors(header: dict[str, Any], values: bytes) -> bytes:
    """A safetensors file of a header and values, whatever they are."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def safetensors_header(data: bytes, rng: random.Random) -> bytes:
    """A node of the header is another: shapes, dtypes and places that the values belie."""
    parts = split_safetensors(data)
    if parts is None:
        return data
    header = changed(parts[0], rng)
    return joined_safetensors(header, parts[1]) if isinstance(header, dict) else data


def safetensors_metadata(data: bytes, rng: random.Random) -> bytes:
    """A node inside the JSON of the header's own metadata is another."""
    parts = split_safetensors(data)
    metadata = parts[0].get("__metadata__") if parts else None
    if parts is None or not isinstance(metadata, dict) or not metadata:
        return data
    key = rng.choice(list(metadata))
    text = str(metadata[key]).encode("utf-8", "replace")
    metadata[key] = rng.choice((json_tree, json_tree, words, snippets))(text, rng).decode(
        "utf-8", "replace"
    )
    return joined_safetensors(*parts)


def safetensors_shapes(data: bytes, rng: random.Random) -> bytes:
    """A tensor has another shape, dtype or name, or is lost; the file is whole all the same."""
    parts = split_safetensors(data)
    if parts is None:
        return data
    header, values = parts
    try:
        tensors = {
            name: [one["dtype"], list(one["shape"]), values[slice(*one["data_offsets"])]]
            for name, one in header.items()
            if name != "__metadata__"
        }
        name = rng.choice(list(tensors))
        dtype, shape, content = tensors[name]
        kind = rng.choice(("shape", "flat", "dtype", "lose", "rename", "double"))
        if kind == "lose":
            del tensors[name]
        elif kind == "rename":
            tensors[rng.choice((*WORDS[:30], name + "x"))] = tensors.pop(name)
        elif kind == "double":
            tensors[name + "2"] = tensors[name]
        else:
            if kind == "flat":
                shape = [int(np.prod(shape))] if rng.random() < 0.5 else [*shape, 1]
            elif kind == "shape" and shape:
                shape[rng.randrange(len(shape))] = rng.choice(SIZES)
            elif kind == "dtype":
                dtype = rng.choice(list(ITEM_SIZES))
            size = int(np.prod(shape, dtype=object)) * ITEM_SIZES[dtype]
            if size > LARGEST:
                return data
            content = (content * (1 + size // max(1, len(content))) + bytes(size))[:size]
            tensors[name] = [dtype, shape, content]
    except (KeyError, TypeError, ValueError, IndexError):
        return data
    places, blob = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        ends = [len(blob), len(blob) + len(content)]
        places[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        blob += content
    kept = {"__metadata__": header["__metadata__"]} if "__metadata__" in header else {}
    return joined_safetensors({**kept, **places}, blob)


def safetensors_values(data: bytes, rng: random.Random) -> bytes:
    """Numbers of one tensor are NaN, infinite, huge, tiny or negative."""
    parts = split_safetensors(data)
    if parts is None:
        return data
    header, values = parts
    try:
        name = rng.choice([one for one in header if one != "__metadata__"])
        first, last = header[name]["data_offsets"]
        dtype = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}[header[name]["dtype"]]
        numbers = np.frombuffer(values[first:last], dtype).copy()
        with np.errstate(all="ignore"):
            value = np.float64(rng.choice(FLOATS)).astype(dtype)
        start, end = a_span(len(numbers), rng)
        numbers[start : start + 1 if rng.random() < 0.5 else end] = value
    except (KeyError, TypeError, ValueError, IndexError):
        return data
    return joined_safetensors(header, values[:first] + numbers.tobytes() + values[last:])


SAFETENSORS = (
    safetensors_header, safetensors_metadata, safetensors_metadata, safetensors_shapes,
    safetensors_values, flipped, flipped_in_front, truncated, lied,
)  # fmt: skip


def npy_array(data: bytes, rng: random.Random) -> bytes:
    """A .npy file of other numbers, another dtype or another shape, or with a header that lies."""
    try:
        array = np.lib.format.read_array(io.BytesIO(data))
    except Exception:  # NumPy raises half of Python's exceptions on what earlier damage left
        return data
    kind = rng.choice(("number", "dtype", "shape", "lie", "object", "npz"))
    if kind == "number" and array.size:
        array = array.copy()
        with np.errstate(all="ignore"):
            array.flat[rng.randrange(array.size)] = rng.choice((-1, 0, 1, 2**62, -(2**63), 5000))
    elif kind == "dtype":
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(("f8", "i4", "u8", ">i8", "?", "c16", "S8", "M8[s]")))
    elif kind == "shape":
        array = np.atleast_1d(array)
        one = array.ravel()[0] if array.size else array
        array = rng.choice((array[:0], array[:1], array.reshape(-1, 1), array.reshape(1, -1),
                            np.array(one), array[::-1]))  # fmt: skip
    file = io.BytesIO()
    if kind == "npz":
        np.savez(file, array)
    else:
        np.save(file, array.astype(object) if kind == "object" else array)
    saved = file.getvalue()
    if kind == "lie":
        shape = f"({rng.choice(INTEGERS)},)".encode()
        old = str(array.shape).encode()
        header, _, rest = saved.partition(b"\n")
        padded = header.replace(old + b",", shape + b",").ljust(len(header))[: len(header)]
        return padded + b"\n" + rest
    return saved


NPY = (npy_array, npy_array, npy_array, flipped, flipped_in_front, truncated, lied)


def waveform(data: bytes, rng: random.Random) -> bytes:
    """Float32 samples: longer, shorter, silent, clipped, huge, tiny or not finite in places."""
    samples = np.frombuffer(data[: len(data) // 4 * 4], "<f4").copy()
    kind = rng.choice(("length", "silent", "loud", "values", "constant", "bits"))
    if kind == "length":
        length = rng.choice((0, 1, 2, 159, 160, 161, 639, 640, 800, 1279, 1281, 4001))
        return np.resize(samples, length).astype("<f4").tobytes() if len(samples) else bytes(4)
    if kind == "silent":
        samples[slice(*a_span(len(samples), rng))] = 0
    elif kind == "loud":
        with np.errstate(all="ignore"):
            samples *= np.float32(10.0 ** rng.uniform(-45, 38))
            if rng.random() < 0.5:
                samples = samples.clip(-1, 1)
    elif kind == "values":
        start, end = a_span(len(samples), rng)
        samples[start : start + 1 if rng.random() < 0.5 else end] = rng.choice(FLOATS)
    elif kind == "constant":
        samples[:] = rng.choice((0.0, 1.0, -1.0, 0.5, 1e-40, 1e9, 1e20))
    else:
        return flipped(data, rng)
    return samples.astype("<f4").tobytes()


WAVEFORM = (waveform, waveform, waveform, truncated, scrambled)
