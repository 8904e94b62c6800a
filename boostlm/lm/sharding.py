"""How arrays lie on devices, and how a model that is too large for one device is split.

A mesh has two axes, "data" and "model". Rows are split over "data".

Over "model", a model is split by heads, by the MLP's hidden units and by vocabulary (tensor
parallelism, arXiv 1909.08053). Each device multiplies by its own part, and sums over "model" meet
after attention, after the MLP and at the embedding. A key-value head is held by every device that
has query heads of it.

While it is trained, a parameter, and with it its optimizer state, is split over "data" as well,
along the largest axis that divides (fully sharded data parallelism, arXiv 1910.02054 and
2004.13336); for the embedding table, that is the vocabulary. Kernels are gathered over "data" where
they are used. The table is never gathered: each device computes the logits of its part of the
vocabulary for the tokens of all devices. That moves far less data (hidden states of a batch instead
of 256,000 rows) for the same arithmetic.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from boostlm.errors import BoostError

AXIS, MODEL_AXIS = "data", "model"

# By layer, the axis of its kernel that is split over "model"; of adapters, A has the kernel's input
# axes and then the rank, B the rank and then its output axes.
_MODEL_AXIS_OF = {
    "embedding": 0, "query": 1, "key": 1, "value": 1, "out": 0, "gate": 1, "up": 1, "down": 0,
}  # fmt: skip
_INPUTS_OF = {"out": 2}  # axes; 1 for the others


def device_mesh(devices: list[jax.Device], model: int = 1) -> Mesh:
    """The devices, `model` of them along "model" and the rest along "data".

    On several hosts, what shares a model lies on as few hosts as possible.

    Raises:
      BoostError: a model's devices are neither a part of a host nor whole hosts.
    """
    shape, axes = (len(devices) // model, model), (AXIS, MODEL_AXIS)
    types = (AxisType.Auto,) * 2
    hosts = len({d.process_index for d in devices})
    if model == 1 or hosts == 1:
        return jax.make_mesh(shape, axes, axis_types=types, devices=devices)
    each = len(devices) // hosts
    if each % model and model % each:
        raise BoostError(
            f"compute.mesh: a model on {model} devices is neither a part of a host's {each} nor "
            "several whole hosts"
        )
    by_host = sorted(devices, key=lambda d: (d.process_index, d.id))
    return Mesh(np.array(by_host).reshape(shape), axes, axis_types=types)


def rows_of_host(mesh: Mesh) -> Mesh:
    """The part of a mesh that has this host's devices and all that share a model with them."""
    mine = [[d.process_index == jax.process_index() for d in row] for row in mesh.devices]
    return Mesh(mesh.devices[np.any(mine, axis=1)], mesh.axis_names, axis_types=mesh.axis_types)


def model_axis_of(layer: str) -> int:
    """The axis of a layer's kernel that is split over "model"."""
    return _MODEL_AXIS_OF[layer]


def _model_axis(path: tuple[Any, ...]) -> int | None:
    """The axis that is split over "model" of the array at a path; None for none."""
    *_, layer, leaf = None, None, *(getattr(key, "key", None) for key in path)
    if layer not in _MODEL_AXIS_OF:
        return None
    axis, inputs = _MODEL_AXIS_OF[layer], _INPUTS_OF.get(layer, 1)
    if leaf == "a":
        return axis if axis < inputs else None
    if leaf == "b":
        return axis - inputs + 1 if axis >= inputs else None
    return axis


def spec_of(shape: tuple[int, ...], data: int, model: int = 1, model_axis: int | None = None) -> P:
    """Splits `model_axis` over "model", then the largest axis that divides over "data".

    That is the first of equals. An axis that does not divide is whole, and so are vectors and
    scalars.
    """
    at: list[tuple[str, ...]] = [()] * len(shape)
    left = list(shape)
    if model > 1 and model_axis is not None and shape[model_axis] % model == 0:
        at[model_axis] = (MODEL_AXIS,)
        left[model_axis] //= model
    fitting = [size if size % data == 0 else 0 for size in left]
    if data > 1 and len(shape) > 1 and any(fitting):
        at[fitting.index(max(fitting))] += (AXIS,)
    return _spec(at)


def _spec(at: list[tuple[str, ...]]) -> P:
    """In the shortest form, which `==` asks for."""
    entries = [axes[0] if len(axes) == 1 else axes or None for axes in at]
    while entries and entries[-1] is None:
        entries.pop()
    return P(*entries)


