"""Brings solutions that people and other models wrote into the form of GSM8K responses."""

import re
from fractions import Fraction

from boostlm.engine.outside_text import unwrapped, without_blank_lines
from boostlm.verifiers.number.final_answer import final_answer, first_problem
from boostlm.verifiers.number.slips import MARK

_FENCE = re.compile(r"(?m)^[ \t]*(?:```|~~~)[a-zA-Z]*[ \t]*(?:\n|\Z)")
_LABEL = re.compile(r"^[*_#\s]*(?:answer|solution|response|assistant)[*_ ]*:[*_\s]*", re.IGNORECASE)
_HASHES = re.compile(r"#{4,}[^\n]*\d[^\n]*")


def solution_of(text: str, prompt: str, few_shot: str) -> str:
    r"""An outside solution as "steps\n#### N".

    Thoughts, fences and a repeated prompt are removed. If `final_answer` reads what is left, so are
    a heading such as "Answer:", what follows the answer, and, with few-shot examples, blank lines;
    and "#### N" is added where it is missing. The result has the same final answer, so a wrong
    solution never becomes correct. If it would have another one, it is left as it is.

    Args:
      text: what someone wrote.
      prompt: the prompt without few-shot examples, "Question: ...\nAnswer:".
      few_shot: the few-shot examples; "" for none.
    """
    question = prompt.removesuffix("Answer:")
    prompts = (few_shot + prompt, prompt, question, question.removeprefix("Question:"))
    text = _FENCE.sub("", unwrapped(text, prompts))
    value = final_answer(text)
    solution = _LABEL.sub("", first_problem(text))
    solution = solution if value is None else _marked(solution, value)
    solution = (without_blank_lines(solution) if few_shot else solution).strip()
    return solution if final_answer(solution) == value else text.strip()


def _marked(solution: str, value: Fraction) -> str:
    """The solution up to its answer, and a last line "#### N" in place of its own."""
    for match in _HASHES.finditer(solution):
        if final_answer(solution[: match.end()]) == value:
            solution = solution[: match.start()]
            break
    return f"{solution.rstrip()}\n{MARK}{_written(value)}"


def _written(value: Fraction) -> str:
    """`value` as digits: a whole number, a decimal number if that is exact, or a fraction."""
    decimal = repr(value.numerator / value.denominator) if abs(value) < 10**15 else ""
    exact = value.denominator > 1 and re.fullmatch(r"-?\d+\.\d+", decimal)
    return decimal if exact and Fraction(decimal) == value else str(value)
