"""Encodes plain values as text in the child, and decodes and compares them in the parent.

The text is JSON made of null, true, false, strings and tagged arrays: ["i", hex] int,
["f", hex] float, ["c", hex, hex] complex, ["b", hex] bytes, ["l", ...] list, ["t", ...] tuple,
["s", ...] set, ["z", ...] frozenset, ["d", [key, value], ...] dict. There are no JSON numbers or
objects, so decoding creates only these types, in time linear in the length of the text.

The child is hostile and can write any text. Decoding therefore trusts nothing, runs no code, and
limits depth, numbers and hash collisions. Forging a text gains nothing over returning the value
that it encodes.
"""

import json
import re
from collections import Counter, OrderedDict, defaultdict
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

MAX_DEPTH = 50  # containers inside containers
_MAX_BRACKETS = 2 * MAX_DEPTH + 4  # a dict has two levels of brackets, a result one more
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]]', re.DOTALL)  # a string or a bracket
MAX_SAME_HASH = 64  # keys of one set or dict with the same hash: more is an attack on the parent

# The candidate may replace builtins in its own process. That must not break encoding.
_type, _len, _dict_items = type, len, dict.items
_SEQUENCES = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z"))
_DICTS = (dict, Counter, defaultdict, OrderedDict)  # library dicts are returned as dict


class NotPlain(Exception):
    """The value's type is not plain, or the value is too deep or too large."""


def encode(value: object, max_bytes: int) -> str:
    """Encodes `value` as ASCII text of at most about `max_bytes`.

    Types must match exactly: an instance of a subclass is not plain. The candidate's code does not
    run while its value is encoded.

    Raises:
      NotPlain: the value cannot be encoded.
    """
    pieces: list[str] = []
    _write(value, 0, pieces, [max_bytes])
    return "".join(pieces)


