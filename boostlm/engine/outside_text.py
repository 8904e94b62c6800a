"""What people and other models wrap around a response: thoughts, special tokens, the prompt."""

import re
from collections.abc import Sequence

_THOUGHT_TAG = re.compile(
    r"(?i)[<\[◁](/?)(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)[>\]▷]"
)
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_TURN = re.compile(r"<\|(?:im_start|start|start_header_id)\|>(?:assistant)?")
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|end|eot_id|eom_id|end_of_text|endoftext|return)\|>|</s>|<eos>|<end_of_turn>"
)
_BLANK_LINES = re.compile(r"\n\s*\n")


def without_blank_lines(text: str) -> str:
    """`text` with one line end in place of each run of blank lines."""
    return _BLANK_LINES.sub("\n", text)


def unwrapped(text: str, prompts: Sequence[str]) -> str:
    """Outside text without thoughts, special tokens and a repeated prompt.

    Args:
      text: what a person or a model wrote.
      prompts: forms of the prompt that `text` may start with. Only their words are compared.
    """
    text = _without_thoughts(text.replace("\r\n", "\n").replace("\ufeff", ""))
    text = text.rpartition(_FINAL_CHANNEL)[2]
    turns = (_TURN.sub("", turn).strip() for turn in _END_OF_TURN.split(text))
    text = next((turn for turn in turns if re.search(r"[\w#]", turn)), "")
    for prompt in prompts:
        text = _without_prompt(text, prompt)
    return text.strip()


def _without_thoughts(text: str) -> str:
    """What stands outside <think>...</think>; a tag without its other half spans to the end."""
    kept, *rest = _THOUGHT_TAG.split(text)
    inside = False
    for slash, part in zip(rest[::2], rest[1::2], strict=True):
        if slash and not inside:
            kept = ""  # the first half was in the prompt
        inside = not slash
        kept += "" if inside else part
    return kept


def _without_prompt(text: str, prompt: str) -> str:
    """`text` without the prompt's words at its start; unchanged if nothing else is in it."""
    words, end = list(re.finditer(r"\w+", prompt)), 0
    found = re.finditer(r"\w+", text)
    for word in words:
        match = next(found, None)
        if match is None or match[0] != word[0]:
            return text
        end = match.end()
    return (text[end:].lstrip(prompt[words[-1].end() :] + "*_ \n") if words else "") or text
