"""The verifier choice: 100 and more cases, judged by hand."""

import numpy as np
import pytest
from support.verifier_cases import count, disagreements, fuzzed

from boostlm.verifiers.base import DataRow, UnusableReference
from boostlm.verifiers.choice import CHOICE, named_options

CAPITALS = ["London", "Paris", "Rome", "Berlin"]
TABLE = [
    (
        "B",
        [
            "B",
            "b",
            " B ",
            "B.",
            "B)",
            "(B)",
            "[B]",
            "(b)",
            "B:",
            "**B**",
            "**B.**",
            "`B`",
            "B\n",
            "B) Paris",
            "B. Paris",
            "(B) Paris",
            "B: Paris",
            "B Paris",
            "Paris",
            "paris.",
            "**Paris**",
            "The answer is B",
            "The answer is B.",
            "The answer is (B).",
            "The answer is (B) Paris.",
            "The answer is Paris.",
            "The correct answer is B",
            "The correct answer is B) Paris.",
            "Answer: B",
            "Answer: (B)",
            "answer: b",
            "ANSWER: B",
            "**Answer: B**",
            "**Answer:** B",
            "Final answer: B",
            "The answer is **B**.",
            r"\boxed{B}",
            r"The answer is \boxed{B}.",
            r"\boxed{(B)}",
            "#### B",
            "Option B",
            "option b",
            "Choice B",
            "The correct option is B.",
            "The correct choice is (B).",
            "France's capital is Paris.\nB",
            "Let me think.\nAnswer: B",
            "It is on the Seine, so the answer is B.",
            "The answer is B because Paris is in France.",
            "The answer is B. London is in England.",
            "B\n\nParis is the capital of France.",
            "Answer: B\nExplanation: A is in England and C in Italy.",
            "The answer would be B.",
            "The answer is: B",
            "The answer must be B",
            "Answer = B",
            "The answer is the city of Paris.",
        ],
        [
            "",
            " ",
            "A",
            "C",
            "D",
            "E",
            "a",
            "(A)",
            "London",
            "B) London",
            "B. Rome",
            "A) Paris",
            "A or B",
            "B or C",
            "A, B",
            "A and B",
            "A/B",
            "The answer is A",
            "The answer is A or B",
            "The answer is B or C.",
            "Answer: A",
            "The answer is B.\nThe answer is C.",
            r"\boxed{A}",
            r"\boxed{B} or \boxed{C}",
            "Not B",
            "The answer is not B",
            "I do not know",
            "Bee",
            "BB",
            "Be careful",
            "Answer: C\nB",
            "The answer is London.",
            "Paris or Rome",
            "All of them",
            "None",
            "The answer is E",
            "1",
            "?",
            "A) London\nB) Paris\nC) Rome\nD) Berlin",
            "Option A",
            "The answer is Paris or Rome.",
            "Parisian",
        ],
    ),
    (1, ["B", "Paris"], ["A", "1"]),
    ("1", ["B"], ["A"]),
    ("Paris", ["B", "Paris"], ["A"]),
    ("(b)", ["B"], ["D"]),
    (0, ["A", "London"], ["B"]),
    ("D", ["D", "Berlin", "The answer is (D) Berlin"], ["B", "The answer is (D) Paris"]),
]
ANIMALS = ["a dog", "a cat", "a dog and a cat", "no animal"]
ARTICLES = [
    (
        "A",
        ["A", "a dog", "A dog", "a", "A) a dog", "The answer is a dog."],
        ["a cat", "b", "no animal"],
    ),
    ("C", ["C", "a dog and a cat", "The answer is C."], ["a dog", "a cat", "A and B"]),
]


def test_the_tables_are_large_and_have_no_error():
    assert count(TABLE) >= 100
    assert disagreements(CHOICE, TABLE, choices=CAPITALS) == []
    assert disagreements(CHOICE, ARTICLES, choices=ANIMALS) == []


PROMPT = "What is the capital of France?\nA) London\n B. Paris\n(C) Rome\n[D] Berlin\nAnswer:"


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": CAPITALS},
        {"choices": tuple(CAPITALS)},
        {"choices": {"text": CAPITALS, "label": ["A", "B", "C", "D"]}},
        {"choices": {"text": CAPITALS, "label": ["1", "2", "3", "4"]}},
        {"choices": [{"label": x, "text": y} for x, y in zip("ABCD", CAPITALS, strict=True)]},
        {"choices": dict(zip("ABCD", CAPITALS, strict=True))},
        {},
    ],
)
def test_options_are_read_in_every_form(fields):
    reference = CHOICE.read(DataRow("B", fields, PROMPT))
    assert (list(reference.options), reference.letter) == (list("ABCD"), "B")
    assert CHOICE.grade([reference] * 3, ["B", "Paris", "Rome"]).tolist() == [True, True, False]


@pytest.mark.parametrize("answer", ["E", "Madrid", 4, -1, "", None, [1]])
def test_an_answer_that_is_no_option_is_refused(answer):
    with pytest.raises(UnusableReference, match="answer"):
        CHOICE.read(DataRow(answer, {"choices": CAPITALS}, ""))


@pytest.mark.parametrize("prompt", ["", "Which?", "A) one", "A) one\nC) three", "B) two\nA) one"])
def test_a_row_without_options_is_refused(prompt):
    with pytest.raises(UnusableReference, match="choices"):
        CHOICE.read(DataRow("A", {}, prompt))


def test_no_text_raises():
    options = CHOICE.read(DataRow("B", {"choices": CAPITALS}, "")).options
    pieces = [
        "A",
        "B",
        "b",
        ")",
        "(",
        ".",
        ":",
        " ",
        "\n",
        "Paris",
        "London",
        "answer",
        " is ",
        "or",
        "\\boxed{",
        "}",
        "#### ",
        "not",
        "*",
        "é",
        "\ud800",
        "Option ",
    ]
    for text in fuzzed(0, pieces, 10_000):
        assert named_options(text, options) <= set("ABCD")


def test_mistakes_are_other_letters():
    reference = CHOICE.read(DataRow("B", {"choices": CAPITALS}, ""))
    rng = np.random.default_rng(0)
    assert {CHOICE.mistake(reference, rng) for _ in range(100)} == set("ACD")
