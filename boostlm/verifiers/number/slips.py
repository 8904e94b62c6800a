"""Makes a worked solution wrong: another result, in the last step that states it and at the end."""

import re
from decimal import Decimal

import numpy as np

MARK = "#### "  # stands before the result of a solution

NUMBERS = re.compile(r"(?<![0-9.])(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)")


def slip(reference: str, rng: np.random.Generator) -> str:
    """The reference with a wrong result, in the last step that states it and after `####`.

    The result changes by at most 3 or by at most a tenth. Its sign and its format stay the same.

    Args:
      reference: a solution that ends with `#### N`, or N alone.
      rng: of the label.
    """
    solution, mark, number = reference.rpartition(MARK)
    size = _value(number.lstrip("-"))
    change = int(rng.integers(1, max(3, min(int(size) // 10, 10**6)) + 1))
    wrong = size - change if size > change and rng.random() < 0.5 else size + change
    stated = [m for m in NUMBERS.finditer(solution) if _value(m.group()) == size]
    if stated:  # if the solution gives its result in words, only the final number changes
        start, end = stated[-1].span()
        solution = solution[:start] + _written_like(solution[start:end], wrong) + solution[end:]
    sign = "-" if number.startswith("-") else ""
    return f"{solution}{mark}{sign}{_written_like(number, wrong)}"


def _value(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def _written_like(text: str, value: Decimal) -> str:
    """Formats `value` with the decimal places of `text`, and with commas if `text` has any."""
    places = len(text.partition(".")[2])
    return f"{value:,.{places}f}" if "," in text else f"{value:.{places}f}"
