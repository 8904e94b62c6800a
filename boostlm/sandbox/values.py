"""Encodes plain values as text in the child, and decodes and compares them in the parent.

The text is JSON made of null, true, false, strings and tagged arrays: ["i", hex] int,
["f", bits] float, ["c", bits, bits] complex, ["b", hex] bytes, ["a", hex] bytearray, ["l", ...]
list, ["t", ...] tuple, ["s", ...] set, ["z", ...] frozenset, ["d", [key, value], ...] dict,
["o", [key, value], ...] OrderedDict, ["q", hex, hex] Fraction, ["m", text] Decimal. JSON
numbers and objects do not occur, so decoding creates only these types, in time linear in the length
of the text.

What is decoded is exactly what was encoded. Floats travel as their 64 bits, which include the sign
of zero and the payload of NaN. Text travels as UTF-8 in which a lone surrogate is a character like
any other: as JSON's escapes, two of them would be read as one character.

The child is hostile and can write any text. Decoding therefore trusts nothing, runs no code, and
limits depth, numbers and hash collisions. Forging a text gains nothing over returning the value
that it encodes.
"""

import json
import re
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from json.encoder import encode_basestring as _quote
from typing import Any

MAX_DEPTH = 50  # containers inside containers
_MAX_BRACKETS = 2 * MAX_DEPTH + 4  # a dict has two levels of brackets, a result one more
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]]', re.DOTALL)  # a string or a bracket
MAX_SAME_HASH = 64  # keys of one set or dict with the same hash: more is an attack on the parent

# The candidate may replace builtins and attributes of classes in its own process. That must not
# break encoding.
_type, _len, _pack = type, len, struct.Struct(">d").pack
_UNPACK = struct.Struct(">d").unpack
_ITEMS: tuple[tuple[type, str, Callable], ...] = (
    (list, "l", list.__iter__),
    (tuple, "t", tuple.__iter__),
    (set, "s", set.__iter__),
    (frozenset, "z", frozenset.__iter__),
    (dict, "d", dict.items),
    (Counter, "d", dict.items),  # this and the next compare with a dict as a dict does
    (defaultdict, "d", dict.items),
    (OrderedDict, "o", OrderedDict.items),  # the order of dict.items can be another
)
_DICTS: dict[str, type[dict]] = {"d": dict, "o": OrderedDict}
_decimal_text = Decimal.__str__
_NUMERATOR, _DENOMINATOR = (Fraction.__dict__[f"_{name}"] for name in ("numerator", "denominator"))
_numerator, _denominator = _NUMERATOR.__get__, _DENOMINATOR.__get__
# numpy's scalars -> their value as a plain type; `know_numpy` fills it
_PLAIN_OF: list[tuple[type, Callable]] = []
_UTF8 = ("utf-8", "surrogatepass")


class NotPlain(Exception):
    """The value's type is not plain, or the value is too deep or too large."""


def know_numpy(numpy: Any) -> None:
    """Lets `encode` take the scalars of numpy whose value a plain type has exactly."""
    sizes = (8, 16, 32, 64)
    names = ["bool_", "str_", "bytes_", "complex64", "complex128", "float16", "float32", "float64"]
    names += [f"{sign}int{size}" for size in sizes for sign in ("", "u")]
    kinds = [getattr(numpy, name) for name in (*names, "longlong", "ulonglong")]
    _PLAIN_OF[:] = [(kind, kind.item) for kind in dict.fromkeys(kinds)]


def encode(value: object, max_bytes: int) -> bytes:
    """Encodes `value` as UTF-8 text of at most about `max_bytes`.

    Types must match exactly: an instance of a subclass is not plain. The candidate's code does not
    run while its value is encoded.

    Raises:
      NotPlain: the value cannot be encoded.
    """
    pieces: list[bytes] = []
    _write(value, 0, pieces, [max_bytes])
    return b"".join(pieces)


def _write(value: Any, depth: int, pieces: list[bytes], room: list[int]) -> None:
    # Types are compared by identity, because == would call the candidate's metaclass.
    kind = _type(value)
    for known, plain in _PLAIN_OF:
        if kind is known:
            value = plain(value)
            kind = _type(value)
    text = _scalar(value, kind, room)
    if text is not None:
        _need(_len(text), room)
        room[0] -= _len(text)
        pieces.append(text)
        return
    for known, tag, items in _ITEMS:
        if kind is known:
            _write_container(tag, _len(value), items(value), depth, pieces, room)
            return
    raise NotPlain("a value whose type is not plain")


