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
from boostlm.lm.sharding import gather_kernel, model_axis_of, shard_rows


class Linear(nn.Module):
    """A matrix product without bias. Variables `a` and `b` in "lora" add an adapter.

    Attributes:
      outputs: the kernel's last axes.
      inputs: how many of x's last axes are contracted with the kernel's first axes.
      dtype: of the product; the kernel is float32.
      mesh: of `product`. The module's name decides which axis is split over "model".
      repeats: how often each entry of the first output axis is computed, in place of once.
    """

    outputs: tuple[int, ...]
    inputs: int = 1
    dtype: DTypeLike = jnp.float32
    mesh: Mesh | None = None
    repeats: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*x.shape[x.ndim - self.inputs :], *self.outputs)
        kernel = self.param("kernel", _initial, shape, self.inputs)
        axis = model_axis_of(str(self.name))
        x = x.astype(self.dtype)
        y = product(x, self.repeat(kernel, self.inputs), self.inputs, axis, self.mesh)
        if self.has_variable("lora", "a"):
            a, b = self.get_variable("lora", "a"), self.get_variable("lora", "b")
            y = adapt(x, y, a, self.repeat(b, 1))
            y = shard_rows(y, self.mesh, _axis_of_output(x.ndim, self.inputs, axis))
        return y

    def repeat(self, kernel: Array, axis: int) -> Array:
        return jnp.repeat(kernel, self.repeats, axis) if self.repeats > 1 else kernel


def _initial(key: Array, shape: tuple[int, ...], inputs: int) -> Array:
    matrix = (math.prod(shape[:inputs]), math.prod(shape[inputs:]))
    init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    return init(key, matrix, jnp.float32).reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def product(x: Array, kernel: Array, inputs: int, model_axis: int, mesh: Mesh | None) -> Array:
    """x's last `inputs` axes times the kernel's first, in x's dtype.

    The kernel's gradient is summed in float32. On a mesh, the kernel is gathered over "data" (in
    x's dtype) for the product, forwards and backwards, and stays split along `model_axis`; what
    comes out stays split by row: the partitioner would at times rather gather the rows.
    """
    y = jnp.tensordot(x, gather_kernel(kernel.astype(x.dtype), mesh, model_axis), inputs)
    return shard_rows(y, mesh, _axis_of_output(x.ndim, inputs, model_axis))


def _axis_of_output(x_ndim: int, inputs: int, model_axis: int) -> int | None:
    """The axis of a product that is split over "model", if it is not one that is summed over."""
    return x_ndim - inputs + model_axis - inputs if model_axis >= inputs else None


def _forward(
    x: Array, kernel: Array, inputs: int, model_axis: int, mesh: Mesh | None
) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel, inputs, model_axis, mesh), (x, kernel)


def _backward(
    inputs: int, model_axis: int, mesh: Mesh | None, kept: tuple[Array, Array], d_y: Array
) -> tuple[Array, Array]:
    x, kernel = kept
    rows, outputs = x.ndim - inputs, kernel.ndim - inputs
    whole = gather_kernel(kernel.astype(x.dtype), mesh, model_axis)
    last, kernel_last = range(d_y.ndim - outputs, d_y.ndim), range(inputs, kernel.ndim)
    d_x = jnp.tensordot(d_y, whole, (tuple(last), tuple(kernel_last)))
    batch = (tuple(range(rows)), tuple(range(rows)))
    d_kernel = jnp.tensordot(x, d_y, batch, preferred_element_type=jnp.float32)
    split = rows + model_axis if model_axis < inputs else None
    return shard_rows(d_x, mesh, split), gather_kernel(d_kernel, mesh, model_axis)


product.defvjp(_forward, _backward)
