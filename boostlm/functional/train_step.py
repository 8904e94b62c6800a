"""The weighted loss and the training step: pure, the same on one device and on many."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from boostlm.config import OptimizerConfig
from boostlm.functional.language_model import Params


class Batch(NamedTuple):
    """Rows to train on.

    Attributes:
      tokens_BxT: int32, prompt and response, padded on the right.
      weight_BxT: float32, weight of predicting tokens_BxT[b, t] from what stands before it; 0 on
        the prompt and on padding, so a row of padding weighs nothing. Column 0 is not used.
    """

    tokens_BxT: Array
    weight_BxT: Array


class TrainState(NamedTuple):
    """What a training step turns into its successor."""

    params: Params
    optimizer_state: Any


class StepMetrics(NamedTuple):
    """Of one step, over all devices.

    Attributes:
      loss: float32 scalar, weighted mean cross-entropy a token, in nats.
      weight: float32 scalar, the sum of the weights.
      grad_norm: float32 scalar, before clipping.
    """

    loss: Array
    weight: Array
    grad_norm: Array


Step = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]


def weighted_loss(logits_BxTxV: Array, batch: Batch) -> tuple[Array, Array]:
    """Weighted token cross-entropy as (weighted sum, weight sum), never as a mean.

    Means of shards do not average to the mean of the whole; sums add up.

    Args:
      logits_BxTxV: float32; position t predicts token t + 1.
      batch: what the logits were computed from.

    Returns:
      Two float32 scalars. Both are 0 for a batch without weight.
    """
    nats = optax.softmax_cross_entropy_with_integer_labels(
        logits_BxTxV[:, :-1].astype(jnp.float32), batch.tokens_BxT[:, 1:]
    )
    weight = batch.weight_BxT[:, 1:]
    return jnp.sum(nats * weight), jnp.sum(weight)


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
    *,
    forward: Callable[[Params, Array], Array],
    optimizer: optax.GradientTransformation,
    axis_name: str | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent on the weighted loss. Pure.

    Numerator, denominator and gradients are summed over `axis_name` before they are divided, so
    the result is that of one device holding all rows, however the weights are spread.

    Args:
      state: current parameters and optimizer state.
      batch: this device's rows.
      forward: (params, tokens_BxT) -> logits_BxTxV.
      optimizer: an optax transformation.
      axis_name: the mapped axis under pmap or shard_map; None on one device.
    """

    def numerator(params):
        total, weight = weighted_loss(forward(params, batch.tokens_BxT), batch)
        return total, weight

    (total, weight), grads = jax.value_and_grad(numerator, has_aux=True)(state.params)
    if axis_name is not None:
        total, weight, grads = jax.lax.psum((total, weight, grads), axis_name)
    divisor = jnp.where(weight > 0, weight, 1.0)
    grads = jax.tree.map(lambda g: g / divisor, grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    metrics = StepMetrics(total / divisor, weight, optax.tree.norm(grads))
    return TrainState(optax.apply_updates(state.params, updates), optimizer_state), metrics


def jit_train_step(forward, optimizer: optax.GradientTransformation) -> Step:
    """`train_step` compiled for one device; donates the state."""

    def step(state, batch):
        return train_step(state, batch, forward=forward, optimizer=optimizer)

    return jax.jit(step, donate_argnums=0)


def pmap_train_step(
    forward,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device] | None = None,
) -> Step:
    """`train_step` mapped over devices (None: all of them); donates the state.

    State and metrics carry a leading device axis, with equal entries; batches are [devices,
    B / devices, T].
    """

    def step(state, batch):
        return train_step(state, batch, forward=forward, optimizer=optimizer, axis_name="devices")

    return jax.pmap(step, axis_name="devices", donate_argnums=0, devices=devices)
