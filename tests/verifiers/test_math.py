"""The verifier math: 100 and more cases, judged by hand, and a worker that hangs or dies."""

import os
import signal
import time

import numpy as np
import pytest
from support.verifier_cases import count, disagreements, fuzzed

from boostlm.verifiers import math_answer
from boostlm.verifiers.base import DataRow, UnusableReference, made_wrong
from boostlm.verifiers.math_answer import MATH

pytestmark = pytest.mark.slow  # SymPy takes seconds to import

TABLE = [
    (
        "1/2",
        [
            "1/2",
            r"\frac{1}{2}",
            r"$\frac12$",
            "0.5",
            r"\boxed{\frac{1}{2}}",
            "The answer is 1/2.",
            r"The answer is $\boxed{0.5}$.",
            r"$\dfrac{1}{2}$",
            r"$\tfrac 1 2$",
            "$0.50$",
            "2/4",
            r"$x = \frac{1}{2}$",
            r"So $\boxed{\frac{2}{4}}$",
            ".5",
            r"\(\frac{1}{2}\)",
            r"\[\boxed{\frac{1}{2}}\]",
            "$1/2$",
            r"$2^{-1}$",
            r"$\frac{\sqrt{4}}{4}$",
            "0.5.",
            r"$\boxed{50\%}$",
        ],
        [
            "",
            "2",
            "1",
            "0.25",
            "-1/2",
            r"\frac{1}{3}",
            r"\boxed{2}",
            "no idea",
            "1/3",
            r"$\frac{2}{1}$",
            r"The answer is $\boxed{\frac{1}{4}}$.",
            "half",
            r"$\sqrt{2}$",
            "12",
        ],
    ),
    (
        r"$x^2+1$",
        ["$x^2+1$", "$1+x^2$", "x^2+1", r"$x \cdot x + 1$", r"$\boxed{x^{2}+1}$"],
        ["$x^2$", "$x^2-1$", "$y^2+1$", "$2x+1$"],
    ),
    (
        r"\sqrt{8}",
        [r"$\sqrt{8}$", r"$2\sqrt{2}$", r"$\sqrt 8$", r"$2 \cdot \sqrt{2}$", r"$8^{1/2}$"],
        [r"$\sqrt{2}$", r"$4\sqrt{2}$", "$8$", "$-2\\sqrt{2}$"],
    ),
    (r"\pi", [r"$\pi$", r"\pi", r"$\boxed{\pi}$"], ["3.14", r"$2\pi$", "$3$", "pie"]),
    (
        "(1, 2)",
        ["$(1, 2)$", "(1,2)", "$(1,2)$", r"$\left(1, 2\right)$", r"$\boxed{(1,2)}$"],
        ["$(2, 1)$", "$(1, 3)$", "$1$", "$(1,2,3)$"],
    ),
    (
        r"\{1, 2, 3\}",
        [r"$\{1,2,3\}$", r"$\{3, 2, 1\}$", r"$\left\{1,2,3\right\}$"],
        [r"$\{1, 2\}$", r"$\{1,2,4\}$", "$123$"],
    ),
    ("[0, 1)", ["$[0,1)$", r"$\left[0, 1\right)$"], ["$[0,1]$", "$(0,1)$", "$[0,2)$"]),
    (
        "42",
        [
            "42",
            "$42$",
            "42.0",
            "The answer is 42",
            "so it is $42$",
            r"\boxed{42}",
            "$6 \\cdot 7$",
            "42.",
            "x = 42",
            "$x=42$",
            "First 41, then 42",
        ],
        ["41", "24", "4.2", "420", "-42", "forty-two", "$42x$", "42 then 43"],
    ),
    ("-3", ["-3", "$-3$", r"\boxed{-3}", "$3-6$"], ["3", "$3$", "-30", r"\boxed{3}"]),
    ("1,000", ["1000", "1,000", "$1000$", "$10^3$", r"$1{,}000$"], ["1", "100", "$10^4$", "1.0"]),
    ("10%", ["10%", r"$10\%$", "0.1", r"$\frac{1}{10}$"], ["1%", "100%"]),
    (
        r"\frac{\pi}{4}",
        [r"$\frac{\pi}{4}$", r"$\pi/4$", r"$0.25\pi$"],
        [r"$\frac{4}{\pi}$", r"$\pi$"],
    ),
    ("2^{10}", ["1024", "$2^{10}$", "$4^5$"], ["210", "$2^9$", "$10^2$"]),
    (
        r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
        [r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix}$", r"$\begin{bmatrix} 1 \\ 2 \end{bmatrix}$"],
        [r"$\begin{pmatrix} 2 \\ 1 \end{pmatrix}$", r"$\begin{pmatrix} 1 & 2 \end{pmatrix}$"],
    ),
    (7, ["7", r"\frac{14}{2}"], ["8"]),
]


def test_the_table_is_large_and_has_no_error():
    assert count(TABLE) >= 100
    assert disagreements(MATH, TABLE) == []


@pytest.mark.parametrize("answer", ["", "no idea", None, [1], True])
def test_unusable_answers_are_named(answer):
    with pytest.raises(UnusableReference, match="answer"):
        MATH.read(DataRow(answer, {}, ""))


def test_a_comparison_that_takes_too_long_is_wrong_and_the_next_one_works(monkeypatch):
    assert MATH.grade(["2"], ["2"]).tolist() == [True]
    monkeypatch.setattr(math_answer, "SECONDS", 0.5)
    began = time.monotonic()
    slow = "$" + "9^{" * 5 + "9" + "}" * 5 + "$"
    verdicts = MATH.grade(["1", "1"], [slow, f"{slow[:-1]}+1$"])
    assert verdicts.tolist() == [False, False]
    assert time.monotonic() - began < 60
    assert MATH.grade(["2", "3"], ["2", "2"]).tolist() == [True, False]


def test_a_worker_that_was_killed_is_started_again():
    assert MATH.grade(["2"], ["2"]).tolist() == [True]
    os.kill(math_answer._worker()._process.pid, signal.SIGKILL)
    assert MATH.grade(["4"], ["4"]).tolist() == [True]


def test_no_text_raises():
    pieces = [
        "$",
        "\\frac",
        "{",
        "}",
        "1",
        "x",
        "+",
        "^",
        "\\boxed{",
        "\\sqrt",
        " ",
        "\n",
        "é",
        "\ud800",
        "=",
        "(",
        ")",
        ",",
        "\x00",
    ]
    texts = fuzzed(0, pieces, 300)
    assert len(MATH.grade(["1"] * 300, texts)) == 300


def test_mistakes_are_wrong():
    rng = np.random.default_rng(0)
    references = ["1/2", r"\sqrt{8}", "42", r"\pi"]
    for i in range(4):
        for _ in range(5):
            text = made_wrong(MATH, references, i, rng)
            assert not MATH.grade([references[i]], [text])[0]
