"""The verifier `text`: the whole response equals the answer, but for case, spaces and marks.

Both are brought into one form: compatible characters of Unicode (NFKC) in lower case, one space
between words, without an article at the start, a lead-in such as "The answer is", quotation marks,
emphasis, or punctuation around the whole. What is inside stays as it is: "3.5" is not "35", and
"U.S." is not "us".
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text, one_by_one

_LEAD_IN = re.compile(
    r"(?:so|thus|therefore|hence)?,? ?(?:(?:the|my|your) )?(?:(?:final|correct|right) )?answer"
    r"(?: is| would be|:| =)(?! not\b):? ?"
)
_ARTICLE = re.compile(r"(?:a|an|the) (?=\S)")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-"})
_AROUND = " \t\n\"'`*_.,;:!"
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def normalised(text: str) -> str:
    """The form in which a response and its reference are compared.

    >>> normalised("**The answer is: Paris.**")
    'paris'
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = text.translate(_QUOTES)
    text = " ".join(text.split())
    before = None
    while text != before:
        before = text
        text = text.strip(_AROUND)
        text = text[1:-1] if _is_bracketed(text) else text
        for start in (_LEAD_IN, _ARTICLE):
            text = start.sub("", text, count=1) if start.match(text) else text
    return text


def _is_bracketed(text: str) -> bool:
    """Whether the first character is a bracket that the last one closes."""
    right = _CLOSING.get(text[:1])
    depth = 0
    for i, c in enumerate(text if right else ""):
        depth += (c == text[0]) - (c == right)
        if depth == 0:
            return i == len(text) - 1
    return False


def _read(row: DataRow) -> tuple[str, ...]:
    """One answer, or a list of answers of which any counts."""
    values = row.answer if isinstance(row.answer, list | tuple) else [row.answer]
    answers = tuple(as_text(value) for value in values)
    if not answers or not all(map(normalised, answers)):
        raise UnusableReference("an answer is empty, or has nothing but punctuation")
    return answers


def _is_right(answers: Sequence[str], response: str) -> bool:
    return normalised(response) in map(normalised, answers)


def _swapped(answers: Sequence[str], rng: np.random.Generator) -> str | None:
    """The answer with two neighbouring characters swapped; None for a single character."""
    text = answers[0]
    places = [
        i for i in range(len(text) - 1) if text[i : i + 2].isalnum() and text[i] != text[i + 1]
    ]
    if not places:
        return None
    i = int(rng.choice(places))
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


TEXT = Verifier(
    read=_read,
    grade=one_by_one(_is_right),
    right=lambda answers, rng: answers[int(rng.integers(len(answers)))],
    mistake=_swapped,
)
"""The answer may be a list of answers; then any of them counts."""
