"""Diversity of answers: the first thing to shrink when a model trains on itself."""

import jax.numpy as jnp
from jax import Array

from boostlm.numerics import AnyArray


def distinct_fraction(tokens_NxKxR: AnyArray) -> Array:
    """The number of different responses among a prompt's K, divided by K.

    An ideal learner that trains on k own draws a round becomes less diverse, until all responses to
    a prompt are the same: 1/k.

    Args:
      tokens_NxKxR: int32, all padded with the same token.

    Returns:
      float32 [N] in [1/K, 1].
    """
    K = tokens_NxKxR.shape[1]
    same_NxKxK = jnp.all(tokens_NxKxR[:, :, None] == tokens_NxKxR[:, None, :], axis=-1)
    earlier_1xKxK = jnp.tril(jnp.ones((1, K, K), bool), -1)
    repeats_NxK = jnp.any(same_NxKxK & earlier_1xKxK, axis=-1)
    return jnp.sum(~repeats_NxK, axis=-1) / jnp.float32(K)
