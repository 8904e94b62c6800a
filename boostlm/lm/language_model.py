"""The functions of a model that sampling and training call. Tests replace them with stubs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from boostlm.numerics import AnyArray

Params = Any  # a pytree of float arrays
Cache = Any  # a pytree; the keys and values of earlier tokens, for example
NO_PREFIX = np.zeros(0, np.int32)


class DecodeRows(NamedTuple):
    """The state of rows that are decoded together: A rows, S prompts, up to K rows for each.

    Rows of all ages and prompts mix. The inverse `row_SxK` lets a model process all rows of a
    prompt together.

    Attributes:
      index_A: int32, place of the input token in its response, from 0.
      clock: int32 scalar, counts the tokens ever decoded in a row's place. Entry `clock mod R` of
        every row's cache is written; entry j is `(clock - j) mod R` tokens old.
      prompt_A: int32, the row's prompt, in [0, S).
      place_A: int32, its place among the rows of that prompt, in [0, K).
      row_SxK: int32, the row at each place; any row for an empty place.
      length_S: int32, tokens of each prompt, without the prefix.
    """

    index_A: Array
    clock: Array
    prompt_A: Array
    place_A: Array
    row_SxK: Array
    length_S: Array


class Caches(NamedTuple):
    """Caches of the prefix, of S prompts and of A rows.

    Attributes:
      prefix: the cache of the P0 tokens before every prompt; P0 may be 0.
      prompt: leaves [S, ...].
      response: the cache of A rows, in a form that the model chooses.
    """

    prefix: Cache
    prompt: Cache
    response: Cache


class LanguageModel(NamedTuple):
    """A causal language model as pure functions; shapes as in `boostlm`'s legend.

    Attributes:
      init: key -> params.
      hidden: (params, tokens_BxT int32, prefix_P int32) -> x_BxTxE. The prefix stands before every
        row and is computed once for all of them; it may have length 0. x_BxTxE[b, t] depends on the
        prefix and on tokens 0..t of row b only, so padding on the right is harmless.
      unembed: (params or head(params), x [..., E]) -> logits [..., V] float32, of the next token.
      head: params -> the parameters that `unembed` uses.
      compact: params -> the same with matrices in the dtype of products. The functions below take
        params either way.
      read_prefix: (params, prefix_P) -> the cache of the tokens before every prompt.
      prefill: (params, tokens_BxP, length_B, prefix cache) -> (logits_BxV after the last real
        token, cache with leaves [B, ...], which fits `prompt_cache(B, P)`).
      prompt_cache: (S, P) -> an empty cache for S prompts of up to P tokens, leaves [S, ...]; that
        of fewer tokens, padded at the ends of its axes, fits into that of more.
      response_cache: (A, R) -> an empty cache for A rows of up to R tokens.
      decode: (params, token_A, rows, caches) -> (logits_AxV, response cache).

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> params = model.init(jax.random.key(0))
      >>> prefix_P = jnp.zeros(0, jnp.int32)  # nothing stands before every row
      >>> x_BxTxE = model.hidden(params, jnp.zeros((2, 5), jnp.int32), prefix_P)
      >>> model.unembed(params, x_BxTxE).shape
      (2, 5, 16)
    """

    init: Callable[[Array], Params]
    hidden: Callable[[Params, AnyArray, AnyArray], Array]
    unembed: Callable[[Params, Array], Array]
    head: Callable[[Params], Params]
    compact: Callable[[Params], Params]
    read_prefix: Callable[[Params, AnyArray], Cache]
    prefill: Callable[[Params, AnyArray, AnyArray, Cache], tuple[Array, Cache]]
    prompt_cache: Callable[[int, int], Cache]
    response_cache: Callable[[int, int], Cache]
    decode: Callable[[Params, Array, DecodeRows, Caches], tuple[Array, Cache]]
