"""Which headings start an invented problem: none before the first answer, any after it."""

import pytest

from boostlm.verifiers.number.final_answer import final_answer, first_problem

HEADINGS = [
    "**1. Understand the Problem:**",
    "#### 1. Understand the Problem:",
    "#### Understand the Problem:",
    "## Step 1: Restate the Question:",
    "Problem: how much does she make?",
    "To the User:",
    "Dear User:",
    "**Problem:**",
    "### Question:",
    "**Question:** How much does Janet make?",
    "Q: How much?",
    "Question 1: How much does she make?",
    "1. Problem: Janet's eggs.",
    "1. **Question:** what is asked\n2. **Problem:** what is given",
    "**Instruction:** show the steps.",
    "User: how much does she make?\nAssistant:",
    "Human: Janet has 16 eggs. How much does she make?\nAssistant:",
    "Exercise 1:",
    "### Problem Analysis\n**Problem:** Janet",
    "**Key Question:** how much does she make each day?",
    "First, I look at the Problem: 16 eggs a day.",
    "Answer: Let us restate the Question: 16 eggs.",
    "Let's solve this in 3 steps.\n\nProblem: Janet has 16 eggs, how much does she make?",
    "I restate the problem.\n\n**Question:** Janet has 16 eggs, how much does she make?\n\n**Solution:**",
]
WORKING = "Janet has 16 eggs and uses 3 + 4 = 7.\n16 - 7 = 9\n9 * 2 = 18\n\n"
ENDINGS = [
    "#### 18",
    "**Answer:** 18",
    "The answer is 18.",
    "The final answer is $\\boxed{18}$.",
    "**Final Answer to the Question:** 18",
    "So she makes $18 a day.",
]
INVENTED = [
    "\n\nQuestion: Tom has 4 pens and buys 5. How many?\nAnswer: 4 + 5 = 9\n#### 9",
    "\n\n**Problem 2:** Tom has 4 pens and buys 5. How many?\nThe answer is 9.",
    "\n\n### Question:\nTom has 4 pens and buys 5.\n\nSo he has 9 pens.",
    "\nUser: Tom has 4 pens and buys 5. How many?\nAssistant: \\boxed{9}",
    "\n\nNext Problem: What is 4 + 5?\n9",
]


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_heading_before_the_answer_belongs_to_the_solution(heading):
    for ending in ENDINGS:
        for space in ("\n", " "):
            response = heading + space + WORKING + ending
            assert final_answer(response) == 18, response
            wrong = response.replace("18", "19")  # the mutated answer is read, and is not 18
            assert final_answer(wrong) == 19, wrong


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_problem_after_the_answer_is_cut(ending):
    for heading in ("", *HEADINGS):
        for invented in INVENTED:
            response = f"{heading}\n{WORKING}{ending}{invented}"
            assert final_answer(response) == 18, response


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("Understand the Problem: 9 * 2\n#### 18", 18),
        ("9 * 2 = 18\nProblem: now do the next one.\n#### 20", 20),  # 18 was a step
        ("She has 9 eggs.\nQuestion: how many dollars is that?\n9 * 2 = 18\n#### 18", 18),
        ("She has 9 eggs. To the User: we double it.\nThe answer is 18.", 18),
        ("So she earns $18 in total.\n\nQuestion: How many", 18),  # an unfinished second problem
        ("9 * 2 = 18\nProblem: now do the next one.", 18),
        ("I don't know.\n\nQuestion: Tom has 4 pens and buys 5. How many?\n#### 9", None),
        ("It cannot be solved.\n\nQ: Tom has 4 pens and buys 5. How many?\nA: 9", None),
        ("####\n\nProblem: Tom has four pens and buys five. How many?\n#### 9", None),
        ("The answer is 17 or 18.\n\nQuestion: Tom has 4 pens and buys 5.\n#### 9", None),
        ("Answer: 17 or 18\n\nQuestion: Tom has 4 pens and buys 5.\n#### 9", None),
        ("9 * 2 = 18<|im_end|>\n<|im_start|>user\n4 + 5?\n#### 9", 18),
        ("18 Question: What is 4 + 5?\n9", 18),
        ("#### 18.Question: What is 4 + 5?\n#### 9", 18),
        ("#### 18. Problem: Tom has 4 pens.\n#### 4", 18),
        ("2. Problem: 9 * 2\n3. Answer: 18", 18),
    ],
)
def test_what_counts_as_an_answer_before_a_heading(response, value):
    assert final_answer(response) == value


def test_the_first_problem_is_the_text_before_the_invented_one():
    solution = "**Problem:** 9 eggs\n9 × 2 = 18\n#### 18"
    assert first_problem(solution + INVENTED[0]) == "**Problem:** 9 eggs\n9 * 2 = 18\n#### 18\n"
    assert first_problem(solution) == "**Problem:** 9 eggs\n9 * 2 = 18\n#### 18"
    assert first_problem("#### 18\n1. Problem: more\n#### 9") == "#### 18"
    assert first_problem("<think>Problem: 17</think>#### 18<|im_end|>9") == "#### 18"