def shardings(mesh: Mesh, tree: Any, fsdp: bool = True) -> Any:
    """The sharding of each array (or ShapeDtypeStruct) of parameters or a training state.

    Args:
      mesh: the devices.
      tree: whose paths end as those of a decoder's parameters or adapters do.
      fsdp: split over "data", too.
    """
    data, model = (mesh.shape[AXIS] if fsdp else 1), mesh.shape[MODEL_AXIS]

    def at(path: tuple[Any, ...], x: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(x.shape, data, model, _model_axis(path)))

    return jax.tree_util.tree_map_with_path(at, tree)


def row_sharding(mesh: Mesh, model_axis: int | None = None) -> NamedSharding:
    """Split along the first axis over "data": rows, prompts, activations, caches.

    Also over "model" along `model_axis`, where a model is split.
    """
    if model_axis is None or mesh.shape[MODEL_AXIS] == 1:
        return NamedSharding(mesh, P(AXIS))
    return NamedSharding(mesh, P(AXIS, *[None] * (model_axis - 1), MODEL_AXIS))


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


def put_for_sampling(mesh: Mesh, params: Any) -> Any:
    """Parameters in any sharding, on `mesh`: split over "model", the same along "data".

    Args:
      mesh: from `rows_of_host`. All hosts must call this.
      params: of a decoder.
    """

    def put(x: Any, at: NamedSharding) -> jax.Array:
        if x.is_fully_addressable:
            return jax.device_put(x, at) if at.is_fully_addressable else device_put_copy(x, at)
        x = _gather_to(NamedSharding(x.sharding.mesh, at.spec))(x)
        here = [shard.data for shard in x.addressable_shards if shard.device in at.device_set]
        return jax.make_array_from_single_device_arrays(x.shape, at, here)

    return jax.tree.map(put, params, shardings(mesh, params, fsdp=False))


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
    return _constrain(x, mesh, [()] * x.ndim)


def gather_kernel(x: jax.Array, mesh: Mesh | None, model_axis: int) -> jax.Array:
    """Inside jit: x split along `model_axis` over "model" if that divides, and nothing else."""
    at: list[Any] = [()] * x.ndim
    at[model_axis] = (MODEL_AXIS,)
    return _constrain(x, mesh, at)


def shard_rows(x: jax.Array, mesh: Mesh | None, model_axis: int | None = None) -> jax.Array:
    """Inside jit: x split by row, and along `model_axis` over "model", where that divides.

    Rows that do not divide stay where they are.
    """
    at: list[Any] = [()] * x.ndim
    if mesh is not None and x.shape[0] % mesh.shape[AXIS]:
        at[0] = P.UNCONSTRAINED
    else:
        at[0] = (AXIS,)
    if model_axis is not None:
        at[model_axis] = (MODEL_AXIS,)
    return _constrain(x, mesh, at)


def _constrain(x: jax.Array, mesh: Mesh | None, at: list[Any]) -> jax.Array:
    """Splits each axis of x over the named axes of a mesh, if it divides over them.

    The axes that a surrounding `shard_map` maps over do not count. If no other has several devices,
    x is left alone.
    """
    if mesh is None:
        return x
    inside = jax.sharding.get_abstract_mesh()
    sizes = {a: n for a, n in mesh.shape.items() if n > 1 and a not in inside.manual_axes}
    if not sizes:
        return x

    def entry(size: int, axes: Any) -> Any:
        if axes is P.UNCONSTRAINED:
            return axes
        axes = tuple(a for a in axes if a in sizes)
        return axes if axes and size % math.prod(sizes[a] for a in axes) == 0 else None

    spec = P(*map(entry, x.shape, at))
    return jax.lax.with_sharding_constraint(
        x, NamedSharding(inside if inside.manual_axes else mesh, spec)
    )


def model_parts() -> int:
    """Inside `shard_map` over "data": the devices along "model", which the compiler splits over."""
    return jax.sharding.get_abstract_mesh().shape.get(MODEL_AXIS, 1)


def gather_parts(x: jax.Array) -> jax.Array:
    """Inside `shard_map` over "data": x whole on each device along "model"."""
    return x if model_parts() == 1 else jax.lax.with_sharding_constraint(x, P())
