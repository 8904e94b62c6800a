"""What sampling and training need of a model: five pure functions. Stubs of it serve as tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

Params = Any  # a pytree of float arrays
Cache = Any  # a pytree; what a model keeps of the tokens it has seen


class LanguageModel(NamedTuple):
    """A causal language model as pure functions; shapes as in `boostlm`'s legend.

    Attributes:
      init: key -> params.
      forward: (params, tokens_BxT int32) -> logits_BxTxV float32. Row b's logits at t depend on
        tokens 0..t of row b only, so padding on the right is harmless.
      prefill: (params, tokens_BxP, length_B) -> (logits_BxV after the last real token, cache).
      response_cache: (B, K, R) -> an empty cache for K responses of up to R tokens a prompt.
      decode: (params, token_BxK, step, length_B, prompt_cache, response_cache) ->
        (logits_BxKxV, response_cache). `token` is the response's token number `step` (0-based);
        its position is length + step. The K responses of a prompt share its prompt cache.
    """

    init: Callable[[Array], Params]
    forward: Callable[[Params, Array], Array]
    prefill: Callable[[Params, Array, Array], tuple[Array, Cache]]
    response_cache: Callable[[int, int, int], Cache]
    decode: Callable[[Params, Array, Array, Array, Cache, Cache], tuple[Array, Cache]]
