"""Programs that people and other models wrote, in the form of MBPP responses."""

import random
import time

import pytest
from support.mbpp_fixtures import fixture_records
from support.sandbox_kit import need_sandbox

from boostlm.config import DataConfig
from boostlm.tasks.mbpp.check import MbppProblem
from boostlm.tasks.mbpp.programs import program_of
from boostlm.tasks.mbpp.source import OFFICIAL_SPLITS
from boostlm.tasks.mbpp.task import MbppTask, mbpp_prompt

SHOWN = (
    "You are an expert Python programmer, and here is your task: Double it. Your code should pass "
    "these tests:\n\nassert double(2) == 4\n[BEGIN]\ndef double(x):\n    return 2 * x\n[DONE]\n\n"
)
PROBLEM = MbppProblem(
    601, "Triple it.", "", "", ("assert triple(2) == 6", "assert triple(5) == 15")
)
PROMPT = mbpp_prompt(PROBLEM)
CODE = "def triple(x):\n    return 3 * x\n"
BAD = "def triple(x):\n    return x\n"
INDENTED = "".join(f"    {line}\n" for line in CODE.splitlines())

SAME = {  # what is written for CODE
    "bare": CODE,
    "CRLF": CODE.replace("\n", "\r\n"),
    "BOM": "\ufeff" + CODE,
    "spaces": f"\n\n{CODE.replace('x):', 'x):  ')}\n\n",
    "fence": f"```python\n{CODE}```",
    "fence without a language": f"```\n{CODE}```",
    "fence of another kind": f"~~~ py\n{CODE}~~~",
    "fence with attributes": f"```{{.python}}\n{CODE}```",
    "open fence": f"Sure:\n```python\n{CODE}",
    "prose around a fence": f"Here it is:\n\n```python\n{CODE}```\n\nIt's three times `x`.",
    "fence in a list": "1. Write:\n   ```python\n   "
    + CODE.replace("\n", "\n   ")
    + "```\n2. Run.",
    "prose": f"Here is the function:\n\n{CODE}\nThis works because it's a product.",
    "one word after it": f"{CODE}\nDone",
    "a note": f"Solution\n{CODE}\nNote: tested",
    "headings": f"### Solution\n\n{CODE}\n### Explanation\n\nA product.",
    "indented": f"Use this:\n\n{INDENTED}\nBye.",
    "BEGIN": f"[BEGIN]\n{CODE}[DONE]",
    "BEGIN and a fence": f"[BEGIN]\n```python\n{CODE}```\n[DONE]",
    "PYTHON": f"[PYTHON]\n{CODE}[/PYTHON]",
    "tags": f"<code>\n{CODE}</code>",
    "answer tag": f"It is a product.\n<answer>\n{CODE}</answer>",
    "thoughts": f"<think>\n{BAD}```python\n{BAD}```\n</think>\n\n{CODE}",
    "thoughts and a fence": f"<think>Hm.</think>\n```python\n{CODE}```",
    "thoughts without a start": f"{BAD}</think>\n{CODE}",
    "channels": f"<|channel|>analysis<|message|>{BAD}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{CODE}<|return|>",
    "prompt": PROMPT + CODE + "[DONE]",
    "prompt with examples": SHOWN + PROMPT + CODE + "[DONE]",
    "next problem": f"{CODE}[DONE]\n\n{SHOWN}",
    "next attempt": f"{CODE}[DONE]\n\n[BEGIN]\n{BAD}[DONE]",
    "draft": f"First:\n```python\n{BAD}```\nBetter:\n```python\n{CODE}```",
    "usage": f"```python\n{CODE}```\nUsage:\n```python\nprint(triple(2))\n```\nOutput:\n```\n6\n```",
}
OTHER = {  # other programs, kept as they are
    "import": "import math\n\n\ndef triple(x):\n    return math.prod((3, x))\n",
    "lambda": "triple = lambda x: 3 * x\n",
    "helper": "THREE, TWO = 3, 2\n\ndef triple(x):\n    return THREE * x\n",
    "docstring": 'def triple(x):\n    """```\n    triple(2)\n    ```"""\n    return 3 * x\n',
    "comment": "# 3 * x\ndef triple(x):\n    return 3 * x\n",
    "class": "class A:\n    k = 3\n\ndef triple(x):\n    return A.k * x\n",
    "try": "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n\ndef triple(x):\n    return 3 * x\n",
}
MENDED = {
    "quotes": ("def triple(x):\n    “by three”\n\xa0   return 3 * x\n", '"by three"'),
    "ticks": ("`def triple(x): return 3 * x`", "def triple(x): return 3 * x"),
    "two blocks": (f"```python\nk = 3\n```\nand\n```python\n{CODE.replace('3', 'k')}```", "k = 3"),
    "two blocks and an import": (
        "```python\nfrom math import prod\n```\n```python\ndef triple(x):\n    return prod((3, x))\n```",
        "import prod",
    ),
}
NONE = ["", "Sorry.", "I would multiply by 3.", "def other(x):\n    return 3 * x", "print(6)"]
NONE += [f"<think>{CODE}", f"<think>{CODE}</think>", "def triple(x) return 3 * x", "triple", "\x00", "\ud800"]  # fmt: skip


