"""How a token is drawn from logits, with one random number a row and no sort of the vocabulary.

Where logits are split over devices by vocabulary, they stay there. The devices exchange, for each
row, what each has of a maximum, a sum or a count (32 times for each of top-k and top-p, whose
thresholds are found by bisection), the mass of each block of 512 tokens, and one such block.

Suffixes: A rows, V vocabulary, N blocks of W tokens, M parts of the vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.config import SampleConfig
from boostlm.lm.sharding import gather_parts, model_parts
from boostlm.numerics import largest_uint32, ordered_bits

_BLOCK = 512  # tokens whose probabilities are added up before one of them is looked for


class SamplingParams(NamedTuple):
    """How a token is drawn. Hashable and static under jit.

    Attributes:
      temperature: 0 takes the likeliest token.
      top_k: keep the k likeliest tokens (and ties with the last of them); 0 keeps all.
      top_p: keep the smallest set of likeliest tokens with at least this probability (and ties).

    Example:
      >>> boostlm.SamplingParams()  # the model's own distribution
      SamplingParams(temperature=1.0, top_k=0, top_p=1.0)
      >>> greedy = boostlm.SamplingParams(temperature=0.0)
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def sampling_params_of(sample: SampleConfig) -> SamplingParams:
    """How a run draws its samples."""
    return SamplingParams(sample.temperature, sample.top_k, sample.top_p)


def restrict(logits: Array, sampling: SamplingParams) -> Array:
    """Scaled logits [..., V] with the tokens that `rule` excludes at -inf. No sort.

    The threshold on probability is found by bisection over the bits of float32. Top-k comes first
    and top-p is of what remains.
    """
    logits = logits / sampling.temperature
    if sampling.top_k > 0:
        logits = _keep(logits, lambda kept: jnp.sum(kept, axis=-1) >= sampling.top_k)
    if sampling.top_p < 1.0:
        prob = jax.nn.softmax(logits, axis=-1)
        logits = _keep(
            logits, lambda kept: jnp.sum(jnp.where(kept, prob, 0.0), axis=-1) >= sampling.top_p
        )
    return logits


def _keep(logits: Array, enough: Callable[[Array], Array]) -> Array:
    """Drops the unlikeliest tokens for as long as `enough(kept mask [..., V])` holds."""
    bits = ordered_bits(jax.nn.softmax(logits, axis=-1))
    cut = largest_uint32(lambda t: enough(bits >= t[..., None]), logits.shape[:-1])
    return jnp.where(bits >= cut[..., None], logits, -jnp.inf)


def draw_token(key_A: Array, logits_AxV: Array, sampling: SamplingParams) -> tuple[Array, Array]:
    """Draws one token a row, each with its own key.

    The token is the first at which the cumulative probability exceeds a uniform number. That reads
    the logits twice; perturbing each of them by noise, as `jax.random.categorical` does, takes V
    random numbers a row and longer than computing 262,144 logits.

    Args:
      key_A: keys.
      logits_AxV: float32.
      sampling: how.

    Returns:
      token_A int32, and logprob_A float32: the model's own log-probability of it (temperature 1,
      nothing excluded).
    """
    if sampling.temperature == 0:
        token_A = jnp.argmax(logits_AxV, axis=-1)
        log_total_A = jax.nn.logsumexp(logits_AxV, axis=-1)
    else:
        uniform_A = jax.vmap(jax.random.uniform)(key_A)
        token_A, log_total_A = _invert(restrict(logits_AxV, sampling), uniform_A)
        if sampling != SamplingParams():
            log_total_A = jax.nn.logsumexp(logits_AxV, axis=-1)
    own_A = jnp.take_along_axis(logits_AxV, token_A[:, None], axis=-1)[:, 0]
    return token_A.astype(jnp.int32), own_A - log_total_A


def _invert(logits_AxV: Array, uniform_A: Array) -> tuple[Array, Array]:
    """The inverse of the cumulative distribution at `uniform_A`, and the logsumexp of each row.

    Whole blocks of tokens are passed over first, then tokens inside one block. No block is of two
    devices' parts of the vocabulary.
    """
    A, V = logits_AxV.shape
    M = model_parts() if V % model_parts() == 0 else 1
    part, width = V // M, min(_BLOCK, V // M)
    fill = ((0, 0), (0, 0), (0, -part % width))
    padded = jnp.pad(logits_AxV.reshape(A, M, part), fill, constant_values=-jnp.inf)
    blocks_AxNxW = padded.reshape(A, -1, width)
    top_A = jnp.max(logits_AxV, axis=-1)
    mass_AxN = gather_parts(jnp.sum(jnp.exp(blocks_AxNxW - top_A[:, None, None]), axis=-1))
    total_A = jnp.sum(mass_AxN, axis=-1)
    block_A, rest_A = _first_above(mass_AxN, uniform_A * total_A)
    chosen_AxW = jnp.take_along_axis(blocks_AxNxW, block_A[:, None, None], axis=1)[:, 0]
    place_A, _ = _first_above(jnp.exp(chosen_AxW - top_A[:, None]), rest_A)
    before_A, in_part_A = jnp.divmod(block_A, blocks_AxNxW.shape[1] // M)
    token_A = before_A * part + in_part_A * width + place_A
    return token_A, top_A + jnp.log(total_A)


def _first_above(mass_AxN: Array, target_A: Array) -> tuple[Array, Array]:
    """The first place with mass whose cumulative mass exceeds the target, and what is left of it.

    If rounding leaves none, the last place with mass.
    """
    cumulative = jnp.cumsum(mass_AxN, axis=-1)
    above = (cumulative > target_A[:, None]) & (mass_AxN > 0)
    last_A = mass_AxN.shape[-1] - 1 - jnp.argmax(mass_AxN[:, ::-1] > 0, axis=-1)
    place_A = jnp.where(jnp.any(above, axis=-1), jnp.argmax(above, axis=-1), last_A)
    before = cumulative - mass_AxN
    return place_A, target_A - jnp.take_along_axis(before, place_A[:, None], axis=-1)[:, 0]