def _scalar(value: Any, kind: type, room: list[int]) -> bytes | None:
    """The text of a value that contains no others; None for all other values."""
    if value is None:
        return b"null"
    if kind is bool:
        return b"true" if value else b"false"
    if kind is str:
        _need(_len(value), room)
        return _quote(value).encode(*_UTF8)
    if kind is int:
        _need(value.bit_length() // 4, room)
        return f'["i","{value:x}"]'.encode()
    if kind is float:
        return f'["f","{_pack(value).hex()}"]'.encode()
    if kind is complex:
        return f'["c","{_pack(value.real).hex()}","{_pack(value.imag).hex()}"]'.encode()
    if kind is bytes or kind is bytearray:
        _need(2 * _len(value), room)
        return f'["{"b" if kind is bytes else "a"}","{value.hex()}"]'.encode()
    if kind is Fraction:
        over, under = _numerator(value), _denominator(value)
        if _type(over) is int and _type(under) is int:
            _need((over.bit_length() + under.bit_length()) // 4, room)
            return f'["q","{over:x}","{under:x}"]'.encode()
    if kind is Decimal:
        return f'["m","{_decimal_text(value)}"]'.encode()
    return None


def _write_container(
    tag: str, count: int, items: Any, depth: int, pieces: list[bytes], room: list[int]
) -> None:
    if depth >= MAX_DEPTH:
        raise NotPlain(f"containers nested more than {MAX_DEPTH} deep")
    size = 8 + (5 if tag in _DICTS else 2) * count  # brackets, tag and commas
    _need(size, room)
    room[0] -= size
    pieces.append(f'["{tag}"'.encode())
    for item in items:
        pieces.append(b",")
        if tag in _DICTS:
            pieces.append(b"[")
            _write(item[0], depth + 1, pieces, room)
            pieces.append(b",")
            _write(item[1], depth + 1, pieces, room)
            pieces.append(b"]")
        else:
            _write(item, depth + 1, pieces, room)
    pieces.append(b"]")


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
            text.decode(*_UTF8),
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
    if type(tag) is not str:
        raise ValueError("not a tag")
    if tag in _SCALARS:
        count, make = _SCALARS[tag]
        if any(type(x) is not str for x in rest) or len(rest) != count:
            raise ValueError("not a scalar")
        return make(*rest)
    if tag == "l":
        return [decode(x, depth + 1) for x in rest]
    if tag == "t":
        return tuple(decode(x, depth + 1) for x in rest)
    if tag in ("s", "z"):
        items = [decode(x, depth + 1) for x in rest]
        _check_hashes(items)
        return set(items) if tag == "s" else frozenset(items)
    if tag in _DICTS:
        if any(type(pair) is not list or len(pair) != 2 for pair in rest):
            raise ValueError("not a dict")
        keys = [decode(pair[0], depth + 1) for pair in rest]
        _check_hashes(keys)
        return _DICTS[tag](zip(keys, (decode(pair[1], depth + 1) for pair in rest)))
    raise ValueError("not a known tag")


def _float(bits: str) -> float:
    if len(bits) != 16:
        raise ValueError("not a float")
    return _UNPACK(bytes.fromhex(bits))[0]


def _fraction(over: str, under: str) -> Fraction:
    # `Fraction(n, d)` would reduce it, in quadratic time. The program's own is reduced already.
    made = object.__new__(Fraction)
    _NUMERATOR.__set__(made, int(over, 16))
    _DENOMINATOR.__set__(made, int(under, 16))
    if made.denominator <= 0:
        raise ValueError("not a fraction")
    return made


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("not a decimal number") from None


# tag -> the number of its strings, and what makes the value of them
_SCALARS: dict[str, tuple[int, Callable[..., object]]] = {
    # base 16: linear time, and no limit on the number of digits
    "i": (1, lambda digits: int(digits, 16)),
    "f": (1, _float),
    "c": (2, lambda real, imag: complex(_float(real), _float(imag))),
    "b": (1, bytes.fromhex),
    "a": (1, bytearray.fromhex),
    "q": (2, _fraction),
    "m": (1, _decimal),
}


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
    a list, a frozenset is not a set. Sets and dicts are unordered, and two OrderedDicts are not.

    Args:
      value: a plain value, from `decode` or `ast.literal_eval`.
      expected: a plain value.
      bool_is_int: whether True and False count as the ints 1 and 0.
    """
    numbers = (int, float, complex, bool) if bool_is_int else (int, float, complex)
    if type(value) in numbers and type(expected) in numbers:
        return value == expected
    if isinstance(value, dict) and isinstance(expected, dict):
        in_order = type(value) is type(expected) is OrderedDict
        return (not in_order or equal(list(value), list(expected), bool_is_int)) and (
            _equal_members(value, expected, bool_is_int)
            and all(equal(value[key], expected[key], bool_is_int) for key in value)
        )
    if type(value) is not type(expected):
        return False
    if type(value) in (list, tuple):
        return len(value) == len(expected) and all(
            equal(x, y, bool_is_int) for x, y in zip(value, expected)
        )
    if type(value) in (set, frozenset):
        return _equal_members(value, expected, bool_is_int)
    return value == expected


def _equal_members(value: Any, expected: Any, bool_is_int: bool) -> bool:
    """Whether two sets, or the keys of two dicts, are equal with equal types."""
    # Lookup ignores types, so find the expected key first and then compare both keys.
    keys = {key: key for key in expected}
    return len(value) == len(expected) and all(
        key in keys and equal(key, keys[key], bool_is_int) for key in value
    )
