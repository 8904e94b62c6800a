"""The weighted loss and the training step: pure, the same on one device and on many."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from boostlm.config import OptimizerConfig
from boostlm.lm.cross_entropy import cross_entropy
from boostlm.lm.language_model import LanguageModel, Params
from boostlm.lm.sharding import AXIS, replicated_sharding, row_sharding, shardings
from boostlm.numerics import AnyArray


class Batch(NamedTuple):
    """Rows to train on, without the prefix that all rows share.

    Attributes:
      tokens_BxT: int32, prompt and response, padded on the right.
      weight_BxT: float32, weight of predicting tokens_BxT[b, t] from the tokens before it; 0 on the
        prompt and on padding, so a row of padding weighs nothing. Column 0 is not used.

    Example:
      >>> weight_BxT = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0]], jnp.float32)
      >>> batch = boostlm.Batch(jnp.array([[1, 5, 6, 2], [1, 7, 2, 0]]), weight_BxT)
      >>> batch.weight_BxT.sum(axis=1).tolist()  # tokens to predict in each row
      [2.0, 1.0]
    """

    tokens_BxT: AnyArray
    weight_BxT: AnyArray


class TrainState(NamedTuple):
    """The state that a training step takes and returns.

    Attributes:
      params: the trained parameters, a pytree.
      optimizer_state: the optimizer's state for params.
      frozen: a dict of parameters that are not trained (see `lora`), in which case params is a dict
        too; () for none.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> params, optimizer = model.init(jax.random.key(0)), optax.sgd(0.1)
      >>> state = boostlm.TrainState(params, optimizer.init(params))
      >>> state.variables() is params  # nothing is frozen
      True
    """

    params: Params
    optimizer_state: Any
    frozen: Params = ()

    def variables(self) -> Params:
        """All parameters of the model."""
        return {**self.frozen, **self.params} if self.frozen else self.params


class StepMetrics(NamedTuple):
    """Measurements of one step, over all devices.

    Attributes:
      loss: float32 scalar, weighted mean cross-entropy a token, in nats.
      weight: float32 scalar, the sum of the weights.
      grad_norm: float32 scalar, before clipping.
    """

    loss: Array
    weight: Array
    grad_norm: Array


class Step(Protocol):
    """A compiled `train_step`: (state, batch, prefix_P) -> (state, metrics)."""

    def __call__(
        self, state: TrainState, batch: Batch, prefix_P: AnyArray, /
    ) -> tuple[TrainState, StepMetrics]:
        """Takes one step."""
        ...

    def trace(self, *args: Any, **kwargs: Any) -> jax.stages.Traced:
        """The step as a jaxpr, for arguments or their shapes."""
        ...

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """The step as an XLA program, for arguments or their shapes."""
        ...


def weighted_loss(
    model: LanguageModel, params: Params, batch: Batch, prefix_P: AnyArray
) -> tuple[Array, Array]:
    """Weighted token cross-entropy of rows as (weighted sum in nats, weight sum), two scalars.

    Args:
      model: its functions `hidden`, `head` and `unembed` are used.
      params: the model's parameters.
      batch: rows.
      prefix_P: int32, tokens that stand before every row; may have length 0.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> weight_BxT = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0]], jnp.float32)
      >>> batch = boostlm.Batch(jnp.array([[1, 5, 6, 2], [1, 7, 2, 0]]), weight_BxT)
      >>> params, prefix_P = model.init(jax.random.key(0)), jnp.zeros(0, jnp.int32)
      >>> total, weight = boostlm.weighted_loss(model, params, batch, prefix_P)
      >>> float(weight), bool(total > 0)
      (3.0, True)
    """
    x_BxTxE = model.hidden(params, batch.tokens_BxT[:, :-1], prefix_P)
    return cross_entropy(
        model.unembed,
        model.head(params),
        x_BxTxE,
        batch.tokens_BxT[:, 1:],
        batch.weight_BxT[:, 1:],
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW with linear warm-up to a constant rate, after clipping by the global norm."""
    first = config.learning_rate / max(1, config.warmup_steps)
    rate = optax.warmup_constant_schedule(first, config.learning_rate, config.warmup_steps)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(rate, b2=0.95, weight_decay=config.weight_decay),
    )


