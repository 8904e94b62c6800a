"""Splits an MBPP assert into a question for the candidate, an expected value and a comparison.

The candidate receives only the question. The host keeps the expected value and the comparison
(`==` or `!=`, `f(x)` or `not f(x)`), because a program could exploit them. Asserts that cannot be
split are rejected. For example, if the candidate evaluated `f(x) - 3 == 0`, an object that
overrides subtraction would pass. In `f(x) == g(x)`, the candidate would grade itself.
"""

import ast
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boostlm.errors import BoostError
from boostlm.sandbox import values

_RELATIONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "in": "contains", "not in": "lacks"}
# Builtins that may wrap the call in an assert. Given a forged object, they still return a value of
# a plain type, which the candidate could have returned itself. A second argument is not safe:
# max(f(x), 3) is 3 for any object that claims to be small.
_KINDS = (bool, dict, float, frozenset, int, list, set, str, tuple)
_WRAPPERS = {f.__name__ for f in (*_KINDS, abs, all, any, len, max, min, round, sorted, sum)}


@dataclass(frozen=True)
class Check:
    """One comparison: `question` `relation` `expected`.

    Attributes:
      question: an expression that the candidate evaluates.
      relation: a comparison operator, "contains", "lacks", "isclose" or "within".
      expected: an expression that the host evaluates. For "isclose", a pair (value, dict of
        tolerances). For "within", a triple (value, tolerance, whether the bound is inclusive).
    """

    question: str
    relation: str
    expected: str


def parse_code(source: str) -> ast.Module:
    r"""The syntax tree. Warnings about invalid escapes, such as "\w", are suppressed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def names_in(tree: ast.AST) -> set[str]:
    """All names that are read or bound in `tree`."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def defined_names(source: str) -> set[str]:
    """The names that a program's top level defines by def, class or assignment, not by import."""
    found = set()
    for node in parse_code(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                    found.add(inner.name)
                elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found.add(inner.id)
    return found


def parse_assert(source: str, candidate_names: set[str]) -> list[Check]:
    """The checks in an assert statement. All of them must hold.

    Args:
      source: one assert. Its message is ignored, so `assert f(x) == 1,0` compares with 1.
      candidate_names: names that the candidate defines, and names derived from them.

    Raises:
      BoostError: `source` is not an assert, or the assert cannot be split.
    """
    try:
        body = parse_code(source.strip()).body
    except SyntaxError as e:
        raise BoostError(f"a test is not Python ({e.msg}): {source!r}") from None
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        raise BoostError(f"a test is not one assert statement: {source!r}")
    checks = _parse(body[0].test, candidate_names)
    if checks is None:
        raise BoostError(
            "a test cannot be split into a question for the candidate and an expected value: "
            f"{source!r}"
        )
    return checks


def _parse(test: ast.expr, names: set[str]) -> list[Check] | None:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        parts = [_parse(value, names) for value in test.values]
        known = [part for part in parts if part is not None]
        return [check for part in known for check in part] if len(known) == len(parts) else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _truth(test.operand, "False", names)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _comparison(test.left, _RELATIONS[type(test.ops[0])], test.comparators[0], names)
    return _isclose(test, names) or _truth(test, "True", names)


def _truth(node: ast.expr, expected: str, names: set[str]) -> list[Check] | None:
    # `not not` returns exactly True or False for any object, and no definition can shadow it.
    question = ast.unparse(ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node)))
    return [Check(question, "is", expected)] if _is_question(node, names) else None


def _comparison(
    left: ast.expr, relation: str, right: ast.expr, names: set[str]
) -> list[Check] | None:
    if not names_in(left) & names:
        left, right = right, left
        relation = _MIRRORED.get(relation, relation)
    if names_in(right) & names:
        return None
    if not _is_question(left, names):
        return _distance(left, relation, right, names)
    return [Check(ast.unparse(left), relation, ast.unparse(right))]


