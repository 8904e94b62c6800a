"""What people and other models write: `unwrapped`, and the default `Task.response_of`."""

import pytest

from boostlm.engine.outside_text import unwrapped, without_blank_lines
from boostlm.labelers.base import Label, Query, in_form
from boostlm.tasks.base import Task

PROMPT = "Question: What is 3 + 4?\nAnswer:"
SHOWN = "Question: What is 1 + 1?\nAnswer: 2\n\n"


class Form(Task):
    response_prefix, stop_strings, few_shot = " ", ("\n\n", "END"), SHOWN

    def answer_key(self, split):
        raise NotImplementedError


def form(text):
    return Form().response_of(text, SHOWN + PROMPT)


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "  7\n",
        "\ufeff7\r\n",
        "<think>3 + 4 = 8?</think>7",
        "<think>\nNo.\n</think>\n\n<think>Yes.</think>\n7",
        "3 + 4 = 8?\n</think>\n\n7",
        "<Thinking>8</Thinking>7",
        "[THINK]8[/THINK]7",
        "◁think▷8◁/think▷7",
        "<reasoning>8</reasoning>\n7",
        "<scratchpad>8</scratchpad>7",
        "<|im_start|>assistant\n7<|im_end|>",
        "<|im_start|>assistant\n<think>8</think>\n\n7<|im_end|>\n<|im_start|>user\n8",
        "7</s>",
        "7<eos>8",
        "7<end_of_turn>\n",
        "<|channel|>analysis<|message|>8<|end|><|start|>assistant<|channel|>final<|message|>7<|return|>",
        PROMPT + " 7",
        SHOWN + PROMPT + " 7",
        "**Question:** What is 3 + 4?\n\n**Answer:** 7",
        "question".title() + ":  What is\n3 + 4?\nAnswer:\n7",
    ],
)
def test_wrapping_is_removed(text):
    assert unwrapped(text, (SHOWN + PROMPT, PROMPT)) == "7"
    assert form(text) == " 7"
    assert form(form(text)) == " 7"


@pytest.mark.parametrize(
    "text", ["7 <", "a </b> 7", "I think 7", "Question: What is 3 + 5?\nAnswer: 7", "Question:", PROMPT]
)  # fmt: skip
def test_other_text_stays(text):
    assert unwrapped(text, (SHOWN + PROMPT, PROMPT)) == text


@pytest.mark.parametrize(
    "text", ["", " \n", "<think>7", "<think>7</think>", "<think>6</think><think>7"]
)
def test_thoughts_are_no_answer(text):
    assert unwrapped(text, (PROMPT,)) == ""


def test_blank_lines_do_not_cut_a_label_and_other_stop_strings_do():
    assert form("3 + 4 = 7\n\n\n \n#### 7") == " 3 + 4 = 7\n#### 7"
    assert form("3 + 4\n\n= 7 END\n\n8") == " 3 + 4\n= 7"
    assert without_blank_lines("a\n\nb\n \t\nc\nd") == "a\nb\nc\nd"
    for text in ("a\n\nb", "\n\na", "aEND", "END", "a\n \n\nb END b\n\n"):
        assert not any(stop in form(text) for stop in Form.stop_strings)


def test_a_one_line_task_keeps_the_first_line():
    class OneLine(Form):
        stop_strings, few_shot = ("\n",), ""

    assert OneLine().response_of("\n7\nbecause", PROMPT) == " 7"


def test_a_label_keeps_what_was_written():
    queries = [Query(0, 1, i, 0, SHOWN + PROMPT) for i in range(2)]
    given = [Label("3 + 4\n\n= 7", "x", 2.0, False), Label(" 7", "x", 1.0)]

    def labeler(asked):
        yield list(zip(asked, given, strict=True))

    [batch] = in_form(labeler, Form().response_of)(queries)
    assert [query for query, _ in batch] == queries
    assert batch[0][1] == Label(" 3 + 4\n= 7", "x", 2.0, False, written="3 + 4\n\n= 7")
    assert batch[1][1] == given[1]
