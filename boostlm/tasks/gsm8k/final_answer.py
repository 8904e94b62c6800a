r"""Extracts the final answer of a GSM8K response and compares it with the reference.

`is_correct(response, reference)` is the complete verifier. It parses a response by these rules:

1. Only the first problem counts. It ends where a new one starts ("Question:", "User:", a special
   token, a new paragraph that poses a problem). Annotations such as <<48/2=24>>24 are removed.
2. A stated answer is `#### N`, `\boxed{N}`, "the answer is ... N", "N is the answer", "Answer: N",
   or a line that contains only a number. "Answer: N" may have a unit but not a sum or a sentence,
   because solutions also start with "Answer:". Text after `#### N` is ignored. If stated answers
   differ, the response has no final answer.
3. All other text is working and may contain any numbers. If no answer is stated, the last sentence
   counts if it is complete and asserts one value ("So she earns $18 in total.", "9 * 2 = 18"). A
   response that stops in the middle of a computation has no final answer.
4. A phrase states a value only if it has exactly one number and every number can be parsed. "18 or
   19", "10-12", "5:30", "18e3", "1,8", "18x", "18 + 2" and "2 hours 30 minutes" state no value.
   Other numbers may follow a stated answer in a reason or qualification ("18 because 9 + 9 = 18",
   "18 eggs in 3 days"). Bounds ("more than 18"), negations ("not 18") and questions ("18?") state
   no value.
5. Units are not compared, because references have none: "$18", "18 km/h", "18%", "18 cents" and
   "the 18th day" are 18. But "18 thousand" is 18000. Number words from zero to twenty are parsed.
   Values are compared exactly.
"""

import re
import unicodedata
from fractions import Fraction

_MAX_NUMBER = 200  # characters in one number: int() is quadratic in the input length
_MAX_PHRASE = 400  # characters parsed after a marker or at the end

# --- Plain text: one spelling for each sign, digit and kind of markup ---
_SAME = {code: chr(code) if code >= 32 else " " for code in range(127)}
_SAME |= {10: "\n", 0x2028: "\n", ord("。"): ".", ord("’"): "'", ord("—"): " — "}
for _like, _plain_char in (("−‐‑‒–﹣－", "-"), ("×·•∙⋅", "*"), ("⁄∕", "/")):
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
        return plain if 0xFF01 <= code <= 0xFF5E or char.isspace() else char


_FOLD = _Fold(_SAME)
_BRACED = r"(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+"  # balanced, with two levels inside
_RULE_TEXTS = [
    (r"<<[^<>\n]*>>", ""),
    (r"<\|[a-zA-Z_]{1,30}\|>|</?s>|<eos>|<end_of_turn>|\[/?INST\]", "\nQuestion: "),
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
    (r"\b(?:US|AU|CA|NZ|HK|A|C|S)\$|\b(?:USD|EUR|GBP|Rs\.?) ?(?=\d)", "$"),
    (r"(?i)\b(approx|ans|sq|mrs?|ms|dr)\. ", r"\1 "),
    (r"(?<=[a-zA-Z])[ $]{0,2}\^ ?[23]\b\$?", ""),  # 18 m^2
    (r"[ \t]+", " "),
    (r" ?\n ?", "\n"),
    (r"(?im)^([ #*]{0,8})(?:step|part) ?\d{1,3} ?[:.)]", r"\1"),
    (r"(?m)^[ \d.,$]{1,40}\n(?:[-+*x][ \d.,$]{1,40}\n){1,9}[-=]{2,}\n", ""),  # a sum in a column
]
_RULES = [(re.compile(old), new) for old, new in _RULE_TEXTS]


def _plain(text: str) -> str:
    r"""`text` without markup. \boxed{N} becomes \x02N\x03; unknown TeX keeps its backslash."""
    text = text.replace("\r\n", "\n").translate(_FOLD)
    text = text.partition("</think>")[2] if "</think>" in text else text
    for old, new in _RULES:
        text = old.sub(new, text)
    return text


