"""The chunked loss against the plain formula: values, gradients, memory, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from boostlm.lm.cross_entropy import cross_entropy

V, E, T, B = 40, 8, 6, 16


def unembed(head, x):
    logits = jnp.einsum("ce,ve->cv", x * (1 + head["scale"])[None], head["table"])
    return jnp.tanh(logits / 5) * 5


def plain(head, x, target, weight):
    logits = unembed(head, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return jnp.sum(nats * weight), jnp.sum(weight)


def inputs(rows=B, seed=0):
    rng = np.random.default_rng(seed)
    head = {"table": rng.normal(size=(V, E)), "scale": rng.normal(size=E) * 0.1}
    head = jax.tree.map(np.float32, head)
    x = rng.normal(size=(rows, T, E)).astype(np.float32)
    weight = rng.random((rows, T)) < np.linspace(0.0, 0.9, rows)[:, None]  # the first row has none
    weight = (weight * rng.uniform(0.5, 3, (rows, 1))).astype(np.float32)
    return head, x, rng.integers(0, V, (rows, T)).astype(np.int32), weight


def with_gradients(loss):
    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)


def assert_close(got, want, rtol=1e-6):
    """Relative to the largest number of each array."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-30, np.abs(b).max()))


WANT = jax.jit(with_gradients(plain))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 16, None])
def test_value_and_gradients_are_those_of_the_plain_formula(chunk):
    loss = functools.partial(cross_entropy, unembed, chunk=chunk)
    got = jax.jit(with_gradients(loss))(*inputs())
    assert_close(got, WANT(*inputs()))
    assert_close(jax.jit(loss)(*inputs()), got[0])


def test_nothing_with_weight_gives_zeros():
    head, x, target, weight = inputs()
    x = np.where(np.arange(B)[:, None, None] < 2, np.inf, x)  # even so
    out = jax.jit(with_gradients(functools.partial(cross_entropy, unembed, chunk=4)))(
        head, x, target, weight * 0
    )
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(out))


def test_tokens_without_weight_cost_no_chunk():
    head, x, target, weight = inputs()
    calls = []

    def counting(head, x):
        jax.debug.callback(lambda: calls.append(1))
        return unembed(head, x)

    loss = jax.jit(functools.partial(cross_entropy, counting, chunk=8))
    loss(head, x, target, weight)
    jax.effects_barrier()
    assert len(calls) == -(-np.count_nonzero(weight) // 8) < B * T // 8


@pytest.mark.slow
def test_devices_with_counts_of_their_own_add_up(devices):
    head, x, target, weight = inputs()
    spread = [a.reshape(8, -1, *a.shape[1:]) for a in (x, target, weight)]

    def local(head, x, target, weight):
        loss = functools.partial(cross_entropy, unembed, chunk=2)
        out, (d_head, d_x) = with_gradients(loss)(head, x, target, weight)
        return jax.lax.psum((out, d_head), "devices"), d_x

    (out, d_head), d_x = jax.pmap(local, "devices", in_axes=(None, 0, 0, 0))(head, *spread)
    got = jax.tree.map(lambda a: a[0], (out, d_head))
    assert_close((got[0], (got[1], d_x.reshape(x.shape))), WANT(*inputs()))


@pytest.mark.slow
def test_shard_map_sums_the_gradients_by_itself(mesh):
    def local(head, x, target, weight):
        loss = functools.partial(cross_entropy, unembed, chunk=2)
        out, grads = with_gradients(loss)(head, x, target, weight)
        return jax.lax.psum(out, "data"), grads

    by_row = P("data")
    step = jax.shard_map(
        local, mesh=mesh, in_specs=(P(), by_row, by_row, by_row), out_specs=(P(), (P(), by_row))
    )
    assert_close(jax.jit(step)(*inputs()), WANT(*inputs()))


@pytest.mark.slow
def test_sharded_arguments_give_the_same(mesh):
    head, *rows = inputs()
    head = jax.device_put(
        head, {"table": NamedSharding(mesh, P("data")), "scale": NamedSharding(mesh, P())}
    )
    rows = jax.device_put(rows, NamedSharding(mesh, P("data")))
    loss = functools.partial(cross_entropy, unembed, chunk=16)
    assert_close(jax.jit(with_gradients(loss))(head, *rows), WANT(*inputs()))


@pytest.mark.slow
def test_memory_is_far_below_that_of_all_logits():
    rows, length, width, vocabulary, chunk = 4, 64, 16, 8192, 16
    shape = jax.ShapeDtypeStruct
    arguments = (
        {"table": shape((vocabulary, width), jnp.float32), "scale": shape((width,), jnp.float32)},
        shape((rows, length, width), jnp.float32),
        shape((rows, length), jnp.int32),
        shape((rows, length), jnp.float32),
    )
    logits = rows * length * vocabulary * 4

    def temporary(loss):
        compiled = jax.jit(with_gradients(loss)).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(plain) > logits
    assert temporary(functools.partial(cross_entropy, unembed, chunk=chunk)) < logits / 3
