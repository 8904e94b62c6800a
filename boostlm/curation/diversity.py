"""Diversity of responses: it shrinks when a model collapses by training on itself."""

import jax.numpy as jnp
from jax import Array

from boostlm.numerics import AnyArray


def distinct_fraction(tokens_NxKxR: AnyArray) -> Array:
    """The number of different responses among a prompt's K, divided by K.

    It also shrinks when a model gets better, since right answers are alike.

    Args:
      tokens_NxKxR: int32, all padded with the same token.

    Returns:
      float32 [N] in [1/K, 1].
    """
    K = tokens_NxKxR.shape[1]
    earlier_1xKxK = jnp.tril(jnp.ones((1, K, K), bool), -1)
    repeats_NxK = jnp.any(_same(tokens_NxKxR) & earlier_1xKxK, axis=-1)
    return jnp.sum(~repeats_NxK, axis=-1) / jnp.float32(K)


def wrong_pairs(tokens_NxKxR: AnyArray, correct_NxK: AnyArray) -> tuple[Array, Array]:
    """How many pairs of a prompt's wrong responses differ, and how many such pairs there are.

    The quotient of the sums is the chance that two wrong responses to a prompt differ. Unlike
    `distinct_fraction` it does not shrink because more responses are right.

    Args:
      tokens_NxKxR: int32, all padded with the same token.
      correct_NxK: bool.

    Returns:
      Two int32 [N].
    """
    K = tokens_NxKxR.shape[1]
    wrong_NxK = ~jnp.asarray(correct_NxK)
    earlier_1xKxK = jnp.tril(jnp.ones((1, K, K), bool), -1)
    pair_NxKxK = wrong_NxK[:, :, None] & wrong_NxK[:, None, :] & earlier_1xKxK
    differ_NxKxK = pair_NxKxK & ~_same(tokens_NxKxR)
    differ_N, pairs_N = (
        jnp.sum(x, axis=(1, 2), dtype=jnp.int32) for x in (differ_NxKxK, pair_NxKxK)
    )
    return differ_N, pairs_N


def _same(tokens_NxKxR: AnyArray) -> Array:
    """Which responses to a prompt are equal: bool [N, K, K]."""
    return jnp.all(tokens_NxKxR[:, :, None] == tokens_NxKxR[:, None, :], axis=-1)
