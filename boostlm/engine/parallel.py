"""Training over devices: each holds a copy of the model, or all of them share one.

`replicated` maps the training step over the devices (`jax.pmap`), also over a single one. `sharded`
jits it over a mesh, with parameters and optimizer state split as `lm.sharding` says.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from boostlm.config import OptimizerConfig
from boostlm.errors import BoostError
from boostlm.lm.language_model import LanguageModel
from boostlm.lm.sharding import AXIS, device_put_copy, row_sharding, shardings
from boostlm.lm.train_step import Batch, Step, TrainState, pmap_train_step, shard_train_step


class Parallel(NamedTuple):
    """How the training step runs over the devices.

    Attributes:
      batch_shape: OptimizerConfig -> the leading axes of all rows of a training: steps, then one
        or two axes of a batch. Raises BoostError if a batch does not divide over the devices.
      shapes: (make, *args) -> `jax.eval_shape` of a function that makes parameters, for example,
        with the shardings that they have between trainings.
      put: pytree -> a copy in the form of a step. A copy, because a step donates its state.
      put_batch: Batch [B, T] of one step, over all devices or the same numpy arrays on all hosts
        -> the batch in the form of a step.
      take: an array from a step -> the array in the form that it has between trainings.
      init_optimizer: optax transformation -> a function of parameters from `put`.
      step: (optimizer, state or its shapes, micro_batches) -> the compiled step.
    """

    batch_shape: Callable[[OptimizerConfig], tuple[int, ...]]
    shapes: Callable[..., Any]
    put: Callable[[Any], Any]
    put_batch: Callable[[Batch], Batch]
    take: Callable[[jax.Array], jax.Array]
    init_optimizer: Callable[[optax.GradientTransformation], Callable[[Any], Any]]
    step: Callable[[optax.GradientTransformation, TrainState, int], Step]


def parallel_of(model: LanguageModel, devices: Sequence[jax.Device], mesh: Mesh | None) -> Parallel:
    """How to train on these devices, or on a mesh of them that the model is split over."""
    return replicated(model, devices) if mesh is None else sharded(model, mesh)


def replicated(model: LanguageModel, devices: Sequence[jax.Device]) -> Parallel:
    """Every device holds the model and takes an equal part of each batch."""
    here = [i for i, d in enumerate(devices) if d.process_index == jax.process_index()]
    by_device = row_sharding(Mesh(np.array([devices[i] for i in here]), (AXIS,)))
    over_all = row_sharding(Mesh(np.array(devices), (AXIS,)))

    @functools.partial(jax.jit, out_shardings=over_all)
    def split_rows(batch: Batch) -> Batch:
        return jax.tree.map(lambda x: x.reshape(len(devices), -1, x.shape[-1]), batch)

    def put_batch(batch: Batch) -> Batch:
        def of_host(x: jax.Array) -> jax.Array:
            if x.is_fully_addressable:
                return x
            shards = {shard.device: shard.data for shard in x.addressable_shards}
            parts = [shards[devices[i]] for i in here]
            shape = (len(here), *x.shape[1:])
            return jax.make_array_from_single_device_arrays(shape, by_device, parts)

        return jax.tree.map(of_host, split_rows(batch))

    def batch_shape(config: OptimizerConfig) -> tuple[int, int, int]:
        _require_divisible(config, len(devices))
        return config.steps, len(devices), config.batch_size // len(devices)

    def put(tree: Any) -> Any:
        def copies(x: Any) -> jax.Array:
            # A new buffer; that of a number needs no program of its own.
            one = jnp.expand_dims(x, 0) if jnp.ndim(x) else np.asarray(x)[None]
            on_each = [jax.device_put(one, devices[i]) for i in here]
            shape = (len(here), *jnp.shape(x))
            return jax.make_array_from_single_device_arrays(shape, by_device, on_each)

        return jax.tree.map(copies, tree)

    return Parallel(
        batch_shape=batch_shape,
        shapes=jax.eval_shape,
        put=put,
        put_batch=put_batch,
        # x[0] would be a collective if the array is spread over several hosts.
        take=lambda x: x.addressable_shards[0].data[0],
        # Placed as what a step returns, as `put` does; otherwise the second step would be compiled
        # again.
        init_optimizer=lambda optimizer: jax.pmap(optimizer.init, AXIS, devices=devices),
        step=lambda optimizer, state, parts: pmap_train_step(model, optimizer, parts, devices),
    )


def sharded(model: LanguageModel, mesh: Mesh) -> Parallel:
    """The devices share one model. Rows of each batch are split over "data".

    Args:
      model: whose functions keep to `mesh` (see `decoder_lm`).
      mesh: devices of all hosts.
    """

    def batch_shape(config: OptimizerConfig) -> tuple[int, int]:
        _require_divisible(config, mesh.shape[AXIS])
        return config.steps, config.batch_size

    def shapes(make: Callable[..., Any], *args: Any) -> Any:
        found = jax.eval_shape(make, *args)
        return jax.tree.map(
            lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at),
            found,
            shardings(mesh, found),
        )

    def init_optimizer(optimizer: optax.GradientTransformation) -> Callable[[Any], Any]:
        @jax.jit
        def init(params: Any) -> Any:
            state = optimizer.init(params)
            return jax.lax.with_sharding_constraint(state, shardings(mesh, state))

        return init

    return Parallel(
        batch_shape=batch_shape,
        shapes=shapes,
        put=lambda tree: jax.tree.map(device_put_copy, tree, shardings(mesh, tree)),
        put_batch=functools.partial(jax.device_put, device=row_sharding(mesh)),
        take=lambda x: x,
        init_optimizer=init_optimizer,
        step=lambda optimizer, state, parts: shard_train_step(model, optimizer, mesh, state, parts),
    )


def _require_divisible(config: OptimizerConfig, devices: int) -> None:
    parts = config.micro_batches
    if config.batch_size % (devices * parts):
        raise BoostError(
            f"batch_size {config.batch_size} does not divide over {devices} devices and "
            f"{parts} micro-batches: make it a multiple of {devices * parts}"
        )
