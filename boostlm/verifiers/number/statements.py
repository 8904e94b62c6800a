"""Parses the one value that a phrase of a GSM8K response states."""

import re
from fractions import Fraction

from boostlm.verifiers.number.numbers import word_value, words_of

SENTENCE_END = re.compile(r"[!?;\n]|\.[\"')\]]*(?=\s|$|[A-Z][a-z])")
_RESTATED = re.compile(r"(?i)≈|[=-]>|[→⇒]|\bround(?:s|ed) (?:up |down )?to\b|, so (?=[a-z] ?=)")
_UNSOLVED = re.compile(r"[\\<>≤≥≠±√^]|\d[xyzn]\b|\b[xyzn] ?[-+*/]|[-+*/] ?[xyzn]\b|^\W*$")
_SUM = re.compile(r"[-+*/÷x().,$\s]*\d[-+*/÷x().,$\s\d]*")
_LEFT = re.compile(
    r"[*+÷]|/ ?\d|[\w)] ?- ?\d|\d[CFVWd]\b"
)  # a sum, or a multiple of a variable: not a value
DENIAL = re.compile(r"(?i)\b(?:not|never|cannot|wrong|incorrect)\b|n't\b")
NOT_ASSERTED = re.compile(rf"{DENIAL.pattern}|\b(?:n?either|between|if|whether|suppose|or)\b")
_NOT_BEFORE = re.compile(  # the number after this is not the value
    r"(?i)(?:\b(?:than|least|most|over|under|above|below|nearly|almost|up to|times|plus|minus|by"
    r"|twice|double|half|(?:half|thirds?|quarters?|percent|root|sum|product) of(?: the)?"
    r"|by [a-z]+ing(?: the)?)|[-+*/÷])$"
)
_NOT_AFTER = re.compile(  # the number before this is not the value
    r"[+*/÷^\d$]|[a-zA-Z*]+\d|and [$-]?\d|and\b.*\b(?:half|thirds?|quarters?)\b"
    r"|(?:[kKMBx]|bn|mil|plus|minus|squared|cubed|hundredths|tenths)\b"
)
_FILLERS = re.compile(
    r"(?i)\W*(?:\b(?:an?|about|approx(?:imately)?|around|roughly|exactly|just|only|total|of|is|it"
    r"|it's|equal|to|so|therefore|thus|[a-z])\b[^\w-]*)*"
)
_ASIDE = re.compile(  # a reason or a qualification
    r"(?i)(?:^|[ ,])(?:because|since|as|which|not|no longer|never|(?:it )?(?:is|was)n't|rather"
    r"|instead|for|after|with|at|every|each)\b"
    r"|(?<=[^\s:,]) (?:per|in|from|on|during|over)\b|\((?!or\b)"
)
_PARENTHESIS = re.compile(r"\((?!or\b)")
# "not 17, it is 18" and "not 17 but 18": what follows the match is put in place of what was denied
_NUMBER_NEXT = r"(?=[-+$€£¥₹]*\.?\d)"
_ADVERBS = r"(?:(?:actually|really|always|now|exactly|only|in fact|of course|rather|instead) )*"
_TURN = re.compile(
    rf"(?i)[,;.]?(?: -| —)? (?:but|rather|instead|it is|it's) {_ADVERBS}{_NUMBER_NEXT}"
    r"|(?:[,;.]| -| —| but|, but) (?:rather |instead )?(?:it|that|this|the (?:right|correct|real"
    r"|actual|true) (?:one|value|number|total|amount|result))"
    r"(?:'s| is| was| (?:should|must|will|would|has to) be)\b"
)
_DENIED = re.compile(
    r"(?i)(?:\b(?:not|cannot|never|no longer)\b|n't\b)(?! (?:only|just|merely|simply)\b)"
)
_SCALES = dict(hundred=100, thousand=10**3, million=10**6, billion=10**9, trillion=10**12)
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_SMALL += " fifteen sixteen seventeen eighteen nineteen twenty"
NUMBER_WORDS = _SMALL.split()
_SPELLED = {word: str(value) for value, word in enumerate(NUMBER_WORDS)}
_NUMERIC = re.compile(r"[\W_]*\d")  # a word that starts as a number; not "mp3" or "x1"


def _quantity(phrase: str, any_lead: bool, qualified: bool) -> Fraction | None:
    """The one value in a phrase without "="; None if there is not exactly one.

    With `any_lead`, any words may precede it; with `qualified`, an aside may follow it.
    """
    words = words_of(phrase)
    if not re.search(r"\d", phrase):
        any_lead = False  # because "one" is also a pronoun
        words = [_SPELLED.get(word.strip(" .,!").lower(), word) for word in words]
    first = next((i for i, word in enumerate(words) if _NUMERIC.match(word)), None)
    if first is None or (value := word_value(words[first])) is None:
        return None
    lead, tail = " ".join(words[:first]), " ".join(words[first + 1 :])
    asserted = not NOT_ASSERTED.search(lead if qualified else phrase)
    plain_lead = (any_lead or _FILLERS.fullmatch(lead)) and not _NOT_BEFORE.search(lead)
    if not asserted or not plain_lead or _NOT_AFTER.match(tail):
        return None
    others = (_ASIDE if qualified else _PARENTHESIS).split(tail, maxsplit=1)[0]
    if any(_NUMERIC.match(word) and word_value(word) != value for word in others.split()):
        return None
    scale = tail.split(" ")[0].rstrip(",:)").removesuffix("s").lower()
    return value * _SCALES.get(scale, 1)


def corrected(phrase: str) -> tuple[str, str]:
    """(phrase, ""), or if a phrase denies a number and names another, (the other, the denied)."""
    denial = _DENIED.search(phrase)
    turn = _TURN.search(phrase, denial.end()) if denial else None
    if not denial or not turn:
        return phrase, ""
    lead, denied, rest = (
        phrase[: denial.start()],
        phrase[denial.end() : turn.start()],
        phrase[turn.end() :],
    )
    plain_denial = re.search(r"\d", denied) and not SENTENCE_END.search(denied)
    if not plain_denial or re.search(r"(?i)\d|\b(?:if|whether|unless|suppose|either)\b", lead):
        return phrase, ""
    return rest, denied


def stated_value(phrase: str, any_lead: bool = False, qualified: bool = True) -> Fraction | None:
    """The one value that a sentence states, or None. Sums in an equation are not values.

    Args:
      phrase: plain text; the first sentence counts.
      any_lead: whether any words may precede the value.
      qualified: whether a reason or a qualification may follow it.
    """
    rest, denied = corrected(phrase)
    if denied:
        value = stated_value(rest, True, qualified)
        wrong = re.search(r"(?i)\b(?:wrong|incorrect|either|nor)\b", rest)
        return None if wrong or value in map(word_value, words_of(denied)) else value
    end = SENTENCE_END.search(phrase)
    phrase = _RESTATED.split(phrase[: end.start()] if end else phrase)[-1]
    if (end and end[0] == "?") or _UNSOLVED.search(phrase):
        return None
    first, *sides = re.split(r"=|(?<=\d) (?:is|equals) (?=[-$\d])", phrase)
    if not sides:
        return _quantity(first, any_lead, qualified)
    value = _quantity(sides[-1], any_lead, True)
    if DENIAL.search(first) or (value is None and not _SUM.fullmatch(sides[-1])):
        return None
    left = [side for side in (first, *sides[:-1]) if not _LEFT.search(side)]
    values = {value, *(_quantity(side, True, False) for side in left)} - {None}
    return values.pop() if len(values) == 1 else None
