"""MBPP asserts are split so that the candidate sees only the question, or they are rejected."""

import pytest

from boostlm.errors import BoostError
from boostlm.tasks.mbpp.asserts import Check, defined_names, holds, parse_assert


@pytest.mark.parametrize(
    ("source", "checks"),
    [
        ("assert f(1, 2) == (3, 4)", [Check("f(1, 2)", "==", "(3, 4)")]),
        ("assert (f(1)) == 3 ", [Check("f(1)", "==", "3")]),
        ("assert f(1) == 1,0", [Check("f(1)", "==", "1")]),
        ("assert f(1) == 2, 'a message'", [Check("f(1)", "==", "2")]),
        ("assert 3 == f(1)", [Check("f(1)", "==", "3")]),
        ("assert 3 < f(1)", [Check("f(1)", ">", "3")]),
        ("assert f(1)", [Check("not not f(1)", "is", "True")]),
        ("assert not f(1)", [Check("not not f(1)", "is", "False")]),
        ("assert f(1) is None", [Check("f(1)", "is", "None")]),
        ("assert f(1) != 2", [Check("f(1)", "!=", "2")]),
        ("assert f(1) in [2, 3]", [Check("f(1)", "in", "[2, 3]")]),
        ("assert 2 in f(1)", [Check("f(1)", "contains", "2")]),
        ("assert 2 not in f(1)", [Check("f(1)", "lacks", "2")]),
        ("assert set(f(1)) == set([2])", [Check("set(f(1))", "==", "set([2])")]),
        ("assert len(set(f(1))) == 2", [Check("len(set(f(1)))", "==", "2")]),
        ("assert sorted(f(1), reverse=True) == [2]", [Check("sorted(f(1), reverse=True)", "==", "[2]")]),
        ("assert round(f(1), 2) == 2.5", [Check("round(f(1), 2)", "==", "2.5")]),
        ("assert int(f(5, 3)) == 35", [Check("int(f(5, 3))", "==", "35")]),
        ("assert f(1) == 2 and not f(2)", [Check("f(1)", "==", "2"), Check("not not f(2)", "is", "False")]),
        ("assert math.isclose(f(1), 2.5, rel_tol=0.1)", [Check("f(1)", "isclose", "(2.5, {'rel_tol': 0.1})")]),
        ("assert math.isclose(2.5, f(1))", [Check("f(1)", "isclose", "(2.5, {})")]),
        ("assert abs(f(1) - 2.5) < 1e-3", [Check("f(1)", "within", "(2.5, 0.001, False)")]),
        ("assert abs(2.5 - f(1)) <= 1e-3", [Check("f(1)", "within", "(2.5, 0.001, True)")]),
        ("assert f(tree) == 2", [Check("f(tree)", "==", "2")]),
    ],
)  # fmt: skip
def test_an_assert_is_split(source, checks):
    assert parse_assert(source, {"f", "tree"}) == checks


@pytest.mark.parametrize(
    "source",
    [
        "assert f(1) - 3 == 0",
        "assert f(1) == f(2)",
        "assert f(1) == len(tree)",
        "assert abs(f(1) - 3) == 0",
        "assert abs(f(1) - f(2)) < 1",
        "assert f(1).startswith('expected')",
        "assert isinstance(f(1), list)",
        "assert all(v in (1, 2) for v in f(1))",
        "assert (f(1) == 3) == True",
        "assert f(1) == 3 or f(1) == 4",
        "assert 1 < f(1) < 3",
        "assert [f(1), f(2)] == [3, 4]",
        "assert g(f(1), 3)",
        "assert max(f(1), f(2)) == 3",
        "assert max(f(1), 3) == 3",
        "assert 1 == 1",
        "print(f(1))",
        "assert f(1) == 1; assert f(2) == 2",
        "assert f(1) ==",
    ],
)
def test_an_assert_that_cannot_be_split_is_rejected(source):
    with pytest.raises(BoostError, match="a test "):
        parse_assert(source, {"f", "tree"})


def test_names_of_a_program():
    source = "import sys\nfrom math import pi\nx = y = 1\nclass A: z = 2\ndef f(a): b = 1\nfor i in []:\n    def g(): pass\n"
    assert defined_names(source) == {"x", "y", "A", "f", "i", "g"}


@pytest.mark.parametrize(
    ("relation", "value", "expected", "true"),
    [
        *(("==", 5.0, 5, True), ("==", True, 1, False), ("!=", True, 1, True), ("is", True, True, True)),
        *(("is", 1, True, False), ("is not", None, None, False), ("<", 1, 2, True), ("<", "a", 2, False)),
        *((">=", [2], [1, 5], True), ("<=", {1}, {1, 2}, True), (">", None, None, False)),
        *(("in", 2, [1, 2], True), ("in", True, [1], False), ("in", "b", "abc", True), ("in", 1, 5, False)),
        *(("not in", 3, [1], True), ("contains", {1, 2}, 2, True), ("lacks", [1], 1, False), ("lacks", 7, 1, False)),
        *(("isclose", 1.0, (1.0001, {"rel_tol": 1e-3}), True), ("isclose", 1.0, (1.1, {}), False)),
        *(("isclose", 3, (3.0, {}), True), ("isclose", True, (1.0, {}), False), ("isclose", "1", (1.0, {}), False)),
        *(("isclose", 10**999, (1.0, {}), False), ("isclose", [1.0], (1.0, {}), False)),
        *(("within", 1.05, (1.0, 0.1, False), True), ("within", 2, (1.0, 1, False), False), ("within", 2, (1.0, 1, True), True)),
        *(("within", {1}, (1.0, 9, True), False), ("within", True, (1.0, 9, True), False), ("within", float("nan"), (1.0, 9, True), False)),
    ],
)  # fmt: skip
def test_relations(relation, value, expected, true):
    assert holds(relation, value, expected) is true
