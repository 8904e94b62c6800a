"""Diversity of answers: the first thing to shrink when a model trains on itself."""

import jax.numpy as jnp
from jax import Array

from boostlm.numerics import AnyArray


def distinct_fraction(tokens_NxKxR: AnyArray) -> Array:
    """How many of a prompt's K responses differ, over K.

    From k draws of an ideal learner trained on its own output, diversity shrinks by (1 - 1/k) a
    round on average, down to 1/k.

    Args:
      tokens_NxKxR: int32, padded alike.

    Returns:
      float32 [N] in [1/K, 1].
    """
    K = tokens_NxKxR.shape[1]
    same_NxKxK = jnp.all(tokens_NxKxR[:, :, None] == tokens_NxKxR[:, None, :], axis=-1)
    earlier_1xKxK = jnp.tril(jnp.ones((1, K, K), bool), -1)
    repeats_NxK = jnp.any(same_NxKxK & earlier_1xKxK, axis=-1)
    return jnp.sum(~repeats_NxK, axis=-1) / jnp.float32(K)
