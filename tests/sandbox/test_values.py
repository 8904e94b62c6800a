"""Values returned from the sandbox: plain values of exact types, also from hostile texts."""

import functools
import math
import sys
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest
from support.sandbox_kit import there_and_back

from boostlm.sandbox import Limits, Outcome, values, wire, worker

PLAIN = [
    *(
        None,
        True,
        False,
        0,
        -1,
        255,
        -(10**30),
        1 << 70_000,
        "",
        'a"b\\c\n\x00é\ud800😀',
        b"\x00\xff",
    ),
    *(0.0, -0.0, 1.5, -1e-310, 1e308, math.inf, -math.inf, 2 + 3j, complex(-0.0, math.inf)),
    *([], (), set(), frozenset(), {}, [[()], [1, [2, "x"]]], {(1, 2): [3], None: {"k": {1, 2}}}),
    *({1, "a", (2.5, None), frozenset({3})}, frozenset({b"x"}), [True, 1, 1.0]),
]


@pytest.mark.parametrize("value", PLAIN, ids=[f"{i}" for i in range(len(PLAIN))])
def test_plain_values_survive_a_round_trip_exactly(value):
    back = there_and_back(value)
    assert values.equal(back, value)
    assert type(back) is type(value)
    if not isinstance(
        value, int | set | frozenset
    ):  # repr distinguishes -0.0 from 0.0, and 1 from True
        assert repr(back) == repr(value)


def test_nan_and_library_dicts_survive_a_round_trip():
    assert math.isnan(there_and_back(math.nan))
    for made in (Counter("aab"), OrderedDict(a=2, b=1), defaultdict(int, a=2, b=1)):
        assert there_and_back(made) == {"a": 2, "b": 1}
        assert type(there_and_back(made)) is (OrderedDict if type(made) is OrderedDict else dict)


class Meta(type):
    def __eq__(cls, other):
        return True

    def __hash__(cls):
        return hash(dict)


