r"""The verifier `choice`: the response names one option, by its letter or by its text.

A row's options are in its field `choices` (a list of texts, or of {"label", "text"} as in ARC), or
they are read from lines of the prompt such as "B) Paris". The answer is a letter, an option's text,
or a number counted from 0.

A response names the options of all its statements: "The answer is (B)", "Answer: B", "\boxed{B}",
"B) Paris", an option's text. If it makes none, its first and its last line are read, each as a
whole. It is right if it names the reference and no other option. A letter with the text of another
option ("B) London") names both.
"""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text, one_by_one
from boostlm.verifiers.text import normalised

_OPTION_LINE = re.compile(r"(?m)^\s*[(\[]?([A-Z])[)\].:]\s*(\S.*?)\s*$")
_STATED = re.compile(
    r"(?i)\b(?:answer|choice|option)\b(?:[*_]{0,2})(?: is| would be| must be| has to be|:| =)"
    r"(?!\s*not\b)[:*_\s]*(.+)|\\boxed\{(.+?)\}|####\s*(.+)"
)
_LATEX = re.compile(r"\\[a-z]+\{([^{}]*)\}")  # \boxed{B}, \text{B}
_LABEL = re.compile(
    r"(?i)^[*_`\"']*(?:option |choice |answer )?[(\[]?([a-z])(?:[)\].:]+|(?=$|[\s*_`\"',;]))(.*)$",
    re.DOTALL,
)
_OTHER_LETTERS = re.compile(r"(?:^|\W)(?:or|and|/|,|&)\s*[(\[]?([A-Z])\b")


class Choice(NamedTuple):
    """A reference.

    Attributes:
      options: normalised text of each letter.
      letter: the right one.
    """

    options: Mapping[str, str]
    letter: str


def _read(row: DataRow) -> Choice:
    options = _options(row)
    if len(options) < 2:
        raise UnusableReference(
            "it has no field choices, and its prompt has no lines such as 'A) ...' and 'B) ...'"
        )
    number = (
        row.answer if isinstance(row.answer, int) and not isinstance(row.answer, bool) else None
    )
    text = as_text(row.answer)
    letters = list(options)
    bare = text.strip("()[].: ").upper()
    if bare in options:
        return Choice(options, bare)
    if number is None and bare.isdecimal():
        number = int(bare)
    same = [letter for letter in letters if options[letter] == normalised(text)]
    if len(same) == 1:
        return Choice(options, same[0])
    if number is not None and 0 <= number < len(letters):
        return Choice(options, letters[number])
    raise UnusableReference(f"the answer {text[:40]!r} is none of its options {', '.join(letters)}")


def _options(row: DataRow) -> dict[str, str]:
    """Normalised texts by letter."""
    given: Any = row.fields.get("choices")
    if isinstance(given, Mapping) and {"text", "label"} <= given.keys():
        labels = [str(label).strip().upper() for label in given["label"]]
        return dict(zip(_as_letters(labels), map(normalised, map(str, given["text"])), strict=True))
    if isinstance(given, Mapping):
        return {str(label).strip().upper(): normalised(str(text)) for label, text in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        if all(isinstance(one, Mapping) and {"text", "label"} <= one.keys() for one in given):
            labels = [str(one["label"]).strip().upper() for one in given]
            texts = [normalised(str(one["text"])) for one in given]
            return dict(zip(_as_letters(labels), texts, strict=True))
        return dict(zip(string.ascii_uppercase, map(normalised, map(str, given)), strict=False))
    found = _OPTION_LINE.findall(row.prompt)
    letters = [letter for letter, _ in found]
    if letters != list(string.ascii_uppercase[: len(letters)]):
        return {}
    return {letter: normalised(text) for letter, text in found}


def _as_letters(labels: Sequence[str]) -> list[str]:
    """Labels as letters: some data sets number their options."""
    numbered = all(label.isdecimal() for label in labels)
    return list(string.ascii_uppercase[: len(labels)]) if numbered else list(labels)


def named_options(response: str, options: Mapping[str, str]) -> set[str]:
    """The letters of the options that a response names."""
    found = [next(filter(None, groups)) for groups in _STATED.findall(response)]
    statements = [_LATEX.sub(r"\1", text) for text in found]
    if not statements:
        lines = [line for line in response.strip().split("\n") if line.strip()]
        statements = list(dict.fromkeys([lines[0], lines[-1], response])) if lines else []
        return set().union(*(_whole(text, options) for text in statements))
    return set().union(*(_named(text, options) for text in statements))


def _whole(text: str, options: Mapping[str, str]) -> set[str]:
    """The options that a text names with all its words: "B", "B) Paris" or "Paris"."""
    plain = normalised(text)
    found = {letter for letter, option in options.items() if option and option == plain}
    label = _LABEL.match(text.strip())
    if label and (letter := label[1].upper()) in options:
        rest = normalised(label[2])
        if not rest or rest == options[letter]:
            # "a dog" is a text, and "a" alone a letter
            found.add(letter)
        elif label[1].isupper() and rest in options.values():
            found |= {letter} | {other for other, option in options.items() if option == rest}
    return found


def _named(text: str, options: Mapping[str, str]) -> set[str]:
    """The options that a statement's object names; more words may follow a letter."""
    text = re.split(r"[.!;]\s|\n|\bbecause\b|\bsince\b", text, maxsplit=1)[0]
    found = _whole(text, options)
    label = _LABEL.match(text.strip())
    if (
        label
        and (letter := label[1].upper()) in options
        and (label[1].isupper() or not label[2].strip())
    ):
        found.add(letter)
    found |= {x for x in _OTHER_LETTERS.findall(text) if x in options}
    if not found:
        plain = f" {normalised(text)} "
        found = {letter for letter, option in options.items() if option and f" {option} " in plain}
    return found


def _is_right(choice: Choice, response: str) -> bool:
    return named_options(response, choice.options) == {choice.letter}


def _other(choice: Choice, rng: np.random.Generator) -> str:
    return str(rng.choice([letter for letter in choice.options if letter != choice.letter]))


CHOICE = Verifier(
    read=_read,
    grade=one_by_one(_is_right),
    right=lambda choice, rng: choice.letter,
    mistake=_other,
)
"""Answers are letters, texts or numbers from 0."""
