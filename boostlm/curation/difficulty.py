"""Difficulty weights: boosting's reweighting, over prompts instead of examples."""

import math

import jax.numpy as jnp
from jax import Array

from boostlm.numerics import FIXED_POINT_BITS, fixed_point_sum, to_fixed_point


def theta_from_beta(beta: float) -> float:
    """The step of the reweighting, theta = log(1 / (1 - beta)), for a beta-weak labeler.

    Example:
      >>> theta = boostlm.theta_from_beta(0.2)
      >>> round(math.exp(theta), 6)  # 1 / (1 - beta)
      1.25
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta must be in (0, 1), not {beta}")
    return -math.log1p(-beta)


def initial_log_weights(prompts: int, places: int | None = None) -> Array:
    """Equal weights: float32 [N].

    Args:
      prompts: how many there are.
      places: N; None: `prompts`. The places after the prompts are padding: their log-weight is
        -inf, and stays so.

    Example:
      >>> jnp.exp(boostlm.initial_log_weights(4)).tolist()
      [0.25, 0.25, 0.25, 0.25]
    """
    place_N = jnp.arange(prompts if places is None else places)
    return jnp.where(place_N < prompts, -math.log(prompts), -jnp.inf).astype(jnp.float32)


def reweight(log_weight_N: Array, failing_N: Array, theta: float | Array) -> Array:
    """Raises the weight of each failing prompt by e**theta and normalises over all prompts.

    From equal weights on, a prompt that failed F rounds has a weight proportional to e**(theta F).
    The normaliser is summed in fixed point, so the result is the same on any number of devices.
    Each weight in the sum is rounded to 2**-16 of the largest.

    Args:
      log_weight_N: float32 [N]; -inf for padding.
      failing_N: bool [N], the prompts with no accepted response this round.
      theta: see `theta_from_beta`.

    Returns:
      Normalised log-weights, float32 [N].

    Example:
      >>> failing_N = jnp.array([True, False, False])
      >>> theta = boostlm.theta_from_beta(0.5)  # a failing prompt weighs twice as much
      >>> log_weight_N = boostlm.reweight(boostlm.initial_log_weights(3), failing_N, theta)
      >>> print(jnp.exp(log_weight_N).round(3))
      [0.5  0.25 0.25]
    """
    raised_N = log_weight_N + jnp.where(failing_N, theta, 0.0).astype(jnp.float32)
    relative_N = raised_N - jnp.max(raised_N)
    total = fixed_point_sum(to_fixed_point(jnp.exp(relative_N))) * 2.0**-FIXED_POINT_BITS
    return relative_N - jnp.log(total)
