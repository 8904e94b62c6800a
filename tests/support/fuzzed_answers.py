"""Random responses to GSM8K problems, from a hand-labelled table and from fragments."""

import json

from support.data_sets import FIXTURES

TABLE = [json.loads(line) for line in (FIXTURES / "final_answers.jsonl").read_text().splitlines()]

_FRAGMENTS_TEXT = (
    "0 1 5 9 18 19 007 1,234 1,8 1.5 .5 18e3 3/4 1/0 ½ ¾ １８ ١٨ ² ① − – — - + ± $ € % ° = ≈ < > ( ) [ ] { } "
    "#### ## ** * _ ` ~ \\ \\\\ \\( \\) \\[ \\] \\$ \\% \\, \\boxed{ \\boxed{18} \\frac{ \\frac{1}{2} \\frac12 "
    "\\text{ \\times \\begin{align} << >> <<9+9=18>> </think> <answer> </answer> <|im_end|> </s> . , ; : ? ! "
    "... … ' \" and or not so because is the answer Answer: final Question: Q: A: User: if than about half of "
    "minus million dollars eggs pm x y 18x 10-12 5:30 1st 22nd how many step 1. 2. 3) \u200b \u202e \u00a0 "
    "Problem: 1. Answer: kgs GB yrs not isn't but it is rather Tom has 4 pens. how many? ``` <think> "
    "\u2028 \ud800 \x00 \x02 \x03 é 中 🎉"
)
FRAGMENTS = [*_FRAGMENTS_TEXT.split(" "), " ", "\n", "\n\n", "\r\n", "\t", "The answer is "]
FRAGMENTS += ["\n#### ", " = ", " 18 ", ". "]


def mutated(rng, text):
    """`text` with a few random edits."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 0, 1, 5)))
        text = text[:start] + rng.choice((rng.choice(FRAGMENTS), text[end : end + 9])) + text[end:]
    return text


def fuzzed(rng):
    """A response from the table with random edits, or random fragments."""
    if rng.random() < 0.5:
        return mutated(rng, rng.choice(TABLE)["response"])
    return "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 20)))
