r"""Extracts the final answer of a GSM8K response and compares it with the reference.

`is_correct(response, reference)` is the complete verifier. It parses a response by these rules:

1. Only the first problem counts. It ends where the response, once it has answered, starts a new
   one: at a heading ("Question:", "User:") or a paragraph that poses a problem. Such headings
   before the first answer belong to the solution ("Understand the Problem:"). It also ends at a
   special token. Annotations such as <<48/2=24>>24 are removed.
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
5. Units are not compared, because references have none: "$18", "18 km/h", "18%", "18GB" and
   "the 18th day" are 18. But "18 thousand" is 18000. Number words from zero to twenty are parsed.
   Values are compared exactly.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from boostlm.verifiers.number.numbers import isolated, parse_number
from boostlm.verifiers.number.plain_text import fold, without_markup
from boostlm.verifiers.number.statements import (
    DENIAL,
    NOT_ASSERTED,
    NUMBER_WORDS,
    SENTENCE_END,
    corrected,
    stated_value,
)

_MAX_PHRASE = 400  # characters parsed after a marker or at the end

# --- Stated answers ---
_OF_PROBLEM = r"(?: (?:to|for|of) (?:the|this|our|your) (?:[a-z]{1,12} )?(?:question|problem|user))"
_NOTE = r"(?: ?\([^()\n]{0,40}\))? ?"
_MARKER = re.compile(
    r"(?P<hash>#{4,} ?)|(?P<boxed>-? ?\x02)"
    r"|(?P<is>(?:\b(?:if|whether|suppose) (?:that )?)?"
    r"(?:\b(?:the|my|our) (?:(?:final|correct|right|numerical) ){0,3}|\bfinal |^[ #]{0,8})answer"
    rf"{_OF_PROBLEM}?{_NOTE}(?:=|\b(?:is|was)(?=n't\b)"
    r"|\b(?:is|was|equals|comes to|(?:w|sh)ould be|will be)\b)[:\s]*)"
    rf"|(?P<label>(?:\bans(?:wer)?{_OF_PROBLEM}?{_NOTE}(?::|- )|^A:"
    r"|(?:\bfinal |^)answer(?= -?[$\d]))\s*)"
    r"|(?P<after>\bis (?:the|my|our) (?:final |correct )?answer\b)",
    re.IGNORECASE | re.MULTILINE,
)
_BARE = re.compile(r"^[ #>*]{0,8}(?!- )([^\na-zA-Z=]{1,60})$", re.MULTILINE)
_ALL_BEFORE = re.compile(r"\s*([^\n]{1,60})\n+####")  # "17 dollars" followed by "#### 18"
_HEADING = re.compile(
    r"(?<![A-Za-z])(?:Question|Problem|Instruction|Exercise|User|Human|Q) ?\d{0,4}[*_ ]{0,3}:"
)
_HASH_HEADING = re.compile(  # "#### 1. Understand the Problem:", but not "#### 18 Question:"
    rf"(?:1[.)] )?[A-Za-z][^\d\n]*?{_HEADING.pattern}|1[.)] [A-Z][^\d:\n]* [^\d:\n]*:$"
)
_LIST_ITEM = re.compile(r"^[ #*]{0,8}(\d{1,2})[.)] \S", re.MULTILINE)


def _labelled(phrase: str) -> Fraction | None:
    """The value after "Answer:", or None if the text is the first step of a solution."""
    sentence = SENTENCE_END.split(phrase)[0]
    long = len(sentence.split()) > 10 or re.search(r"\b(?:is|are|was|were|has|have)\b", sentence)
    return None if long or re.search(r"\d.*=", sentence) else stated_value(phrase)


def _items(text: str) -> set[str]:
    return set(_LIST_ITEM.findall(text))


def _answers(text: str, items: set[str]) -> list[Fraction | None]:
    """The stated answers, up to the first `#### N`. None is one that could not be parsed.

    `items` are the numbers of the response's list, which may be headings ("#### 1. Add").
    """
    found = [(match.start(), isolated(match[1]), False) for match in _BARE.finditer(text)]
    if match := _ALL_BEFORE.match(text):
        found.append((0, _labelled(match[1]), False))
    for match in _MARKER.finditer(text):
        kind, start, value, closes = match.lastgroup, match.start(), None, False
        phrase = text[match.end() : match.end() + _MAX_PHRASE]
        item = _LIST_ITEM.match(phrase)
        if item and kind != "is" and {"1", "2", str(int(item[1]) - 1 or 1)} <= items:
            continue  # a step in a list, or its heading
        if kind == "hash":
            line = re.split("[\n#]", phrase, maxsplit=1)[0]
            if _HASH_HEADING.match(line):
                continue
            value = stated_value(line)
            closes = value is not None or re.match(r"[-+$€£( ]*\.?\d", line) is not None
        elif kind == "boxed":
            value = stated_value(match[0][:-1] + phrase.partition("\x03")[0])
        elif kind == "after":
            sentence, _ = corrected(
                SENTENCE_END.split(text[max(0, start - _MAX_PHRASE) : start])[-1]
            )
            words = sentence.split()
            denied = DENIAL.search(" ".join(words[-4:]))  # "not 17 is the answer"
            value = None if denied else stated_value(" ".join(words[-2:]), any_lead=True)
        elif not NOT_ASSERTED.match(match[0]):
            phrase = re.split("(?i)\x02|answer", phrase)[0]  # the rest is a separate statement
            label = kind == "label" or "\n" in match[0]
            value = _labelled(phrase) if label else stated_value(phrase, any_lead=True)
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


def _last_sentence(text: str) -> str:
    sentences = re.split(r"(?<=[.!?;])\s|\n", text.rstrip()[-_MAX_PHRASE:])
    if len(text) > _MAX_PHRASE:
        sentences[0] = ""  # it is cut off at its start
    return next((s for s in reversed(sentences) if not _CLOSER.search(s)), "").rstrip(" $")


def _conclusion(text: str) -> Fraction | None:
    """The value that the last sentence asserts; None if the sentence is incomplete."""
    sentence = _last_sentence(text)
    cut = sentence[-1:].isdigit() and not _CUE.search(sentence) and stated_value(sentence) is None
    value = None if cut or _DANGLING.search(sentence) else stated_value(sentence, True, False)
    divided = value is None or value.denominator > 1 or not re.search(r"\d ?/ ?\d[^=]*$", sentence)
    return value if divided else None  # "36 / 2" is unfinished; "1/2" is a value


# --- The first problem ---
_SPECIAL_TOKEN = re.compile(r"<\|[a-zA-Z_]{1,30}\|>|</?s>|<eos>|<end_of_turn>|\[/?INST\]")
_HEADING_START = re.compile(  # from the last sentence's end to the heading: "\n1. Restate the "
    r"(?i)(?:^|\n|(?<=[.!?)\]…]))[^\w\n]*(?:"
    r"(?P<item>\d{1,2})[.)](?P<words>(?: [a-z]+){0,4})[^\w\n]*|(?:next|new|another|second) )?\Z"
)
_ANSWER_TO = re.compile(r"(?i)\banswer (?:to|for|of) (?:the|this|our|your) (?:[a-z]{1,12} )?\Z")
_PARAGRAPH = re.compile(r"\n\s*\n")
_POSES = re.compile(  # "Tom has 7 pens. How many ...?", but not only "How many ...?"
    r"(?im)[.,][*_]{0,3} (?:[a-z']{1,15} ){0,8}(?:how|what|which|when|where|who)\b[^\n?]{0,200}\?"
    r"[*_ ]{0,4}$"
)
_GIVEN = re.compile(rf"\d|\b(?i:{'|'.join(NUMBER_WORDS[2:])}|dozen|twice|half)\b")
_GIVEN_UP = re.compile(
    r"(?i)(?:\b(?:not|cannot|unable to|not able to)|n't) (?:know|solve|answer|find|determine"
    r"|calculate|be (?:solved|answered|determined))\b|\bno (?:idea|answer)\b|####\W*$"
)
_PLAN = re.compile(
    r"(?i)\b(?:let's|let us|in \d+ steps|given|asked|(?:I|we)(?:'ll| (?:will|need|must)))\b"
)


class _Break(NamedTuple):
    """A place where a new problem may start: a heading such as "Question:", or a paragraph."""

    start: int
    heading: bool
    poses: bool  # a heading that starts a sentence, with numbers given in what follows


def _breaks(folded: str) -> list[_Break]:
    """The headings that may start a new problem, and the paragraphs that pose one, in order."""
    items, found = _items(folded), []
    for match in _HEADING.finditer(folded):
        window = max(0, match.start() - 60), match.start()
        if _ANSWER_TO.search(folded, *window):
            continue  # "Answer to the Question: 18"
        line = folded[match.end() : match.end() + 300].lstrip("*_ \n").partition("\n")[0]
        lead = _HEADING_START.search(folded, *window)
        item = lead["item"] if lead else None
        if lead and item and lead.start() and item != "1" and str(int(item) - 1) not in items:
            lead = None  # "18. Question:" has an answer before the heading
        poses = lead is not None and not lead["words"] and _GIVEN.search(line) is not None
        found.append(_Break(lead.start() if lead else match.start(), True, poses))
    starts = [match.end() for match in _PARAGRAPH.finditer(folded)]
    for start, end in zip(starts, [*starts, len(folded)][1:], strict=True):
        if _POSES.search(folded, start, end):
            found.append(_Break(start, False, False))
    return sorted(found)


def _tries_to_answer(text: str) -> bool:
    """Whether plain text gives up, answers unclearly or ends with a conclusion."""
    for match in _MARKER.finditer(text):
        sentence = SENTENCE_END.split(text[match.end() : match.end() + _MAX_PHRASE])[0]
        clear = match.lastgroup != "label" or len(sentence.split()) <= 4
        if match.lastgroup != "hash" and clear and re.search(r"\d", sentence):
            return True
    return _concludes(text) or _GIVEN_UP.search(text) is not None


def _concludes(text: str) -> bool:
    return _conclusion(text) is not None and not _PLAN.search(_last_sentence(text))


def first_problem(response: str) -> str:
    """The response, folded, without thoughts and without the problems that it invents.

    An invented problem starts at a heading or at a paragraph that poses a problem, once an answer
    has been stated. If it was given up or only concluded, the heading must also pose a problem.
    """
    folded = fold(response)
    folded = folded.partition("</think>")[2] if "</think>" in folded else folded
    turns = _SPECIAL_TOKEN.split(folded)
    text = next((turn for turn in turns if re.search(r"\w|####", turn)), "")
    items, start = _items(text), 0
    for place in _breaks(text):
        part = without_markup(text[start : place.start])
        if _answers(part, items) or (place.poses and _tries_to_answer(part)):
            return text[: place.start]
        start = place.start
    return text


def final_answer(response: str) -> Fraction | None:
    r"""The exact value of a response's final answer; None if it is missing or contradictory.

    Examples:
      "9 + 9 = 18\n#### 18", "The answer is $18." and "So she earns 18 dollars." give 18;
      "17\n#### 18", "18 or 19" and "She makes 9 * 2" give None.
    """
    folded = first_problem(response)
    text = without_markup(folded)
    if answers := _answers(text, _items(text)):
        return answers[0] if len(set(answers)) == 1 else None
    breaks = _breaks(folded)
    posing = [place.start for place in breaks if not place.heading][:1]
    headings = [place.start for place in breaks if place.heading][-1:]
    before, after = ([without_markup(folded[:end]) for end in ends] for ends in (posing, headings))
    texts = (*filter(_concludes, before), text, *filter(_concludes, after))
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
