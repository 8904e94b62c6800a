"""The final-answer verifier: a hand-labelled table, fuzzing, properties, and the GSM8K files."""

import json
import random
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from support.data_sets import data_set
from support.fuzzed_answers import TABLE, fuzzed

from boostlm.verifiers.number.final_answer import final_answer, is_correct
from boostlm.verifiers.number.numbers import parse_number

FUZZED = 100_000
BATCH = 1000

# --- the table ---


def test_table_is_large_and_mixed():
    keys = {(case["response"], case["reference"]) for case in TABLE}
    assert len(keys) == len(TABLE) >= 320
    assert sum(not case["correct"] for case in TABLE) >= 0.4 * len(TABLE)


def test_table_has_no_errors():
    wrong = [c for c in TABLE if is_correct(c["response"], c["reference"]) is not c["correct"]]
    assert not wrong, f"{len(wrong)} of {len(TABLE)}:\n" + "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", "18"), ("18.", "18"), (" $1,234,567.50 ", "1234567.5"), ("−5", "-5"), ("-$5", "-5"),
        ("$-5", "-5"), ("+18", "18"), (".5", "1/2"), ("3/4", "3/4"), ("1 1/2", "3/2"), ("½", "1/2"),
        ("2¾", "11/4"), (r"\frac{1}{2}", "1/2"), (r"-\dfrac{3}{4}", "-3/4"), ("18%", "18"),
        ("18\\%", "18"), ("**18**", "18"), ("$18$", "18"), ("１８", "18"), ("1 234 567", "1234567"),
        ("(5)", "5"), ("36/2", "18"), ("٢,٣٤٥", "2345"), ("3 / 4", "3/4"), ("0", "0"), ("9" * 200, "9" * 200),
    ],
)  # fmt: skip
def test_parse_number_reads(text, value):
    assert parse_number(text) == Fraction(value)
    assert isinstance(parse_number(text), Fraction)


@pytest.mark.parametrize(
    "text",
    ["", " ", "$", "-", "18e3", "1,8", "18.0.1", "1.234,50", "10-12", "5:30", "18x", "x18", "3/0",
     "1/2/3", "1 3/2", "--5", "±5", "18 19", "18 or 19", "18 eggs", "18²", "0x12", "1_000", "18?",
     "0.333...", "NaN", "inf", "#### 18", "9" * 201, "9" * 100_000],
)  # fmt: skip
def test_parse_number_rejects(text):
    assert parse_number(text) is None


def test_the_first_complete_answer_counts():
    solution = "9 * 2 = 18\n#### 18"
    assert final_answer(solution + "\n\nQuestion: 2 + 3?\nAnswer: 5\n#### 5") == 18
    assert final_answer(solution + "\n#### 19") == 18
    assert final_answer("17\n" + solution) is None
    assert final_answer("The answer is 17.\n" + solution) is None
    assert final_answer("She has 17 eggs left.\n" + solution) == 18


def test_a_last_sentence_that_is_too_long_is_not_parsed():
    assert final_answer("There are " + "very " * 90 + "many, that is 18 pens.") is None
    assert final_answer("There are " + "very " * 90 + "many. That is 18 pens.") == 18


@pytest.mark.parametrize(
    "reference", ["", "eighteen eggs", "#### ", "18 #### x", "1,8", "#### 18 or 19"]
)
def test_a_bad_reference_is_named(reference):
    with pytest.raises(ValueError) as error:
        is_correct("#### 18", reference)
    assert repr(reference) in str(error.value)


# --- fuzzing ---


