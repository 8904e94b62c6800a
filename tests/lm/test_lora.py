"""Low-rank adapters: they start as nothing, learn alone, and merge into what they were beside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import full_logits, given_rows

from boostlm import Batch, decoder_lm
from boostlm.config import Config, ModelConfig, OptimizerConfig
from boostlm.config_io import override
from boostlm.engine.learner import LanguageLearner, LearnerState
from boostlm.errors import BoostError
from boostlm.lm.lora import init_adapters, merged
from boostlm.lm.sharding import device_mesh

pytestmark = pytest.mark.slow

V, T, B, RANK = 32, 8, 8, 2
CONFIG = ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=24)
MODEL = decoder_lm(CONFIG, V)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
ADAPTERS = init_adapters(jax.random.key(1), PARAMS, RANK)
TOKENS = np.random.default_rng(0).integers(4, V, (B, T)).astype(np.int32)
LOGITS = jax.jit(full_logits(MODEL))


@functools.cache
def trained(adapted=True, split=False):
    """The learner's state after 12 steps on one batch."""
    devices, steps = jax.devices() if split else jax.devices()[:1], 12
    model = decoder_lm(CONFIG, V, mesh=device_mesh(devices) if split else None)
    learner = LanguageLearner(model, ((1,),), 4, 8, devices, split)
    rows = given_rows(Batch(np.tile(TOKENS, (steps, 1)), np.ones((steps * B, T), np.float32)))
    config = OptimizerConfig(steps=steps, batch_size=B, learning_rate=1e-2, warmup_steps=0)
    start = LearnerState(PARAMS, None, np.float32(0))
    return learner.train(start, rows, config, adapters=ADAPTERS if adapted else None)


def loss_of(params):
    logprob = jax.nn.log_softmax(LOGITS(params, TOKENS)[:, :-1])
    return -np.take_along_axis(np.asarray(logprob), TOKENS[:, 1:, None], axis=-1).mean()


def test_new_adapters_change_nothing_and_are_small():
    assert np.array_equal(LOGITS(PARAMS | ADAPTERS, TOKENS), LOGITS(PARAMS, TOKENS))
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (ADAPTERS, PARAMS)]
    assert sizes[0] < sizes[1] / 4
    assert len(jax.tree.leaves(ADAPTERS)) == 2 * 7


def test_merged_parameters_give_what_adapters_give():
    noise = jax.tree.map(
        lambda x: x + jax.random.normal(jax.random.key(2), x.shape) * 0.1, ADAPTERS
    )
    beside, whole = LOGITS(PARAMS | noise, TOKENS), LOGITS(merged(PARAMS | noise), TOKENS)
    np.testing.assert_allclose(beside, whole, atol=1e-5)
    assert np.abs(beside - LOGITS(PARAMS, TOKENS)).max() > 0.1


def test_training_adapters_lowers_the_loss_and_moves_kernels_by_low_rank_only():
    before = jax.device_get(PARAMS)
    state = trained()
    assert state.optimizer_state is None
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(PARAMS), before)
    moved = jax.tree.map(lambda a, b: np.asarray(a - b), state.params, PARAMS)["params"]
    assert not moved["embedding"]["embedding"].any()
    assert not moved["final_norm"]["scale"].any()
    kernel = moved["blocks_0"]["gate"]["kernel"]
    singular = np.linalg.svd(kernel, compute_uv=False)
    assert singular[RANK - 1] > 1e-3
    assert singular[RANK] < 1e-5
    assert loss_of(state.params) < loss_of(PARAMS) - 0.1


def test_without_adapters_everything_is_trained():
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), trained(adapted=False).params, PARAMS
    )
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_sharded_adapters_learn_the_same(devices):
    alone, spread = trained(), trained(split=True)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_adapters_need_a_fresh_optimizer_each_round():
    config = override(Config(), ["--train.lora_rank=4"])
    assert config.train.lora_rank == 4
    with pytest.raises(BoostError, match=r"train\.lora_rank"):
        override(config, ["--train.reset_optimizer=false"])
