"""The verifier `regex`: the whole response, without blanks around it, matches the answer's pattern.

Patterns are those of the package `regex`, which ends a match that takes too long.
"""

import random
from types import ModuleType

import numpy as np

from boostlm.errors import BoostError
from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text, one_by_one

MATCH_SECONDS = 1.0  # that one match may take; after that, the response does not match
_TRIES = 20


def _package(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise BoostError(
            f"data.verifier regex needs the package {name}: pip install 'boostlm[verifiers]'"
        ) from error


def _read(row: DataRow) -> str:
    pattern = as_text(row.answer)
    regex = _package("regex")
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise UnusableReference(f"the pattern {pattern[:40]!r} is not usable: {error}") from error
    return pattern


def _is_right(pattern: str, response: str) -> bool:
    try:
        return (
            _package("regex").fullmatch(pattern, response.strip(), timeout=MATCH_SECONDS)
            is not None
        )
    except TimeoutError:
        return False


def _example(pattern: str, rng: np.random.Generator) -> str:
    """A text that the pattern matches.

    Raises:
      BoostError: none was found.
    """
    make = _package("rstr").Rstr(random.Random(int(rng.integers(2**63))))
    for _ in range(_TRIES):
        try:
            text = make.xeger(pattern).strip()
        except Exception:  # a feature of patterns that rstr does not know
            break
        if _is_right(pattern, text):
            return text
    raise BoostError(
        f"the simulated labeler found no text that the pattern {pattern[:60]!r} matches: choose "
        "another label.labeler, or a simpler pattern"
    )


def _spoilt(pattern: str, rng: np.random.Generator) -> str:
    """A matching text with one character replaced."""
    text = _example(pattern, rng)
    i = int(rng.integers(len(text) + 1))
    return text[:i] + str(rng.choice(list("abcdefghij0123456789"))) + text[i + 1 :]


REGEX = Verifier(
    read=_read,
    grade=one_by_one(_is_right),
    right=_example,
    mistake=_spoilt,
)
"""The answer is a pattern. A pattern that begins with (?i) ignores case."""
