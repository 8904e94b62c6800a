"""Low-rank adapters (LoRA, arXiv 2106.09685): train two thin matrices beside each kernel.

A kernel W becomes W + (ALPHA / rank) A B. A decoder's parameters are then two collections:
{"params": as they were, "lora": adapters}, and its functions take them together. Only the adapters
are trained and have optimizer state; `merged` makes them a part of W again.
"""

from typing import cast

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from boostlm.lm.language_model import Params

ALPHA = 16.0  # scales the product by ALPHA / rank, so that one learning rate suits all ranks


def init_adapters(key: Array, params: Params, rank: int) -> Params:
    """{"lora": adapters} for every kernel: A normal with variance 1 / inputs, B zero.

    The model's output is at first what it was.

    Args:
      key: the key that draws A.
      params: {"params": ...} of a decoder, or the shapes of it.
      rank: columns of A and rows of B.
    """
    kernels = _kernels(params)
    adapters = {}
    for path, own_key in zip(kernels, jax.random.split(key, len(kernels)), strict=True):
        shape, inputs = kernels[path].shape, _inputs(path)
        fan_in = jnp.prod(jnp.array(shape[:inputs], jnp.float32))
        a = jax.random.normal(own_key, (*shape[:inputs], rank)) * fan_in**-0.5
        adapters[(*path[:-1], "a")] = a
        adapters[(*path[:-1], "b")] = jnp.zeros((rank, *shape[inputs:]))
    return {"lora": unflatten_dict(adapters)}


def adapt(x: Array, y: Array, a: Array, b: Array) -> Array:
    """y = x W with x A B added; x's last axes are the inputs, products in x's dtype."""
    low = jnp.tensordot(x, a.astype(x.dtype), a.ndim - 1)
    return y + jnp.tensordot(low, (b * (ALPHA / len(b))).astype(x.dtype), 1)


def merged(variables: Params) -> Params:
    """{"params": ...} whose kernels are W + (ALPHA / rank) A B, in float32.

    Args:
      variables: {"params": ..., "lora": ...}.
    """
    adapters, flat = flat_arrays(variables["lora"]), flat_arrays(variables["params"])
    for path in _kernels(variables):
        a, b = adapters[(*path[:-1], "a")], adapters[(*path[:-1], "b")]
        flat[path] = flat[path] + jnp.tensordot(a, b, 1) * (ALPHA / len(b))
    return {"params": unflatten_dict(flat)}


def flat_arrays(tree: Params) -> dict[tuple[str, ...], Array]:
    """The arrays of nested dicts, by path."""
    return cast(dict[tuple[str, ...], Array], flatten_dict(tree))


def _kernels(variables: Params) -> dict[tuple[str, ...], Array]:
    return {p: x for p, x in flat_arrays(variables["params"]).items() if p[-1] == "kernel"}


def _inputs(path: tuple[str, ...]) -> int:
    """How many of a kernel's first axes are inputs: [H, D, E] of attention's output, [E, ...]."""
    return 2 if path[-2] == "out" else 1
