"""Sums, thresholds and compaction whose result does not depend on the number of devices.

Floating-point sums differ in their last bits between 1 device and 8, and one bit can move a label
from one prompt to another. These functions count in integers instead. They run under jit on sharded
arrays (XLA inserts the collectives), for up to MAX_ENTRIES entries.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

AnyArray = Array | np.ndarray  # on a device, or in the memory of the host

FIXED_POINT_BITS = 16
MAX_ENTRIES = 2**31 - 1  # entries are numbered by int32
_DEVICES = 3 * 2**12  # a multiple of the usual numbers of devices


def check_entries(entries: int) -> None:
    """Refuses arrays whose entries int32 cannot number, before anything is computed.

    Raises:
      ValueError: there are more than MAX_ENTRIES.
    """
    if entries > MAX_ENTRIES:
        raise ValueError(f"{entries:,} entries: at most {MAX_ENTRIES:,} can be numbered by int32")


def to_fixed_point(x: Array) -> Array:
    """Values in [0, 1] as uint32 multiples of 2**-16; a positive value stays positive."""
    scaled = jnp.round(x * 2**FIXED_POINT_BITS).astype(jnp.uint32)
    return jnp.where(x > 0, jnp.maximum(scaled, 1), 0)


def fixed_point_sum(fixed: Array) -> Array:
    """Sum of values from `to_fixed_point`, as a float32 scalar in units of 2**-16.

    The sum is exact before it is rounded once to float32: it has 64 bits, of which the reduction
    carries the low and the high half.
    """
    check_entries(fixed.size)
    low, high = jax.lax.reduce(
        (fixed, jnp.zeros_like(fixed)),
        (jnp.uint32(0), jnp.uint32(0)),
        _add_with_carry,
        tuple(range(fixed.ndim)),
    )
    return high.astype(jnp.float32) * 2.0**32 + low.astype(jnp.float32)


def _add_with_carry(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sum of two 64-bit numbers, each given as (low, high) uint32."""
    low = a[0] + b[0]
    return low, a[1] + b[1] + (low < a[0]).astype(jnp.uint32)


def largest_uint32(holds: Callable[[Array], Array], shape: tuple[int, ...] = ()) -> Array:
    """The largest uint32 for which a monotone predicate holds, found bit by bit in 32 steps.

    It replaces a sort where only a threshold is needed: `holds` counts in one pass over the data.

    Args:
      holds: uint32 [*shape] -> bool [*shape]. If it is False for a number, it is False for all
        larger ones. Where it never holds, the result is 0.
      shape: the shape of independent searches.
    """

    def set_bit(i: Array, found: Array) -> Array:
        candidate = found | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        return jnp.where(holds(candidate), candidate, found)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.zeros(shape, jnp.uint32))


def ordered_bits(x: Array) -> Array:
    """Non-negative float32 as uint32 in the same order."""
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def prefix_sum(x_N: Array) -> Array:
    """The sum of each entry of an int32 array and all entries before it.

    Blocks are summed apart, so that an array that is split over devices is never gathered.
    """
    blocks_BxM = x_N.reshape(math.gcd(x_N.size, _DEVICES), -1)
    within_BxM = jnp.cumsum(blocks_BxM, axis=1)
    total_B = within_BxM[:, -1]
    before_B = jnp.cumsum(total_B) - total_B
    return (within_BxM + before_B[:, None]).reshape(-1)


def expand(count_N: Array, capacity: int) -> tuple[Array, Array]:
    """Fixed-shape compaction: index n repeated count_N[n] times, in order.

    For counts of 0 and 1 it lists the True places of a mask.

    Args:
      count_N: int32 [N], not negative.
      capacity: C, the length of the result; entries beyond it are left out.

    Returns:
      index_C int32 [C] and valid_C bool [C]; index is 0 where not valid.

    Raises:
      ValueError: there are more than MAX_ENTRIES entries.

    Example:
      >>> index_C, valid_C = boostlm.expand(jnp.array([2, 0, 1]), capacity=4)
      >>> index_C.tolist(), valid_C.tolist()
      ([0, 0, 2, 0], [True, True, True, False])
    """
    check_entries(count_N.size)
    end_N = prefix_sum(count_N)
    place_C = jnp.arange(capacity, dtype=jnp.int32)
    start_N = jnp.where(count_N > 0, end_N - count_N, capacity)
    index_N = jnp.arange(count_N.shape[0], dtype=jnp.int32)
    first_C = jnp.zeros((capacity,), jnp.int32).at[start_N].max(index_N, mode="drop")
    valid_C = place_C < end_N[-1]
    return jnp.where(valid_C, jax.lax.cummax(first_C), 0), valid_C


def all_finite(tree: Any) -> bool:
    """Whether every floating-point number in a pytree of arrays is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(bool(_all_finite(x)) for x in floats)


@jax.jit
def _all_finite(x: Array) -> Array:
    return jnp.all(jnp.isfinite(x))
