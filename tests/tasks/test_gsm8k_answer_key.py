"""GSM8K: the answer key grades responses and makes wrong ones."""

import re

import numpy as np
import pytest
from support.gsm8k import references, task

from boostlm.config import SPLITS
from boostlm.tasks.gsm8k import task as gsm8k
from boostlm.verifiers.number.final_answer import is_correct
from boostlm.verifiers.number.slips import slip


@pytest.mark.parametrize("split", SPLITS)
def test_correct_responses_pass_and_wrong_responses_fail(split):
    loaded = task(train=37, evaluated=12)
    key = loaded.answer_key(split)
    ids = list(range(len(loaded.prompts[split].texts)))
    rng = np.random.default_rng(0)
    for _ in range(10):
        verdict = key.grade(ids, [key.correct_response(i, rng) for i in ids])
        assert verdict.dtype == bool
        assert verdict.tolist() == [True] * len(ids)
        assert key.grade(ids, [key.wrong_response(i, rng) for i in ids]).tolist() == [False] * len(
            ids
        )


def test_prompt_ids_may_repeat_in_any_order():
    key = task(train=37).answer_key("train")
    results = [text.splitlines()[-1] for text in references(task(train=37), "train")]
    i, j = 3, next(j for j in range(37) if results[j] != results[3])
    texts = [key.correct_response(i), key.correct_response(j), key.correct_response(i)]
    assert key.grade([i, i, j], texts).tolist() == [True, False, False]
    assert key.grade([], []).shape == (0,)


def test_grade_rejects_unequal_lengths_and_unknown_prompts():
    key = task().answer_key("train")
    with pytest.raises(ValueError, match="shorter"):
        key.grade([0, 1], [key.correct_response(0)])
    for bad in (-1, 10):
        with pytest.raises(IndexError):
            key.grade([bad], [""])
        with pytest.raises(IndexError):
            key.correct_response(bad)


def test_wrong_responses_are_plausible():
    loaded = task(train=37)
    key = loaded.answer_key("train")
    known = references(loaded, "train")
    rng = np.random.default_rng(0)
    borrowed, slips = 0, 0
    for _ in range(200):
        i = int(rng.integers(37))
        text = key.wrong_response(i, rng)
        if text in known:
            borrowed += 1
            continue
        slips += 1
        ours, right = text.split("\n"), known[i].split("\n")
        assert len(ours) == len(right)
        assert 1 <= sum(a != b for a, b in zip(ours, right, strict=True)) <= 2
    assert borrowed > 60
    assert slips > 60


def test_wrong_responses_draw_only_from_the_given_generator():
    key = task().answer_key("train")
    generators = [np.random.default_rng(seed) for seed in (0, 0, 1)]
    draws = [[key.wrong_response(i % 10, rng) for i in range(50)] for rng in generators]
    assert draws[0] == draws[1] != draws[2]


def test_wrong_responses_with_one_prompt_or_equal_answers():
    rng = np.random.default_rng(0)
    for count in (1, 2):
        key = gsm8k.Gsm8kAnswerKey(["It is 4.\n#### 4"] * count)
        assert not key.grade([0] * 50, [key.wrong_response(0, rng) for _ in range(50)]).any()


def test_wrong_response_gives_up_if_is_correct_is_broken(monkeypatch):
    monkeypatch.setattr(gsm8k, "is_correct", lambda response, reference: True)
    with pytest.raises(RuntimeError, match="prompt 0"):
        task().answer_key("train").wrong_response(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("reference", "unchanged"),
    [
        ("24*45 = 1080, so 1080 seats.\n#### 1,080", "24*45 = 1080, so "),
        ("10-8.25 = $1.75 back.\n#### 1.75", "10-8.25 = $"),
        ("4-11 = -7 degrees.\n#### -7", "4-11 = -"),
        ("3+1 = 4, and 4 it is not 14.\n#### 4", "3+1 = 4, and "),
    ],
)
def test_slip_changes_the_last_statement_of_the_result(reference, unchanged):
    result = reference.rpartition("#### ")[2]
    for seed in range(30):
        text = slip(reference, np.random.default_rng(seed))
        assert text.startswith(unchanged)
        wrong = text.rpartition("#### ")[2]
        assert wrong != result
        assert wrong.startswith("-") == result.startswith("-")
        assert wrong.partition(".")[2][1:] == result.partition(".")[2][1:]
        assert ("," in wrong) == (abs(float(wrong.replace(",", ""))) >= 1000)
        stated = wrong.replace(",", "").removeprefix("-")
        assert text.splitlines()[0][len(unchanged) :].startswith(stated)
        size = abs(float(result.replace(",", "")))
        assert 1 <= abs(float(stated) - size) <= max(3, size / 10)


def test_slip_keeps_the_number_format():
    for stated, result, pattern in [
        ("$10.00", "10", r"\$\d+\.00\.\n#### \d+"),
        ("10", "10.00", r"\d+\.\n#### \d+\.00"),
        ("$2,500.00", "2500", r"\$\d,\d{3}\.00\.\n#### \d{4}"),
    ]:
        for seed in range(5):
            text = slip(f"{stated}.\n#### {result}", np.random.default_rng(seed))
            assert re.fullmatch(pattern, text), text


def test_slip_if_the_result_is_in_words():
    text = slip("One more than six.\n#### 7", np.random.default_rng(0))
    assert text.startswith("One more than six.\n#### ")
    assert not is_correct(text, "#### 7")