def _write(value: Any, depth: int, pieces: list[str], room: list[int]) -> None:
    kind = _type(value)
    if value is None:
        text = "null"
    elif kind is bool:
        text = "true" if value else "false"
    elif kind is str:
        _need(_len(value), room)
        text = _quote(value)
    elif kind is int:
        _need(value.bit_length() // 4, room)
        text = f'["i","{value:x}"]'
    elif kind is float:
        text = f'["f","{value.hex()}"]'
    elif kind is complex:
        text = f'["c","{value.real.hex()}","{value.imag.hex()}"]'
    elif kind is bytes:
        _need(2 * _len(value), room)
        text = f'["b","{value.hex()}"]'
    else:
        _write_container(value, kind, depth, pieces, room)
        return
    _need(_len(text), room)
    room[0] -= _len(text)
    pieces.append(text)


def _write_container(
    value: Any, kind: type, depth: int, pieces: list[str], room: list[int]
) -> None:
    # Types are compared by identity, because == would call the candidate's metaclass.
    tag = "d" if any(kind is known for known in _DICTS) else None
    for known, its_tag in _SEQUENCES:
        if kind is known:
            tag = its_tag
    if tag is None:
        raise NotPlain("a value whose type is not plain")
    if depth >= MAX_DEPTH:
        raise NotPlain(f"containers nested more than {MAX_DEPTH} deep")
    size = 8 + (5 if tag == "d" else 2) * _len(value)  # brackets, tag and commas
    _need(size, room)
    room[0] -= size
    pieces.append(f'["{tag}"')
    for item in _dict_items(value) if tag == "d" else value:
        pieces.append(",")
        if tag == "d":
            pieces.append("[")
            _write(item[0], depth + 1, pieces, room)
            pieces.append(",")
            _write(item[1], depth + 1, pieces, room)
            pieces.append("]")
        else:
            _write(item, depth + 1, pieces, room)
    pieces.append("]")


def _need(size: int, room: list[int]) -> None:
    if size > room[0]:
        raise NotPlain("the returned values are too large")


def parse(text: bytes) -> list[Any]:
    """The JSON array in `text`. Raises ValueError if it contains numbers or objects."""
    depth = 0
    for token in _TOKEN.findall(text):  # before json.loads recurses into it
        depth += (token == b"[") - (token == b"]")
        if depth > _MAX_BRACKETS:
            raise ValueError("not a result: nested too deep")
    try:
        tree = json.loads(
            text.decode("ascii"),
            parse_int=_refuse,
            parse_float=_refuse,
            parse_constant=_refuse,
            object_pairs_hook=_refuse,
        )
    except (ValueError, RecursionError, MemoryError) as e:
        raise ValueError(f"not a result: {type(e).__name__}") from None
    if type(tree) is not list:
        raise ValueError("not a result: not an array")
    return tree


def _refuse(_: object) -> None:
    raise ValueError("only strings and arrays are allowed")


def decode(tree: Any, depth: int = 0) -> object:
    """The plain value that a parsed text encodes. Raises ValueError if it encodes none."""
    if tree is None or type(tree) in (bool, str):
        return tree
    if type(tree) is not list or not tree or depth > MAX_DEPTH:
        raise ValueError("not a value")
    tag, rest = tree[0], tree[1:]
    if tag in ("i", "f", "c", "b"):
        return _decode_scalar(tag, rest)
    if tag == "l":
        return [decode(x, depth + 1) for x in rest]
    if tag == "t":
        return tuple(decode(x, depth + 1) for x in rest)
    if tag in ("s", "z"):
        items = [decode(x, depth + 1) for x in rest]
        _check_hashes(items)
        return set(items) if tag == "s" else frozenset(items)
    if tag == "d":
        if any(type(pair) is not list or len(pair) != 2 for pair in rest):
            raise ValueError("not a dict")
        keys = [decode(pair[0], depth + 1) for pair in rest]
        _check_hashes(keys)
        return dict(zip(keys, (decode(pair[1], depth + 1) for pair in rest)))
    raise ValueError("not a known tag")


def _decode_scalar(tag: str, rest: list[Any]) -> object:
    if any(type(x) is not str for x in rest) or len(rest) != (2 if tag == "c" else 1):
        raise ValueError("not a scalar")
    if tag == "i":
        return int(rest[0], 16)  # base 16: linear time, and no limit on the number of digits
    if tag == "b":
        return bytes.fromhex(rest[0])
    if any(len(x) > 32 for x in rest):
        raise ValueError("not a float")
    try:
        parts = [float.fromhex(x) for x in rest]
    except OverflowError:
        raise ValueError("not a float") from None
    return parts[0] if tag == "f" else complex(parts[0], parts[1])


def _check_hashes(keys: list[Any]) -> None:
    """Rejects many keys with one hash: inserting them takes quadratic time, a cheap attack."""
    try:
        counts = Counter(hash(key) for key in keys)
    except TypeError:
        raise ValueError("a list, set or dict as a key") from None
    if counts and max(counts.values()) > MAX_SAME_HASH:
        raise ValueError("too many keys with one hash")


def equal(value: Any, expected: Any, bool_is_int: bool = False) -> bool:
    """Whether two plain values and all their elements have equal values and equal types.

    The exception: int, float and complex compare as numbers, as in Python's == (5.0 equals 5; there
    is no tolerance; nan equals nothing). All other types must match: True is not 1, a tuple is not
    a list, a frozenset is not a set. Sets and dicts are unordered.

    Args:
      value: a plain value, from `decode` or `ast.literal_eval`.
      expected: a plain value.
      bool_is_int: whether True and False count as the ints 1 and 0.
    """
    numbers = (int, float, complex, bool) if bool_is_int else (int, float, complex)
    if type(value) in numbers and type(expected) in numbers:
        return value == expected
    if type(value) is not type(expected):
        return False
    if type(value) in (list, tuple):
        return len(value) == len(expected) and all(
            equal(x, y, bool_is_int) for x, y in zip(value, expected)
        )
    if type(value) in (set, frozenset, dict):
        # Lookup ignores types, so find the expected key first and then compare both keys.
        keys = {key: key for key in expected}
        return (
            len(value) == len(expected)
            and all(key in keys and equal(key, keys[key], bool_is_int) for key in value)
            and (
                type(value) is not dict
                or all(equal(value[key], expected[key], bool_is_int) for key in value)
            )
        )
    return value == expected