# --- Parse one word as a number ---
_INTEGER = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
_UNIT = (
    r"(?:%|°[CFcf]?|¢|st|nd|rd|th|(?:[kcm]?m|mi|ft|in|yd)[²³]?|[km]?g|lbs?|oz|m?[lL]|hr?s?|mins?|s"
    r"|secs?|mph|[ap]m|c|(?!hundred|thousand|[mbtr]+illion)[a-z]{4,15})"
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
_JOINS = [(re.compile(old), new) for old, new in _JOIN_TEXTS]
_SPACED = re.compile(r"(?<![\d.,/&])[1-9]\d{0,2}(?: \d{3})+(?![\d/&]|,\d)")  # 1 234
_ORDINAL = re.compile(r"(?<![\d.,])\d+(?:st|nd|rd|th)\b")


def _words(phrase: str) -> list[str]:
    """Splits `phrase` into words, one per number. Drops ordinals if there are cardinals."""
    phrase = phrase.replace("\x02", " ").replace("\x03", " ")
    cardinals = _ORDINAL.sub(" ", phrase)
    phrase = cardinals if re.search(r"\d", cardinals) else phrase
    for old, new in _JOINS:
        phrase = old.sub(new, phrase)
    phrase = _SPACED.sub(lambda match: match[0].replace(" ", ""), phrase)
    return [word for word in phrase.split() if word != "$"]


def _word_value(word: str) -> Fraction | None:
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


def _isolated(plain: str) -> Fraction | None:
    words = _words(plain) if len(plain) <= _MAX_NUMBER else []
    return _word_value(words[0]) if len(words) == 1 and not re.search("[a-z]", words[0]) else None


def parse_number(text: str) -> Fraction | None:
    r"""The exact value of a string that contains exactly one number and nothing else, or None.

    Signs, thousands separators, decimals, fractions, mixed numbers and digits of any script are
    parsed. Markup, currency signs and percent signs are ignored. The limit is 200 characters.

    Examples:
      "1,234.50" is 2469/2, "−$5" is -5, "1 1/2" is 3/2 and r"\frac{1}{2}" is 1/2; "1,8", "18e3",
      "10-12", "3/0", "18 eggs" and "" are None.
    """
    return _isolated(_plain(text))


# --- Parse the one value that a phrase states ---
_SENTENCE_END = re.compile(r"[!?;\n]|\.[\"')\]]*(?=\s|$|[A-Z][a-z])")
_RESTATED = re.compile(r"(?i)≈|[=-]>|[→⇒]|\bround(?:s|ed) (?:up |down )?to\b|, so (?=[a-z] ?=)")
_UNSOLVED = re.compile(r"[\\<>≤≥≠±√^]|\d[xyzn]\b|\b[xyzn] ?[-+*/]|[-+*/] ?[xyzn]\b|^\W*$")
_SUM = re.compile(r"[-+*/÷x().,$\s]*\d[-+*/÷x().,$\s\d]*")
_OPERATION = re.compile(r"[*+÷]|/ ?\d|[\w)] ?- ?\d")
_DENIAL = re.compile(r"(?i)\b(?:not|never|cannot|wrong|incorrect)\b|n't\b")
_NOT_ASSERTED = re.compile(rf"{_DENIAL.pattern}|\b(?:n?either|between|if|whether|suppose|or)\b")
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
    r"(?i)(?:^|[ ,])(?:because|since|as|which|not|rather|instead|for|after|with|at|every|each)\b"
    r"|(?<=[^\s:,]) (?:per|in|from|on|during|over)\b|\((?!or\b)"
)
_PARENTHESIS = re.compile(r"\((?!or\b)")
_SCALES = dict(hundred=100, thousand=10**3, million=10**6, billion=10**9, trillion=10**12)
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_SMALL += " fifteen sixteen seventeen eighteen nineteen twenty"
_SPELLED = {word: str(value) for value, word in enumerate(_SMALL.split())}
_NUMERIC = re.compile(r"[\W_]*\d")  # a word that starts as a number; not "mp3" or "x1"


