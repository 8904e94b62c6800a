"""Plain values as text: written in the child, read and compared in the parent.

The text is JSON made of null, true, false, strings and tagged arrays: ["i", hex] int,
["f", hex] float, ["c", hex, hex] complex, ["b", hex] bytes, ["l", ...] list, ["t", ...] tuple,
["s", ...] set, ["z", ...] frozenset, ["d", [key, value], ...] dict. There are no JSON numbers and
no objects, so reading builds nothing but these types, in time linear in the text.

The child is hostile: it can write any text it likes. Reading therefore takes nothing on trust,
runs nothing, and bounds depth, numbers and hash collisions. A forged text is worth exactly as much
as returning the value it spells.
"""

import json
import re
from collections import Counter, OrderedDict, defaultdict
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

MAX_DEPTH = 50  # containers inside containers
_MAX_BRACKETS = 2 * MAX_DEPTH + 4  # a dict takes two of them, a result one more
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]]', re.DOTALL)  # a string, or a bracket outside
MAX_SAME_HASH = 64  # keys of one set or dict that share a hash: more is an attack on the parent

# The candidate may replace builtins in its own process; an accident there must not break writing.
_type, _len, _dict_items = type, len, dict.items
_SEQUENCES = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z"))
_DICTS = (dict, Counter, defaultdict, OrderedDict)  # the library's own dicts are returned as dict


class NotPlain(Exception):
    """The value is of no plain type, or too deep or too large to send."""


def encode(value: object, max_bytes: int) -> str:
    """The text of `value`, ASCII, of at most about `max_bytes`; else raises NotPlain.

    Exact types only: an instance of a subclass is not plain, whatever it claims to be. None of
    the candidate's code runs while its value is being written.
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
    # Types are compared by identity throughout: == would ask the candidate's metaclass.
    tag = "d" if any(kind is known for known in _DICTS) else None
    for known, its_tag in _SEQUENCES:
        if kind is known:
            tag = its_tag
    if tag is None:
        raise NotPlain("a value that is of no plain type")
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
        raise NotPlain("more values than may be returned")


def parse(text: bytes) -> list[Any]:
    """The JSON array in `text`, checked to hold no number and no object; else ValueError."""
    depth = 0
    for token in _TOKEN.findall(text):  # before json's own recursion meets it
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
        raise ValueError("not a result: no array")
    return tree


def _refuse(_: object) -> None:
    raise ValueError("only strings and arrays may occur")


def decode(tree: Any, depth: int = 0) -> object:
    """The value that a parsed text spells, of plain types only; else ValueError."""
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
        return int(rest[0], 16)  # a power of two: linear, and free of the limit on decimal digits
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
    """Many keys of one hash take quadratic time to insert: a cheap way to stall the parent."""
    try:
        counts = Counter(hash(key) for key in keys)
    except TypeError:
        raise ValueError("a list, set or dict as a key") from None
    if counts and max(counts.values()) > MAX_SAME_HASH:
        raise ValueError("too many keys of one hash")


def equal(value: Any, expected: Any, bool_is_int: bool = False) -> bool:
    """Whether two plain values are the same value, of the same type, all the way down.

    The sampling: int, float and complex compare as numbers, exactly as Python's == does (5.0 is 5;
    there is no tolerance; nan equals nothing). Every other type must be the same type: True is not
    1, a tuple is not a list, a frozenset is not a set. Sets and dicts have no order.

    Args:
      value, expected: plain values, as `decode` or `ast.literal_eval` makes them.
      bool_is_int: let True and False count as the ints 1 and 0.
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
        # == on keys ignores types, so find the expected key first and compare the two keys again.
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