NOT_PLAIN = {
    "object": object(),
    "int subclass": type("Int", (int,), {})(1),
    "str subclass": type("Str", (str,), {})("x"),
    "list subclass": type("List", (list,), {})(),
    "dict subclass": type("Dict", (dict,), {})(),
    "Counter subclass": type("MyCounter", (Counter,), {})("a"),
    "named tuple": namedtuple("Point", "x y")(1, 2),
    "metaclass": Meta("Liar", (dict,), {})(),
    "deep inside": [({1: [object()]},)],
    "key": {(object(),): 1},
    "generator": (i for i in ()),
    "range": range(3),
    "function": len,
    "type": int,
    "too large": "x" * 10_000,
    "too large a number": 1 << 50_000,
    "too many": [None] * 10_000,
    "too deep": functools.reduce(lambda x, _: [x], range(60), []),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_values_that_are_not_plain_are_rejected(name):
    with pytest.raises(values.NotPlain):
        values.encode(NOT_PLAIN[name], 10_000)


def test_a_recursive_value_is_rejected():
    ring = []
    ring.append(ring)
    with pytest.raises(values.NotPlain, match="deep"):
        values.encode(ring, 10_000)


@pytest.mark.parametrize(
    ("value", "expected", "same"),
    [
        *((5, 5.0, True), (5.0, 5, True), ([5.0], [5], True), (2 + 0j, 2, True), (0.1 + 0.2, 0.3, False)),
        *((2**53 + 1, float(2**53), False), (math.nan, math.nan, False), (0.0, -0.0, True)),
        *((True, 1, False), (1, True, False), (False, 0.0, False), (True, True, True)),
        *(([1], (1,), False), ((1,), [1], False), ([[1]], [(1,)], False), ([1], [1, 1], False)),
        *(({1}, frozenset({1}), False), ({1, 2}, {2, 1}, True), ({1.0}, {1}, True), ({True}, {1}, False)),
        *(({1}, {2}, False), ({(1, True)}, {(1, 1)}, False), ({(1, 2.0)}, {(1, 2)}, True)),
        *(({1: "a", 2: "b"}, {2: "b", 1: "a"}, True), ({1: True}, {1: 1}, False), ({True: 1}, {1: 1}, False)),
        *(({1: 2}, {1: 2, 3: 4}, False), ({1: 2}, [(1, 2)], False), ("1", 1, False), ("a", b"a", False)),
        *((None, False, False), (None, 0, False), (None, None, True), ("", None, False)),
    ],
)  # fmt: skip
def test_equality_is_of_values_and_exact_types(value, expected, same):
    assert values.equal(value, expected) is same


def test_bool_counts_as_int_only_on_request():
    assert values.equal(1, True, bool_is_int=True)
    assert values.equal([0, {1}], [False, {True}], bool_is_int=True)
    assert not values.equal(2, True, bool_is_int=True)


HOSTILE_TEXTS = {
    "numbers": b'["ok","",1]',
    "infinity": b'["ok","",Infinity]',
    "an object": b'["ok","",{}]',
    "an object for a result": b'{"passed": true}',
    "not an array": b'"ok"',
    "nothing after the status": b'["ok"]',
    "an unknown status": b'["passed","",["i","6"]]',
    "a status that is not text": b'[["ok"],"",["i","6"]]',
    "a detail that is not text": b'["error",["i","6"]]',
    "too few values": b'["ok",""]',
    "too many values": b'["ok","",["i","6"],["i","6"]]',
    "an unknown tag": b'["ok","",["x","6"]]',
    "a tag that is not text": b'["ok","",[["i"],"6"]]',
    "an empty value": b'["ok","",[]]',
    "a number that is none": b'["ok","",["i","0x"]]',
    "a number of many parts": b'["ok","",["i","6","6"]]',
    "a short float": b'["ok","",["f","3ff"]]',
    "a long float": b'["ok","",["f","' + b"1" * 5000 + b'"]]',
    "a float that is none": b'["ok","",["f","3ff000000000000x"]]',
    "a number over zero": b'["ok","",["q","1","0"]]',
    "a decimal number that is none": b'["ok","",["m","1.2.3"]]',
    "a decimal number beyond all": b'["ok","",["m","1E+99999999999999999999"]]',
    "a signalling key": b'["ok","",["s",["m","sNaN"]]]',
    "bytes that are none": b'["ok","",["b","xy"]]',
    "half a pair": b'["ok","",["d",["k"]]]',
    "a list as a key": b'["ok","",["d",[["l"],"v"]]]',
    "a list in a set": b'["ok","",["s",["l"]]]',
    "two results": b'["ok","",["i","6"]]["ok","",["i","6"]]',
    "deep brackets": b"[" * 1_000_000,
    "deep values": b'["ok","",' + b'["l",' * 60 + b"null" + b"]" * 60 + b"]",
    "deep in a string of quotes": b'["ok","' + b'\\"' * 400_000,
    "not text": b'\xff["ok","",["i","6"]]',
    "half a result": b'["ok","",["i","6"]',
    "equal hashes": b'["ok","",["s",' + b",".join(b'["i","%x"]' % (i * (2**61 - 1)) for i in range(9000)) + b"]]",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_a_hostile_text_is_quickly_detected_as_bad_output(name):
    start = time.process_time()
    got = worker.judge_end(wire.ENDED, 0, 0.0, HOSTILE_TEXTS[name], 1, Limits())
    assert (got.status, got.values) == ("bad_output", ())
    assert time.process_time() - start < 2.0


def test_deep_brackets_are_rejected_even_with_a_higher_recursion_limit():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**7)
    try:
        with pytest.raises(ValueError, match="nested too deep"):
            values.parse(b"[" * 1_000_000)
    finally:
        sys.setrecursionlimit(limit)
    deepest = functools.reduce(lambda x, _: {(1,): x}, range(values.MAX_DEPTH - 1), [])
    text = b'["ok","",' + values.encode(deepest, 10**6) + b"]"
    assert worker.judge_end(wire.ENDED, 0, 0.0, text, 1, Limits()).values == (deepest,)


def test_the_first_matching_rule_gives_the_outcome_of_a_check():
    good, limits = b'["ok","",["i","6"]]', Limits(cpu_seconds=1.0, wall_seconds=9.0)
    end = functools.partial(worker.judge_end, calls=1, limits=limits)
    assert end(wire.ENDED, 0, 0.5, good) == Outcome("ok", (6,))
    assert end(wire.ENDED, 0, 1.01, good).status == "timeout"
    assert end(wire.OVER_CPU, 9, 0.99, good).status == "timeout"
    assert end(wire.OVER_WALL, 9, 0.1, good).status == "timeout"
    assert end(wire.OVER_WAIT, 9, 0.1, good) == Outcome("timeout", (), "waited for 10.0 s")
    assert end(wire.OVER_OUTPUT, 9, 0.1, good).status == "bad_output"
    assert end(wire.ENDED, 11, 0.1, b"") == Outcome("killed", (), "died of signal 11")
    assert end(wire.ENDED, 64, 0.1, b"").status == "killed"
    assert end(wire.ENDED, 0, 0.1, b"").status == "error"
    assert end(wire.ENDED, 0, 0.1, b'["error","\\u001b[2Jbad"]').detail == "?[2Jbad"