def _distance(
    left: ast.expr, relation: str, right: ast.expr, names: set[str]
) -> list[Check] | None:
    """The check for abs(f(x) - expected) < tolerance, compared by the host; otherwise None."""
    if not isinstance(left, ast.Call) or not _is_call_of(left, "abs") or len(left.args) != 1:
        return None
    if relation not in ("<", "<="):
        return None
    gap = left.args[0]
    if not isinstance(gap, ast.BinOp) or not isinstance(gap.op, ast.Sub):
        return None
    one, other = gap.left, gap.right
    if not _is_question(one, names):
        one, other = other, one
    if not _is_question(one, names) or names_in(other) & names:
        return None
    tail = f"{ast.unparse(other)}, {ast.unparse(right)}, {relation == '<='}"
    return [Check(ast.unparse(one), "within", f"({tail})")]


def _isclose(test: ast.expr, names: set[str]) -> list[Check] | None:
    """The check for math.isclose(f(x), expected, ...), compared by the host; otherwise None."""
    if not isinstance(test, ast.Call) or len(test.args) != 2:
        return None
    if ast.unparse(test.func) not in ("math.isclose", "isclose") or "isclose" in names:
        return None
    one, other = test.args
    if not _is_question(one, names):
        one, other = other, one
    rest = [other, *(k.value for k in test.keywords)]
    if not _is_question(one, names) or any(names_in(node) & names for node in rest):
        return None
    tolerances = ", ".join(f"{k.arg!r}: {ast.unparse(k.value)}" for k in test.keywords)
    return [Check(ast.unparse(one), "isclose", f"({ast.unparse(other)}, {{{tolerances}}})")]


def _is_call_of(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _is_question(node: ast.expr, names: set[str]) -> bool:
    """Whether `node` calls the candidate, possibly inside builtins such as set()."""
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Name) and node.id in names
    function = node.func
    if isinstance(function, ast.Name) and function.id in names:
        return True
    if not isinstance(function, ast.Name) or function.id not in _WRAPPERS or not node.args:
        return False
    first, rest = node.args[0], [*node.args[1:], *node.keywords]
    if len(node.args) > 1 and function.id != "round":
        return False
    return _is_question(first, names) and not any(names_in(other) & names for other in rest)


def holds(relation: str, value: Any, expected: Any, bool_is_int: bool = False) -> bool:
    """Whether `value relation expected` holds for plain values; False where Python would raise.

    Equality is `values.equal`, which also receives `bool_is_int`.
    """

    def same(x: object, y: object) -> bool:
        return values.equal(x, y, bool_is_int)

    try:
        if relation in ("==", "is"):
            return same(value, expected)
        if relation in ("!=", "is not"):
            return not same(value, expected)
        if relation == "in":
            return _contains(expected, value, same)
        if relation == "not in":
            return not _contains(expected, value, same)
        if relation == "contains":
            return _contains(value, expected, same)
        if relation == "lacks":
            return not _contains(value, expected, same)
        if relation == "isclose":
            return type(value) in (int, float) and math.isclose(value, expected[0], **expected[1])
        if relation == "within":
            if type(value) not in (int, float, complex):
                return False
            gap, tolerance = abs(value - expected[0]), expected[1]
            return gap < tolerance or (expected[2] and gap == tolerance)
        return _ordered(relation, value, expected)
    except (TypeError, ValueError, ArithmeticError):  # Decimal's errors are arithmetic ones
        return False


def _contains(container: Any, item: object, same: Callable[[object, object], bool]) -> bool:
    if type(container) is str and type(item) is str:
        return item in container
    if type(container) not in (list, tuple, set, frozenset, dict):
        raise TypeError("not a container")
    return any(same(item, member) for member in container)


def _ordered(relation: str, value: Any, expected: Any) -> bool:
    if relation == "<":
        return value < expected
    if relation == "<=":
        return value <= expected
    if relation == ">":
        return value > expected
    return value >= expected
