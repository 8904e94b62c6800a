"""The verifier `number`: the response's final answer is the reference's number, exactly."""

import numpy as np

from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text, one_by_one
from boostlm.verifiers.number.final_answer import is_correct
from boostlm.verifiers.number.numbers import parse_number
from boostlm.verifiers.number.slips import MARK, slip


def _read(row: DataRow) -> str:
    """A number, or a worked solution that ends with `#### N`."""
    text = as_text(row.answer)
    if parse_number(text.rpartition("####")[2]) is None:
        raise UnusableReference(
            f"the answer {text[-40:]!r} is neither a number nor a solution that ends with {MARK}N"
        )
    return text


def _mistake(reference: str, rng: np.random.Generator) -> str | None:
    try:
        return slip(reference, rng)
    except ArithmeticError:  # the number is not in plain digits, such as 1/2
        return None


NUMBER = Verifier(
    read=_read,
    grade=one_by_one(lambda reference, text: is_correct(text, reference)),
    right=lambda reference, rng: reference,
    mistake=_mistake,
)
"""See `final_answer` for the rules that read a response."""
