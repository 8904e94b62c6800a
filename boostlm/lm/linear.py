"""A layer's matrix product: in a chosen dtype, over a mesh, with or without an adapter."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh
from jax.typing import DTypeLike

from boostlm.lm.lora import adapt
from boostlm.lm.sharding import gather, shard_rows


class Linear(nn.Module):
    """A matrix product without bias. Variables `a` and `b` in "lora" add an adapter.

    Attributes:
      outputs: the kernel's last axes.
      inputs: how many of x's last axes are contracted with the kernel's first axes.
      dtype: the product's dtype; the kernel is float32.
      mesh: as in `product`.
    """

    outputs: tuple[int, ...]
    inputs: int = 1
    dtype: DTypeLike = jnp.float32
    mesh: Mesh | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*x.shape[x.ndim - self.inputs :], *self.outputs)
        kernel = self.param("kernel", _initial, shape, self.inputs)
        x = x.astype(self.dtype)
        y = product(x, kernel, self.inputs, self.mesh)
        if self.has_variable("lora", "a"):
            y = adapt(x, y, self.get_variable("lora", "a"), self.get_variable("lora", "b"))
        return y


def _initial(key: Array, shape: tuple[int, ...], inputs: int) -> Array:
    matrix = (math.prod(shape[:inputs]), math.prod(shape[inputs:]))
    init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    return init(key, matrix, jnp.float32).reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product(x: Array, kernel: Array, inputs: int, mesh: Mesh | None) -> Array:
    """x's last `inputs` axes times the kernel's first, in x's dtype.

    The kernel's gradient is summed in float32. On a mesh, the kernel is gathered (in x's dtype) for
    the product, forwards and backwards, and what comes out stays split by row: the partitioner
    would at times rather gather the rows.
    """
    return shard_rows(jnp.tensordot(x, gather(kernel.astype(x.dtype), mesh), inputs), mesh)


def _forward(
    x: Array, kernel: Array, inputs: int, mesh: Mesh | None
) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel, inputs, mesh), (x, kernel)


def _backward(
    inputs: int, mesh: Mesh | None, kept: tuple[Array, Array], d_y: Array
) -> tuple[Array, Array]:
    x, kernel = kept
    rows, outputs = x.ndim - inputs, kernel.ndim - inputs
    whole = gather(kernel.astype(x.dtype), mesh)
    last, kernel_last = range(d_y.ndim - outputs, d_y.ndim), range(inputs, kernel.ndim)
    d_x = jnp.tensordot(d_y, whole, (tuple(last), tuple(kernel_last)))
    batch = (tuple(range(rows)), tuple(range(rows)))
    d_kernel = jnp.tensordot(x, d_y, batch, preferred_element_type=jnp.float32)
    return shard_rows(d_x, mesh), gather(d_kernel, mesh)


product.defvjp(_forward, _backward)
