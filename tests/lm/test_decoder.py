"""What training asks of the decoder: a prefix computed once, bfloat16, rematerialisation."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import full_logits

from boostlm import Batch, decoder_lm, weighted_loss
from boostlm.config import Config, ModelConfig
from boostlm.config_io import override
from boostlm.experiment.context import compute_dtype
from boostlm.lm.attention import turns
from boostlm.lm.language_model import NO_PREFIX

V, B, T, P = 32, 3, 10, 9
CONFIG = ModelConfig(
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_width=48,
    global_every=2,
    window=6,  # shorter than the prefix: rows see some of it, all of it or nothing
    qk_norm=True,
    post_norms=True,
    attention_cap=5.0,
    logit_cap=8.0,
)
MODEL = decoder_lm(CONFIG, V)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))


def rows(seed=0):
    rng = np.random.default_rng(seed)
    weight = (np.arange(T) >= [[2], [5], [8]]).astype(np.float32)
    return Batch(rng.integers(4, V, (B, T)).astype(np.int32), weight)


def assert_close(got, want, rtol):
    """Relative to the largest number of each array."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@functools.cache
def step_of(model=MODEL):
    """Jitted: (params, batch, prefix) -> ((loss, weight), gradients)."""
    loss = functools.partial(weighted_loss, model)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.slow
def test_a_prefix_is_what_stands_before_every_row():
    prefix, (tokens, weight) = np.random.default_rng(1).integers(4, V, P).astype(np.int32), rows()
    ahead = np.broadcast_to(prefix, (B, P))
    whole = Batch(
        np.concatenate([ahead, tokens], axis=1),
        np.concatenate([ahead * np.float32(0), weight], axis=1),
    )
    got = step_of()(PARAMS, rows(), prefix)
    assert_close(got, step_of()(PARAMS, whole, NO_PREFIX), 1e-5)
    other = step_of()(PARAMS, rows(), np.flip(prefix))
    assert abs(float(got[0][0] - other[0][0])) > 1e-2  # it matters


@pytest.mark.slow
def test_remat_changes_memory_only():
    model = decoder_lm(CONFIG, V, remat=True)
    args = (PARAMS, rows(), NO_PREFIX)
    assert step_of(model).lower(*args).as_text().count("optimization_barrier") >= CONFIG.layers
    assert "optimization_barrier" not in step_of().lower(*args).as_text()
    assert_close(step_of(model)(*args), step_of()(*args), 1e-6)


@pytest.mark.slow
def test_bfloat16_is_near_float32():
    half = decoder_lm(CONFIG, V, jnp.bfloat16)
    (got, grads), (exact, exact_grads) = (
        step_of(model)(PARAMS, rows(), NO_PREFIX) for model in (half, MODEL)
    )
    assert 1e-6 < abs(float(got[0]) / float(exact[0]) - 1) < 1e-2
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(exact_grads), strict=True):
        assert a.dtype == jnp.float32
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b)


def test_what_stays_float32_beside_bfloat16():
    half = decoder_lm(CONFIG, V, jnp.bfloat16)
    shapes = jax.eval_shape(half.init, jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    tokens = rows().tokens_BxT
    assert jax.eval_shape(half.hidden, PARAMS, tokens, NO_PREFIX).dtype == jnp.bfloat16
    assert jax.eval_shape(full_logits(half), PARAMS, tokens).dtype == jnp.float32
    program = str(jax.make_jaxpr(full_logits(half))(PARAMS, tokens))
    for operation, least in (("exp", 2), ("rsqrt", 4)):  # softmax, norms
        dtypes = re.findall(rf":(\w+)\[[\d,]*\] = {operation} ", program)
        assert len(dtypes) >= least
        assert set(dtypes) == {"f32"}, operation
    assert {x.dtype for x in turns(9, CONFIG.head_dim, CONFIG.rope_base)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["auto", "float32", "bfloat16"])
def test_the_config_names_the_dtype(name):
    config = override(Config(), [f"--compute.dtype={name}"])
    assert compute_dtype(config.compute, "cpu") == {"auto": "float32"}.get(name, name)
    assert compute_dtype(config.compute, "tpu") == {"auto": "bfloat16"}.get(name, name)
