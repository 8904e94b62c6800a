"""The verifier text: 100 and more cases, judged by hand."""

import numpy as np
import pytest
from support.verifier_cases import count, disagreements, fuzzed

from boostlm.verifiers.base import DataRow, UnusableReference
from boostlm.verifiers.text import TEXT, normalised

TABLE = [
    (
        "Paris",
        [
            "Paris",
            "paris",
            "PARIS",
            " Paris ",
            "Paris.",
            "Paris!",
            '"Paris"',
            "'Paris'",
            "“Paris”",
            "‘Paris’",
            "**Paris**",
            "*Paris*",
            "_Paris_",
            "`Paris`",
            "(Paris)",
            "[Paris]",
            "{Paris}",
            "The answer is Paris",
            "The answer is Paris.",
            "The answer is: Paris",
            "the answer: Paris",
            "Answer: Paris",
            "answer: paris",
            "Final answer: Paris",
            "The final answer is **Paris**.",
            "So the answer is Paris.",
            "Thus, the answer is Paris",
            "Therefore the answer is Paris!",
            "My answer is Paris",
            "The correct answer is Paris",
            "Paris\n",
            "\n\nParis",
            "Paris,",
            "Paris;",
            "Ｐａｒｉｓ",
            "The answer would be Paris",
            "answer = Paris",
            "**Answer:** Paris",
        ],
        [
            "",
            " ",
            "Pari",
            "Pariss",
            "Paris France",
            "London",
            "Paris or London",
            "Paris, London",
            "not Paris",
            "It is not Paris",
            "The answer is not Paris",
            "I think Paris",
            "Paris?",
            "P aris",
            "Par is",
            "Paris is the capital",
            "The answer is London",
            "Answer:",
            ".",
            "The",
            "Paris-Nord",
            "¿Paris",
            "The answer is Paris or London",
            "Is it Paris",
            "parís",
        ],
    ),
    (
        "the Eiffel Tower",
        [
            "Eiffel Tower",
            "The Eiffel Tower",
            "the eiffel tower.",
            "An Eiffel Tower",
            "Eiffel  Tower",
            "eiffel\ntower",
            "The answer is the Eiffel Tower.",
        ],
        ["Eiffel", "Tower", "Eiffel-Tower", "EiffelTower", "Tower Eiffel", "Eiffel the Tower"],
    ),
    ("3.5", ["3.5", " 3.5.", "The answer is 3.5", "(3.5)"], ["35", "3,5", "3.50", "3 .5", "-3.5"]),
    (42, ["42", "42.", "The answer is 42"], ["42.0", "forty-two", "4 2", "142"]),
    (42.0, ["42"], ["42.0"]),
    ("U.S.", ["U.S.", "u.s", "the U.S."], ["us", "US", "U. S."]),
    ("A", ["A", "a", "(a)", "a."], ["b", "an", "aa"]),
    ("don't", ["don't", "don’t", "Don‘t"], ["dont", "do not"]),
    ("x - y", ["x - y", "x – y", "x − y", "X — Y"], ["x y", "xy", "x-y"]),
    ("Straße", ["straße", "STRASSE", "Strasse"], ["Strase", "Str."]),
    ("f(x)", ["f(x)", "F(x)", "(f(x))"], ["f(x", "fx"]),
    ("café", ["café", "CAFÉ", "cafe\u0301"], ["cafe"]),
    (
        ["New York", "NYC", "New York City"],
        ["new york", "NYC", "New York City.", "the NYC"],
        ["York", "New York, NYC", "NY"],
    ),
]


def test_the_table_is_large_and_has_no_error():
    assert count(TABLE) >= 100
    assert disagreements(TEXT, TABLE) == []


def test_normalised_is_stable():
    pieces = list(" \n\t.,:;!'\"`*_()[]{}aAtheans wer is:=-not3\u0301ßＰ“”")
    for text in fuzzed(0, [*pieces, "the ", "answer is ", "Answer: "], 10_000):
        once = normalised(text)
        assert normalised(once) == once


@pytest.mark.parametrize("answer", ["", " ", None, [], [""], {"a": 1}, True, "...", float("nan")])
def test_answers_that_say_nothing_are_refused(answer):
    with pytest.raises(UnusableReference, match="answer"):
        TEXT.read(DataRow(answer, {}, ""))


def test_a_mistake_is_another_text():
    rng = np.random.default_rng(0)
    for answer in ("Paris", "the U.S.", "3.5", "ab"):
        reference = TEXT.read(DataRow(answer, {}, ""))
        mistakes = [TEXT.mistake(reference, rng) for _ in range(20)]
        assert not TEXT.grade([reference] * 20, [text or "" for text in mistakes]).all()
    assert TEXT.mistake(("7",), rng) is None
