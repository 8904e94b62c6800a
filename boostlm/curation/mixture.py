"""Filters and mixes: from verdicts to the weighted training set of a round."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.curation.allocate import allocate
from boostlm.numerics import (
    FIXED_POINT_BITS,
    AnyArray,
    expand,
    fixed_point_sum,
    to_fixed_point,
)


class Mixture(NamedTuple):
    """Example weights of a round (lambda). They sum to 1, or to 0 if no example was kept.

    Attributes:
      synthetic_NxK: float32, the weight of each of the model's own responses.
      weak_L: float32, the weight of each label.
      synthetic: int32 scalar, |S+|: how many own responses were kept.
      weak: int32 scalar, |D_weak|: how many labels were kept.

    Example:
      >>> mixture = boostlm.mix(jnp.array([[True, True]]), jnp.array([True]), alpha=0.25)
      >>> mixture.synthetic_NxK.tolist(), mixture.weak_L.tolist()
      ([[0.375, 0.375]], [0.25])
      >>> int(mixture.synthetic), int(mixture.weak)
      (2, 1)
    """

    synthetic_NxK: Array
    weak_L: Array
    synthetic: Array
    weak: Array


def noisy_verdict(
    key: Array, correct: AnyArray, miss_rate: float | Array, false_accept_rate: float | Array
) -> Array:
    """The gamma-noisy filter: flips exact verdicts with its two error rates.

    Args:
      key: one key for the array; the noise of element i depends on the key and on i alone.
      correct: bool, any shape.
      miss_rate: chance that a correct response is rejected.
      false_accept_rate: chance that an incorrect one is accepted.

    Returns:
      bool, same shape: accepted.

    Example:
      >>> correct = jnp.array([True, True, False, False])
      >>> boostlm.noisy_verdict(jax.random.key(0), correct, 0.0, 0.0).tolist()  # an exact filter
      [True, True, False, False]
      >>> many = jnp.ones(10_000, bool)
      >>> 0.08 < 1 - boostlm.noisy_verdict(jax.random.key(0), many, 0.1, 0.0).mean() < 0.12
      Array(True, dtype=bool)
    """
    noise = jax.random.uniform(key, correct.shape)
    return jnp.where(correct, noise >= miss_rate, noise < false_accept_rate)


def failing(accepted_NxK: AnyArray, valid_N: bool | AnyArray = True) -> Array:
    """P-: bool [N], the prompts with no accepted response.

    Args:
      accepted_NxK: bool, the filter's verdicts.
      valid_N: bool, False for padding, which does not fail.

    Example:
      >>> accepted_NxK = jnp.array([[True, False], [False, False]])
      >>> boostlm.failing(accepted_NxK).tolist()
      [False, True]
    """
    return ~jnp.any(accepted_NxK, axis=1) & valid_N


def mix(accepted_NxK: Array, label_kept_L: AnyArray, alpha: float | Array) -> Mixture:
    """Weighs each kept label alpha / |D_weak| and each kept own response (1 - alpha) / |S+|.

    If either set is empty, the other takes the whole weight.

    Args:
      accepted_NxK: bool, the own responses to train on; or int32, how often each counts.
      label_kept_L: the same of the labels (False or 0 for an empty place).
      alpha: weight of the labels in the mixture, in [0, 1].

    Example:
      >>> accepted_NxK = jnp.array([[True, False], [True, False]])
      >>> label_kept_L = jnp.array([True, False])
      >>> mixture = boostlm.mix(accepted_NxK, label_kept_L, alpha=0.5)
      >>> mixture.synthetic_NxK.tolist(), mixture.weak_L.tolist()
      ([[0.25, 0.0], [0.25, 0.0]], [0.5, 0.0])
    """
    synthetic = jnp.sum(accepted_NxK, dtype=jnp.int32)
    weak = jnp.sum(label_kept_L, dtype=jnp.int32)
    weak_part = jnp.where(synthetic == 0, 1.0, jnp.where(weak == 0, 0.0, alpha))
    each_weak = weak_part / jnp.maximum(weak, 1)
    each_synthetic = (1.0 - weak_part) / jnp.maximum(synthetic, 1)
    return Mixture(
        synthetic_NxK=(accepted_NxK * each_synthetic).astype(jnp.float32),
        weak_L=(jnp.asarray(label_kept_L) * each_weak).astype(jnp.float32),
        synthetic=synthetic,
        weak=weak,
    )


@functools.partial(jax.jit, static_argnames="rows")
def draw(key: Array, mixture: Mixture, rows: int) -> tuple[Array, Array]:
    """Draws training rows from a mixture: example e appears rows * lambda_e times, floor or ceil.

    The expected gradient is that of the lambda-weighted loss, with almost no variance from drawing.
    The order is a random permutation. Own responses and labels are drawn apart, so that a label
    that weighs a million times as much as an own response takes no more than its share.

    Args:
      key: one key.
      mixture: as `mix` returns it.
      rows: C, how many to draw.

    Returns:
      index_C int32 [C] into the flattened own responses followed by the labels (n * K + k, or
      N * K + l), and valid_C bool [C], all False if the mixture is empty.

    Raises:
      ValueError: N * K + L is more than `numerics.MAX_ENTRIES`.

    Example:
      >>> accepted_NxK = jnp.array([[True, False], [True, False]])
      >>> mixture = boostlm.mix(accepted_NxK, jnp.array([True, False]), alpha=0.5)
      >>> index_C, valid_C = boostlm.draw(jax.random.key(0), mixture, rows=8)
      >>> jnp.bincount(index_C, length=6).tolist()  # 4 own responses, then 2 labels
      [2, 0, 2, 0, 4, 0]
      >>> bool(valid_C.all())
      True
    """
    own, weak = mixture.synthetic_NxK.reshape(-1), mixture.weak_L
    own_key, weak_key, split_key, order_key = jax.random.split(key, 4)
    weak_rows = _rows_of(split_key, rows, _mass(weak), _mass(own))
    own_count = allocate(own_key, rows - weak_rows, own, own > 0)
    weak_count = allocate(weak_key, weak_rows, weak, weak > 0)
    index_C, valid_C = expand(own_count, rows)  # apart from the labels, to stay split over devices
    label_C, labeled_C = expand(weak_count, rows)
    own_rows = jnp.sum(valid_C, dtype=jnp.int32)
    index_C = jnp.where(valid_C, index_C, own.size + jnp.roll(label_C, own_rows))
    valid_C |= jnp.roll(labeled_C, own_rows)
    index_C = jnp.where(valid_C, index_C, 0)
    order_C = jax.random.permutation(order_key, rows)
    return index_C[order_C], valid_C[order_C]


def _mass(weight: Array) -> Array:
    """The sum of weights, the same on any number of devices: float32 scalar."""
    largest = jnp.max(weight, initial=0.0)
    relative = weight / jnp.where(largest > 0, largest, 1.0)
    return fixed_point_sum(to_fixed_point(relative)) * 2.0**-FIXED_POINT_BITS * largest


def _rows_of(key: Array, rows: int, mass: Array, other: Array) -> Array:
    """The part of `rows` that a mass takes beside another: int32, floor or ceil at random."""
    share = rows * (mass / jnp.where(mass + other > 0, mass + other, 1.0))
    whole = jnp.round(share)
    share = jnp.where(jnp.abs(share - whole) < 2.0**-20 * jnp.maximum(whole, 1), whole, share)
    drawn = jnp.floor(share + jax.random.uniform(key)).astype(jnp.int32)
    return jnp.clip(drawn, jnp.where(other > 0, 0, rows), jnp.where(mass > 0, rows, 0))