def found(text):
    return program_of(text, PROMPT, SHOWN, "[DONE]")


def task():
    problems = {split: [] for split in OFFICIAL_SPLITS}
    for record in fixture_records():
        split = next(s for s, ids in OFFICIAL_SPLITS.items() if record["task_id"] in ids)
        problems[split].append(MbppProblem.from_dict(record))
    return MbppTask(problems, DataConfig(task="mbpp", train_prompts=8, eval_prompts=1))


def response(text):
    return task().response_of(text, PROMPT)


@pytest.mark.parametrize("name", SAME)
def test_a_wrapped_program_is_trained_on_bare(name):
    assert response(SAME[name]) == CODE
    assert response(response(SAME[name])) == CODE


@pytest.mark.parametrize("name", OTHER)
def test_a_program_stays_as_it_is_in_every_wrapping(name):
    code = OTHER[name]
    for text in (code, f"```python\n{code}```", f"Here:\n\n[PYTHON]\n{code}[/PYTHON]\nBye."):
        if "```" not in code or text == code:
            assert response(text).endswith(code[code.index("\n") + 1 :] if code[0] == "#" else code)


@pytest.mark.parametrize("name", MENDED)
def test_a_program_in_pieces_or_with_typographic_signs_is_mended(name):
    text, part = MENDED[name]
    names = {}
    exec(found(text), names)
    assert part in found(text)
    assert names["triple"](5) == 15


@pytest.mark.parametrize("text", NONE)
def test_text_without_the_program_gives_none(text):
    assert found(text) is None
    assert "def triple(x):" not in response(text) or "return" in text


@pytest.mark.parametrize("name", SAME)
def test_a_wrong_program_stays_wrong(name):
    assert "3 * x" not in response(SAME[name].replace("3 * x", "4 * x"))


@pytest.mark.slow
def test_wrapped_references_are_correct_and_wrapped_wrong_programs_are_not():
    need_sandbox()
    loaded = task()
    key = loaded.answer_key("train")
    for code, correct in ((key.correct_response(0), True), (key.correct_response(1), False)):
        prompt = loaded.prompts["train"].texts[0]
        texts = [text.replace(CODE, code) for text in SAME.values() if CODE in text]
        responses = [loaded.response_of(text, prompt) for text in texts]
        assert key.grade([0] * len(texts), responses).tolist() == [correct] * len(texts)


# --- fuzzing ---

FRAGMENTS = [
    CODE,
    "def triple(x):\n",
    "    return 3 * x\n",
    "```",
    "```python\n",
    "[BEGIN]",
    "[DONE]",
]
FRAGMENTS += ["[PYTHON]", "<think>", "</think>", "import re\n", "@a\n", "try:\n", "if x:\n", "f'{"]
FRAGMENTS += [*"\n ([{)#:=\\1-é}`“\x00\ud800", "\n\n", '"""', "'''", "lambda", "not ", "a.", "1_"]
UNITS = [
    "(",
    "((",
    "[[",
    "{{",
    "f(",
    "lambda:",
    "-1",
    "not ",
    "a if b else ",
    "a.b",
    "x=",
    "a,",
    "~",
]
UNITS += ["\n ", "if x:\n ", "def f():\n", "'a' ", "f'{", "1+", "a[", "`", "import a\n", "a=1\n"]


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_text_raises_nothing(count):
    rng, seconds = random.Random(4), 0.0
    for _ in range(count):
        text = "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 25)))
        start = time.process_time()
        program = found(text)
        seconds += time.process_time() - start
        assert program is None or "triple" in program
    assert seconds < 1e-3 * count


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_long_and_deep_text_takes_little_time(unit):
    start = time.process_time()
    for before in ("", "def triple(x):\n return ", "triple = "):
        found(before + unit * (50_000 // len(unit)))
    assert time.process_time() - start < 5
