"""The verifier regex: 100 and more cases, judged by hand."""

import time

import numpy as np
import pytest
from support.verifier_cases import count, disagreements, fuzzed

from boostlm.errors import BoostError
from boostlm.verifiers.base import DataRow, UnusableReference, made_wrong
from boostlm.verifiers.regex import REGEX

TABLE = [
    (
        r"yes|no",
        ["yes", "no", " yes ", "no\n"],
        ["", "Yes", "yes.", "maybe", "yesno", "yes no", "n"],
    ),
    (r"(?i)yes\.?", ["yes", "YES", "Yes.", "yEs."], ["yes!", "yes..", "ye", "y", "no", "yes no"]),
    (
        r"\d{4}-\d{2}-\d{2}",
        ["2024-02-29", "0000-00-00", "1999-12-31"],
        [
            "2024-2-29",
            "24-02-29",
            "2024/02/29",
            "2024-02-29T00",
            "on 2024-02-29",
            "2024-02-290",
            "",
        ],
    ),
    (
        r"[A-Z][a-z]+",
        ["Paris", "Rome", "Ab"],
        ["paris", "PARIS", "P", "Paris.", "New York", "Pa1s"],
    ),
    (r"(\w+) \1", ["a a", "the the", "12 12"], ["a b", "a  a", "a a a", "a", "aa"]),
    (r".*\b42\b.*", ["42", "it is 42", "42 it is", "(42)", "a 42 b"], ["420", "142", "4 2", ""]),
    (r"(?s).*\b42", ["so:\n42", "42", "line\nline\n 42"], ["42\nno", "x42", "42."]),
    (r"a*b+", ["b", "ab", "aabbb", "bb"], ["a", "ba", "aab a", "", "B"]),
    (r"(?:ha){2,3}", ["haha", "hahaha"], ["ha", "hahahaha", "hah", "HAHA"]),
    (r"[+-]?\d+(\.\d+)?", ["1", "-1", "+2.5", "10.00"], ["1.", ".5", "--1", "1e5", "1,000", "a"]),
    (
        r"\(\d+, ?\d+\)",
        ["(1,2)", "(1, 2)", "(10, 20)"],
        ["(1 ,2)", "1,2", "(1,2", "(1;2)", "(1,  2)"],
    ),
    (r"colou?r", ["color", "colour"], ["colouur", "colr", "Color", "color s"]),
    (r"[^aeiou\s]+", ["xyz", "rhythm", "123"], ["a", "xay", "x y", ""]),
    (r"\$\d+(?:,\d{3})*", ["$5", "$1,000", "$12,345,678"], ["5", "$", "$1,00", "$5.00", "€5"]),
    (
        r"SELECT\s+\*\s+FROM\s+t;?",
        ["SELECT * FROM t", "SELECT  *\nFROM t;"],
        ["select * from t", "SELECT * FROM tt", "SELECT*FROM t"],
    ),
    (7, ["7"], ["77", "8"]),
]


def test_the_table_is_large_and_has_no_error():
    assert count(TABLE) >= 100
    assert disagreements(REGEX, TABLE) == []


@pytest.mark.parametrize("answer", ["(", "[a", "*", "a{2", "(?P<x>a)(?P=y)", ""])
def test_what_is_no_pattern_is_refused(answer):
    if answer == "a{2":
        assert REGEX.read(DataRow(answer, {}, "")) == answer  # a literal brace, as in Python
        return
    with pytest.raises(UnusableReference, match=r"pattern|answer"):
        REGEX.read(DataRow(answer, {}, ""))


@pytest.mark.slow
def test_a_match_that_would_take_for_ever_ends():
    began = time.monotonic()
    assert REGEX.grade([r"(a|a|b?a)*c"], ["a" * 60]).tolist() == [False]
    assert time.monotonic() - began < 5


def test_right_responses_match_and_wrong_ones_do_not():
    rng = np.random.default_rng(0)
    patterns = [str(answer) for answer, *_ in TABLE]
    for i, pattern in enumerate(patterns):
        for _ in range(10):
            assert REGEX.grade([pattern], [REGEX.right(pattern, rng)])[0], pattern
            assert not REGEX.grade([pattern], [made_wrong(REGEX, patterns, i, rng)])[0], pattern


def test_a_pattern_without_an_example_is_an_error_that_names_it():
    with pytest.raises(BoostError, match="no text that the pattern"):
        REGEX.right(r"(?!x)x", np.random.default_rng(0))


def test_no_text_raises():
    pieces = ["a", "1", " ", "\n", "yes", "42", "(", "\\", "é", "\ud800", "\x00"]
    for text in fuzzed(0, pieces, 2_000):
        REGEX.grade([pattern for pattern, *_ in TABLE[:-1]], [text] * (len(TABLE) - 1))
