"""The weighted loss and the training step: pure, the same on one device and on many."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from boostlm.config import OptimizerConfig
from boostlm.functional.cross_entropy import cross_entropy
from boostlm.functional.language_model import LanguageModel, Params


class Batch(NamedTuple):
    """Rows to train on: what follows the prefix that all rows share, if they share one.

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


Step = Callable[[TrainState, Batch, Array], tuple[TrainState, StepMetrics]]


def weighted_loss(
    model: LanguageModel, params: Params, batch: Batch, prefix_P: Array
) -> tuple[Array, Array]:
    """Weighted token cross-entropy of rows as (weighted sum in nats, weight sum), two scalars.

    Args:
      model: its functions `hidden`, `head` and `unembed` are used.
      params: of the model.
      batch: rows.
      prefix_P: int32, tokens that stand before every row; may have length 0.
    """
    x_BxTxE = model.hidden(params, batch.tokens_BxT, prefix_P)
    return cross_entropy(
        model.unembed,
        model.head(params),
        x_BxTxE[:, :-1],
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
    prefix_P: Array,
    *,
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    axis_name: str | None = None,
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent on the weighted loss. Pure.

    Numerator, denominator and gradients are summed over `axis_name` before they are divided, so
    the result is that of one device holding all rows, however the weights are spread.

    Args:
      state: current parameters and optimizer state.
      batch: this device's rows.
      prefix_P: int32, tokens that stand before every row; may have length 0.
      model: its functions.
      optimizer: an optax transformation.
      axis_name: the mapped axis under pmap or shard_map; None on one device.
    """

    def loss(params):
        return weighted_loss(model, params, batch, prefix_P)

    (total, weight), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    if axis_name is not None:
        total, weight, grads = jax.lax.psum((total, weight, grads), axis_name)
    divisor = jnp.where(weight > 0, weight, 1.0)
    grads = jax.tree.map(lambda g: g / divisor, grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    metrics = StepMetrics(total / divisor, weight, optax.tree.norm(grads))
    return TrainState(optax.apply_updates(state.params, updates), optimizer_state), metrics


def jit_train_step(model: LanguageModel, optimizer: optax.GradientTransformation) -> Step:
    """`train_step` compiled for one device; donates the state."""
    step = functools.partial(train_step, model=model, optimizer=optimizer)
    return jax.jit(step, donate_argnums=0)


def pmap_train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device] | None = None,
) -> Step:
    """`train_step` mapped over devices (None: all of them); donates the state.

    State and metrics carry a leading device axis, with equal entries; batches are [devices,
    B / devices, T]; the prefix has no such axis.
    """
    axis = "devices"
    step = functools.partial(train_step, model=model, optimizer=optimizer, axis_name=axis)
    return jax.pmap(step, axis, in_axes=(0, 0, None), donate_argnums=0, devices=devices)
