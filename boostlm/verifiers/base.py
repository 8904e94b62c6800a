"""The interface of a verifier: what a reference is, and which responses agree with it.

A verifier reads the reference of a row once. After that, it grades responses, and makes right and
wrong ones for the simulated labeler. `made_wrong` turns plausible mistakes into wrong responses:
the verifier itself confirms that none is right by accident.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boostlm.errors import BoostError

_TRIES = 50  # mistakes that are graded before a prompt is given up


class UnusableReference(ValueError):
    """The verifier cannot use a row's answer; the message says why."""


@dataclass(frozen=True)
class DataRow:
    """One row of a data file, as a verifier sees it.

    Attributes:
      answer: the value of the answer field.
      fields: all fields of the row.
      prompt: what the model sees, without few-shot examples.
    """

    answer: Any
    fields: Mapping[str, Any]
    prompt: str


@dataclass(frozen=True)
class Verifier:
    """How responses to a kind of question are graded.

    Attributes:
      read: row -> reference, in whatever form the other functions take. Raises UnusableReference.
      grade: (references, responses) of equal length -> bool [C], which responses are right.
      right: (reference, generator) -> a right response. Raises BoostError if it cannot make one.
      mistake: (reference, generator) -> a response that is probably wrong, or None.
    """

    read: Callable[[DataRow], Any]
    grade: Callable[[Sequence[Any], Sequence[str]], np.ndarray]
    right: Callable[[Any, np.random.Generator], str]
    mistake: Callable[[Any, np.random.Generator], str | None]


def one_by_one(
    is_right: Callable[[Any, str], bool],
) -> Callable[[Sequence[Any], Sequence[str]], np.ndarray]:
    """A `Verifier.grade` that grades each response apart."""

    def grade(references: Sequence[Any], responses: Sequence[str]) -> np.ndarray:
        pairs = zip(references, responses, strict=True)
        return np.array([is_right(reference, text) for reference, text in pairs], bool)

    return grade


def made_wrong(
    verifier: Verifier, references: Sequence[Any], i: int, rng: np.random.Generator
) -> str:
    """A plausible but wrong response to prompt i.

    It is a mistake that the verifier's `mistake` makes, or the right response to another prompt,
    with equal probability; the first of them that the verifier refuses.

    Raises:
      BoostError: none is found.
    """
    for _ in range(_TRIES):
        text = None
        if len(references) == 1 or rng.random() < 0.5:
            text = verifier.mistake(references[i], rng)
        if text is None:
            other = (i + int(rng.integers(1, max(2, len(references))))) % len(references)
            text = verifier.right(references[other], rng)
        if not verifier.grade([references[i]], [text])[0]:
            return text
    raise BoostError(
        f"the simulated labeler found no wrong response to prompt {i}: the verifier accepts other "
        "prompts' answers too. Choose another data.verifier or another label.labeler"
    )


def as_text(value: Any) -> str:
    """A value of a data file as text: numbers without a needless fraction, text stripped.

    Raises:
      UnusableReference: it is missing, empty, or neither text nor a number.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        kind = "missing" if value is None else f"of type {type(value).__name__}"
        raise UnusableReference(f"the answer is {kind}, not text or a number")
    text = str(value).strip()
    if not text or text.lower() in ("nan", "inf", "-inf"):
        raise UnusableReference("the answer is empty or not a number")
    return text
