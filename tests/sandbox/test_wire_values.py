"""The host compares exactly the value in the program, and the program is exactly its text."""

import json
import math
import struct
import sys
from collections import Counter, OrderedDict, defaultdict
from decimal import Decimal
from fractions import Fraction

import pytest
from support.sandbox_kit import SMALL, need_sandbox, run, there_and_back

from boostlm.sandbox import Job, Sandbox, values
from boostlm.sandbox.worker import encode_job
from boostlm.tasks.mbpp.asserts import holds

HIGH, LOW, PAIR, ONE = "\ud83d", "\ude00", "\ud83d\ude00", "\U0001f600"


def bits_of(number):
    return struct.unpack(">Q", struct.pack(">d", number))[0]


def nan(bits):
    return struct.unpack(">d", struct.pack(">Q", bits))[0]


def exactly(value):
    """A description that tells any two values apart."""
    if type(value) is float:
        return "float", bits_of(value)
    if type(value) is complex:
        return "complex", bits_of(value.real), bits_of(value.imag)
    if type(value) is str:
        return "str", [ord(c) for c in value]
    if type(value) is Decimal:
        return "Decimal", value.as_tuple()
    if type(value) is Fraction:
        return "Fraction", value.numerator, value.denominator
    if isinstance(value, dict):
        return type(value).__name__, [(exactly(k), exactly(v)) for k, v in value.items()]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, map(exactly, value)))
    if isinstance(value, list | tuple):
        return type(value).__name__, [exactly(x) for x in value]
    return type(value).__name__, value


def moved():
    found = OrderedDict(a=1, b=2, c=3)
    found.move_to_end("a")
    return found


shared = [1, 2]
EXPRESSIONS = [
    # text: halves of a pair, alone, together, apart, swapped; what JSON or UTF-8 treats in its own way
    *(r"'\ud83d'", r"'\ude00'", r"'\ud83d\ude00'", r"'\U0001f600'", r"'\ude00\ud83d'"),
    *(r"'\ud83d \ude00'", r"'\ud83d\ud83d\ude00\ude00'", r"'\ud800'", r"'\udfff'", r"'\U0010ffff'"),
    *(r"['\ud83d', '\ude00']", r"{'\ud83d\ude00': 1, '\U0001f600': 2}", r"'\ud83d' + '\ude00'"),
    *(r"'\\ud83d\\ude00'", r"'\ufeff'", r"'\ufffd'", r"'\x00\x07\x1f\x7f\x80\xff'", r"'\u2028\u2029\x85'"),
    *(r"'\"\\/\b\f\n\r\t'", r"'\r\n'", r"'e\u0301'", r"'\xe9'", r"''.join(map(chr, range(0xd7f0, 0xe010)))"),
    # numbers
    *("0.0", "-0.0", "5e-324", "-5e-324", "1.7976931348623157e308", "0.1 + 0.2", "1e999", "-1e999"),
    *(f"__import__('struct').unpack('>d', bytes.fromhex('{bits}'))[0]"
      for bits in ("7ff8000000000000", "fff8000000000000", "7ff8000000000001", "fff8dead0000beef", "7ff0000000000001")),
    *("complex(-0.0, 0.0)", "complex(0.0, -0.0)", "complex(float('inf'), float('nan'))", "-(0j)", "1e-300j"),
    *("2**63", "-2**63 - 1", "10**5000", "-(10**5000) + 1", "True", "False", "2**53 + 1", "1 << 40_000"),
    # bytes
    *("bytes(range(256))", "b''", "b'\\x00'", "bytearray(range(256))", "bytearray()", "[b'a', 'a', bytearray(b'a')]"),
    # containers
    *("[[], (), {}, set(), frozenset()]", "{(): {frozenset(): [set()]}}", "[(1,), [1], {1}, frozenset({1})]"),
    *("(lambda x: [x, x, (x, x)])([1, 2])", "[[0] * 3] * 3", "{'b': 1, 'a': 2}", "dict.fromkeys('zyx')"),
    *("{True: 1, 0: False}", "{1.0: 'x'}", "{-0.0: 'x'}", "{(1, (2, 'a')): {(): None}}", "{None: None}"),
    *("set(range(50))", "{1, 'a', b'a', (1,), None, 2.5}", "frozenset({frozenset({frozenset()})})"),
    # the library's
    *("Decimal('0.10')", "Decimal('-0E+5')", "Decimal('NaN123')", "Decimal('sNaN')", "Decimal('-Infinity')"),
    *("Decimal('1E+999999')", "Decimal('1.10') + Decimal(1) / 3", "[Decimal(1), 1, 1.0]", "{Decimal('1.0'): 1}"),
    *("Fraction(1, 3)", "Fraction(-7, 1)", "Fraction(10**400, 3**500)", "{Fraction(1, 2): Fraction(0)}"),
    *("OrderedDict(b=1, a=2)", "moved()", "OrderedDict()", "[OrderedDict([((1, 2), {})])]"),
]  # fmt: skip
NAMES = {"Decimal": Decimal, "Fraction": Fraction, "OrderedDict": OrderedDict, "moved": moved}
PRELUDE = """
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
def moved():
    found = OrderedDict(a=1, b=2, c=3)
    found.move_to_end("a")
    return found
"""


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_value_arrives_exactly(text):
    value = eval(text, dict(NAMES))
    assert exactly(there_and_back(value)) == exactly(value)


