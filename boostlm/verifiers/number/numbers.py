"""Parses one word of a GSM8K response as a number, with its sign, currency and unit."""

import re
from fractions import Fraction

from boostlm.verifiers.number.plain_text import CURRENCY_CODES, plain

_INTEGER = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
# Units glued to a number. Not among them: letters that can be a scale (k, K, M, MM, B, T, bn), a
# variable (x, y, n, p), an exponent (e) or a digit (O).
_EXACT_UNITS = "%|°[CFcfK]?|¢|c|C|F|V|W|s|d|h|g|l|L|(?:[kcmdnµμ]?m|mi|ft|in|yd)[²³23]?|[µμ][gls]"
_UNITS_OF_ANY_CASE = (
    "st|nd|rd|th|[mk]gs?|gms?|gr|kilos?|lbs?|ozs?|[cdk]ms?|ins?|fts?|yds?|mi|[cdm]ls?|ltrs?"
    "|gals?|qts?|pts?|tsps?|tbsps?|cc|hrs?|mins?|secs?|ms|days?|wks?|mos?|mths?|yrs?|y/o|yo|[ap]m"
    "|mph|km?ph|km/?h|fps|rpm|[kmgtp]i?b|[kmgt]?bps|bits?|[kmgt]?hz|k?cals?|[km]j|[kmg]?wh|[km][wv]"
    "|m?ah|[kmh]?pa|psi|db|hp|ohms?|sqft|sqm|sqkm|sqmi|ha|pcs?|pkgs?|doz|dz|ppl|pgs?|ea|cts?|pct"
    "|degs?|cups?|tons?|box|bags?|cans?|jars?|m[ae]n|eggs?|rs|kr|rm|aed|sar"
)
_SCALE_WORDS = r"hundred|thousand|[mbtr]+illion|lakh|crore|grand|thou|mill?s?(?![a-z])"
_UNIT = (
    rf"(?:{_EXACT_UNITS}|(?i:{_UNITS_OF_ANY_CASE}|{CURRENCY_CODES})"
    rf"|(?i:(?!{_SCALE_WORDS})[a-z]{{4,15}}))"
)
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)[$€£¥₹]*(?P<inner>[-+]?)[$€£¥₹]*"
    rf"(?:(?P<decimal>{_INTEGER}(?:\.\d*)?|\.\d+)"
    rf"|(?:(?P<whole>{_INTEGER})&)?(?P<over>{_INTEGER})/(?P<under>{_INTEGER}))"
    rf"{_UNIT}?[$€£¥₹]*(?:[-/][a-zA-Z][a-zA-Z-]{{0,30}})?"
)
_JOIN_TEXTS = [
    (r"^\s*([-+]) (?=[$\d.])", r"\1"),
    (r"(?i)\b(?:minus|negative) (?=[$\d.])", "-"),
    (r"(?i)(?<=\d) and (?:a|one)[ -]half\b", " 1/2"),
    (r"(?<=\d) ?/ ?(?=\d)", "/"),
    (r"(?<=\d)(?: and)? (?=\d{1,99}/\d)", "&"),  # a mixed number, 1&1/2
]
_MAX_NUMBER = 200  # characters in one number: int() is quadratic in the input length
_JOINS = [(re.compile(old), new) for old, new in _JOIN_TEXTS]
_SPACED = re.compile(r"(?<![\d.,/&])[1-9]\d{0,2}(?: \d{3})+(?![\d/&]|,\d)")  # 1 234
_ORDINAL = re.compile(r"(?i)(?<![\d.,])\d+(?:st|nd|rd|th)\b")


def words_of(phrase: str) -> list[str]:
    """Splits `phrase` into words, one per number. Drops ordinals if there are cardinals."""
    phrase = phrase.replace("\x02", " ").replace("\x03", " ")
    cardinals = _ORDINAL.sub(" ", phrase)
    phrase = cardinals if re.search(r"\d", cardinals) else phrase
    for old, new in _JOINS:
        phrase = old.sub(new, phrase)
    phrase = _SPACED.sub(lambda match: match[0].replace(" ", ""), phrase)
    return [word for word in phrase.split() if word != "$"]


def word_value(word: str) -> Fraction | None:
    """The value of a number with an optional sign, currency, unit and full stop; else None."""
    if len(word) > _MAX_NUMBER or re.search(r"\.\d+(?:\.\.|…)", word):  # 0.333... is not exact
        return None
    match = _NUMBER.fullmatch(word.lstrip("([\"'“‘").rstrip(")]\"'”.,;:!…"))
    if match is None or (match["sign"] and match["inner"]):
        return None
    if match["decimal"]:
        value = Fraction(match["decimal"].replace(",", ""))
    else:
        parts = (match[name] or "0" for name in ("whole", "over", "under"))
        whole, over, under = (int(part.replace(",", "")) for part in parts)
        if under == 0 or (match["whole"] and over >= under):
            return None
        value = whole + Fraction(over, under)
    return -value if "-" in (match["sign"], match["inner"]) else value


def isolated(text: str) -> Fraction | None:
    """The value of plain text that is one number, without a unit in letters; else None."""
    words = words_of(text) if len(text) <= _MAX_NUMBER else []
    lettered = len(words) != 1 or re.search(r"(?<!°)[a-zA-Zµμ]", words[0])
    return None if lettered else word_value(words[0])


def parse_number(text: str) -> Fraction | None:
    r"""The exact value of a string that contains exactly one number and nothing else, or None.

    Signs, thousands separators, decimals, fractions, mixed numbers and digits of any script are
    parsed. Markup, currency signs and percent signs are ignored. The limit is 200 characters.

    Examples:
      "1,234.50" is 2469/2, "−$5" is -5, "1 1/2" is 3/2 and r"\frac{1}{2}" is 1/2; "1,8", "18e3",
      "10-12", "3/0", "18 eggs" and "" are None.
    """
    return isolated(plain(text))
