"""Solutions that people and other models wrote, in the form of GSM8K responses."""

import dataclasses
import json
import random
import re
import time

import pytest
from support.data_sets import data_set
from support.fuzzed_answers import TABLE, fuzzed
from support.gsm8k import config, fixture_rows

from boostlm.engine.outside_text import unwrapped
from boostlm.tasks.gsm8k.solutions import solution_of
from boostlm.tasks.gsm8k.source import Row
from boostlm.tasks.gsm8k.task import Gsm8kTask, make_problem
from boostlm.verifiers.number.final_answer import final_answer, is_correct
from boostlm.verifiers.number.plain_text import fold

SHOWN = "Question: What is 1 + 1?\nAnswer: 1 + 1 = 2\n#### 2\n\n"
PROMPT = "Question: Janet has 16 eggs, uses 7 and sells the others at $2. How much?\nAnswer:"
QUESTION = PROMPT.removeprefix("Question: ").removesuffix("\nAnswer:")
STEPS = "16 - 7 = 9\n9 * 2 = 18"
DUE = STEPS + "\n#### 18"
AFTER = "\n\nQuestion: Tom has 4 pens and buys 5. How many?\nAnswer: 4 + 5 = 9\n#### 9"

SAME = [  # what is written, and what is trained on with few-shot examples: DUE
    DUE,
    "16 - 7 = 9\n\n9 * 2 = 18\n\n#### 18",
    "\n\n16 - 7 = 9\n \n\t\n9 * 2 = 18\n\n\n#### 18\n\n",
    "16 - 7 = 9\r\n\r\n9 * 2 = 18\r\n\r\n#### 18",
    "16 − 7 = 9\n\n9 × 2 = 18\n\n#### 18",
    STEPS,
    f"{STEPS}\n\n#### $18.00",
    f"{STEPS}\n\n#### 18 dollars",
    f"{STEPS}\n#### 18\n\nI hope this helps!",
    f"{STEPS}\n#### 18{AFTER}",
    f"{STEPS}{AFTER}",
    f"{STEPS}\n#### 18<|im_end|>",
    f"<think>\n16 - 7 = 8\n\n#### 16\n</think>\n\n{STEPS}\n\n#### 18",
    f"16 - 7 = 8?\n</think>\n{DUE}",
    f"```\n{DUE}\n```",
    f"```text\n{STEPS}\n\n#### 18\n```\n",
    f"{PROMPT} {DUE}",
    f"{SHOWN}{PROMPT}\n{DUE}",
    f"**Question:** {QUESTION}\n\n**Answer:**\n\n{DUE}",
    f"{QUESTION}\n\n{DUE}",
    f"Answer: {DUE}",
    f"**Solution:**\n\n{DUE}",
    f"### Answer:\n{DUE}",
    f"<|im_start|>assistant\n{DUE}<|im_end|>\n",
]
ADDED = {  # the answer is stated in another way, so its line is added
    "The answer is 18.": "18",
    "So she makes $18 a day.": "18",
    "The final answer is $\\boxed{18}$.": "18",
    "**Answer:** 18 dollars": "18",
    "So she makes $1,800.50.": "1800.5",
    "The answer is -3.": "-3",
    "The answer is 1/3.": "1/3",
    "The answer is 2.50.": "2.5",
    "The answer is 12 million.": "12000000",
    "**1. Understand the Problem:**\n\n16 - 7 = 9\n\n**2. Solve:**\n\nIn total, 9 * 2 = 18.": "18",
}
WRONG = [  # no label becomes correct: 18 is due
    "",
    "I do not know.\n\nSorry.",
    "16 - 7 = 9\n\n9 * 2 = 19\n\n#### 19",
    "18\n\n17",
    "The answer is 17.\n\n#### 18",
    "The answer is 18 or 19.\n\nBye.",
    "The answer is not 18.",
    "She has 18",
    "Answer: 16 eggs.\n9 * 2 = 18\n#### 18",  # two answers, the first under a heading
    "<think>#### 18</think>",
    "<think>#### 18",
    f"#### 17\n\n#### 18{AFTER}",
    f"I do not know.{AFTER.replace('9', '18')}",
    PROMPT.replace("16", "18"),
]


@pytest.mark.parametrize("text", SAME)
def test_a_correct_label_is_trained_on_in_the_form_of_the_references(text):
    assert solution_of(text, PROMPT, SHOWN) == DUE
    if SHOWN not in text:
        assert without_space(solution_of(text, PROMPT, "")) == without_space(DUE)
    wrong = text.replace("18", "19")
    assert is_correct(solution_of(wrong, PROMPT, SHOWN), "19")
    assert not is_correct(solution_of(wrong, PROMPT, SHOWN), "18")


def without_space(text):
    return "".join(text.split())


@pytest.mark.parametrize(("text", "number"), ADDED.items())
def test_a_stated_answer_gets_its_line(text, number):
    solution = solution_of(text, PROMPT, SHOWN)
    assert solution.endswith(f"\n#### {number}")
    assert "\n\n" not in solution
    assert solution_of(solution, PROMPT, SHOWN) == solution
    assert "\n\n" in solution_of(text, PROMPT, "") or "\n\n" not in text


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_label_stays_wrong(text):
    for few_shot in ("", SHOWN):
        assert not is_correct(solution_of(text, PROMPT, few_shot), "18")


@pytest.mark.parametrize("case", TABLE[::3], ids=lambda case: case["why"])
def test_a_label_is_judged_as_a_response_is(case):
    for few_shot in ("", SHOWN):
        text = solution_of(case["response"], PROMPT, few_shot)
        if "</think" not in case["response"]:
            assert is_correct(text, case["reference"]) == case["correct"]


def test_the_task_puts_its_prefix_and_examples_around():
    data = dataclasses.replace(config("", 10, 3), few_shot="gsm8k_3shot.txt")
    for loaded in (Gsm8kTask(fixture_rows(), data), Gsm8kTask(fixture_rows(), config("", 10, 3))):
        key = loaded.answer_key("train")
        for i, prompt in enumerate(loaded.prompts["train"].texts):
            label = key.correct_response(i)
            assert loaded.response_of(label, prompt) == fold(label)
            assert loaded.response_of(prompt + label + AFTER, prompt) == fold(label)
            spaced = loaded.response_of(label.replace("\n", "\n\n"), prompt)
            assert key.grade([i], [spaced]).all()
            assert not any(stop in spaced for stop in loaded.stop_strings)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_labels_have_the_same_answer_before_and_after(count):
    rng, seconds = random.Random(7), 0.0
    for _ in range(count):
        text, few_shot = fuzzed(rng), rng.choice(("", SHOWN))
        start = time.process_time()
        solution = solution_of(text, PROMPT, few_shot)
        seconds += time.process_time() - start
        assert final_answer(solution) == final_answer(unwrapped(text, (PROMPT,))), text
    assert seconds < 1e-3 * count


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_reference_is_its_own_form_and_a_changed_number_is_wrong(split):
    lines = (data_set("gsm8k") / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    for row in (Row(**json.loads(line)) for line in lines):
        problem = make_problem(row)
        solution = solution_of(row.answer, problem.prompt, "")
        assert is_correct(solution, problem.reference)
        changed = re.sub(
            r"\d(?=\D*$)", lambda last: str((int(last[0]) + 1) % 10), problem.reference
        )
        assert not is_correct(solution_of(changed, problem.prompt, SHOWN), problem.reference)
