"""Tokenized prompts, whose common prefix is stored once, and rows to train on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from boostlm.engine.tokenizer import PAD_ID, Tokenizer
from boostlm.errors import BoostError
from boostlm.lm.train_step import Batch
from boostlm.numerics import AnyArray


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


def training_rows(
    prompts: PromptTable, prompt_id_C: AnyArray, tokens_CxR: AnyArray, length_C: AnyArray
) -> Batch:
    """Rows of prompt and response, with weight 1 on the response's tokens, EOS included.

    Args:
      prompts: P tokens each, besides the prefix, which the rows do not contain.
      prompt_id_C: int32.
      tokens_CxR: int32, responses.
      length_C: int32, their lengths.

    Returns:
      Batch of numpy arrays [C, P + R].
    """
    C, R = tokens_CxR.shape
    width = prompts.tokens_NxP.shape[1] + R
    place_T = np.arange(width)[None]
    start_C = prompts.length_N[prompt_id_C][:, None]
    in_response = (place_T >= start_C) & (place_T < start_C + length_C[:, None])
    tokens = np.full((C, width), PAD_ID, np.int32)
    tokens[:, : prompts.tokens_NxP.shape[1]] = prompts.tokens_NxP[prompt_id_C]
    source = np.clip(place_T - start_C, 0, R - 1)
    tokens = np.where(
        in_response, np.take_along_axis(np.asarray(tokens_CxR), source, axis=1), tokens
    )
    return Batch(tokens, in_response.astype(np.float32))