def _quantity(phrase: str, any_lead: bool, qualified: bool) -> Fraction | None:
    """The one value in a phrase without "="; None if there is not exactly one.

    With `any_lead`, any words may precede it; with `qualified`, an aside may follow it.
    """
    words = _words(phrase)
    if not re.search(r"\d", phrase):
        any_lead = False  # because "one" is also a pronoun
        words = [_SPELLED.get(word.strip(" .,!").lower(), word) for word in words]
    first = next((i for i, word in enumerate(words) if _NUMERIC.match(word)), None)
    if first is None or (value := _word_value(words[first])) is None:
        return None
    lead, tail = " ".join(words[:first]), " ".join(words[first + 1 :])
    asserted = not _NOT_ASSERTED.search(lead if qualified else phrase)
    plain_lead = (any_lead or _FILLERS.fullmatch(lead)) and not _NOT_BEFORE.search(lead)
    if not asserted or not plain_lead or _NOT_AFTER.match(tail):
        return None
    others = (_ASIDE if qualified else _PARENTHESIS).split(tail, maxsplit=1)[0]
    if any(_NUMERIC.match(word) and _word_value(word) != value for word in others.split()):
        return None
    scale = tail.split(" ")[0].rstrip(",:)").removesuffix("s").lower()
    return value * _SCALES.get(scale, 1)


def _stated(phrase: str, any_lead: bool = False, qualified: bool = True) -> Fraction | None:
    """The one value that a sentence states, or None. Sums in an equation are not values."""
    end = _SENTENCE_END.search(phrase)
    phrase = _RESTATED.split(phrase[: end.start()] if end else phrase)[-1]
    if (end and end[0] == "?") or _UNSOLVED.search(phrase):
        return None
    first, *sides = re.split(r"=|(?<=\d) (?:is|equals) (?=[-$\d])", phrase)
    if not sides:
        return _quantity(first, any_lead, qualified)
    value = _quantity(sides[-1], any_lead, True)
    if _DENIAL.search(first) or (value is None and not _SUM.fullmatch(sides[-1])):
        return None
    left = [side for side in (first, *sides[:-1]) if not _OPERATION.search(side)]
    values = {value, *(_quantity(side, True, False) for side in left)} - {None}
    return values.pop() if len(values) == 1 else None


# --- Stated answers ---
_NOTE = r"(?: ?\([^()\n]{0,40}\))? ?"
_MARKER = re.compile(
    r"(?P<hash>#{4,} ?)|(?P<boxed>-? ?\x02)"
    r"|(?P<is>(?:\b(?:if|whether|suppose) (?:that )?)?"
    r"(?:\b(?:the|my|our) (?:(?:final|correct|right|numerical) ){0,3}|\bfinal |^[ #]{0,8})answer"
    r"(?: (?:to|for|of) (?:the|this|our|your) (?:[a-z]{1,12} )?(?:question|problem))?"
    rf"{_NOTE}(?:=|\b(?:is|was|equals|comes to|(?:w|sh)ould be|will be)\b)[:\s]*)"
    rf"|(?P<label>(?:\bans(?:wer)?{_NOTE}(?::|- )|^A:|(?:\bfinal |^)answer(?= -?[$\d]))\s*)"
    r"|(?P<after>\bis (?:the|my|our) (?:final |correct )?answer\b)",
    re.IGNORECASE | re.MULTILINE,
)
_BARE = re.compile(r"^[ #>*]{0,8}(?!- )([^\na-zA-Z=]{1,60})$", re.MULTILINE)
_ALL_BEFORE = re.compile(r"\s*([^\n]{1,60})\n+####")  # "17 dollars" followed by "#### 18"
_LIST_ITEM = re.compile(r"^[ #*]{0,8}(\d{1,2})[.)] \S", re.MULTILINE)


def _labelled(phrase: str) -> Fraction | None:
    """The value after "Answer:", or None if the text is the first step of a solution."""
    sentence = _SENTENCE_END.split(phrase)[0]
    long = len(sentence.split()) > 10 or re.search(r"\b(?:is|are|was|were|has|have)\b", sentence)
    return None if long or re.search(r"\d.*=", sentence) else _stated(phrase)