def train_step(
    state: TrainState,
    batch: Batch,
    prefix_P: AnyArray,
    *,
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    micro_batches: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent on the weighted loss. Pure.

    Numerator, denominator and gradients are summed over micro-batches and over `axis_name` before
    the division, so the result is that of one device with all rows, however weights are spread.

    Args:
      state: current parameters and optimizer state.
      batch: this device's rows.
      prefix_P: int32, tokens that stand before every row; may have length 0.
      model: its functions.
      optimizer: an optax transformation.
      micro_batches: parts of the batch that are computed in sequence, to save memory; divides B.
      axis_name: the mapped axis under pmap; None on one device and on sharded arrays.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> weight_BxT = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0]], jnp.float32)
      >>> batch = boostlm.Batch(jnp.array([[1, 5, 6, 2], [1, 7, 2, 0]]), weight_BxT)
      >>> params, optimizer = model.init(jax.random.key(0)), optax.sgd(0.1)
      >>> state = boostlm.TrainState(params, optimizer.init(params))
      >>> prefix_P = jnp.zeros(0, jnp.int32)
      >>> step = functools.partial(boostlm.train_step, model=model, optimizer=optimizer)
      >>> state, metrics = jax.jit(step)(state, batch, prefix_P)
      >>> float(metrics.weight), bool(metrics.grad_norm > 0)
      (3.0, True)
    """

    def loss(params: Params, part: Batch) -> tuple[Array, Array]:
        variables = state._replace(params=params).variables()
        return weighted_loss(model, variables, part, prefix_P)

    def sums_of(part: Batch) -> tuple[Array, Array, Params]:
        (total, weight), grads = jax.value_and_grad(loss, has_aux=True)(state.params, part)
        return total, weight, grads

    sums = _sum_over_parts(sums_of, batch, micro_batches)
    total, weight, grads = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    divisor = jnp.where(weight > 0, weight, 1.0)
    grads = jax.tree.map(lambda g: g / divisor, grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = StepMetrics(total / divisor, weight, optax.tree.norm(grads))
    return TrainState(params, optimizer_state, state.frozen), metrics


def _sum_over_parts(sums_of: Callable[[Batch], Any], batch: Batch, parts: int) -> Any:
    """Sums a function of rows over `parts` parts. Part i has every `parts`-th row from row i on.

    So sharded rows stay on their devices.
    """
    if parts == 1:
        return sums_of(batch)
    split = jax.tree.map(lambda x: x.reshape(-1, parts, x.shape[-1]).swapaxes(0, 1), batch)
    first = jax.eval_shape(sums_of, jax.tree.map(lambda x: x[0], split))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)

    def add(sums: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, sums_of(part)), None

    return jax.lax.scan(add, zeros, split)[0]


def jit_train_step(
    model: LanguageModel, optimizer: optax.GradientTransformation, micro_batches: int = 1
) -> Step:
    """`train_step` compiled for one device; donates the state.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> weight_BxT = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0]], jnp.float32)
      >>> batch = boostlm.Batch(jnp.array([[1, 5, 6, 2], [1, 7, 2, 0]]), weight_BxT)
      >>> params, optimizer = model.init(jax.random.key(0)), optax.sgd(0.1)
      >>> state = boostlm.TrainState(params, optimizer.init(params))
      >>> step, losses = boostlm.jit_train_step(model, optimizer), []
      >>> for _ in range(3):
      ...     state, metrics = step(state, batch, jnp.zeros(0, jnp.int32))
      ...     losses.append(float(metrics.loss))
      >>> losses[0] > losses[1] > losses[2]
      True
    """
    return jax.jit(_partial(model, optimizer, micro_batches), donate_argnums=0)


def pmap_train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    micro_batches: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Step:
    """`train_step` mapped over devices (None: all of them); donates the state.

    State and metrics carry a leading device axis, with equal entries; batches are [devices,
    B / devices, T], and each device splits its own into micro-batches; the prefix has no such axis.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> weight_BxT = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0]], jnp.float32)
      >>> batch = boostlm.Batch(jnp.array([[1, 5, 6, 2], [1, 7, 2, 0]]), weight_BxT)
      >>> params, optimizer = model.init(jax.random.key(0)), optax.sgd(0.1)
      >>> state = boostlm.TrainState(params, optimizer.init(params))
      >>> step = boostlm.pmap_train_step(model, optimizer, devices=jax.devices()[:1])
      >>> state, batch = jax.tree.map(lambda x: x[None], (state, batch))  # a leading device axis
      >>> state, metrics = step(state, batch, jnp.zeros(0, jnp.int32))
      >>> metrics.loss.shape
      (1,)
    """
    step = _partial(model, optimizer, micro_batches, axis_name=AXIS)
    return jax.pmap(step, AXIS, in_axes=(0, 0, None), donate_argnums=0, devices=devices)


def shard_train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    state: TrainState,
    micro_batches: int = 1,
) -> Step:
    """`train_step` over a mesh, with state and rows sharded (`sharding`); donates the state.

    Args:
      model: a model whose `hidden` and `unembed` keep to `mesh` (see `decoder_lm`).
      optimizer: an optax transformation.
      mesh: the devices.
      state: a state, or its shapes.
      micro_batches: as in `train_step`; divides B / devices.
    """
    state_shardings, all_of_it = shardings(mesh, state), replicated_sharding(mesh)
    return jax.jit(
        _partial(model, optimizer, micro_batches),
        donate_argnums=0,
        in_shardings=(state_shardings, row_sharding(mesh), all_of_it),
        out_shardings=(state_shardings, all_of_it),
    )


def _partial(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    micro_batches: int,
    **options: str,
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, StepMetrics]]:
    return functools.partial(
        train_step, model=model, optimizer=optimizer, micro_batches=micro_batches, **options
    )
