"""A verifier of the user's own: FILE.py:NAME, a function (response, reference) -> bool."""

from typing import Any

import numpy as np

from boostlm.errors import BoostError
from boostlm.user_code import load_named
from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, one_by_one


def own_verifier(file_and_name: str) -> Verifier:
    """The verifier whose `grade` asks the function.

    The reference is the value of the answer field, and the simulated labeler's right responses are
    that value as text.

    Raises:
      BoostError: the file or the name does not exist, or it is no function.
    """
    function = load_named(file_and_name, "data.verifier")
    if not callable(function):
        raise BoostError(f"data.verifier: {file_and_name} is no function (response, reference)")

    def is_right(reference: Any, response: str) -> bool:
        try:
            verdict = function(response, reference)
        except Exception as error:
            raise BoostError(
                f"data.verifier: {file_and_name} fails for the response {response[:60]!r} and the "
                f"reference {str(reference)[:60]!r}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(verdict, bool | np.bool_):
            raise BoostError(
                f"data.verifier: {file_and_name} returned {verdict!r}, which is neither True nor "
                "False"
            )
        return bool(verdict)

    def read(row: DataRow) -> Any:
        if row.answer is None:
            raise UnusableReference("the answer is missing")
        return row.answer

    def right(reference: Any, rng: np.random.Generator) -> str:
        del rng
        return str(reference)

    return Verifier(read, one_by_one(is_right), right, lambda reference, rng: None)