def _answers(text: str) -> list[Fraction | None]:
    """The stated answers, up to the first `#### N`. None is one that could not be parsed."""
    found = [(match.start(), _isolated(match[1]), False) for match in _BARE.finditer(text)]
    if match := _ALL_BEFORE.match(text):
        found.append((0, _labelled(match[1]), False))
    items = set(_LIST_ITEM.findall(text))
    for match in _MARKER.finditer(text):
        kind, start, value, closes = match.lastgroup, match.start(), None, False
        phrase = text[match.end() : match.end() + _MAX_PHRASE]
        item = _LIST_ITEM.match(phrase)
        if item and kind != "is" and {"1", "2", str(int(item[1]) - 1 or 1)} <= items:
            continue  # a step in a list, or its heading
        if kind == "hash":
            line = re.split("[\n#]", phrase, maxsplit=1)[0]
            value = _stated(line)
            closes = value is not None or re.match(r"[-+$€£( ]*\.?\d", line) is not None
        elif kind == "boxed":
            value = _stated(match[0][:-1] + phrase.partition("\x03")[0])
        elif kind == "after":
            sentence = _SENTENCE_END.split(text[max(0, start - _MAX_PHRASE) : start])[-1]
            value = _stated(" ".join(sentence.split()[-2:]), any_lead=True)
        elif not _NOT_ASSERTED.match(match[0]):
            phrase = re.split("(?i)\x02|answer", phrase)[0]  # the rest is a separate statement
            label = kind == "label" or "\n" in match[0]
            value = _labelled(phrase) if label else _stated(phrase, any_lead=True)
        found.append((start, value, closes))
    found.sort(key=lambda answer: answer[0])
    end = next((i for i, (_, _, closes) in enumerate(found) if closes), len(found))
    return [value for _, value, closes in found[: end + 1] if closes or value is not None]


_CLOSER = re.compile(r"(?i)^\D*\b(?:hope|let me know|correct|glad|happy|thanks?|done)\b\D*$|^\W*$")
_CUE = re.compile(r"(?i)####|^\W*(?:so|therefore|thus|hence|finally|in total|in all)\b|[=:≈]")
_DANGLING = re.compile(
    r"(?i)(?:[-+*/÷=:,(]|\b(?:and|or|then|so|the|an?|of|to|at|for|from|in|by|with|s?he|they|it|is"
    r"|are|plus|minus|times|per|but|if|because|since|which|that|than))$"
)


def _conclusion(text: str) -> Fraction | None:
    """The value that the last sentence asserts; None if the sentence is incomplete."""
    sentences = re.split(r"(?<=[.!?;])\s|\n", text.rstrip()[-_MAX_PHRASE:])
    if len(text) > _MAX_PHRASE:
        sentences[0] = ""  # it is cut off at its start
    sentence = next((s for s in reversed(sentences) if not _CLOSER.search(s)), "").rstrip(" $")
    cut = sentence[-1:].isdigit() and not _CUE.search(sentence) and _stated(sentence) is None
    value = None if cut or _DANGLING.search(sentence) else _stated(sentence, True, False)
    divided = value is None or value.denominator > 1 or not re.search(r"\d ?/ ?\d[^=]*$", sentence)
    return value if divided else None  # "36 / 2" is unfinished; "1/2" is a value


_NEW_PROBLEM = re.compile(r"(?<![A-Za-z])(?:Question|Problem|Instruction|User|Human|Q) ?\d{0,4} ?:")
_POSES = re.compile(  # "Tom has 7 pens. How many ...?", but not only "How many ...?"
    r"(?im)[.,] (?:[a-z']{1,15} ){0,8}(?:how|what|which|when|where|who)\b[^\n?]{0,200}\?$"
)


def final_answer(response: str) -> Fraction | None:
    r"""The exact value of a response's final answer; None if it is missing or contradictory.

    Examples:
      "9 + 9 = 18\n#### 18", "The answer is $18." and "So she earns 18 dollars." give 18;
      "17\n#### 18", "18 or 19" and "She makes 9 * 2" give None.
    """
    problems = _NEW_PROBLEM.split(_plain(response))
    problem = next((text for text in problems if re.search(r"\w|####", text)), "")
    paragraphs = problem.strip().split("\n\n")
    posing = (i for i, text in enumerate(paragraphs) if i and _POSES.search(text))
    texts = dict.fromkeys(("\n\n".join(paragraphs[: next(posing, None)]), problem))
    for text in texts:
        if answers := _answers(text):
            return answers[0] if len(set(answers)) == 1 else None
    return next((value for value in map(_conclusion, texts) if value is not None), None)


def is_correct(response: str, reference: str) -> bool:
    """Whether the final answer equals the reference: a number, or text ending in "#### N".

    Raises:
      ValueError: the reference has neither form.

    Examples:
      is_correct("She earns 9 * 2 = $18.", "18") and is_correct("18%", "#### 18") are True.
    """
    expected = parse_number(reference.rpartition("####")[2])
    if expected is None:
        raise ValueError(f"the reference {reference[-80:]!r} has no number after its last ####")
    return final_answer(response) == expected
