"""The verifier `expression`: an arithmetic expression whose exact value is the reference's.

The grammar, in which blanks count nowhere:

    sum     = product { ("+" | "-") product }
    product = signed { ("*" | "/") signed }
    signed  = ["+" | "-"] signed | operand
    operand = (number | "(" sum ")") { "%" }
    number  = digits [ "." digits ] | "." digits

Nothing is evaluated by Python. Values are fractions of bounded size.
"""

import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text, one_by_one

MOST_CHARACTERS = 500
MOST_DEPTH = 40  # nested brackets and signs
MOST_BITS = 512  # of a value's numerator and denominator

_TOKEN = re.compile(r"\d+(?:\.\d*)?|\.\d+|[-+*/()%]")
_SIGNS = str.maketrans({"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "⁄": "/"})
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_LONE = re.compile(r"\(([\d.]+)\)")  # a number alone in brackets
_NUMBER_TOKEN = re.compile(r"\d+(?:\.\d*)?|\.\d+")


class NotAnExpression(ValueError):
    """A text that the grammar does not have, that has no value, or that is too large."""


class _Reader(NamedTuple):
    """The tokens of an expression, and how many of them are read."""

    tokens: list[str]
    place: list[int]

    def peek(self) -> str:
        at = self.place[0]
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.place[0] += 1
        return token


def value_of(text: str) -> Fraction:
    """The exact value of an expression.

    Raises:
      NotAnExpression: it is none, divides by zero, or exceeds a bound.

    >>> value_of("(3 + 4) * 50%")
    Fraction(7, 2)
    """
    reader = _Reader(tokens_of(text), [0])
    value = _sum(reader, 0)
    if reader.peek():
        raise NotAnExpression(f"{reader.peek()!r} is not expected there")
    return value


def tokens_of(text: str) -> list[str]:
    """The tokens of an expression. Raises NotAnExpression if something else is in it."""
    if len(text) > MOST_CHARACTERS:
        raise NotAnExpression(f"more than {MOST_CHARACTERS} characters")
    text = _GROUPS.sub(lambda match: match[0].replace(",", ""), text.translate(_SIGNS))
    if re.search(r"[\d.]\s+[\d.]", text):
        raise NotAnExpression("two numbers without a sign between them")
    text = "".join(text.split())
    tokens = _TOKEN.findall(text)
    if not text.isascii() or "".join(tokens) != text:
        raise NotAnExpression("it has other signs than digits and + - * / ( ) . %")
    return tokens


def _sum(reader: _Reader, depth: int) -> Fraction:
    value = _product(reader, depth)
    while reader.peek() in ("+", "-"):
        sign = reader.take()
        other = _product(reader, depth)
        value = _bounded(value + other if sign == "+" else value - other)
    return value


def _product(reader: _Reader, depth: int) -> Fraction:
    value = _signed(reader, depth)
    while reader.peek() in ("*", "/"):
        sign = reader.take()
        other = _signed(reader, depth)
        if sign == "/" and other == 0:
            raise NotAnExpression("a division by zero")
        value = _bounded(value * other if sign == "*" else value / other)
    return value


def _signed(reader: _Reader, depth: int) -> Fraction:
    if depth > MOST_DEPTH:
        raise NotAnExpression(f"more than {MOST_DEPTH} nested brackets and signs")
    if reader.peek() in ("+", "-"):
        sign = reader.take()
        value = _signed(reader, depth + 1)
        return value if sign == "+" else -value
    value = _operand(reader, depth)
    while reader.peek() == "%":
        reader.take()
        value = _bounded(value / 100)
    return value


def _operand(reader: _Reader, depth: int) -> Fraction:
    token = reader.take()
    if token == "(":
        value = _sum(reader, depth + 1)
        if reader.take() != ")":
            raise NotAnExpression("a bracket is not closed")
        return value
    if not _NUMBER_TOKEN.fullmatch(token):
        raise NotAnExpression(f"a number is missing before {token!r}" if token else "it ends early")
    return _bounded(Fraction(token))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise NotAnExpression(f"a value of more than {MOST_BITS} bits")
    return value


def _read(row: DataRow) -> str:
    text = as_text(row.answer)
    try:
        value_of(text)
    except NotAnExpression as error:
        raise UnusableReference(f"the answer {text[:40]!r} is no expression: {error}") from error
    return text


def _is_right(reference: str, response: str) -> bool:
    """Whether the whole response is an expression of the reference's value."""
    text = response.strip().removeprefix("=").rstrip(" .=")
    try:
        return value_of(text) == value_of(reference)
    except NotAnExpression:
        return False


def mistake(reference: str, rng: np.random.Generator) -> str | None:
    """The expression with two numbers swapped, an operation changed, or a step left out.

    It may be right by accident ("2 * 3" and "3 * 2"); None if nothing can be changed so.
    """
    tokens = tokens_of(reference)
    numbers = [i for i, token in enumerate(tokens) if _NUMBER_TOKEN.fullmatch(token)]
    signs = [
        i
        for i, token in enumerate(tokens)
        if token in "+-*/" and i and tokens[i - 1] not in "(+-*/"
    ]
    kind = rng.integers(3)
    if kind == 0 and len(numbers) > 1:
        i, j = rng.choice(numbers, 2, replace=False)
        tokens[i], tokens[j] = tokens[j], tokens[i]
    elif kind == 1 and signs:
        i = int(rng.choice(signs))
        tokens[i] = str(rng.choice([sign for sign in "+-*/" if sign != tokens[i]]))
    elif signs:  # "a - b" becomes "a" or "b", where both are numbers
        steps = [i for i in signs if i - 1 in numbers and i + 1 in numbers]
        if not steps:
            return None
        i = int(rng.choice(steps))
        kept = tokens[i + 1] if rng.random() < 0.5 else tokens[i - 1]
        tokens[i - 1 : i + 2] = [kept]
    else:
        return None
    return _spaced(tokens)


def _spaced(tokens: list[str]) -> str:
    """Tokens as people write them: blanks around an operation, none elsewhere."""
    text = ""
    for i, token in enumerate(tokens):
        binary = token in "+-*/" and i and tokens[i - 1] not in "(+-*/"
        text += f" {token} " if binary else token
    return _LONE.sub(r"\1", text)


EXPRESSION = Verifier(
    read=_read,
    grade=one_by_one(_is_right),
    right=lambda reference, rng: reference,
    mistake=mistake,
)
"""The reference is an expression, and so may be a number."""
