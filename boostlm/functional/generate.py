"""Batched sampling with a key-value cache, in one `lax.while_loop`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.functional.exact import largest_uint32, ordered_bits
from boostlm.functional.language_model import LanguageModel, Params


class TokenRule(NamedTuple):
    """How a token is drawn. Hashable and static under jit.

    Attributes:
      temperature: 0 takes the likeliest token.
      top_k: keep the k likeliest tokens (and ties with the last of them); 0 keeps all.
      top_p: keep the smallest set of likeliest tokens with at least this probability (and ties).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Responses(NamedTuple):
    """K sampled responses to each of B prompts.

    Attributes:
      tokens_BxKxR: int32, the stop token included, padded on the right.
      length_BxK: int32, tokens up to the first stop token, that one included.
      finished_BxK: bool, ended by a stop token; False means cut off by the length limit.
      logprob_BxKxR: float32, the model's own log-probability of each token (temperature 1, nothing
        filtered out), 0 on padding.
    """

    tokens_BxKxR: Array
    length_BxK: Array
    finished_BxK: Array
    logprob_BxKxR: Array


def restrict(logits: Array, rule: TokenRule) -> Array:
    """Scaled logits [..., V] with the tokens that `rule` excludes at -inf. No sort.

    The threshold on probability is found by bisection over the bits of float32. Top-k comes first
    and top-p is of what remains.
    """
    logits = logits / rule.temperature
    if rule.top_k > 0:
        logits = _keep(logits, lambda kept: jnp.sum(kept, axis=-1) >= rule.top_k)
    if rule.top_p < 1.0:
        prob = jax.nn.softmax(logits, axis=-1)
        logits = _keep(
            logits, lambda kept: jnp.sum(jnp.where(kept, prob, 0.0), axis=-1) >= rule.top_p
        )
    return logits


def _keep(logits: Array, enough) -> Array:
    """Drops the unlikeliest tokens for as long as `enough(kept mask [..., V])` holds."""
    bits = ordered_bits(jax.nn.softmax(logits, axis=-1))
    cut = largest_uint32(lambda t: enough(bits >= t[..., None]), logits.shape[:-1])
    return jnp.where(bits >= cut[..., None], logits, -jnp.inf)


def pick(key_BxK: Array, logits_BxKxV: Array, rule: TokenRule) -> Array:
    """Draws one token a row, int32 [B, K], each with its own key."""
    if rule.temperature == 0:
        return jnp.argmax(logits_BxKxV, axis=-1).astype(jnp.int32)
    categorical = jax.vmap(jax.vmap(jax.random.categorical))
    return categorical(key_BxK, restrict(logits_BxKxV, rule)).astype(jnp.int32)


def generate(
    model: LanguageModel,
    params: Params,
    prompt_BxP: Array,
    length_B: Array,
    key_BxK: Array,
    *,
    max_new_tokens: int,
    stop_ids: tuple[int, ...],
    pad_id: int,
    rule: TokenRule,
) -> Responses:
    """Samples K responses to each prompt, stopping early when every row has ended.

    Each prompt is prefilled once and its cache shared by its K responses. A row's draws depend on
    its key and its prompt alone. Jit it with everything but params, prompts, lengths and keys
    static; it runs on arrays sharded over B.

    Args:
      model: the functions `prefill`, `response_cache` and `decode` are used.
      params: of the model.
      prompt_BxP: int32, padded on the right.
      length_B: int32, real tokens of each prompt, at least 1.
      key_BxK: keys, one a response (see `row_keys`); token t uses fold_in(key, t).
      max_new_tokens: R.
      stop_ids: tokens that end a response, EOS and what the model has besides; not pad_id.
      pad_id: fills up what follows.
      rule: how tokens are drawn.
    """
    B, K = key_BxK.shape
    R = max_new_tokens
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))

    def ends(token):
        return jnp.isin(token, jnp.array(stop_ids))

    def emit(step, logits_BxKxV, done_BxK, out):
        tokens, logprob = out
        token = jnp.where(done_BxK, pad_id, pick(fold(key_BxK, step), logits_BxKxV, rule))
        own = jnp.take_along_axis(logits_BxKxV, token[..., None], axis=-1)[..., 0]
        own = own - jax.nn.logsumexp(logits_BxKxV, axis=-1)
        write = jax.lax.dynamic_update_slice_in_dim
        tokens = write(tokens, token[..., None], step, axis=2)
        logprob = write(logprob, jnp.where(done_BxK, 0.0, own)[..., None], step, axis=2)
        return token, done_BxK | ends(token), (tokens, logprob)

    def running(state):
        step, _, done_BxK, _, _ = state
        return (step < R) & ~jnp.all(done_BxK)

    def advance(state):
        step, token_BxK, done_BxK, cache, out = state
        logits, cache = model.decode(params, token_BxK, step - 1, length_B, prompt_cache, cache)
        token_BxK, done_BxK, out = emit(step, logits, done_BxK, out)
        return step + 1, token_BxK, done_BxK, cache, out

    first_logits_BxV, prompt_cache = model.prefill(params, prompt_BxP, length_B)
    logits_BxKxV = jnp.broadcast_to(first_logits_BxV[:, None], (B, K, first_logits_BxV.shape[-1]))
    out = (jnp.full((B, K, R), pad_id, jnp.int32), jnp.zeros((B, K, R), jnp.float32))
    token, done, out = emit(jnp.int32(0), logits_BxKxV, jnp.zeros((B, K), bool), out)
    state = (jnp.int32(1), token, done, model.response_cache(B, K, R), out)
    _, _, done, _, (tokens, logprob) = jax.lax.while_loop(running, advance, state)
    ended_at = jnp.argmax(ends(tokens), axis=-1) + 1
    return Responses(tokens, jnp.where(done, ended_at, R).astype(jnp.int32), done, logprob)
