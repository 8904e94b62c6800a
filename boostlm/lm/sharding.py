"""Sharding of models that are too large for one device, over a mesh.

One mesh axis, "data". A parameter, and with it its optimizer state, is split along its largest axis
that divides over the devices (fully sharded data parallelism, arXiv 1910.02054 and 2004.13336); for
the embedding table, that is the vocabulary. Kernels are gathered where they are used. The table is
never gathered: each device computes the logits of its part of the vocabulary for the tokens of all
devices. That moves far less data (hidden states of a batch instead of 256,000 rows) for the same
arithmetic. Rows are split over the same axis.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"


def device_mesh(devices: list[jax.Device]) -> Mesh:
    """The devices along one axis."""
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def spec_of(shape: tuple[int, ...], devices: int) -> P:
    """Splits the largest axis that divides (the first of equals), but no vector or scalar."""
    fitting = [size if size % devices == 0 else 0 for size in shape]
    if devices == 1 or len(shape) < 2 or not any(fitting):
        return P()
    place = fitting.index(max(fitting))
    return P(*[None] * place, AXIS)


def shardings(mesh: Mesh, tree: Any) -> Any:
    """The sharding of each array (or ShapeDtypeStruct) of parameters or a training state."""
    return jax.tree.map(lambda x: NamedSharding(mesh, spec_of(x.shape, mesh.size)), tree)


def row_sharding(mesh: Mesh) -> NamedSharding:
    """Split along the first axis: rows, prompts, activations, caches."""
    return NamedSharding(mesh, P(AXIS))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, P())


def device_put_copy(x: Any, at: NamedSharding) -> jax.Array:
    """A copy of an array with sharding `at`. With several hosts, each puts its own part.

    Args:
      x: numpy or jax.Array, the same on all hosts, or an array that is spread over them.
      at: over this host's devices or over those of all.
    """
    if at.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        if isinstance(x, jax.Array) and x.sharding != at:
            x = jnp.copy(x)  # device_put would make the caller's buffer one of the copies
        return jax.device_put(x, at, may_alias=False)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, at, lambda index: x[index])


def replicate_on(mesh: Mesh, tree: Any) -> Any:
    """Arrays in any sharding, whole on each device of this host's `mesh`; to be called by all."""
    at = replicated_sharding(mesh)

    def whole(x: Any) -> jax.Array:
        if x.is_fully_addressable:
            return jax.device_put(x, at)
        x = _gather_to(replicated_sharding(x.sharding.mesh))(x)
        here = [shard.data for shard in x.addressable_shards if shard.device in at.device_set]
        return jax.make_array_from_single_device_arrays(x.shape, at, here)

    return jax.tree.map(whole, tree)


@functools.cache
def _gather_to(at: NamedSharding) -> jax.stages.Wrapped:
    """A compiled gather, kept so that later calls do not compile it again."""
    return jax.jit(lambda x: x, out_shardings=at)


def to_host(tree: Any) -> Any:
    """numpy arrays; arrays that are spread over several hosts stay unchanged."""
    return jax.tree.map(
        lambda x: x if isinstance(x, jax.Array) and not x.is_fully_addressable else np.asarray(x),
        tree,
    )


def gather(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Inside jit: x whole on every device."""
    return x if mesh is None else jax.lax.with_sharding_constraint(x, replicated_sharding(mesh))


def shard_rows(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Inside jit: x split by row, if its rows divide over the devices."""
    if mesh is None or x.shape[0] % mesh.size:
        return x
    return jax.lax.with_sharding_constraint(x, row_sharding(mesh))
