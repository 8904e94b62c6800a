"""The verifier expression: 100 and more cases, judged by hand."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest
from support.verifier_cases import count, disagreements, fuzzed

from boostlm.verifiers.base import DataRow, UnusableReference, made_wrong
from boostlm.verifiers.expression import EXPRESSION, NotAnExpression, mistake, value_of

TABLE = [
    (
        "7",
        [
            "7",
            " 7 ",
            "7.",
            "7.0",
            "007",
            "3 + 4",
            "3+4",
            "4 + 3",
            "(3 + 4)",
            "((3)+(4))",
            "10 - 3",
            "14 / 2",
            "3.5 * 2",
            "= 7",
            "=3+4",
            "3 + 4 =",
            "+7",
            "--7",
            "-(-7)",
            "700%",
            "7 * 100%",
            "14 × 50%",
            "28 ÷ 4",
            "10 − 3",
            "10 – 3",
            "2 * 3 + 1",
            "1 + 2 * 3",
            "(1 + 2) * 3 - 2",
            "49/7",
            "1/2 * 14",
            "0.5 * 14",
            ".5*14",
            "7/1",
            "21 / 3 / 1",
            "8 - 2 + 1",
            "7 + 0",
            "3\n+ 4",
            "7 * (2 - 1)",
            "1 + 2 + 4",
            "35 * 20%",
        ],
        [
            "",
            " ",
            "8",
            "-7",
            "3 + 4 = 7",
            "3 + 4 = 8",
            "seven",
            "3 4",
            "3 +",
            "+",
            "(3 + 4",
            "3 + 4)",
            "3 + * 4",
            "7 apples",
            "$7",
            "7 dollars",
            "x",
            "7x",
            "3 x 4",
            "2 ** 3",
            "2 ^ 3",
            "7 // 1",
            "7 % 10",
            "7e0",
            "0x7",
            "1_0 - 3",
            "7;",
            "7,",
            "7, 8",
            "7 or 8",
            "Answer: 7",
            "int(7)",
            "__import__('os')",
            "7 / 0",
            "7 / (3 - 3)",
            "٧",
            "７",
            "1 + 2 * 4",
            "()",
            "(7",
            "7)",
            "()7",
            "7()",
            "(3)(4)",
            "7 * %",
            "%7",
            "3..4",
            "1.2.3",
            "½",
            "7\x00",
            "#### 7",
        ],
    ),
    (
        "(20 - 5) * 2",
        ["30", "20 * 2 - 5 * 2", "2 * (20 - 5)"],
        ["20 - 5 * 2", "10", "(5 - 20) * 2"],
    ),
    (
        "1/3",
        ["1/3", "2/6", "1 / 3", "10/30", "100% / 3", "1 - 2/3"],
        ["0.333", "0.3333333333333333", "33%", "3"],
    ),
    ("1,234.5", ["1234.5", "1,234.5", "2469/2", "1,234 + 0.5"], ["1.2345", "12,34.5", "1 234.5"]),
    ("-5", ["-5", "3 - 8", "-(5)", "0 - 5", "- 5"], ["5", "8 - 3", "(-5"]),
    (0.25, ["1/4", "25%", "0.25", ".25"], ["25", "1/25"]),
    (12, ["12", "3 * 4"], ["34"]),
]


def test_the_table_is_large_and_has_no_error():
    assert count(TABLE) >= 100
    assert disagreements(EXPRESSION, TABLE) == []


def test_values_equal_pythons_own_arithmetic():
    """Random expressions of the grammar, with Python's parser on fractions as the other reading."""
    rng = np.random.default_rng(0)

    def sample(depth):
        if depth == 0 or rng.random() < 0.3:
            return str(rng.integers(100))
        kind = rng.choice(["+", "-", "*", "/", "()", "neg"])
        if kind == "()":
            return f"({sample(depth - 1)})"
        if kind == "neg":
            return f"(-{sample(depth - 1)})"
        return f"{sample(depth - 1)} {kind} {sample(depth - 1)}"

    checked = 0
    for _ in range(1500):
        text = sample(4)
        python = "".join(f"Fraction({t})" if t.isdigit() else t for t in _pieces(text))
        try:
            expected = eval(python)
        except ZeroDivisionError:
            continue
        assert value_of(text) == expected, text
        checked += 1
    assert checked > 1000


def _pieces(text):
    piece = ""
    for c in text:
        if c.isdigit():
            piece += c
        else:
            yield from ([piece] if piece else [])
            piece = ""
            yield c
    yield from ([piece] if piece else [])


def test_no_text_raises_anything_else():
    pieces = [*list("0123456789.,+-*/()% =×÷−\n"), "1,234", "((((", "))))", "é", "½", "²", "�"]
    for text in fuzzed(1, pieces, 10_000, longest=20):
        with contextlib.suppress(NotAnExpression):
            assert isinstance(value_of(text), Fraction)


@pytest.mark.parametrize(
    "text",
    ["9" * 501, "(" * 60 + "1" + ")" * 60, "-" * 60 + "1", "99999*" * 60 + "1", "1/3" + "/7" * 200],
)
def test_size_and_depth_are_bounded(text):
    with pytest.raises(NotAnExpression, match="more than"):
        value_of(text)


@pytest.mark.parametrize("answer", ["", "x", "1/0", None, [1], "1 2", True])
def test_unusable_answers_are_named(answer):
    with pytest.raises(UnusableReference, match="answer"):
        EXPRESSION.read(DataRow(answer, {}, ""))


def test_mistakes_are_expressions_of_every_kind_and_wrong_ones_are_wrong():
    rng = np.random.default_rng(0)
    made = {mistake("(8 - 3) * 2 + 1", rng) for _ in range(300)} - {None}
    assert {"(3 - 8) * 2 + 1", "(8 + 3) * 2 + 1", "8 * 2 + 1", "(8 - 3) * 2"} <= made
    references = ["(8 - 3) * 2 + 1", "2 * 3", "7", "1 - 1"]
    for i in range(4):
        for _ in range(50):
            text = made_wrong(EXPRESSION, references, i, rng)
            assert value_of(text) != value_of(references[i])
