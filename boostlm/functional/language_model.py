"""What sampling and training need of a model: a few pure functions. Stubs of it serve as tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

Params = Any  # a pytree of float arrays
Cache = Any  # a pytree; what a model keeps of the tokens it has seen
NO_PREFIX = np.zeros(0, np.int32)


class LanguageModel(NamedTuple):
    """A causal language model as pure functions; shapes as in `boostlm`'s legend.

    Attributes:
      init: key -> params.
      hidden: (params, tokens_BxT int32, prefix_P int32) -> x_BxTxE. The prefix stands before every
        row and is computed once for all of them; it may have length 0. x_BxTxE[b, t] depends on the
        prefix and on tokens 0..t of row b only, so padding on the right is harmless.
      unembed: (params or head(params), x [..., E]) -> logits [..., V] float32, of the next token.
      head: params -> the parameters that `unembed` uses.
      prefill: (params, tokens_BxP, length_B) -> (logits_BxV after the last real token, cache).
      response_cache: (B, K, R) -> an empty cache for K responses of up to R tokens a prompt.
      decode: (params, token_BxK, step, length_B, prompt_cache, response_cache) ->
        (logits_BxKxV, response_cache). `token` is the response's token number `step` (0-based);
        its position is length + step. The K responses of a prompt share its prompt cache.
    """

    init: Callable[[Array], Params]
    hidden: Callable[[Params, Array, Array], Array]
    unembed: Callable[[Params, Array], Array]
    head: Callable[[Params], Params]
    prefill: Callable[[Params, Array, Array], tuple[Array, Cache]]
    response_cache: Callable[[int, int, int], Cache]
    decode: Callable[[Params, Array, Array, Array, Cache, Cache], tuple[Array, Cache]]
