"""Tokenized prompts, whose common prefix is stored once, and rows to train on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from boostlm.engine.tokenizer import PAD_ID, Tokenizer
from boostlm.errors import BoostError


class PromptTable(NamedTuple):
    """Tokenized prompts. Each consists of the prefix and its own tokens.

    Attributes:
      prefix_P0: int32, the tokens that all prompts begin with: BOS, and few-shot examples if any.
      tokens_NxP: int32, the other tokens, at least one, padded on the right.
      length_N: int32, how many other tokens each prompt has.
    """

    prefix_P0: np.ndarray
    tokens_NxP: np.ndarray
    length_N: np.ndarray


def tokenize_prompts(
    tokenizer: Tokenizer, texts_by_split: Mapping[str, Sequence[str]], limit: int
) -> dict[str, PromptTable]:
    """Tokenizes the prompts of several splits; they share one prefix.

    Args:
      tokenizer: the model's tokenizer.
      texts_by_split: whole prompts; no split is empty.
      limit: most tokens of a whole prompt, BOS included. A BoostError names a longer one.
    """
    rows = {
        split: [tokenizer.encode_prompt(text) for text in texts]
        for split, texts in texts_by_split.items()
    }
    for split, prompts in rows.items():
        longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
        if len(prompts[longest]) > limit:
            raise BoostError(
                f"{split} prompt {longest} has {len(prompts[longest])} tokens, more than "
                f"data.max_prompt_tokens {limit}: raise that field to {len(prompts[longest])} or "
                f"more ({texts_by_split[split][longest][-60:]!r})"
            )
    common = common_prefix([row for prompts in rows.values() for row in prompts])
    return {split: _table(prompts, common) for split, prompts in rows.items()}


def common_prefix(rows: Sequence[list[int]]) -> int:
    """The length of the common prefix of all rows; it leaves at least one token of each row."""
    first, last = min(rows), max(rows)  # a prefix of these two is a prefix of all
    most = min(len(row) for row in rows) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _table(rows: Sequence[list[int]], common: int) -> PromptTable:
    own = [row[common:] for row in rows]
    length_N = np.array([len(row) for row in own], np.int32)
    tokens_NxP = pad_rows(own, int(length_N.max()))
    return PromptTable(np.array(rows[0][:common], np.int32), tokens_NxP, length_N)


def pad_rows(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Token lists as int32 [len(rows), width], padded on the right."""
    out = np.full((len(rows), width), PAD_ID, np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