@pytest.mark.slow
def test_values_of_a_program_arrive_exactly():
    need_sandbox()
    with Sandbox(workers=1, **SMALL) as sandbox:
        [got] = sandbox.check_many([Job(PRELUDE, "", tuple(EXPRESSIONS))])
    assert got.status == "ok", got
    for text, value in zip(EXPRESSIONS, got.values, strict=True):
        assert exactly(value) == exactly(eval(text, dict(NAMES))), text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("def f(): return 1", "ok"),
        ("\ufeffdef f(): return 1", "ok"),
        ("\ufeff# -*- coding: latin-1 -*-\ndef f(): return 1 if '\xe9' == chr(233) else 2", "ok"),
        ("\ufeff\ufeffdef f(): return 1", "error"),  # as in a file
        ("def f(): return 1\ufeff", "error"),
        (f"def f(): return len('{ONE}')", "ok"),
        (
            f"def f(): return 1 # {PAIR}",
            "error",
        ),  # Python takes no lone surrogates: not one character
        (f"def f(): return 1 # {HIGH}", "error"),
        (f"def f(): return 1 # {LOW}{HIGH}", "error"),
        (r"def f(): return len('\ud83d\ude00') - 1", "ok"),
        (r"def f(): return len('\U0001f600')", "ok"),
        ("def f():\r\n    return 1\r\n", "ok"),
        ("def f():\r    return 1\r", "ok"),
        ("def f(): return len('\u2028')", "ok"),
        ("def f(): return len('\x0c')", "ok"),
        ("def f(): return 1\x00", "error"),
    ],
)
def test_a_program_arrives_exactly(sandbox, code, status):
    got = run(sandbox, code, "f()")
    assert (got.status, got.values) == (status, (1,) if status == "ok" else ()), got


@pytest.fixture(scope="module")
def sandbox():
    need_sandbox()
    with Sandbox(workers=1, **SMALL) as running:
        yield running


def test_a_job_is_encoded_with_its_surrogates_apart():
    job = Job(f"# {PAIR}{ONE}", HIGH, (LOW, PAIR))
    code, setup, calls = json.loads(encode_job(job))
    assert [exactly(t) for t in (code, setup, *calls)] == [
        exactly(t) for t in (job.code, job.setup, *job.calls)
    ]


