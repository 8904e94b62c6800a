"""Weighted cross-entropy over a large vocabulary, without all logits at once.

Logits of 4,096 tokens over 262,144 vocabulary entries are 4 GiB in float32, and their gradient is
as much again. Here the tokens with weight are processed in chunks, and a chunk's gradients are
computed along with its logits, so nothing of the vocabulary's size is kept for each token.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.numerics import AnyArray, expand

Head = Any  # a pytree of float arrays: the parameters of the logits
Unembed = Callable[[Head, Array], Array]

CHUNK_LOGITS = 2**27  # most logits of a chunk, unless one token has more: 512 MiB


def cross_entropy(
    unembed: Unembed,
    head: Head,
    x_BxTxE: Array,
    target_BxT: AnyArray,
    weight_BxT: AnyArray,
    chunk: int | None = None,
) -> tuple[Array, Array]:
    """Weighted token cross-entropy as (weighted sum in nats, weight sum), never as a mean.

    Means of shards do not average to the mean of the whole; sums add up. Tokens without weight cost
    no arithmetic over the vocabulary. Works under jit, pmap and shard_map, where each device
    processes only the chunks that its own tokens fill. Differentiable once in `head` and `x_BxTxE`,
    not in the weights.

    Args:
      unembed: (head, x [C, E]) -> logits [C, V], float32.
      head: all parameters of `unembed`.
      x_BxTxE: hidden states.
      target_BxT: int32, the token that x_BxTxE[b, t] is to predict.
      weight_BxT: float32.
      chunk: tokens in a chunk; None: as many as have 2**27 logits.

    Returns:
      Two float32 scalars. If no token has weight, both are 0 and so are the gradients.
    """
    tokens = target_BxT.size
    if chunk is None:
        vocabulary = jax.eval_shape(unembed, head, x_BxTxE[0, :1]).shape[-1]
        chunk = CHUNK_LOGITS // vocabulary
    chunk = min(max(chunk, 1), tokens)
    flat = [jnp.reshape(x_BxTxE, (tokens, -1)), jnp.ravel(target_BxT), jnp.ravel(weight_BxT)]
    axes = frozenset().union(*(_axes(x) for x in flat))
    head, *flat = jax.tree.map(functools.partial(_varying, axes=axes), (head, *flat))
    return _weighted_sum(unembed, chunk, head, *flat), jnp.sum(weight_BxT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _weighted_sum(
    unembed: Unembed, chunk: int, head: Head, x_NxE: Array, target_N: Array, weight_N: Array
) -> Array:
    def loss(x_CxE: Array, target_C: Array, weight_C: Array) -> tuple[Array, tuple[()]]:
        nats_C, _ = _nats(unembed(head, x_CxE), target_C)
        return jnp.sum(weight_C * nats_C), ()

    total, _, _ = _over_chunks(loss, chunk, x_NxE, target_N, weight_N, ())
    return total


def _forward(
    unembed: Unembed, chunk: int, head: Head, x_NxE: Array, target_N: Array, weight_N: Array
) -> tuple[Array, tuple[Head, Array]]:
    """The loss, and its gradients in `head` and x, which are kept for the backward pass."""

    def loss_and_gradients(
        x_CxE: Array, target_C: Array, weight_C: Array
    ) -> tuple[Array, tuple[Head, Array]]:
        logits_CxV, pull = jax.vjp(unembed, head, x_CxE)
        nats_C, total_C = _nats(logits_CxV, target_C)
        token_1xV = jnp.arange(logits_CxV.shape[1], dtype=target_C.dtype)[None]
        hit_CxV = token_1xV == target_C[:, None]
        d_logits_CxV = (jnp.exp(logits_CxV - total_C[:, None]) - hit_CxV) * weight_C[:, None]
        return jnp.sum(weight_C * nats_C), pull(d_logits_CxV)

    like = jax.eval_shape(lambda *args: args, head, x_NxE[:0])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    total, d_head, d_x_NxE = _over_chunks(
        loss_and_gradients, chunk, x_NxE, target_N, weight_N, zeros
    )
    return total, (d_head, d_x_NxE)


def _backward(
    unembed: Unembed, chunk: int, gradients: tuple[Head, Array], d_total: Array
) -> tuple[Head, Array, None, None]:
    d_head, d_x_NxE = jax.tree.map(lambda g: (g * d_total).astype(g.dtype), gradients)
    return d_head, d_x_NxE, None, None


_weighted_sum.defvjp(_forward, _backward)


def _nats(logits_CxV: Array, target_C: Array) -> tuple[Array, Array]:
    """Cross-entropies and log-sums of exponentials, both [C]."""
    total_C = jax.nn.logsumexp(logits_CxV, axis=1)
    own_C = jnp.take_along_axis(logits_CxV, target_C[:, None], axis=1, mode="clip")[:, 0]
    return total_C - own_C, total_C


def _over_chunks(
    run: Callable[[Array, Array, Array], tuple[Array, Any]],
    chunk: int,
    x_NxE: Array,
    target_N: Array,
    weight_N: Array,
    zeros: Any,
) -> tuple[Array, Any, Any]:
    """Adds up `run` over chunks of the tokens that have weight.

    Args:
      run: (x_CxE, target_C, weight_C) -> (sum, () or (head's gradient, x's gradient [C, E])).
      chunk: C.
      x_NxE, target_N, weight_N: all tokens.
      zeros: () or (head's gradient, an array [0, E]), for shapes and dtypes.

    Returns:
      (sum, head's gradient, gradient [N, E]) or (sum, None, None).
    """
    tokens = weight_N.shape[0]
    weighs_N = weight_N != 0
    places = -(-tokens // chunk) * chunk
    index_P, valid_P = expand(weighs_N.astype(jnp.int32), places)
    count = jnp.sum(weighs_N, dtype=jnp.int32)

    def body(state: tuple[Array, Array, Any]) -> tuple[Array, Array, Any]:
        start, total, sums = state
        index_C = jax.lax.dynamic_slice_in_dim(index_P, start, chunk)
        valid_C = jax.lax.dynamic_slice_in_dim(valid_P, start, chunk)
        weight_C = jnp.where(valid_C, weight_N[index_C], 0.0)
        part, gradients = run(x_NxE[index_C], target_N[index_C], weight_C)
        if gradients:
            d_head, d_x_PxE = sums
            d_head = jax.tree.map(jnp.add, d_head, gradients[0])
            write = jax.lax.dynamic_update_slice_in_dim
            sums = (d_head, write(d_x_PxE, gradients[1], start, axis=0))
        return start + chunk, total + part, sums

    start, total, sums = jnp.int32(0), jnp.float32(0), ()
    if zeros:
        sums = (zeros[0], jnp.zeros((places, x_NxE.shape[1]), x_NxE.dtype))
    axes = _axes(x_NxE)
    total, sums = jax.tree.map(functools.partial(_varying, axes=axes), (total, sums))
    _, total, sums = jax.lax.while_loop(lambda s: s[0] < count, body, (start, total, sums))
    if not zeros:
        return total, None, None
    d_head, d_x_PxE = sums
    place_N = jnp.maximum(jnp.cumsum(weighs_N) - 1, 0)
    return total, d_head, jnp.where(weighs_N[:, None], d_x_PxE[place_N], 0)


def _varying(x: Array, axes: frozenset) -> Array:
    """Under shard_map: marks x as differing along `axes`; its gradient is then summed there."""
    missing = tuple(sorted(axes - _axes(x)))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def _axes(x: Array) -> frozenset:
    """The axes of a shard_map along which x differs from device to device."""
    return jax.typeof(x).manual_axis_type.varying
