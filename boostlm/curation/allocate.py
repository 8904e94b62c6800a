"""Spends an integer budget by weight: exactly, without sorting, the same on any device count."""

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.numerics import (
    fixed_point_sum,
    largest_uint32,
    ordered_bits,
    to_fixed_point,
)

# Shares are shrunk by this factor before they are rounded down, so that float32 errors cannot make
# the floors add up to more than the budget. The labels that are lost so are dealt out below.
_SLACK = 1.0 - 2.0**-20


def allocate(key: Array, budget: int | Array, weight_N: Array, eligible_N: Array) -> Array:
    """Labels for each prompt: its share of the budget, rounded down or up at random.

    A prompt gets floor(share) labels for certain. The rest of the budget goes, one label each, to
    prompts that are drawn by the fractional parts of their shares (order sampling: the smallest u/f
    win; Rosen, "Asymptotic theory for order sampling", 1997). If at least one prompt is eligible,
    exactly the budget is spent; otherwise nothing is.

    The arguments decide the policy: hardest-first passes difficulty weights and the failing
    prompts, uniform passes equal weights and every prompt.

    Args:
      key: one key; the noise of prompt n depends on the key and n alone.
      budget: labels to spend, below 2**31.
      weight_N: float32 [N], not negative, on any scale; rounded to 2**-16 of the largest. If all
        eligible weights are 0, they count as equal.
      eligible_N: bool [N].

    Returns:
      int32 [N], zero where not eligible, adding up to `budget` (or to 0). A share above 2**20 is
      met to a part in 2**20, not to one label.

    Raises:
      ValueError: there are more than `numerics.MAX_ENTRIES` prompts.

    Example:
      >>> weight_N = jnp.array([4.0, 2.0, 1.0, 1.0])
      >>> eligible_N = jnp.array([False, True, True, False])
      >>> boostlm.allocate(jax.random.key(0), 9, weight_N, eligible_N).tolist()
      [0, 6, 3, 0]
    """
    budget = jnp.asarray(budget, jnp.int32)
    weight_N = jnp.where(eligible_N, weight_N, 0.0)
    largest = jnp.max(weight_N)
    relative_N = jnp.where(largest > 0, weight_N / jnp.where(largest > 0, largest, 1.0), eligible_N)
    fixed_N = to_fixed_point(relative_N.astype(jnp.float32))
    served_N = fixed_N > 0
    total = fixed_point_sum(fixed_N)

    share_N = fixed_N.astype(jnp.float32) * (budget.astype(jnp.float32) / jnp.maximum(total, 1.0))
    whole_N = jnp.floor(share_N * _SLACK).astype(jnp.int32)
    left = budget - jnp.sum(whole_N)
    served = jnp.maximum(jnp.sum(served_N, dtype=jnp.int32), 1)
    whole_N = whole_N + jnp.where(served_N, left // served, 0)
    left = left % served

    fraction_N = jnp.maximum(share_N - jnp.floor(share_N * _SLACK), 2.0**-20)
    noise_N = jax.random.uniform(key, weight_N.shape, jnp.float32, minval=2.0**-24)
    extra_N = smallest(ordered_bits(noise_N / fraction_N), served_N, left)
    count_N = whole_N + extra_N.astype(jnp.int32)
    return jnp.where(jnp.any(served_N), count_N, 0)


def smallest(rank_N: Array, eligible_N: Array, count: Array) -> Array:
    """Marks the `count` eligible entries of lowest rank; ties go to the lower index.

    Args:
      rank_N: uint32 [N].
      eligible_N: bool [N].
      count: int32 scalar, at most the number of eligible entries.

    Returns:
      bool [N] with exactly `count` True.
    """

    def below(threshold: Array) -> Array:
        return jnp.sum(eligible_N & (rank_N < threshold), dtype=jnp.int32)

    cut = largest_uint32(lambda t: below(t) <= count)
    sure_N = eligible_N & (rank_N < cut)
    tied_N = eligible_N & (rank_N == cut)
    wanted = count - jnp.sum(sure_N, dtype=jnp.int32)
    index_N = jnp.arange(rank_N.shape[0], dtype=jnp.uint32)
    cut_index = largest_uint32(lambda t: jnp.sum(tied_N & (index_N < t), dtype=jnp.int32) <= wanted)
    return sure_N | (tied_N & (index_N < cut_index))
