"""Explicit PRNG keys, one a row: a draw depends only on its purpose and its place in the run.

A key is folded from (seed, purpose, rounds done, prompt, sample), not from the batch slot, the
batch size or the device. So a row's draws are the same on 1 device and on 8, alone or in a batch.
"""

import enum

import jax
from jax import Array

from boostlm.numerics import AnyArray


class Purpose(enum.IntEnum):
    """The purposes of random draws. Results depend on these numbers: never change them."""

    INIT = 0
    SEED_TRAINING = 1
    SAMPLE = 2
    FILTER = 3
    ALLOCATE = 4
    LABEL = 5
    LABEL_FILTER = 6
    TRAIN = 7
    EVALUATE = 8
    AUDIT = 9
    ADAPTERS = 10


def round_key(seed: int, purpose: Purpose, round_: int | Array) -> Array:
    """The scalar key for a purpose after `round_` rounds of training."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(purpose)), round_)


def pair_keys(key: Array, prompt_id_B: AnyArray, sample_BxK: AnyArray) -> Array:
    """Keys [B, K] for samples of prompts: fold_in(fold_in(key, prompt), sample)."""
    fold = jax.random.fold_in
    per_prompt = jax.vmap(fold, (None, 0))(key, prompt_id_B)
    return jax.vmap(jax.vmap(fold, (None, 0)))(per_prompt, sample_BxK)


def row_keys(key: Array, prompt_id_B: Array, samples: int) -> Array:
    """Keys [B, samples] for samples 0..samples-1 of each prompt.

    Example:
      >>> keys_BxK = boostlm.row_keys(jax.random.key(0), jnp.array([7, 3]), 2)
      >>> alone_BxK = boostlm.row_keys(jax.random.key(0), jnp.array([3]), 2)
      >>> bool((jax.random.key_data(keys_BxK[1]) == jax.random.key_data(alone_BxK[0])).all())
      True
    """
    sample_BxK = jax.numpy.broadcast_to(jax.numpy.arange(samples), (prompt_id_B.shape[0], samples))
    return pair_keys(key, prompt_id_B, sample_BxK)