@pytest.mark.parametrize(
    ("relation", "value", "expected", "due"),
    [
        ("==", PAIR, ONE, False),
        ("==", ONE, PAIR, False),
        ("==", PAIR, PAIR, True),
        ("==", [PAIR], [ONE], False),
        ("==", {PAIR: 1}, {ONE: 1}, False),
        ("in", HIGH, ONE, False),
        ("in", HIGH, PAIR, True),
        ("==", -0.0, 0.0, True),
        ("==", nan(0x7FF8000000000001), nan(0x7FF8000000000001), False),
        ("!=", math.nan, math.nan, True),
        ("==", 2**53 + 1, float(2**53), False),
        ("==", bytearray(b"a"), b"a", False),
        ("==", bytearray(b"a"), bytearray(b"a"), True),
        ("==", Decimal("1.0"), Decimal("1.00"), True),
        ("==", Decimal(1), 1, False),
        ("==", 0.5, Decimal("0.5"), False),
        ("==", Decimal("NaN"), Decimal("NaN"), False),
        ("==", Decimal("sNaN"), Decimal("1"), False),
        ("<", Decimal("NaN"), Decimal("1"), False),
        ("<", Decimal("0.5"), Decimal("1"), True),
        ("==", Fraction(1, 2), Fraction(2, 4), True),
        ("==", Fraction(1, 2), 0.5, False),
        ("==", 1, Fraction(1), False),
        ("==", [Fraction(1, 3)], [Fraction(1, 3)], True),
        ("==", {Fraction(1)}, {1}, False),
        ("==", {Decimal(1)}, {True}, False),
        (">", Fraction(1, 2), Decimal("0.1"), True),
        ("==", OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), False),
        ("==", OrderedDict(a=1, b=2), {"b": 2, "a": 1}, True),
        ("==", {"a": 1, "b": 2}, OrderedDict(b=2, a=1), True),
        ("==", OrderedDict(a=1), OrderedDict(a=True), False),
        ("==", [OrderedDict(a=1, b=2)], [OrderedDict(b=2, a=1)], False),
        ("==", OrderedDict(a=1), [("a", 1)], False),
        ("within", Decimal("1.0"), (1.0, 0.1, True), False),
    ],
)
def test_comparison_is_of_what_arrived(relation, value, expected, due):
    assert holds(relation, there_and_back(value), there_and_back(expected)) is due


def subclass(kind, *arguments):
    return type("Own", (kind,), {})(*arguments)


@pytest.mark.parametrize(
    "value",
    [
        *(subclass(kind, 1) for kind in (int, float, complex, Decimal, Fraction)),
        *(subclass(kind, "") for kind in (str, list, tuple, set, frozenset)),
        *(subclass(kind) for kind in (dict, OrderedDict, Counter, bytes, bytearray)),
        subclass(defaultdict, int),
        {1: subclass(str, "x")},
        {subclass(int, 1)},
        memoryview(b"a"),
        {}.keys(),
        {}.items(),
        slice(1),
        ...,
        NotImplemented,
        sys.version_info,
        zip(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_subclass_or_a_view_is_refused_not_changed(value):
    with pytest.raises(values.NotPlain):
        values.encode(value, 10_000)


def test_shared_references_and_cycles_end():
    doubled = [1]
    for _ in range(45):
        doubled = [doubled, doubled]
    with pytest.raises(values.NotPlain, match="too large"):
        values.encode(doubled, 10**5)
    for ring in ([], {}, OrderedDict()):
        ring.append(ring) if type(ring) is list else ring.update(own=ring)
        with pytest.raises(values.NotPlain, match="deep"):
            values.encode(ring, 10**5)
    assert there_and_back([shared, shared]) == [[1, 2], [1, 2]]


def test_a_fraction_that_lies_about_its_parts_is_refused():
    lie = Fraction(1, 2)
    lie._numerator = subclass(int, 1)
    with pytest.raises(values.NotPlain):
        values.encode(lie, 10_000)
