"""The weighted loss and the training step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.runs import full_logits, given_rows

from boostlm import Batch, TrainState, decoder_lm, pmap_train_step, train_step, weighted_loss
from boostlm.config import ModelConfig, OptimizerConfig
from boostlm.engine.learner import LanguageLearner, LearnerState
from boostlm.lm.language_model import NO_PREFIX
from boostlm.lm.train_step import make_optimizer

V, T, B = 24, 14, 16
CONFIG = ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32)
MODEL, MODEL_16 = decoder_lm(CONFIG, V), decoder_lm(CONFIG, V, jnp.bfloat16)
FORWARD = jax.jit(full_logits(MODEL))
OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0))


def batch(seed=0):
    """Rows whose weights differ wildly between devices, and two rows of padding."""
    rng = np.random.default_rng(seed)
    weight = (rng.random((B, T)) < np.linspace(0.05, 0.95, B)[:, None]).astype(np.float32)
    weight *= rng.uniform(0.5, 3.0, (B, 1)).astype(np.float32)
    weight[-2:] = 0
    return Batch(rng.integers(4, V, (B, T)).astype(np.int32), weight)


def fresh_state(optimizer=OPTIMIZER):
    params = jax.jit(MODEL.init)(jax.random.key(1))
    return TrainState(params, optimizer.init(params))


@functools.cache
def compiled(optimizer, model):
    return jax.jit(functools.partial(train_step, model=model, optimizer=optimizer))


def step_on_one(state, rows, optimizer=OPTIMIZER, model=MODEL):
    return compiled(optimizer, model)(state, rows, NO_PREFIX)


def step_on_eight(state, rows, step):
    spread = jax.tree.map(lambda x: x.reshape(8, -1, T), rows)
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 8), state)
    return step(stacked, spread, NO_PREFIX)


def largest_difference(a, b):
    return max(
        float(np.abs(np.asarray(x) - np.asarray(y)).max())
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.slow
def test_loss_is_a_sum_and_a_weight_sum():
    rows = batch()
    params = fresh_state().params
    total, weight = jax.jit(functools.partial(weighted_loss, MODEL))(params, rows, NO_PREFIX)
    logprob = np.asarray(jax.nn.log_softmax(FORWARD(params, rows.tokens_BxT)))
    expected = 0.0
    for b in range(B):
        for t in range(1, T):
            expected -= rows.weight_BxT[b, t] * logprob[b, t - 1, rows.tokens_BxT[b, t]]
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == pytest.approx(rows.weight_BxT[:, 1:].sum(), rel=1e-6)


@pytest.mark.slow
def test_losses_of_parts_add_up():
    params, rows = fresh_state().params, batch()
    loss = jax.jit(functools.partial(weighted_loss, MODEL))
    parts = [
        loss(params, jax.tree.map(lambda x, i=i: x[i : i + 4], rows), NO_PREFIX)
        for i in range(0, B, 4)
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), loss(params, rows, NO_PREFIX), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "optimizer", "tolerance"),
    [(MODEL, OPTIMIZER, 1e-6), (MODEL, optax.sgd(0.1), 1e-6), (MODEL_16, optax.sgd(0.1), 1e-2)],
    ids=["f32", "f32 sgd", "bf16 sgd"],
)
def test_eight_devices_take_the_same_step_as_one(model, optimizer, tolerance):
    """The tolerance of parameters is a share of the largest update, or of the learning rate."""
    state, rows = fresh_state(optimizer), batch()
    one, metrics = step_on_one(state, rows, optimizer, model)
    eight, spread_metrics = step_on_eight(state, rows, pmap_train_step(model, optimizer))
    moved = largest_difference(one.params, state.params)
    assert moved > 1e-3
    for device in range(8):
        mine = jax.tree.map(lambda x, d=device: x[d], (eight, spread_metrics))
        assert largest_difference(mine[0].params, one.params) < tolerance * max(moved, 1)
        np.testing.assert_allclose(mine[1], metrics, rtol=tolerance)


@pytest.mark.slow
def test_a_step_in_bfloat16_goes_where_that_in_float32_goes():
    """Parameters and their updates stay float32; only products are rounded."""
    optimizer, rows = optax.sgd(0.1), batch()
    state = fresh_state(optimizer)
    steps = [step_on_one(state, rows, optimizer, model) for model in (MODEL, MODEL_16)]
    full, half = (
        np.concatenate([np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (x.params, state.params)), strict=True)])
        for x, _ in steps
    )  # fmt: skip
    assert {x.dtype for x in jax.tree.leaves(steps[1][0].params)} == {jnp.dtype("float32")}
    assert np.dot(full, half) > 0.999 * np.linalg.norm(full) * np.linalg.norm(half)
    assert np.linalg.norm(half) == pytest.approx(np.linalg.norm(full), rel=0.02)
    assert float(steps[1][1].loss) == pytest.approx(float(steps[0][1].loss), rel=0.01)
    assert float(steps[1][1].loss) != float(steps[0][1].loss)


@pytest.mark.slow
def test_a_mean_of_device_means_would_be_another_step():
    """What the psum of numerator and denominator guards against; shows the test above can fail."""

    def mean_of_means(state, rows, prefix):
        def loss(params):
            total, weight = weighted_loss(MODEL, params, rows, prefix)
            return total / jnp.maximum(weight, 1e-9)

        grads = jax.lax.pmean(jax.grad(loss)(state.params), "devices")
        updates, optimizer_state = OPTIMIZER.update(grads, state.optimizer_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimizer_state), None

    state, rows = fresh_state(), batch()
    wrong, _ = step_on_eight(state, rows, jax.pmap(mean_of_means, "devices", in_axes=(0, 0, None)))
    right, _ = step_on_one(state, rows)
    assert largest_difference(jax.tree.map(lambda x: x[0], wrong.params), right.params) > 1e-4


@pytest.mark.slow
def test_prompt_and_padding_tokens_do_not_matter():
    state, rows = fresh_state(), batch()
    tokens = rows.tokens_BxT.copy()
    tokens[-2:] = 5  # rows without weight
    changed, _ = step_on_one(state, Batch(tokens, rows.weight_BxT))
    assert largest_difference(changed, step_on_one(state, rows)[0]) == 0


@pytest.mark.slow
def test_scaling_all_weights_changes_nothing():
    state, rows = fresh_state(), batch()
    scaled, _ = step_on_one(state, Batch(rows.tokens_BxT, rows.weight_BxT * 4))
    assert largest_difference(scaled, step_on_one(state, rows)[0]) < 1e-6


@pytest.mark.slow
def test_a_batch_without_weight_gives_no_nan_and_moves_nothing():
    state, rows = fresh_state(), batch()
    after, metrics = step_on_one(state, Batch(rows.tokens_BxT, np.zeros_like(rows.weight_BxT)))
    assert float(metrics.loss) == 0
    assert largest_difference(after.params, state.params) == 0


@pytest.mark.slow
def test_one_step_of_sgd_is_the_hand_made_one():
    optimizer, rows = optax.sgd(0.1), batch()
    state = fresh_state(optimizer)

    def mean_loss(params):
        nats = optax.softmax_cross_entropy_with_integer_labels(
            FORWARD(params, rows.tokens_BxT)[:, :-1], rows.tokens_BxT[:, 1:]
        )
        return jnp.average(nats, weights=rows.weight_BxT[:, 1:])

    expected = jax.tree.map(
        lambda p, g: p - 0.1 * g, state.params, jax.jit(jax.grad(mean_loss))(state.params)
    )
    after, metrics = step_on_one(state, rows, optimizer)
    assert largest_difference(after.params, expected) < 1e-6
    assert float(metrics.loss) == pytest.approx(float(mean_loss(state.params)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", [MODEL, MODEL_16], ids=["f32", "bf16"])
def test_training_learns_to_end_with_eos(model):
    rows = Batch(np.tile([[2, 7, 8, 9, 1, 0, 0]], (8, 1)).astype(np.int32),
                 np.tile([[0, 0, 1, 1, 1, 0, 0]], (8, 1)).astype(np.float32))  # fmt: skip
    state = fresh_state()
    for _ in range(60):
        state, metrics = step_on_one(state, rows, model=model)
    assert float(metrics.loss) < 0.1
    best = FORWARD(state.params, rows.tokens_BxT).argmax(-1)
    np.testing.assert_array_equal(best[0, 1:4], [8, 9, 1])


@pytest.mark.slow
def test_learner_trains_alike_on_one_device_and_on_eight(devices):
    optimizer, rows = OptimizerConfig(steps=3, batch_size=B), [batch(s) for s in range(3)]
    stacked = given_rows(Batch(*(np.concatenate(x) for x in zip(*rows, strict=True))))
    start = LearnerState(jax.jit(MODEL.init)(jax.random.key(1)), None, np.float32(0))
    out = [
        LanguageLearner(MODEL, ((1,),), 4, 8, devices[:n]).train(start, stacked, optimizer)
        for n in (1, 8)
    ]
    assert largest_difference(out[0].params, out[1].params) < 1e-6
    assert float(out[0].loss) == pytest.approx(float(out[1].loss), rel=1e-6)
    assert largest_difference(out[0].params, start.params) > 1e-4
