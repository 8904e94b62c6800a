"""One spelling for each sign, digit and kind of markup of a GSM8K response."""

import re
import unicodedata

_SAME = {code: chr(code) if code >= 32 else " " for code in range(127)}
_SAME |= {10: "\n", 0x2028: "\n", ord("。"): ".", ord("’"): "'", ord("—"): " — "}
for _like, _plain_char in (("−‐‑‒–﹣－", "-"), ("×·•∙⋅", "*"), ("⁄∕", "/"), ("º˚", "°")):
    _SAME |= dict.fromkeys(map(ord, _like), _plain_char)


class _Fold(dict):
    """A translation table that also covers the digits, widths and spaces of every script."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        plain = unicodedata.normalize("NFKC", char)
        if char.isdecimal():
            return str(unicodedata.decimal(char))
        if "⁄" in plain:  # ½; the TeX form, as 1½ must not become 11/2
            return "\\frac{" + plain.replace("⁄", "}{") + "}"
        if unicodedata.category(char) == "Cf":  # zero-width characters and direction marks
            return None
        if unicodedata.category(char) == "Sc" and char not in "¢£€¥₹":
            return "€"  # any other currency sign
        return plain if 0xFF01 <= code <= 0xFF5E or char.isspace() or "°" in plain else char


_FOLD = _Fold(_SAME)
CURRENCY_CODES = "USD|EUR|GBP|INR|CAD|AUD|NZD|SGD|HKD|JPY|CNY|RMB|CHF|MXN|ZAR|PHP|BRL|SEK|NOK|DKK"
_BRACED = r"(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+"  # balanced, with two levels inside
_RULE_TEXTS = [
    (r"<<[^<>\n]*>>", ""),
    (r"(?i)<answer>", "\nAnswer: "),
    (r"(?i)</answer>|<br ?/?>|\\n(?![a-z])|\\\\|\\(?:begin|end)\{[a-z]{1,20}\*?\}", "\n"),
    (r"</?[a-zA-Z]{1,10}\d? ?/?>", " "),
    (r"(?<=\d)(?=\\[dt]?frac)", " "),  # a mixed number
    (r"\\[dt]?frac\s*\{\s*(-?\d{1,99})\s*\}\s*\{\s*(\d{1,99})\s*\}", r"\1/\2 "),
    (r"\\[dt]?frac(\d)(\d)", r"\1/\2 "),
    (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})", "°"),
    (r"\{,\}|,\\!", ","),  # 1{,}234
    (rf"\\f?box(?:ed)?\s*\{{({_BRACED})\}}", "\x02\\1\x03"),
    (r"\\(?:text|math)[a-z]{0,9}\b|\\(?:mbox|emph|bf|left|right|q?quad|(?:black)?square)\b", " "),
    (r"\\(?:times|cdot)\b", "*"),
    (r"\\approx\b", "≈"),
    (r"\\([$%&#_])", r"\1"),
    (r"\\[\s,;:!()\[\]]|\*\*|__|[`{}~&]", " "),
    (r"(?<![\w)])[*_](?=[^\s*_])|(?<=[^\s*_])[*_](?![\w(]|[.$]\d)", ""),  # *emphasis*, not 3*6
    (rf"\b(?:US|AU|CA|NZ|HK|A|C|S)\$|\b(?:{CURRENCY_CODES}|Rs\.?) ?(?=\d)", "$"),
    (r"(?i)\b(approx|ans|sq|mrs?|ms|dr)\. ", r"\1 "),
    (r"(?<=[a-zA-Z])[ $]{0,2}\^ ?[23]\b\$?", ""),  # 18 m^2
    (r"[ \t]+", " "),
    (r" ?\n ?", "\n"),
    (r"(?im)^([ #*]{0,8})(?:step|part) ?\d{1,3} ?[:.)]", r"\1"),
    (r"(?m)^[ \d.,$]{1,40}\n(?:[-+*x][ \d.,$]{1,40}\n){1,9}[-=]{2,}\n", ""),  # a sum in a column
]
_RULES = [(re.compile(old), new) for old, new in _RULE_TEXTS]


def fold(text: str) -> str:
    """`text` with one spelling for each sign, digit, space and line end; markup stays."""
    return text.replace("\r\n", "\n").translate(_FOLD)


def without_markup(folded: str) -> str:
    r"""Folded text without markup. \boxed{N} becomes \x02N\x03; unknown TeX keeps its backslash."""
    for old, new in _RULES:
        folded = old.sub(new, folded)
    return folded


def plain(text: str) -> str:
    """`text`, folded and without markup."""
    return without_markup(fold(text))