@pytest.mark.parametrize("count", [FUZZED // 20, pytest.param(FUZZED, marks=pytest.mark.slow)])
def test_fuzzed_strings_raise_no_error_and_are_fast(count):
    rng, slowest, total = random.Random(0), 0.0, 0.0
    for _ in range(count // BATCH):
        texts = [fuzzed(rng) for _ in range(BATCH)]
        start = time.process_time()
        values = [final_answer(text) for text in texts]
        elapsed = (time.process_time() - start) / BATCH
        slowest, total = max(slowest, elapsed), total + elapsed
        assert all(value is None or type(value) is Fraction for value in values)
        for text in texts[:50]:
            assert parse_number(text) is None or type(parse_number(text)) is Fraction
    mean = total * BATCH / count
    print(f"mean {1e6 * mean:.0f} µs a string, slowest batch {1e6 * slowest:.0f} µs a string")
    assert mean < 100 / FUZZED  # 100 s for all of them, on a slow machine


@pytest.mark.parametrize("text", [c["response"] for c in TABLE[::80]] + ["", "a", "\ud800", "\x02"])
def test_any_character_may_stand_anywhere(text):
    for code in [*range(0x3000), *range(0xFE00, 0x10000), *range(0x1D7C0, 0x1D800), 0x10FFFF]:
        if code % 16 == len(text) % 16:
            final_answer(chr(code) + text + chr(code))


REPEATED = [
    "a", "1", " ", "\n", "1 ", "1\n", "1,", "1,111", "1.", "1/", "1 1/1", "1 and ", "-", "+-", "*", "**", "_",
    "=", "1=", "x=1\n", "#### ", "####1", "\\boxed{", "\\boxed{{}", "{", "{}", "\\frac{", "\\frac{1}{", "\\",
    "<<", "<<1", "</", "<|a", "the answer is ", "The answer is 1 ", "answer: 1\n", "answer (", "the final ",
    "is the answer ", "a, how?\n\n", "a, a a a a how ", "½", "\u200b", "hope ", "1. a\n", "1\n+1\n--\n", "an ",
    "1 000 ", "\x02", "\x021\x03", "<answer>", "and half ",
]  # fmt: skip


def _seconds(text):
    start = time.process_time()
    final_answer(text)
    parse_number(text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", REPEATED)
def test_time_is_linear_in_the_length(unit):
    """Ten times the length takes about ten times as long; quadratic time would take 100 times."""
    short = min(_seconds(unit * (1500 // len(unit))) for _ in range(3))
    long = min(_seconds(unit * (15_000 // len(unit))) for _ in range(3))
    assert long < 40 * max(short, 1e-3)


# --- properties ---


def _grouped(integer):
    return f"{integer:,}"


def _number_spellings(value):
    """Correct ways to write a fraction whose denominator divides 100."""
    sign, size = "-" if value < 0 else "", abs(value)
    whole, rest = divmod(size, 1)
    decimal = f"{Decimal(size.numerator) / Decimal(size.denominator):f}"
    fixed = f"{Decimal(size.numerator) / Decimal(size.denominator):.2f}"
    digits, _, cents = fixed.partition(".")
    texts = [
        sign + decimal,
        sign + fixed,
        f"{sign}{_grouped(int(digits))}.{cents}",
        sign + decimal + "0" * ("." in decimal),
    ]
    texts += [f"{sign}${decimal}", f"−{decimal}" if sign else f"+{decimal}", sign + decimal + "%"]
    if rest:
        texts += [f"{sign}\\frac{{{size.numerator}}}{{{size.denominator}}}"]
        texts += [f"{sign}{size}", f"{sign}{2 * size.numerator}/{2 * size.denominator}"]
        texts += (
            [
                f"{sign}{whole} {rest}",
                f"{sign}{whole}\\dfrac{{{rest.numerator}}}{{{rest.denominator}}}",
            ]
            if whole
            else []
        )
    else:
        texts += [sign + _grouped(int(whole)), sign + _grouped(int(whole)).replace(",", " ")]
        texts += [decimal.translate({48 + i: 0xFF10 + i for i in range(10)})] if not sign else []
    return texts


TEMPLATES = [
    "#### {}", "#### {}.", "9 + 9 is some number.\n#### {}", "\\boxed{{{}}}", "So $\\boxed{{{}}}$ is left.",
    "The answer is {}", "The answer is {}.", "The final answer is: **{}**", "Answer: {}", "**Answer:** {}", "{}",
    "**{}**", "The answer is x = {}", "The answer is {} because it fits.", "So she earns {} in total.",
    "#### {}\n\nQuestion: What is 400 + 5?\n#### 405", "#### {} dollars", "The answer is {} eggs.",
]  # fmt: skip


def _random_value(rng):
    denominator = rng.choice((1, 1, 1, 2, 4, 5, 10, 20, 25, 100))
    return Fraction(rng.randint(-(10 ** rng.randint(1, 7)), 10 ** rng.randint(1, 7)), denominator)


def test_every_spelling_of_a_value_is_correct_and_no_other_value_is():
    rng, failed = random.Random(1), []
    for _ in range(150):
        value, other = _random_value(rng), _random_value(rng)
        for spelling in _number_spellings(value):
            response = rng.choice(TEMPLATES).format(spelling)
            right, wrong = is_correct(response, str(value)), is_correct(response, str(other))
            negated = value != 0 and is_correct(response, str(-value))
            if not right or wrong != (value == other) or negated:
                failed.append((response, str(value), str(other)))
    assert not failed, failed


def test_exactness_is_not_lost_in_floating_point():
    rng = random.Random(2)
    for _ in range(200):
        text = str(Decimal(rng.randint(1, 10**30)).scaleb(-rng.randint(1, 29)))
        if "E" not in text:
            assert final_answer(f"#### {text}") == Fraction(text)
            assert not is_correct(f"#### {text}1", text)


def test_two_different_stated_answers_are_never_correct():
    rng = random.Random(3)
    stated = [
        "{}",
        "**{}**",
        "The answer is {}.",
        "Answer: {}",
        "\\boxed{{{}}}",
        "So {} is the answer.",
    ]
    for _ in range(300):
        first, second = rng.sample(range(-50, 5000), 2)
        response = "\n".join(
            rng.choice(texts).format(n)
            for texts, n in ((stated, first), ([*stated, "#### {}"], second))
        )
        assert final_answer(response) is None, response


# --- GSM8K ---


def _gsm8k(split):
    lines = (data_set("gsm8k") / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("train", 7473), ("test", 1319)])
def test_every_gsm8k_reference_is_correct(split, count):
    answers = _gsm8k(split)
    assert len(answers) == count
    wrong = [answer for answer in answers if not is_correct(answer, answer)]
    assert not wrong, wrong[:5]


def test_another_problems_gsm8k_reference_is_correct_only_if_the_numbers_are_equal():
    answers = random.Random(4).sample(_gsm8k("train"), 2500)
    for answer, other in zip(answers, answers[1:] + answers[:1]):
        numbers = [text.rpartition("####")[2].replace(",", "") for text in (answer, other)]
        assert is_correct(answer, other) == (int(numbers[0]) == int(numbers[1]))


def test_gsm8k_solutions_without_their_marker_are_rarely_misparsed():
    """The last sentence alone usually gives the reference and rarely another value."""
    right = misread = 0
    answers = _gsm8k("test")
    for answer in answers:
        value = final_answer(answer.rpartition("####")[0])
        right += value == parse_number(answer.rpartition("####")[2])
        misread += value not in (None, parse_number(answer.rpartition("####")[2]))
    assert right > 0.9 * len(answers)
    assert misread < 0.02 * len(answers)
