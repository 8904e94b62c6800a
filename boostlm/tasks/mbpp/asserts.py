"""Takes an MBPP assert apart: what the candidate is asked, what is expected, how they compare.

Only the question goes to the candidate. The expected side, and even whether the assert says `==`
or `!=`, `f(x)` or `not f(x)`, stays here, because a program that knew could act on it. An assert in
which the two cannot be separated is refused: sending `f(x) - 3 == 0` as it stands would let an
object with its own subtraction pass, and in `f(x) == g(x)` the candidate would mark its own work.
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
# Builtins that an assert may put around the call: given a forged object they still only return a
# value of their own kind, which is worth no more than returning it. Not so with a second argument:
# max(f(x), 3) is 3 for any object that says it is small.
_KINDS = (bool, dict, float, frozenset, int, list, set, str, tuple)
_WRAPPERS = {f.__name__ for f in (*_KINDS, abs, all, any, len, max, min, round, sorted, sum)}


@dataclass(frozen=True)
class Check:
    """One comparison: `question` relation `expected`.

    Attributes:
      question: an expression for the candidate.
      relation: a comparison operator, "contains", "lacks", "isclose" or "within".
      expected: an expression for the trusted side; for "isclose" a pair (value, dict of
        tolerances), for "within" (value, tolerance, whether the tolerance itself is within).
    """

    question: str
    relation: str
    expected: str


def parse_code(source: str) -> ast.Module:
    r"""The syntax tree; the data set's old escapes, such as "\w" in plain strings, are let pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def names_in(tree: ast.AST) -> set[str]:
    """The names that are read or bound anywhere in `tree`."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def defined_names(source: str) -> set[str]:
    """What a program defines at its top level by def, class or assignment; imports left out."""
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
    """The checks that an assert statement stands for, joined by `and`.

    Args:
      source: one assert; its message is ignored, as Python does when the assert holds. (So
        `assert f(x) == 1,0` compares with 1.)
      candidate_names: names that the candidate defines, or that are made of such.

    Raises:
      BoostError: not an assert, or of a shape that cannot be separated.
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
            "a test cannot be separated into a question for the candidate and an expected "
            f"value: {source!r}"
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
    # `not not` gives exactly True or False for whatever object, and no definition can shadow it.
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
    """abs(f(x) - expected) < tolerance, compared by the host; None if it is not that."""
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
    """math.isclose(f(x), expected, rel_tol=...), compared by the host; None if it is not that."""
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
    """Whether `node` is a call of the candidate's own, perhaps inside builtins such as set()."""
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
    """Whether `value relation expected` for plain values; False where Python would raise.

    Equality is `values.equal`; `bool_is_int` is passed on to it.
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
    except (TypeError, ValueError, OverflowError):
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
